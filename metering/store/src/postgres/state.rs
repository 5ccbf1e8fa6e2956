//! A node's running jobs in one column: JSON, by zlib.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use tenantry_model::job::Incarnation;

use crate::StoreError;
use crate::error::unreadable;
use crate::ingest::Running;

pub(super) type Jobs = BTreeMap<Incarnation, Running>;

/// No state is larger: a column that says so is broken.
const MOST_BYTES: u64 = 256 << 20;
const TABLE: &str = "node_running";

pub(super) fn pack(jobs: &Jobs) -> Result<Vec<u8>, StoreError> {
    let text =
        serde_json::to_vec(&jobs.iter().collect::<Vec<_>>()).map_err(|error| unreadable(TABLE, error))?;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&text).map_err(|error| unreadable(TABLE, error))?;
    packed.finish().map_err(|error| unreadable(TABLE, error))
}

pub(super) fn unpack(state: Option<&[u8]>) -> Result<Jobs, StoreError> {
    let Some(state) = state else { return Ok(Jobs::default()) };
    let mut text = Vec::new();
    ZlibDecoder::new(state)
        .take(MOST_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| unreadable(TABLE, error))?;
    let jobs: Vec<(Incarnation, Running)> =
        serde_json::from_slice(&text).map_err(|error| unreadable(TABLE, error))?;
    Ok(jobs.into_iter().collect())
}
