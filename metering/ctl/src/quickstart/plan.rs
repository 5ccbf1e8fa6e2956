//! What is to be done: a pure function of what was found.

use std::path::{Path, PathBuf};

use super::look::{Look, Payer};
use super::tenants;
use crate::doctor::checks::examine;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::machine::Seen;
use crate::plugin::{self, Build, Choice, Found, Reason, When};

/// Where the tenants of the first day stand: a file of its own, so that taking it away undoes it.
pub const TENANTS: &str = "/etc/tenantry/tenants.d/quickstart.toml";
const TENANTS_FILE: &str = "/etc/tenantry/tenants.toml";
/// A configless cluster's files come from slurmctld.
const SENT: &str = "/run/slurm/conf";

/// What keeps every job from being placed, and that only the site can change: checks of the doctor.
const STOPS: [&str; 10] = [
    "kernel-version",
    "cgroup-v2",
    "cgroup-controllers",
    "cgroup-plugin",
    "cgroup-mountpoint",
    "cgroup-slice",
    "proctrack-type",
    "slurm-version",
    "run-directory",
    "state-directory",
];

/// What is to be done, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// With any of these nothing is done.
    pub in_the_way: Vec<Obstacle>,
    /// Each rests on those before it.
    pub steps: Vec<Step>,
    /// How many other findings the doctor has.
    pub findings: usize,
}

/// What only the site can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What is found.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name in the output.
    pub id: &'static str,
    /// What is done.
    pub what: String,
    /// Why.
    pub why: &'static str,
    /// How to take it back.
    pub undo: String,
    /// The deed.
    pub deed: Deed,
    /// How far it is.
    pub state: State,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// These directories and files are made, as systemd-tmpfiles has them.
    Directories,
    /// Files get these texts.
    Write(Vec<(PathBuf, String)>),
    /// A line is added to a file, which may not be there yet.
    Append(PathBuf, String),
    /// Units are enabled and started.
    Start(Vec<String>),
    /// slurmd's units are restarted, and choose the plugin.
    Restart(Vec<String>),
    /// A job of one second.
    Job(Payer),
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    ToDo,
    /// Done.
    Done,
    /// It went wrong, and why.
    Failed(String),
    /// Not now, and until when.
    Waits(String),
}

/// What is to be done here.
pub fn plan(look: &Look, with_job: bool) -> Plan {
    let findings = examine(&look.facts);
    let mut in_the_way = obstacles(look, &findings);
    let mut steps = Vec::new();
    let tenantry = &look.facts.tenantry;
    if [&tenantry.run_dir, &tenantry.state_dir].iter().any(|dir| matches!(dir, Seen::Absent)) {
        steps.push(step(
            "directories",
            "make /run/tenantry and /var/lib/tenantry: systemd-tmpfiles --create".into(),
            "registrations and records stand in them",
            "nothing to undo: a removal of the package takes them away".into(),
            Deed::Directories,
        ));
    }
    match tenants_step(look) {
        Ok(step) => steps.extend(step),
        Err(obstacle) => in_the_way.push(obstacle),
    }
    match plugstack_step(look) {
        Ok(step) => steps.extend(step),
        Err(obstacle) => in_the_way.push(obstacle),
    }
    match units_step(look) {
        Ok(step) => steps.extend(step),
        Err(obstacle) => in_the_way.push(obstacle),
    }
    match slurmd_step(look) {
        Ok(Some(step)) => {
            steps.push(step);
            steps.extend(look.payer.iter().filter(|_| with_job).map(job_step));
        }
        Ok(None) => {}
        Err(obstacle) => in_the_way.push(obstacle),
    }
    let findings = findings.iter().filter(|finding| finding.severity >= Severity::Warning).count();
    Plan { in_the_way, steps, findings }
}

fn step(id: &'static str, what: String, why: &'static str, undo: String, deed: Deed) -> Step {
    Step { id, what, why, undo, deed, state: State::ToDo }
}

