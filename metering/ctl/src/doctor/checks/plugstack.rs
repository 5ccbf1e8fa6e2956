//! plugstack.conf.

use super::Check;
use super::slurm_conf::problem;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen};
use crate::doctor::gather::is_tenantry;
use crate::doctor::machine::Seen;
use crate::doctor::plugstack::{Plugin, Plugstack};
use crate::doctor::slurm::PluginFile;

/// What is known of other plugins, by the beginning of their file's name.
const KNOWN: [(&str, &str); 5] = [
    (
        "contain",
        "it moves tasks into cpusets of its own (contain_spank): jobs may leave the cores Slurm gave them",
    ),
    ("spank_private_tmp", "it makes a mount namespace for each job: what it mounts is gone with the job"),
    ("private-tmpdir", "it makes a mount namespace for each job: what it mounts is gone with the job"),
    (
        "spank_pyxis",
        "it starts containers in user and mount namespaces; their processes stay in the job's group",
    ),
    ("auks", "it takes users' tickets along; it moves no process"),
];

pub const CHECKS: &[Check] = &[
    Check {
        id: "plugstack",
        subject: "plugstack.conf",
        wanted: "one line that loads the plugin, and no line that Slurm ignores",
        why: "without the plugin no job has a tenant; with it twice each hook runs twice",
        fix: "`tenantry plugin status` says why it is off, and `tenantry quickstart` what is missing; plugstack.conf must include plugstack.conf.d/*.conf, or /var/lib/tenantry-plugin/plugstack.conf itself",
        look: line,
    },
    Check {
        id: "plugstack-required",
        subject: "how the plugin is loaded",
        wanted: "required",
        why: "what an optional plugin says is ignored: a task that is outside its tenant would run",
        fix: "write `required` in place of `optional`",
        look: required,
    },
    Check {
        id: "plugstack-arguments",
        subject: "the plugin's arguments",
        wanted: "none",
        why: "the plugin takes none: settings stand in /etc/tenantry/tenants.toml",
        fix: "take them out",
        look: arguments,
    },
    Check {
        id: "plugin-file",
        subject: "the plugin's file",
        wanted: "there, root's, and writable by root only, as is its directory",
        why: "it runs as root in slurmd's prolog: whoever may write it is root; where it is missing neither slurmd nor srun and sbatch start",
        fix: "install the package or `make install` again; chown root:root and chmod go-w the file and its directory",
        look: file,
    },
    Check {
        id: "plugin-version",
        subject: "the Slurm the plugin was built for",
        wanted: "the major.minor of `slurmd -V`",
        why: "Slurm loads a plugin of no other version: with `required` neither slurmd nor srun and sbatch start",
        fix: "tenantry plugin select, which says what to install where no build fits",
        look: version,
    },
    Check {
        id: "plugstack-others",
        subject: "other SPANK plugins",
        wanted: "nothing: it is good to know",
        why: "a plugin runs as root in the same hooks; one that moves processes or makes namespaces may work against the tenant's group",
        fix: "try a job, and see `scontrol listpids` and `tenantry usage` agree",
        look: others,
    },
];

fn stack(facts: &Facts) -> Option<&Plugstack> {
    facts.slurm.plugstack.is()
}

fn ours(facts: &Facts) -> impl Iterator<Item = &Plugin> {
    stack(facts).into_iter().flat_map(|stack| stack.plugins.iter().filter(|plugin| is_tenantry(plugin)))
}

fn line(facts: &Facts) -> Vec<Verdict> {
    let slurm = &facts.slurm;
    let at = Place::file(&slurm.plugstack_path);
    let stack = match &slurm.plugstack {
        Seen::Is(stack) => stack,
        // Where slurm.conf was not found, plugstack.conf was looked for in the wrong place.
        Seen::Absent if slurm.conf.is().is_some() => return vec![error("there is none").at(at)],
        Seen::Absent => {
            return vec![unseen(facts.uid, "plugstack.conf stands beside slurm.conf, which was not found")];
        }
        Seen::Unseen(reason) => return vec![unseen(facts.uid, reason)],
    };
    let mut verdicts: Vec<_> = stack.problems.iter().map(problem).collect();
    let lines: Vec<_> = ours(facts).collect();
    verdicts.push(match lines.as_slice() {
        [] => error("no line loads the plugin").at(at),
        [one] => ok(format!("loads {}", one.path.display())).at(one.place.clone()),
        [.., again] => error(format!("loaded {} times", lines.len()))
            .fix("keep one of the lines")
            .at(again.place.clone()),
    });
    verdicts
}

fn required(facts: &Facts) -> Vec<Verdict> {
    let judged = ours(facts).map(|plugin| {
        if plugin.required { ok("required") } else { error("optional") }.at(plugin.place.clone())
    });
    judged.collect()
}

fn arguments(facts: &Facts) -> Vec<Verdict> {
    let judged = ours(facts).map(|plugin| {
        let verdict = if plugin.args.is_empty() { ok("none") } else { note(plugin.args.join(" ")) };
        verdict.at(plugin.place.clone())
    });
    judged.collect()
}

fn file(facts: &Facts) -> Vec<Verdict> {
    let judged = facts.slurm.plugin_files.iter().map(|PluginFile { path, file, dir, .. }| {
        let at = Place::file(path);
        let (file, dir) = match (file, dir) {
            (Seen::Is(file), Seen::Is(dir)) => (file, dir),
            (Seen::Absent, _) | (_, Seen::Absent) => return error("there is none").at(at),
            (Seen::Unseen(reason), _) | (_, Seen::Unseen(reason)) => return unseen(facts.uid, reason),
        };
        match (file.open_to_others(facts.admin), dir.open_to_others(facts.admin)) {
            (Some(found), _) => error(format!("it {found}")).at(at),
            (None, Some(found)) => error(format!("its directory {found}")).at(at),
            (None, None) => ok(format!("mode {:o}", file.mode)).at(at),
        }
    });
    judged.collect()
}

fn version(facts: &Facts) -> Vec<Verdict> {
    let judged = facts.slurm.plugin_files.iter().filter_map(|PluginFile { path, version, .. }| {
        let at = Place::file(path);
        Some(match (version, &facts.slurm.version) {
            (Seen::Is(None), _) => error("it is no Slurm plugin").at(at),
            (Seen::Is(Some(built)), Seen::Is(slurm)) if built == slurm => ok(built.to_string()).at(at),
            (Seen::Is(Some(built)), Seen::Is(slurm)) => {
                error(format!("built for {built}, and this is Slurm {slurm}")).at(at)
            }
            (Seen::Is(Some(built)), _) => {
                unseen(facts.uid, &format!("built for {built}; Slurm's version is unknown"))
            }
            (Seen::Unseen(reason), _) => unseen(facts.uid, reason),
            // plugin-file has said so.
            (Seen::Absent, _) => return None,
        })
    });
    judged.collect()
}

fn others(facts: &Facts) -> Vec<Verdict> {
    let Some(stack) = stack(facts) else { return Vec::new() };
    let found: Vec<_> = stack
        .plugins
        .iter()
        .filter(|plugin| !is_tenantry(plugin))
        .map(|plugin| {
            let name = plugin.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let known = KNOWN.iter().find(|(start, _)| name.starts_with(start)).map(|(_, what)| *what);
            let place = plugin.place.clone();
            note(format!("{}: {}", plugin.path.display(), known.unwrap_or("unknown to Tenantry"))).at(place)
        })
        .collect();
    if found.is_empty() { vec![ok("none")] } else { found }
}
