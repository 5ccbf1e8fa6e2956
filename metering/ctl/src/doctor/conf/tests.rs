use super::*;
use proptest::prelude::*;

/// Files by name.
pub struct Tree(BTreeMap<PathBuf, String>);

impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(path, text)| (path.into(), text.into())).collect())
    }
}

impl Files for Tree {
    fn read(&self, path: &Path) -> Seen<String> {
        self.0.get(path).cloned().map_or(Seen::Absent, Seen::Is)
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let pattern = glob::Pattern::new(pattern.to_str().unwrap_or_default()).unwrap_or_default();
        self.0.keys().filter(|path| pattern.matches_path(path)).cloned().collect()
    }
}

fn load(text: &str) -> Conf {
    let tree = Tree::from([
        ("/etc/slurm/slurm.conf", text),
        ("/etc/slurm/nodes.conf", "\nNodeName=n[1-2] CPUs=2\n"),
        ("/etc/slurm/lab.conf", "KillWait=5\n"),
        ("/etc/slurm/loop.conf", "include loop.conf\n"),
    ]);
    let Seen::Is(conf) = Conf::load(&tree, Path::new("/etc/slurm/slurm.conf")) else { panic!() };
    conf
}

fn pairs(conf: &Conf) -> Vec<(&str, &str, usize)> {
    conf.entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.place.line.unwrap())).collect()
}

#[test]
fn values_have_the_line_they_stand_in() {
    let conf = load(
        "# A=b\nClusterName=lab # C=d\nProctrackType = proctrack/cgroup  TaskPlugin=\"task/cgroup, task/affinity\"\n\
         PrologFlags=\\\nAlloc,Contain \\  \n  KillOnBadExit=1\nX=a\\#b\n",
    );
    assert_eq!(
        pairs(&conf),
        [
            ("ClusterName", "lab", 2),
            ("ProctrackType", "proctrack/cgroup", 3),
            ("TaskPlugin", "task/cgroup, task/affinity", 3),
            ("PrologFlags", "Alloc,Contain", 4),
            ("KillOnBadExit", "1", 6),
            ("X", "a#b", 7),
        ]
    );
    assert_eq!(conf.problems, []);
}

#[test]
fn the_last_value_counts_and_keys_have_no_case() {
    let conf = load("ProctrackType=proctrack/cgroup\nPROCTRACKTYPE=proctrack/linuxproc\n");
    assert_eq!(conf.last("ProcTrackType").unwrap().place.line, Some(2));
}

#[test]
fn a_partitions_value_is_not_the_clusters() {
    let conf = load("PartitionName=main Nodes=ALL OverSubscribe=FORCE:2\npartitionname=p OverSubscribe=NO\n");
    assert_eq!(conf.last("OverSubscribe"), None);
    let each: Vec<_> = conf.of_each("partitionname", "oversubscribe").collect();
    assert_eq!(each.len(), 2);
    assert_eq!(each[0].of, Some(("partitionname".into(), "main".into())));
}

#[test]
fn includes_are_beside_the_first_file_and_may_name_the_cluster() {
    let conf = load("ClusterName=Lab\nInclude nodes.conf\ninclude /etc/slurm/%c.conf\ninclude gone.conf\n");
    assert_eq!(conf.last("KillWait").unwrap().place, Place::line(Path::new("/etc/slurm/lab.conf"), 1));
    let node = conf.of_each("nodename", "CPUs").next().unwrap();
    assert_eq!(node.place, Place::line(Path::new("/etc/slurm/nodes.conf"), 2));
    assert_eq!(conf.problems.len(), 1);
    assert_eq!(conf.problems[0].place.line, Some(4));
}

#[test]
fn what_is_no_pair_is_a_problem_with_its_line() {
    let conf = load("KillWait=5\nnonsense A=1\n=5\nB=\n");
    let lines: Vec<_> = conf.problems.iter().map(|problem| problem.place.line.unwrap()).collect();
    assert_eq!(lines, [2, 3]);
    assert_eq!(pairs(&conf), [("KillWait", "5", 1), ("A", "1", 2), ("B", "", 4)]);
}

#[test]
fn a_file_that_includes_itself_ends() {
    assert_eq!(load("include loop.conf\n").problems.len(), 1);
}

#[test]
fn what_slurmctld_says_is_read() {
    let live = parse_live(
        "Configuration data as of 2026-11-22T06:06:52\nSlurmUser               = slurm(64030)\n\
         JobContainerType        = (null)\nPriorityFlags           = \nTaskPluginParam         = (null type)\n\nSlurmctld(primary) at n1 is UP\n",
    );
    assert_eq!(live.into_iter().collect::<Vec<_>>(), [("slurmuser".to_owned(), "slurm(64030)".to_owned())]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(include |NodeName=|[A-Za-z0-9=\"#+\\\\ \t\n\r])*|\\PC*") {
        let conf = load(&text);
        let lines = text.lines().count();
        let own = |place: &Place| place.file.ends_with("slurm.conf");
        prop_assert!(conf.entries.iter().filter(|e| own(&e.place)).all(|e| e.place.line.unwrap() <= lines));
        parse_live(&text);
    }

    #[test]
    fn any_pair_is_read_back(key in "[A-Za-z][A-Za-z0-9_]{0,20}", value in "[A-Za-z0-9/,_:.%-]{1,30}", quoted: bool) {
        prop_assume!(!key.eq_ignore_ascii_case("include"));
        let value = if quoted { format!("{value} x") } else { value };
        let text = if quoted { format!("\n {key}=\"{value}\"") } else { format!("\n {key} = {value}\n") };
        let conf = load(&text);
        prop_assert_eq!(pairs(&conf), [(key.as_str(), value.as_str(), 2)]);
    }
}
