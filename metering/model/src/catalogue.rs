//! Every quantity of a [`Reading`](crate::reading::Reading), once: the block format's columns, the names in Prometheus and
//! `docs/metrics.md` are made of this list.

/// A quantity of a group, by its number in the block format.
///
/// # Invariants
/// One of [`Metric::ALL`]: there is no other constructor than its constants and [`Metric::from_id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric(u8);

/// How a quantity moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, while the group is there: what is billed is a difference.
    Counter,
    /// What is there now.
    Gauge,
    /// The most there ever was.
    Peak,
}

/// What a quantity is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Usec,
    /// Bytes.
    Bytes,
    /// Things: processes, packets, events.
    Count,
    /// Microjoules, as powercap counts.
    MicroJoules,
    /// Millijoules, as NVML counts.
    MilliJoules,
}

/// What there is to know of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Its name in JSON; it ends with the unit.
    pub key: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it is counted in.
    pub unit: Unit,
    /// The kernel's file, or what counts it.
    pub file: &'static str,
    /// The kernel's key in that file; empty where the file is one number.
    pub line: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($name:ident = $id:literal $kind:ident $unit:ident $key:literal $file:literal $line:literal $help:literal;)+) => {
        impl Metric {
            $(#[doc = $help] pub const $name: Self = Self($id);)+

            /// How many there are.
            pub const COUNT: usize = [$($id),+].len();

            /// All, by their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self($id)),+];
        }

        const INFO: [Info; Metric::COUNT] = [$(Info {
            key: $key, kind: Kind::$kind, unit: Unit::$unit, file: $file, line: $line, help: $help,
        }),+];
    };
}

