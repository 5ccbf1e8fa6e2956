//! The file's limits on one node: shares become amounts, and what the node has not is said.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use super::cores;
use super::{DeviceKind, DeviceName, DeviceRule, DeviceSpec, Limits, NodeLimits, NodeSize, Tenants};
use crate::cpu_list::CpuList;
use crate::ids::TenantPath;
use crate::units::{Amount, Bytes, CpuBandwidth, Limit, Usec};

/// All tenants' limits on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    limits: BTreeMap<TenantPath, NodeLimits>,
    /// What the site may not have meant; the limits stand all the same.
    pub warnings: Vec<Warning>,
}

/// Something in the file that this node cannot give as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Whose.
    pub tenant: TenantPath,
    /// The key in the file.
    pub key: String,
    /// What the file says.
    pub wanted: String,
    /// What is so instead.
    pub finding: String,
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, key, wanted, finding } = self;
        write!(f, "tenant {tenant}: {key} = {wanted:?}, but {finding}")
    }
}

/// Collects warnings.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Warning>);

impl Findings {
    pub(super) fn add(
        &mut self,
        tenant: &TenantPath,
        key: impl Into<String>,
        wanted: impl Display,
        finding: impl Into<String>,
    ) {
        self.0.push(Warning {
            tenant: tenant.clone(),
            key: key.into(),
            wanted: wanted.to_string(),
            finding: finding.into(),
        });
    }
}

impl IntoIterator for Findings {
    type Item = Warning;
    type IntoIter = std::vec::IntoIter<Warning>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Resolved {
    /// A tenant's limits; `None` where the file has no such tenant.
    #[must_use]
    pub fn limits(&self, tenant: &TenantPath) -> Option<&NodeLimits> {
        self.limits.get(tenant)
    }

    /// All tenants, parents before their children.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantPath, &NodeLimits)> {
        self.limits.iter()
    }
}

impl Tenants {
    /// The limits of all tenants on a node.
    #[must_use]
    pub fn on(&self, node: &NodeSize) -> Resolved {
        let mut findings = Findings::default();
        let mut cpus = cores::give_out(self, node, &mut findings);
        let mut limits = BTreeMap::new();
        for (path, tenant) in self.iter() {
            let resolved =
                On { node, path, findings: &mut findings }.limits(&tenant.limits, cpus.remove(path));
            below_ancestors(path, &resolved, &limits, &mut findings);
            limits.insert(path.clone(), resolved);
        }
        // By tenant, and within one in the order in which they were found.
        let mut warnings: Vec<_> = findings.into_iter().collect();
        warnings.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        Resolved { limits, warnings }
    }
}

/// One tenant on one node.
struct On<'a> {
    node: &'a NodeSize,
    path: &'a TenantPath,
    findings: &'a mut Findings,
}

