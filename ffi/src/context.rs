//! One type per moment at which Slurm calls. A call that Slurm refuses at that moment is not a method there.

use std::env;
use std::ffi::{CStr, OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use crate::error::Error;
use crate::handle::Spank;
use crate::host::host;
use crate::option::{self, PluginOption};
use crate::sys::{self, Item};

type Result<T> = std::result::Result<T, Error>;

macro_rules! context {
    ($(#[$doc:meta])* $name:ident is $base:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'h>(pub(crate) $base<'h>);

        impl<'h> Deref for $name<'h> {
            type Target = $base<'h>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    };
}

context! {
    /// slurmd itself. Slurm gives nothing about jobs here.
    Slurmd is Spank
}

context! {
    /// `slurmstepd spank prolog` and `slurmstepd spank epilog`: a job, and no step.
    JobScript is Spank
}

context! {
    /// A step, in slurmstepd.
    ///
    /// There is no restart count: Slurm has an item for it, which in 22.05, 24.11 and 26.05 nothing ever writes,
    /// so it reads 0. The prolog has `SLURM_JOB_RESTART_COUNT`.
    Step is Spank
}

context! {
    /// A step that has its user's identity and its options.
    UserStep is Step
}

context! {
    /// The process that will be a task, between fork and exec.
    Task is Step
}

context! {
    /// A task that slurmstepd has forked; none in the extern step, where `id` says so.
    ForkedTask is Step
}

context! {
    /// A task that has ended.
    ExitedTask is Step
}

context! {
    /// srun, sbatch, salloc, scrontab or scrun, before there is a job.
    Submit is Spank
}

context! {
    /// srun with an allocation, about to launch a step.
    Launch is Submit
}

/// Which step of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// The script of `sbatch`.
    Batch,
    /// The step that holds what came from outside, such as ssh sessions.
    Extern,
    /// The shell of `salloc` with `LaunchParameters=use_interactive_step`.
    Interactive,
    /// A step of srun, numbered from 0.
    Step(u32),
}

impl StepId {
    /// The highest number that Slurm gives to a step of srun; the few above have meanings of their own.
    const LAST: u32 = 0xffff_fff0;

    fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            sys::SLURM_BATCH_SCRIPT => Some(Self::Batch),
            sys::SLURM_EXTERN_CONT => Some(Self::Extern),
            sys::SLURM_INTERACTIVE_STEP => Some(Self::Interactive),
            number if number <= Self::LAST => Some(Self::Step(number)),
            _ => None,
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("batch"),
            Self::Extern => f.write_str("extern"),
            Self::Interactive => f.write_str("interactive"),
            Self::Step(number) => write!(f, "{number}"),
        }
    }
}

fn step_id(spank: &Spank<'_>) -> Result<StepId> {
    StepId::from_raw(spank.number(sys::S_JOB_STEPID)?).ok_or(Error::Value { item: sys::S_JOB_STEPID.name })
}

/// A number that Slurm leaves out by a value of its own.
fn present(number: u32) -> Option<u32> {
    (number != sys::NO_VAL && number != sys::INFINITE).then_some(number)
}

impl JobScript<'_> {
    /// The job's number.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn job_id(&self) -> Result<u32> {
        self.number(sys::S_JOB_ID)
    }

    /// The job's user.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn uid(&self) -> Result<u32> {
        self.number(sys::S_JOB_UID)
    }

    /// The job's primary group.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn gid(&self) -> Result<u32> {
        self.number(sys::S_JOB_GID)
    }

    /// A variable of this process, as bytes.
    ///
    /// slurmd sets `SLURM_JOB_ACCOUNT`, `SLURM_JOB_PARTITION`, `SLURM_JOB_UID` and their like from the signed
    /// credential, after anything of the user's (22.05 and later). What begins with `SPANK_`, and the texts of
    /// `--comment` and `--extra`, are the user's.
    #[must_use]
    pub fn var(&self, name: impl AsRef<OsStr>) -> Option<OsString> {
        env::var_os(name)
    }

    /// Whether the user gave the option, and its argument: the user's text, unchecked.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not say.
    pub fn option(&self, option: &PluginOption) -> Result<Option<OsString>> {
        option::given(self, option)
    }
}

