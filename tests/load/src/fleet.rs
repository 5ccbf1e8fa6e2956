//! Nodes that there are not, and their blocks: a key, a boot and a chain each, jobs as clusters have them.
//! Seeded: the same shape gives the same counters.

use anyhow::Result;
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Registered, Series, Subject};
use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Allocation, Incarnation, JobEnd, Placement, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::{BootId, Bytes, JobId, Moment, NodeName, Usec, WallTime};

/// The counters of one reading.
pub const COUNTERS: [Metric; 10] = [
    Metric::CPU_USAGE,
    Metric::CPU_USER,
    Metric::CPU_SYSTEM,
    Metric::MEMORY_CURRENT,
    Metric::MEMORY_PEAK,
    Metric::MEMORY_ANON,
    Metric::MEMORY_FILE,
    Metric::PIDS_CURRENT,
    Metric::CPU_PRESSURE_SOME,
    Metric::NETWORK_TX_BYTES,
];
const TENANTS: [&str; 4] = ["acme", "acme/physics", "globex", "globex/lab"];

const MINUTE_USEC: u64 = 60_000_000;
const INTERVAL_USEC: u64 = 10_000_000;
const ROUNDS: u64 = MINUTE_USEC / INTERVAL_USEC;
/// Every node has been up for a day when its first block begins.
const UPTIME_USEC: u64 = 86_400_000_000;
const CPUS: u32 = 4;

/// How many nodes, of what size, for how long.
#[derive(clap::Args, Clone)]
pub struct Shape {
    /// Nodes
    #[arg(long, default_value_t = 10_000)]
    nodes: u64,
    /// Jobs that run on each at any time; each is read six times a minute
    #[arg(long, default_value_t = 50)]
    jobs: u64,
    /// Minutes, a block each
    #[arg(long, default_value_t = 1)]
    pub minutes: u64,
    /// What the nodes' names begin with
    #[arg(long, default_value = "node-")]
    prefix: String,
    /// When the first block begins: seconds since 1970
    #[arg(long)]
    start: i64,
    /// Another seed makes other counters
    #[arg(long, default_value_t = 20_261_126)]
    seed: u64,
}

impl Shape {
    /// All its nodes.
    pub fn fleet(&self) -> Result<Vec<Node>> {
        (0..self.nodes).map(|index| Node::new(self, index)).collect()
    }
}

/// xorshift: the same numbers on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// One node: what its daemon would know.
pub struct Node {
    name: NodeName,
    boot_id: BootId,
    key: NodeKey,
    start_usec: i64,
    seeded: Seeded,
    jobs: Vec<Job>,
    /// Ids grow with time, over all nodes: in each minute each node's next job has its turn.
    last_job: u32,
    nodes: u32,
    sequence: u64,
    previous: BlockHash,
}

