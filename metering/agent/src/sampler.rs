//! Reads the groups of the registered jobs and of their tenants, with descriptors kept open and one
//! buffer. A round over groups that were read before allocates nothing (`tests/allocations.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tenantry_cgroup::bpf::{Counters, PINS};
use tenantry_cgroup::{Error, GroupPath, GroupReader, ReadBuffer, Result, Root, tenant};
use tenantry_model::job::{Placement, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::{Clock, Moment, NodeName, TenantPath, Usec, describe};

/// Whose counters a reading has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group<'a> {
    /// A job's.
    Job(&'a Registration),
    /// A tenant's.
    Tenant {
        /// Slurm's node: slurmd's scope tells which.
        node: &'a NodeName,
        /// Whose.
        path: &'a TenantPath,
    },
}

/// What the sampler has done, and at what cost, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Rounds begun.
    pub rounds: u64,
    /// Groups read.
    pub read: u64,
    /// Groups that were gone when their turn came: a job's end is in the outbox.
    pub gone: u64,
    /// Groups that could not be read.
    pub failed: u64,
    /// Groups whose turn had not come when the next round began.
    pub late: u64,
    /// CPU time of reading, the callback's included.
    pub cpu: Usec,
    /// Time of reading, the callback's included.
    pub elapsed: Usec,
}

/// Keeps a reader for each group from round to round.
///
/// A round is begun, then read in as many parts as the caller likes: that is how it is spread over
/// the interval.
pub struct Sampler {
    root: Root,
    clock: Box<dyn Clock>,
    traffic: Option<Arc<Counters>>,
    slots: Vec<Slot>,
    round: Option<Round>,
    buffer: ReadBuffer,
    effort: Effort,
}

/// A group and its reader.
struct Slot {
    path: GroupPath,
    whose: Owner,
    reader: Option<GroupReader>,
    /// The last round in which its turn came.
    round: u64,
    /// It could not be read, which was logged.
    complained: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Owner {
    Job(Box<Registration>),
    Tenant { node: NodeName, path: TenantPath },
}

impl Owner {
    fn group(&self) -> Group<'_> {
        match self {
            Self::Job(registration) => Group::Job(registration),
            Self::Tenant { node, path } => Group::Tenant { node, path },
        }
    }
}

struct Round {
    number: u64,
    began: Moment,
    /// The slot to look at next.
    next: usize,
    /// Slots whose turn is still to come.
    left: usize,
}

/// What became of a group in its turn.
enum Turn {
    Read,
    Gone,
    Failed,
}

impl Sampler {
    /// A sampler of the groups below a root.
    #[must_use]
    pub fn new(root: Root, clock: Box<dyn Clock>) -> Self {
        Self {
            root,
            clock,
            traffic: None,
            slots: Vec::new(),
            round: None,
            buffer: ReadBuffer::default(),
            effort: Effort::default(),
        }
    }

