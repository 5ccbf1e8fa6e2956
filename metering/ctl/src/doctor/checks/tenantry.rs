//! Tenantry's own files, sockets and services.

use std::path::Path;

use tenantry_model::AccountName;
use tenantry_model::tenants::{IsolationFailure, PlacementMode, Tenants, Unenforceable};

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::{FileFacts, Seen};

const TENANTS: &str = "/etc/tenantry/tenants.toml";
const INGEST: &str = "/run/tenantry-server/ingest.sock";
const API: &str = "/run/tenantry-server/api.sock";
const RUN: &str = "/run/tenantry";
const STATE: &str = "/var/lib/tenantry";

const MIB: u64 = 1 << 20;
/// Above this the spool holds days of a busy node's readings: nobody takes them.
const LARGE_SPOOL: u64 = 1 << 30;
/// Room below which records are soon lost, and below which they are lost now.
const LITTLE_ROOM: u64 = 256 * MIB;
const NO_ROOM: u64 = 16 * MIB;
/// The daemon takes the outbox each second, or each ten minutes at the most; in seconds.
const LONG_WAIT: i64 = 900;
/// As many as the daemon puts in one block.
const MANY_ENDS: usize = 500;

pub const CHECKS: &[Check] = &[
    Check {
        id: "tenants-file",
        subject: "the tenants file",
        wanted: "no mistake: what `tenantry check-config` calls ok",
        why: "a file with a mistake changes nothing: the last good one stays in force, and without one every job is refused",
        fix: "correct the line; packaging/config/tenants.toml is a commented example",
        look: tenants_file,
    },
    Check {
        id: "tenants-file-owner",
        subject: "who may write the tenants file",
        wanted: "root alone: /etc/tenantry, tenants.toml and tenants.d",
        why: "whoever may write it decides who pays and what each may use",
        fix: "chown root:root and chmod go-w what is named",
        look: tenants_owner,
    },
    Check {
        id: "tenants-in-force",
        subject: "the tenants in force",
        wanted: "those of the file: tenants.last-good.json is the same",
        why: "jobs and limits follow the last good file that the node has read",
        fix: "systemctl restart tenantry-warden tenantryd; the next job's prolog reads it too",
        look: in_force,
    },
    Check {
        id: "tenants-accounts",
        subject: "Slurm's accounts and the tenants",
        wanted: "each account belongs to a tenant, and each tenant has an account",
        why: "jobs of an account that no tenant claims are refused, or go to `default`; a tenant that claims none is often a name misspelt",
        fix: "add the account to a tenant's accounts in /etc/tenantry/tenants.toml, as `sacctmgr list account` spells it",
        look: accounts,
    },
    Check {
        id: "tenants-policy",
        subject: "[policy] of the tenants file",
        wanted: "isolation_failure other than \"run-unisolated\", unenforceable other than \"run-without\"",
        why: "with the first a job that cannot be put under its tenant runs all the same: unlimited, and billed as a gap; with the second it runs without the limits, device lists and network policies that this kernel cannot enforce",
        fix: "write isolation_failure = \"fail-job\"",
        look: policy,
    },
    Check {
        id: "run-directory",
        subject: "/run/tenantry",
        wanted: "root's, mode 0700",
        why: "the registrations in it are what every later hook believes",
        fix: "systemd-tmpfiles --create",
        look: |facts| directory(facts, RUN, &facts.tenantry.run_dir),
    },
    Check {
        id: "state-directory",
        subject: "/var/lib/tenantry",
        wanted: "root's, mode 0700",
        why: "the outbox and the spool in it are the bill until the ledger has it",
        fix: "systemd-tmpfiles --create",
        look: |facts| directory(facts, STATE, &facts.tenantry.state_dir),
    },
    Check {
        id: "tenantryd",
        subject: "tenantryd",
        wanted: "active",
        why: "it takes jobs' readings and sends their ends; while it is down ends wait in the outbox, and nothing is lost",
        fix: "systemctl enable --now tenantryd",
        look: |facts| service(facts, "tenantryd.service"),
    },
    Check {
        id: "tenantry-warden",
        subject: "tenantry-warden",
        wanted: "active",
        why: "it puts right what a crash left: grafts, orphans, limits of tenants; while it is down only prologs and epilogs do",
        fix: "systemctl enable --now tenantry-warden",
        look: |facts| service(facts, "tenantry-warden.service"),
    },
    Check {
        id: "tenantry-server",
        subject: "tenantry-server",
        wanted: "active",
        why: "it has the ledger; while it is down the spool grows and no report is answered",
        fix: "systemctl enable --now tenantry-server",
        look: |facts| service(facts, "tenantry-server.service"),
    },
    Check {
        id: "ingest-socket",
        subject: "the server's socket for daemons",
        wanted: "tenantry's, not open to others (0660)",
        why: "blocks that come to it are the bill",
        fix: "systemctl restart tenantry-server; see that nothing changes the socket's mode",
        look: |facts| socket(facts, INGEST, &facts.tenantry.ingest_socket, 0, 0o007),
    },
    Check {
        id: "api-socket",
        subject: "the server's socket for readers",
        wanted: "tenantry's, open to all (0666): who asks is told by the kernel",
        why: "users cannot see their own usage where they may not connect",
        fix: "systemctl restart tenantry-server; see that nothing changes the socket's mode",
        look: |facts| socket(facts, API, &facts.tenantry.api_socket, 0o006, 0),
    },
    Check {
        id: "outbox",
        subject: "the outbox",
        wanted: "few ends, none old, none in /run/tenantry/outbox, none rejected",
        why: "ends of jobs wait in it for tenantryd; one that stays is on no bill yet",
        fix: "systemctl status tenantryd; what is called .rejected belongs in a bug report",
        look: outbox,
    },
    Check {
        id: "spool",
        subject: "the spool",
        wanted: "less than 1 GiB",
        why: "what is in it is not in the ledger yet",
        fix: "systemctl status tenantry-server, and what tenantryd's log says of it",
        look: spool,
    },
    Check {
        id: "disk-space",
        subject: "room for records",
        wanted: "256 MiB free at /var/lib/tenantry and /run/tenantry",
        why: "where no record can be kept, ends are lost with the boot, or jobs are refused, as [policy] has it",
        fix: "make room",
        look: space,
    },
];

