//! Looks at the machine. All that is read or run, is read or run here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_model::job::Paths;
use tenantry_model::tenants::Tenants;
use tenantry_model::{Clock, SystemClock};

use super::conf::{self, Conf};
use super::elf::{SlurmVersion, plugin_version};
use super::facts::{Binding, Facts, Kernel, Login, Outbox, Properties, Scope, Slurmd, Tenantry};
use super::finding::Place;
use super::machine::{Machine, Seen};
use super::plugstack::{Plugin, Plugstack};
use super::slurm::{PluginFile, Slurm};
use super::{mounts, pam};

const CGROUPS: &str = "/sys/fs/cgroup";
const SCOPE: &str = "slurmstepd.scope";
/// How many slices deep a scope is looked for.
const DEEPEST_SLICE: usize = 4;

/// Where Slurm's builds look: distributions', slurmd's own copy of a configless cluster, the default.
const SLURM_CONFS: [&str; 4] = [
    "/etc/slurm/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/usr/local/etc/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
];

const UNITS: [&str; 5] = [
    "slurmd.service",
    "slurmd@*.service",
    "tenantryd.service",
    "tenantry-server.service",
    "tenantry-warden.service",
];
const PROPERTIES: &str = "Id,LoadState,ActiveState,MainPID,User,Delegate,KillMode,PrivateTmp,PrivateMounts,\
PrivateDevices,ProtectSystem,ProtectHome,ProtectControlGroups,ProtectKernelTunables,ProtectKernelModules,\
ReadOnlyPaths,ReadWritePaths,InaccessiblePaths,MountFlags,RootDirectory,DevicePolicy,FragmentPath,DropInPaths";

/// Everything the checks want to know.
///
/// # Errors
/// Where the machine's clock cannot be read.
pub async fn facts(machine: &Machine, slurm_conf: Option<&Path>) -> io::Result<Facts> {
    let conf_path = slurm_conf.map(|path| {
        if machine.list(path).is().is_some() { path.join("slurm.conf") } else { path.to_owned() }
    });
    let env: Vec<_> = conf_path.iter().map(|path| ("SLURM_CONF", path.as_path())).collect();
    let mut show = vec!["show", "-p", PROPERTIES];
    show.extend(UNITS);
    let (live, units, slurmd_version, accounts) = tokio::join!(
        machine.run("scontrol", &["show", "config"], &env),
        machine.run("systemctl", &show, &[]),
        machine.run("slurmd", &["-V"], &[]),
        machine.run("sacctmgr", &["-nP", "list", "account", "format=account"], &env),
    );
    let units = units.map(|text| parse_units(&text));
    let slurmds = units.is().map(|units| slurmds(machine, units)).unwrap_or_default();
    let live = live.map(|text| conf::parse_live(&text));
    let conf_path = conf_path.unwrap_or_else(|| find_conf(machine, live.is()));
    let tenantry = tenantry(machine, accounts);
    let bindings = bindings(machine, &tenantry).await;
    Ok(Facts {
        uid: machine.uid(),
        admin: machine.admin(),
        now: SystemClock.now()?.wall.unix_usec().checked_div(1_000_000),
        kernel: kernel(machine),
        slurm: slurm(machine, conf_path, live, slurmd_version),
        units,
        slurmds,
        init_mounts: machine.read(Path::new("/proc/1/mountinfo")).map(|text| mounts::parse(&text)),
        login: login(machine),
        tenantry,
        bindings,
    })
}

