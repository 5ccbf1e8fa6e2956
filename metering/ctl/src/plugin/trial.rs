//! Whether Slurm can load a build, found out where it harms nothing: in processes of their own, with a slurm.conf of
//! their own, before any plugstack.conf names it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a process may take that loads it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What srun's help has of a plugin that it loaded and initialised.
const OPTION: &str = "--tenant=";

/// What ld.so says of a file that it leaves out.
const LEFT_OUT: &str = "cannot be preloaded";

/// Loads it as Slurm does. `Err`: what was said.
pub async fn run(build: &Path, slurmd: &Path) -> Result<(), String> {
    // The dynamic linker loads it into slurmd, with every symbol bound; slurmd prints its version.
    let mut version = Command::new(slurmd);
    version.arg("-V").env("LD_PRELOAD", build).env("LD_BIND_NOW", "1");
    match said("slurmd", version).await? {
        Some(said) if !said.ok || said.err.contains(LEFT_OUT) => return Err(said.err),
        // A machine where jobs are only submitted has no slurmd.
        Some(_) | None => {}
    }
    let dir = Folder::make().map_err(|error| format!("no folder for the trial: {error}"))?;
    dir.fill(build).map_err(|error| format!("{}: {error}", dir.0.display()))?;
    // Slurm's own check of the version, its dlopen, and the plugin's first hook.
    let mut help = Command::new("srun");
    help.arg("--help").env("SLURM_CONF", dir.0.join("slurm.conf"));
    match said("srun", help).await? {
        Some(said) if !said.ok => Err(said.err),
        Some(said) if !said.out.contains(OPTION) => Err(format!("srun's help lacks {OPTION}")),
        // A node may lack srun.
        Some(_) | None => Ok(()),
    }
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

/// What a process printed; `None` where there is no such program.
async fn said(program: &str, mut command: Command) -> Result<Option<Said>, String> {
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => Err(format!("{program} gave no answer in {} s", PATIENCE.as_secs())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Ok(Ok(done)) => {
            let err = String::from_utf8_lossy(&done.stderr);
            let line = err.lines().next().map_or_else(|| done.status.to_string(), str::to_owned);
            Ok(Some(Said {
                ok: done.status.success(),
                out: String::from_utf8_lossy(&done.stdout).into_owned(),
                err: format!("{program}: {line}"),
            }))
        }
    }
}

/// The trial's slurm.conf and plugstack.conf, root's alone, in memory: a full disk keeps no trial from being made.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        let dir = PathBuf::from(format!("/run/tenantry-trial-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self(dir))
    }

    fn fill(&self, build: &Path) -> io::Result<()> {
        let stack = self.0.join("plugstack.conf");
        fs::write(&stack, format!("required {}\n", build.display()))?;
        let conf =
            format!("ClusterName=trial\nSlurmctldHost=localhost\nPlugStackConfig={}\n", stack.display());
        fs::write(self.0.join("slurm.conf"), conf)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from /run is gone with the next boot.
        let _ = fs::remove_dir_all(&self.0);
    }
}
