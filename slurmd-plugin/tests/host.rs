//! The packaged plugin in a process that calls it as `slurmstepd spank` does (`host.c`), on a node where nothing
//! is as it should be. Needs `cc`, and root or user namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops where something is not as it should be"
)]

mod common;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static HOST: LazyLock<PathBuf> = LazyLock::new(|| {
    let host = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slurmstepd_spank");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host.c");
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(cc);
    command.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-o"]).arg(&host);
    let status = command.arg(source).arg("-ldl").status().expect("this test needs a C compiler");
    assert!(status.success(), "the host does not compile");
    host
});

/// What one call printed; `None` where this machine has no namespaces for us, which is said.
fn call(hook: &str, tenants: Option<&str>) -> Option<Vec<String>> {
    let mut command = Command::new(HOST.as_path());
    command.arg(common::PLUGIN.as_path()).arg(hook).args(tenants);
    command.env_clear().envs([
        ("SLURMD_NODENAME", "n1"),
        ("SLURM_CLUSTER_NAME", "lab"),
        ("SLURM_JOB_ACCOUNT", "acme"),
        ("SLURM_JOB_USER", "alice"),
    ]);
    let output = command.output().expect("the host starts");
    assert!(output.status.success(), "the host did not end well: {output:?}");
    assert!(output.stderr.is_empty(), "the plugin wrote to the host's stderr: {output:?}");
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    match lines.split_first() {
        Some((first, rest)) if first == "private" => Some(rest.to_vec()),
        first => {
            println!("TENANTRY-SKIP {hook} on a broken node: no mount namespace: {first:?}");
            None
        }
    }
}

fn tenants(policy: &str) -> String {
    format!("[policy]\nisolation_failure = \"{policy}\"\n[tenants.acme]\naccounts = [\"acme\"]\n")
}

#[track_caller]
fn is_ended_by(lines: &[String], returned: &str, what_follows: &str) {
    assert_eq!(lines.last().map(String::as_str), Some(returned), "{lines:#?}");
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "not one error line in {lines:#?}");
    assert!(errors.iter().all(|line| line.contains(what_follows)), "{lines:#?}");
}

#[test]
fn without_a_tenants_file_a_failing_prolog_drains_no_node() {
    let Some(lines) = call("job_prolog", None) else { return };
    is_ended_by(&lines, "job_prolog = 0", "; the job's steps will be refused");
}

#[test]
fn a_failing_prolog_does_what_the_site_chose() {
    for (policy, returned, what_follows) in [
        ("fail-job", "job_prolog = 0", "; the job's steps will be refused"),
        ("run-unisolated", "job_prolog = 0", "; the job runs UNISOLATED"),
        ("drain-node", "job_prolog = -1", "; the node drains"),
    ] {
        let Some(lines) = call("job_prolog", Some(&tenants(policy))) else { return };
        is_ended_by(&lines, returned, what_follows);
    }
}

#[test]
fn a_failing_epilog_drains_no_node() {
    for tenants in [None, Some(tenants("drain-node"))] {
        let Some(lines) = call("job_epilog", tenants.as_deref()) else { return };
        is_ended_by(&lines, "job_epilog = 0", "the registration stays");
    }
}