impl On<'_> {
    fn limits(mut self, file: &Limits, cpus: Option<CpuList>) -> NodeLimits {
        let cpu_max = file.cpu_max.map(|limit| self.bandwidth(limit));
        NodeLimits {
            cpu_weight: file.cpu_weight,
            cpu_max,
            cpu_burst: file.cpu_burst.map(|burst| self.burst(burst, cpu_max)),
            cpus,
            memory_min: self.memory("memory_min", file.memory_min),
            memory_low: self.memory("memory_low", file.memory_low),
            memory_high: self.memory("memory_high", file.memory_high),
            memory_max: self.memory("memory_max", file.memory_max),
            memory_swap_max: self.bytes("memory_swap_max", file.memory_swap_max, self.node.swap, "of swap"),
            memory_oom_group: file.memory_oom_group,
            pids_max: file.pids_max.inspect(|limit| self.pids(limit)),
            io_weight: file.io_weight,
            io_max: self.io_max(file),
            descendants_max: file.descendants_max,
            hugetlb_max: self.hugetlb_max(file),
            rdma_max: self.rdma_max(file),
            devices: file
                .devices
                .as_ref()
                .map(|specs| specs.iter().filter_map(|spec| self.device(spec)).collect()),
        }
    }

    fn warn(&mut self, key: impl Into<String>, wanted: impl Display, finding: impl Into<String>) {
        self.findings.add(self.path, key, wanted, finding);
    }

    fn bandwidth(&mut self, limit: Limit<Amount<CpuBandwidth>>) -> Limit<CpuBandwidth> {
        let cpus = u64::try_from(self.node.cpus.len()).unwrap_or(u64::MAX);
        let all = Usec(cpus.saturating_mul(CpuBandwidth::PERIOD.0));
        match limit {
            Limit::Max => Limit::Max,
            Limit::At(Amount::Absolute(bandwidth)) => {
                if bandwidth.quota > all {
                    let all = CpuBandwidth { quota: all }.human();
                    self.warn("cpu_max", bandwidth.human(), format!("this node has {all}"));
                }
                Limit::At(bandwidth)
            }
            Limit::At(Amount::Share(share)) => {
                let quota = Usec(share.of(all.0));
                if quota < CpuBandwidth::LEAST {
                    let least = CpuBandwidth { quota: CpuBandwidth::LEAST }.human();
                    self.warn(
                        "cpu_max",
                        share,
                        format!("of {cpus} CPUs that is less than the kernel can hold it to: it is {least}"),
                    );
                }
                Limit::At(CpuBandwidth { quota: quota.max(CpuBandwidth::LEAST) })
            }
        }
    }

    /// The kernel refuses a burst above the quota.
    fn burst(&mut self, burst: Usec, cpu_max: Option<Limit<CpuBandwidth>>) -> Usec {
        match cpu_max {
            Some(Limit::At(CpuBandwidth { quota })) if burst > quota => {
                let finding = format!("cpu_max is {}us in each period here: it is cut to that", quota.0);
                self.warn("cpu_burst", format!("{}us", burst.0), finding);
                quota
            }
            _ => burst,
        }
    }

    fn memory(&mut self, key: &str, limit: Option<Limit<Amount<Bytes>>>) -> Option<Limit<Bytes>> {
        self.bytes(key, limit, self.node.memory, "of memory")
    }

    fn bytes(
        &mut self,
        key: &str,
        limit: Option<Limit<Amount<Bytes>>>,
        has: Bytes,
        of_what: &str,
    ) -> Option<Limit<Bytes>> {
        Some(match limit? {
            Limit::Max => Limit::Max,
            Limit::At(Amount::Share(share)) => in_pages(Bytes(share.of(has.0)), self.node.page),
            Limit::At(Amount::Absolute(bytes)) => {
                if bytes > has {
                    self.warn(key, bytes.human(), format!("this node has {} {of_what}", has.human()));
                }
                in_pages(bytes, self.node.page)
            }
        })
    }

    fn pids(&mut self, limit: &Limit<u64>) {
        let most = self.node.pid_max;
        if let Limit::At(pids) = limit
            && *pids > most
        {
            self.warn("pids_max", pids, format!("this node has {most} (kernel.pid_max)"));
        }
    }

    fn io_max(&mut self, file: &Limits) -> BTreeMap<super::DeviceNumber, super::IoMax> {
        let mut io_max = BTreeMap::new();
        for (disk, max) in &file.io_max {
            let finding = match self.node.devices.get(disk) {
                None => Some("this node has no such device: there is nothing to limit".to_owned()),
                Some(device) if device.kind == DeviceKind::Char => {
                    Some("this node has a character device there: there is nothing to limit".to_owned())
                }
                Some(device) if device.is_partition => {
                    let number = device.number;
                    Some(format!(
                        "that ({number}) is a part of a disk, and the kernel limits whole disks only: it has no effect"
                    ))
                }
                Some(device) => io_max
                    .insert(device.number, *max)
                    .map(|_| format!("another name of {} is there too: this one counts", device.number)),
            };
            if let Some(finding) = finding {
                self.warn(format!("io_max.\"{disk}\""), max, finding);
            }
        }
        io_max
    }

    /// For every size the node has, so that a limit taken out of the file is lifted.
    fn hugetlb_max(&mut self, file: &Limits) -> BTreeMap<super::HugePageSize, Limit<Bytes>> {
        for (size, max) in &file.hugetlb_max {
            if !self.node.huge_pages.contains(size) {
                let finding = "this node's kernel has no pages of that size: there is nothing to limit";
                let wanted = match max {
                    Limit::Max => "max".to_owned(),
                    Limit::At(bytes) => bytes.human(),
                };
                self.warn(format!("hugetlb_max.{size}"), wanted, finding);
            }
        }
        let whole_pages = |size: &super::HugePageSize| match file.hugetlb_max.get(size) {
            None | Some(Limit::Max) => Limit::Max,
            Some(Limit::At(bytes)) => in_pages(*bytes, size.bytes()),
        };
        self.node.huge_pages.iter().map(|size| (size.clone(), whole_pages(size))).collect()
    }

    fn rdma_max(&mut self, file: &Limits) -> BTreeMap<String, super::RdmaMax> {
        let mut rdma_max = file.rdma_max.clone();
        rdma_max.retain(|device, max| {
            let there = self.node.rdma.contains(device);
            if !there {
                let finding = "this node has no such device: there is nothing to limit";
                self.warn(format!("rdma_max.{device}"), *max, finding);
            }
            there
        });
        rdma_max
    }

    fn device(&mut self, spec: &DeviceSpec) -> Option<DeviceRule> {
        match spec {
            DeviceSpec::Number(rule) => Some(*rule),
            DeviceSpec::Path { path, access } => {
                let Some(device) = self.node.devices.get(&DeviceName::Path(path.clone())) else {
                    self.warn("devices", spec, "this node has no such device: there is nothing to allow");
                    return None;
                };
                let (major, minor) = (Some(device.number.major), Some(device.number.minor));
                Some(DeviceRule { kind: device.kind, major, minor, access: *access })
            }
        }
    }
}

