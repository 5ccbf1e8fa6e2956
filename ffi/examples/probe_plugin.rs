//! The plugin that `tests/host.rs` loads: it does what its arguments say, and tells what it sees.
//!
//! An argument `HOOK=ACTION` makes that hook fail, panic, or try a call; without one it succeeds.
#![allow(clippy::panic, reason = "it exists to panic where a plugin must not")]

use std::error::Error;
use std::ffi::{CStr, OsStr};
use std::{fmt, io, panic};

use spank::{
    ExitedTask, Failure, ForkedTask, Hook, JobScript, Launch, OnPanic, Outcome, Plugin, PluginOption, Side,
    Slurmd, Spank, Step, Submit, Task, UserStep, log,
};

struct Probe;

const GREET: PluginOption = PluginOption {
    name: c"greet",
    arginfo: Some(c"WHOM"),
    usage: c"Say hello to WHOM",
    callback: |whom, side| on_option("greet", whom, side),
};

const LOUD: PluginOption = PluginOption {
    name: c"loud",
    arginfo: None,
    usage: c"Say it loud",
    callback: |nothing, side| on_option("loud", nothing, side),
};

impl Plugin for Probe {
    const NAME: &'static CStr = c"probe";
    const OPTIONS: &'static [PluginOption] = &[GREET, LOUD];

    fn on_panic(hook: Hook) -> OnPanic {
        match hook {
            Hook::JobProlog | Hook::JobEpilog => OnPanic::Ignore,
            Hook::TaskExit => panic!("no answer either"),
            _ => OnPanic::Fail,
        }
    }

    fn slurmd_init(slurmd: &Slurmd<'_>) -> Outcome {
        log::info(&format!("slurmd_init under Slurm {}", slurmd.slurm_version()?.display()));
        act(slurmd, Hook::SlurmdInit)
    }

    fn slurmd_exit(slurmd: &Slurmd<'_>) -> Outcome {
        act(slurmd, Hook::SlurmdExit)
    }

    fn job_prolog(job: &JobScript<'_>) -> Outcome {
        log::info(&format!(
            "job={} uid={} gid={} account={:?} greet={:?} loud={:?}",
            job.job_id()?,
            job.uid()?,
            job.gid()?,
            job.var("SLURM_JOB_ACCOUNT"),
            job.option(&GREET)?,
            job.option(&LOUD)?,
        ));
        act(job, Hook::JobProlog)
    }

    fn job_epilog(job: &JobScript<'_>) -> Outcome {
        act(job, Hook::JobEpilog)
    }

    fn step_init(step: &Step<'_>) -> Outcome {
        log::info(&format!(
            "job={} step={} uid={} gid={} nnodes={} node={} local={} total={} ncpus={} per_task={} mem={:?} \
             step_mem={:?} cores={:?} step_cores={:?} array={:?}",
            step.job_id()?,
            step.step_id()?,
            step.uid()?,
            step.gid()?,
            step.nnodes()?,
            step.node_id()?,
            step.local_task_count()?,
            step.total_task_count()?,
            step.ncpus()?,
            step.cpus_per_task()?,
            step.alloc_mem_mb()?,
            step.step_alloc_mem_mb()?,
            step.alloc_cores()?,
            step.step_alloc_cores()?,
            step.array()?,
        ));
        act(step, Hook::StepInit)
    }

    fn step_init_post_opt(step: &Step<'_>) -> Outcome {
        for name in ["SHORT", "LONG", "UNSET", "BYTES"] {
            let value = step.getenv(name)?;
            log::info(&format!("{name}: {:?} bytes", value.as_ref().map(|value| value.len())));
            if let Some(value) = value {
                step.setenv(format!("{name}_AGAIN"), value)?;
            }
        }
        step.unsetenv("SHORT")?;
        act(step, Hook::StepInitPostOpt)
    }

    fn user_init(step: &UserStep<'_>) -> Outcome {
        log::info(&format!("greet={:?}", step.option(&GREET)?));
        act(step, Hook::UserInit)
    }

