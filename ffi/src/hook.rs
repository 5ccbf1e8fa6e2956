//! What a plugin is: its hooks, and what becomes of the job and the node when one of them fails.

use std::error::Error;
use std::ffi::CStr;
use std::fmt;

use crate::context::{ExitedTask, ForkedTask, JobScript, Launch, Slurmd, Step, Submit, Task, UserStep};
use crate::option::PluginOption;

/// What a hook answers. `Err` makes the C function return a negative number, which Slurm
/// counts as a failure (up to 24.11 most of its callers only test for less than zero, from 25.05 on for not zero).
pub type Outcome = Result<(), Failure>;

/// Why a hook failed. The boundary writes the text to Slurm's log, with the plugin's and the hook's name.
///
/// Made from a text, or by `?` from any error, whose causes are added after colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
}

impl Failure {
    /// A failure with this text. It should say what happened, to what, and what to do next.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self { message }
    }
}

/// What Slurm is told after a hook has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// The hook failed: the failure table of the hook applies.
    Fail,
    /// The hook succeeded: Slurm goes on, and only the log knows.
    Ignore,
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $hook:ident = $name:literal,)+) => {
        /// The hooks of [`Plugin`], and the option callbacks, one by one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Hook { $($(#[$doc])* $hook,)+ }

        impl Hook {
            /// The name, as in [`Plugin`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$hook => $name,)+ }
            }
        }
    };
}

