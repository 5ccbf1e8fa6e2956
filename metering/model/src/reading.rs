//! A reading: the counters of one group at one moment, in the kernel's units. What the kernel does
//! not offer is absent, never zero. What there may be in one is listed in [`catalogue`](crate::catalogue).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::catalogue::Metric;
use crate::clock::Moment;
use crate::ids::GpuName;
use crate::units::{Bytes, MilliJoules, Usec};

/// One group's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Reading {
    /// When the pass over the group's files began.
    pub at: Moment,
    /// What was read.
    pub counters: Counters,
    /// `io.stat`, by device. Empty: the file was there and named no device.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "io_map")]
    pub io: Option<Vec<DeviceIo>>,
    /// The GPUs that were allocated to the group alone, or all that the node has, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "gpu_map")]
    pub gpus: Vec<GpuReading>,
}

/// The quantities of the catalogue that were read. In JSON: an object of those that are there.
///
/// # Invariants
/// A quantity that is not `present` is 0 in `values`, so that equal readings are equal bytes.
/// Held by [`Counters::set`], the only writer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bit n: the quantity with number n was read.
    present: u64,
    values: [u64; Metric::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self { present: 0, values: [0; Metric::COUNT] }
    }
}

impl Counters {
    /// One quantity, in its unit; `None` where it was not read.
    #[must_use]
    #[inline]
    pub fn get(&self, metric: Metric) -> Option<u64> {
        let present = self.present.checked_shr(metric.id().into()).unwrap_or_default() & 1 == 1;
        self.values.get(usize::from(metric.id())).copied().filter(|_| present)
    }

    /// Keeps one quantity; `None`: it is not there.
    #[inline]
    pub fn set(&mut self, metric: Metric, value: Option<u64>) {
        let bit = 1_u64.checked_shl(metric.id().into()).unwrap_or_default();
        match value {
            Some(_) => self.present |= bit,
            None => self.present &= !bit,
        }
        if let Some(place) = self.values.get_mut(usize::from(metric.id())) {
            *place = value.unwrap_or_default();
        }
    }

    /// Those that are there, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u64)> + '_ {
        Metric::ALL.into_iter().filter_map(|metric| Some((metric, self.get(metric)?)))
    }

    /// All bits that any of them has: whether one is larger than some power of two, at one look.
    #[must_use]
    pub fn bits(&self) -> u64 {
        // What is absent is 0 here.
        self.values.iter().fold(0, |bits, value| bits | value)
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }
}

impl FromIterator<(Metric, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (Metric, u64)>>(pairs: I) -> Self {
        let mut counters = Self::default();
        pairs.into_iter().for_each(|(metric, value)| counters.set(metric, Some(value)));
        counters
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(metric, value)| (metric.info().key, value))).finish()
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (metric, value) in self.iter() {
            map.serialize_entry(metric.info().key, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Counters {
    /// A quantity that this release does not know is passed over: the plugin may be newer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, u64>::deserialize(deserializer)?;
        Ok(map.iter().filter_map(|(key, value)| Some((Metric::from_key(key)?, *value))).collect())
    }
}

/// A block device: `major:minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// The driver's number.
    pub major: u32,
    /// The device's, with that driver.
    pub minor: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: it is two numbers, like \"8:0\"")]
pub struct InvalidDevice(String);

impl FromStr for DeviceId {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let numbers = || {
            let (major, minor) = text.split_once(':')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        numbers().ok_or_else(|| InvalidDevice(text.chars().take(32).collect()))
    }
}

/// One device's line of `io.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceIo {
    /// Which.
    pub device: DeviceId,
    /// Its counters.
    pub stat: IoStat,
}

/// What `io.stat` counts of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct IoStat {
    /// Bytes read.
    pub rbytes: Bytes,
    /// Bytes written.
    pub wbytes: Bytes,
    /// Read operations.
    pub rios: u64,
    /// Write operations.
    pub wios: u64,
}

impl IoStat {
    /// Its counters in the order of [`catalogue::IO`](crate::catalogue::IO).
    #[must_use]
    pub fn columns(&self) -> [u64; 4] {
        [self.rbytes.0, self.wbytes.0, self.rios, self.wios]
    }

