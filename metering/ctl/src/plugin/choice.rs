//! What Slurm shall load: a pure function of what was found.

use std::fmt;
use std::path::PathBuf;

use crate::doctor::elf::SlurmVersion;

/// When the choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// slurmd is about to start: no job can begin meanwhile.
    SlurmdStarts,
    /// slurmd may run, and knows of no prolog where it started without the plugin.
    AnyTime,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Slurm's version, or why it is unknown.
    pub slurm: Result<SlurmVersion, String>,
    /// The file that should be the build for it.
    pub build: PathBuf,
    /// What the file is.
    pub file: Build,
    /// Why the trial failed, if it did.
    pub trial: Result<(), String>,
    /// How many tenants the site has, or what is wrong with their file.
    pub tenants: Result<usize, String>,
    /// Whether Slurm loads a build already.
    pub is_on: bool,
    /// Steps that run on this node.
    pub steps: usize,
}

/// What stands where a build should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Nothing that can be read.
    Missing,
    /// No plugin of Slurm's.
    NoPlugin,
    /// A plugin for this Slurm.
    For(SlurmVersion),
}

/// What Slurm shall load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This build.
    Load(PathBuf),
    /// Nothing yet: this build, when slurmd starts.
    Wait(PathBuf),
    /// Nothing, and why.
    StandAside(Reason),
}

/// Why the plugin stands aside. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No slurmd, or one that does not answer.
    #[error(
        "Slurm's version is unknown: {0}; install slurmd, or name it: `tenantry plugin select --slurmd FILE`"
    )]
    NoSlurm(String),
    /// Slurm is newer or older than what is packaged.
    #[error(
        "there is no build for Slurm {slurm} ({}); install a tenantry-node that has one, or `make plugins PLUGIN_VERSIONS={slurm}` and put it there",
        build.display()
    )]
    NoBuild {
        /// Slurm.
        slurm: SlurmVersion,
        /// Where it would be.
        build: PathBuf,
    },
    /// What is there is something else.
    #[error("{} is {what}; reinstall tenantry-node", build.display())]
    WrongBuild {
        /// The file.
        build: PathBuf,
        /// What it is.
        what: String,
    },
    /// Slurm cannot load it.
    #[error("{} did not pass its trial: {said}; reinstall tenantry-node, or tell its makers", build.display())]
    Trial {
        /// The file.
        build: PathBuf,
        /// What was said.
        said: String,
    },
    /// Nobody would pay for any job.
    #[error(
        "/etc/tenantry/tenants.toml has no tenant; write one, `tenantry check-config`, and restart slurmd"
    )]
    NoTenant,
    /// The tenants file cannot be used.
    #[error("{0}; then `tenantry check-config`, and restart slurmd")]
    Tenants(String),
    /// Jobs run without a tenant.
    #[error(
        "{0} steps run on this node that have no tenant; drain it, and restart slurmd when they have ended"
    )]
    StepsRun(usize),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(build) => write!(f, "on: Slurm loads {}", build.display()),
            Self::Wait(build) => {
                write!(f, "off: {} passed its trial, and comes on when slurmd is restarted", build.display())
            }
            Self::StandAside(reason) => write!(f, "off: jobs run without tenants: {reason}"),
        }
    }
}

/// What Slurm shall load.
///
/// A build that Slurm could not load never is: `required`, it would keep slurmd and srun from starting. What keeps
/// jobs from running otherwise (no tenant, a file with a mistake, jobs that began before) only keeps an inactive one
/// from coming on: to one that is on, the site's own failure policy applies.
pub fn choose(found: &Found, when: When) -> Choice {
    match unfit(found) {
        Some(reason) => Choice::StandAside(reason),
        None if found.is_on => Choice::Load(found.build.clone()),
        None => match unready(found, when) {
            Some(reason) => Choice::StandAside(reason),
            None if when == When::AnyTime => Choice::Wait(found.build.clone()),
            None => Choice::Load(found.build.clone()),
        },
    }
}