/// The interfaces of `bind_to`, and the routes of those that are VRFs.
async fn bindings(machine: &Machine, tenantry: &Tenantry) -> BTreeMap<String, Binding> {
    let mut bindings = BTreeMap::new();
    let Some(Ok(tenants)) = tenantry.tenants.is() else { return bindings };
    for name in tenants.iter().filter_map(|(_, tenant)| tenant.network.bind_to.as_ref()) {
        let is_there = machine.stat(&Path::new("/sys/class/net").join(name)).is().is_some();
        let vrfs = machine.run("ip", &["-o", "link", "show", "type", "vrf"], &[]).await;
        // `4: vrf-acme: <NOARP,MASTER,UP,LOWER_UP> ...`
        let is_it = |line: &str| line.split(": ").nth(1) == Some(name);
        let binding = match &vrfs {
            _ if !is_there => Binding::Missing,
            Seen::Is(lines) if !lines.lines().any(is_it) => Binding::Plain,
            _ => Binding::Vrf {
                ipv4: machine.run("ip", &["-4", "route", "show", "vrf", name], &[]).await,
                ipv6: match machine.read(Path::new("/proc/net/if_inet6")) {
                    Seen::Absent => Seen::Absent,
                    _ => machine.run("ip", &["-6", "route", "show", "vrf", name], &[]).await,
                },
            },
        };
        bindings.insert(name.clone(), binding);
    }
    bindings
}

/// Blocks of `Key=Value` lines, one a unit.
fn parse_units(text: &str) -> BTreeMap<String, Properties> {
    text.split("\n\n")
        .filter_map(|block| {
            let unit: Properties = block
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            Some((unit.get("Id")?.clone(), unit))
        })
        .collect()
}

fn slurmds(machine: &Machine, units: &BTreeMap<String, Properties>) -> Vec<Slurmd> {
    units
        .iter()
        .filter(|(name, unit)| {
            name.starts_with("slurmd") && unit.get("ActiveState").is_some_and(|state| state == "active")
        })
        .map(|(name, unit)| {
            let pid = unit.get("MainPID").map_or("0", String::as_str);
            let mountinfo = machine.read(&Path::new("/proc").join(pid).join("mountinfo"));
            Slurmd {
                unit: name.clone(),
                places: places(machine, unit),
                mounts: mountinfo.map(|text| mounts::parse(&text)),
            }
        })
        .collect()
}

/// The last line that sets each key, of the unit's file and its drop-ins.
fn places(machine: &Machine, unit: &Properties) -> BTreeMap<String, Place> {
    let paths = ["FragmentPath", "DropInPaths"].into_iter().filter_map(|key| unit.get(key));
    let mut places = BTreeMap::new();
    for path in paths.flat_map(|paths| paths.split_whitespace()).map(Path::new) {
        let text = machine.read(path);
        let lines = (1..).zip(text.is().map(String::as_str).unwrap_or_default().lines());
        places.extend(lines.filter_map(|(number, line)| {
            let (key, _) = line.split_once('=')?;
            Some((key.trim().to_owned(), Place::line(path, number)))
        }));
    }
    places
}

fn find_conf(machine: &Machine, live: Option<&BTreeMap<String, String>>) -> PathBuf {
    let live = live.and_then(|live| live.get("slurm_conf")).map(PathBuf::from);
    machine
        .slurm_conf_of_environment()
        .into_iter()
        .chain(live)
        .chain(SLURM_CONFS.map(PathBuf::from))
        .find(|path| !matches!(machine.stat(path), Seen::Absent))
        .unwrap_or_else(|| SLURM_CONFS.map(PathBuf::from).into_iter().next().unwrap_or_default())
}

