//! Each check with facts that are good and facts that are not, and docs/doctor.md against the table.

#[path = "../../../tests/doctor/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use site::Site;
use tenantry_cgroup::bpf::Part;

use super::*;
use crate::doctor::conf::{Conf, Entry, Problem};
use crate::doctor::elf::SlurmVersion;
use crate::doctor::facts::{Binding, Outbox};
use crate::doctor::finding::Severity::{self, Error, Note, Warning};
use crate::doctor::finding::{Place, exit_code};
use crate::doctor::gather;
use crate::doctor::machine::{FileFacts, Machine, Seen, Space};
use crate::doctor::pam::Rule;

/// What a good site's files say.
pub(crate) fn good() -> Facts {
    let site = Site::new("good");
    let machine = Machine::recorded(site.root().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gather::facts(&machine, None)).unwrap()
}

fn add(conf: &mut Seen<Conf>, key: &str, value: &str) {
    let Seen::Is(conf) = conf else { panic!("no file to add to") };
    let place = Place::line(&conf.file, 99);
    conf.entries.push(Entry { key: key.into(), value: value.into(), place, of: None });
}

fn slurm(facts: &mut Facts, key: &str, value: &str) {
    add(&mut facts.slurm.conf, key, value);
}

fn cgroup(facts: &mut Facts, key: &str, value: &str) {
    add(&mut facts.slurm.cgroup_conf, key, value);
}

fn unit(facts: &mut Facts, name: &str, key: &str, value: &str) {
    let Seen::Is(units) = &mut facts.units else { panic!("no units") };
    units.get_mut(name).unwrap().insert(key.into(), value.into());
}

fn slurmd(facts: &mut Facts, key: &str, value: &str) {
    unit(facts, "slurmd.service", key, value);
}

fn scope(facts: &mut Facts) -> &mut crate::doctor::facts::Scope {
    let Seen::Is(scopes) = &mut facts.kernel.scopes else { panic!("no scopes") };
    &mut scopes[0]
}

fn cgroup_mount(facts: &mut Facts) -> &mut crate::doctor::mounts::Mount {
    let Seen::Is(mounts) = &mut facts.kernel.mounts else { panic!("no mounts") };
    &mut mounts[0]
}

fn stack(facts: &mut Facts) -> &mut crate::doctor::plugstack::Plugstack {
    let Seen::Is(stack) = &mut facts.slurm.plugstack else { panic!("no plugstack") };
    stack
}

fn rules(facts: &mut Facts) -> &mut Vec<Rule> {
    let Seen::Is(rules) = &mut facts.login.pam else { panic!("no rules") };
    rules
}

fn file(mode: u32, uid: u32, is_socket: bool) -> Seen<FileFacts> {
    Seen::Is(FileFacts { mode, uid, is_socket, size: 0, modified: 0 })
}

fn tenants(facts: &mut Facts, text: &str) {
    let file = Path::new("/etc/tenantry/tenants.toml");
    facts.tenantry.tenants = Seen::Is(tenantry_model::tenants::Tenants::parse(file, text));
}

fn outbox(facts: &mut Facts, at: usize, waiting: usize, rejected: usize, age: i64) {
    let oldest = facts.now.map(|now| now.saturating_sub(age));
    facts.tenantry.outboxes[at].1 = Seen::Is(Outbox { waiting, rejected, oldest });
}

fn lack(facts: &mut Facts, missing: Part) {
    let Seen::Is(parts) = &mut facts.kernel.bpf else { panic!("no parts") };
    parts.iter_mut().find(|(part, _)| *part == missing).unwrap().1 = Some("no".into());
}

const UNREACHABLE: &str = "unreachable default metric 4278198272\n";

fn vrf(ipv4: &str, ipv6: &str) -> Binding {
    Binding::Vrf { ipv4: Seen::Is(ipv4.into()), ipv6: Seen::Is(ipv6.into()) }
}

/// A tenant that is bound to an interface, with more in its network's table.
fn bind(facts: &mut Facts, more: &str, binding: Binding) {
    let text =
        format!("[tenants.acme]\naccounts = ['*']\n[tenants.acme.network]\nbind_to = 'vrf-acme'\n{more}");
    tenants(facts, &text);
    facts.bindings.insert("vrf-acme".into(), binding);
}

fn problem() -> Problem {
    Problem { place: Place::line(Path::new("/etc/slurm/x.conf"), 3), what: "no".into() }
}