    fn task_init_privileged(task: &Task<'_>) -> Outcome {
        log::info(&format!("step={} task={} global={}", task.step_id()?, task.id()?, task.global_id()?));
        task.prepend_argv(&[c"nice", c"-n5"])?;
        act(task, Hook::TaskInitPrivileged)
    }

    fn task_init(task: &Task<'_>) -> Outcome {
        act(task, Hook::TaskInit)
    }

    fn task_post_fork(task: &ForkedTask<'_>) -> Outcome {
        log::info(&format!("task={:?} pid={:?}", task.id(), task.pid()));
        act(task, Hook::TaskPostFork)
    }

    fn task_exit(task: &ExitedTask<'_>) -> Outcome {
        log::info(&format!("task={} pid={} {}", task.id()?, task.pid()?, task.exit_status()?));
        act(task, Hook::TaskExit)
    }

    fn step_exit(step: &Step<'_>) -> Outcome {
        act(step, Hook::StepExit)
    }

    fn submit_init(submit: &Submit<'_>) -> Outcome {
        submit.control_setenv("WISH", "tea")?;
        log::info(&format!("wish={:?}", submit.control_getenv("WISH")?));
        submit.control_unsetenv("WISH")?;
        log::info(&format!("wish={:?}", submit.control_getenv("WISH")?));
        act(submit, Hook::SubmitInit)
    }

    fn submit_init_post_opt(submit: &Submit<'_>) -> Outcome {
        act(submit, Hook::SubmitInitPostOpt)
    }

    fn local_user_init(launch: &Launch<'_>) -> Outcome {
        log::info(&format!("job={} step={}", launch.job_id()?, launch.step_id()?));
        act(launch, Hook::LocalUserInit)
    }

    fn submit_exit(submit: &Submit<'_>) -> Outcome {
        act(submit, Hook::SubmitExit)
    }
}

spank::export!(
    Probe,
    hooks = [
        init,
        init_post_opt,
        job_prolog,
        job_epilog,
        user_init,
        local_user_init,
        task_init_privileged,
        task_init,
        task_post_fork,
        task_exit,
        exit,
        slurmd_exit,
    ],
    init_failure = job,
);

fn on_option(name: &str, argument: Option<&OsStr>, side: Side) -> Outcome {
    assert!(argument != Some(OsStr::new("panic")), "cannot greet");
    if argument == Some(OsStr::new("refuse")) {
        return Err(Failure::new("nobody of that name"));
    }
    log::info(&format!("option {name}={argument:?} on {side:?}"));
    Ok(())
}

fn act(spank: &Spank<'_>, hook: Hook) -> Outcome {
    log::debug(&format!("in {hook}"));
    for word in spank.args() {
        let word = word.to_string_lossy();
        let Some((_, action)) = word.split_once('=').filter(|(name, _)| *name == hook.name()) else {
            continue;
        };
        match action {
            "fail" => return Err(Failure::new("told to fail: 100%s %n\nerror: forged line")),
            "chain" => return Err(Chained(io::Error::other("the cause")).into()),
            "panic" => panic!("told to {action} 100%s"),
            "panic_str" => panic!("told to panic by a fixed text"),
            "panic_any" => panic::panic_any(DropBomb),
            "panic_silent" => panic::resume_unwind(Box::new(7)),
            "panic_twice" => {
                let _bomb = DropBomb;
                panic!("the first of two");
            }
            "log" => {
                log::error("to the log: 100%s %n");
                log::info("to the log: 100%s %n");
                log::verbose("to the log: 100%s %n");
                log::debug("to the log: 100%s %n");
                log::user("to the user: 100%s %n");
            }
            other => return Err(Failure::new(format!("no action {other}"))),
        }
    }
    Ok(())
}

/// A payload, or a local, that panics when it is dropped.
struct DropBomb;

impl Drop for DropBomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[derive(Debug)]
struct Chained(io::Error);

impl fmt::Display for Chained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to chain")
    }
}

impl Error for Chained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