fn slurm(
    machine: &Machine,
    conf_path: PathBuf,
    live: Seen<BTreeMap<String, String>>,
    slurmd_version: Seen<String>,
) -> Slurm {
    let beside = |name: &str| conf_path.parent().unwrap_or(Path::new("/")).join(name);
    let conf = Conf::load(machine, &conf_path);
    let value = |key: &str| {
        let file = conf.is().and_then(|conf| conf.last(key)).map(|entry| entry.value.clone());
        file.or_else(|| live.is()?.get(&key.to_lowercase()).cloned())
    };
    let plugstack_path =
        value("PlugStackConfig").map_or_else(|| beside("plugstack.conf"), |path| beside(&path));
    let plugstack = Plugstack::load(machine, &plugstack_path);
    let plugin_dir = value("PluginDir").unwrap_or_default();
    let plugin_files = plugstack.is().map_or_else(Vec::new, |stack| {
        stack
            .plugins
            .iter()
            .filter(|plugin| is_tenantry(plugin))
            .map(|p| file_of(machine, p, &plugin_dir))
            .collect()
    });
    let version = match (slurmd_version, value("SLURM_VERSION")) {
        (Seen::Is(text), _) | (_, Some(text)) => SlurmVersion::parse(&text).map_or(Seen::Absent, Seen::Is),
        (Seen::Absent, None) => Seen::Absent,
        (Seen::Unseen(reason), None) => Seen::Unseen(reason),
    };
    Slurm {
        cgroup_conf: Conf::load(machine, &beside("cgroup.conf")),
        container_conf: Conf::load(machine, &beside("job_container.conf")),
        conf,
        conf_path,
        plugstack_path,
        plugstack,
        plugin_files,
        live,
        version,
    }
}

/// Whether a line of plugstack.conf is ours.
pub fn is_tenantry(plugin: &Plugin) -> bool {
    plugin.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spank_tenantry"))
}

fn file_of(machine: &Machine, plugin: &Plugin, plugin_dir: &str) -> PluginFile {
    let candidates =
        plugin_dir.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(&plugin.path));
    let path = candidates
        .chain([plugin.path.clone()])
        .find(|path| machine.stat(path).is().is_some())
        .unwrap_or_else(|| plugin.path.clone());
    PluginFile {
        file: machine.stat(&path),
        dir: machine.stat(path.parent().unwrap_or(Path::new("/"))),
        version: machine.bytes(&path).map(|bytes| plugin_version(&bytes)),
        path,
    }
}

fn kernel(machine: &Machine) -> Kernel {
    let read = |path: &str| machine.read(Path::new(path)).map(|text| text.trim().to_owned());
    let group = |file: &str| machine.read(&Path::new(CGROUPS).join(file));
    Kernel {
        release: read("/proc/sys/kernel/osrelease"),
        mounts: machine.read(Path::new("/proc/self/mountinfo")).map(|text| mounts::parse(&text)),
        controllers: group("cgroup.controllers"),
        subtree_control: group("cgroup.subtree_control"),
        scopes: scopes(machine),
        pressure: read("/proc/pressure/cpu"),
        swap_kib: meminfo(&read("/proc/meminfo"), "SwapTotal:"),
        huge_pages: huge_pages(machine),
        userns_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
        max_userns: read("/proc/sys/user/max_user_namespaces"),
        unprivileged_bpf: read("/proc/sys/kernel/unprivileged_bpf_disabled"),
        bpf_attach: read("/proc/kallsyms").map(|symbols| {
            symbols.lines().any(|line| line.split(' ').nth(2) == Some("cgroup_bpf_prog_attach"))
        }),
        bpf: machine.bpf(Path::new(CGROUPS)),
    }
}

fn meminfo(text: &Seen<String>, key: &str) -> Seen<u64> {
    match text.as_ref().map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    }) {
        Seen::Is(Some(value)) => Seen::Is(value),
        Seen::Is(None) | Seen::Absent => Seen::Absent,
        Seen::Unseen(reason) => Seen::Unseen(reason),
    }
}

fn huge_pages(machine: &Machine) -> Seen<u64> {
    machine.list(Path::new("/sys/kernel/mm/hugepages")).map(|sizes| {
        let counts = sizes
            .iter()
            .filter_map(|size| machine.read(&size.join("nr_hugepages")).is()?.trim().parse::<u64>().ok());
        counts.fold(0, u64::saturating_add)
    })
}

fn scopes(machine: &Machine) -> Seen<Vec<Scope>> {
    let is =
        |path: &Path, end: &str| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end));
    machine.list(Path::new(CGROUPS)).map(|top| {
        let mut scopes = Vec::new();
        let mut groups = top;
        for _ in 0..DEEPEST_SLICE {
            let slices: Vec<_> = groups.into_iter().filter(|path| is(path, ".slice")).collect();
            groups = slices.iter().filter_map(|slice| machine.list(slice).is().cloned()).flatten().collect();
            scopes.extend(groups.iter().filter(|path| is(path, SCOPE)).map(|path| scope(machine, path)));
        }
        scopes
    })
}

