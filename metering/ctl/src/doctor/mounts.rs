//! `/proc/PID/mountinfo`.

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: String,
    /// The file system's type.
    pub kind: String,
    /// Its options, of the mount and of the file system.
    pub options: Vec<String>,
    /// The peer group it shares its mounts with.
    pub shared: Option<String>,
    /// The peer group whose mounts it gets without giving its own.
    pub master: Option<String>,
}

/// Every line that is a mount.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Mount> {
    // id parent major:minor root point options [optional fields] - type source options
    let (of_mount, of_file_system) = text.split_once(" - ")?;
    let mut mount = of_mount.split(' ').skip(4);
    let (point, options) = (mount.next()?, mount.next()?);
    let optional: Vec<_> = mount.collect();
    let tagged = |tag: &str| optional.iter().find_map(|field| field.strip_prefix(tag)).map(str::to_owned);
    let mut file_system = of_file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let more = file_system.nth(1).unwrap_or_default();
    Some(Mount {
        point: point.to_owned(),
        kind,
        options: options
            .split(',')
            .chain(more.split(','))
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect(),
        shared: tagged("shared:"),
        master: tagged("master:"),
    })
}

/// What is mounted at a point: the last mount there hides the others.
pub fn at<'a>(mounts: &'a [Mount], point: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.point == point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_and_without_propagation() {
        let mounts = parse(
            "25 22 0:21 / /sys/fs/cgroup rw,nosuid shared:7 master:3 - cgroup2 cgroup2 rw,nsdelegate\n\
             garbage\n26 22 0:22 / /sys/fs/bpf rw - bpf bpf rw,mode=700\n",
        );
        assert_eq!(mounts.len(), 2);
        let cgroup = at(&mounts, "/sys/fs/cgroup").unwrap();
        assert_eq!(
            (cgroup.kind.as_str(), cgroup.shared.as_deref(), cgroup.master.as_deref()),
            ("cgroup2", Some("7"), Some("3"))
        );
        assert_eq!(cgroup.options, ["rw", "nosuid", "rw", "nsdelegate"]);
        assert_eq!(at(&mounts, "/sys/fs/bpf").unwrap().shared, None);
    }
}
