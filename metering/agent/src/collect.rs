//! Into the spool: a sampling round each interval, a block each minute, and at once what is in the outbox.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tenantry_model::block::{Event, GapReason, Registered as Told, Subject};
use tenantry_model::job::{Allocation, Incarnation, JobEnd, Paths, Placement, Quality};
use tenantry_model::reading::Reading;
use tenantry_model::{Clock, MicroJoules, Moment, NodeName, TenantPath, Usec, describe, durable, fault};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exporter::Shown;
use crate::machine::Machine;
use crate::pending::Pending;
use crate::registered::Registered;
use crate::sampler::{Group, Sampler};
use crate::{outbox, registered};
use tenantry_spool::{Spool, SpoolError};

/// For how many rounds a job's group may be gone without an end in the outbox: an epilog that is
/// just between the two is not taken for a lost one.
const ROUNDS_WITHOUT_GROUP: u32 = 3;

/// After how many rounds a job is told again, should the block that told it be lost.
const ROUNDS_UNTIL_TOLD_AGAIN: u32 = 360;

/// How far the clocks may drift apart between two rounds before that is a step: NTP slews half a
/// millisecond a second at most.
const STEP_USEC: u64 = 100_000;

/// A round is spread over half of its interval, in so many parts, of so many groups at least.
const PARTS: usize = 16;
const PARTS_AN_INTERVAL: u32 = 32;
const LEAST_PART: usize = 64;

/// A job between rounds.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Reading>,
    /// How many rounds in a row the kernel said that its group is not there.
    rounds_without_group: u32,
    /// Its share of the node's energy so far.
    energy: Option<MicroJoules>,
    /// What the ledger was told of its allocation, and how many rounds ago.
    told: Option<(Option<Allocation>, u32)>,
}

/// Logs what failed and is tried again. With a spool that is damaged nothing can be tried again.
fn give_up_if_damaged(error: anyhow::Error) -> Result<()> {
    if error.downcast_ref::<SpoolError>().is_some_and(SpoolError::is_damage) {
        return Err(error);
    }
    tracing::error!("{error:#}; it is tried again, nothing is lost so far");
    Ok(())
}

/// The task that fills the spool.
pub struct Collector {
    paths: Paths,
    node: NodeName,
    sample_interval: Duration,
    outbox_interval: Duration,
    block_interval: Duration,
    clock: Box<dyn Clock>,
    sampler: Sampler,
    machine: Machine,
    spool: Spool,
    spooled: Arc<Notify>,
    seen: BTreeMap<Incarnation, Seen>,
    pending: Pending,
    last_round: Option<Moment>,
    /// How many groups a part of this round has, and how many are still to be read.
    part: usize,
    left: usize,
    /// What the round has read so far, and where it is shown when it is through.
    round: BTreeMap<Subject, (Option<TenantPath>, Reading)>,
    shown: Shown,
    has_room: bool,
}

impl Collector {
    pub fn new(
        config: &Config,
        clock: Box<dyn Clock>,
        sampler: Sampler,
        machine: Machine,
        spool: Spool,
        spooled: Arc<Notify>,
        shown: Shown,
    ) -> Self {
        Self {
            paths: config.paths(),
            node: config.node_name.clone(),
            sample_interval: Duration::from_millis(config.sample_interval_ms),
            outbox_interval: Duration::from_millis(config.outbox_interval_ms),
            block_interval: Duration::from_millis(config.block_interval_ms),
            clock,
            sampler,
            machine,
            spool,
            spooled,
            seen: BTreeMap::new(),
            pending: Pending::default(),
            last_round: None,
            part: LEAST_PART,
            left: 0,
            round: BTreeMap::new(),
            shown,
            has_room: true,
        }
    }

