//! `spank_tenantry.so`: puts every Slurm job under its tenant, and keeps its final counters.
//!
//! This file only exports hooks. What each does stands in `context/`, and what that means for the
//! node in `tenantry_isolation`, which the warden shares.
//!
//! | hook | does | if it fails |
//! |---|---|---|
//! | `job_prolog` | decides the tenant, grafts, registers | as the site chose: the job's steps are refused (default), the node drains, or the job runs unisolated |
//! | `step_init` | notes the allocation, judges whether the step is where it belongs; where it is not, and the site chose that, registers the job as unisolated | the step's tasks are refused |
//! | `task_init` | refuses a task that is not where it belongs | the task, and so the step, fails with exit code 1 and the reason on its stderr |
//! | `step_exit` | reads what the step's tasks used | a line in slurmd's log; the job's own counters do not depend on it |
//! | `job_epilog` | kills what is left, keeps the counters, removes the group | logged; the registration stays for the next prolog or the daemon |
//!
//! No step is refused in `step_init`: for a batch step Slurm would answer by draining the node.

mod context;
mod fault;
mod log;
mod option;

use std::ffi::CStr;

use spank::{Hook, JobScript, OnPanic, Outcome, Plugin, PluginOption, Step, Task};

use crate::context::{epilog, prolog, step};

struct Tenantry;

impl Plugin for Tenantry {
    const NAME: &'static CStr = c"tenantry";
    const OPTIONS: &'static [PluginOption] = &[option::TENANT];

    fn on_panic(hook: Hook) -> OnPanic {
        match hook {
            // Nobody has vouched for the task: it must not run.
            Hook::TaskInit => OnPanic::Fail,
            // A failure here would drain the node. Without a registration, and without step_init's
            // verdict, the job's tasks are refused all the same.
            _ => OnPanic::Ignore,
        }
    }

    fn job_prolog(job: &JobScript<'_>) -> Outcome {
        fault::point(Hook::JobProlog);
        prolog::run(job)
    }

    fn job_epilog(job: &JobScript<'_>) -> Outcome {
        fault::point(Hook::JobEpilog);
        epilog::run(job);
        Ok(())
    }

    fn step_init(step: &Step<'_>) -> Outcome {
        fault::point(Hook::StepInit);
        step::init(step);
        Ok(())
    }

    fn step_exit(step: &Step<'_>) -> Outcome {
        fault::point(Hook::StepExit);
        step::exit(step)
    }

    fn task_init(_: &Task<'_>) -> Outcome {
        fault::point(Hook::TaskInit);
        step::judge_task()
    }
}

spank::export!(Tenantry, hooks = [init, job_prolog, job_epilog, task_init, exit]);