fn tenants(facts: &Facts) -> Option<&Tenants> {
    facts.tenantry.tenants.is().and_then(|tenants| tenants.as_ref().ok())
}

fn tenants_file(facts: &Facts) -> Vec<Verdict> {
    let at = Place::file(Path::new(TENANTS));
    let has_last_good = matches!(facts.tenantry.last_good, Seen::Is(Some(_)));
    vec![match &facts.tenantry.tenants {
        Seen::Is(Ok(tenants)) => match tenants.iter().count() {
            0 => warning("it has no tenant: every job is refused").fix("write a [tenants.NAME] table").at(at),
            1 => ok("1 tenant").at(at),
            count => ok(format!("{count} tenants")).at(at),
        },
        Seen::Is(Err(mistake)) => {
            let place = Place::line(&mistake.file, mistake.line);
            let in_force = if has_last_good { "; the last good one is in force" } else { "" };
            error(format!("{}{in_force}", mistake.problem)).fix(&mistake.fix).at(place)
        }
        Seen::Absent => error("there is none").at(at),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn tenants_owner(facts: &Facts) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut seen_any = false;
    for (path, file) in &facts.tenantry.config_files {
        match file {
            Seen::Is(file) => match file.open_to_others(facts.admin) {
                Some(found) => {
                    verdicts.push(error(format!("{} {found}", path.display())).at(Place::file(path)));
                }
                None => seen_any = true,
            },
            // tenants-file says that it is not there.
            Seen::Absent => {}
            Seen::Unseen(reason) => verdicts.push(unseen(facts.uid, reason)),
        }
    }
    if verdicts.is_empty() && seen_any {
        verdicts.push(ok("root alone"));
    }
    verdicts
}

fn in_force(facts: &Facts) -> Vec<Verdict> {
    let Some(tenants) = tenants(facts) else { return Vec::new() };
    vec![match &facts.tenantry.last_good {
        Seen::Is(Some(last)) if last == tenants => ok("the file's"),
        Seen::Is(Some(_)) => warning("others than the file's"),
        Seen::Is(None) => warning("tenants.last-good.json cannot be understood")
            .fix("install the plugin, the daemons and this command of one release, then restart the daemons"),
        Seen::Absent => warning("none yet: nobody has read the file"),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn accounts(facts: &Facts) -> Vec<Verdict> {
    let Some(tenants) = tenants(facts) else { return Vec::new() };
    let accounts = match &facts.tenantry.accounts {
        Seen::Is(accounts) => accounts,
        Seen::Absent => return vec![unseen(facts.uid, "no sacctmgr").fix("run it where sacctmgr is")],
        Seen::Unseen(reason) => {
            return vec![unseen(facts.uid, reason).fix("see that slurmdbd answers `sacctmgr ping`")];
        }
    };
    let at = Place::file(Path::new(TENANTS));
    let claimant = |name: &String| tenants.claimant(&name.parse::<AccountName>().ok()?).ok();
    let mut verdicts = Vec::new();
    // Slurm makes `root` itself, and the administrator's jobs are nobody's.
    let unclaimed: Vec<_> = accounts
        .iter()
        .filter(|name| *name != "root" && claimant(name).is_none())
        .map(String::as_str)
        .collect();
    if !unclaimed.is_empty() {
        let found = format!("no tenant, or more than one, claims {}", unclaimed.join(", "));
        verdicts.push(warning(found).at(at.clone()));
    }
    let claiming: Vec<_> = accounts.iter().filter_map(claimant).collect();
    for (tenant, _) in tenants.iter() {
        let inside = tenants.iter().any(|(other, _)| other.parent().as_ref() == Some(tenant));
        if !inside && !claiming.contains(&tenant) {
            let found = format!("{tenant} claims none of Slurm's accounts");
            verdicts.push(
                note(found).fix(format!("see how sacctmgr spells the accounts of {tenant}")).at(at.clone()),
            );
        }
    }
    if verdicts.is_empty() {
        verdicts.push(ok(format!("all {} accounts", accounts.len())));
    }
    verdicts
}

fn policy(facts: &Facts) -> Vec<Verdict> {
    let Some(tenants) = tenants(facts) else { return Vec::new() };
    let at = Place::file(Path::new(TENANTS));
    let policy = tenants.policy();
    let mut verdicts = Vec::new();
    if policy.isolation_failure == IsolationFailure::RunUnisolated {
        verdicts.push(warning("isolation_failure = \"run-unisolated\"").at(at.clone()));
    }
    if policy.unenforceable == Unenforceable::RunWithout {
        let found = "unenforceable = \"run-without\": what this kernel cannot enforce is only logged";
        let fix = "write unenforceable = \"isolation-failure\"";
        verdicts.push(warning(found).fix(fix).at(at.clone()));
    }
    if verdicts.is_empty() {
        verdicts.push(ok("jobs run isolated or not at all"));
    }
    if policy.placement == PlacementMode::Siblings {
        let found = "placement = \"siblings\": jobs stay outside their tenants' groups, which bound only the sum of CPU, pids and IO";
        let fix = "write placement = \"graft\", if slurmd's mounts allow it";
        verdicts.push(note(found).fix(fix).at(at.clone()));
    }
    if let Some(default) = tenants.default_tenant() {
        let found = format!("unclaimed_accounts = \"default\": jobs of unknown accounts run as {default}");
        verdicts.push(note(found).fix("write unclaimed_accounts = \"refuse\", if none should").at(at));
    }
    verdicts
}

fn directory(facts: &Facts, path: &str, dir: &Seen<FileFacts>) -> Vec<Verdict> {
    let at = Place::file(Path::new(path));
    vec![
        match dir {
            Seen::Is(dir) if dir.uid != facts.admin => error(format!("it belongs to uid {}", dir.uid))
                .fix(format!("chown root:root {path}; see who made it")),
            Seen::Is(dir) if dir.mode & 0o077 != 0 => {
                error(format!("mode {:o}", dir.mode)).fix(format!("chmod 0700 {path}; see who changed it"))
            }
            Seen::Is(dir) => ok(format!("mode {:o}", dir.mode)),
            Seen::Absent => warning("there is none"),
            Seen::Unseen(reason) => unseen(facts.uid, reason),
        }
        .at(at),
    ]
}

fn service(facts: &Facts, name: &str) -> Vec<Verdict> {
    let units = match &facts.units {
        Seen::Is(units) => units,
        Seen::Absent => return vec![unseen(facts.uid, "no systemctl")],
        Seen::Unseen(reason) => return vec![unseen(facts.uid, reason)],
    };
    let state = |key: &str| units.get(name).and_then(|unit| unit.get(key)).map(String::as_str);
    vec![match (state("LoadState"), state("ActiveState")) {
        (_, Some("active")) => ok("active"),
        (None | Some("not-found"), _) => warning("not installed").fix(format!(
            "make install && systemctl daemon-reload && systemctl enable --now {}",
            name.trim_end_matches(".service")
        )),
        (_, other) => warning(other.unwrap_or("of unknown state")),
    }]
}

/// `open` bits must be set, `shut` bits must not.
fn socket(facts: &Facts, path: &str, socket: &Seen<FileFacts>, open: u32, shut: u32) -> Vec<Verdict> {
    let at = Place::file(Path::new(path));
    let owner = facts.tenantry.server_uid.is().copied();
    vec![
        match socket {
            Seen::Is(file) if !file.is_socket => error("it is no socket"),
            Seen::Is(file) if owner.is_some_and(|owner| owner != file.uid) => {
                error(format!("it belongs to uid {}", file.uid))
            }
            Seen::Is(file) if file.mode & (open | shut) != open => error(format!("mode {:o}", file.mode)),
            Seen::Is(file) => ok(format!("mode {:o}", file.mode)),
            Seen::Absent => warning("there is none").fix("systemctl status tenantry-server"),
            Seen::Unseen(reason) => unseen(facts.uid, reason),
        }
        .at(at),
    ]
}

fn outbox(facts: &Facts) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut waiting = 0_usize;
    for (path, outbox) in &facts.tenantry.outboxes {
        let at = || Place::file(path);
        let outbox = match outbox {
            Seen::Is(outbox) => outbox,
            Seen::Absent => continue,
            Seen::Unseen(reason) => {
                verdicts.push(unseen(facts.uid, reason));
                continue;
            }
        };
        waiting = waiting.saturating_add(outbox.waiting);
        if outbox.rejected > 0 {
            verdicts.push(
                warning(format!("{} files that are no job's end, put aside", outbox.rejected)).at(at()),
            );
        }
        let waits = facts.now.zip(outbox.oldest).map(|(now, oldest)| now.saturating_sub(oldest));
        if let Some(waits) = waits.filter(|waits| *waits > LONG_WAIT) {
            let found = format!("{} waiting, the oldest for {} min", outbox.waiting, waits.div_euclid(60));
            verdicts.push(warning(found).at(at()));
        } else if outbox.waiting > MANY_ENDS {
            verdicts.push(warning(format!("{} waiting", outbox.waiting)).at(at()));
        } else if outbox.waiting > 0 && path.starts_with(RUN) {
            let found = format!("{} waiting in memory: the disk took none", outbox.waiting);
            verdicts.push(warning(found).fix("make room at /var/lib/tenantry").at(at()));
        }
    }
    if verdicts.is_empty() {
        verdicts.push(ok(format!("{waiting} waiting")));
    }
    verdicts
}

fn spool(facts: &Facts) -> Vec<Verdict> {
    let at = Place::file(&Path::new(STATE).join("spool.sqlite"));
    vec![match &facts.tenantry.spool {
        Seen::Is(bytes) if *bytes > LARGE_SPOOL => warning(format!("{} MiB", bytes.div_euclid(MIB))).at(at),
        Seen::Is(bytes) => ok(format!("{} MiB", bytes.div_euclid(MIB))).at(at),
        Seen::Absent => note("none yet").fix("start tenantryd").at(at),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn space(facts: &Facts) -> Vec<Verdict> {
    let judged = facts.tenantry.spaces.iter().filter_map(|(path, space)| {
        let verdict = match space {
            Seen::Is(space) => {
                let found = format!(
                    "{} MiB of {} free at {}",
                    space.free.div_euclid(MIB),
                    space.total.div_euclid(MIB),
                    path.display()
                );
                match space.free {
                    0..NO_ROOM => error(found),
                    NO_ROOM..LITTLE_ROOM => warning(found),
                    _ => ok(found),
                }
            }
            // run-directory and state-directory have said so.
            Seen::Absent => return None,
            Seen::Unseen(reason) => unseen(facts.uid, reason),
        };
        Some(verdict.at(Place::file(path)))
    });
    judged.collect()
}
