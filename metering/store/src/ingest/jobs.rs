//! Runs of jobs: told, read, ended.

use tenantry_model::block::Registered;
use tenantry_model::job::{Allocation, Incarnation, JobEnd, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageRecord;
use tenantry_model::{BootId, ClusterName, Moment, Usec};
use tenantry_usage::{Integral, record_of_end, record_of_running};

use super::{Ingest, run_name};
use crate::query::{parse_json, parse_record};
use crate::{AuditKind, StoreError, column, sql};

/// A running job's columns.
type Row = (Option<String>, Option<String>, Option<String>, Option<String>);

/// What the ledger has of a running job.
#[derive(Default)]
struct Running {
    registration: Option<Registration>,
    allocation: Option<Allocation>,
    reading: Option<Reading>,
    integral: Option<Integral>,
}

const RUN: &str =
    "job_id = ? AND node = ? AND boot_id = ? AND began_unix_usec = ? AND coalesce(cluster, '') = ?";

/// Binds what [`RUN`] asks for: to a query of whatever kind.
macro_rules! bind_run {
    ($query:expr, $run:expr) => {
        $query
            .bind($run.job_id.0)
            .bind($run.node.as_str())
            .bind($run.boot_id.as_str())
            .bind($run.began.unix_usec())
            .bind($run.cluster.as_ref().map_or("", ClusterName::as_str))
    };
}

impl Ingest<'_> {
    /// A job that readings name, or what is newly known of its allocation.
    pub(super) async fn registered(&mut self, told: &Registered) -> Result<(), StoreError> {
        let run = &told.registration.incarnation;
        if self.latest_revision(run).await?.is_some() {
            return Ok(());
        }
        let known = self.known(run).await?.unwrap_or_default();
        let running = Running {
            registration: Some(told.registration.clone()),
            allocation: told.allocation.or(known.allocation),
            ..known
        };
        self.keep(run, &running).await
    }

    /// Only later readings count, and none comes back after the job's end.
    pub(super) async fn running(
        &mut self,
        run: &Incarnation,
        readings: &[Reading],
    ) -> Result<(), StoreError> {
        if self.latest_revision(run).await?.is_some() {
            return Ok(());
        }
        let mut running = self.known(run).await?.unwrap_or_default();
        for reading in readings {
            let later =
                running.reading.as_ref().is_none_or(|last| reading.at.boottime_usec > last.at.boottime_usec);
            if !later {
                continue;
            }
            // A run whose registration has not come begins where it is first read.
            let integral = running.integral.take().unwrap_or_else(|| {
                Integral::new(
                    running.registration.as_ref().map_or(reading.at, |registration| registration.began),
                )
            });
            running.integral = Some(integral.with(reading));
            running.reading = Some(reading.clone());
        }
        self.keep(run, &running).await
    }

    async fn known(&mut self, run: &Incarnation) -> Result<Option<Running>, StoreError> {
        let statement =
            format!("SELECT registration, allocation, reading, integral FROM running_job WHERE {RUN}");
        let row: Option<Row> = bind_run!(sqlx::query_as(&statement), run)
            .fetch_optional(&mut *self.db)
            .await
            .map_err(sql("look for a running job"))?;
        row.map(|row| parse_running(&row)).transpose()
    }

    async fn keep(&mut self, run: &Incarnation, running: &Running) -> Result<(), StoreError> {
        let Running { registration, allocation, reading, integral } = running;
        let record = match (registration, reading, integral) {
            (Some(registration), Some(reading), Some(integral)) => {
                let record = record_of_running(registration, allocation.as_ref(), reading, integral);
                Some(record_text(&record)?)
            }
            _ => None,
        };
        sqlx::query(
            "INSERT INTO running_job (cluster, node, boot_id, job_id, began_unix_usec, \
             registration, allocation, reading, integral, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (job_id, node, boot_id, began_unix_usec, coalesce(cluster, '')) DO UPDATE \
             SET registration = excluded.registration, allocation = excluded.allocation, \
                 reading = excluded.reading, integral = excluded.integral, record = excluded.record",
        )
        .bind(run.cluster.as_ref().map(ClusterName::as_str))
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.job_id.0)
        .bind(run.began.unix_usec())
        .bind(json(registration.as_ref())?)
        .bind(json(allocation.as_ref())?)
        .bind(json(reading.as_ref())?)
        .bind(json(integral.as_ref())?)
        .bind(record)
        .execute(&mut *self.db)
        .await
        .map_err(sql("keep a running job's reading"))?;
        Ok(())
    }

    /// A run's first end is its record. The same again changes nothing (a daemon killed between
    /// its spool and its outbox sends an end twice); one of a better quality is a new revision;
    /// any other is kept as evidence in its block, and audited.
    pub(super) async fn end(&mut self, block: i64, end: &JobEnd) -> Result<(), StoreError> {
        let run = &end.registration.incarnation;
        let Some((revision, kept)) = self.latest_revision(run).await? else {
            let integral = self.known(run).await?.and_then(|running| running.integral);
            self.insert_usage(run, 1, block, &record_of_end(end, integral)).await?;
            return self.forget_running(run).await;
        };
        // What its readings added up to is in the first record; without them the rest is the same.
        let record = UsageRecord {
            memory_mib_seconds: kept.memory_mib_seconds,
            memory_mib_seconds_bound: kept.memory_mib_seconds_bound,
            interpolated_usec: kept.interpolated_usec,
            ..record_of_end(end, None)
        };
        if kept == record {
            return Ok(());
        }
        let subject = run_name(run);
        let detail = format!("{:?} is kept, {:?} came in block row {block}", kept.quality, record.quality);
        if worth(record.quality) <= worth(kept.quality) {
            return self.audit(AuditKind::EndConflict, subject, detail).await;
        }
        self.insert_usage(run, revision.saturating_add(1), block, &record).await?;
        self.audit(AuditKind::EndCorrected, subject, detail).await
    }

    /// The node went down without a word: what still ran there is closed with its latest reading,
    /// marked estimated. `last` is when its last block was closed; it went down after that, and
    /// before the boot that this block is of.
    pub(super) async fn close_boot(
        &mut self,
        block: i64,
        boot_id: &BootId,
        last: Moment,
    ) -> Result<(), StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT registration, allocation, reading, integral FROM running_job WHERE boot_id = ? AND registration IS NOT NULL",
        )
        .bind(boot_id.as_str())
        .fetch_all(&mut *self.db)
        .await
        .map_err(sql("look for jobs of a boot that ended"))?;
        let closed = self.sent.closed();
        let booted = closed.wall.unix_usec().saturating_sub_unsigned(closed.boottime_usec.0);
        for row in rows {
            let Running { registration: Some(registration), allocation, reading, integral } =
                parse_running(&row)?
            else {
                continue;
            };
            let ended = reading.as_ref().map_or(registration.began, |reading| reading.at);
            let quality = if reading.is_some() { Quality::Estimated } else { Quality::Gap };
            let unmeasured = booted.saturating_sub(ended.wall.unix_usec());
            let unmeasured_usec = u64::try_from(unmeasured).ok().map(Usec);
            let end =
                JobEnd { registration, allocation, reading, steps: None, ended, quality, unmeasured_usec };
            let run = &end.registration.incarnation;
            if self.latest_revision(run).await?.is_none() {
                self.insert_usage(run, 1, block, &record_of_end(&end, integral)).await?;
                let detail = format!("its node went down between {} and its next boot", last.wall);
                self.audit(AuditKind::EndEstimated, run_name(run), detail).await?;
            }
            self.forget_running(run).await?;
        }
        Ok(())
    }

    async fn latest_revision(&mut self, run: &Incarnation) -> Result<Option<(i64, UsageRecord)>, StoreError> {
        let statement =
            format!("SELECT revision, record FROM usage WHERE {RUN} ORDER BY revision DESC LIMIT 1");
        let latest: Option<(i64, String)> = bind_run!(sqlx::query_as(&statement), run)
            .fetch_optional(&mut *self.db)
            .await
            .map_err(sql("look for a run's record"))?;
        latest.map(|(revision, record)| Ok((revision, parse_record("usage", &record)?))).transpose()
    }

    async fn insert_usage(
        &mut self,
        run: &Incarnation,
        revision: i64,
        block: i64,
        record: &UsageRecord,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO usage (cluster, node, boot_id, job_id, began_unix_usec, revision, block, record) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(run.cluster.as_ref().map(ClusterName::as_str))
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.job_id.0)
        .bind(run.began.unix_usec())
        .bind(revision)
        .bind(block)
        .bind(record_text(record)?)
        .execute(&mut *self.db)
        .await
        .map_err(sql("insert a usage row"))?;
        Ok(())
    }

    async fn forget_running(&mut self, run: &Incarnation) -> Result<(), StoreError> {
        let statement = format!("DELETE FROM running_job WHERE {RUN}");
        bind_run!(sqlx::query(&statement), run)
            .execute(&mut *self.db)
            .await
            .map_err(sql("forget an ended job's reading"))?;
        Ok(())
    }
}

fn parse_running((registration, allocation, reading, integral): &Row) -> Result<Running, StoreError> {
    Ok(Running {
        registration: parse_json("running_job", registration.as_deref())?,
        allocation: parse_json("running_job", allocation.as_deref())?,
        reading: parse_json("running_job", reading.as_deref())?,
        integral: parse_json("running_job", integral.as_deref())?,
    })
}

fn json<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    let text = value.map(serde_json::to_string).transpose();
    text.map_err(|source| StoreError::Unreadable { table: "running_job", source: source.into() })
}

/// A record on its way into its column: every number in it must fit SQL's integers.
fn record_text(record: &UsageRecord) -> Result<String, StoreError> {
    let unreadable =
        |source: serde_json::Error| StoreError::Unreadable { table: "usage", source: source.into() };
    let value = serde_json::to_value(record).map_err(unreadable)?;
    for (name, figure) in value.as_object().into_iter().flatten() {
        if let Some(figure) = figure.as_u64() {
            column(name, figure)?;
        }
    }
    serde_json::to_string(record).map_err(unreadable)
}

fn worth(quality: Quality) -> u8 {
    match quality {
        Quality::Gap => 0,
        Quality::Estimated => 1,
        Quality::Exact => 2,
    }
}