fn scope(machine: &Machine, path: &Path) -> Scope {
    let files = machine.list(path).is().cloned().unwrap_or_default();
    Scope {
        path: path.to_owned(),
        controllers: machine.read(&path.join("cgroup.controllers")),
        files: files
            .iter()
            .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
            .collect(),
    }
}

fn login(machine: &Machine) -> Login {
    let is_there = |path: &&str| machine.stat(Path::new(path)).is().is_some();
    Login {
        has_sshd: ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].iter().any(is_there),
        pam: pam::load(machine, "sshd"),
        sshd_config: machine.read(Path::new("/etc/ssh/sshd_config")),
    }
}

fn tenantry(machine: &Machine, accounts: Seen<String>) -> Tenantry {
    let Paths { run, state, etc } = Paths::default();
    let paths = Paths { run: run.clone(), state: state.clone(), etc: etc.clone() };
    let file = etc.join("tenants.toml");
    let tenants = machine.read(&file).map(|_| {
        Tenants::load(&machine.real(&etc.to_string_lossy())).map_err(|mut error| {
            error.file = machine.named(&error.file);
            error
        })
    });
    let drop_ins = machine.glob(&etc.join("tenants.d/*.toml"));
    let config_files = [etc.clone(), file].into_iter().chain(drop_ins).map(|path| {
        let facts = machine.stat(&path);
        (path, facts)
    });
    let size = |name: &str| machine.stat(&state.join(name)).map(|file| file.size);
    let log = size("spool.sqlite-wal").is().copied().unwrap_or(0);
    Tenantry {
        tenants,
        config_files: config_files.collect(),
        last_good: machine.bytes(&paths.last_good_tenants()).map(|text| serde_json::from_slice(&text).ok()),
        accounts: accounts
            .map(|text| text.lines().map(str::to_owned).filter(|name| !name.is_empty()).collect()),
        run_dir: machine.stat(&run),
        state_dir: machine.stat(&state),
        ingest_socket: machine.stat(Path::new("/run/tenantry-server/ingest.sock")),
        api_socket: machine.stat(Path::new("/run/tenantry-server/api.sock")),
        server_uid: uid_of(machine, "tenantry"),
        outboxes: paths.outboxes().map(|dir| (dir.clone(), outbox(machine, &dir))).into(),
        spool: size("spool.sqlite").map(|spool| spool.saturating_add(log)),
        spaces: [state, run].map(|dir| (dir.clone(), machine.space(&dir))).into(),
    }
}

fn uid_of(machine: &Machine, user: &str) -> Seen<u32> {
    match machine.read(Path::new("/etc/passwd")) {
        Seen::Is(text) => text
            .lines()
            .find_map(|line| line.strip_prefix(user)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok())
            .map_or(Seen::Absent, Seen::Is),
        Seen::Absent => Seen::Absent,
        Seen::Unseen(reason) => Seen::Unseen(reason),
    }
}

fn outbox(machine: &Machine, dir: &Path) -> Seen<Outbox> {
    machine.list(dir).map(|files| {
        let ends_in = |end: &str| {
            let end = end.to_owned();
            files.iter().filter(move |file| file.extension() == Some(OsStr::new(&end)))
        };
        let written = ends_in("json").filter_map(|file| Some(machine.stat(file).is()?.modified));
        Outbox {
            waiting: ends_in("json").count(),
            rejected: ends_in("rejected").count(),
            oldest: written.min(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_blocks_of_properties() {
        let units = parse_units("Id=a.service\nActiveState=active\n\nId=b.service\nLoadState=not-found\n\n");
        assert_eq!(units.keys().collect::<Vec<_>>(), ["a.service", "b.service"]);
        assert_eq!(units["b.service"]["LoadState"], "not-found");
    }
}