// A number that was given stays: blocks on disks have it. New ones go to the end, 63 is the last.
catalogue! {
    CPU_USAGE = 0 Counter Usec "cpu_usage_usec" "cpu.stat" "usage_usec" "CPU time of the group and of every group that ever stood in it.";
    CPU_USER = 1 Counter Usec "cpu_user_usec" "cpu.stat" "user_usec" "Its part in user mode, by the kernel's split.";
    CPU_SYSTEM = 2 Counter Usec "cpu_system_usec" "cpu.stat" "system_usec" "Its part in the kernel.";
    CPU_PERIODS = 3 Counter Count "cpu_periods" "cpu.stat" "nr_periods" "Enforcement periods that have passed, where cpu.max is set.";
    CPU_THROTTLED_PERIODS = 4 Counter Count "cpu_throttled_periods" "cpu.stat" "nr_throttled" "Periods in which the group was held back.";
    CPU_THROTTLED = 5 Counter Usec "cpu_throttled_usec" "cpu.stat" "throttled_usec" "Time for which the group was held back.";
    MEMORY_CURRENT = 6 Gauge Bytes "memory_current_bytes" "memory.current" "" "Memory charged to the group now, page cache included.";
    MEMORY_PEAK = 7 Peak Bytes "memory_peak_bytes" "memory.peak" "" "The most that was ever charged at once (Linux 5.19 and later).";
    MEMORY_SWAP = 8 Gauge Bytes "memory_swap_bytes" "memory.swap.current" "" "Swap in use now.";
    MEMORY_ANON = 9 Gauge Bytes "memory_anon_bytes" "memory.stat" "anon" "Memory of no file: heaps, stacks.";
    MEMORY_FILE = 10 Gauge Bytes "memory_file_bytes" "memory.stat" "file" "Page cache, tmpfs and shared memory included.";
    MEMORY_KERNEL = 11 Gauge Bytes "memory_kernel_bytes" "memory.stat" "kernel" "Memory the kernel uses for the group (Linux 5.18 and later).";
    MEMORY_SHMEM = 12 Gauge Bytes "memory_shmem_bytes" "memory.stat" "shmem" "Page cache without a disk behind it: tmpfs, shared memory; a part of the page cache.";
    MEMORY_HIGH_EVENTS = 13 Counter Count "memory_high_events" "memory.events" "high" "Times the group was slowed for memory.high.";
    MEMORY_MAX_EVENTS = 14 Counter Count "memory_max_events" "memory.events" "max" "Times the group was about to exceed memory.max.";
    MEMORY_OOM_EVENTS = 15 Counter Count "memory_oom_events" "memory.events" "oom" "Times the group was out of memory.";
    MEMORY_OOM_KILLS = 16 Counter Count "memory_oom_kills" "memory.events" "oom_kill" "Processes killed for want of memory.";
    PIDS_CURRENT = 17 Gauge Count "pids_current" "pids.current" "" "Processes and threads now.";
    PIDS_PEAK = 18 Peak Count "pids_peak" "pids.peak" "" "The most processes and threads there ever were at once (Linux 6.1 and later).";
    CPU_PRESSURE_SOME = 19 Counter Usec "cpu_pressure_some_usec" "cpu.pressure" "some" "Time in which some task waited for a CPU.";
    MEMORY_PRESSURE_SOME = 20 Counter Usec "memory_pressure_some_usec" "memory.pressure" "some" "Time in which some task waited for memory.";
    MEMORY_PRESSURE_FULL = 21 Counter Usec "memory_pressure_full_usec" "memory.pressure" "full" "Time in which all tasks waited for memory.";
    IO_PRESSURE_SOME = 22 Counter Usec "io_pressure_some_usec" "io.pressure" "some" "Time in which some task waited for a disk.";
    IO_PRESSURE_FULL = 23 Counter Usec "io_pressure_full_usec" "io.pressure" "full" "Time in which all tasks waited for a disk.";
    NETWORK_RX_BYTES = 24 Counter Bytes "network_receive_bytes" "BPF" "" "Bytes its sockets received from other hosts, IP headers included; RDMA is not in it.";
    NETWORK_RX_PACKETS = 25 Counter Count "network_receive_packets" "BPF" "" "Packets its sockets received from other hosts.";
    NETWORK_TX_BYTES = 26 Counter Bytes "network_transmit_bytes" "BPF" "" "Bytes its sockets sent to other hosts, IP headers included; RDMA is not in it.";
    NETWORK_TX_PACKETS = 27 Counter Count "network_transmit_packets" "BPF" "" "Packets its sockets sent to other hosts.";
    LOOPBACK_RX_BYTES = 28 Counter Bytes "loopback_receive_bytes" "BPF" "" "Bytes received over the loopback interface: they never leave the node.";
    LOOPBACK_RX_PACKETS = 29 Counter Count "loopback_receive_packets" "BPF" "" "Packets received over the loopback interface.";
    LOOPBACK_TX_BYTES = 30 Counter Bytes "loopback_transmit_bytes" "BPF" "" "Bytes sent over the loopback interface.";
    LOOPBACK_TX_PACKETS = 31 Counter Count "loopback_transmit_packets" "BPF" "" "Packets sent over the loopback interface.";
    ENERGY_PACKAGE = 32 Counter MicroJoules "energy_package_uj" "powercap" "package" "Energy of the node's CPU packages since the daemon began.";
    ENERGY_DRAM = 33 Counter MicroJoules "energy_dram_uj" "powercap" "dram" "Energy of the node's memory since the daemon began, where it is counted apart.";
    ENERGY_SHARE = 34 Counter MicroJoules "energy_share_uj" "powercap" "" "The job's share of both by its CPU time, since the daemon first read it (docs/gpu-energy.md).";
    ENERGY_UNATTRIBUTED = 35 Counter MicroJoules "energy_unattributed_uj" "powercap" "" "What of both is no job's: idle CPUs, the system, jobs that ended between two rounds.";
}

/// A quantity of one block device, from its line of `io.stat`, by its number in the block format.
pub const IO: [Info; 4] = [
    io("io_read_bytes", Unit::Bytes, "rbytes", "Bytes read from the device."),
    io("io_write_bytes", Unit::Bytes, "wbytes", "Bytes written to the device."),
    io("io_reads", Unit::Count, "rios", "Read operations."),
    io("io_writes", Unit::Count, "wios", "Write operations."),
];

const fn io(key: &'static str, unit: Unit, line: &'static str, help: &'static str) -> Info {
    Info { key, kind: Kind::Counter, unit, file: "io.stat", line, help }
}

/// A quantity of one GPU or MIG device, by its number in the block format.
pub const GPU: [Info; 4] = [
    gpu(
        "gpu_energy_mj",
        Kind::Counter,
        Unit::MilliJoules,
        "TotalEnergyConsumption",
        "Energy since the driver was loaded; a MIG device has none of its own.",
    ),
    gpu(
        "gpu_busy_usec",
        Kind::Counter,
        Unit::Usec,
        "Samples",
        "Time in which some kernel ran, since the daemon began; a MIG device has none.",
    ),
    gpu("gpu_busy_known_usec", Kind::Counter, Unit::Usec, "Samples", "For how much time that is known."),
    gpu(
        "gpu_memory_used_bytes",
        Kind::Gauge,
        Unit::Bytes,
        "MemoryInfo_v2",
        "Memory in use, without what the driver keeps for itself.",
    ),
];

