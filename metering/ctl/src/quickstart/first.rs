//! The first job, and what it used.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tenantry_model::JobId;
use tenantry_model::usage::{UsageReport, UsageState};

use super::look::Payer;
use crate::ask::{Question, Way, ask};

/// About a second of one CPU, and the job's id for us.
const PROGRAM: &str = "echo $SLURM_JOB_ID; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
/// Minutes that the job may wait for its turn, as srun takes it, and seconds for us.
const TURN_S: u64 = 120;
/// How often the server is asked for what it used, and how long between.
const LOOKS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// Runs the job as its user, and waits until the ledger has what it used.
pub fn job(payer: &Payer) -> Result<UsageReport, String> {
    let job = run(payer)?;
    for _ in 0..LOOKS {
        let question = Question { job: Some(job), ..Question::default() };
        let report: UsageReport =
            ask(&Way::default(), &question).map_err(|error| tenantry_model::describe(&error))?;
        if report.usage.iter().any(|record| record.state == UsageState::Final) {
            return Ok(report);
        }
        std::thread::sleep(PAUSE);
    }
    Err(format!(
        "job {job} ran, and its usage is not in the ledger yet: `tenantry doctor`, and journalctl -u tenantryd -u tenantry-server"
    ))
}

fn run(payer: &Payer) -> Result<JobId, String> {
    let node = tenantry_model::NodeName::of_this_host().map(|node| format!("--nodelist={node}"));
    let mut srun = Command::new("srun");
    srun.args(["--nodes=1", "--ntasks=1", "--job-name=tenantry-quickstart", "--time=2", "--quiet"])
        .arg(format!("--immediate={TURN_S}"))
        .arg(format!("--account={}", payer.account))
        .args(node)
        .args(["sh", "-c", PROGRAM])
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
        .env("HOME", &payer.home)
        .env("USER", &payer.name)
        .env("LC_ALL", "C")
        // root's groups go with root's uid.
        .gid(payer.gid)
        .uid(payer.uid)
        .stdin(Stdio::null());
    if let Some(conf) = std::env::var_os("SLURM_CONF") {
        srun.env("SLURM_CONF", conf);
    }
    let done = srun.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no srun here: run a job by hand, then `tenantry usage`".to_owned()
        }
        _ => format!("srun: {error}"),
    })?;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if !done.status.success() {
        return Err(format!(
            "srun as {} on the account {}: {}: {}; another user: --user NAME, no job: --no-job",
            payer.name,
            payer.account,
            done.status,
            err.trim().replace('\n', " ")
        ));
    }
    let id = out.lines().next().and_then(|line| line.trim().parse().ok()).map(JobId);
    id.ok_or_else(|| format!("the job printed no id of itself: {:?}", out.trim()))
}
