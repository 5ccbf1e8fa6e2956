//! Messages of the shared code, in Slurm's log.

use tenantry_isolation::Severity;

/// Writes one.
pub fn say(severity: Severity, message: &str) {
    match severity {
        Severity::Error => spank::log::error(message),
        Severity::Info => spank::log::info(message),
        Severity::Verbose => spank::log::verbose(message),
    }
}
