//! What the prolog knows of a job, from the signed credential only.

use std::ffi::OsString;

use tenantry_model::ids::Sluid;
use tenantry_model::{AccountName, ClusterName, JobId, NodeName};

/// The job as slurmd describes it in the prolog's own environment. slurmd sets these after
/// anything a user could have put there, from the credential that slurmctld signed. Only
/// `requested` is the user's.
///
/// The account stays as Slurm gave it: whether it is acceptable is [`crate::placement`]'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `S_JOB_ID`.
    pub job_id: JobId,
    /// `S_JOB_UID`.
    pub uid: u32,
    /// `S_JOB_GID`.
    pub gid: u32,
    /// `SLURMD_NODENAME`.
    pub node: NodeName,
    /// `SLURM_CLUSTER_NAME`.
    pub cluster: Option<ClusterName>,
    /// `SLURM_JOB_ACCOUNT`.
    pub account: Option<String>,
    /// `SLURM_JOB_USER`.
    pub user: Option<String>,
    /// `SLURM_JOB_PARTITION`.
    pub partition: Option<String>,
    /// `SLURM_JOB_RESTART_COUNT`, or its older name.
    pub restart_count: Option<u32>,
    /// `SLURM_JOB_SLUID`.
    pub sluid: Option<Sluid>,
    /// `SLURM_JOB_CPUS_PER_NODE`, where all nodes have the same.
    pub cpus: Option<u32>,
    /// `SLURM_JOB_GPUS`: places in the node's GRES, in the order of its gres.conf.
    pub gpus: Vec<u32>,
    /// `--tenant`: the user's wish, and no more than that.
    pub requested: Option<String>,
}

/// A fact without which no job can be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slurmd gave the prolog no usable {0}; Tenantry needs Slurm 22.05 or later")]
pub struct MissingFact(&'static str);

impl Facts {
    /// From the ids SPANK gives, the user's `--tenant`, and the prolog's environment.
    ///
    /// # Errors
    /// Where the node's name is missing.
    pub fn new(
        job_id: u32,
        uid: u32,
        gid: u32,
        requested: Option<OsString>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, MissingFact> {
        let text = |name: &str| {
            var(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
        };
        let node = text("SLURMD_NODENAME")
            .and_then(|name| name.parse().ok())
            .ok_or(MissingFact("SLURMD_NODENAME"))?;
        Ok(Self {
            job_id: JobId(job_id),
            uid,
            gid,
            node,
            cluster: text("SLURM_CLUSTER_NAME").and_then(|name| name.parse().ok()),
            // Not UTF-8 is not absent: it must be refused as an odd name, not taken for "no account".
            account: var("SLURM_JOB_ACCOUNT").map(|name| name.to_string_lossy().into_owned()),
            user: text("SLURM_JOB_USER"),
            partition: text("SLURM_JOB_PARTITION"),
            restart_count: text("SLURM_JOB_RESTART_COUNT")
                .or_else(|| text("SLURM_RESTART_COUNT"))
                .and_then(|count| count.parse().ok()),
            sluid: text("SLURM_JOB_SLUID").and_then(|sluid| sluid.parse().ok()),
            cpus: text("SLURM_JOB_CPUS_PER_NODE").as_deref().and_then(cpus_on_every_node),
            gpus: text("SLURM_JOB_GPUS").as_deref().and_then(gres_places).unwrap_or_default(),
            requested: requested.map(|name| name.to_string_lossy().into_owned()),
        })
    }

    /// The account, if it is a name this system accepts.
    #[must_use]
    pub fn accepted_account(&self) -> Option<AccountName> {
        self.account.as_ref()?.parse().ok()
    }
}

/// `2` and `2(x3)` are 2 on every node; `2,4(x2)` needs to know which node this is.
fn cpus_on_every_node(text: &str) -> Option<u32> {
    let count = match text.split_once('(') {
        None => text,
        Some((count, repeated)) => {
            repeated.strip_prefix('x')?.strip_suffix(')')?.parse::<u32>().ok()?;
            count
        }
    };
    count.parse().ok()
}

/// `0,3`. What is not such a list is not known at all: half a list would be a wrong one.
fn gres_places(text: &str) -> Option<Vec<u32>> {
    let mut places = text.split(',').map(|place| place.parse().ok()).collect::<Option<Vec<u32>>>()?;
    places.sort_unstable();
    places.dedup();
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(vars: &[(&str, &str)]) -> Result<Facts, MissingFact> {
        Facts::new(7, 2001, 2001, None, |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn facts_come_from_the_prologs_environment() {
        let facts = facts(&[
            ("SLURMD_NODENAME", "n1"),
            ("SLURM_JOB_ACCOUNT", "acme"),
            ("SLURM_JOB_CPUS_PER_NODE", "2(x3)"),
            ("SLURM_RESTART_COUNT", "1"),
            ("SLURM_JOB_GPUS", "3,0"),
        ])
        .unwrap();
        assert_eq!(facts.accepted_account().unwrap().as_str(), "acme");
        assert_eq!((facts.cpus, facts.restart_count), (Some(2), Some(1)));
        assert_eq!((facts.user, facts.cluster), (None, None));
        assert_eq!(facts.gpus, [0, 3]);
    }

    #[test]
    fn no_node_name_is_an_error() {
        assert_eq!(facts(&[("SLURMD_NODENAME", "../x")]), Err(MissingFact("SLURMD_NODENAME")));
        assert!(facts(&[]).is_err());
    }

    #[test]
    fn a_list_of_gpus_is_known_whole_or_not_at_all() {
        assert_eq!(gres_places("0"), Some(vec![0]));
        for text in ["", "0,", "0,x", "-1", "NoDevFiles", "0-3"] {
            assert_eq!(gres_places(text), None, "{text:?}");
        }
    }

    #[test]
    fn cpus_are_absent_where_nodes_differ() {
        assert_eq!(cpus_on_every_node("4"), Some(4));
        assert_eq!(cpus_on_every_node("72(x2)"), Some(72));
        for text in ["2,4", "2(x2),4", "2(x", "x", ""] {
            assert_eq!(cpus_on_every_node(text), None, "{text:?}");
        }
    }
}