impl Step<'_> {
    /// The job's number; in a component of a heterogeneous job, that of the component.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn job_id(&self) -> Result<u32> {
        self.number(sys::S_JOB_ID)
    }

    /// Which step this is.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it, or gives an id without a meaning.
    pub fn step_id(&self) -> Result<StepId> {
        step_id(self)
    }

    /// The job's user.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn uid(&self) -> Result<u32> {
        self.number(sys::S_JOB_UID)
    }

    /// The job's primary group.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn gid(&self) -> Result<u32> {
        self.number(sys::S_JOB_GID)
    }

    /// The number of nodes of the step.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn nnodes(&self) -> Result<u32> {
        self.number(sys::S_JOB_NNODES)
    }

    /// This node's position among them, from 0.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn node_id(&self) -> Result<u32> {
        self.number(sys::S_JOB_NODEID)
    }

    /// The step's tasks on this node.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn local_task_count(&self) -> Result<u32> {
        self.number(sys::S_JOB_LOCAL_TASK_COUNT)
    }

    /// The step's tasks on all nodes.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn total_task_count(&self) -> Result<u32> {
        self.number(sys::S_JOB_TOTAL_TASK_COUNT)
    }

    /// CPUs of the step on this node, in the batch step those of the job. Slurm counts them in 16 bits.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn ncpus(&self) -> Result<u16> {
        self.number(sys::S_JOB_NCPUS)
    }

    /// CPUs for each task.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn cpus_per_task(&self) -> Result<u32> {
        self.number(sys::S_STEP_CPUS_PER_TASK)
    }

    /// The job's memory on this node in MiB; `None` where Slurm does not account memory, which it says by 0.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn alloc_mem_mb(&self) -> Result<Option<u64>> {
        self.number(sys::S_JOB_ALLOC_MEM).map(|mb| (mb != 0).then_some(mb))
    }

    /// The step's memory on this node in MiB; `None` where Slurm does not account memory, which it says by 0.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn step_alloc_mem_mb(&self) -> Result<Option<u64>> {
        self.number(sys::S_STEP_ALLOC_MEM).map(|mb| (mb != 0).then_some(mb))
    }

    /// The job's cores on this node as a list: Slurm's abstract numbers, not the machine's.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn alloc_cores(&self) -> Result<Option<OsString>> {
        self.text(sys::S_JOB_ALLOC_CORES)
    }

    /// The step's cores on this node as a list: Slurm's abstract numbers, not the machine's.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn step_alloc_cores(&self) -> Result<Option<OsString>> {
        self.text(sys::S_STEP_ALLOC_CORES)
    }

    /// The job array and the index in it; `None` outside of an array.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn array(&self) -> Result<Option<(u32, u32)>> {
        let job = self.number(sys::S_JOB_ARRAY_ID)?;
        let task = self.number(sys::S_JOB_ARRAY_TASK_ID)?;
        Ok(present(job).filter(|job| *job != 0).zip(present(task)))
    }

    /// A variable of the job's environment; `None` where it is not set.
    ///
    /// **The user's process sent it.** `SLURM_JOB_ACCOUNT` and every other name may hold what the user chose.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name that is none, a value beyond 2 MiB, or where Slurm does not say.
    pub fn getenv(&self, name: impl AsRef<OsStr>) -> Result<Option<OsString>> {
        self.read_variable("spank_getenv", host().getenv, name.as_ref())
    }

    /// Sets a variable for the tasks, over any value that it had. The tasks may change it.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name or value that C cannot carry, or where Slurm refuses.
    pub fn setenv(&self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Result<()> {
        self.write_variable("spank_setenv", host().setenv, name.as_ref(), value.as_ref())
    }

    /// Removes a variable from the tasks' environment.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name that is none, or where Slurm refuses.
    pub fn unsetenv(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.remove_variable("spank_unsetenv", host().unsetenv, name.as_ref())
    }
}

macro_rules! task {
    ($($name:ident)+) => {
        $(impl $name<'_> {
            /// The task's number on this node, from 0.
            ///
            /// # Errors
            ///
            /// [`Error`] where there is no task, as in the extern step.
            pub fn id(&self) -> Result<u32> {
                u32::try_from(self.number(sys::S_TASK_ID)?).map_err(|_| Error::Value { item: sys::S_TASK_ID.name })
            }

            /// The task's number in the step, from 0.
            ///
            /// # Errors
            ///
            /// [`Error`] where there is no task, as in the extern step.
            pub fn global_id(&self) -> Result<u32> {
                self.number(sys::S_TASK_GLOBAL_ID)
            }
        })+
    };
}

