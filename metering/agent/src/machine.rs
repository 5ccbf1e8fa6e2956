//! What is the machine's and no group's: its GPUs and its energy. In each round both are read once, at its
//! beginning; each job's reading then gets the GPUs it has alone, and its share of the energy.

use std::collections::BTreeMap;
use std::path::Path;

use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Incarnation, Registration};
use tenantry_model::reading::{GpuReading, Reading};
use tenantry_model::{CpuList, GpuName, MicroJoules, Moment, Usec};
use tenantry_usage::energy::Split;

use crate::gpu::Gpus;
use crate::gpu::places::{self, Gpu, Listed};
use crate::powercap::{NodeEnergy, Powercap};

/// The machine between rounds.
pub struct Machine {
    gpus: Option<Gpus>,
    powercap: Powercap,
    rounds: Rounds,
}

impl Machine {
    /// This one: its energy is below `powercap`, its GPUs are known by NVML and, where the site lists
    /// them, by their places in Slurm's GRES.
    #[must_use]
    pub fn new(powercap: &Path, listed: Option<Vec<Listed>>) -> Self {
        let powercap = Powercap::open(powercap);
        tracing::info!(domains = powercap.len(), "the node's energy is read by powercap");
        let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online")
            .ok()
            .and_then(|cpus| cpus.trim_ascii().parse::<CpuList>().ok())
            .and_then(|cpus| u64::try_from(cpus.iter().count()).ok());
        Self { gpus: Gpus::start(), powercap, rounds: Rounds::new(cpus.unwrap_or_default(), listed) }
    }

    /// Begins a round: reads the machine, and finds out who has which GPU.
    pub fn begin<'r>(&mut self, at: Moment, jobs: impl Iterator<Item = &'r Registration>) {
        let found = self.gpus.as_mut().map(Gpus::read).unwrap_or_default();
        let energy = self.powercap.read(at.boottime_usec);
        self.rounds.begin(at, energy, &found.gpus, found.readings, jobs);
    }

    /// The state that jobs' readings are completed from.
    pub fn rounds(&mut self) -> &mut Rounds {
        &mut self.rounds
    }
}

/// Who gets what of a round: no IO.
#[derive(Debug, Default)]
pub struct Rounds {
    cpus: u64,
    listed: Option<Vec<Listed>>,
    round: Option<Round>,
    unattributed: MicroJoules,
    /// Places in Slurm's GRES that are no GPU for certain, which was logged.
    complained: bool,
}

#[derive(Debug)]
struct Round {
    began: Moment,
    /// When the round before began, if there was one.
    before: Option<Usec>,
    energy: NodeEnergy,
    /// What was used since then, being split.
    split: Option<Split>,
    gpus: Vec<GpuReading>,
    /// Whose a GPU is: `None`, where it is more than one job's.
    holders: BTreeMap<GpuName, Option<Incarnation>>,
    ended: bool,
}

impl Rounds {
    /// Of a machine with so many CPUs; 0: that is not known, and no job has a share.
    #[must_use]
    pub fn new(cpus: u64, listed: Option<Vec<Listed>>) -> Self {
        Self { cpus, listed, ..Self::default() }
    }

    /// Begins a round with what was read of the machine.
    pub fn begin<'r>(
        &mut self,
        at: Moment,
        energy: NodeEnergy,
        known: &[Gpu],
        gpus: Vec<GpuReading>,
        jobs: impl Iterator<Item = &'r Registration>,
    ) {
        let before = self.round.take();
        let used = before.as_ref().and_then(|round| energy.sum()?.since(round.energy.sum()?));
        let time = before.as_ref().and_then(|round| at.since(&round.began));
        let capacity = time.and_then(|time| time.0.checked_mul(self.cpus));
        self.round = Some(Round {
            began: at,
            before: before.map(|round| round.began.boottime_usec),
            energy,
            split: used.zip(capacity).map(|(used, capacity)| Split::new(used, Usec(capacity))),
            gpus,
            holders: self.holders(known, jobs),
            ended: false,
        });
    }

    fn holders<'r>(
        &mut self,
        known: &[Gpu],
        jobs: impl Iterator<Item = &'r Registration>,
    ) -> BTreeMap<GpuName, Option<Incarnation>> {
        let mut holders = BTreeMap::new();
        if known.is_empty() {
            return holders;
        }
        for job in jobs {
            for place in &job.allocated_gpus {
                match places::at(*place, self.listed.as_deref(), known) {
                    Ok(gpu) => {
                        let only = (!holders.contains_key(gpu)).then(|| job.incarnation.clone());
                        holders.insert(gpu.clone(), only);
                    }
                    Err(why) if !self.complained => {
                        self.complained = true;
                        tracing::warn!(
                            job = %job.incarnation.job_id, place,
                            "which GPU Slurm's number means is not certain: {why}; its figures are absent; \
                             list the GPUs in tenantryd.toml as gpus = [...], in the order of slurmd -G"
                        );
                    }
                    Err(_) => {}
                }
            }
        }
        holders
    }

    /// Completes a job's reading. `last` is its reading before, `energy` its share so far.
    pub fn complete(
        &mut self,
        job: &Registration,
        last: Option<&Reading>,
        energy: &mut Option<MicroJoules>,
        reading: &mut Reading,
    ) {
        let Some(round) = &mut self.round else { return };
        let is_its = |gpu: &&GpuReading| {
            round.holders.get(&gpu.gpu).is_some_and(|holder| holder.as_ref() == Some(&job.incarnation))
        };
        reading.gpus = round.gpus.iter().filter(is_its).cloned().collect();
        if let Some(split) = round.split.as_mut().filter(|_| self.cpus > 0) {
            let used = used_since(round.before, job, last, reading);
            let share = used.map(|used| split.share(used)).unwrap_or_default();
            *energy = energy.unwrap_or_default().checked_add(share).or(*energy);
            reading.counters.set(Metric::ENERGY_SHARE, energy.map(|energy| energy.0));
        }
    }

    /// Ends the round: the machine's own reading, once, if there is anything in it.
    pub fn end(&mut self) -> Option<Reading> {
        let round = self.round.as_mut().filter(|round| !round.ended)?;
        round.ended = true;
        if let Some(split) = &round.split {
            self.unattributed = self.unattributed.checked_add(split.rest()).unwrap_or(self.unattributed);
        }
        let mut reading = Reading::empty(round.began);
        let NodeEnergy { package, dram } = round.energy;
        reading.counters.set(Metric::ENERGY_PACKAGE, package.map(|energy| energy.0));
        reading.counters.set(Metric::ENERGY_DRAM, dram.map(|energy| energy.0));
        let unattributed = round.energy.sum().map(|_| self.unattributed.0);
        reading.counters.set(Metric::ENERGY_UNATTRIBUTED, unattributed);
        reading.gpus.clone_from(&round.gpus);
        (!reading.counters.is_empty() || !reading.gpus.is_empty()).then_some(reading)
    }
}

/// The CPU time that a job used since the round before: nothing where it was not read then.
fn used_since(
    before: Option<Usec>,
    job: &Registration,
    last: Option<&Reading>,
    now: &Reading,
) -> Option<Usec> {
    let before = before?;
    let used = match last {
        Some(last) if last.at.boottime_usec >= before => last.cpu_usage()?,
        None if job.began.boottime_usec >= before => Usec(0),
        _ => return None,
    };
    now.cpu_usage()?.since(used)
}

#[cfg(test)]
mod tests;
