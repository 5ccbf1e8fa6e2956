//! What is remembered of nodes between their blocks, so that the ledger need not be asked again. It holds as long as
//! the node's version does: whoever changes anything of a node changes that, and a block that was planned on another
//! version is not taken (`meter.take`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tenantry_model::window::WindowWidth;
use tenantry_model::{BootId, NodeName};

use crate::ingest::{Before, Facts, Runs, Wanted};
use crate::{PublicKey, SentBlock};

/// Running jobs that are remembered, of all nodes together.
const MOST_JOBS: usize = 1_000_000;

/// What the ledger has of a node.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// When that was: it grows with each acknowledgement.
    pub version: i64,
    pub keys: Vec<PublicKey>,
    /// Those that run.
    pub jobs: Runs,
    /// What of `jobs` is written down.
    pub written: Option<Written>,
    /// The boot of its latest block, and that boot's last one; `None` where that is not known.
    pub last: Option<(BootId, Before)>,
    /// The last one of the boot of the block that was asked about, where that block comes late, before it.
    pub ahead: Option<u64>,
}

/// The state in `node_running`: what comes after it is read from the blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub boot_id: BootId,
    /// Its last block that is in the state.
    pub sequence: u64,
    /// Of runs that begin after it.
    pub width: WindowWidth,
}

impl Node {
    /// The facts for a block, where they follow from what is remembered: one of the same boot, after the last, that
    /// speaks of no other boot. That its new runs have no record, `meter.take` makes sure. The jobs are among the facts.
    pub fn facts(mut self, sent: &SentBlock, wanted: &Wanted<'_>) -> Option<(Self, Facts)> {
        let (boot_id, last) = self.last.as_ref()?;
        let follows = *boot_id == sent.key().boot_id && sent.key().sequence > last.sequence;
        if !follows || !wanted.boots.is_empty() || !wanted.ended.is_empty() {
            return None;
        }
        let before = Some(*last);
        let runs = std::mem::take(&mut self.jobs);
        let facts = Facts { keys: self.keys.clone(), before, runs, ..Facts::default() };
        Some((self, facts))
    }
}

/// The nodes that sent something lately.
///
/// # Invariants
/// No more than [`MOST_JOBS`] running jobs and one more for each node, but for those of one node. Held by
/// [`Nodes::keep`], and the test `those_that_were_not_heard_of_for_longest_are_forgotten`.
#[derive(Debug)]
pub(super) struct Nodes {
    most: usize,
    kept: Mutex<Kept>,
}

/// Those since a moment, and those of before: these go when the younger ones are half of what there may be.
#[derive(Debug, Default)]
struct Kept {
    young: HashMap<NodeName, (u64, Node)>,
    old: HashMap<NodeName, (u64, Node)>,
    /// What the young ones count for.
    young_jobs: usize,
}

fn jobs(node: &Node) -> usize {
    node.jobs.len().saturating_add(1)
}

impl Default for Nodes {
    fn default() -> Self {
        Self { most: MOST_JOBS, kept: Mutex::default() }
    }
}

impl Nodes {
    /// What is remembered of a node, as the primary with this number has it. It is not remembered any more until it
    /// is given back: a block whose fate is not known leaves nothing behind.
    pub fn take(&self, primary: u64, name: &NodeName) -> Option<Node> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let young = kept.young.remove(name);
        if let Some((_, node)) = &young {
            kept.young_jobs = kept.young_jobs.saturating_sub(jobs(node));
        }
        let (of, node) = young.or_else(|| kept.old.remove(name))?;
        (of == primary).then_some(node)
    }

    /// Remembers a node after a commit that was confirmed.
    pub fn keep(&self, primary: u64, name: NodeName, node: Node) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.old.remove(&name);
        kept.young_jobs = kept.young_jobs.saturating_add(jobs(&node));
        if let Some((_, before)) = kept.young.insert(name, (primary, node)) {
            kept.young_jobs = kept.young_jobs.saturating_sub(jobs(&before));
        }
        let mut gone = HashMap::new();
        if kept.young_jobs > self.most.saturating_div(2) {
            let young = std::mem::take(&mut kept.young);
            gone = std::mem::replace(&mut kept.old, young);
            kept.young_jobs = 0;
        }
        drop(kept);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_not_heard_of_for_longest_are_forgotten() {
        let nodes = Nodes { most: 8, kept: Mutex::default() };
        let name = |number: u32| -> NodeName { format!("n{number}").parse().unwrap() };
        for number in 0..100 {
            nodes.keep(1, name(number), Node::default());
            // One that is heard of again and again stays.
            let known = nodes.take(1, &name(0)).expect("it is in use");
            nodes.keep(1, name(0), known);
            let kept = nodes.kept.lock().unwrap();
            assert!(kept.young.len() + kept.old.len() <= 9, "{}", kept.young.len() + kept.old.len());
        }
        assert!(nodes.take(1, &name(50)).is_none());
        assert!(nodes.take(1, &name(99)).is_some());
        assert!(nodes.take(1, &name(99)).is_none(), "whoever takes it has it alone");
        assert!(nodes.take(2, &name(0)).is_none(), "another primary may have another past");
    }
}