impl Node {
    fn new(shape: &Shape, index: u64) -> Result<Self> {
        let mut seeded = Seeded(
            shape.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (index + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9),
        );
        let words: [u64; 6] = std::array::from_fn(|_| seeded.below(u64::MAX));
        let mut key = [0; 32];
        key.chunks_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        let [.., high, low] = words;
        let boot_id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        );
        // Nodes' minutes do not begin together.
        let phase = index * MINUTE_USEC / shape.nodes.max(1);
        let mut node = Self {
            name: format!("{}{index:05}", shape.prefix).parse()?,
            boot_id: boot_id.parse()?,
            key: NodeKey::from_seed(&key),
            start_usec: shape.start * 1_000_000 + phase as i64,
            seeded,
            jobs: Vec::new(),
            last_job: u32::try_from(index)? + 1,
            nodes: u32::try_from(shape.nodes)?,
            sequence: 0,
            previous: BlockHash::default(),
        };
        for _ in 0..shape.jobs {
            // One ends each minute: a job lives for as many minutes as there are jobs.
            let age = INTERVAL_USEC + node.seeded.below(shape.jobs * MINUTE_USEC);
            let job = node.job(UPTIME_USEC - age, age)?;
            node.jobs.push(job);
        }
        Ok(node)
    }

    /// A job that began at `boottime_usec` and has run for `age_usec`.
    fn job(&mut self, boottime_usec: u64, age_usec: u64) -> Result<Job> {
        self.last_job += self.nodes;
        let began = self.at(boottime_usec)?;
        let seeded = &mut self.seeded;
        let tenant = TENANTS[seeded.below(TENANTS.len() as u64) as usize];
        let uid = 2000 + u32::try_from(seeded.below(500))?;
        let registration = Registration {
            incarnation: Incarnation {
                cluster: Some("load".parse()?),
                node: self.name.clone(),
                boot_id: self.boot_id.clone(),
                job_id: JobId(self.last_job),
                began: began.wall,
            },
            restart_count: Some(0),
            sluid: None,
            uid,
            gid: uid,
            user: Some(format!("user{uid}")),
            account: Some(tenant.replace('/', "-").parse()?),
            partition: Some("batch".to_owned()),
            allocated_cpus: Some(CPUS),
            allocated_gpus: Vec::new(),
            scope: "system.slice/slurmstepd.scope".into(),
            began,
            placement: Placement::Grafted {
                tenant: tenant.parse()?,
                leaf: format!(
                    "system.slice/slurmstepd.scope/tenant_{}/job_{}",
                    tenant.replace('/', "/tenant_"),
                    self.last_job
                )
                .into(),
                mounts: vec![format!("system.slice/slurmstepd.scope/job_{}", self.last_job).into()],
            },
        };
        Ok(Job { registration, told: false, load: Load::new(seeded, age_usec), readings: Vec::new() })
    }

    fn at(&self, boottime_usec: u64) -> Result<Moment> {
        let wall = self.start_usec + boottime_usec as i64 - UPTIME_USEC as i64;
        Ok(Moment { wall: WallTime::from_unix_usec(wall)?, boottime_usec: Usec(boottime_usec) })
    }

    /// The node's next minute: every job read six times, one job ended and another begun in its place.
    pub fn next_block(&mut self) -> Result<Sealed> {
        let begin = UPTIME_USEC + self.sequence * MINUTE_USEC;
        self.sequence += 1;
        let mut closed = self.at(begin)?;
        for round in 0..ROUNDS {
            let round_at = begin + round * INTERVAL_USEC + self.seeded.below(3_000);
            for place in 0..self.jobs.len() {
                let late = self.seeded.below(30);
                closed = self.at(round_at + place as u64 * 40 + late)?;
                let job = &mut self.jobs[place];
                job.load.step(&mut self.seeded);
                let counters = COUNTERS.into_iter().zip(job.load.values).collect();
                job.readings.push(Reading { counters, ..Reading::empty(closed) });
            }
        }
        let mut contents = Contents::default();
        for job in &mut self.jobs {
            let registration = &job.registration;
            if !std::mem::replace(&mut job.told, true) {
                contents
                    .registered
                    .push(Registered { registration: registration.clone(), allocation: Some(ALLOCATION) });
            }
            let subject = Subject::Job(registration.incarnation.clone());
            contents.series.push(Series { subject, readings: std::mem::take(&mut job.readings) });
        }
        if !self.jobs.is_empty() {
            let place = (self.sequence - 1) as usize % self.jobs.len();
            let next = self.job(closed.boottime_usec.0 + 1_000, 0)?;
            let ended = std::mem::replace(&mut self.jobs[place], next);
            let reading = contents.series[place].readings.last().cloned();
            contents.ends.push(JobEnd {
                registration: ended.registration,
                allocation: Some(ALLOCATION),
                reading,
                steps: None,
                ended: closed,
                quality: Quality::Exact,
                unmeasured_usec: None,
            });
        }
        let key =
            BlockKey { node: self.name.clone(), boot_id: self.boot_id.clone(), sequence: self.sequence };
        let block = Block { key, previous: self.previous, closed, contents };
        let sealed = Sealed::new(&block, &self.key)?;
        self.previous = sealed.hash();
        Ok(sealed)
    }
}

