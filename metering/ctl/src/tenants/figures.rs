//! What stands in a limit's file, for people: with its unit.

use tenantry_model::units::CpuBandwidth;
use tenantry_model::{Bytes, Usec};

/// A limit's unit in its file; `None` where it has none.
pub fn unit(file: &str) -> Option<&'static str> {
    match file {
        "cpu.max" => Some("quota and period in microseconds"),
        "cpu.max.burst" => Some("microseconds"),
        "memory.oom.group" => None,
        "pids.max" => Some("processes and threads"),
        "cgroup.max.descendants" => Some("groups"),
        "io.max" => Some("bytes and operations a second"),
        _ if file.starts_with("memory.") || file.starts_with("hugetlb.") => Some("bytes"),
        _ => None,
    }
}

/// What stands in the file, with its unit; as it is where it is nothing the kernel writes today.
pub fn human(file: &str, text: &str) -> String {
    let known = match file {
        "cpu.max" => bandwidth(text),
        "cpu.max.burst" => Some(format!("{text}us")),
        "cpuset.cpus" => text.is_empty().then(|| "all".to_owned()),
        "memory.oom.group" => match text {
            "0" => Some("no".to_owned()),
            "1" => Some("yes".to_owned()),
            _ => None,
        },
        "io.max" | "rdma.max" => pairs(text),
        _ if unit(file) == Some("bytes") => text.parse().ok().map(|bytes| Bytes(bytes).human()),
        _ => None,
    };
    known.unwrap_or_else(|| text.to_owned())
}

fn bandwidth(text: &str) -> Option<String> {
    let (quota, period) = text.split_once(' ')?;
    if period.parse() != Ok(CpuBandwidth::PERIOD.0) {
        return None;
    }
    match quota {
        "max" => Some("max".to_owned()),
        quota => quota.parse().ok().map(|quota| CpuBandwidth { quota: Usec(quota) }.human()),
    }
}

/// `rbps=1GiB/s wiops=10/s`: only what is limited.
fn pairs(text: &str) -> Option<String> {
    let mut limited = Vec::new();
    for pair in text.split(' ') {
        let (key, value) = pair.split_once('=')?;
        match (key, value.parse().ok()) {
            _ if value == "max" => {}
            ("rbps" | "wbps", Some(bytes)) => limited.push(format!("{key}={}/s", Bytes(bytes).human())),
            ("riops" | "wiops", Some(_)) => limited.push(format!("{key}={value}/s")),
            _ => limited.push(pair.to_owned()),
        }
    }
    Some(if limited.is_empty() { "max".to_owned() } else { limited.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_units_and_odd_ones_stand_as_they_are() {
        for (file, text, expected) in [
            ("cpu.max", "150000 100000", "1.5 cores"),
            ("cpu.max", "max 100000", "max"),
            ("cpu.max", "1000 5000", "1000 5000"),
            ("cpu.max.burst", "20000", "20000us"),
            ("cpu.weight", "100", "100"),
            ("cpuset.cpus", "", "all"),
            ("cpuset.cpus", "0-3", "0-3"),
            ("memory.max", "1073741824", "1GiB"),
            ("memory.max", "max", "max"),
            ("memory.oom.group", "1", "yes"),
            ("hugetlb.2MB.max", "4194304", "4MiB"),
            ("io.max", "rbps=max wbps=1048576 riops=10 wiops=max", "wbps=1MiB/s riops=10/s"),
            ("io.max", "rbps=max wbps=max riops=max wiops=max", "max"),
            ("rdma.max", "hca_handle=2 hca_object=max", "hca_handle=2"),
            ("io.max", "new", "new"),
        ] {
            assert_eq!(human(file, text), expected, "{file} {text}");
        }
    }
}
