//! `slurmstepd spank epilog`: root, on the node, after the job's last step.

use spank::JobScript;
use tenantry_isolation::{Site, close};
use tenantry_model::JobId;

use crate::log;

/// The hook. It never fails: that would drain the node.
pub fn run(job: &JobScript<'_>) {
    let (Ok(site), Ok(job_id)) = (Site::system(log::say), job.job_id()) else {
        spank::log::error("the epilog cannot tell its job or the cgroup tree; the registration stays");
        return;
    };
    let node = job.var("SLURMD_NODENAME").and_then(|name| name.into_string().ok()?.parse().ok());
    close::end(&site, node.as_ref(), JobId(job_id));
}