const ALLOCATION: Allocation = Allocation { cpus: Some(CPUS), memory: Some(Bytes(16 << 30)) };

struct Job {
    registration: Registration,
    told: bool,
    load: Load,
    readings: Vec<Reading>,
}

/// What a job does: some compute steadily, some come and go, some sleep.
struct Load {
    kind: u64,
    values: [u64; COUNTERS.len()],
}

impl Load {
    fn new(seeded: &mut Seeded, age_usec: u64) -> Self {
        let kind = seeded.below(10);
        let memory = 4096 * (1000 + seeded.below(4_000_000));
        let usage = match kind {
            0..6 => age_usec.saturating_sub(INTERVAL_USEC) * u64::from(CPUS) / 100 * 98,
            6..8 => age_usec / 3,
            _ => age_usec / 100_000,
        };
        let system = usage / 50;
        let values = [
            usage,
            usage - system,
            system,
            memory,
            memory,
            memory / 2,
            memory / 3,
            1 + seeded.below(64),
            seeded.below(1 << 30),
            seeded.below(1 << 34),
        ];
        Self { kind, values }
    }

    /// Ten seconds.
    fn step(&mut self, seeded: &mut Seeded) {
        let [usage, user, system, current, peak, anon, file, pids, pressure, sent] = &mut self.values;
        // Never more than the job's CPUs can give.
        let (busy, noise) = match self.kind {
            0..6 => (INTERVAL_USEC * u64::from(CPUS) / 100 * 98, 20_000),
            6..8 => (INTERVAL_USEC / 3, 2_000_000),
            _ => (300, 300),
        };
        let burnt = busy - seeded.below(noise);
        *usage += burnt;
        *system += burnt / 50;
        *user = *usage - *system;
        *pressure += seeded.below(noise);
        if self.kind < 8 {
            let moved = 4096 * seeded.below(2000);
            *anon = if seeded.below(2) == 0 { *anon + moved } else { anon.saturating_sub(moved) };
            *file += if self.kind >= 6 { 4096 * seeded.below(20_000) } else { 0 };
            *current = *anon + *file + 4096 * seeded.below(100);
            *peak = (*peak).max(*current);
            *sent += if self.kind >= 6 { seeded.below(1 << 26) } else { seeded.below(20_000) };
            *pids = (*pids + seeded.below(3)).saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_blocks_follow_each_other_and_no_job_uses_more_than_its_cpus_give() {
        let shape =
            Shape { nodes: 3, jobs: 5, minutes: 1, prefix: "n".into(), start: 1_795_000_000, seed: 1 };
        for mut node in shape.fleet().unwrap() {
            let mut previous = BlockHash::default();
            let mut began = std::collections::BTreeMap::new();
            for sequence in 1..=7 {
                let sealed = node.next_block().unwrap();
                let block = Sealed::open(sealed.bytes().to_vec()).unwrap().block().unwrap();
                assert_eq!((block.key.sequence, block.previous), (sequence, previous));
                previous = sealed.hash();
                for told in block.contents.registered {
                    let registration = told.registration;
                    began.insert(registration.incarnation.job_id, registration.began);
                }
                assert_eq!(block.contents.ends.len(), 1);
                for series in block.contents.series {
                    let Subject::Job(run) = series.subject else { panic!("a tenant's series") };
                    assert_eq!(series.readings.len(), 6);
                    for reading in series.readings {
                        let wall = reading.at.since(&began[&run.job_id]).unwrap();
                        let used = reading.counters.get(Metric::CPU_USAGE).unwrap();
                        assert!(used <= wall.0 * u64::from(CPUS), "{run:?} used {used} µs in {wall:?}");
                    }
                }
            }
        }
    }
}
