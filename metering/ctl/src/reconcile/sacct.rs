//! What `sacct` writes.

use tenantry_model::{Bytes, JobId, Usec, WallTime};

/// The fields that are compared; others in the output are passed over.
pub const FIELDS: [&str; 11] = [
    "JobIDRaw",
    "State",
    "Account",
    "User",
    "AllocCPUS",
    "ElapsedRaw",
    "Suspended",
    "TotalCPU",
    "MaxRSS",
    "Start",
    "End",
];

/// One run of a job in Slurm's accounting: a requeued job has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmRun {
    pub job_id: JobId,
    /// The first word: `CANCELLED by 1001` is `CANCELLED`.
    pub state: String,
    pub account: String,
    pub user: String,
    pub allocated_cpus: Option<u64>,
    /// Whole seconds; suspended time is not in it.
    pub elapsed: Option<Usec>,
    pub suspended: Option<Usec>,
    /// Of all its steps.
    pub cpu: Option<Usec>,
    /// The largest of its tasks, as far as Slurm saw.
    pub max_rss: Option<Bytes>,
    pub start: Option<WallTime>,
    pub end: Option<WallTime>,
}

/// Reads the output of `sacct --parsable2`, its header line included. A step's line follows its job's.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(text: &str) -> Result<Vec<SlurmRun>, String> {
    let mut lines = text.lines().zip(1_usize..);
    let header = lines.next().map(|(line, _)| line).unwrap_or_default();
    let delimiter = header.strip_prefix("JobIDRaw").and_then(|rest| rest.chars().next()).ok_or(
        "line 1 is no header that begins with JobIDRaw: write it with `sacct --parsable2 -o JobIDRaw,...`",
    )?;
    let names: Vec<&str> = header.split(delimiter).collect();
    let places = FIELDS.map(|field| names.iter().position(|name| *name == field));
    if let Some((missing, _)) = FIELDS.iter().zip(places).find(|(_, place)| place.is_none()) {
        return Err(format!("the field {missing} is missing: give sacct -o {}", FIELDS.join(",")));
    }
    let mut runs: Vec<SlurmRun> = Vec::new();
    let mut line = String::new();
    for (part, number) in lines {
        // An account's name may hold a newline.
        if !line.is_empty() {
            line.push('\n');
        }
        line.push_str(part);
        let cells: Vec<&str> = line.split(delimiter).collect();
        if cells.len() < names.len() {
            continue;
        }
        if cells.len() > names.len() {
            return Err(format!("line {number} has {} fields, the header has {}", cells.len(), names.len()));
        }
        let [id, state, account, user, cpus, elapsed, suspended, cpu, max_rss, start, end] =
            places.map(|place| place.and_then(|place| cells.get(place).copied()).unwrap_or_default());
        let wrong = |field: &str, text: &str| format!("line {number}: {text:?} is no {field}");
        let max_rss = bytes(max_rss).map_err(|()| wrong("MaxRSS", max_rss))?;
        match id.split_once('.') {
            // A step; of a job that was filtered out, it has no line of its own.
            Some(_) => {
                let of_job = |run: &&mut SlurmRun| id.split('.').next() == Some(&run.job_id.to_string());
                if let Some(run) = runs.last_mut().filter(of_job) {
                    run.max_rss = run.max_rss.max(max_rss);
                }
            }
            None => runs.push(SlurmRun {
                job_id: id.parse().map_err(|_| wrong("JobIDRaw", id))?,
                state: state.split(' ').next().unwrap_or_default().to_owned(),
                account: account.to_owned(),
                user: user.to_owned(),
                allocated_cpus: number_of(cpus).map_err(|()| wrong("AllocCPUS", cpus))?,
                elapsed: number_of(elapsed)
                    .map_err(|()| wrong("ElapsedRaw", elapsed))?
                    .and_then(|seconds| seconds.checked_mul(1_000_000))
                    .map(Usec),
                suspended: duration(suspended).map_err(|()| wrong("Suspended", suspended))?,
                cpu: duration(cpu).map_err(|()| wrong("TotalCPU", cpu))?,
                max_rss,
                start: time(start).map_err(|()| wrong("Start", start))?,
                end: time(end).map_err(|()| wrong("End", end))?,
            }),
        }
        line.clear();
    }
    if line.is_empty() { Ok(runs) } else { Err(format!("the last line is cut off: {line:?}")) }
}

fn number_of(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| ()) }
}

