//! slurm.conf: what decides where a job's processes run, and who may reach the node.

use super::Check;
use crate::doctor::conf::Problem;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::Seen;
use crate::doctor::slurm::{File, agree, has, no, plugin, yes};

pub const CHECKS: &[Check] = &[
    Check {
        id: "slurm-conf",
        subject: "slurm.conf",
        wanted: "a slurm.conf that can be read, and no line that Slurm ignores",
        why: "what Slurm does not read as it is meant is not in force",
        fix: "name it with --slurm-conf",
        look: readable,
    },
    Check {
        id: "slurm-conf-in-force",
        subject: "slurm.conf and slurmctld",
        wanted: "slurmctld's values are the file's",
        why: "the file says what will be, slurmctld what is: an edit holds only after a restart or reconfigure",
        fix: "scontrol reconfigure; where it is a plugin (ProctrackType, TaskPlugin, AuthType and the like), restart slurmctld and every slurmd",
        look: in_force,
    },
    Check {
        id: "slurm-version",
        subject: "Slurm's version",
        wanted: "22.05 or later",
        why: "the prolog has the account from the signed credential since 22.05; before it nobody vouches for who pays",
        fix: "upgrade Slurm",
        look: version,
    },
    Check {
        id: "proctrack-type",
        subject: "ProctrackType",
        wanted: "ProctrackType=proctrack/cgroup",
        why: "otherwise slurmd makes no scope and no group for a job: none can be put under its tenant",
        fix: "write ProctrackType=proctrack/cgroup, then restart slurmctld and slurmd",
        look: |facts| {
            judge(facts, "ProctrackType", |value| match value.map(plugin).as_deref() {
                None | Some("cgroup") => ok(""),
                Some(_) => error(""),
            })
        },
    },
    Check {
        id: "task-plugin",
        subject: "TaskPlugin",
        wanted: "task/cgroup in TaskPlugin",
        why: "task/cgroup holds a job to its cores, memory and GRES devices; without it jobs of one tenant take each other's, and GPUs of any tenant",
        fix: "write TaskPlugin=task/cgroup, with task/affinity behind it where no tenant has cpus, then restart slurmd",
        look: |facts| {
            judge(facts, "TaskPlugin", |value| {
                let there = value.is_some_and(|list| list.split(',').any(|item| plugin(item) == "cgroup"));
                if there { ok("") } else { warning("jobs are held to nothing") }
            })
        },
    },
    Check {
        id: "task-affinity",
        subject: "task/affinity beside the tenants' cpus",
        wanted: "no task/affinity in TaskPlugin where a tenant has cpus",
        why: "task/affinity binds a task to the cores Slurm gave it; where none of them is its tenant's the kernel refuses, and the task does not start (task_g_set_affinity: Invalid argument)",
        fix: "write TaskPlugin=task/cgroup, then restart slurmd; or take cpus out of the tenants file",
        look: task_affinity,
    },
    Check {
        id: "slurmd-user",
        subject: "SlurmdUser",
        wanted: "SlurmdUser=root",
        why: "groups are made, mounted and limited as root; SPANK's prolog runs as slurmd's user",
        fix: "write SlurmdUser=root, or take the line out, then restart slurmd",
        look: |facts| {
            judge(facts, "SlurmdUser", |value| {
                match value.map(|user| user.split('(').next().unwrap_or(user)) {
                    None | Some("root" | "0") => ok(""),
                    Some(_) => error(""),
                }
            })
        },
    },
    Check {
        id: "disable-root-jobs",
        subject: "DisableRootJobs",
        wanted: "DisableRootJobs=yes",
        why: "no cgroup holds a job that runs as root: it can leave its tenant",
        fix: "write DisableRootJobs=yes",
        look: |facts| judge(facts, "DisableRootJobs", |value| if yes(value) { ok("") } else { warning("") }),
    },
    Check {
        id: "auth-type",
        subject: "AuthType",
        wanted: "AuthType=auth/munge or auth/slurm",
        why: "who submits, and so who pays, is what this plugin vouches for",
        fix: "write AuthType=auth/munge, then restart all of Slurm's daemons",
        look: |facts| judge(facts, "AuthType", signed),
    },
    Check {
        id: "cred-type",
        subject: "CredType",
        wanted: "CredType=cred/munge or cred/slurm",
        why: "the account in the prolog's environment is as good as the credential's signature",
        fix: "write CredType=cred/munge, then restart all of Slurm's daemons",
        look: |facts| judge(facts, "CredType", signed),
    },
    Check {
        id: "prep-plugins",
        subject: "PrEpPlugins",
        wanted: "prep/script among PrEpPlugins",
        why: "it is prep/script that runs the plugins' prologs and epilogs",
        fix: "write PrEpPlugins=prep/script, with the others behind it, then restart slurmd",
        look: |facts| {
            judge(facts, "PrEpPlugins", |value| match value {
                None => ok(""),
                Some(list) if list.split(',').any(|item| plugin(item) == "script") => ok(""),
                Some(_) => error("no prolog or epilog of a plugin runs"),
            })
        },
    },
    Check {
        id: "job-container",
        subject: "JobContainerType (25.11 and later: NamespaceType)",
        wanted: "job_container/tmpfs or namespace/tmpfs, with /dev/shm among its Dirs",
        why: "each job then has a /dev/shm and /tmp of its own, which go with it: no memory stays charged to the tenant, no file to be read by the next",
        fix: "write JobContainerType=job_container/tmpfs (25.11 and later: NamespaceType=namespace/tmpfs), and in job_container.conf AutoBasePath=true BasePath=/var/spool/job Dirs=/tmp,/var/tmp,/dev/shm; without it Tenantry removes a user's leftovers after his last job (shared_memory, tmp)",
        look: job_container,
    },
    Check {
        id: "launch-parameters",
        subject: "LaunchParameters",
        wanted: "use_interactive_step",
        why: "without it salloc's shell runs on the submitting host, outside any tenant, and is not billed; nothing on this node is weaker for it",
        fix: "add use_interactive_step to LaunchParameters",
        look: |facts| {
            judge(facts, "LaunchParameters", |value| {
                if has(value, "use_interactive_step") {
                    ok("")
                } else {
                    note("salloc's shell is outside any tenant")
                }
            })
        },
    },
    Check {
        id: "private-data",
        subject: "PrivateData",
        wanted: "jobs, usage, users and accounts among PrivateData",
        why: "without them each tenant sees the others' jobs, names and usage in squeue and sacct",
        fix: "write PrivateData=jobs,usage,users,accounts,reservations, in slurmdbd.conf too",
        look: |facts| {
            judge(facts, "PrivateData", |value| {
                let open: Vec<_> = ["jobs", "usage", "users", "accounts"]
                    .into_iter()
                    .filter(|item| !has(value, item))
                    .collect();
                if open.is_empty() { ok("") } else { note(format!("everybody sees {}", open.join(", "))) }
            })
        },
    },
    Check {
        id: "slurmd-parameters",
        subject: "SlurmdParameters",
        wanted: "no config_overrides",
        why: "with it the node's size is what slurm.conf says, whatever it is: jobs may be allocated more than there is, and billed for it",
        fix: "take config_overrides out of SlurmdParameters, and write the node's true size",
        look: |facts| {
            judge(facts, "SlurmdParameters", |value| {
                if has(value, "config_overrides") {
                    note("the node's true size counts for nothing")
                } else {
                    ok("")
                }
            })
        },
    },
    Check {
        id: "reboot-program",
        subject: "RebootProgram",
        wanted: "nothing: it is good to know",
        why: "a node that reboots under its jobs leaves their ends to be told from the last readings (quality estimated)",
        fix: "reboot with `scontrol reboot ASAP`, which waits for the jobs",
        look: |facts| judge(facts, "RebootProgram", |value| if value.is_some() { note("") } else { ok("") }),
    },
    Check {
        id: "return-to-service",
        subject: "ReturnToService",
        wanted: "0 or 1",
        why: "with 2 a node that was set down for a fault takes jobs as soon as it registers, whatever was wrong",
        fix: "write ReturnToService=1",
        look: |facts| {
            judge(facts, "ReturnToService", |value| if value == Some("2") { note("") } else { ok("") })
        },
    },
];

