//! A job whose group Slurm calls by another name than its prolog knew: Slurm was upgraded while it ran, as from 24.11, which
//! names it by the job's id, to 26.05, which names it by the SLUID.

use tenantry_cgroup::GroupPath;
use tenantry_model::job::Placement;
use tenantry_model::{JobId, ids::Sluid};

use crate::{Error, Site, close, late, place, steps};

/// Moves what stands under the new name into the job's group, and mounts that there; whether `own`, the group of a step
/// that begins, was such a name. It is registered first, so that the job's end undoes it whatever happens in between.
///
/// A name that is registered already is none: a step outside of its group is one that got lost there.
///
/// # Errors
/// Where the records cannot be read or written, or the kernel refuses.
pub fn rejoin(site: &Site, scope: &GroupPath, job: JobId, own: &GroupPath) -> Result<bool, Error> {
    let Some(name) = name(scope, job, own) else { return Ok(false) };
    let records = site.paths.job(scope.as_path(), job);
    let Some((_lock, mut registration)) = close::locked_registration(&records)? else { return Ok(false) };
    let Placement::Grafted { leaf, mounts, .. } = &mut registration.placement else { return Ok(false) };
    if mounts.iter().any(|mount| mount == name.as_path()) {
        return Ok(false);
    }
    mounts.push(name.as_path().to_owned());
    let leaf = GroupPath::new(&*leaf)?;
    place::write(&records, &registration)?;
    late::graft(&site.root, scope, &leaf, std::slice::from_ref(&name))?;
    site.info(&format!("job {job}: Slurm calls its group {name} now, which is {leaf}"));
    Ok(true)
}

/// The group of the step that `own` is in, up to the scope, where Slurm would name it so for this job.
fn name(scope: &GroupPath, job: JobId, own: &GroupPath) -> Option<GroupPath> {
    let group = steps::group_of(own)?.parent()?;
    let text = group.name().to_str()?;
    let is_name = text == format!("job_{job}") || text.parse::<Sluid>().is_ok();
    (is_name && group.parent().as_ref() == Some(scope)).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_jobs_id_or_a_sluid_right_in_the_scope() {
        let scope = GroupPath::new("system.slice/n1_slurmstepd.scope").unwrap();
        let named = |own: &str| {
            name(&scope, JobId(7), &GroupPath::new(own).unwrap()).map(|group| group.name().to_owned())
        };
        let here = "system.slice/n1_slurmstepd.scope";
        assert_eq!(named(&format!("{here}/sFSHM8C6XFT200/step_1/slurm")), Some("sFSHM8C6XFT200".into()));
        assert_eq!(named(&format!("{here}/job_7/step_batch/slurm")), Some("job_7".into()));
        for other in ["system", "job_8/step_0/slurm", "tenant_acme/job_7/step_0/slurm", "job_7/step_0"] {
            assert_eq!(named(&format!("{here}/{other}")), None, "{other}");
        }
        assert_eq!(named("system.slice/n2_slurmstepd.scope/job_7/step_0/slurm"), None);
    }
}
