use proptest::prelude::*;

use super::*;
use crate::tenants::tests::{node, parse};
use crate::tenants::{DeviceNode, DeviceNumber, IoMax};
use crate::units::Share;

/// One tenant `a` with these keys, on a node of 4 CPUs, 1 GiB of memory and 512 MiB of swap.
fn on_node(keys: &str) -> (NodeLimits, Vec<String>) {
    let resolved = parse(&format!("[tenants.a]\n{keys}")).unwrap().on(&node("0-3"));
    let warnings = resolved.warnings.iter().map(ToString::to_string).collect();
    (resolved.limits(&"a".parse().unwrap()).unwrap().clone(), warnings)
}

#[test]
fn shares_become_amounts_in_whole_pages() {
    let (limits, warnings) =
        on_node("cpu_max = '50%'\nmemory_max = '40%'\nmemory_swap_max = '10%'\nmemory_high = '10001B'");
    assert_eq!(limits.cpu_max, Some(Limit::At(CpuBandwidth { quota: Usec(200_000) })));
    assert_eq!(limits.memory_max, Some(Limit::At(Bytes(429_494_272))));
    assert_eq!(limits.memory_swap_max, Some(Limit::At(Bytes(53_686_272))));
    assert_eq!(limits.memory_high, Some(Limit::At(Bytes(8_192))));
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn more_than_the_node_has_is_a_warning_that_names_all_of_it() {
    let (limits, warnings) = on_node(
        "cpu_max = '4.5 cores'\nmemory_max = '2GiB'\nmemory_swap_max = '1TiB'\npids_max = 40000\nmemory_low = 'max'",
    );
    assert_eq!(limits.memory_max, Some(Limit::At(Bytes(2 << 30))));
    assert_eq!(
        warnings,
        [
            "tenant a: cpu_max = \"4.5 cores\", but this node has 4 cores",
            "tenant a: memory_max = \"2GiB\", but this node has 1GiB of memory",
            "tenant a: memory_swap_max = \"1TiB\", but this node has 512MiB of swap",
            "tenant a: pids_max = \"40000\", but this node has 32768 (kernel.pid_max)",
        ]
    );
}

#[test]
fn a_burst_is_cut_to_the_quota_and_a_quota_raised_to_what_the_kernel_holds() {
    let (limits, warnings) = on_node("cpu_max = '10%'\ncpu_burst = '50ms'");
    assert_eq!((limits.cpu_burst, warnings.len()), (Some(Usec(40_000)), 1));
    let (limits, warnings) = on_node("cpu_max = '0.01%'");
    assert_eq!(limits.cpu_max, Some(Limit::At(CpuBandwidth { quota: CpuBandwidth::LEAST })));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn what_no_signed_number_of_bytes_holds_is_the_kernels_max() {
    assert_eq!(on_node("memory_max = '8388608TiB'").0.memory_max, Some(Limit::Max));
    assert!(matches!(on_node("memory_max = '8388607TiB'").0.memory_max, Some(Limit::At(_))));
}

#[test]
fn devices_are_found_by_their_paths_and_what_is_not_there_is_said() {
    let tenants = parse(
        "[tenants.a]\ndevices = ['c 1:3 rw', '/dev/fuse rw', '/dev/nvidia0 rw']\n[tenants.a.io_max]\n\
         '/dev/vda' = { wbps = '1MiB' }\n'/dev/vda1' = { wbps = '1MiB' }\n'8:16' = { riops = 5 }\n'8:32' = { riops = 5 }\n\
         '/dev/absent' = {}\n'/dev/fuse' = {}\n'/dev/disk/by-id/x' = { rbps = '2MiB' }\n",
    )
    .unwrap();
    let mut node = node("0-3");
    let mut add = |path: &str, kind, number: &str, is_partition| {
        let number: DeviceNumber = number.parse().unwrap();
        node.devices.insert(path.parse().unwrap(), DeviceNode { kind, number, is_partition });
    };
    add("/dev/fuse", DeviceKind::Char, "10:229", false);
    add("/dev/vda", DeviceKind::Block, "254:0", false);
    add("/dev/disk/by-id/x", DeviceKind::Block, "254:0", false);
    add("/dev/vda1", DeviceKind::Block, "254:1", true);
    add("8:16", DeviceKind::Block, "8:16", false);
    let resolved = tenants.on(&node);
    let limits = resolved.limits(&"a".parse().unwrap()).unwrap();
    let rules: Vec<_> = limits.devices.as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["c 1:3 rw", "c 10:229 rw"]);
    let io: Vec<_> = limits.io_max.iter().map(|(number, max)| format!("{number} {max}")).collect();
    assert_eq!(
        io,
        ["8:16 rbps=max wbps=max riops=5 wiops=max", "254:0 rbps=max wbps=1048576 riops=max wiops=max"]
    );
    let keys: Vec<_> = resolved.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "io_max.\"8:32\"",
            "io_max.\"/dev/absent\"",
            "io_max.\"/dev/fuse\"",
            "io_max.\"/dev/vda\"",
            "io_max.\"/dev/vda1\"",
            "devices"
        ]
    );
    assert_eq!(limits.io_max.len(), 2);
    assert_eq!(limits.io_max[&"8:16".parse().unwrap()], IoMax { riops: Limit::At(5), ..IoMax::NONE });
}

