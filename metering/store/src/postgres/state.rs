//! A node's running jobs in one column, MessagePack by zlib, and the blocks that came since it was written.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use tenantry_model::job::Incarnation;
use tenantry_model::window::WindowWidth;

use crate::error::unreadable;
use crate::ingest::{Arrival, Changes, Facts, Run, Running, Runs, plan};
use crate::{SentBlock, StoreError};

/// No state is larger: a column that says so is broken.
const MOST_BYTES: u64 = 256 << 20;
const TABLE: &str = "node_running";

pub(super) fn pack(jobs: &Runs) -> Result<Vec<u8>, StoreError> {
    let running = jobs.iter().filter_map(|(name, run)| Some((name, run.running.as_deref()?)));
    // A name that the registration has is not written twice.
    let is_told = |name: &Incarnation, running: &Running| {
        running.registration.as_ref().is_some_and(|told| told.incarnation == *name)
    };
    let running: Vec<(Option<&Incarnation>, &Running)> =
        running.map(|(name, running)| ((!is_told(name, running)).then_some(name), running)).collect();
    // With names, so that a later release's fields may be added.
    let bytes = rmp_serde::to_vec_named(&running).map_err(|error| unreadable(TABLE, error))?;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).map_err(|error| unreadable(TABLE, error))?;
    packed.finish().map_err(|error| unreadable(TABLE, error))
}

/// The jobs that were written down, with what the blocks since have changed; `width` is that of runs that began in them.
pub(super) fn unpack(
    state: Option<&[u8]>,
    since: Vec<Vec<u8>>,
    width: WindowWidth,
) -> Result<Runs, StoreError> {
    let mut jobs = match state {
        Some(state) => written(state)?,
        None => Runs::new(),
    };
    for bytes in since {
        let sent = SentBlock::parse(bytes).map_err(|error| unreadable("block", error))?;
        jobs = repeat(jobs, &sent, width)?;
    }
    Ok(jobs)
}

/// The windows' width as it stands in its column; where there is none, there are no blocks either that it is for.
pub(super) fn width(minutes: Option<i32>) -> Result<WindowWidth, StoreError> {
    let Some(minutes) = minutes else { return Ok(WindowWidth::HOUR) };
    let minutes = u16::try_from(minutes).map_err(|error| unreadable(TABLE, error))?;
    WindowWidth::from_minutes(minutes).map_err(|error| unreadable(TABLE, error))
}

fn written(state: &[u8]) -> Result<Runs, StoreError> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(state)
        .take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(TABLE, error))?;
    let jobs: Vec<(Option<Incarnation>, Box<Running>)> =
        rmp_serde::from_slice(&bytes).map_err(|error| unreadable(TABLE, error))?;
    let named = |(name, running): (Option<Incarnation>, Box<Running>)| {
        let name = name.or_else(|| Some(running.registration.as_ref()?.incarnation.clone()));
        Ok((name.ok_or_else(|| unreadable(TABLE, "a run has no name"))?, Run::running(running)))
    };
    jobs.into_iter().map(named).collect()
}

/// What a block did to the jobs when it came ([`Changes::repeatable`]).
fn repeat(runs: Runs, sent: &SentBlock, width: WindowWidth) -> Result<Runs, StoreError> {
    let arrival = Arrival { sent, received: sent.closed().wall, correlation_id: "", width };
    let facts = Facts { keys: vec![sent.signer()], runs, ..Facts::default() };
    Ok(running(&mut plan(arrival, facts)?))
}

/// Jobs that run after a block.
pub(super) fn running(changes: &mut Changes) -> Runs {
    let mut runs = std::mem::take(&mut changes.runs);
    runs.retain(|_, run| {
        run.changed = false;
        run.running.is_some()
    });
    runs
}
