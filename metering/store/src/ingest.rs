//! What a block changes, as a pure function of the block and of what the ledger has about it.
//!
//! A store asks [`Wanted`] of its tables, gives the answers as [`Facts`], and writes down the [`Changes`] that
//! [`plan`] makes of them: all in one transaction, or nothing.

mod chain;
mod plausible;
mod runs;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tenantry_model::block::{BlockHash, Event, Receipt, Subject};
use tenantry_model::job::{Allocation, Incarnation, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::{UsageWindow, WindowWidth};
use tenantry_model::{BootId, ClusterName, NodeName, TenantPath, WallTime};
use tenantry_usage::{Row, Run as SoFar, record_of_running};

use crate::windows::asks_for_window;
use crate::{AuditEvent, AuditKind, Filter, PublicKey, SentBlock, StoreError, column};

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It stands in the ledger, or another one does.
    Receipt(Receipt),
    /// It is signed with a key that the node is not trusted with. Nothing was changed but the audit.
    UnknownKey,
}

/// A block on its way in: what was sent, when it came by the server's clock, and in which request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub sent: &'a SentBlock,
    pub received: WallTime,
    pub correlation_id: &'a str,
    /// How wide the windows of runs that begin are.
    pub width: WindowWidth,
}

/// What must be known of the ledger before a block can be planned, beside what its name tells.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Runs that the block speaks of.
    pub runs: BTreeSet<&'a Incarnation>,
    /// Boots that it says have ended: their running jobs are wanted, too.
    pub ended: BTreeSet<BootId>,
    /// The block that it must name, where it is the first of a boot.
    pub boot_before: Option<(BootId, u64)>,
    /// Boots other than its own that it speaks of.
    pub boots: BTreeSet<BootId>,
}

impl<'a> Wanted<'a> {
    pub fn by(sent: &'a SentBlock) -> Self {
        let block = sent.block();
        let contents = &block.contents;
        let told = contents.registered.iter().map(|told| &told.registration.incarnation);
        let read = contents.series.iter().filter_map(|series| match &series.subject {
            Subject::Job(run) => Some(run),
            Subject::Tenant { .. } | Subject::Node { .. } => None,
        });
        let ended = contents.ends.iter().map(|end| &end.registration.incarnation);
        let mut wanted = Self { runs: told.chain(read).chain(ended).collect(), ..Self::default() };
        for event in &contents.events {
            if let Event::BootEnded { boot_id, last_sequence, .. } = event {
                wanted.ended.insert(boot_id.clone());
                wanted.boot_before.get_or_insert_with(|| (boot_id.clone(), *last_sequence));
            }
        }
        let boots = wanted.runs.iter().map(|run| &run.boot_id).chain(&wanted.ended);
        wanted.boots = boots.filter(|boot| **boot != block.key.boot_id).cloned().collect();
        wanted
    }
}

/// What the ledger has.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The hash of the block that stands under the name. Where there is one, nothing else is wanted.
    pub known: Option<BlockHash>,
    /// The keys that the node is trusted with.
    pub keys: Vec<PublicKey>,
    /// The last block before this one in its boot.
    pub before: Option<Before>,
    /// The hash of the block in [`Wanted::boot_before`].
    pub boot_before: Option<BlockHash>,
    /// Of [`Wanted::boots`], those of which another node sent blocks, and this one none.
    pub foreign: BTreeSet<BootId>,
    /// [`Wanted::runs`], as far as they are known, and all running ones of [`Wanted::ended`]; others may be among them.
    pub runs: Runs,
}

/// Runs, and what the ledger has of each.
pub(crate) type Runs = BTreeMap<Incarnation, Run>;

/// The last block before the one that came, in its boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub sequence: u64,
    pub hash: BlockHash,
    /// By the node's clock.
    pub closed: Option<WallTime>,
}

/// What the ledger has of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// The latest revision of its record, once it has ended.
    pub latest: Option<Box<(i64, UsageRecord)>>,
    /// Until then.
    pub running: Option<Box<Running>>,
    /// Whether `running` is no longer what the ledger has.
    pub changed: bool,
}

impl Run {
    pub fn running(running: Box<Running>) -> Self {
        Self { running: Some(running), ..Self::default() }
    }
}

/// What the ledger has of a running job: working state, that can be made again from the blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// `None`: its readings came first.
    pub registration: Option<Registration>,
    /// `None`: not known yet.
    pub allocation: Option<Allocation>,
    /// The latest.
    pub reading: Option<Reading>,
    /// What all readings so far add up to, and the windows that have no row yet.
    pub so_far: Option<SoFar>,
}

impl Running {
    /// What a reader gets; `None` as long as the job is not told or not read.
    pub fn record(&self) -> Option<UsageRecord> {
        let (registration, reading) = (self.registration.as_ref()?, self.reading.as_ref()?);
        let so_far = self.so_far.as_ref()?;
        Some(record_of_running(registration, self.allocation.as_ref(), reading, so_far.integral()))
    }
}

impl Running {
    /// The windows that have no row yet, as far as they are asked for.
    pub fn windows(&self, filter: &Filter) -> Vec<UsageWindow> {
        let told = self.registration.as_ref().zip(self.so_far.as_ref());
        let pending = told.map(|(registration, so_far)| so_far.pending(registration)).unwrap_or_default();
        pending.into_iter().filter(|window| asks_for_window(filter, window)).collect()
    }
}

