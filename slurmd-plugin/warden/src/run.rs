//! The loop: a look every few seconds, and at once when the tenants file changes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;
use tenantry_isolation::Site;
use tenantry_isolation::enforce::{self, Applied};
use tenantry_isolation::reconcile::Reconciler;

use crate::say;
use crate::slurm::Squeue;

/// What `run` and `once` take.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    interval: u16,
    /// Slurm's squeue, asked about jobs that look over.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/squeue")]
    squeue: PathBuf,
}

impl Default for Args {
    fn default() -> Self {
        Self { interval: 10, squeue: "/usr/bin/squeue".into() }
    }
}

/// Looks until SIGTERM.
///
/// # Errors
/// Where this node has no cgroup v2, or the kernel refuses a watch.
pub fn watch(args: &Args) -> Result<()> {
    let signals = signals().context("cannot wait for signals")?;
    let watch =
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("cannot watch files")?;
    let site = Site::system(say)?;
    let mut reconciler = Reconciler::new(site);
    let squeue = Squeue { program: args.squeue.clone() };
    let interval =
        PollTimeout::try_from(Duration::from_secs(args.interval.into())).context("the interval")?;
    let mut is_ready = false;
    let mut told = BTreeSet::new();
    loop {
        // Anew each time: a drop-in directory may have come, or an editor replaced it.
        watch_tenants(&watch, &reconciler)?;
        apply(&reconciler, &mut told);
        if let Err(error) = reconciler.look(&squeue) {
            tracing::error!("cannot look at this node's jobs: {}; it is tried again", error.describe());
        }
        if !is_ready {
            is_ready = true;
            tracing::info!("the warden has had its first look");
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        watch_ends(&watch, &reconciler)?;
        let interval = if reconciler.is_hurried() { PollTimeout::from(1000_u16) } else { interval };
        let mut waited =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, interval) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait"),
        }
        if let Some(signal) = signals.read_signal().context("cannot read a signal")? {
            if Signal::try_from(signal.ssi_signo.cast_signed()) == Ok(Signal::SIGHUP) {
                tracing::info!("told to look again");
            } else {
                tracing::info!("the warden ends; jobs go on");
                return Ok(());
            }
        }
        // What changed does not matter: everything is looked at.
        while watch.read_events().is_ok() {}
    }
}

/// Looks until there is nothing left to mend, twice at least: what is concluded from two looks
/// needs them.
///
/// # Errors
/// As [`watch`], and where something could not be mended.
pub fn once(args: &Args) -> Result<()> {
    const LOOKS: usize = 10;
    let mut reconciler = Reconciler::new(Site::system(say)?);
    let squeue = Squeue { program: args.squeue.clone() };
    apply(&reconciler, &mut BTreeSet::new());
    let mut calm = 0_usize;
    for _ in 0..LOOKS {
        let mended = reconciler.look(&squeue)?;
        calm = if mended == 0 { calm.saturating_add(1) } else { 0 };
        if calm > 1 {
            return Ok(());
        }
    }
    anyhow::bail!("something is mended at each of {LOOKS} looks; the lines above say what")
}

/// Applies the tenants file; what cannot be done is said once.
fn apply(reconciler: &Reconciler, told: &mut BTreeSet<String>) {
    let mut failed = BTreeSet::new();
    match enforce::apply_in_force(reconciler.site()) {
        Ok((applied, stale)) => {
            failed.extend(stale.map(|stale| format!("{stale}; the last good tenants file stays in force")));
            for Applied { tenant, changed, failed: errors, .. } in applied {
                for change in changed {
                    tracing::info!("tenant {tenant}: {change}");
                }
                failed.extend(errors.iter().map(|error| format!("tenant {tenant}: {}", error.describe())));
            }
        }
        Err(error) => failed.extend([error.describe()]),
    }
    for failure in failed.difference(told) {
        tracing::error!("{failure}; it is tried again");
    }
    // What is mended, and comes again, is said again.
    *told = failed;
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The end of a job that will have no epilog shows in its group.
fn watch_ends(watch: &Inotify, reconciler: &Reconciler) -> Result<()> {
    for leaf in reconciler.without_epilog() {
        let file = reconciler.site().root.path().join(leaf.as_path()).join("cgroup.events");
        match watch.add_watch(&file, AddWatchFlags::IN_MODIFY) {
            // It is gone already, or there are more than the kernel watches: the next look sees it.
            Ok(_) | Err(Errno::ENOENT | Errno::ENOSPC) => {}
            Err(errno) => return Err(errno).with_context(|| format!("cannot watch {}", file.display())),
        }
    }
    Ok(())
}

fn watch_tenants(watch: &Inotify, reconciler: &Reconciler) -> Result<()> {
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE;
    let etc = &reconciler.site().paths.etc;
    for dir in [etc.clone(), etc.join("tenants.d")] {
        match watch.add_watch(&dir, changes) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(|| format!("cannot watch {}", dir.display())),
        }
    }
    Ok(())
}
