//! The warden: `tenantry_isolation` at work between a job's prolog and its epilog. One thread, no
//! network; what it does is in [`tenantry_isolation::reconcile`] and [`tenantry_cgroup::tenant`].
#![forbid(unsafe_code)]

pub mod prolog;
pub mod run;
mod slurm;

use tenantry_isolation::Severity;

/// Messages of the shared code, in the journal.
fn say(severity: Severity, message: &str) {
    match severity {
        Severity::Error => tracing::error!("{message}"),
        Severity::Info => tracing::info!("{message}"),
        Severity::Verbose => tracing::debug!("{message}"),
    }
}
