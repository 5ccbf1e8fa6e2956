//! Reads the groups of the registered jobs and of their tenants, with descriptors kept open.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use std::path::Path;
use std::sync::Arc;

use tenantry_cgroup::bpf::{Counters, PINS};
use tenantry_cgroup::{GroupPath, GroupReader, Result, Root, tenant};
use tenantry_model::block::Subject;
use tenantry_model::job::{Placement, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::{Clock, NodeName, TenantPath};

use crate::describe;

/// Keeps a reader for each group from round to round.
pub struct Sampler {
    root: Root,
    clock: Box<dyn Clock>,
    readers: BTreeMap<GroupPath, GroupReader>,
    traffic: Option<Arc<Counters>>,
}

impl Sampler {
    /// A sampler of the groups below a root.
    #[must_use]
    pub fn new(root: Root, clock: Box<dyn Clock>) -> Self {
        Self { root, clock, readers: BTreeMap::new(), traffic: None }
    }

    /// Reads every job's group once, and every group of the tenants they are in. A group that is
    /// gone by now has no entry: the job's end is in the outbox.
    pub fn round<'r>(&mut self, jobs: impl IntoIterator<Item = &'r Registration>) -> Vec<(Subject, Reading)> {
        if self.traffic.is_none() {
            // Pinned by the first job's prolog; a group that was opened before goes without until it is new.
            self.traffic = Counters::open(PINS.as_ref()).ok().map(Arc::new);
        }
        let mut entries = Vec::new();
        let mut tenants: BTreeMap<GroupPath, (NodeName, TenantPath)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for registration in jobs {
            let Placement::Grafted { tenant: path, leaf, .. } = &registration.placement else { continue };
            let (Ok(leaf), Ok(scope)) = (GroupPath::new(leaf), GroupPath::new(&registration.scope)) else {
                tracing::error!(job = %registration.incarnation.job_id, "a registration names no group");
                continue;
            };
            if let Some(reading) = self.read(&leaf) {
                entries.push((Subject::Job(registration.incarnation.clone()), reading));
            }
            seen.insert(leaf);
            for level in path.lineage() {
                if let Ok(group) = tenant::group(&scope, &level) {
                    tenants.insert(group, (registration.incarnation.node.clone(), level));
                }
            }
        }
        for (group, (node, tenant)) in tenants {
            if let Some(reading) = self.read(&group) {
                entries.push((Subject::Tenant { node, tenant }, reading));
            }
            seen.insert(group);
        }
        self.readers.retain(|group, _| seen.contains(group));
        entries
    }

    /// Whether the kernel says that a group is not there. One that cannot be read may be.
    #[must_use]
    pub fn is_gone(&self, group: &Path) -> bool {
        GroupPath::new(group).and_then(|group| self.root.exists(&group)).is_ok_and(|exists| !exists)
    }

    fn read(&mut self, group: &GroupPath) -> Option<Reading> {
        match self.try_read(group) {
            // A group that is there has a cpu.stat; one that is gone has nothing.
            Ok(reading) => reading.cpu_usage().is_some().then_some(reading),
            Err(error) => {
                tracing::error!(%group, "{}", describe(&error));
                None
            }
        }
    }

    fn try_read(&mut self, group: &GroupPath) -> Result<Reading> {
        let reader = match self.readers.entry(group.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(GroupReader::open_with(&self.root, group, self.traffic.clone())?)
            }
        };
        reader.read(&*self.clock)
    }
}