fn judge(facts: &Facts, key: &str, judge: impl FnOnce(Option<&str>) -> Verdict) -> Vec<Verdict> {
    facts.slurm.judge(facts.uid, File::Slurm, key, judge)
}

fn task_affinity(facts: &Facts) -> Vec<Verdict> {
    // tenants-file says where there is none, or a wrong one.
    let Seen::Is(Ok(tenants)) = &facts.tenantry.tenants else { return Vec::new() };
    let pinned = tenants.iter().find(|(_, tenant)| tenant.limits.cpus.is_some());
    judge(facts, "TaskPlugin", |value| {
        let binds = value.is_some_and(|list| list.split(',').any(|item| plugin(item) == "affinity"));
        match pinned {
            Some((path, _)) if binds => warning(format!("{path} has cpus")),
            Some(_) => ok(""),
            None => ok("no tenant has cpus"),
        }
    })
}

fn signed(value: Option<&str>) -> Verdict {
    match value.map(plugin).as_deref() {
        None | Some("munge" | "slurm") => ok(""),
        Some("none") => error("anybody can say who he is"),
        Some(_) => warning("unknown to Tenantry"),
    }
}

fn readable(facts: &Facts) -> Vec<Verdict> {
    let slurm = &facts.slurm;
    let conf = match &slurm.conf {
        Seen::Is(conf) => conf,
        Seen::Absent => {
            return vec![
                unseen(facts.uid, "there is none")
                    .fix("name it with --slurm-conf")
                    .at(Place::file(&slurm.conf_path)),
            ];
        }
        Seen::Unseen(reason) => return vec![unseen(facts.uid, reason)],
    };
    let more = [&slurm.cgroup_conf, &slurm.container_conf].into_iter().filter_map(|conf| conf.is());
    let problems: Vec<_> =
        conf.problems.iter().chain(more.flat_map(|conf| &conf.problems)).map(problem).collect();
    if problems.is_empty() { vec![ok("can be read").at(Place::file(&slurm.conf_path))] } else { problems }
}