    /// From counters in that order.
    #[must_use]
    pub fn from_columns([rbytes, wbytes, rios, wios]: [u64; 4]) -> Self {
        Self { rbytes: Bytes(rbytes), wbytes: Bytes(wbytes), rios, wios }
    }
}

/// In JSON: an object by `major:minor`.
mod io_map {
    use super::{
        BTreeMap, Deserialize, Deserializer, DeviceId, DeviceIo, IoStat, SerializeMap, Serializer, de,
    };

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(io: &Option<Vec<DeviceIo>>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for DeviceIo { device, stat } in io.iter().flatten() {
            map.serialize_entry(&device.to_string(), stat)?;
        }
        map.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<DeviceIo>>, D::Error> {
        let map = BTreeMap::<String, IoStat>::deserialize(deserializer)?;
        let device = |(name, stat): (String, IoStat)| {
            let device: DeviceId = name.parse().map_err(de::Error::custom)?;
            Ok(DeviceIo { device, stat })
        };
        let mut io: Vec<DeviceIo> = map.into_iter().map(device).collect::<Result<_, D::Error>>()?;
        io.sort_by_key(|io| io.device);
        Ok(Some(io))
    }
}

/// One GPU or MIG device at the moment of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuReading {
    /// Which.
    pub gpu: GpuName,
    /// What NVML said of it. One of which nothing was read does not stand in a reading.
    pub stat: GpuStat,
}

/// What NVML says of a GPU or a MIG device, each where it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct GpuStat {
    /// Energy since the driver was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_mj: Option<MilliJoules>,
    /// Time in which some kernel ran, since the daemon began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_usec: Option<Usec>,
    /// For how much time that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_known_usec: Option<Usec>,
    /// Memory in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<Bytes>,
}

impl GpuStat {
    /// Its figures in the order of [`catalogue::GPU`](crate::catalogue::GPU).
    #[must_use]
    pub fn columns(&self) -> [Option<u64>; 4] {
        let Self { energy_mj, busy_usec, busy_known_usec, memory_used_bytes } = *self;
        [
            energy_mj.map(|energy| energy.0),
            busy_usec.map(|time| time.0),
            busy_known_usec.map(|time| time.0),
            memory_used_bytes.map(|bytes| bytes.0),
        ]
    }

    /// From figures in that order.
    #[must_use]
    pub fn from_columns([energy, busy, known, memory]: [Option<u64>; 4]) -> Self {
        Self {
            energy_mj: energy.map(MilliJoules),
            busy_usec: busy.map(Usec),
            busy_known_usec: known.map(Usec),
            memory_used_bytes: memory.map(Bytes),
        }
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// In JSON: an object by the GPUs' names.
mod gpu_map {
    use super::{
        BTreeMap, Deserialize, Deserializer, GpuName, GpuReading, GpuStat, SerializeMap, Serializer,
    };

    pub fn serialize<S: Serializer>(gpus: &[GpuReading], serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for GpuReading { gpu, stat } in gpus {
            map.serialize_entry(gpu.as_str(), stat)?;
        }
        map.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GpuReading>, D::Error> {
        let map = BTreeMap::<GpuName, GpuStat>::deserialize(deserializer)?;
        let gpus = map.into_iter().map(|(gpu, stat)| GpuReading { gpu, stat });
        Ok(gpus.filter(|gpu| !gpu.stat.is_empty()).collect())
    }
}

/// IP packets of a group's sockets, counted by BPF at the socket: headers included, RDMA not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct NetworkStat {
    /// To and from other hosts.
    pub wire: Traffic,
    /// Over the loopback interface: never leaves the node.
    pub loopback: Traffic,
}

/// Bytes and packets, in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: Bytes,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: Bytes,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Reading {
    /// A reading of nothing.
    #[must_use]
    pub fn empty(at: Moment) -> Self {
        Self { at, counters: Counters::default(), io: None, gpus: Vec::new() }
    }

    /// One quantity, in its unit; `None` where it was not read.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<u64> {
        self.counters.get(metric)
    }

    /// One quantity of those that are bytes.
    #[must_use]
    pub fn bytes(&self, metric: Metric) -> Option<Bytes> {
        self.get(metric).map(Bytes)
    }

