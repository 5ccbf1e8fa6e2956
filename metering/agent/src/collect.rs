//! Into the spool: a sampling round each interval, and what is in the outbox each second.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tenantry_model::block::Entry;
use tenantry_model::job::{Allocation, Incarnation, JobEnd, Paths, Placement, Quality};
use tenantry_model::reading::Reading;
use tenantry_model::{Clock, SystemClock, durable};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::registered::Registered;
use crate::sampler::{Group, Sampler};
use crate::spool::Spool;
use crate::{outbox, registered};

/// For how many rounds a job's group may be gone without an end in the outbox: an epilog that is
/// just between the two is not taken for a lost one.
const ROUNDS_WITHOUT_GROUP: u32 = 3;

/// A job between rounds.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Reading>,
    /// How many rounds in a row the kernel said that its group is not there.
    rounds_without_group: u32,
}

/// The task that fills the spool.
pub struct Collector {
    paths: Paths,
    sample_interval: Duration,
    outbox_interval: Duration,
    sampler: Sampler,
    spool: Spool,
    spooled: Arc<Notify>,
    seen: BTreeMap<Incarnation, Seen>,
}

impl Collector {
    pub fn new(config: &Config, sampler: Sampler, spool: Spool, spooled: Arc<Notify>) -> Self {
        Self {
            paths: config.paths(),
            sample_interval: Duration::from_millis(config.sample_interval_ms),
            outbox_interval: Duration::from_millis(config.outbox_interval_ms),
            sampler,
            spool,
            spooled,
            seen: BTreeMap::new(),
        }
    }

    /// Until told to stop. A round that fails is logged, and the next one tries again: the
    /// counters are the kernel's, the outbox keeps its files.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sample = interval(self.sample_interval);
        let mut look = interval(self.outbox_interval);
        for timer in [&mut sample, &mut look] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.take_outbox().await.context("cannot take the outbox"),
                _ = sample.tick() => self.sample().await.context("cannot spool a sampling round"),
            };
            if let Err(error) = done {
                tracing::error!("{error:#}; it is tried again, nothing is lost so far");
            }
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }

    async fn sample(&mut self) -> Result<()> {
        let jobs = registered::find(&self.paths).context("cannot list the registered jobs")?;
        let mut entries = Vec::new();
        // cgroupfs answers from memory: reading it does not block for long.
        tokio::task::block_in_place(|| {
            self.sampler.set_jobs(jobs.iter().map(|job| &job.registration));
            self.sampler.round(&mut |group, reading| entries.push(entry(group, reading.clone())))
        })
        .context("cannot sample")?;
        self.remember(&jobs, &entries);
        let lost = self.ends_of_lost_jobs(&jobs)?;
        entries.extend(lost.iter().map(|(_, end)| Entry::End(Box::new(end.clone()))));
        if !entries.is_empty() {
            self.spool.append(entries, &[]).await?;
            self.spooled.notify_one();
        }
        for (records, _) in lost {
            fs::remove_dir_all(&records).with_context(|| format!("cannot remove {}", records.display()))?;
        }
        Ok(())
    }

    fn remember(&mut self, jobs: &[Registered], entries: &[Entry]) {
        let mut before = std::mem::take(&mut self.seen);
        for Registered { registration, .. } in jobs {
            let Placement::Grafted { leaf, .. } = &registration.placement else { continue };
            let mut job = before.remove(&registration.incarnation).unwrap_or_default();
            let gone = self.sampler.is_gone(leaf);
            job.rounds_without_group = if gone { job.rounds_without_group.saturating_add(1) } else { 0 };
            self.seen.insert(registration.incarnation.clone(), job);
        }
        for entry in entries {
            if let Entry::Job { registration, reading } = entry
                && let Some(job) = self.seen.get_mut(&registration.incarnation)
            {
                job.last = Some(reading.clone());
            }
        }
    }

    /// Jobs whose group is gone and whose end never came, though they are registered: the last
    /// reading is the best there is, and the record says so.
    fn ends_of_lost_jobs(&self, jobs: &[Registered]) -> Result<Vec<(PathBuf, JobEnd)>> {
        let mut ends = Vec::new();
        for Registered { records, registration } in jobs {
            let Some(seen) = self.seen.get(&registration.incarnation) else { continue };
            // Where an end was told, its close is only to be finished.
            if seen.rounds_without_group <= ROUNDS_WITHOUT_GROUP || records.end().exists() {
                continue;
            }
            let job = registration.incarnation.job_id;
            tracing::error!(%job, "the job's group is gone without final counters; its last reading closes it, marked estimated");
            let allocation: Option<Allocation> =
                durable::read_json(&records.allocation()).unwrap_or_else(|error| {
                    tracing::error!(%job, %error, "cannot read the job's allocation, which stays unknown");
                    None
                });
            let quality = if seen.last.is_some() { Quality::Estimated } else { Quality::Gap };
            let ended = match &seen.last {
                Some(reading) => reading.at,
                None => SystemClock.now().context("cannot read the clock")?,
            };
            let reading = seen.last.clone();
            let end = JobEnd { registration: registration.clone(), allocation, reading, ended, quality };
            ends.push((records.dir.clone(), end));
        }
        Ok(ends)
    }

    async fn take_outbox(&mut self) -> Result<()> {
        let mut found = outbox::find(&self.paths).context("cannot list the outbox")?;
        let mut names = Vec::with_capacity(found.len());
        let (mut entries, mut fresh) = (Vec::new(), Vec::new());
        for entry in &mut found {
            let name = entry.file.to_string_lossy().into_owned();
            // Spooled before, but killed before the file was gone.
            if !self.spool.has_taken(&name).await? {
                entries.push(Entry::End(Box::new(entry.end.clone())));
                fresh.push(name.clone());
            }
            names.push(name);
        }
        if !entries.is_empty() {
            let key = self.spool.append(entries, &fresh).await?;
            tracing::debug!(ends = fresh.len(), sequence = key.sequence, "outbox taken");
            self.spooled.notify_one();
        }
        for entry in &found {
            fs::remove_file(&entry.file)
                .with_context(|| format!("cannot remove {}", entry.file.display()))?;
        }
        self.spool.forget(&names).await?;
        Ok(())
    }
}

fn entry(group: Group<'_>, reading: Reading) -> Entry {
    match group {
        Group::Job(registration) => Entry::Job { registration: Box::new(registration.clone()), reading },
        Group::Tenant { node, path } => Entry::Tenant { node: node.clone(), tenant: path.clone(), reading },
    }
}