/// `[D-]HH:MM:SS`, `MM:SS.mmm`.
fn duration(text: &str) -> Result<Option<Usec>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let usec = || {
        let (days, rest) = text.split_once('-').unwrap_or(("0", text));
        let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        let seconds = rest
            .split(':')
            .try_fold(0_u64, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))?;
        let seconds = days.parse::<u64>().ok()?.checked_mul(86_400)?.checked_add(seconds)?;
        let fraction: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
        seconds.checked_mul(1_000_000)?.checked_add(fraction)
    };
    usec().map(|usec| Some(Usec(usec))).ok_or(())
}

/// `1234`, `1234K`, `1.50M`.
fn bytes(text: &str) -> Result<Option<Bytes>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = || {
        let unit = text.chars().last()?;
        let shift = match unit {
            '0'..='9' => 0,
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            _ => return None,
        };
        let number = if shift == 0 { text } else { text.get(..text.len().checked_sub(1)?)? };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let hundredths: u64 = format!("{fraction:0<2}").get(..2)?.parse().ok()?;
        let unit = 1_u64.checked_shl(shift)?;
        let part = unit.checked_mul(hundredths)?.checked_div(100)?;
        whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
    };
    value().map(|bytes| Some(Bytes(bytes))).ok_or(())
}

/// Seconds since 1970 (`SLURM_TIME_FORMAT=%s`), or `2026-11-22T10:00:00`, which is taken for UTC.
fn time(text: &str) -> Result<Option<WallTime>, ()> {
    if text.is_empty() || ["Unknown", "None"].contains(&text) {
        return Ok(None);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        let usec = seconds.checked_mul(1_000_000).ok_or(())?;
        return WallTime::from_unix_usec(usec).map(Some).map_err(|_| ());
    }
    format!("{text}Z").parse().map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_sacct_writes_them() {
        for (text, usec) in [
            ("00:01.234", 1_234_000),
            ("01:02:03", 3_723_000_000),
            ("2-00:00:01", 172_801_000_000),
            ("00:00:00", 0),
            ("12:34.5", 754_500_000),
        ] {
            assert_eq!(duration(text), Ok(Some(Usec(usec))), "{text}");
        }
        assert_eq!((duration(""), duration("x"), duration("1:2:x")), (Ok(None), Err(()), Err(())));
        let sizes = [("0", 0), ("512", 512), ("3K", 3072), ("1.50M", 3 << 19), ("2G", 2 << 30)];
        assert!(sizes.into_iter().all(|(text, size)| bytes(text) == Ok(Some(Bytes(size)))));
        assert_eq!((bytes(""), bytes("K"), bytes("3X")), (Ok(None), Err(()), Err(())));
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!((time("1795341600"), time("2026-11-22T10:00:00")), (Ok(Some(at)), Ok(Some(at))));
        assert_eq!((time("Unknown"), time("soon")), (Ok(None), Err(())));
    }

    #[test]
    fn what_is_no_output_of_sacct_is_said_with_its_line() {
        let header = FIELDS.join("|");
        for (text, says) in [
            (String::new(), "no header"),
            ("JobID|State\n".to_owned(), "no header"),
            ("JobIDRaw|State\n".to_owned(), "the field Account is missing"),
            (format!("{header}\n1|COMPLETED\n"), "cut off"),
            (format!("{header}\n1|COMPLETED|a|u|x|1|00:00:00|00:01|||\n"), "line 2: \"x\" is no AllocCPUS"),
            (format!("{header}\n1|COMPLETED|a|u|1|1|00:00:00|00:01||||\n"), "line 2 has 12 fields"),
        ] {
            let said = parse(&text).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_name_may_hold_a_newline_and_a_steps_peak_is_its_jobs() {
        let header = FIELDS.join("|");
        let text = format!(
            "{header}\n7|CANCELLED by 1001|a\nb|ada|2|3|00:00:00|00:01.5||1795341600|Unknown\n\
             7.batch|CANCELLED|||2|3|00:00:00|00:01.5|100K||\n7.0|COMPLETED|||2|3|00:00:00|00:01.5|3M||\n"
        );
        let runs = parse(&text).unwrap();
        assert_eq!((runs[0].account.as_str(), runs[0].state.as_str()), ("a\nb", "CANCELLED"));
        assert_eq!((runs.len(), runs[0].max_rss, runs[0].end), (1, Some(Bytes(3 << 20)), None));
    }
}
