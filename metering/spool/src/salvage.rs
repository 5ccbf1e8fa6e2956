//! A spool whose file is damaged: kept aside, and what can be read of it is saved. A block is its
//! own proof: checksum and signature tell whether it is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use tenantry_block::Sealed;
use tenantry_model::Moment;

use tenantry_sqlite::finish;

use crate::{SpoolError, Tip, begin, failed, insert_sealed, tip, write_tip};

/// Renames the file and what SQLite keeps beside it; the new name.
pub fn put_aside(file: &Path, now: Moment) -> io::Result<PathBuf> {
    let aside = file.with_added_extension(format!("damaged-{}", now.wall.unix_usec()));
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(file, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(file, &aside)?;
    Ok(aside)
}

/// Copies the blocks that are whole and that the ledger may lack into a new spool; how many.
///
/// # Errors
/// Where the new spool cannot be written. What cannot be read of the old one is passed over.
pub async fn blocks(aside: &Path, spool: &SqlitePool) -> Result<u64, SpoolError> {
    let Ok(mut old) = SqliteConnectOptions::new().filename(aside).connect().await else { return Ok(0) };
    let mut db = begin(spool).await?;
    let done = copy(&mut old, &mut db).await;
    finish(&mut db, done).await
}

async fn copy(old: &mut SqliteConnection, new: &mut SqliteConnection) -> Result<u64, SpoolError> {
    let mut saved = 0_u64;
    // Numbers go on where they were, so that none is given twice.
    let mut last = tip(old).await.ok().flatten();
    let mut after = 0;
    // One by one: a row behind a broken page may be whole.
    while let Some(id) = next_id(old, after).await {
        after = id;
        let Some(sealed) = read(old, id).await else { continue };
        let (boot_id, sequence) = (sealed.key().boot_id.clone(), sealed.key().sequence);
        if last.as_ref().is_none_or(|last| last.boot_id != boot_id || last.sequence < sequence) {
            last = Some(Tip {
                boot_id,
                sequence,
                hash: sealed.hash(),
                closed: sealed.closed(),
                last_reading: None,
            });
        }
        let twice = sqlx::query("SELECT 1 FROM block WHERE boot_id = ? AND sequence = ?")
            .bind(sealed.key().boot_id.as_str())
            .bind(i64::try_from(sealed.key().sequence).unwrap_or(i64::MAX))
            .fetch_optional(&mut *new)
            .await
            .map_err(failed("be read"))?;
        if twice.is_none() {
            insert_sealed(new, &sealed).await?;
            saved = saved.saturating_add(1);
        }
    }
    if let Some(last) = last {
        write_tip(new, &last).await?;
    }
    Ok(saved)
}

/// The next row that waits for the ledger, or the one number behind what cannot be read, as long
/// as there may be rows at all.
async fn next_id(old: &mut SqliteConnection, after: i64) -> Option<i64> {
    let next = sqlx::query_scalar(
        "SELECT spooled FROM block WHERE spooled > ? AND acknowledged_unix_usec IS NULL ORDER BY spooled LIMIT 1",
    )
    .bind(after)
    .fetch_optional(&mut *old)
    .await;
    if let Ok(next) = next {
        return next;
    }
    let last: i64 = sqlx::query_scalar("SELECT max(spooled) FROM block").fetch_one(old).await.ok()?;
    after.checked_add(1).filter(|next| *next <= last)
}

async fn read(old: &mut SqliteConnection, id: i64) -> Option<Sealed> {
    let bytes: Vec<u8> =
        sqlx::query_scalar("SELECT bytes FROM block WHERE spooled = ?").bind(id).fetch_one(old).await.ok()?;
    Sealed::open(bytes).ok()
}