#[test]
fn sizes_of_huge_pages_and_rdma_devices_the_node_has_not_are_left_out_and_said() {
    let keys = "hugetlb_max = { '2MB' = '5MiB', '1GB' = '8GiB' }\n\
                rdma_max = { mlx5_0 = { hca_handle = 2 }, mlx5_9 = {} }";
    let (limits, warnings) = on_node(keys);
    let huge: Vec<_> = limits.hugetlb_max.iter().map(|(size, max)| format!("{size} {max}")).collect();
    assert_eq!(huge, ["2MB 4194304"]);
    let rdma: Vec<_> = limits.rdma_max.iter().map(|(device, max)| format!("{device} {max}")).collect();
    assert_eq!(rdma, ["mlx5_0 hca_handle=2 hca_object=max"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn a_limit_above_the_one_it_stands_in_is_a_warning() {
    let tenants = parse(
        "[tenants.a]\nmemory_max = '256MiB'\npids_max = 10\n[tenants.'a/b']\npids_max = 'max'\n\
         [tenants.'a/b/c']\nmemory_max = '50%'\npids_max = 11\n",
    )
    .unwrap();
    let warnings: Vec<_> = tenants.on(&node("0")).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "tenant a/b/c: memory_max = \"512MiB\", but a, which it stands in, has 256MiB",
            "tenant a/b/c: pids_max = \"11\", but a, which it stands in, has 10",
        ]
    );
}

proptest! {
    #[test]
    fn a_share_is_never_more_than_the_node_has_and_never_a_warning(
        points in 1..=10_000_u32,
        cpus in 1_u32..600,
        memory: u64,
    ) {
        let share: Share = format!("{}.{:02}%", points.div_euclid(100), points.rem_euclid(100)).parse().unwrap();
        let keys = format!("[tenants.a]\ncpu_max = '{share}'\nmemory_max = '{share}'\ncpus = '{share}'\n");
        let mut node = node(&format!("0-{}", cpus.saturating_sub(1)));
        node.memory = Bytes(memory);
        let resolved = parse(&keys).unwrap().on(&node);
        let limits = resolved.limits(&"a".parse().unwrap()).unwrap();
        match limits.memory_max.unwrap() {
            Limit::Max => prop_assert!(memory > 1 << 62),
            Limit::At(bytes) => prop_assert!(bytes <= node.memory && bytes.0.is_multiple_of(4096)),
        }
        let Some(Limit::At(bandwidth)) = limits.cpu_max else { return Err(TestCaseError::fail("no quota")) };
        prop_assert!(bandwidth.quota.0 <= u64::from(cpus).saturating_mul(100_000));
        prop_assert!(resolved.warnings.iter().all(|warning| warning.key != "memory_max"));
        prop_assert!(limits.cpus.as_ref().unwrap().is_subset(&node.cpus));
    }
}
