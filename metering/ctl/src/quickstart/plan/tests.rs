//! What is planned for nodes that lack this and that.

use super::*;
use crate::doctor::checks::tests::good;
use crate::doctor::elf::SlurmVersion;
use crate::quickstart::render;

const BUILD: &str = "/usr/lib/tenantry/spank_tenantry-24.11.so";

/// A node with Slurm and the packages, right after their install.
fn fresh() -> Look {
    let mut facts = good();
    facts.tenantry.accounts = Seen::Is(vec!["root".into(), "acme".into(), "globex".into()]);
    if let Seen::Is(stack) = &mut facts.slurm.plugstack {
        stack.plugins.clear();
        stack.included.push(plugin::LINE.into());
    }
    let v24_11 = SlurmVersion { major: 24, minor: 11 };
    Look {
        facts,
        plugin: Found {
            slurm: Ok(v24_11),
            build: BUILD.into(),
            file: Build::For(v24_11),
            trial: Ok(()),
            tenants: Ok(0),
            is_on: false,
            steps: 0,
        },
        server_elsewhere: false,
        payer: Some(Payer {
            name: "alice".into(),
            account: "acme".into(),
            uid: 2001,
            gid: 2001,
            home: "/".into(),
        }),
        node: "n1".parse().ok(),
    }
}

fn running() -> Look {
    let mut look = fresh();
    look.plugin.tenants = Ok(2);
    look.plugin.is_on = true;
    look
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id).collect()
}

fn set(look: &mut Look, name: &str, key: &str, value: &str) {
    let Seen::Is(units) = &mut look.facts.units else { panic!("no units") };
    units.get_mut(name).unwrap().insert(key.into(), value.into());
}

#[test]
fn a_fresh_node_gets_tenants_the_plugin_and_a_job() {
    let plan = plan(&fresh(), true);
    assert_eq!(
        (ids(&plan), plan.in_the_way.len()),
        (vec!["tenants", "slurmd", "job"], 0),
        "{:?}",
        plan.in_the_way
    );
    let Deed::Write(files) = &plan.steps[0].deed else { panic!("{:?}", plan.steps[0]) };
    assert_eq!(files.len(), 1);
    assert!(
        files[0].1.contains("[tenants.acme]") && files[0].1.contains("[tenants.globex]"),
        "{}",
        files[0].1
    );
    let text = render::before(&plan);
    for said in [
        TENANTS,
        "why",
        "undo",
        "tenantry plugin off && rm /etc/tenantry",
        "alice",
        "acme",
        "systemctl restart slurmd.service",
        "--yes",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn where_all_is_there_nothing_is_done() {
    let plan = plan(&running(), true);
    assert!(plan.steps.is_empty() && plan.in_the_way.is_empty(), "{plan:?}");
    assert!(render::before(&plan).starts_with("Nothing is missing"));
}

#[test]
fn each_thing_that_is_missing_is_a_step_and_no_other_is() {
    let mut look = running();
    look.facts.tenantry.run_dir = Seen::Absent;
    assert_eq!(ids(&plan(&look, true)), ["directories"]);

    let mut look = running();
    set(&mut look, "tenantryd.service", "ActiveState", "inactive");
    let one = plan(&look, true);
    assert_eq!(ids(&one), ["units"]);
    assert_eq!(one.steps[0].deed, Deed::Start(vec!["tenantryd.socket".into(), "tenantryd.service".into()]));

    let mut look = running();
    look.facts.slurm.plugstack = Seen::Absent;
    let one = plan(&look, true);
    assert_eq!(ids(&one), ["plugstack"]);
    assert!(matches!(&one.steps[0].deed, Deed::Append(file, line)
        if file.ends_with("plugstack.conf") && line == "include /var/lib/tenantry-plugin/plugstack.conf"));

    let mut look = fresh();
    look.plugin.tenants = Ok(1);
    assert_eq!(ids(&plan(&look, false)), ["slurmd"]);

    let mut look = fresh();
    look.facts.tenantry.tenants = Seen::Absent;
    look.plugin.tenants = Err("no such file".into());
    let one = plan(&look, true);
    assert!(matches!(&one.steps[0].deed, Deed::Write(files) if files.len() == 2), "{:?}", one.steps[0]);
}

#[test]
fn beside_running_jobs_slurmd_is_not_restarted() {
    let mut look = fresh();
    look.plugin.steps = 2;
    let plan = plan(&look, true);
    let slurmd = plan.steps.iter().find(|step| step.id == "slurmd").unwrap();
    let State::Waits(until) = &slurmd.state else { panic!("{slurmd:?}") };
    assert!(until.contains("2 steps run") && until.contains("nodename=n1 state=drain"), "{until}");
    assert!(render::before(&plan).contains("waits"));
}

#[test]
fn what_only_the_site_can_change_is_in_the_way() {
    type Harm = fn(&mut Look);
    let harms: [(&str, Harm); 8] = [
        ("tenants.toml:3:1", |look| look.plugin.tenants = Err("tenants.toml:3:1: x".into())),
        ("no account but root's", |look| look.facts.tenantry.accounts = Seen::Absent),
        ("no account but root's", |look| look.facts.tenantry.accounts = Seen::Is(vec!["root".into()])),
        ("no slurmd", |look| look.facts.slurmds.clear()),
        ("no build for Slurm 24.11", |look| look.plugin.file = Build::Missing),
        ("tenantry-node is not installed", |look| set(look, "tenantryd.service", "LoadState", "not-found")),
        ("no tenantry-server", |look| set(look, "tenantry-server.service", "LoadState", "not-found")),
        ("comes from slurmctld", |look| {
            look.facts.slurm.plugstack = Seen::Absent;
            look.facts.slurm.plugstack_path = "/run/slurm/conf/plugstack.conf".into();
        }),
    ];
    for (says, harm) in harms {
        let mut look = fresh();
        harm(&mut look);
        let plan = plan(&look, true);
        assert!(
            plan.in_the_way.iter().any(|obstacle| obstacle.what.contains(says)),
            "{says}: {:?}",
            plan.in_the_way
        );
        assert!(plan.in_the_way.iter().all(|obstacle| !obstacle.fix.is_empty()));
        assert!(render::before(&plan).contains(says));
    }
    let mut look = fresh();
    look.server_elsewhere = true;
    set(&mut look, "tenantry-server.service", "LoadState", "not-found");
    assert!(plan(&look, true).in_the_way.is_empty());
}

#[test]
fn json_has_each_step_and_its_state() {
    let mut plan = plan(&fresh(), true);
    plan.steps[0].state = State::Done;
    plan.steps[1].state = State::Failed("no".into());
    let value: serde_json::Value = serde_json::from_str(&render::json(&plan, None).unwrap()).unwrap();
    assert_eq!(value["steps"][0]["state"], "done");
    assert_eq!((&value["steps"][1]["state"], &value["steps"][1]["said"]), (&"failed".into(), &"no".into()));
    assert_eq!(value["steps"][2]["state"], "to do");
    assert!(value["usage"].is_null() && value["in_the_way"].as_array().unwrap().is_empty());
}
