//! `tenantry top`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tenantry_model::usage::{UsageRecord, UsageReport, UsageState};
use tenantry_model::{Clock, JobId, NodeName, SystemClock, TenantPath, WallTime};

use crate::ask::{Format, Question, Way, ask};
use crate::error::Error;
use crate::table::{columns, duration, figure, mib, printable, split, tenant_name, usec};
use crate::usage::json;

/// Show running jobs by the CPUs they use now
///
/// Refreshed until q or Ctrl-C. "Now" is the time between the last two readings that the server has
/// had, at first the whole run; OVER says how long that is. The daemons send readings each minute.
/// You see your own jobs; the administrator's readers see all.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  tenantry top
  tenantry top --tenant acme --interval 10
  tenantry top --once                       once, averages over each run")]
pub struct Args {
    /// This tenant and those that stand in it
    #[arg(long)]
    tenant: Option<TenantPath>,
    /// This user's jobs, by name or uid
    #[arg(long)]
    user: Option<String>,
    /// Show it once and end; so also where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Seconds from one refresh to the next
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600), value_name = "SECONDS")]
    interval: u16,
    /// table; or json and csv, once: the running jobs' records
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    way: Way,
}

type Key = (JobId, NodeName, WallTime);

/// What a run used over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// How long, in microseconds.
    over: u128,
    cpu_usec: Option<u128>,
    memory_mib_seconds: Option<u128>,
}

/// The latest reading of each run, and what was used up to it since the one before.
#[derive(Default)]
struct Seen {
    runs: BTreeMap<Key, (UsageRecord, Pace)>,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let mut seen = Seen::default();
    seen.take(question(args)?);
    let mut out = io::stdout();
    match args.format {
        Format::Table if args.once || !out.is_terminal() || !io::stdin().is_terminal() => {
            out.write_all(seen.table(usize::MAX).as_bytes())?;
        }
        Format::Table => watch(args, &mut seen, &mut out)?,
        Format::Json => {
            let usage = seen.runs.into_values().map(|(record, _)| record).collect();
            json(&UsageReport { usage, tenants: Vec::new(), gaps: Vec::new() }, &mut out)?;
        }
        Format::Csv => {
            let usage: Vec<_> = seen.runs.into_values().map(|(record, _)| record).collect();
            tenantry_usage::csv::runs(&usage, &mut out)?;
        }
    }
    Ok(out.flush()?)
}

fn question(args: &Args) -> Result<Vec<UsageRecord>, Error> {
    let from = Some(SystemClock.now().map_err(Error::System)?.wall);
    let question =
        Question { tenant: args.tenant.clone(), user: args.user.clone(), from, ..Question::default() };
    let report: UsageReport = ask(&args.way, &question)?;
    Ok(report.usage.into_iter().filter(|record| record.state == UsageState::Running).collect())
}

/// Draws until a key ends it. A server that does not answer is said, and asked again.
fn watch(args: &Args, seen: &mut Seen, out: &mut impl Write) -> Result<(), Error> {
    let _screen = Screen::enter(out)?;
    let timeout =
        PollTimeout::try_from(u32::from(args.interval).saturating_mul(1000)).unwrap_or(PollTimeout::MAX);
    let mut problem = String::new();
    loop {
        let lines = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let text = seen.table(lines.saturating_sub(3));
        // Each line is cleared to its end, and what is below.
        let text = text.replace('\n', "\x1b[K\r\n");
        let head = format!("{} running; q ends it. {problem}", seen.runs.len());
        write!(out, "\x1b[H{head}\x1b[K\r\n\r\n{text}\x1b[J")?;
        out.flush()?;
        if pressed(timeout)
            .map_err(|error| Error::System(error.into()))?
            .is_some_and(|key| b"qQ\x03\x04".contains(&key))
        {
            return Ok(());
        }
        problem = match question(args) {
            Ok(usage) => {
                seen.take(usage);
                String::new()
            }
            Err(error) => tenantry_model::describe(&error),
        };
    }
}

/// The key that was pressed within a time.
fn pressed(timeout: PollTimeout) -> nix::Result<Option<u8>> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let mut key = [0];
    // Nobody is there any more: that ends it, too.
    Ok(Some(if nix::unistd::read(stdin.as_fd(), &mut key)? == 0 { b'q' } else { key[0] }))
}

/// The terminal's other screen, and keys as they are pressed; as it was, when this goes.
struct Screen {
    before: Termios,
}