fn obstacles(look: &Look, findings: &[Finding]) -> Vec<Obstacle> {
    let stops =
        findings.iter().filter(|finding| finding.severity == Severity::Error && STOPS.contains(&finding.id));
    let mut obstacles: Vec<_> = stops
        .map(|finding| Obstacle {
            what: format!("{}: {}", finding.id, finding.found),
            fix: finding.fix.clone().unwrap_or_else(|| "tenantry doctor".into()),
        })
        .collect();
    if look.facts.slurmds.is_empty() {
        obstacles.push(Obstacle {
            what: "no slurmd runs here as a unit of systemd's".into(),
            fix: "run it on a node, and start slurmd: systemctl enable --now slurmd".into(),
        });
    }
    obstacles
}

fn tenants_step(look: &Look) -> Result<Option<Step>, Obstacle> {
    let is_missing = matches!(look.facts.tenantry.tenants, Seen::Absent);
    match &look.plugin.tenants {
        Ok(1..) => return Ok(None),
        Err(mistake) if !is_missing => {
            return Err(Obstacle {
                what: mistake.clone(),
                fix: "correct the line; `tenantry check-config` says when it is good".into(),
            });
        }
        Ok(0) | Err(_) => {}
    }
    let accounts = look.facts.tenantry.accounts.is().map(Vec::as_slice).unwrap_or_default();
    let Some(text) = tenants::file(accounts) else {
        return Err(Obstacle {
            what: "sacctmgr lists no account but root's, and a tenant is who pays for an account".into(),
            fix: format!(
                "set up slurmdbd and accounts, or write a tenant into {TENANTS_FILE} (docs/tenants.md)"
            ),
        });
    };
    let names = tenants::names(&text).join(", ");
    let mut files = vec![(TENANTS.into(), text)];
    if is_missing {
        files.insert(0, (TENANTS_FILE.into(), "# Every key: docs/tenants.md.\n".into()));
    }
    let files_named: Vec<_> =
        files.iter().map(|(file, _): &(PathBuf, _)| file.display().to_string()).collect();
    let files_named = files_named.join(" ");
    Ok(Some(step(
        "tenants",
        format!("write {files_named}: a tenant for each of Slurm's accounts, without limits: {names}"),
        "a tenant is who pays; jobs of an account that none claims (root's own) are refused",
        format!("tenantry plugin off && rm {files_named}"),
        Deed::Write(files),
    )))
}

fn plugstack_step(look: &Look) -> Result<Option<Step>, Obstacle> {
    let slurm = &look.facts.slurm;
    let line = format!("include {}", plugin::LINE);
    let included = |stack: &crate::doctor::plugstack::Plugstack| {
        stack.included.iter().any(|file| file == Path::new(plugin::LINE))
    };
    let file = slurm.plugstack_path.clone();
    match &slurm.plugstack {
        Seen::Is(stack) if included(stack) => return Ok(None),
        Seen::Unseen(reason) => {
            let fix = "make it readable, then `tenantry quickstart` again".into();
            return Err(Obstacle { what: reason.clone(), fix });
        }
        Seen::Is(_) | Seen::Absent => {}
    }
    if file.starts_with(SENT) {
        return Err(Obstacle {
            what: format!("{} comes from slurmctld, and loads no plugin of Tenantry's", file.display()),
            fix: format!(
                "add `{line}` to plugstack.conf beside slurmctld's slurm.conf, then `scontrol reconfigure`"
            ),
        });
    }
    Ok(Some(step(
        "plugstack",
        format!("add `{line}` to {}", file.display()),
        "Slurm loads what stands there; the included file is the selector's, and loads nothing while it is off",
        format!("take the line out of {}", file.display()),
        Deed::Append(file, line),
    )))
}

