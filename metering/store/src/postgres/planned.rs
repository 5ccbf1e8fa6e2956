//! A block that will be taken, if the facts it was planned on are still those of the ledger.

use tenantry_model::block::Receipt;
use tenantry_model::job::Incarnation;
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::UsageWindow;

use super::columns::Columns;
use super::nodes::{Node, Written};
use super::state;
use crate::StoreError;
use crate::ingest::{Arrival, Before, Changes, Facts, Taken, Wanted, plan};

/// A node's state is written with every so many blocks of it, and before that where it does not follow from the blocks.
const WRITTEN_EACH: u64 = 16;

pub(super) struct Planned<'a> {
    pub arrival: Arrival<'a>,
    /// The node's, of the facts.
    pub version: i64,
    /// All but the runs: those are in `node`.
    pub changes: Changes,
    /// The records of its rows, in their order.
    pub usage: Vec<Columns<UsageRecord>>,
    pub windows: Vec<Columns<UsageWindow>>,
    /// The node as the block leaves it.
    pub node: Node,
    /// Runs that the ledger has nothing of, as far as is known.
    pub fresh: Vec<Incarnation>,
    /// Runs whose row in `running_job` comes or changes.
    pub kept: Vec<Incarnation>,
    /// And those whose row goes.
    pub gone: Vec<Incarnation>,
    /// Where the node's state is written.
    pub state: Option<State>,
}

/// What goes into `node_running`.
pub(super) struct State {
    pub packed: Vec<u8>,
    pub written: Written,
}

/// What comes of a block.
pub(super) enum Plan<'a> {
    /// It is new.
    Take(Box<Planned<'a>>),
    /// It changes nothing but the audit: it is answered, if the node still has this version.
    Answer { version: i64, changes: Changes },
}

/// Plans a block.
///
/// # Errors
/// As `ingest::plan`: nothing was changed.
pub(super) fn planned<'a>(
    arrival: Arrival<'a>,
    wanted: Wanted<'_>,
    mut node: Node,
    facts: Facts,
) -> Result<Plan<'a>, StoreError> {
    let sent = arrival.sent;
    let key = sent.key();
    let fresh = wanted.runs.into_iter().filter(|run| !facts.runs.contains_key(run));
    let fresh: Vec<Incarnation> = fresh.cloned().collect();
    let mut changes = plan(arrival, facts)?;
    let version = node.version;
    if changes.taken != Taken::Receipt(Receipt::New) {
        return Ok(Plan::Answer { version, changes });
    }
    // Here, so that a figure which no column holds is this block's failure alone.
    let usage = changes.usage.iter().map(|row| Columns::of(&row.record)).collect::<Result<_, _>>()?;
    let windows = changes.windows.iter().map(|row| Columns::of(&row.window)).collect::<Result<_, _>>()?;
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    let told = &sent.block().contents.registered;
    let is_told = |run: &Incarnation| told.iter().any(|told| told.registration.incarnation == *run);
    let has_news = changes.running().next().is_some();
    for (run, running) in changes.running() {
        match running {
            Some(_) if fresh.contains(run) || is_told(run) => kept.push(run.clone()),
            None if !fresh.contains(run) => gone.push(run.clone()),
            Some(_) | None => {}
        }
    }
    node.jobs = state::running(&mut changes);
    node.version = version.saturating_add(1);
    node.keys.extend(changes.trust);
    let state = if state_is_due(arrival, &node, &changes, has_news) {
        let sequence = node.ahead.unwrap_or(key.sequence);
        let written = Written { boot_id: key.boot_id.clone(), sequence, width: arrival.width };
        node.written = Some(written.clone());
        Some(State { packed: state::pack(&node.jobs)?, written })
    } else {
        None
    };
    let before = Before { sequence: key.sequence, hash: sent.hash(), closed: Some(sent.closed().wall) };
    // After a late block what is its boot's last is asked for again.
    node.last = node.ahead.is_none().then(|| (key.boot_id.clone(), before));
    Ok(Plan::Take(Box::new(Planned {
        arrival,
        version,
        changes,
        usage,
        windows,
        node,
        fresh,
        kept,
        gone,
        state,
    })))
}

/// Whether the jobs' states, as the block leaves them, do not follow from what is written and the blocks since.
fn state_is_due(arrival: Arrival<'_>, node: &Node, changes: &Changes, has_news: bool) -> bool {
    let key = arrival.sent.key();
    let Some(written) = &node.written else {
        return has_news;
    };
    if !changes.repeatable {
        return true;
    }
    let follows = written.boot_id == key.boot_id && node.ahead.is_none() && written.width == arrival.width;
    // Not all nodes' in the same minute.
    let turn =
        key.node.as_str().bytes().fold(0_u64, |turn, byte| turn.wrapping_mul(31).wrapping_add(byte.into()));
    let turn = turn.wrapping_add(key.sequence).checked_rem(WRITTEN_EACH) == Some(0);
    let many = key.sequence.saturating_sub(written.sequence) >= WRITTEN_EACH;
    has_news && (!follows || turn || many)
}