impl Screen {
    fn enter(out: &mut impl Write) -> Result<Self, Error> {
        let system = |error: nix::Error| Error::System(error.into());
        let before = tcgetattr(io::stdin()).map_err(system)?;
        let mut keys = before.clone();
        // Ctrl-C comes as a key, so that the terminal is left as it was.
        keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &keys).map_err(system)?;
        let screen = Self { before };
        write!(out, "\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to do where the terminal is gone.
        let _ = write!(io::stdout(), "\x1b[?25h\x1b[?1049l");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

impl Seen {
    fn take(&mut self, records: Vec<UsageRecord>) {
        let mut before = std::mem::take(&mut self.runs);
        for record in records {
            let key = (record.job_id, record.node.clone(), record.began);
            let kept = match before.remove(&key) {
                // No later reading has come.
                Some((last, pace)) if last.ended == record.ended => (record, pace),
                Some((last, _)) => {
                    let pace = pace(&record, Some(&last));
                    (record, pace)
                }
                None => {
                    let pace = pace(&record, None);
                    (record, pace)
                }
            };
            self.runs.insert(key, kept);
        }
    }

    /// Those that use most first, `most` of them.
    fn table(&self, most: usize) -> String {
        if self.runs.is_empty() {
            return "No job is running, or none has been read yet.\n".to_owned();
        }
        let mut runs: Vec<_> = self.runs.values().collect();
        runs.sort_by_key(|(record, pace)| (std::cmp::Reverse(cores(pace)), record.job_id));
        let head = [
            "JOB",
            "NODE",
            "TENANT",
            "USER",
            "CPU[cores]",
            "OF[cores]",
            "MEMORY[MiB]",
            "OVER[s]",
            "MEMORY-PEAK[MiB]",
            "ELAPSED[D-HH:MM:SS]",
            "CPU-TIME[D-HH:MM:SS]",
        ];
        let rows = runs.into_iter().take(most).map(|(record, pace)| row(record, pace));
        columns(&std::iter::once(head.map(str::to_owned)).chain(rows).collect::<Vec<_>>(), 4)
    }
}

fn pace(record: &UsageRecord, last: Option<&UsageRecord>) -> Pace {
    let since = |now: Option<u64>, before: Option<Option<u64>>| match before {
        None => now.map(u128::from),
        Some(before) => now?.checked_sub(before?).map(u128::from),
    };
    let time = |record: &UsageRecord| record.elapsed_usec.map(|time| time.0);
    let cpu = |record: &UsageRecord| record.cpu_usage_usec.map(|time| time.0);
    Pace {
        over: since(time(record), last.map(time)).unwrap_or_default(),
        cpu_usec: since(cpu(record), last.map(cpu)),
        memory_mib_seconds: since(record.memory_mib_seconds, last.map(|last| last.memory_mib_seconds)),
    }
}

/// CPUs in use, in thousandths.
fn cores(pace: &Pace) -> Option<u128> {
    pace.cpu_usec?.checked_mul(1000)?.checked_div(pace.over)
}

fn row(record: &UsageRecord, pace: &Pace) -> [String; 11] {
    let thousandths = |value: u128| {
        let (whole, rest) = split(value, 1000);
        format!("{whole}.{rest:03}")
    };
    let memory = || pace.memory_mib_seconds?.checked_mul(1_000_000)?.checked_div(pace.over);
    [
        record.job_id.to_string(),
        record.node.to_string(),
        tenant_name(record.tenant.as_ref()),
        record.user.as_deref().map_or_else(|| record.uid.to_string(), printable),
        figure(cores(pace), thousandths),
        figure(record.allocated_cpus.map(u128::from), |cpus| cpus.to_string()),
        figure(memory(), |mib| mib.to_string()),
        split(pace.over, 1_000_000).0.to_string(),
        figure(record.memory_peak_bytes.map(|bytes| u128::from(bytes.0)), mib),
        figure(record.elapsed_usec.map(usec), duration),
        figure(record.cpu_usage_usec.map(usec), duration),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::report;
    use tenantry_model::Usec;

    fn running() -> Vec<UsageRecord> {
        let mut records = report().usage;
        for record in &mut records {
            record.state = UsageState::Running;
        }
        records
    }

    #[test]
    fn running_jobs_are_the_golden_table() {
        let mut seen = Seen::default();
        seen.take(running());
        assert_eq!(seen.table(usize::MAX), include_str!("../tests/golden/top.table"));
        assert_eq!(seen.table(1).lines().count(), 2);
        assert!(Seen::default().table(9).starts_with("No job is running"));
    }

    #[test]
    fn now_is_the_time_between_the_last_two_readings() {
        let mut seen = Seen::default();
        let mut records = vec![running().swap_remove(1)];
        seen.take(records.clone());
        records[0].ended = WallTime::from_unix_usec(records[0].ended.unix_usec() + 10_000_000).unwrap();
        records[0].elapsed_usec = records[0].elapsed_usec.map(|time| Usec(time.0 + 10_000_000));
        records[0].cpu_usage_usec = records[0].cpu_usage_usec.map(|time| Usec(time.0 + 25_000_000));
        for _ in 0..2 {
            // The second time the same reading comes again: what was used before it is still the latest.
            seen.take(records.clone());
            let (_, pace) = seen.runs.values().next().unwrap();
            assert_eq!((pace.over, cores(pace)), (10_000_000, Some(2500)));
        }
    }
}
