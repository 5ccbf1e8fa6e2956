//! What each step used, without Slurm's own part: slurmstepd stands in `step_N/slurm`, the tasks in
//! `step_N/user`. Slurm removes both when the step ends, so `slurm_spank_exit` reads the second before.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use tenantry_cgroup::{GroupPath, GroupReader, Root};
use tenantry_model::durable;
use tenantry_model::job::{JobRecords, StepEnd, Steps};
use tenantry_model::units::Usec;
use tenantry_model::{Clock, Moment};

use crate::{Error, Site, settle};

/// What ends by itself in a moment is looked at again and again, for two seconds at most.
const PAUSE: Duration = Duration::from_millis(5);
const LOOKS: usize = 400;

/// The group of a step, from slurmstepd's own in it; `None` where it stands elsewhere.
#[must_use]
pub fn group_of(own: &GroupPath) -> Option<GroupPath> {
    own.parent().filter(|group| name(group).is_some())
}

/// A step's name, as in its group's: `batch`, `extern`, `0`.
fn name(group: &GroupPath) -> Option<&str> {
    group.name().to_str()?.strip_prefix("step_").filter(|name| !name.is_empty())
}

/// Notes that a step began: if nothing follows, its part is unknown.
///
/// # Errors
/// Where that cannot be written.
pub fn begin(records: &JobRecords, group: &GroupPath) -> io::Result<()> {
    let Some(step) = name(group) else { return Ok(()) };
    // Never the job's own: it may just be cleared.
    match fs::create_dir(records.steps()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let began = StepEnd { step: step.to_owned(), ended: None, reading: None };
    durable::write_json(&records.step(step), &began)
}

/// Notes what a step's tasks used, when none of them is left.
///
/// # Errors
/// Where their counters cannot be read, or what they say not be written.
pub fn end(root: &Root, clock: &dyn Clock, records: &JobRecords, group: &GroupPath) -> Result<(), Error> {
    let Some(step) = name(group) else { return Ok(()) };
    let steps = records.steps();
    // No prolog of ours has seen the job.
    if !while_denied(|| steps.try_exists()).map_err(Error::record("look for", &steps))? {
        return Ok(());
    }
    wait_for_the_last(root, group)?;
    let ended = read(root, clock, group, step)?;
    let file = records.step(step);
    while_denied(|| durable::write_json(&file, &ended)).map_err(Error::record("write", &file))
}

/// Tries again what root is denied. The effective user is the whole process's, and
/// slurmstepd becomes the job's for a moment when another thread of it ends X11 forwarding: in each
/// extern step, just when the step's end is noted.
fn while_denied<T>(what: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..LOOKS {
        match what() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => thread::sleep(PAUSE),
            done => return done,
        }
    }
    what()
}

/// What Slurm has just killed may take a moment to be gone, on a node that is busy more than one: the extern step's
/// sleeper, most often.
fn wait_for_the_last(root: &Root, group: &GroupPath) -> Result<(), Error> {
    let tasks = group.child("user")?;
    for _ in 0..LOOKS {
        if root.is_populated(&tasks)? != Some(true) {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn read(root: &Root, clock: &dyn Clock, group: &GroupPath, step: &str) -> Result<StepEnd, Error> {
    let tasks = group.child("user")?;
    let reading = settle::last_reading(&GroupReader::open(root, &tasks)?, clock)?;
    let ended = Some(reading.at);
    // What still runs would go on using.
    let over = root.is_populated(&tasks)? == Some(false);
    Ok(StepEnd {
        step: step.to_owned(),
        ended,
        reading: (over && reading.cpu_usage().is_some()).then_some(reading),
    })
}

/// All steps of a job whose processes are gone: as they ended, or as their groups stand, where
/// slurmstepd was killed and nobody removed them. `None` where none was ever noted.
pub fn of_job(site: &Site, records: &JobRecords, leaf: &GroupPath) -> Option<Steps> {
    let listed = fs::read_dir(records.steps()).ok()?;
    let mut steps = Steps { count: 0, cpu_usage_usec: Some(Usec(0)), ends: Vec::new() };
    let mut noted: Vec<StepEnd> = listed
        .flatten()
        .map(|entry| entry.path())
        // What a crash left unfinished is no second end of its step.
        .filter(|file| file.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|file| durable::read_json(&file).ok().flatten())
        .map(|end: StepEnd| if end.reading.is_some() { end } else { found(site, leaf, end) })
        .collect();
    noted.sort_by(|a, b| (at(a), &a.step).cmp(&(at(b), &b.step)));
    for end in noted {
        let used = end.reading.as_ref().and_then(tenantry_model::reading::Reading::cpu_usage);
        steps.cpu_usage_usec = steps.cpu_usage_usec.zip(used).and_then(|(sum, used)| sum.checked_add(used));
        steps.count = steps.count.saturating_add(1);
        if steps.ends.len() < Steps::MOST_ENDS {
            steps.ends.push(end);
        }
    }
    (steps.count > 0).then_some(steps)
}

fn at(end: &StepEnd) -> Option<u64> {
    end.ended.map(|Moment { boottime_usec, .. }| boottime_usec.0)
}

/// A step that did not end by itself, from its group, if that is still there.
fn found(site: &Site, leaf: &GroupPath, end: StepEnd) -> StepEnd {
    let read =
        || read(&site.root, site.clock, &leaf.child(format!("step_{}", end.step)).ok()?, &end.step).ok();
    read().unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_group_that_slurmstepds_stands_in() {
        let group = |path: &str| group_of(&GroupPath::new(path).unwrap()).map(|group| group.to_string());
        let step = "s.scope/tenant_acme/job_7/step_batch";
        assert_eq!(group(&format!("{step}/slurm")), Some(step.to_owned()));
        assert_eq!(group("s.scope/system"), None);
    }

    #[test]
    fn what_is_denied_for_a_moment_is_tried_again_and_nothing_else_is() {
        use std::cell::Cell;
        let tried = Cell::new(0);
        let fails_at_first = |kind: io::ErrorKind| {
            let tried = &tried;
            move || {
                tried.set(tried.get() + 1);
                if tried.get() < 4 { Err(io::Error::from(kind)) } else { Ok(tried.get()) }
            }
        };
        assert_eq!(while_denied(fails_at_first(io::ErrorKind::PermissionDenied)).unwrap(), 4);
        tried.set(0);
        let full = while_denied(fails_at_first(io::ErrorKind::StorageFull)).unwrap_err();
        assert_eq!((full.kind(), tried.get()), (io::ErrorKind::StorageFull, 1));
    }
}
