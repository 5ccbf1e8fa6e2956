//! What there is to choose from. All that is read or run, but the trial, is read or run here.

use std::fs;
use std::path::Path;

use tenantry_model::job::Paths;
use tenantry_model::tenants::Tenants;

use super::choice::{Build, Found};
use super::trial;
use crate::doctor::elf::{SlurmVersion, plugin_version};
use crate::doctor::machine::{Machine, Seen};

/// Looks, and tries the build that would be loaded.
pub async fn found(slurmd: &Path, builds: &Path, is_on: bool) -> Found {
    let machine = Machine::here();
    let slurm = slurm(&machine, slurmd).await;
    let name = slurm.as_ref().map_or_else(|_| "none".to_owned(), SlurmVersion::to_string);
    let build = builds.join(format!("spank_tenantry-{name}.so"));
    let file = match machine.bytes(&build) {
        Seen::Is(bytes) => plugin_version(&bytes).map_or(Build::NoPlugin, Build::For),
        Seen::Absent | Seen::Unseen(_) => Build::Missing,
    };
    let trial = match file {
        Build::For(version) if slurm.as_ref() == Ok(&version) => trial::run(&build, slurmd).await,
        Build::For(_) | Build::NoPlugin | Build::Missing => Ok(()),
    };
    let tenants = Tenants::load(&Paths::default().etc)
        .map(|tenants| tenants.iter().count())
        .map_err(|error| error.to_string());
    Found { slurm, build, file, trial, tenants, is_on, steps: steps() }
}

/// slurmd's version, or srun's on a machine where jobs are only submitted.
async fn slurm(machine: &Machine, slurmd: &Path) -> Result<SlurmVersion, String> {
    let slurmd = slurmd.to_string_lossy();
    let said = match machine.run(&slurmd, &["-V"], &[]).await {
        Seen::Absent => machine.run("srun", &["-V"], &[]).await,
        said => said,
    };
    match said {
        Seen::Is(text) => {
            SlurmVersion::parse(&text).ok_or_else(|| format!("{slurmd} -V says {:?}", text.trim()))
        }
        Seen::Absent => Err(format!("there is no {slurmd} and no srun")),
        Seen::Unseen(reason) => Err(reason),
    }
}

/// Steps of jobs that run here: processes of root's that name themselves `slurmstepd: [JOB.STEP]`.
fn steps() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_step = |dir: &Path| {
        let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().next());
        uid == Some("0") && fs::read(dir.join("cmdline")).is_ok_and(|name| name.starts_with(b"slurmstepd: ["))
    };
    entries.filter(|entry| is_step(&entry.path())).count()
}

/// The jobs that are registered on this node, in order.
pub fn jobs_here() -> Vec<String> {
    let scopes = fs::read_dir(Paths::default().jobs()).into_iter().flatten().flatten();
    let jobs = scopes.flat_map(|scope| fs::read_dir(scope.path()).into_iter().flatten().flatten());
    let registered = jobs.filter(|job| job.path().join("registration.json").exists());
    let mut names: Vec<_> = registered.map(|job| job.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