/// Why Slurm cannot load the build.
fn unfit(found: &Found) -> Option<Reason> {
    let build = || found.build.clone();
    let slurm = match &found.slurm {
        Ok(slurm) => *slurm,
        Err(why) => return Some(Reason::NoSlurm(why.clone())),
    };
    match (found.file, &found.trial) {
        (Build::Missing, _) => Some(Reason::NoBuild { slurm, build: build() }),
        (Build::NoPlugin, _) => {
            Some(Reason::WrongBuild { build: build(), what: "no plugin of Slurm's".into() })
        }
        (Build::For(other), _) if other != slurm => Some(Reason::WrongBuild {
            build: build(),
            what: format!("built for Slurm {other}, and this is {slurm}"),
        }),
        (Build::For(_), Err(said)) => Some(Reason::Trial { build: build(), said: said.clone() }),
        (Build::For(_), Ok(())) => None,
    }
}

/// Why it would keep jobs from running that run now.
fn unready(found: &Found, when: When) -> Option<Reason> {
    match &found.tenants {
        Err(problem) => Some(Reason::Tenants(problem.clone())),
        Ok(0) => Some(Reason::NoTenant),
        Ok(_) if when == When::SlurmdStarts && found.steps > 0 => Some(Reason::StepsRun(found.steps)),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "/usr/lib/tenantry/spank_tenantry-24.11.so";
    const V24_11: SlurmVersion = SlurmVersion { major: 24, minor: 11 };
    const V22_05: SlurmVersion = SlurmVersion { major: 22, minor: 5 };

    fn good() -> Found {
        Found {
            slurm: Ok(V24_11),
            build: BUILD.into(),
            file: Build::For(V24_11),
            trial: Ok(()),
            tenants: Ok(1),
            is_on: false,
            steps: 0,
        }
    }

    fn on() -> Found {
        Found { is_on: true, ..good() }
    }

    #[test]
    fn a_build_that_passed_comes_on_when_slurmd_starts_and_not_before() {
        assert_eq!(choose(&good(), When::SlurmdStarts), Choice::Load(BUILD.into()));
        assert_eq!(choose(&good(), When::AnyTime), Choice::Wait(BUILD.into()));
        assert_eq!(choose(&on(), When::AnyTime), Choice::Load(BUILD.into()));
    }

    #[test]
    fn what_slurm_cannot_load_stands_aside_on_or_off() {
        for is_on in [false, true] {
            for when in [When::SlurmdStarts, When::AnyTime] {
                let good = Found { is_on, ..good() };
                for (found, says) in [
                    (Found { slurm: Err("slurmd failed".into()), ..good.clone() }, "slurmd failed"),
                    (Found { file: Build::Missing, ..good.clone() }, "no build for Slurm 24.11"),
                    (Found { file: Build::NoPlugin, ..good.clone() }, "no plugin of Slurm's"),
                    (
                        Found { file: Build::For(V22_05), ..good.clone() },
                        "built for Slurm 22.05, and this is 24.11",
                    ),
                    (Found { trial: Err("dlopen: no".into()), ..good.clone() }, "dlopen: no"),
                ] {
                    let choice = choose(&found, when);
                    assert!(matches!(choice, Choice::StandAside(_)), "{found:?}: {choice:?}");
                    assert!(choice.to_string().contains(says), "{choice}");
                }
            }
        }
    }

    #[test]
    fn what_would_stop_jobs_keeps_it_off_and_leaves_it_on() {
        for (found, says) in [
            (Found { tenants: Ok(0), ..good() }, "has no tenant"),
            (Found { tenants: Err("tenants.toml:3:1: x".into()), ..good() }, "tenants.toml:3:1: x"),
            (Found { steps: 2, ..good() }, "2 steps run"),
        ] {
            let choice = choose(&found, When::SlurmdStarts);
            assert!(choice.to_string().contains(says), "{choice}");
            assert!(matches!(choice, Choice::StandAside(_)), "{choice:?}");
            let on = Found { is_on: true, ..found };
            assert_eq!(choose(&on, When::SlurmdStarts), Choice::Load(BUILD.into()));
        }
    }
}