    /// From now on these jobs' groups are read, and those of the tenants they are in. To be called
    /// when the set changes; a group that stays keeps its reader. In the midst of a round the new
    /// groups get their turn in it, and none gets two.
    pub fn set_jobs<'r>(&mut self, jobs: impl IntoIterator<Item = &'r Registration>) {
        // Pinned by the first job's prolog; the readers are made anew to have it.
        if self.traffic.is_none()
            && let Ok(counters) = Counters::open(PINS.as_ref())
        {
            self.traffic = Some(Arc::new(counters));
            self.slots.iter_mut().for_each(|slot| slot.reader = None);
        }
        let mut before: BTreeMap<GroupPath, Slot> =
            std::mem::take(&mut self.slots).into_iter().map(|slot| (slot.path.clone(), slot)).collect();
        let mut slots = Vec::with_capacity(before.len());
        for (path, whose) in owners(jobs) {
            slots.push(match before.remove(&path) {
                Some(slot) if slot.whose == whose => slot,
                _ => Slot { path, whose, reader: None, round: 0, complained: false },
            });
        }
        self.slots = slots;
        if let Some(round) = &mut self.round {
            round.next = 0;
            round.left = self.slots.iter().filter(|slot| slot.round != round.number).count();
        }
    }

    /// How many groups a round has.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.slots.len()
    }

    /// Begins a round: the one moment whose wall time all its readings are counted from. What the
    /// last one had left is late.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn begin(&mut self) -> Result<Moment> {
        let began = self.clock.now().map_err(Error::Clock)?;
        let late = self.round.take().map_or(0, |round| count(round.left));
        let effort = &mut self.effort;
        effort.late = effort.late.saturating_add(late);
        effort.rounds = effort.rounds.saturating_add(1);
        self.round = Some(Round { number: effort.rounds, began, next: 0, left: self.slots.len() });
        Ok(began)
    }

    /// Reads the round's next groups, `most` of them and none after `deadline`, and hands out each
    /// reading. A group that is gone by now has none. Answers how many are left.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn read_some(
        &mut self,
        most: usize,
        deadline: Usec,
        each: &mut dyn FnMut(Group<'_>, &Reading),
    ) -> Result<usize> {
        let cpu_before = self.clock.thread_cpu().map_err(Error::Clock)?;
        let before = self.clock.boottime().map_err(Error::Clock)?;
        let done = self.part(most, deadline, each);
        let cpu = self.clock.thread_cpu().map_err(Error::Clock)?.since(cpu_before);
        let elapsed = self.clock.boottime().map_err(Error::Clock)?.since(before);
        let effort = &mut self.effort;
        effort.cpu = cpu.and_then(|cpu| effort.cpu.checked_add(cpu)).unwrap_or(effort.cpu);
        effort.elapsed =
            elapsed.and_then(|elapsed| effort.elapsed.checked_add(elapsed)).unwrap_or(effort.elapsed);
        done?;
        Ok(self.round.as_ref().map_or(0, |round| round.left))
    }

    /// A whole round at once.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn round(&mut self, each: &mut dyn FnMut(Group<'_>, &Reading)) -> Result<()> {
        self.begin()?;
        self.read_some(usize::MAX, Usec(u64::MAX), each).map(drop)
    }

    /// What all rounds so far have done.
    #[must_use]
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Whether the kernel says that a group is not there. One that cannot be read may be.
    #[must_use]
    pub fn is_gone(&self, group: &Path) -> bool {
        GroupPath::new(group).and_then(|group| self.root.exists(&group)).is_ok_and(|exists| !exists)
    }

    fn part(&mut self, most: usize, deadline: Usec, each: &mut dyn FnMut(Group<'_>, &Reading)) -> Result<()> {
        let Self { root, clock, traffic, slots, round, buffer, effort } = self;
        let Some(round) = round else { return Ok(()) };
        let mut reading = Reading::empty(round.began);
        let mut outcome = Ok(());
        let mut taken = 0_usize;
        for slot in slots.iter_mut().skip(round.next) {
            if slot.round != round.number {
                if taken == most {
                    break;
                }
                let now = match clock.boottime() {
                    Ok(now) if now > deadline => break,
                    Ok(now) => round.began.at_boottime(now),
                    Err(error) => {
                        outcome = Err(Error::Clock(error));
                        break;
                    }
                };
                // A clock that goes back leaves the round's own moment.
                let turn =
                    slot.read(root, traffic.as_ref(), now.unwrap_or(round.began), buffer, &mut reading);
                let counter = match turn {
                    Turn::Read => {
                        each(slot.whose.group(), &reading);
                        &mut effort.read
                    }
                    Turn::Gone => &mut effort.gone,
                    Turn::Failed => &mut effort.failed,
                };
                *counter = counter.saturating_add(1);
                slot.round = round.number;
                round.left = round.left.saturating_sub(1);
                taken = taken.saturating_add(1);
            }
            round.next = round.next.saturating_add(1);
        }
        buffer.reclaim(reading);
        outcome
    }
}

impl Slot {
    fn read(
        &mut self,
        root: &Root,
        traffic: Option<&Arc<Counters>>,
        at: Moment,
        buffer: &mut ReadBuffer,
        reading: &mut Reading,
    ) -> Turn {
        if let Some(reader) = &self.reader {
            reader.read_into(at, buffer, reading);
            // A group that is there has a cpu.stat; one that is gone has nothing.
            if reading.cpu_usage().is_some() {
                return Turn::Read;
            }
        }
        // Its name may have been taken by a new group: a tenant's that was empty for a while.
        self.reader = None;
        match GroupReader::open_with(root, &self.path, traffic.cloned()) {
            Ok(reader) => {
                reader.read_into(at, buffer, reading);
                if reading.cpu_usage().is_none() {
                    return Turn::Gone;
                }
                self.reader = Some(reader);
                self.complained = false;
                Turn::Read
            }
            Err(error) if error.is_absent() => Turn::Gone,
            Err(error) => {
                if !self.complained {
                    tracing::error!(group = %self.path, "{}; it is tried again in each round", describe(&error));
                }
                self.complained = true;
                Turn::Failed
            }
        }
    }
}

/// Every group to be read, by its path.
fn owners<'r>(jobs: impl IntoIterator<Item = &'r Registration>) -> BTreeMap<GroupPath, Owner> {
    let mut owners = BTreeMap::new();
    for registration in jobs {
        let Placement::Grafted { tenant: path, leaf, .. } = &registration.placement else { continue };
        let (Ok(leaf), Ok(scope)) = (GroupPath::new(leaf), GroupPath::new(&registration.scope)) else {
            tracing::error!(job = %registration.incarnation.job_id, "a registration names no group");
            continue;
        };
        owners.insert(leaf, Owner::Job(Box::new(registration.clone())));
        for level in path.lineage() {
            if let Ok(group) = tenant::group(&scope, &level) {
                let node = registration.incarnation.node.clone();
                owners.insert(group, Owner::Tenant { node, path: level });
            }
        }
    }
    owners
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
