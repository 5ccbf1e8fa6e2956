//! What Slurm says of this node's jobs, by its own command.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tenantry_isolation::reconcile::Slurm;
use tenantry_model::{JobId, NodeName};

/// squeue(1), asked only about jobs that look over.
pub struct Squeue {
    /// The program.
    pub program: PathBuf,
}

impl Slurm for Squeue {
    fn jobs_on(&self, node: &NodeName) -> Option<BTreeSet<JobId>> {
        let mut squeue = Command::new("timeout");
        squeue.args(["--kill-after=1", "10"]).arg(&self.program).args([
            "--noheader",
            "--format=%A",
            "--nodelist",
        ]);
        let output = squeue.arg(node.to_string()).stdin(Stdio::null()).output();
        let answer = match output {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok(),
            Ok(output) => {
                tracing::debug!(%node, said = %String::from_utf8_lossy(&output.stderr).trim(), "squeue does not answer");
                None
            }
            Err(error) => {
                tracing::debug!(%error, program = %self.program.display(), "cannot run squeue");
                None
            }
        };
        // A line that is no job id: not an answer to conclude from.
        answer?.lines().map(|line| line.trim().parse().ok().map(JobId)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn asked(script: &str) -> Option<BTreeSet<JobId>> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("squeue");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Squeue { program }.jobs_on(&"n1".parse().unwrap())
    }

    #[test]
    fn only_a_whole_answer_is_an_answer() {
        assert_eq!(asked("printf '7\\n12\\n'"), Some([JobId(7), JobId(12)].into()));
        assert_eq!(asked("true"), Some(BTreeSet::new()));
        assert_eq!(asked("echo 7; exit 1"), None);
        assert_eq!(asked("echo slurm_load_jobs error"), None);
    }
}
