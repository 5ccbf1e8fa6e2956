//! One tenant's table as it is written, to its [`Limits`], each mistake with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::choosers::{self, Choosers};
use super::network::is_interface_name;
use super::source::Source;
use super::{AclVerdict, IoMax, Limits, NetworkPolicy, RdmaMax, TenantsError};
use crate::units::{Amount, Bytes, CpuBandwidth, Limit, Usec};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTenant {
    #[serde(default)]
    pub(super) accounts: Vec<Spanned<String>>,
    #[serde(default)]
    users: Vec<Spanned<String>>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    cpu_weight: Option<Spanned<i64>>,
    cpu_max: Option<Spanned<String>>,
    cpu_burst: Option<Spanned<String>>,
    pub(super) cpus: Option<Spanned<String>>,
    memory_min: Option<Spanned<String>>,
    memory_low: Option<Spanned<String>>,
    memory_high: Option<Spanned<String>>,
    memory_max: Option<Spanned<String>>,
    memory_swap_max: Option<Spanned<String>>,
    #[serde(default)]
    memory_oom_group: bool,
    pids_max: Option<Spanned<toml::Value>>,
    io_weight: Option<Spanned<i64>>,
    #[serde(default)]
    io_max: BTreeMap<Spanned<String>, RawIoMax>,
    descendants_max: Option<Spanned<toml::Value>>,
    #[serde(default)]
    hugetlb_max: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    rdma_max: BTreeMap<Spanned<String>, RawRdmaMax>,
    devices: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    network: RawNetwork,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIoMax {
    rbps: Option<Spanned<String>>,
    wbps: Option<Spanned<String>>,
    riops: Option<Spanned<toml::Value>>,
    wiops: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRdmaMax {
    hca_handle: Option<Spanned<toml::Value>>,
    hca_object: Option<Spanned<toml::Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    bind_to: Option<Spanned<String>>,
    interfaces: Option<Vec<Spanned<String>>>,
    mark: Option<Spanned<i64>>,
    acl: Vec<Spanned<String>>,
    acl_default: AclVerdict,
}

/// `cpu.weight` and `io.weight`.
const WEIGHTS: RangeInclusive<u64> = 1..=10_000;
/// The kernel's `PID_MAX_LIMIT`: `pids.max` takes no more.
const PIDS: RangeInclusive<u64> = 1..=4_194_304;
/// The kernel keeps `cgroup.max.descendants` and `rdma.max` as an `int`, whose largest value is its `max`.
const INTS: RangeInclusive<u64> = 0..=2_147_483_646;
/// And operations a second as an `unsigned int`.
const IOPS: RangeInclusive<u64> = 1..=4_294_967_294;

type Checked<T> = Result<T, TenantsError>;

impl RawTenant {
    pub(super) fn limits(&self, source: &Source<'_>) -> Checked<Limits> {
        let limits = Limits {
            cpu_weight: source.whole("cpu_weight", self.cpu_weight.as_ref(), &WEIGHTS)?,
            cpu_max: source.limit(self.cpu_max.as_ref(), OR_SHARE)?,
            cpu_burst: self.cpu_burst.as_ref().map(|raw| source.parsed(raw, BURST)).transpose()?,
            cpus: self.cpus.as_ref().map(|raw| source.parsed(raw, CPUS)).transpose()?,
            memory_min: source.limit(self.memory_min.as_ref(), OR_SHARE)?,
            memory_low: source.limit(self.memory_low.as_ref(), OR_SHARE)?,
            memory_high: source.limit(self.memory_high.as_ref(), OR_SHARE)?,
            memory_max: source.limit(self.memory_max.as_ref(), OR_SHARE)?,
            memory_swap_max: source.limit(self.memory_swap_max.as_ref(), OR_SHARE)?,
            memory_oom_group: self.memory_oom_group,
            pids_max: source.count("pids_max", self.pids_max.as_ref(), &PIDS)?,
            io_weight: source.whole("io_weight", self.io_weight.as_ref(), &WEIGHTS)?,
            io_max: self.io_max(source)?,
            descendants_max: source.count("descendants_max", self.descendants_max.as_ref(), &INTS)?,
            hugetlb_max: pairs(&self.hugetlb_max, |size, max| {
                Ok((source.parsed(size, HUGE_PAGE)?, source.limit(Some(max), OR_MAX)?.unwrap_or(Limit::Max)))
            })?,
            rdma_max: self.rdma_max(source)?,
            devices: self
                .devices
                .as_deref()
                .map(|raw| list(raw, |raw| source.parsed(raw, DEVICE)))
                .transpose()?,
        };
        self.check_burst(source, &limits)?;
        self.check_memory(source, &limits)?;
        Ok(limits)
    }

    fn io_max(&self, source: &Source<'_>) -> Checked<BTreeMap<super::DeviceName, IoMax>> {
        pairs(&self.io_max, |disk, raw| {
            let bytes = |raw: &Option<Spanned<String>>| -> Checked<Limit<Bytes>> {
                let limit = source.limit(raw.as_ref(), OR_MAX)?.unwrap_or(Limit::Max);
                match raw {
                    Some(raw) if limit == Limit::At(Bytes(0)) => {
                        Err(source.error(raw.span(), "0 bytes a second is no rate the kernel takes", OR_MAX))
                    }
                    _ => Ok(limit),
                }
            };
            let ios = |key, raw: &Option<Spanned<toml::Value>>| -> Checked<Limit<u64>> {
                Ok(source.count(key, raw.as_ref(), &IOPS)?.unwrap_or(Limit::Max))
            };
            let max = IoMax {
                rbps: bytes(&raw.rbps)?,
                wbps: bytes(&raw.wbps)?,
                riops: ios("riops", &raw.riops)?,
                wiops: ios("wiops", &raw.wiops)?,
            };
            Ok((source.parsed(disk, "name a whole disk")?, max))
        })
    }

    fn rdma_max(&self, source: &Source<'_>) -> Checked<BTreeMap<String, RdmaMax>> {
        pairs(&self.rdma_max, |device, raw| {
            let name = device.get_ref();
            if name.is_empty()
                || name.len() > 64
                || name.contains(|c: char| !c.is_ascii_graphic() || c == '/')
            {
                let problem = format!("{name:?} is no name of an RDMA device");
                return Err(source.error(
                    device.span(),
                    problem,
                    "write it as `ls /sys/class/infiniband` does",
                ));
            }
            let count = |key, raw: &Option<Spanned<toml::Value>>| -> Checked<Limit<u64>> {
                Ok(source.count(key, raw.as_ref(), &INTS)?.unwrap_or(Limit::Max))
            };
            let max = RdmaMax {
                hca_handle: count("hca_handle", &raw.hca_handle)?,
                hca_object: count("hca_object", &raw.hca_object)?,
            };
            Ok((name.clone(), max))
        })
    }

    /// The kernel refuses a burst above the quota.
    fn check_burst(&self, source: &Source<'_>, limits: &Limits) -> Checked<()> {
        let (Some(raw), Some(burst)) = (&self.cpu_burst, limits.cpu_burst) else { return Ok(()) };
        match limits.cpu_max {
            None | Some(Limit::Max) => Err(source.error(
                raw.span(),
                "cpu_burst without a cpu_max to save from",
                "add cpu_max, like \"4 cores\"",
            )),
            Some(Limit::At(Amount::Absolute(CpuBandwidth { quota }))) if burst > quota => {
                let Usec(most) = quota;
                let problem = format!("cpu_burst = {:?} is above cpu_max's quota", raw.get_ref());
                Err(source.error(raw.span(), problem, format!("write at most \"{most}us\"")))
            }
            Some(Limit::At(_)) => Ok(()),
        }
    }

    /// Of `memory_min`, `memory_low`, `memory_high` and `memory_max` none is above a later one, as far
    /// as two can be compared without a node.
    fn check_memory(&self, source: &Source<'_>, limits: &Limits) -> Checked<()> {
        let rising = [
            ("memory_min", &self.memory_min, limits.memory_min),
            ("memory_low", &self.memory_low, limits.memory_low),
            ("memory_high", &self.memory_high, limits.memory_high),
            ("memory_max", &self.memory_max, limits.memory_max),
        ];
        for (at, (lower, raw, less)) in rising.iter().enumerate() {
            for (upper, _, more) in rising.iter().skip(at.saturating_add(1)) {
                let (Some(raw), Some(less), Some(more)) = (raw, less, more) else { continue };
                if is_above(less, more) {
                    let problem = format!("{lower} = \"{}\" is above {upper}", raw.get_ref());
                    return Err(source.error(raw.span(), problem, format!("write no more than {upper} has")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn choosers(&self, source: &Source<'_>) -> Checked<Choosers> {
        let names = |raw: &[Spanned<String>], what| -> Checked<BTreeSet<String>> {
            let name = |raw: &Spanned<String>| {
                let name = raw.get_ref();
                if choosers::is_name(name) {
                    return Ok(name.clone());
                }
                let problem = format!("{name:?} is no name of a {what}");
                Err(source.error(raw.span(), problem, "write it as `id` prints it, not its number"))
            };
            raw.iter().map(name).collect()
        };
        Ok(Choosers { users: names(&self.users, "user")?, groups: names(&self.groups, "group")? })
    }

    pub(super) fn network(&self, source: &Source<'_>) -> Checked<NetworkPolicy> {
        let interface = |raw: &Spanned<String>| {
            let name = raw.get_ref();
            if is_interface_name(name) {
                return Ok(name.clone());
            }
            let problem = format!("{name:?} is no name of an interface");
            Err(source.error(raw.span(), problem, "write 1 to 15 characters, as `ip link` prints it"))
        };
        let mark = source.whole("mark", self.network.mark.as_ref(), &(0..=u64::from(u32::MAX)))?;
        Ok(NetworkPolicy {
            bind_to: self.network.bind_to.as_ref().map(interface).transpose()?,
            interfaces: self
                .network
                .interfaces
                .as_ref()
                .map(|names| names.iter().map(interface).collect())
                .transpose()?,
            mark: mark.and_then(|mark| u32::try_from(mark).ok()),
            acl: list(&self.network.acl, |raw| source.parsed(raw, ACL))?,
            acl_default: self.network.acl_default,
        })
    }
}

const OR_MAX: &str = "or \"max\" for no limit";
const OR_SHARE: &str = "or a part of the node's, like \"40%\", or \"max\" for no limit";
const BURST: &str = "or leave it out: without it nothing is saved";
const CPUS: &str = "or a share of the cores, like \"25%\"";
const HUGE_PAGE: &str = "`ls /sys/kernel/mm/hugepages` lists the node's, in kB";
const DEVICE: &str = "`ls -l /dev` shows kind and numbers";
const ACL: &str = "the operation is connect, send or bind, or left out for all";

/// Whether one figure is above another on every node. Of an absolute one and a share nobody can say,
/// and `max` is no figure: as `memory_low` it means all the group has, as `memory_high` no limit.
fn is_above(less: &Limit<Amount<Bytes>>, more: &Limit<Amount<Bytes>>) -> bool {
    match (less, more) {
        (Limit::At(Amount::Absolute(less)), Limit::At(Amount::Absolute(more))) => less > more,
        (Limit::At(Amount::Share(less)), Limit::At(Amount::Share(more))) => less > more,
        _ => false,
    }
}

fn list<T>(raw: &[Spanned<String>], read: impl Fn(&Spanned<String>) -> Checked<T>) -> Checked<Vec<T>> {
    raw.iter().map(read).collect()
}

fn pairs<Raw, K: Ord, V>(
    raw: &BTreeMap<Spanned<String>, Raw>,
    read: impl Fn(&Spanned<String>, &Raw) -> Checked<(K, V)>,
) -> Checked<BTreeMap<K, V>> {
    raw.iter().map(|(key, value)| read(key, value)).collect()
}

impl Source<'_> {
    fn parsed<T: FromStr>(&self, raw: &Spanned<String>, fix: &str) -> Checked<T>
    where
        T::Err: ToString,
    {
        raw.get_ref().parse().map_err(|error: T::Err| self.error(raw.span(), error.to_string(), fix))
    }

    fn limit<T: FromStr>(&self, raw: Option<&Spanned<String>>, fix: &str) -> Checked<Option<Limit<T>>>
    where
        T::Err: ToString,
    {
        raw.map(|raw| match raw.get_ref().as_str() {
            "max" => Ok(Limit::Max),
            _ => self.parsed(raw, fix).map(Limit::At),
        })
        .transpose()
    }

    fn whole(
        &self,
        key: &str,
        raw: Option<&Spanned<i64>>,
        range: &RangeInclusive<u64>,
    ) -> Checked<Option<u64>> {
        raw.map(|raw| {
            let value = *raw.get_ref();
            u64::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
                let problem = format!("{key} = {value} is out of range");
                self.error(raw.span(), problem, format!("write {} to {}", range.start(), range.end()))
            })
        })
        .transpose()
    }

    fn count(
        &self,
        key: &str,
        raw: Option<&Spanned<toml::Value>>,
        range: &RangeInclusive<u64>,
    ) -> Checked<Option<Limit<u64>>> {
        raw.map(|raw| {
            let limit = match raw.get_ref() {
                toml::Value::String(text) if text == "max" => Some(Limit::Max),
                toml::Value::Integer(value) => {
                    u64::try_from(*value).ok().filter(|value| range.contains(value)).map(Limit::At)
                }
                _ => None,
            };
            limit.ok_or_else(|| {
                let problem = format!("{key} = {} is no number it takes", raw.get_ref());
                let fix =
                    format!("write a whole number from {} to {}, or \"max\"", range.start(), range.end());
                self.error(raw.span(), problem, fix)
            })
        })
        .transpose()
    }
}