hooks! {
    /// [`Plugin::slurmd_init`]
    SlurmdInit = "slurmd_init",
    /// [`Plugin::slurmd_exit`]
    SlurmdExit = "slurmd_exit",
    /// [`Plugin::job_prolog`]
    JobProlog = "job_prolog",
    /// [`Plugin::job_epilog`]
    JobEpilog = "job_epilog",
    /// [`Plugin::step_init`]
    StepInit = "step_init",
    /// [`Plugin::step_init_post_opt`]
    StepInitPostOpt = "step_init_post_opt",
    /// [`Plugin::user_init`]
    UserInit = "user_init",
    /// [`Plugin::task_init_privileged`]
    TaskInitPrivileged = "task_init_privileged",
    /// [`Plugin::task_init`]
    TaskInit = "task_init",
    /// [`Plugin::task_post_fork`]
    TaskPostFork = "task_post_fork",
    /// [`Plugin::task_exit`]
    TaskExit = "task_exit",
    /// [`Plugin::step_exit`]
    StepExit = "step_exit",
    /// [`Plugin::submit_init`]
    SubmitInit = "submit_init",
    /// [`Plugin::submit_init_post_opt`]
    SubmitInitPostOpt = "submit_init_post_opt",
    /// [`Plugin::local_user_init`]
    LocalUserInit = "local_user_init",
    /// [`Plugin::submit_exit`]
    SubmitExit = "submit_exit",
    /// [`PluginOption::callback`] in srun, sbatch, salloc
    SubmitOption = "option callback (submit)",
    /// [`PluginOption::callback`] in slurmstepd
    StepOption = "option callback (step)",
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SPANK plugin. [`export!`](crate::export) turns an implementation into the symbols that Slurm looks for.
///
/// Every hook has a default that does nothing. A hook that is written but not listed in `export!` never runs.
///
/// # Failure
///
/// A line `optional` in `plugstack.conf` makes Slurm ignore every failure below. With `required` a failure
/// also keeps the plugins after this one from being called. What else happens stands at each hook, as read in
/// Slurm's source for 24.11 and 26.05. A hook that panics is answered as [`on_panic`](Plugin::on_panic) says.
pub trait Plugin {
    /// The plugin's name: Slurm puts it into the names of option variables, and this crate in front of each
    /// line of log.
    const NAME: &'static CStr;

    /// The options that `--help` of srun, sbatch and salloc shows and that they take.
    ///
    /// They are registered before [`submit_init`](Plugin::submit_init) and [`step_init`](Plugin::step_init), so
    /// `init` must be among the exported hooks. One that Slurm refuses is logged and left out.
    const OPTIONS: &'static [PluginOption] = &[];

    /// What Slurm is told after `hook` has panicked. There is no default: [`OnPanic::Fail`] in
    /// [`job_prolog`](Plugin::job_prolog) drains a node, [`OnPanic::Ignore`] in
    /// [`task_init_privileged`](Plugin::task_init_privileged) may start a task that should not run.
    fn on_panic(hook: Hook) -> OnPanic;

    /// slurmd has started. Root, in slurmd, once per start.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | **slurmd does not start** |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn slurmd_init(slurmd: &Slurmd<'_>) -> Outcome {
        let _ = slurmd;
        Ok(())
    }

    /// slurmd ends. Root, in slurmd.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | ignored |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn slurmd_exit(slurmd: &Slurmd<'_>) -> Outcome {
        let _ = slurmd;
        Ok(())
    }

    /// The job's first moment on this node, before any slurmstepd of it exists. Root, in
    /// `slurmstepd spank prolog`, a process of its own. Not called with `PrologFlags=RunInJob`.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | **the node is drained**, and the job is requeued, held or killed as for any failed prolog |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn job_prolog(job: &JobScript<'_>) -> Outcome {
        let _ = job;
        Ok(())
    }

    /// The job's last moment on this node, after its last slurmstepd has gone. Root, in
    /// `slurmstepd spank epilog`, a process of its own. Not called with `PrologFlags=RunInJob`.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | **the node is drained**; the job is over in any case |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn job_epilog(job: &JobScript<'_>) -> Outcome {
        let _ = job;
        Ok(())
    }

    /// A slurmstepd has started: once per step on each node, the batch and the extern step too. Root, after
    /// Slurm made the step's cgroup directories and before it wrote limits. Options are not read yet.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required`, batch step | the job fails and **the node is drained** ("batch job complete failure"); from 25.05 not with `init_failure = job` in [`export!`](crate::export) |
    /// | `required`, other step | the step fails |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn step_init(step: &Step<'_>) -> Outcome {
        let _ = step;
        Ok(())
    }

    /// Like [`step_init`](Plugin::step_init), directly after it, with every option's callback called.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | as [`step_init`](Plugin::step_init), but `init_failure` does not apply |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn step_init_post_opt(step: &Step<'_>) -> Outcome {
        let _ = step;
        Ok(())
    }

    /// Slurm has taken on the job's identity. Effective user: the job's; not in the extern step.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | no task is started: the step fails, with the batch step the job; slurmd reports `ESLURMD_EXECVE_FAILED`, for which slurmctld **may drain the node** of a batch step |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn user_init(step: &UserStep<'_>) -> Outcome {
        let _ = step;
        Ok(())
    }

    /// In the process that will be a task, as root, after the fork and before the exec. slurmstepd has other
    /// threads: take no lock that they may hold, and allocate little. Not in the extern step.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | this task ends without its program having run, so the step fails; the node stays |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn task_init_privileged(task: &Task<'_>) -> Outcome {
        let _ = task;
        Ok(())
    }

    /// Like [`task_init_privileged`](Plugin::task_init_privileged), later, as the job's user and in the task's
    /// own cgroup.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | this task ends with status 1 without its program having run, so the step fails; the node stays |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn task_init(task: &Task<'_>) -> Outcome {
        let _ = task;
        Ok(())
    }

    /// In slurmstepd, as root, for each task that it has forked; the task waits. In the extern step once,
    /// without a task.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | the step fails and its tasks are killed |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn task_post_fork(task: &ForkedTask<'_>) -> Outcome {
        let _ = task;
        Ok(())
    }

    /// In slurmstepd, as root, for each task that has ended. Not in the extern step.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | a line in slurmd's log |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn task_exit(task: &ExitedTask<'_>) -> Outcome {
        let _ = task;
        Ok(())
    }

    /// The step is over. Root, in slurmstepd, **before** Slurm removes the step's cgroup directories.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | a line in slurmd's log |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn step_exit(step: &Step<'_>) -> Outcome {
        let _ = step;
        Ok(())
    }

    /// srun, sbatch, salloc, scrontab or scrun has started, as the user, on any host that may submit. There is
    /// no job yet.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | **the command ends**: nobody can submit |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn submit_init(submit: &Submit<'_>) -> Outcome {
        let _ = submit;
        Ok(())
    }

    /// Like [`submit_init`](Plugin::submit_init), with every option's callback called.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | the command ends |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn submit_init_post_opt(submit: &Submit<'_>) -> Outcome {
        let _ = submit;
        Ok(())
    }

    /// srun has its allocation and is about to launch, as the user. Only srun.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | srun gives the step up and ends |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn local_user_init(launch: &Launch<'_>) -> Outcome {
        let _ = launch;
        Ok(())
    }

    /// srun, sbatch or salloc ends, as the user.
    ///
    /// | fails | then |
    /// |---|---|
    /// | `required` | ignored |
    ///
    /// # Errors
    ///
    /// Whatever the plugin decides to fail for.
    fn submit_exit(submit: &Submit<'_>) -> Outcome {
        let _ = submit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use std::{error, fmt, io};

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("could not read the tenants file")
        }
    }

    impl error::Error for Outer {
        fn source(&self) -> Option<&(dyn error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_made_by_the_question_mark_names_its_causes_once() {
        let error = Outer(io::Error::other("no such thing"));
        assert_eq!(Failure::from(error).to_string(), "could not read the tenants file: no such thing");
    }
}