fn units_step(look: &Look) -> Result<Option<Step>, Obstacle> {
    let Seen::Is(units) = &look.facts.units else {
        return Err(Obstacle {
            what: "systemctl does not answer".into(),
            fix: "run it where systemd runs, or follow docs/install.md by hand".into(),
        });
    };
    let of = |name: &str, key: &str| units.get(name).and_then(|unit| unit.get(key)).map(String::as_str);
    let is_there = |name: &str| !matches!(of(name, "LoadState"), None | Some("not-found"));
    if !is_there("tenantryd.service") {
        return Err(Obstacle {
            what: "tenantry-node is not installed".into(),
            fix: "install the packages tenantry-node and, on one machine, tenantry-server (docs/install.md)"
                .into(),
        });
    }
    if !is_there("tenantry-server.service") && !look.server_elsewhere {
        return Err(Obstacle {
            what: "no tenantry-server is installed here, and tenantryd.toml names none on another machine"
                .into(),
            fix: "install tenantry-server here, or name one with server_url (docs/network.md)".into(),
        });
    }
    let wanted = ["tenantry-server.service", "tenantryd.service", "tenantry-warden.service"];
    let mut down: Vec<_> = wanted
        .into_iter()
        .filter(|name| is_there(name) && of(name, "ActiveState") != Some("active"))
        .map(str::to_owned)
        .collect();
    if down.is_empty() {
        return Ok(None);
    }
    if down.iter().any(|name| name == "tenantryd.service") {
        down.insert(0, "tenantryd.socket".into());
    }
    let named = down.join(" ");
    Ok(Some(step(
        "units",
        format!("systemctl enable --now {named}"),
        "they meter jobs, mend what a crash leaves, and keep the ledger; no job depends on them",
        format!("systemctl disable --now {named}"),
        Deed::Start(down),
    )))
}

fn slurmd_step(look: &Look) -> Result<Option<Step>, Obstacle> {
    // The steps before this one see to the tenants.
    let with_tenants = Found { tenants: Ok(1), ..look.plugin.clone() };
    let state = match plugin::choose(&with_tenants, When::SlurmdStarts) {
        Choice::Load(_) if look.plugin.is_on => return Ok(None),
        Choice::Load(_) | Choice::Wait(_) => State::ToDo,
        Choice::StandAside(Reason::StepsRun(steps)) => State::Waits(drain(look, steps)),
        Choice::StandAside(reason) => {
            return Err(Obstacle {
                what: format!("no build of the plugin fits: {reason}"),
                fix: "tenantry plugin select".into(),
            });
        }
    };
    let units: Vec<_> = look.facts.slurmds.iter().map(|slurmd| slurmd.unit.clone()).collect();
    let version = match look.plugin.file {
        Build::For(version) => version.to_string(),
        Build::Missing | Build::NoPlugin => "this Slurm".into(),
    };
    Ok(Some(Step {
        state,
        ..step(
            "slurmd",
            format!(
                "systemctl restart {}: the plugin for Slurm {version}, which has passed its trial, is loaded",
                units.join(" ")
            ),
            "with it every job that begins from then on runs in its tenant's group; a restart of slurmd ends no job, but one that began without a tenant would have its next steps refused: so it waits until none runs here",
            "tenantry plugin off, which is refused while jobs run in their tenants; it comes on again when slurmd starts and a tenant is there".into(),
            Deed::Restart(units),
        )
    }))
}

fn drain(look: &Look, steps: usize) -> String {
    let node = look.node.as_ref().map_or_else(|| "NODE".to_owned(), ToString::to_string);
    format!(
        "{steps} steps run on this node: `scontrol update nodename={node} state=drain reason=tenantry`; when \
         `squeue -w {node}` is empty, `tenantry quickstart --yes` again, and `scontrol update nodename={node} state=resume`"
    )
}

fn job_step(payer: &Payer) -> Step {
    step(
        "job",
        format!(
            "run a job of about a second as {}, on the account {}, and show what it used",
            payer.name, payer.account
        ),
        "what the kernel counted for it is the first line of the bill",
        "nothing to undo: a record of the ledger stays".into(),
        Deed::Job(payer.clone()),
    )
}

#[cfg(test)]
mod tests;
