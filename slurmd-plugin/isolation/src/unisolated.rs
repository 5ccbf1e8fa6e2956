//! A job whose steps Slurm starts outside the group that was made for it, as `proctrack/linuxproc`
//! does: its prolog could not know. Where the site chose `isolation_failure = "run-unisolated"`, it is
//! registered as what it is, and runs.

use tenantry_cgroup::{GroupPath, graft};
use tenantry_model::JobId;
use tenantry_model::job::{Placement, Registration};
use tenantry_model::tenants::{self, IsolationFailure};

use crate::{Error, Site, close, place, processes};

/// Whether a job runs unisolated, because its first step begins in `own` and not in its leaf. Then
/// its registration says so: its end is a gap in the bill, and never exact.
///
/// It stays as registered, and so refused, where the site chose anything else, and where Slurm has used
/// its leaf: then a step outside of it is one that got lost, as where a mount was taken off.
///
/// # Errors
/// Where the records or the leaf cannot be read, or the registration cannot be written.
pub fn run(site: &Site, scope: &GroupPath, job: JobId, own: &GroupPath) -> Result<bool, Error> {
    let policy = tenants::in_force(&site.paths).map(|(tenants, _)| tenants.policy()).unwrap_or_default();
    let records = site.paths.job(scope.as_path(), job);
    if policy.isolation_failure != IsolationFailure::RunUnisolated {
        return Ok(false);
    }
    let Some((_lock, registration)) = close::locked_registration(&records)? else { return Ok(false) };
    let (tenant, leaf) = match &registration.placement {
        Placement::Grafted { tenant, leaf, .. } => (tenant.clone(), GroupPath::new(leaf)?),
        // Another step of the job was first.
        Placement::Unisolated { .. } => return Ok(true),
        Placement::Refused { .. } => return Ok(false),
    };
    if was_used(site, &leaf)? {
        return Ok(false);
    }
    let reason = format!("Slurm starts its steps in {own}, outside {leaf}");
    site.error(&format!("job {job}: {reason}; the job runs UNISOLATED, as isolation_failure says"));
    let placement = Placement::Unisolated { tenant: Some(tenant), reason };
    place::write(&records, &Registration { placement, ..registration })?;
    Ok(true)
}

/// Whether Slurm has made a group in the leaf, or had a process there. One that is gone was lost, and
/// not unused.
fn was_used(site: &Site, leaf: &GroupPath) -> Result<bool, Error> {
    let sentinel = leaf.child(graft::SENTINEL)?;
    Ok(site.root.children(leaf)? != [sentinel] || processes::were_in(&site.root, leaf, site.clock)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use tempfile::TempDir;
    use tenantry_cgroup::Root;
    use tenantry_model::job::{Incarnation, JobRecords, Paths, Quality};
    use tenantry_model::{BootId, SystemClock};

    const SCOPE: &str = "system.slice/n1_slurmstepd.scope";
    const LEAF: &str = "system.slice/n1_slurmstepd.scope/tenant_acme/job_7";

    struct Node {
        dir: TempDir,
        site: Site,
    }

    /// A node where job 7 has its leaf, and the site this policy.
    fn node(policy: &str) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let paths = Paths { run: path("run"), state: path("state"), etc: path("etc") };
        for made in [&paths.etc, &paths.state, &path("cgroup").join(LEAF).join(graft::SENTINEL)] {
            fs::create_dir_all(made).unwrap();
        }
        let file = format!("[policy]\nisolation_failure = '{policy}'\n[tenants.acme]\naccounts = ['acme']\n");
        fs::write(paths.etc.join("tenants.toml"), file).unwrap();
        let leaf = path("cgroup").join(LEAF);
        fs::write(leaf.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        fs::write(leaf.join("cpu.stat"), "usage_usec 0\nuser_usec 0\nsystem_usec 0\n").unwrap();
        let root = Root::open_fake(&path("cgroup")).unwrap();
        let site = Site { paths, root, clock: &SystemClock, say: |_, _| {} };
        let records = records(&site);
        fs::create_dir_all(&records.dir).unwrap();
        let began = site.now().unwrap();
        let registration = Registration {
            incarnation: Incarnation {
                cluster: None,
                node: "n1".parse().unwrap(),
                boot_id: BootId::current().unwrap(),
                job_id: JobId(7),
                began: began.wall,
            },
            restart_count: None,
            sluid: None,
            // Root's: nothing is swept up.
            uid: 0,
            gid: 0,
            user: None,
            account: "acme".parse().ok(),
            partition: None,
            allocated_cpus: Some(1),
            allocated_gpus: Vec::new(),
            scope: SCOPE.into(),
            began,
            placement: Placement::Grafted {
                tenant: "acme".parse().unwrap(),
                leaf: LEAF.into(),
                mounts: Vec::new(),
            },
        };
        place::write(&records, &registration).unwrap();
        Node { dir, site }
    }

    fn records(site: &Site) -> JobRecords {
        site.paths.job(SCOPE.as_ref(), JobId(7))
    }

    fn asked(node: &Node) -> (bool, Placement) {
        let group = |path| GroupPath::new(path).unwrap();
        let runs =
            run(&node.site, &group(SCOPE), JobId(7), &group("system.slice/n1_slurmstepd.scope/system"));
        (runs.unwrap(), close::registration(&records(&node.site)).unwrap().unwrap().placement)
    }

    #[test]
    fn a_job_outside_its_group_runs_only_where_the_site_chose_that() {
        for policy in ["fail-job", "drain-node"] {
            let (runs, placement) = asked(&node(policy));
            assert!(!runs && matches!(placement, Placement::Grafted { .. }), "{policy}: {placement:?}");
        }
        let node = node("run-unisolated");
        for _ in ["its first step", "its second step"] {
            let (runs, placement) = asked(&node);
            let Placement::Unisolated { tenant, reason } = placement else { panic!("{placement:?}") };
            assert!(runs && tenant.unwrap().to_string() == "acme" && reason.contains("outside"), "{reason}");
        }
    }

    #[test]
    fn a_job_that_has_used_its_group_is_not_let_out_of_it() {
        for (file, text) in
            [("cpu.stat", "usage_usec 1\n"), ("cgroup.events", "populated 1\nfrozen 0\n"), ("step_0/x", "")]
        {
            let node = node("run-unisolated");
            let file = node.dir.path().join("cgroup").join(LEAF).join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            let (runs, placement) = asked(&node);
            assert!(!runs && matches!(placement, Placement::Grafted { .. }), "{file:?}: {placement:?}");
        }
    }

    #[test]
    fn its_end_is_a_gap() {
        let node = node("run-unisolated");
        asked(&node);
        let registration = close::registration(&records(&node.site)).unwrap().unwrap();
        close::registered(&node.site, &records(&node.site), registration).unwrap();
        let outbox = fs::read_dir(node.site.paths.state.join("outbox")).unwrap();
        let files: Vec<_> = outbox.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert_eq!(files.len(), 1);
        let end: serde_json::Value = serde_json::from_slice(&files[0]).unwrap();
        assert_eq!(end["quality"], serde_json::to_value(Quality::Gap).unwrap());
        assert!(end["reading"].is_null(), "{end}");
    }
}