const fn gpu(key: &'static str, kind: Kind, unit: Unit, line: &'static str, help: &'static str) -> Info {
    Info { key, kind, unit, file: "NVML", line, help }
}

impl Metric {
    /// Its number in the block format.
    #[must_use]
    #[inline]
    pub const fn id(self) -> u8 {
        self.0
    }

    /// The quantity of a number, if this release knows it.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The quantity of a JSON name, if this release knows it.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.info().key == key)
    }

    /// What there is to know of it.
    #[must_use]
    pub fn info(self) -> &'static Info {
        static ALL: [Info; Metric::COUNT] = INFO;
        // The invariant keeps the number below COUNT.
        ALL.get(usize::from(self.0)).unwrap_or(&ALL[0])
    }
}

impl Info {
    /// Its name in Prometheus, of a `job` or a `tenant`: base units, and `_total` for a counter.
    #[must_use]
    pub fn prometheus(&self, of: &str) -> String {
        let name = match self.unit {
            Unit::Usec => format!("{}_seconds", self.key.trim_end_matches("_usec")),
            Unit::MicroJoules => format!("{}_joules", self.key.trim_end_matches("_uj")),
            Unit::MilliJoules => format!("{}_joules", self.key.trim_end_matches("_mj")),
            Unit::Bytes | Unit::Count => self.key.to_owned(),
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("tenantry_{of}_{name}{total}")
    }
}

/// The catalogue as a table of `docs/metrics.md`.
#[must_use]
pub fn table() -> String {
    let row = |id: String, info: &Info| {
        let kind = match info.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Peak => "peak",
        };
        let unit = match info.unit {
            Unit::Usec => "µs",
            Unit::Bytes => "bytes",
            Unit::Count => "",
            Unit::MicroJoules => "µJ",
            Unit::MilliJoules => "mJ",
        };
        let source =
            if info.line.is_empty() { info.file.to_owned() } else { format!("{} {}", info.file, info.line) };
        format!(
            "| {id} | `{}` | {kind} | {unit} | `{source}` | `{}` | {} |\n",
            info.key,
            info.prometheus(if of_node(info) { "node" } else { "job" }),
            info.help
        )
    };
    let head =
        "| column | name | kind | unit | source | Prometheus | what it is |\n|---|---|---|---|---|---|---|\n";
    let own = Metric::ALL.iter().map(|metric| row(metric.id().to_string(), metric.info()));
    let io = IO.iter().zip(0_u8..).map(|(info, n)| row(format!("io {n}"), info));
    let gpu = GPU.iter().zip(0_u8..).map(|(info, n)| row(format!("gpu {n}"), info));
    own.chain(io).chain(gpu).fold(head.to_owned(), |table, row| table + &row)
}

/// Whether only a node has it.
fn of_node(info: &Info) -> bool {
    [Metric::ENERGY_PACKAGE, Metric::ENERGY_DRAM, Metric::ENERGY_UNATTRIBUTED]
        .iter()
        .any(|metric| metric.info().key == info.key)
}

// A reading's quantities are the bits of a u64.
const _: () = assert!(Metric::COUNT <= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_places_and_names_are_told_apart() {
        let mut keys = BTreeSet::new();
        for (metric, place) in Metric::ALL.iter().zip(0_u8..) {
            assert_eq!(metric.id(), place);
            assert_eq!(Metric::from_key(metric.info().key), Some(*metric));
            assert!(keys.insert(metric.info().key), "{}", metric.info().key);
        }
        assert_eq!(Metric::from_id(64), None);
    }

    #[test]
    fn a_name_ends_with_its_unit() {
        for info in Metric::ALL.iter().map(|metric| metric.info()).chain(&IO).chain(&GPU) {
            let units = [
                ("_usec", Unit::Usec),
                ("_bytes", Unit::Bytes),
                ("_uj", Unit::MicroJoules),
                ("_mj", Unit::MilliJoules),
            ];
            for (ending, unit) in units {
                assert_eq!(info.key.ends_with(ending), info.unit == unit, "{}", info.key);
            }
        }
    }

    #[test]
    fn prometheus_names_have_base_units_and_say_total() {
        assert_eq!(Metric::CPU_USAGE.info().prometheus("job"), "tenantry_job_cpu_usage_seconds_total");
        assert_eq!(Metric::MEMORY_PEAK.info().prometheus("tenant"), "tenantry_tenant_memory_peak_bytes");
        assert_eq!(Metric::ENERGY_DRAM.info().prometheus("node"), "tenantry_node_energy_dram_joules_total");
    }
}