    /// One quantity of those that are times.
    #[must_use]
    pub fn usec(&self, metric: Metric) -> Option<Usec> {
        self.get(metric).map(Usec)
    }

    /// `cpu.stat`'s `usage_usec`.
    #[must_use]
    pub fn cpu_usage(&self) -> Option<Usec> {
        self.usec(Metric::CPU_USAGE)
    }

    /// Keeps what the group's sockets sent and received.
    pub fn set_network(&mut self, network: Option<NetworkStat>) {
        const WIRE: [Metric; 4] = [
            Metric::NETWORK_RX_BYTES,
            Metric::NETWORK_RX_PACKETS,
            Metric::NETWORK_TX_BYTES,
            Metric::NETWORK_TX_PACKETS,
        ];
        const LOOPBACK: [Metric; 4] = [
            Metric::LOOPBACK_RX_BYTES,
            Metric::LOOPBACK_RX_PACKETS,
            Metric::LOOPBACK_TX_BYTES,
            Metric::LOOPBACK_TX_PACKETS,
        ];
        for (metrics, traffic) in
            [(WIRE, network.map(|network| network.wire)), (LOOPBACK, network.map(|network| network.loopback))]
        {
            let values = traffic
                .map(|t| [t.rx_bytes.0, t.rx_packets, t.tx_bytes.0, t.tx_packets].map(Some))
                .unwrap_or_default();
            metrics.into_iter().zip(values).for_each(|(metric, value)| self.counters.set(metric, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use proptest::prelude::*;

    fn at() -> Moment {
        Moment { wall: WallTime::from_unix_usec(1_795_000_000_000_000).unwrap(), boottime_usec: Usec(7) }
    }

    #[test]
    fn absent_is_not_zero_in_json_either() {
        let mut reading = Reading::empty(at());
        reading.counters.set(Metric::MEMORY_CURRENT, Some(0));
        let text = serde_json::to_string(&reading).unwrap();
        assert!(text.contains(r#""counters":{"memory_current_bytes":0}"#), "{text}");
        let back: Reading = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (back.get(Metric::MEMORY_CURRENT), back.get(Metric::MEMORY_PEAK), back.io),
            (Some(0), None, None)
        );
    }

    #[test]
    fn a_quantity_of_a_later_release_is_passed_over() {
        let counters: Counters =
            serde_json::from_str(r#"{"cpu_usage_usec":5,"not_yet_invented":6}"#).unwrap();
        assert_eq!(counters.iter().collect::<Vec<_>>(), [(Metric::CPU_USAGE, 5)]);
    }

    #[test]
    fn a_device_is_two_numbers() {
        assert_eq!("8:16".parse(), Ok(DeviceId { major: 8, minor: 16 }));
        for text in ["", "8", "8:", ":1", "8:1:2", "a:b", "-1:0"] {
            assert!(text.parse::<DeviceId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_reading_goes_through_json_unchanged(
            pairs in prop::collection::vec((0..Metric::COUNT, any::<u64>()), 0..20),
            io in prop::option::of(prop::collection::btree_map((0_u32..9, 0_u32..9), any::<[u64; 4]>(), 0..3)),
            gpus in prop::collection::btree_map(0_u32..9, any::<[Option<u64>; 4]>(), 0..3),
        ) {
            let counters = pairs.iter().map(|(at, value)| (Metric::ALL[*at], *value)).collect();
            let device = |((major, minor), columns)| {
                DeviceIo { device: DeviceId { major, minor }, stat: IoStat::from_columns(columns) }
            };
            let io = io.map(|io| io.into_iter().map(device).collect());
            let gpus = gpus.into_iter().map(|(gpu, columns)| GpuReading {
                gpu: format!("GPU-{gpu}").parse().unwrap(),
                stat: GpuStat::from_columns(columns),
            });
            let gpus = gpus.filter(|gpu| !gpu.stat.is_empty()).collect();
            let reading = Reading { at: at(), counters, io, gpus };
            let text = serde_json::to_string(&reading).unwrap();
            prop_assert_eq!(serde_json::from_str::<Reading>(&text).unwrap(), reading);
        }
    }
}
