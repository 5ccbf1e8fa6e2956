//! `Prolog=` of a site with `PrologFlags=RunInJob`, where slurmd calls no SPANK prolog: the same
//! facts, from the same signed environment, for a job whose extern step is running already.

use std::env;

use anyhow::{Context, Result};
use tenantry_isolation::place::{self, Prolog};
use tenantry_isolation::{Error, Facts};

use crate::say;

/// Puts the job of this environment under its tenant.
///
/// # Errors
/// Only where the site wants the node drained; Slurm drains it for the exit code.
pub fn run() -> Result<()> {
    let facts = facts().map_err(|error| Error::Unidentified(format!("{error:#}")));
    Ok(place::begin(facts, Prolog::InTheJob, say)?)
}

fn facts() -> Result<Facts> {
    let number = |name: &str| -> Result<u32> {
        let text =
            env::var(name).with_context(|| format!("{name} is not set: run this as Slurm's Prolog"))?;
        text.parse().with_context(|| format!("{name}={text}"))
    };
    let (job_id, uid, gid) = (number("SLURM_JOB_ID")?, number("SLURM_JOB_UID")?, number("SLURM_JOB_GID")?);
    // What srun --tenant leaves for a prolog; as there, the user's wish only.
    let requested = env::var_os("SPANK__SLURM_SPANK_OPTION_tenantry_tenant");
    Ok(Facts::new(job_id, uid, gid, requested, |name| env::var_os(name))?)
}