/// What is wrong with a line.
pub fn problem(problem: &Problem) -> Verdict {
    warning(&problem.what).fix("correct the line, or take it out").at(problem.place.clone())
}

/// The keys that the checks look at, by file.
const COMPARED: [(File, &[&str]); 2] = [
    (
        File::Slurm,
        &[
            "ProctrackType",
            "TaskPlugin",
            "SlurmdUser",
            "DisableRootJobs",
            "AuthType",
            "CredType",
            "PrEpPlugins",
            "JobContainerType",
            "NamespaceType",
            "LaunchParameters",
            "PrivateData",
            "SlurmdParameters",
            "RebootProgram",
            "ReturnToService",
            "AccountingStorageType",
            "AccountingStorageEnforce",
            "JobAcctGatherType",
            "JobAcctGatherParams",
            "SelectTypeParameters",
            "PrologFlags",
            "PrologEpilogTimeout",
            "BatchStartTimeout",
            "UnkillableStepTimeout",
            "KillOnBadExit",
            "PlugStackConfig",
        ],
    ),
    (
        File::Cgroup,
        &[
            "CgroupPlugin",
            "ConstrainCores",
            "ConstrainRAMSpace",
            "ConstrainSwapSpace",
            "ConstrainDevices",
            "CgroupMountpoint",
            "IgnoreSystemd",
            "EnableControllers",
            "CgroupSlice",
        ],
    ),
];

