//! What cannot be is said, and kept all the same: a record is never lost for looking wrong.

use tenantry_model::Usec;
use tenantry_model::block::Event;
use tenantry_model::job::Incarnation;
use tenantry_model::usage::UsageRecord;

use super::{Plan, run_name};
use crate::AuditKind;

/// How far a node's clock may be ahead of the server's.
const AHEAD: Usec = Usec(300_000_000);
/// CPU time above what was allocated that is no reason to look: the kernel's and Slurm's edges.
const CPU_SLACK: Usec = Usec(1_000_000);

impl Plan<'_> {
    /// A block is closed after the one before it, and before it comes.
    pub(super) fn times(&mut self) {
        let sent = self.arrival.sent;
        let (closed, received) = (sent.closed().wall, self.arrival.received);
        let subject = || format!("block {}", sent.key());
        let ahead = closed.unix_usec().saturating_sub(received.unix_usec());
        if ahead > i64::try_from(AHEAD.0).unwrap_or(i64::MAX) {
            let detail =
                format!("it was closed at {closed}, and came at {received}: look at the node's clock");
            self.audit(AuditKind::ImplausibleTime, subject(), detail);
        }
        let Some(before) = self.facts.before.and_then(|before| before.closed) else { return };
        let stepped = sent.block().contents.events.iter().any(|event| {
            // Its clock was set, and it says so; or its spool was lost, and ends are taken again.
            matches!(event, Event::ClockStepped { .. } | Event::SpoolLost { .. } | Event::Renumbered { .. })
        });
        if closed < before && !stepped {
            let detail = format!("it was closed at {closed}, and the one before it at {before}");
            self.audit(AuditKind::ImplausibleTime, subject(), detail);
        }
    }

    /// No job uses more CPU than its cores had time for: where it did, they were not its only ones.
    pub(super) fn cpu_time(&mut self, run: &Incarnation, record: &UsageRecord) {
        let (Some(used), Some(allocated)) = (record.cpu_usage_usec, record.allocated_cpu_usec) else {
            return;
        };
        let slack = CPU_SLACK.0.saturating_add(allocated.0.checked_div(100).unwrap_or_default());
        if used.0 > allocated.0.saturating_add(slack) {
            let detail = format!(
                "{} µs of CPU in {} µs of its allocated CPUs: are its cores constrained?",
                used.0, allocated.0
            );
            self.audit(AuditKind::ImplausibleCpu, run_name(run), detail);
        }
    }
}