task! { Task ForkedTask ExitedTask }

macro_rules! option {
    ($($name:ident)+) => {
        $(impl $name<'_> {
            /// Whether the user gave the option, and its argument: the user's text.
            ///
            /// # Errors
            ///
            /// [`Error`] where Slurm does not say.
            pub fn option(&self, option: &PluginOption) -> Result<Option<OsString>> {
                option::given(self, option)
            }
        })+
    };
}

option! { UserStep Task ExitedTask Launch }

fn pid(spank: &Spank<'_>) -> Result<u32> {
    let item: Item<libc::pid_t> = sys::S_TASK_PID;
    match u32::try_from(spank.number(item)?) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Error::Value { item: item.name }),
    }
}

impl Task<'_> {
    /// Puts words in front of the task's command, so that it is run by them. Since 23.11.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] before 23.11, otherwise [`Error`] where Slurm refuses.
    pub fn prepend_argv(&self, words: &[&CStr]) -> Result<()> {
        Spank::prepend_argv(self, words)
    }
}

impl ForkedTask<'_> {
    /// The task's process. It waits while the hook runs, so the number cannot be another's.
    ///
    /// # Errors
    ///
    /// [`Error`] where there is no task, as in the extern step.
    pub fn pid(&self) -> Result<u32> {
        pid(self)
    }
}

impl ExitedTask<'_> {
    /// What the task's process had for a number. It is gone: the number may be another's by now.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn pid(&self) -> Result<u32> {
        pid(self)
    }

    /// How the task ended.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn exit_status(&self) -> Result<ExitStatus> {
        self.number(sys::S_TASK_EXIT_STATUS).map(ExitStatus::from_raw)
    }
}

impl Submit<'_> {
    /// A variable of the job control environment; `None` where it is not set.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name that is none, a value beyond 2 MiB, or where Slurm does not say.
    pub fn control_getenv(&self, name: impl AsRef<OsStr>) -> Result<Option<OsString>> {
        self.read_variable("spank_job_control_getenv", host().control_getenv, name.as_ref())
    }

    /// Sets a variable of the job control environment: prolog and epilog see it with `SPANK_` in front. A user
    /// can set the same, so it carries a wish and no proof.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name or value that C cannot carry, or where Slurm refuses.
    pub fn control_setenv(&self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Result<()> {
        self.write_variable("spank_job_control_setenv", host().control_setenv, name.as_ref(), value.as_ref())
    }

    /// Removes a variable from the job control environment.
    ///
    /// # Errors
    ///
    /// [`Error`] for a name that is none, or where Slurm refuses.
    pub fn control_unsetenv(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.remove_variable("spank_job_control_unsetenv", host().control_unsetenv, name.as_ref())
    }
}

impl Launch<'_> {
    /// The job's number.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it.
    pub fn job_id(&self) -> Result<u32> {
        self.number(sys::S_JOB_ID)
    }

    /// Which step this will be.
    ///
    /// # Errors
    ///
    /// [`Error`] where Slurm does not give it, or gives an id without a meaning.
    pub fn step_id(&self) -> Result<StepId> {
        step_id(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{StepId, present};

    #[test]
    fn slurms_special_steps_have_names_and_the_rest_numbers() {
        let cases = [
            (0, Some("0")),
            (0xffff_fff0, Some("4294967280")),
            (0xffff_fffb, Some("batch")),
            (0xffff_fffc, Some("extern")),
            (0xffff_fffa, Some("interactive")),
            (0xffff_fffd, None),
            (0xffff_fffe, None),
            (0xffff_ffff, None),
        ];
        for (raw, name) in cases {
            assert_eq!(StepId::from_raw(raw).map(|id| id.to_string()).as_deref(), name, "{raw:#x}");
        }
    }

    #[test]
    fn slurms_missing_numbers_are_none() {
        assert_eq!(present(0), Some(0));
        assert_eq!(present(0xffff_fffe), None);
        assert_eq!(present(0xffff_ffff), None);
    }
}