    /// Until told to stop. A round that fails is logged, and the next one tries again: the
    /// counters are the kernel's, the outbox keeps its files.
    ///
    /// # Errors
    /// Where the spool's file is damaged: the next start puts it aside.
    pub async fn run(mut self, start: Vec<Event>, stop: CancellationToken) -> Result<()> {
        for event in start {
            self.pending.tell(event);
        }
        outbox::take_back(&self.paths).context("cannot take back the ends that wait")?;
        if let Err(error) = self.flush(&[]).await.context("cannot spool the daemon's start") {
            give_up_if_damaged(error)?;
        }
        let mut sample = interval(self.sample_interval);
        let mut look = interval(self.outbox_interval);
        let mut block = interval(self.block_interval);
        let mut pace =
            interval(self.sample_interval.checked_div(PARTS_AN_INTERVAL).unwrap_or(self.sample_interval));
        for timer in [&mut sample, &mut look, &mut block, &mut pace] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        block.reset();
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => self.take_outbox().await.context("cannot take the outbox"),
                _ = sample.tick() => self.begin_round().await.context("cannot take a sampling round"),
                _ = pace.tick(), if self.left > 0 => self.read_part(),
                _ = block.tick() => self.flush(&[]).await.context("cannot spool a block"),
            };
            if let Err(error) = done {
                give_up_if_damaged(error)?;
            }
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let at = self.clock.now().context("cannot read the clock")?;
        self.pending.tell(Event::Stopped { at });
        self.flush(&[]).await.context("cannot spool what was read last; the next start records the gap")
    }

    /// Begins a round. Its first part is read at once, the others as [`Collector::read_part`] is called.
    async fn begin_round(&mut self) -> Result<()> {
        let jobs = registered::find(&self.paths).context("cannot list the registered jobs")?;
        self.remember(&jobs);
        self.sampler.set_jobs(jobs.iter().map(|job| &job.registration));
        let now = self.sampler.begin().context("cannot begin a sampling round")?;
        // The last round's, where some group's turn has not come in it.
        self.end_of_machine();
        self.round.clear();
        let registrations = jobs.iter().map(|job| &job.registration);
        tokio::task::block_in_place(|| self.machine.begin(now, registrations));
        self.watch_the_clocks(now);
        self.part = self.sampler.groups().div_ceil(PARTS).max(LEAST_PART);
        self.read_part()?;
        let lost = self.ends_of_lost_jobs(&jobs, now);
        if !lost.is_empty() {
            let (records, ends): (Vec<PathBuf>, Vec<JobEnd>) = lost.into_iter().unzip();
            self.flush(&ends).await?;
            for records in records {
                fs::remove_dir_all(&records)
                    .with_context(|| format!("cannot remove {}", records.display()))?;
            }
        }
        Ok(())
    }

    fn read_part(&mut self) -> Result<()> {
        let Self { sampler, machine, pending, seen, part, round, .. } = self;
        let rounds = machine.rounds();
        let keep = &mut |group: Group<'_>, reading: &Reading| {
            let mut reading = reading.clone();
            let (subject, tenant) = match group {
                Group::Job(registration) => {
                    if let Some(Seen { last, energy, .. }) = seen.get_mut(&registration.incarnation) {
                        rounds.complete(registration, last.as_ref(), energy, &mut reading);
                        *last = Some(reading.clone());
                    }
                    (Subject::Job(registration.incarnation.clone()), registration.placement.tenant().cloned())
                }
                Group::Tenant { node, path } => {
                    (Subject::Tenant { node: node.clone(), tenant: path.clone() }, None)
                }
            };
            round.insert(subject.clone(), (tenant, reading.clone()));
            pending.add(subject, reading);
        };
        // cgroupfs answers from memory: reading it does not block for long.
        let left = tokio::task::block_in_place(|| sampler.read_some(*part, Usec(u64::MAX), keep));
        self.left = left.context("cannot read a part of a sampling round")?;
        if self.left == 0 {
            self.end_of_machine();
            let (groups, effort) = (std::mem::take(&mut self.round), self.sampler.effort());
            self.shown.update(|shown| (shown.groups, shown.effort) = (groups, effort));
        }
        Ok(())
    }

    /// The machine's own reading, when its round is through.
    fn end_of_machine(&mut self) {
        if let Some(reading) = self.machine.rounds().end() {
            let subject = Subject::Node { node: self.node.clone() };
            self.round.insert(subject.clone(), (None, reading.clone()));
            self.pending.add(subject, reading);
        }
    }

    /// Says where the wall clock was set, and where rounds were missed.
    fn watch_the_clocks(&mut self, now: Moment) {
        if let Some(last) = self.last_round.replace(now) {
            let offset = |at: Moment| at.wall.unix_usec().saturating_sub_unsigned(at.boottime_usec.0);
            let by_usec = offset(now).saturating_sub(offset(last));
            if by_usec.unsigned_abs() > STEP_USEC {
                tracing::warn!(by_usec, "the wall clock was set; durations are the monotonic clock's");
                self.pending.tell(Event::ClockStepped { at: now, by_usec });
            }
            let late = self.sample_interval.saturating_mul(2).as_micros();
            if now.since(&last).is_some_and(|time| u128::from(time.0) > late) {
                self.pending.tell(Event::Gap { from: last, to: now, reason: GapReason::Late });
            }
        }
    }

    /// Keeps what is known of the jobs that are there, and tells those that are new, or whose
    /// allocation is.
    fn remember(&mut self, jobs: &[Registered]) {
        let mut before = std::mem::take(&mut self.seen);
        for Registered { records, registration } in jobs {
            let Placement::Grafted { leaf, .. } = &registration.placement else { continue };
            let mut job = before.remove(&registration.incarnation).unwrap_or_default();
            let gone = self.sampler.is_gone(leaf);
            job.rounds_without_group = if gone { job.rounds_without_group.saturating_add(1) } else { 0 };
            let known = job.told.and_then(|(allocation, _)| allocation);
            // Another look each round until the first step has told it.
            let allocation = known.or_else(|| durable::read_json(&records.allocation()).unwrap_or_default());
            let rounds = job
                .told
                .filter(|(before, rounds)| *before == allocation && *rounds < ROUNDS_UNTIL_TOLD_AGAIN);
            if rounds.is_none() {
                self.pending.register(Told { registration: registration.clone(), allocation });
            }
            job.told = Some((allocation, rounds.map_or(0, |(_, rounds)| rounds.saturating_add(1))));
            self.seen.insert(registration.incarnation.clone(), job);
        }
    }

    /// Jobs whose group is gone and whose end never came, though they are registered: the last
    /// reading is the best there is, and the record says so.
    fn ends_of_lost_jobs(&self, jobs: &[Registered], now: Moment) -> Vec<(PathBuf, JobEnd)> {
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
            let ended = seen.last.as_ref().map_or(now, |reading| reading.at);
            let end = JobEnd {
                registration: registration.clone(),
                allocation,
                reading: seen.last.clone(),
                steps: None,
                ended,
                quality,
                unmeasured_usec: now.since(&ended),
            };
            ends.push((records.dir.clone(), end));
        }
        ends
    }

    async fn take_outbox(&mut self) -> Result<()> {
        let found = outbox::find(&self.paths).context("cannot list the outbox")?;
        let (mut ends, mut fresh) = (Vec::new(), Vec::new());
        for entry in &found {
            let name = entry.name();
            // Spooled before, but killed before the file was out of the way.
            if !self.spool.has_taken(&name).await? {
                ends.push(entry.end.clone());
                fresh.push(name);
            }
        }
        if !ends.is_empty() {
            self.put(&ends, &fresh).await?;
        }
        let files: Vec<PathBuf> = found.into_iter().map(|entry| entry.file).collect();
        outbox::wait(&self.paths, &files).context("cannot move files out of the outbox")?;
        fault::step("outbox: moved");
        self.let_go().await
    }

    /// Removes the files of ends that the ledger has.
    async fn let_go(&mut self) -> Result<()> {
        let done = self.spool.done_files().await?;
        outbox::remove(&self.paths, &done).context("cannot remove files whose ends the ledger has")?;
        fault::step("outbox: removed");
        Ok(self.spool.forget(&done).await?)
    }

    async fn flush(&mut self, ends: &[JobEnd]) -> Result<()> {
        let now = self.clock.now().context("cannot read the clock")?;
        match self.spool.prune(now.wall).await {
            Ok(has_room) => self.say_room(has_room),
            Err(error) => {
                tracing::error!("{}; it is tried again with the next block", describe(&error));
            }
        }
        self.put(ends, &[]).await?;
        let (waiting, spool_bytes) = (self.spool.waiting().await?, self.spool.used_bytes().await?);
        let has_room = self.has_room;
        self.shown.update(|shown| {
            (shown.waiting, shown.spool_bytes, shown.has_room) = (waiting, spool_bytes, has_room);
        });
        Ok(())
    }

    fn say_room(&mut self, has_room: bool) {
        if has_room != self.has_room {
            if has_room {
                tracing::info!("the spool has room for readings again");
            } else {
                tracing::error!(
                    "the spool is full: readings are not kept until the server takes blocks, final counters are; \
                     see that tenantry-server runs, or raise spool_max_bytes"
                );
            }
        }
        self.has_room = has_room;
    }

    /// All that waits, and these ends, as one block. Where it fails all of it still waits.
    async fn put(&mut self, ends: &[JobEnd], files: &[String]) -> Result<()> {
        let now = self.clock.now().context("cannot read the clock")?;
        if !self.has_room {
            self.pending.give_up(GapReason::SpoolFull, now);
        }
        let (mut contents, last_reading) = self.pending.contents();
        contents.ends = ends.to_vec();
        let key = self.spool.append(&contents, last_reading, files, now).await?;
        self.pending.clear();
        tracing::debug!(sequence = key.sequence, ends = ends.len(), "a block is spooled");
        self.spooled.notify_one();
        Ok(())
    }
}
