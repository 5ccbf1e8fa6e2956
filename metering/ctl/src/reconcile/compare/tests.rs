use super::*;
use crate::reconcile::sacct::parse;
use tenantry_model::usage::UsageReport;

/// Captured in the lab: a run or two of each kind of the mix in tests/reconcile-sacct, Slurm 24.11.
const SACCT: &str = include_str!("../../../tests/sacct/24.11.sacct");
const USAGE: &str = include_str!("../../../tests/sacct/24.11.json");

const ALL: Bounds = Bounds { from: None, to: None, tick_percent: 5 };

fn captured() -> (Vec<UsageRecord>, Vec<SlurmRun>) {
    let report: UsageReport = serde_json::from_str(USAGE).unwrap();
    (report.usage, parse(SACCT).unwrap())
}

fn causes(done: &Comparison, job: u32, kind: Kind) -> Vec<Cause> {
    let of = |difference: &&Difference| difference.job_id == JobId(job) && difference.kind == kind;
    done.differences.iter().filter(of).map(|difference| difference.cause).collect()
}

#[test]
fn every_difference_of_the_captured_mix_has_its_cause() {
    let (records, slurm) = captured();
    let done = compare(&records, &slurm, Bounds { tick_percent: 30, ..ALL });
    assert_eq!((done.compared, done.unexplained), (slurm.len(), 0), "{:#?}", done.differences);
    let cpu = |job| causes(&done, job, Kind::CpuTimeUsec);
    assert_eq!(cpu(18), [Cause::SlurmsOwn], "does nothing");
    assert_eq!(cpu(81), [Cause::NotWaitedFor], "leaves a daemon");
    assert_eq!(cpu(91), [Cause::SlurmsOwn], "over its time limit: its shell waited");
    assert_eq!(cpu(56), [Cause::Ticks], "500 short processes");
    assert_eq!(cpu(98), [Cause::Refused], "refused");
    assert_eq!(cpu(93), [Cause::NotWaitedFor, Cause::SlurmsOwn], "requeued: two runs, each with its own");
    assert_eq!(causes(&done, 63, Kind::MemoryPeakBytes), [Cause::PageCache], "writes a file");
    assert_eq!(causes(&done, 96, Kind::ElapsedUsec), [Cause::Suspended]);
}

#[test]
fn what_slurm_counts_beyond_the_kernels_ticks_is_not_explained() {
    let (records, slurm) = captured();
    let done = compare(&records, &slurm, ALL);
    assert_eq!(causes(&done, 56, Kind::CpuTimeUsec), [Cause::MoreInSlurm]);
    let others = done.differences.iter().filter(|difference| !difference.explained);
    assert!(others.into_iter().all(|difference| difference.kind == Kind::CpuTimeUsec));
}

#[test]
fn a_run_that_one_side_lacks_is_found() {
    let (records, slurm) = captured();
    let bounds = Bounds { tick_percent: 30, ..ALL };
    let fewer: Vec<_> = records.iter().filter(|record| record.job_id != JobId(18)).cloned().collect();
    let done = compare(&fewer, &slurm, bounds);
    assert_eq!((causes(&done, 18, Kind::Run), done.unexplained), (vec![Cause::NotRecorded], 1));
    // One of two runs of a requeued job.
    let last = slurm.iter().filter(|run| run.job_id != JobId(93) || run.state == "REQUEUED");
    let done = compare(&records, &last.cloned().collect::<Vec<_>>(), bounds);
    assert_eq!((causes(&done, 93, Kind::Run), done.unexplained), (vec![Cause::NotInSlurm], 1));
}

#[test]
fn a_bill_that_is_wrong_is_found() {
    let (records, slurm) = captured();
    let find = |wrong: fn(&mut UsageRecord), kind| {
        let mut records = records.clone();
        records.iter_mut().filter(|record| record.job_id == JobId(91)).for_each(wrong);
        let done = compare(&records, &slurm, Bounds { tick_percent: 30, ..ALL });
        (causes(&done, 91, kind), done.unexplained)
    };
    let halved =
        |record: &mut UsageRecord| record.cpu_usage_usec = record.cpu_usage_usec.map(|time| Usec(time.0 / 2));
    assert_eq!(find(halved, Kind::CpuTimeUsec), (vec![Cause::MoreInSlurm], 1));
    assert_eq!(find(|record| record.cpu_usage_usec = None, Kind::CpuTimeUsec), (vec![Cause::Lacking], 1));
    assert_eq!(
        find(|record| record.allocated_cpus = Some(2), Kind::AllocatedCpus),
        (vec![Cause::Allocation], 1)
    );
    let longer = |record: &mut UsageRecord| record.elapsed_usec = Some(Usec(600_000_000));
    assert_eq!(find(longer, Kind::ElapsedUsec), (vec![Cause::Times], 1));
}

#[test]
fn only_runs_that_ended_in_the_period_are_compared() {
    let (records, slurm) = captured();
    let middle = slurm[slurm.len() / 2].end;
    let before = compare(&records, &slurm, Bounds { to: middle, ..ALL });
    let after = compare(&records, &slurm, Bounds { from: middle, ..ALL });
    assert_eq!(before.compared + after.compared, slurm.len());
    assert!(before.compared > 5 && after.compared > 5);
}

#[test]
fn a_job_that_never_ran_is_no_difference_to_look_at() {
    let mut slurm = captured().1;
    slurm.truncate(1);
    slurm[0] = SlurmRun { start: None, elapsed: Some(Usec(0)), ..slurm[0].clone() };
    let done = compare(&[], &slurm, ALL);
    assert_eq!((done.differences[0].cause, done.unexplained), (Cause::NeverRan, 0));
}
