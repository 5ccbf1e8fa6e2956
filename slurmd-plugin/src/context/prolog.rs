//! `slurmstepd spank prolog`: root, on the node, before the job's first step.

use spank::{JobScript, Outcome};
use tenantry_isolation::place::{self, Prolog};
use tenantry_isolation::{Error, Facts};

use crate::{log, option};

/// The hook. Its failure drains the node, so it fails only where the site chose that.
pub fn run(job: &JobScript<'_>) -> Outcome {
    Ok(place::begin(facts_of(job), Prolog::BeforeTheJob, log::say)?)
}

fn facts_of(job: &JobScript<'_>) -> Result<Facts, Error> {
    let asked =
        || Ok::<_, spank::Error>((job.job_id()?, job.uid()?, job.gid()?, job.option(&option::TENANT)?));
    let (job_id, uid, gid, requested) = asked().map_err(|error| Error::Unidentified(error.to_string()))?;
    Ok(Facts::new(job_id, uid, gid, requested, |name| job.var(name))?)
}
