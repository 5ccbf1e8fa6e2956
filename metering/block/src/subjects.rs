//! Whose readings: each name once, then the groups as columns of their own.

use tenantry_model::block::{Series, Subject};
use tenantry_model::job::Incarnation;
use tenantry_model::{GpuName, JobId, WallTime};

use crate::bits::{BitReader, BitWriter};
use crate::column::{self, Layout, Others};
use crate::foretold::Kind;
use crate::frame::Frame;
use crate::presence::Presence;
use crate::wire::{Reader, Writer};
use crate::{EncodeError, devices};

const JOB: u64 = 0;
const TENANT: u64 = 1;
const NODE: u64 = 2;

/// What a column of one value a group may be foretold by.
pub const IN_A_ROW: [Kind; 4] = [Kind::Nothing, Kind::Last, Kind::Step, Kind::Mean];

/// Writes a column of one value for each of those that are there.
pub fn write_row(out: &mut BitWriter, presence: &Presence, values: &[u64]) {
    if *presence != Presence::Nothing && !values.is_empty() {
        let layout = Layout { counts: &[values.len()], presence };
        column::write(out, layout, values, &Others::new(), &IN_A_ROW);
    }
}

/// Reads what [`write_row`] wrote; what is not there is 0.
pub fn read_row(bits: &mut BitReader<'_>, presence: &Presence, count: usize) -> Option<Vec<u64>> {
    if *presence == Presence::Nothing || count == 0 {
        return Some(vec![0; count]);
    }
    column::read(bits, Layout { counts: &[count], presence }, &Others::new())
}

pub fn names(series: &[Series]) -> Vec<&str> {
    let mut names: Vec<&str> = series
        .iter()
        .flat_map(|series| match &series.subject {
            Subject::Job(run) => [run.cluster.as_ref().map_or("", |name| name.as_str()), run.node.as_str()],
            Subject::Tenant { node, tenant } => [node.as_str(), tenant.as_str()],
            Subject::Node { node } => [node.as_str(), ""],
        })
        .chain(series.iter().flat_map(|series| devices::gpus(series)).map(GpuName::as_str))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// 0 is no name; names are counted from 1.
pub fn place(names: &[&str], name: &str) -> u64 {
    let place = names.binary_search(&name).ok().and_then(|place| place.checked_add(1));
    place.and_then(|place| u64::try_from(place).ok()).unwrap_or_default()
}

/// All names, in front of the columns.
pub fn write_names(out: &mut Writer, names: &[&str]) {
    out.count(names.len());
    for name in names {
        out.text(name.as_bytes());
    }
}

/// In byte order, each once.
pub fn read_names<'b>(input: &mut Reader<'b>) -> Option<Vec<&'b str>> {
    let count = input.count()?;
    let names: Vec<&str> = (0..count).map(|_| str::from_utf8(input.text()?).ok()).collect::<Option<_>>()?;
    names.is_sorted_by(|one, next| one < next).then_some(names)
}

/// The groups' columns: what each is, its node, the job's cluster or the tenant, the job, when it began, how many readings.
pub fn write(
    out: &mut BitWriter,
    names: &[&str],
    series: &[Series],
    frame: Frame<'_>,
) -> Result<(), EncodeError> {
    let rows: Vec<[u64; 5]> =
        series.iter().map(|series| row(names, &series.subject, frame)).collect::<Result<_, _>>()?;
    let column = |place: usize| -> Vec<u64> {
        rows.iter().map(|row| row.get(place).copied().unwrap_or_default()).collect()
    };
    let what = column(0);
    let (with_other, jobs) = (with_other(&what), jobs(&what));
    write_row(out, &Presence::All, &what);
    write_row(out, &Presence::All, &column(1));
    write_row(out, &with_other, &column(2));
    write_row(out, &jobs, &column(3));
    write_row(out, &jobs, &column(4));
    let counts: Vec<u64> =
        series.iter().map(|series| u64::try_from(series.readings.len()).unwrap_or(u64::MAX)).collect();
    write_row(out, &Presence::All, &counts);
    Ok(())
}

fn row(names: &[&str], subject: &Subject, frame: Frame<'_>) -> Result<[u64; 5], EncodeError> {
    Ok(match subject {
        Subject::Job(run) if run.boot_id != *frame.boot_id => return Err(EncodeError::OtherBoot(run.job_id)),
        Subject::Job(run) => [
            JOB,
            place(names, run.node.as_str()),
            place(names, run.cluster.as_ref().map_or("", |name| name.as_str())),
            run.job_id.0.into(),
            run.began.unix_usec().wrapping_sub(frame.closed.wall.unix_usec()).cast_unsigned(),
        ],
        Subject::Tenant { node, tenant } => {
            [TENANT, place(names, node.as_str()), place(names, tenant.as_str()), 0, 0]
        }
        Subject::Node { node } => [NODE, place(names, node.as_str()), 0, 0, 0],
    })
}

/// Which groups have a second name.
fn with_other(what: &[u64]) -> Presence {
    Presence::of(what.iter().map(|what| *what != NODE).collect())
}

fn jobs(what: &[u64]) -> Presence {
    Presence::of(what.iter().map(|what| *what == JOB).collect())
}

/// The groups, and how many readings each has.
pub fn read(
    bits: &mut BitReader<'_>,
    names: &[&str],
    groups: usize,
    frame: Frame<'_>,
) -> Option<Vec<(Subject, usize)>> {
    let what = read_row(bits, &Presence::All, groups)?;
    let (with_other, jobs) = (with_other(&what), jobs(&what));
    let nodes = read_row(bits, &Presence::All, groups)?;
    let others = read_row(bits, &with_other, groups)?;
    let ids = read_row(bits, &jobs, groups)?;
    let began = read_row(bits, &jobs, groups)?;
    let counts = read_row(bits, &Presence::All, groups)?;
    let rows = what.into_iter().zip(nodes).zip(others).zip(ids).zip(began).zip(counts);
    // Groups in a row have one node and one cluster.
    let (mut node_name, mut cluster_name, mut tenant_name) =
        (Known::default(), Known::default(), Known::default());
    rows.map(|(((((what, node), other), id), began), count)| {
        let node = node_name.of(names, node)?;
        let subject = match what {
            JOB => {
                let cluster = if other == 0 { None } else { Some(cluster_name.of(names, other)?) };
                let job_id = JobId(u32::try_from(id).ok()?);
                let began = frame.closed.wall.unix_usec().wrapping_add(began.cast_signed());
                let began = WallTime::from_unix_usec(began).ok()?;
                Subject::Job(Incarnation { cluster, node, boot_id: frame.boot_id.clone(), job_id, began })
            }
            TENANT => Subject::Tenant { node, tenant: tenant_name.of(names, other)? },
            NODE => Subject::Node { node },
            _ => return None,
        };
        Some((subject, usize::try_from(count).ok()?))
    })
    .collect()
}

/// The last name that was read: it is parsed once, and not for each group that has it.
struct Known<T>(Option<(u64, T)>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: std::str::FromStr + Clone> Known<T> {
    fn of(&mut self, names: &[&str], place: u64) -> Option<T> {
        match &self.0 {
            Some((known, name)) if *known == place => Some(name.clone()),
            _ => {
                let name: T = named_by(names, place)?.parse().ok()?;
                self.0 = Some((place, name.clone()));
                Some(name)
            }
        }
    }
}

/// The name of a place; names are counted from 1.
pub fn named_by<'n>(names: &[&'n str], place: u64) -> Option<&'n str> {
    names.get(usize::try_from(place).ok()?.checked_sub(1)?).copied()
}
