//! A tenant's limits shared out over its jobs, for sites without the tenant's own group.

use super::{IoMax, NodeLimits};
use crate::units::{Bytes, CpuBandwidth, Limit, Usec};

impl NodeLimits {
    /// One of `jobs` equal parts of what can be shared out: CPU, pids and IO. What the parts of all
    /// jobs add up to is never above the limit, but for the least the kernel takes.
    #[must_use]
    pub fn part_of(&self, jobs: u64) -> Self {
        let weight = |weight: u64| divided(weight, jobs).max(1);
        let usec = |time: Usec, least: u64| Usec(divided(time.0, jobs).max(least));
        let io = |max: &IoMax| IoMax {
            rbps: max.rbps.map(|bytes: Bytes| Bytes(divided(bytes.0, jobs).max(1))),
            wbps: max.wbps.map(|bytes: Bytes| Bytes(divided(bytes.0, jobs).max(1))),
            riops: max.riops.map(|count| divided(count, jobs).max(1)),
            wiops: max.wiops.map(|count| divided(count, jobs).max(1)),
        };
        Self {
            cpu_weight: self.cpu_weight.map(weight),
            cpu_max: self.cpu_max.map(|max| {
                max.map(|bandwidth: CpuBandwidth| CpuBandwidth {
                    quota: usec(bandwidth.quota, CpuBandwidth::LEAST.0),
                })
            }),
            cpu_burst: self.cpu_burst.map(|burst| usec(burst, 0)),
            pids_max: self.pids_max.map(|max| max.map(|count| divided(count, jobs).max(1))),
            io_weight: self.io_weight.map(weight),
            io_max: self.io_max.iter().map(|(device, max)| (*device, io(max))).collect(),
            ..Self::default()
        }
    }

    /// The tighter of both in each limit that can be shared out: a job obeys every tenant it is in.
    /// A weight is the inner tenant's (`self`'s), if it has one.
    #[must_use]
    pub fn tightened_by(mut self, outer: &Self) -> Self {
        self.cpu_weight = self.cpu_weight.or(outer.cpu_weight);
        self.io_weight = self.io_weight.or(outer.io_weight);
        self.cpu_max = tighter(self.cpu_max, outer.cpu_max, |bandwidth| bandwidth.quota.0);
        self.cpu_burst = self.cpu_burst.or(outer.cpu_burst);
        self.pids_max = tighter(self.pids_max, outer.pids_max, |count| *count);
        for (device, max) in &outer.io_max {
            let own = self.io_max.entry(*device).or_insert(IoMax::NONE);
            *own = IoMax {
                rbps: lesser(own.rbps, max.rbps, |bytes| bytes.0),
                wbps: lesser(own.wbps, max.wbps, |bytes| bytes.0),
                riops: lesser(own.riops, max.riops, |count| *count),
                wiops: lesser(own.wiops, max.wiops, |count| *count),
            };
        }
        // A burst may never be above the quota.
        if let (Some(burst), Some(Limit::At(max))) = (self.cpu_burst, self.cpu_max) {
            self.cpu_burst = Some(burst.min(max.quota));
        }
        self
    }

    /// The kernel's file of the first limit that cannot be shared out, if there is one.
    #[must_use]
    pub fn indivisible(&self) -> Option<&'static str> {
        [
            (self.cpus.is_some(), "cpuset.cpus"),
            (self.memory_min.is_some(), "memory.min"),
            (self.memory_low.is_some(), "memory.low"),
            (self.memory_high.is_some(), "memory.high"),
            (self.memory_max.is_some(), "memory.max"),
            (self.memory_swap_max.is_some(), "memory.swap.max"),
            (self.memory_oom_group, "memory.oom.group"),
            (self.descendants_max.is_some(), "cgroup.max.descendants"),
            (self.hugetlb_max.values().any(|max| *max != Limit::Max), "hugetlb.*.max"),
            (!self.rdma_max.is_empty(), "rdma.max"),
            (self.devices.is_some(), "the device list"),
        ]
        .into_iter()
        .find_map(|(is_set, file)| is_set.then_some(file))
    }
}

fn divided(whole: u64, jobs: u64) -> u64 {
    whole.checked_div(jobs).unwrap_or(whole)
}

fn tighter<T: Copy>(one: Option<Limit<T>>, other: Option<Limit<T>>, size: fn(&T) -> u64) -> Option<Limit<T>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(lesser(one, other, size)),
        (limit, None) | (None, limit) => limit,
    }
}

fn lesser<T: Copy>(one: Limit<T>, other: Limit<T>, size: fn(&T) -> u64) -> Limit<T> {
    match (one, other) {
        (Limit::At(a), Limit::At(b)) => Limit::At(if size(&b) < size(&a) { b } else { a }),
        (Limit::Max, limit) | (limit, Limit::Max) => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::arithmetic_side_effects, reason = "the ranges are small")]
    fn times(part: u64, jobs: u64) -> u64 {
        part * jobs
    }

    proptest! {
        #[test]
        fn the_parts_of_all_jobs_are_within_the_limit(pids in 1_u64..100_000, quota in 1_000_u64..10_000_000, jobs in 1_u64..500) {
            let limits = NodeLimits {
                pids_max: Some(Limit::At(pids)),
                cpu_max: Some(Limit::At(CpuBandwidth { quota: Usec(quota) })),
                ..NodeLimits::default()
            };
            let part = limits.part_of(jobs);
            let Some(Limit::At(own)) = part.pids_max else { panic!("the limit is gone") };
            prop_assert!(own >= 1 && (times(own, jobs) <= pids || own == 1));
            let Some(Limit::At(own)) = part.cpu_max else { panic!("the limit is gone") };
            prop_assert!(own.quota >= CpuBandwidth::LEAST && (times(own.quota.0, jobs) <= quota || own.quota == CpuBandwidth::LEAST));
        }

        #[test]
        fn a_job_obeys_both_tenants(inner in prop::option::of(1_u64..100), outer in prop::option::of(1_u64..100)) {
            let of = |pids: Option<u64>| NodeLimits { pids_max: pids.map(Limit::At), ..NodeLimits::default() };
            let both = of(inner).tightened_by(&of(outer)).pids_max;
            prop_assert_eq!(both, inner.into_iter().chain(outer).min().map(Limit::At));
        }
    }
}