/// As the kernel keeps it: whole pages, and `max` from where a signed number of bytes ends.
fn in_pages(bytes: Bytes, page: Bytes) -> Limit<Bytes> {
    let most = Bytes(i64::MAX.unsigned_abs()).in_pages_of(page);
    let rounded = bytes.in_pages_of(page);
    if rounded >= most { Limit::Max } else { Limit::At(rounded) }
}

/// Warns of each limit that a tenant can never reach because one it stands in has less.
fn below_ancestors(
    path: &TenantPath,
    own: &NodeLimits,
    all: &BTreeMap<TenantPath, NodeLimits>,
    findings: &mut Findings,
) {
    /// A key, its figure, and how that is written.
    type Figure = (&'static str, fn(&NodeLimits) -> Option<u64>, fn(u64) -> String);
    fn at<T: Copy>(limit: Option<Limit<T>>, figure: impl Fn(T) -> u64) -> Option<u64> {
        match limit? {
            Limit::Max => None,
            Limit::At(value) => Some(figure(value)),
        }
    }
    const FIGURES: [Figure; 8] = [
        (
            "cpu_max",
            |limits| at(limits.cpu_max, |bandwidth| bandwidth.quota.0),
            |quota| CpuBandwidth { quota: Usec(quota) }.human(),
        ),
        ("memory_min", |limits| at(limits.memory_min, |bytes| bytes.0), |bytes| Bytes(bytes).human()),
        ("memory_low", |limits| at(limits.memory_low, |bytes| bytes.0), |bytes| Bytes(bytes).human()),
        ("memory_high", |limits| at(limits.memory_high, |bytes| bytes.0), |bytes| Bytes(bytes).human()),
        ("memory_max", |limits| at(limits.memory_max, |bytes| bytes.0), |bytes| Bytes(bytes).human()),
        (
            "memory_swap_max",
            |limits| at(limits.memory_swap_max, |bytes| bytes.0),
            |bytes| Bytes(bytes).human(),
        ),
        ("pids_max", |limits| at(limits.pids_max, |pids| pids), |pids| pids.to_string()),
        (
            "descendants_max",
            |limits| at(limits.descendants_max, |groups| groups),
            |groups| groups.to_string(),
        ),
    ];
    let Some(parent) = path.parent() else { return };
    for (key, figure, human) in FIGURES {
        let Some(wanted) = figure(own) else { continue };
        // The outermost of those that have least.
        let ancestors = parent.lineage().filter_map(|path| Some((figure(all.get(&path)?)?, path)));
        if let Some((least, ancestor)) = ancestors.min_by_key(|(least, _)| *least)
            && wanted > least
        {
            findings.add(
                path,
                key,
                human(wanted),
                format!("{ancestor}, which it stands in, has {}", human(least)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
