//! What a block holds, as a sequence of records: a kind, a length, a body.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_model::block::Contents;

use crate::columns::{self, Frame};
use crate::wire::{Reader, Writer};
use crate::{EncodeError, Malformed};

/// In the order in which they stand.
const REGISTERED: u8 = 1;
const READINGS: u8 = 2;
const END: u8 = 3;
const EVENT: u8 = 4;

pub fn write(contents: &Contents, frame: Frame<'_>) -> Result<Vec<u8>, EncodeError> {
    if columns::has_twins(&contents.series) {
        return Err(EncodeError::Twins);
    }
    let mut out = Writer::default();
    let mut record = |kind: u8, body: &[u8]| {
        out.byte(kind);
        out.text(body);
    };
    json(REGISTERED, &contents.registered, &mut record)?;
    if !contents.series.is_empty() {
        record(READINGS, &columns::write(&contents.series, frame)?);
    }
    json(END, &contents.ends, &mut record)?;
    json(EVENT, &contents.events, &mut record)?;
    Ok(out.0)
}

fn json<T: Serialize>(
    kind: u8,
    records: &[T],
    record: &mut impl FnMut(u8, &[u8]),
) -> Result<(), EncodeError> {
    for one in records {
        record(kind, &serde_json::to_vec(one)?);
    }
    Ok(())
}

pub fn read(payload: &[u8], frame: Frame<'_>) -> Result<Contents, Malformed> {
    let mut contents = Contents::default();
    let mut input = Reader(payload);
    let mut before = 0;
    while !input.0.is_empty() {
        let kind = input.byte().ok_or(Malformed::Record)?;
        let body = input.text().ok_or(Malformed::Record)?;
        if kind < before || (kind == READINGS && before == READINGS) {
            return Err(Malformed::Record);
        }
        before = kind;
        match kind {
            REGISTERED => contents.registered.push(parse(body)?),
            READINGS => contents.series = columns::read(body, frame)?,
            END => contents.ends.push(parse(body)?),
            EVENT => contents.events.push(parse(body)?),
            _ => return Err(Malformed::Record),
        }
    }
    Ok(contents)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::Json)
}
