//! What a block holds: its readings as columns, then all else as JSON, compressed.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_model::block::Contents;

use crate::frame::Frame;
use crate::readings;
use crate::wire::{Reader, Writer};
use crate::{EncodeError, Malformed};

/// In the order in which they stand.
const REGISTERED: u8 = 1;
const END: u8 = 2;
const EVENT: u8 = 3;

/// What is compressed is compressed as what follows this: the words that are in every record.
const DICTIONARY: &[u8] = include_bytes!("dictionary.txt");

/// The payload, and what it weighs: the bytes of its records, and of its readings an eighth of their memory.
pub fn write(contents: &Contents, frame: Frame<'_>) -> Result<(Vec<u8>, usize), EncodeError> {
    if readings::has_twins(&contents.series) {
        return Err(EncodeError::Twins);
    }
    let mut out = Writer::default();
    let mut weight = 0;
    if contents.series.is_empty() {
        out.count(0);
    } else {
        let (columns, load) = readings::write(&contents.series, frame)?;
        out.text(&columns);
        weight = load.weight;
    }
    let mut records = Writer::default();
    json(REGISTERED, &contents.registered, &mut records)?;
    json(END, &contents.ends, &mut records)?;
    json(EVENT, &contents.events, &mut records)?;
    if !records.0.is_empty() {
        out.bytes(&pack(&records.0).ok_or(EncodeError::TooLong)?);
    }
    Ok((out.0, weight.saturating_add(records.0.len())))
}

fn json<T: Serialize>(kind: u8, all: &[T], records: &mut Writer) -> Result<(), EncodeError> {
    for one in all {
        records.byte(kind);
        records.text(&serde_json::to_vec(one)?);
    }
    Ok(())
}

/// Reads what [`write`] wrote, if it weighs as much as was said.
pub fn read(payload: &[u8], frame: Frame<'_>, weight: usize) -> Result<Contents, Malformed> {
    let mut contents = Contents::default();
    let mut input = Reader(payload);
    let columns = input.text().ok_or(Malformed::Payload)?;
    let mut length = weight;
    if !columns.is_empty() {
        let (series, load) = readings::read(columns, frame, weight).ok_or(Malformed::Readings)?;
        contents.series = series;
        length = weight.checked_sub(load.weight).ok_or(Malformed::Payload)?;
    }
    if length == 0 && input.0.is_empty() {
        return Ok(contents);
    }
    let records = unpack(input.0, length).ok_or(Malformed::Payload)?;
    read_records(&records, &mut contents)?;
    Ok(contents)
}

fn read_records(records: &[u8], contents: &mut Contents) -> Result<(), Malformed> {
    let mut input = Reader(records);
    let mut before = 0;
    while !input.0.is_empty() {
        let kind = input.byte().ok_or(Malformed::Record)?;
        let body = input.text().ok_or(Malformed::Record)?;
        if kind < before {
            return Err(Malformed::Record);
        }
        before = kind;
        match kind {
            REGISTERED => contents.registered.push(parse(body)?),
            END => contents.ends.push(parse(body)?),
            EVENT => contents.events.push(parse(body)?),
            _ => return Err(Malformed::Record),
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::Json)
}

/// Deflated (RFC 1951).
fn pack(records: &[u8]) -> Option<Vec<u8>> {
    let mut compress = Compress::new(Compression::best(), false);
    compress.set_dictionary(DICTIONARY).ok()?;
    let mut packed = Vec::new();
    loop {
        let taken = usize::try_from(compress.total_in()).ok()?;
        packed.reserve(records.len().saturating_add(64));
        let status = compress.compress_vec(records.get(taken..)?, &mut packed, FlushCompress::Finish).ok()?;
        if status == Status::StreamEnd {
            return Some(packed);
        }
    }
}

/// As many bytes as were said, and no more: of all that is packed.
fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut decompress = Decompress::new(false);
    decompress.set_dictionary(DICTIONARY).ok()?;
    // Deflate makes no more than so many bytes of one.
    let mut unpacked = Vec::with_capacity(length.min(packed.len().saturating_mul(1032)).saturating_add(1));
    let status = decompress.decompress_vec(packed, &mut unpacked, FlushDecompress::Finish).ok()?;
    let all = usize::try_from(decompress.total_in()) == Ok(packed.len());
    (status == Status::StreamEnd && all && unpacked.len() == length && length > 0).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_page_has_the_dictionary() {
        let page = include_str!("../../../docs/block-format.md");
        assert!(page.lines().any(|line| line.as_bytes() == DICTIONARY));
    }

    proptest! {
        #[test]
        fn records_unpack_to_what_they_were_and_to_no_other_length(
            records in prop::collection::vec(any::<u8>(), 1..5000), repeated in 1_usize..20,
        ) {
            let records = records.repeat(repeated);
            let packed = pack(&records).unwrap();
            prop_assert_eq!(unpack(&packed, records.len()), Some(records.clone()));
            let length = records.len();
            prop_assert_eq!(unpack(&packed, length.saturating_sub(1)), None);
            prop_assert_eq!(unpack(&packed, length.saturating_add(1)), None);
            prop_assert_eq!(unpack(&[&packed[..], &[0]].concat(), length), None);
            prop_assert_eq!(unpack(packed.split_last().unwrap().1, length), None);
        }
    }
}