/// Keys of slurm.conf and cgroup.conf that mean "no" or "none" in every Slurm that does not find them.
const OFF_UNLESS_SET: [(File, &[&str]); 2] = [
    (
        File::Slurm,
        &[
            "AccountingStorageEnforce",
            "DisableRootJobs",
            "JobContainerType",
            "KillOnBadExit",
            "RebootProgram",
        ],
    ),
    (
        File::Cgroup,
        &["ConstrainCores", "ConstrainRAMSpace", "ConstrainSwapSpace", "ConstrainDevices", "IgnoreSystemd"],
    ),
];

fn in_force(facts: &Facts) -> Vec<Verdict> {
    let slurm = &facts.slurm;
    let live = match &slurm.live {
        Seen::Is(live) => live,
        Seen::Absent => return vec![unseen(facts.uid, "no scontrol").fix("run it where scontrol is")],
        Seen::Unseen(reason) => {
            return vec![unseen(facts.uid, reason).fix("see that slurmctld answers `scontrol ping`")];
        }
    };
    let conf_of = |file| match file {
        File::Slurm => slurm.conf.is(),
        File::Cgroup => slurm.cgroup_conf.is(),
    };
    let mut differing = Vec::new();
    for (file, keys) in COMPARED {
        let Some(conf) = conf_of(file) else { continue };
        for entry in keys.iter().filter_map(|key| conf.last(key)) {
            // A Slurm that does not print a key has nothing to say about it.
            let Some(there) = live.get(&entry.key.to_lowercase()) else { continue };
            if !agree(&entry.value, there) {
                let found = format!("the file has {}={}, slurmctld has {there}", entry.key, entry.value);
                differing.push(warning(found).at(entry.place.clone()));
            }
        }
    }
    for (file, keys) in OFF_UNLESS_SET {
        // What an include that could not be read sets is not known.
        let Some(conf) = conf_of(file).filter(|conf| conf.problems.is_empty()) else { continue };
        for key in keys.iter().filter(|key| conf.last(key).is_none()) {
            if let Some(there) = live.get(&key.to_lowercase()).filter(|there| !no(there)) {
                let found = format!("the file does not set {key}, slurmctld has {there}");
                differing.push(warning(found).at(Place::file(&conf.file)));
            }
        }
    }
    if differing.is_empty() { vec![ok("the same")] } else { differing }
}

fn version(facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.slurm.version {
        Seen::Is(version) if (version.major, version.minor) >= (22, 5) => ok(version.to_string()),
        Seen::Is(version) => error(version.to_string()),
        Seen::Absent => unseen(facts.uid, "neither `slurmd -V` nor slurmctld says"),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn job_container(facts: &Facts) -> Vec<Verdict> {
    let renamed = facts.slurm.version.is().is_some_and(|version| (version.major, version.minor) >= (25, 11));
    // The newer Slurm still takes the older name.
    let older = facts.slurm.conf.is().is_some_and(|conf| conf.last("JobContainerType").is_some());
    let key = if renamed && !older { "NamespaceType" } else { "JobContainerType" };
    judge(facts, key, |value| {
        match value.map(plugin).as_deref() {
            Some("tmpfs") => {}
            Some("linux") => {
                return note("what is private to a job stands in namespace.yaml")
                    .fix("see that dirs in namespace.yaml has /tmp,/dev/shm");
            }
            _ => return note("jobs share /dev/shm and /tmp"),
        }
        let dirs =
            facts.slurm.container_conf.is().and_then(|conf| {
                conf.entries.iter().rev().find(|entry| entry.key.eq_ignore_ascii_case("Dirs"))
            });
        match dirs {
            // Slurm's default is /tmp and /dev/shm.
            None => ok("private /tmp and /dev/shm"),
            Some(entry) if has(Some(&entry.value), "/dev/shm") => ok(format!("private {}", entry.value)),
            Some(entry) => note(format!("Dirs={} has no /dev/shm", entry.value)),
        }
    })
}