/// What a store writes down, all or nothing. Numbers were held against the columns they go into.
#[derive(Debug)]
pub(crate) struct Changes {
    pub taken: Taken,
    /// The node's first key.
    pub trust: Option<PublicKey>,
    pub gaps: Vec<GapRow>,
    pub usage: Vec<UsageRow>,
    pub windows: Vec<WindowRow>,
    /// The facts' runs as the block leaves them.
    pub runs: Runs,
    /// Whether the runs' states before the block, and the block, are all that their states after it follow from.
    pub repeatable: bool,
    pub tenants: Vec<TenantRow>,
    pub audit: Vec<AuditEvent>,
}

impl Changes {
    /// Runs' new state, where it is another; `None` where a run has none any more.
    pub fn running(&self) -> impl Iterator<Item = (&Incarnation, Option<&Running>)> {
        self.runs.iter().filter(|(_, run)| run.changed).map(|(name, run)| (name, run.running.as_deref()))
    }
}

/// A time without readings, or blocks that never came.
#[derive(Debug, Serialize)]
pub(crate) struct GapRow {
    pub boot_id: BootId,
    pub reason: &'static str,
    pub from_unix_usec: Option<i64>,
    pub to_unix_usec: i64,
    pub from_boottime_usec: Option<i64>,
    pub to_boottime_usec: i64,
    pub first_sequence: Option<i64>,
    pub last_sequence: Option<i64>,
}

/// A new revision of a run's record.
#[derive(Debug)]
pub(crate) struct UsageRow {
    pub run: Incarnation,
    pub revision: i64,
    pub record: UsageRecord,
}

/// A row of a window of a run.
#[derive(Debug)]
pub(crate) struct WindowRow {
    pub run: Incarnation,
    /// Of the record that the row belongs to.
    pub revision: i64,
    pub number: u32,
    pub window: UsageWindow,
}

/// A tenant's group as it was last read; an older reading than the ledger's is passed over.
#[derive(Debug, Serialize)]
pub(crate) struct TenantRow {
    pub node: NodeName,
    pub tenant: TenantPath,
    pub boottime_usec: i64,
    pub read_unix_usec: i64,
    pub cpu_usage_usec: Option<i64>,
}

/// What a block changes.
///
/// # Errors
/// [`StoreError::OutOfRange`]: it has a number that the ledger does not hold, and changes nothing.
pub(crate) fn plan(arrival: Arrival<'_>, facts: Facts) -> Result<Changes, StoreError> {
    let changes = Changes {
        taken: Taken::Receipt(Receipt::New),
        trust: None,
        gaps: Vec::new(),
        usage: Vec::new(),
        windows: Vec::new(),
        runs: Runs::new(),
        repeatable: true,
        tenants: Vec::new(),
        audit: Vec::new(),
    };
    let mut plan = Plan { arrival, facts, changes };
    plan.changes.taken = plan.block()?;
    let Plan { facts, mut changes, .. } = plan;
    changes.runs = facts.runs;
    Ok(changes)
}

struct Plan<'a> {
    arrival: Arrival<'a>,
    facts: Facts,
    changes: Changes,
}

impl Plan<'_> {
    fn block(&mut self) -> Result<Taken, StoreError> {
        let sent = self.arrival.sent;
        let (key, hash) = (sent.key(), sent.hash());
        match self.facts.known {
            Some(known) if known == hash => return Ok(Taken::Receipt(Receipt::Duplicate)),
            Some(known) => {
                let detail = format!("SHA-256 {known} is kept, {hash} came");
                self.audit(AuditKind::BlockConflict, format!("block {key}"), detail);
                return Ok(Taken::Receipt(Receipt::Conflict));
            }
            None => {}
        }
        if !self.trusts_signer() {
            return Ok(Taken::UnknownKey);
        }
        self.chain()?;
        self.times();
        let contents = &sent.block().contents;
        for told in &contents.registered {
            self.registered(told);
        }
        for series in &contents.series {
            match &series.subject {
                Subject::Job(run) => self.running(run, &series.readings)?,
                Subject::Tenant { node, tenant } => self.tenant(node, tenant, &series.readings)?,
                // The block is the record of it.
                Subject::Node { .. } => {}
            }
        }
        for end in &contents.ends {
            self.end(end);
        }
        for event in &contents.events {
            self.event(event)?;
        }
        Ok(Taken::Receipt(Receipt::New))
    }

    fn tenant(
        &mut self,
        node: &NodeName,
        tenant: &TenantPath,
        readings: &[Reading],
    ) -> Result<(), StoreError> {
        let Some(latest) = readings.iter().max_by_key(|reading| reading.at.boottime_usec) else {
            return Ok(());
        };
        self.changes.tenants.push(TenantRow {
            node: node.clone(),
            tenant: tenant.clone(),
            boottime_usec: column("boottime_usec", latest.at.boottime_usec.0)?,
            read_unix_usec: latest.at.wall.unix_usec(),
            cpu_usage_usec: latest.cpu_usage().map(|time| column("cpu_usage_usec", time.0)).transpose()?,
        });
        Ok(())
    }

    fn windows(&mut self, run: &Incarnation, revision: i64, rows: Vec<Row>) {
        let rows = rows.into_iter().map(|Row { number, window }| WindowRow {
            run: run.clone(),
            revision,
            number,
            window,
        });
        self.changes.windows.extend(rows);
    }

    fn audit(&mut self, kind: AuditKind, subject: String, detail: String) {
        self.changes.audit.push(AuditEvent {
            at: self.arrival.received,
            kind,
            uid: None,
            correlation_id: self.arrival.correlation_id.to_owned(),
            subject,
            detail,
        });
    }
}

fn run_name(run: &Incarnation) -> String {
    let cluster = run.cluster.as_ref().map_or("-", ClusterName::as_str);
    format!("job {cluster}/{}/{}/{}/{}", run.node, run.boot_id, run.job_id, run.began)
}