fn unseen<T>() -> Seen<T> {
    Seen::Unseen("permission denied".into())
}

type Case = (&'static str, Severity, fn(&mut Facts));

/// What a good site may have otherwise, and the check that looks at it.
type Way = (&'static str, fn(&mut Facts));

/// What makes a good site a bad one: the check that says so, and how loud.
const CASES: &[Case] = &[
    ("kernel-version", Error, |f| f.kernel.release = Seen::Is("5.13.19".into())),
    ("kernel-version", Error, |f| f.kernel.release = Seen::Is("4.18.0-553.el8.x86_64".into())),
    ("kernel-version", Warning, |f| f.kernel.release = Seen::Is("none".into())),
    ("memory-peak", Warning, |f| scope(f).files.retain(|file| file != "memory.peak")),
    ("memory-peak", Warning, |f| {
        f.kernel.scopes = Seen::Absent;
        f.kernel.release = Seen::Is("5.14.0".into());
    }),
    ("cgroup-v2", Error, |f| cgroup_mount(f).kind = "tmpfs".into()),
    ("cgroup-v2", Error, |f| {
        let Seen::Is(mounts) = &mut f.kernel.mounts else { panic!() };
        let mut held = mounts[0].clone();
        (held.kind, held.point) = ("cgroup".into(), "/sys/fs/cgroup/memory".into());
        mounts.push(held);
    }),
    ("cgroup-v2", Warning, |f| f.kernel.mounts = unseen()),
    ("cgroup-controllers", Error, |f| f.kernel.controllers = Seen::Is("cpuset cpu io pids".into())),
    ("cgroup-controllers", Warning, |f| f.kernel.subtree_control = Seen::Is("cpu memory pids cpuset".into())),
    ("scope-controllers", Error, |f| scope(f).controllers = Seen::Is("memory pids".into())),
    ("scope-controllers", Warning, |f| scope(f).controllers = Seen::Is("cpu memory pids".into())),
    ("scope-controllers", Error, |f| f.kernel.scopes = Seen::Is(Vec::new())),
    ("cgroup-nsdelegate", Warning, |f| cgroup_mount(f).options.retain(|o| o != "nsdelegate")),
    ("cgroup-recursiveprot", Warning, |f| cgroup_mount(f).options.retain(|o| o != "memory_recursiveprot")),
    ("swap-accounting", Warning, |f| scope(f).files.retain(|file| file != "memory.swap.max")),
    ("hugetlb", Warning, |f| f.kernel.controllers = Seen::Is("cpuset cpu io memory pids".into())),
    ("pressure", Note, |f| f.kernel.pressure = Seen::Absent),
    ("bpf-fs", Warning, |f| {
        let Seen::Is(mounts) = &mut f.kernel.mounts else { panic!() };
        mounts.truncate(1);
    }),
    ("bpf-cgroup", Warning, |f| (f.kernel.bpf, f.kernel.bpf_attach) = (unseen(), Seen::Is(false))),
    ("bpf-cgroup", Warning, |f| (f.kernel.bpf, f.kernel.bpf_attach) = (unseen(), Seen::Absent)),
    ("bpf-cgroup", Warning, |f| (f.kernel.bpf, f.kernel.unprivileged_bpf) = (unseen(), Seen::Absent)),
    ("bpf-cgroup", Warning, |f| f.kernel.bpf = unseen()),
    ("bpf-cgroup", Warning, |f| lack(f, Part::Counters)),
    ("bpf-cgroup", Note, |f| lack(f, Part::Rdma)),
    ("bpf-cgroup", Warning, |f| {
        lack(f, Part::Rdma);
        f.tenantry.tenants = unseen();
    }),
    ("bpf-cgroup", Error, |f| {
        lack(f, Part::Devices);
        tenants(f, "[tenants.acme]\ndevices = []\n");
    }),
    ("bpf-cgroup", Error, |f| {
        lack(f, Part::Sockets);
        tenants(f, "[tenants.acme.network]\nacl_default = \"deny\"\n");
    }),
    ("bpf-cgroup", Warning, |f| {
        lack(f, Part::EgressGuard);
        tenants(f, "[policy]\nunenforceable = \"run-without\"\n[tenants.acme.network]\ninterfaces = []\n");
    }),
    ("vrf-default-route", Error, |f| bind(f, "", vrf("10.0.0.0/8 dev eth1\n", UNREACHABLE))),
    ("vrf-default-route", Error, |f| bind(f, "", vrf(UNREACHABLE, ""))),
    ("vrf-default-route", Note, |f| bind(f, "interfaces = ['lo']\n", vrf("", ""))),
    ("vrf-default-route", Warning, |f| bind(f, "", Binding::Missing)),
    ("vrf-default-route", Warning, |f| bind(f, "", Binding::Vrf { ipv4: unseen(), ipv6: Seen::Absent })),
    ("unprivileged-bpf", Warning, |f| f.kernel.unprivileged_bpf = Seen::Is("0".into())),
    ("user-namespaces", Note, |f| f.kernel.max_userns = Seen::Is("63000".into())),
    ("slurmd-unit", Note, |f| f.slurmds.clear()),
    ("slurmd-unit", Warning, |f| f.units = unseen()),
    ("slurmd-control-groups", Error, |f| slurmd(f, "ProtectControlGroups", "yes")),
    ("slurmd-control-groups", Error, |f| slurmd(f, "ProtectControlGroups", "strict")),
    ("slurmd-namespace", Error, |f| slurmd(f, "PrivateTmp", "yes")),
    ("slurmd-namespace", Error, |f| slurmd(f, "ProtectSystem", "full")),
    ("slurmd-namespace", Error, |f| slurmd(f, "ReadOnlyPaths", "/opt")),
    ("slurmd-propagation", Error, |f| {
        let Seen::Is(mounts) = &mut f.slurmds[0].mounts else { panic!() };
        (mounts[0].shared, mounts[0].master) = (None, Some("7".into()));
    }),
    ("slurmd-propagation", Error, |f| {
        let Seen::Is(mounts) = &mut f.slurmds[0].mounts else { panic!() };
        (mounts[0].shared, mounts[0].master) = (Some("90".into()), Some("7".into()));
    }),
    ("slurmd-propagation", Warning, |f| {
        let Seen::Is(mounts) = &mut f.init_mounts else { panic!() };
        mounts[0].shared = None;
    }),
    ("slurmd-propagation", Warning, |f| f.init_mounts = unseen()),
    ("slurmd-delegate", Warning, |f| slurmd(f, "Delegate", "no")),
    ("slurmd-kill-mode", Warning, |f| slurmd(f, "KillMode", "control-group")),
    ("slurmd-unit-user", Error, |f| slurmd(f, "User", "slurm")),
    ("slurm-conf", Warning, |f| f.slurm.conf = Seen::Absent),
    ("slurm-conf", Warning, |f| f.slurm.conf = unseen()),
    ("slurm-conf", Warning, |f| {
        let Seen::Is(conf) = &mut f.slurm.cgroup_conf else { panic!() };
        conf.problems.push(problem());
    }),
    ("slurm-conf-in-force", Warning, |f| slurm(f, "PrologEpilogTimeout", "300")),
    ("slurm-conf-in-force", Warning, |f| {
        let Seen::Is(conf) = &mut f.slurm.cgroup_conf else { panic!() };
        conf.entries.retain(|entry| entry.key != "ConstrainCores");
    }),
    ("slurm-conf-in-force", Warning, |f| f.slurm.live = unseen()),
    ("slurm-version", Error, |f| f.slurm.version = Seen::Is(SlurmVersion { major: 21, minor: 8 })),
    ("slurm-version", Warning, |f| f.slurm.version = Seen::Absent),
    ("proctrack-type", Error, |f| slurm(f, "ProctrackType", "proctrack/linuxproc")),
    ("task-plugin", Warning, |f| slurm(f, "TaskPlugin", "task/affinity")),
    ("task-affinity", Warning, |f| tenants(f, "[tenants.acme]\ncpus = \"50%\"\n")),
    ("slurmd-user", Error, |f| slurm(f, "SlurmdUser", "slurm")),
    ("disable-root-jobs", Warning, |f| slurm(f, "DisableRootJobs", "NO")),
    ("auth-type", Error, |f| slurm(f, "AuthType", "auth/none")),
    ("auth-type", Warning, |f| slurm(f, "AuthType", "auth/site")),
    ("cred-type", Error, |f| slurm(f, "CredType", "cred/none")),
    ("prep-plugins", Error, |f| slurm(f, "PrEpPlugins", "prep/own")),
    ("job-container", Note, |f| slurm(f, "JobContainerType", "job_container/cncu")),
    ("job-container", Note, |f| add(&mut f.slurm.container_conf, "Dirs", "/tmp")),
    ("job-container", Note, |f| {
        f.slurm.version = Seen::Is(SlurmVersion { major: 25, minor: 11 });
        let Seen::Is(conf) = &mut f.slurm.conf else { panic!() };
        conf.entries.retain(|entry| entry.key != "JobContainerType");
        slurm(f, "NamespaceType", "namespace/linux");
    }),
    ("launch-parameters", Note, |f| slurm(f, "LaunchParameters", "ulimit_pam_adopt")),
    ("private-data", Note, |f| slurm(f, "PrivateData", "jobs")),
    ("slurmd-parameters", Note, |f| slurm(f, "SlurmdParameters", "l3cache_as_socket,config_overrides")),
    ("reboot-program", Note, |f| slurm(f, "RebootProgram", "/sbin/reboot")),
    ("return-to-service", Note, |f| slurm(f, "ReturnToService", "2")),
    ("accounting-storage", Error, |f| slurm(f, "AccountingStorageType", "accounting_storage/none")),
    ("accounting-enforce", Error, |f| slurm(f, "AccountingStorageEnforce", "none")),
    ("accounting-enforce", Error, |f| slurm(f, "AccountingStorageEnforce", "nojobs")),
    ("accounting-enforce", Note, |f| slurm(f, "AccountingStorageEnforce", "limits,nosteps")),
    ("job-acct-gather", Note, |f| slurm(f, "JobAcctGatherType", "jobacct_gather/linux")),
    ("job-acct-params", Note, |f| slurm(f, "JobAcctGatherParams", "UsePss,OverMemoryKill")),
    ("select-type-parameters", Warning, |f| slurm(f, "SelectTypeParameters", "CR_Core")),
    ("over-subscribe", Note, |f| {
        let Seen::Is(conf) = &mut f.slurm.conf else { panic!() };
        conf.entries.iter_mut().find(|entry| entry.key == "OverSubscribe").unwrap().value = "FORCE:4".into();
    }),
    ("exclusive-user", Note, |f| {
        let Seen::Is(conf) = &mut f.slurm.conf else { panic!() };
        let entry = conf.entries.iter_mut().find(|entry| entry.key == "OverSubscribe").unwrap();
        (entry.key, entry.value) = ("ExclusiveUser".into(), "YES".into());
    }),
    ("prolog-flags", Warning, |f| slurm(f, "PrologFlags", "NoHold")),
    ("prolog-flags", Note, |f| slurm(f, "PrologFlags", "Alloc")),
    ("prolog-flags", Warning, |f| slurm(f, "PrologFlags", "Contain,RunInJob")),
    ("prolog-flags", Warning, |f| {
        slurm(f, "PrologFlags", "RunInJob");
        slurm(f, "Prolog", "/etc/slurm/prolog.sh");
        slurm(f, "Epilog", "/usr/lib/tenantry/tenantry-prolog");
    }),
    ("prolog-epilog-timeout", Warning, |f| slurm(f, "PrologEpilogTimeout", "30")),
    ("batch-start-timeout", Note, |f| slurm(f, "BatchStartTimeout", "10")),
    ("unkillable-step-timeout", Warning, |f| slurm(f, "UnkillableStepTimeout", "30")),
    ("kill-on-bad-exit", Note, |f| slurm(f, "KillOnBadExit", "0")),
    ("cgroup-plugin", Error, |f| cgroup(f, "CgroupPlugin", "cgroup/v1")),
    ("cgroup-plugin", Error, |f| cgroup(f, "CgroupPlugin", "disabled")),
    ("constrain-cores", Warning, |f| cgroup(f, "ConstrainCores", "no")),
    ("constrain-ram", Warning, |f| cgroup(f, "ConstrainRAMSpace", "no")),
    ("constrain-swap", Warning, |f| cgroup(f, "ConstrainSwapSpace", "no")),
    ("constrain-devices", Error, |f| cgroup(f, "ConstrainDevices", "no")),
    ("constrain-devices", Note, |f| {
        cgroup(f, "ConstrainDevices", "no");
        let (Seen::Is(conf), Seen::Is(live)) = (&mut f.slurm.conf, &mut f.slurm.live) else { panic!() };
        conf.entries.retain(|entry| entry.key != "GresTypes");
        live.remove("grestypes");
    }),
    ("cgroup-mountpoint", Error, |f| cgroup(f, "CgroupMountpoint", "/cgroup")),
    ("ignore-systemd", Warning, |f| cgroup(f, "IgnoreSystemd", "yes")),
    ("cgroup-slice", Error, |f| cgroup(f, "CgroupSlice", "jobs")),
    ("plugstack", Error, |f| stack(f).plugins.clear()),
    ("plugstack", Error, |f| f.slurm.plugstack = Seen::Absent),
    ("plugstack", Warning, |f| stack(f).problems.push(problem())),
    ("plugstack", Error, |f| {
        let again = stack(f).plugins[0].clone();
        stack(f).plugins.push(again);
    }),
    ("plugstack-required", Error, |f| stack(f).plugins[0].required = false),
    ("plugstack-arguments", Note, |f| stack(f).plugins[0].args.push("debug".into())),
    ("plugin-file", Error, |f| f.slurm.plugin_files[0].file = Seen::Absent),
    ("plugin-file", Error, |f| f.slurm.plugin_files[0].file = file(0o775, f.admin, false)),
    ("plugin-file", Error, |f| f.slurm.plugin_files[0].dir = file(0o755, f.admin + 1, false)),
    ("plugin-version", Error, |f| f.slurm.version = Seen::Is(SlurmVersion { major: 25, minor: 5 })),
    ("plugin-version", Error, |f| f.slurm.plugin_files[0].version = Seen::Is(None)),
    ("plugstack-others", Note, |f| {
        let mut other = stack(f).plugins[0].clone();
        other.path = "contain_spank.so".into();
        stack(f).plugins.push(other);
    }),
    ("pam-slurm-adopt", Warning, |f| rules(f).retain(|rule| rule.module != "pam_slurm_adopt.so")),
    ("pam-slurm-adopt", Warning, |f| rules(f)[1].control = "optional".into()),
    ("pam-slurm-adopt", Warning, |f| f.login.sshd_config = Seen::Is("# x\nusepam no\n".into())),
    ("pam-slurm-adopt", Warning, |f| f.login.sshd_config = unseen()),
    ("pam-slurm-adopt-actions", Warning, |f| rules(f)[1].args.clear()),
    ("pam-slurm-adopt-actions", Warning, |f| rules(f)[1].args.push("action_no_jobs=ignore".into())),
    ("pam-systemd", Warning, |f| {
        let mut rule = rules(f)[1].clone();
        (rule.kind, rule.module) = ("session".into(), "pam_systemd.so".into());
        rules(f).push(rule);
    }),
    ("tenants-file", Error, |f| tenants(f, "[tenants.acme]\nmemory_max = \"64\"\n")),
    ("tenants-file", Error, |f| f.tenantry.tenants = Seen::Absent),
    ("tenants-file", Warning, |f| tenants(f, "")),
    ("tenants-file", Warning, |f| f.tenantry.tenants = unseen()),
    ("tenants-file-owner", Error, |f| f.tenantry.config_files[0].1 = file(0o777, f.admin, false)),
    ("tenants-file-owner", Error, |f| f.tenantry.config_files[1].1 = file(0o644, f.admin + 1, false)),
    ("tenants-in-force", Warning, |f| tenants(f, "[tenants.other]\naccounts = [\"globex\", \"acme*\"]\n")),
    ("tenants-in-force", Warning, |f| f.tenantry.last_good = Seen::Absent),
    ("tenants-in-force", Warning, |f| f.tenantry.last_good = Seen::Is(None)),
    ("tenants-in-force", Warning, |f| f.tenantry.last_good = unseen()),
    ("tenants-accounts", Warning, |f| f.tenantry.accounts = Seen::Is(vec!["acme".into(), "initech".into()])),
    ("tenants-accounts", Note, |f| f.tenantry.accounts = Seen::Is(vec!["acme".into()])),
    ("tenants-accounts", Warning, |f| f.tenantry.accounts = unseen()),
    ("tenants-policy", Warning, |f| tenants(f, "[policy]\nisolation_failure = \"run-unisolated\"\n")),
    ("tenants-policy", Warning, |f| tenants(f, "[policy]\nunenforceable = \"run-without\"\n")),
    ("tenants-policy", Note, |f| tenants(f, "[policy]\nplacement = \"siblings\"\n")),
    ("tenants-policy", Note, |f| {
        tenants(f, "[policy]\nunclaimed_accounts = \"default\"\n[tenants.default]\n");
    }),
    ("run-directory", Error, |f| f.tenantry.run_dir = file(0o755, f.admin, false)),
    ("run-directory", Error, |f| f.tenantry.run_dir = file(0o700, f.admin + 1, false)),
    ("run-directory", Warning, |f| f.tenantry.run_dir = Seen::Absent),
    ("state-directory", Error, |f| f.tenantry.state_dir = file(0o750, f.admin, false)),
    ("tenantryd", Warning, |f| unit(f, "tenantryd.service", "ActiveState", "failed")),
    ("tenantry-warden", Warning, |f| unit(f, "tenantry-warden.service", "ActiveState", "inactive")),
    ("tenantry-server", Warning, |f| {
        let Seen::Is(units) = &mut f.units else { panic!() };
        units.remove("tenantry-server.service");
    }),
    ("ingest-socket", Error, |f| f.tenantry.ingest_socket = file(0o666, f.admin, true)),
    ("ingest-socket", Error, |f| f.tenantry.ingest_socket = file(0o660, f.admin + 1, true)),
    ("ingest-socket", Error, |f| f.tenantry.ingest_socket = file(0o660, f.admin, false)),
    ("ingest-socket", Warning, |f| f.tenantry.ingest_socket = Seen::Absent),
    ("api-socket", Error, |f| f.tenantry.api_socket = file(0o660, f.admin, true)),
    ("outbox", Warning, |f| outbox(f, 0, 3, 0, 3_600)),
    ("outbox", Warning, |f| outbox(f, 0, 501, 0, 1)),
    ("outbox", Warning, |f| outbox(f, 0, 0, 1, 1)),
    ("outbox", Warning, |f| outbox(f, 1, 1, 0, 1)),
    ("outbox", Warning, |f| f.tenantry.outboxes[0].1 = unseen()),
    ("spool", Warning, |f| f.tenantry.spool = Seen::Is(2 << 30)),
    ("spool", Note, |f| f.tenantry.spool = Seen::Absent),
    ("disk-space", Error, |f| f.tenantry.spaces[0].1 = Seen::Is(Space { free: 1 << 20, total: 1 << 40 })),
    ("disk-space", Warning, |f| f.tenantry.spaces[1].1 = Seen::Is(Space { free: 1 << 26, total: 1 << 30 })),
];

fn worst(findings: &[Finding], id: &str) -> Option<Severity> {
    findings.iter().filter(|finding| finding.id == id).map(|finding| finding.severity).max()
}

#[test]
fn every_check_says_when_it_is_not_so_and_only_then() {
    let good = good();
    let findings = examine(&good);
    assert_eq!(exit_code(&findings), 0);
    for check in all() {
        assert_eq!(worst(&findings, check.id), Some(Severity::Ok), "{} on a good site", check.id);
    }
    for (at, (id, severity, spoil)) in CASES.iter().enumerate() {
        let mut facts = good.clone();
        spoil(&mut facts);
        assert_eq!(worst(&examine(&facts), id), Some(*severity), "{id}, case {at}");
    }
    let tried: BTreeSet<_> = CASES.iter().map(|(id, ..)| *id).collect();
    let checks: Vec<_> = all().map(|check| check.id).collect();
    assert_eq!(tried, checks.iter().copied().collect(), "each check has a case, each case a check");
    assert_eq!(tried.len(), checks.len(), "no id stands for two checks");
}

#[test]
fn other_ways_to_be_good_are_good() {
    let ways: &[Way] = &[
        ("vrf-default-route", |f| bind(f, "", vrf(UNREACHABLE, UNREACHABLE))),
        ("vrf-default-route", |f| bind(f, "", vrf("default via 10.0.0.1 dev eth1\n", UNREACHABLE))),
        ("vrf-default-route", |f| bind(f, "", Binding::Plain)),
        ("swap-accounting", |f| f.kernel.swap_kib = Seen::Is(0)),
        ("constrain-swap", |f| {
            cgroup(f, "ConstrainSwapSpace", "no");
            f.kernel.swap_kib = Seen::Is(0);
        }),
        ("auth-type", |f| slurm(f, "AuthType", "auth/slurm")),
        ("task-plugin", |f| slurm(f, "TaskPlugin", "affinity,cgroup")),
        ("cgroup-plugin", |f| cgroup(f, "CgroupPlugin", "autodetect")),
        ("prolog-flags", |f| slurm(f, "PrologFlags", "X11")),
        ("prolog-flags", |f| {
            slurm(f, "PrologFlags", "RunInJob");
            slurm(f, "Prolog", "/etc/slurm/prolog.sh");
            slurm(f, "Prolog", "/usr/lib/tenantry/tenantry-prolog");
        }),
        ("prolog-flags", |f| {
            slurm(f, "PrologFlags", "RunInJob");
            let Seen::Is(live) = &mut f.slurm.live else { panic!() };
            live.insert("prolog[0]".into(), "/usr/lib/tenantry/tenantry-prolog".into());
        }),
        ("task-affinity", |f| {
            slurm(f, "TaskPlugin", "task/cgroup");
            tenants(f, "[tenants.acme]\ncpus = \"0-3\"\n");
        }),
        ("accounting-enforce", |f| slurm(f, "AccountingStorageEnforce", "safe,qos")),
        ("prolog-epilog-timeout", |f| slurm(f, "PrologEpilogTimeout", "120")),
        ("pam-slurm-adopt", |f| {
            f.login.has_sshd = false;
            f.login.pam = Seen::Absent;
        }),
        ("select-type-parameters", |f| slurm(f, "SelectTypeParameters", "CR_CPU_Memory,CR_LLN")),
        ("tenants-accounts", |f| {
            tenants(f, "[tenants.a]\n[tenants.\"a/b\"]\naccounts = [\"*\"]\n");
        }),
        ("cgroup-slice", |f| cgroup(f, "CgroupSlice", "hpc.slice")),
        ("job-container", |f| {
            f.slurm.version = Seen::Is(SlurmVersion { major: 26, minor: 5 });
            let Seen::Is(conf) = &mut f.slurm.conf else { panic!() };
            conf.entries.retain(|entry| entry.key != "JobContainerType");
            slurm(f, "NamespaceType", "namespace/tmpfs");
        }),
    ];
    for (id, spoil) in ways {
        let mut facts = good();
        spoil(&mut facts);
        assert_eq!(worst(&examine(&facts), id), Some(Severity::Ok), "{id}");
    }
}

#[test]
fn a_finding_points_at_its_line_and_says_what_to_write() {
    let mut facts = good();
    slurm(&mut facts, "ProctrackType", "proctrack/linuxproc");
    let findings = examine(&facts);
    let finding = findings.iter().find(|finding| finding.id == "proctrack-type").unwrap();
    assert_eq!((finding.file.as_deref(), finding.line), (Some(Path::new("/etc/slurm/slurm.conf")), Some(99)));
    assert_eq!(finding.found, "ProctrackType=proctrack/linuxproc");
    assert!(finding.fix.as_ref().unwrap().contains("ProctrackType=proctrack/cgroup"));
}

#[test]
fn who_is_not_root_is_told_to_be() {
    let mut facts = good();
    facts.uid = 1000;
    facts.tenantry.last_good = unseen();
    let findings = examine(&facts);
    let finding = findings.iter().find(|finding| finding.id == "tenants-in-force").unwrap();
    assert_eq!((finding.severity, finding.fix.as_deref()), (Warning, Some("run as root")));
    assert_eq!(finding.found, "not seen: permission denied");
}

/// The part of docs/doctor.md that is the table.
fn documented() -> String {
    let mut loudest: BTreeMap<&str, Severity> = BTreeMap::new();
    for (id, severity, _) in CASES {
        let known = loudest.entry(id).or_insert(*severity);
        *known = (*known).max(*severity);
    }
    let mut text = String::new();
    for (heading, checks) in TABLE {
        write!(text, "\n## {heading}\n\n| id | at worst | wanted | why | fix |\n|---|---|---|---|---|\n")
            .unwrap();
        for Check { id, wanted, why, fix, .. } in checks {
            writeln!(text, "| `{id}` | {} | {wanted} | {why} | {fix} |", loudest[id]).unwrap();
        }
    }
    text
}

#[test]
fn the_page_of_checks_is_the_table_of_checks() {
    const MARK: &str = "<!-- What follows is the table of the checks, written by `UPDATE_GOLDEN=1 cargo test -p tenantry`. -->\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md");
    let page = fs::read_to_string(&file).unwrap();
    let (before, written) = page.split_once(MARK).unwrap();
    let table = documented();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, format!("{before}{MARK}{table}")).unwrap();
    } else {
        assert_eq!(written, table);
    }
}
