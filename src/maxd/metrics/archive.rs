//! What is kept on the disk: a day in minutes, thirty days in hours. Written once a
//! minute, in one transaction.

use super::histogram::Counts;
use super::series::Piece;
use crate::error::Result;
use crate::maxd::store::{connect, explain, migrate};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The steps, in seconds.
pub const MINUTE: u64 = 60;
/// The longer ones.
pub const HOUR: u64 = 3600;
/// How far back it goes, in seconds.
pub const LONGEST: u64 = 30 * DAY;
const DAY: u64 = 24 * HOUR;

const SCHEMA: &[&str] = &["
    CREATE TABLE pieces (
        app INTEGER NOT NULL,
        -- Its length and when it began, in seconds.
        step INTEGER NOT NULL,
        start INTEGER NOT NULL,
        -- Rounds in which something was measured, and the sum of their CPU.
        steps INTEGER NOT NULL,
        cpu INTEGER NOT NULL,
        memory INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        -- How long the requests took: five bytes a bucket.
        times BLOB NOT NULL,
        PRIMARY KEY (app, step, start)
    ) STRICT, WITHOUT ROWID;
"];

/// The database.
pub struct Archive(Mutex<Connection>);

/// What is written at once.
#[derive(Default)]
pub struct Batch {
    /// When the minute began.
    pub start: u64,
    /// What it has brought, by app.
    pub pieces: Vec<(i64, Piece)>,
    /// Apps that are gone.
    pub forgotten: Vec<i64>,
}

impl Archive {
    /// Opens (or makes) the database.
    pub fn open(path: &Path) -> Result<Archive> {
        let mut connection = connect(path, "NORMAL")?;
        migrate(&mut connection, SCHEMA, path)?;
        Ok(Archive(Mutex::new(connection)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a minute to what is kept, and drops what is too old.
    pub fn write(&self, batch: &Batch) -> Result<()> {
        if batch.pieces.is_empty() && batch.forgotten.is_empty() {
            return Ok(());
        }
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(explain)?;
        for app in &batch.forgotten {
            transaction.execute("DELETE FROM pieces WHERE app = ?1", [app]).map_err(explain)?;
        }
        for (app, piece) in &batch.pieces {
            for (step, kept) in [(MINUTE, DAY), (HOUR, LONGEST)] {
                add(&transaction, *app, step, batch.start / step * step, piece)?;
                let oldest = batch.start.saturating_sub(kept + step);
                transaction
                    .prepare_cached("DELETE FROM pieces WHERE app = ?1 AND step = ?2 AND start < ?3")
                    .and_then(|mut delete| delete.execute(params![app, step, oldest]))
                    .map_err(explain)?;
            }
        }
        transaction.commit().map_err(explain)
    }

    /// What is kept of an app in this step, from the one in which `oldest` lies, by when
    /// each began.
    pub fn read(&self, app: i64, step: u64, oldest: u64) -> Result<BTreeMap<u64, Piece>> {
        let connection = self.lock();
        let mut query = connection
            .prepare_cached(
                "SELECT start, steps, cpu, memory, errors, times FROM pieces
                 WHERE app = ?1 AND step = ?2 AND start > ?3 ORDER BY start",
            )
            .map_err(explain)?;
        let oldest = oldest.saturating_sub(step);
        let rows = query.query_map(params![app, step, oldest], |row| Ok((row.get(0)?, piece(row)?)));
        rows.and_then(Iterator::collect).map_err(explain)
    }

    /// Forgets all but these apps.
    pub fn retain(&self, apps: &[i64]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(explain)?;
        let known: Vec<i64> = {
            let mut query = transaction.prepare("SELECT DISTINCT app FROM pieces").map_err(explain)?;
            let rows = query.query_map([], |row| row.get(0));
            rows.and_then(Iterator::collect).map_err(explain)?
        };
        for app in known.iter().filter(|app| !apps.contains(app)) {
            transaction.execute("DELETE FROM pieces WHERE app = ?1", [app]).map_err(explain)?;
        }
        transaction.commit().map_err(explain)
    }
}

/// Adds to the step that began at `start`, of which a part may be there.
fn add(transaction: &Transaction<'_>, app: i64, step: u64, start: u64, fresh: &Piece) -> Result<()> {
    let mut query = transaction
        .prepare_cached(
            "SELECT start, steps, cpu, memory, errors, times FROM pieces
             WHERE app = ?1 AND step = ?2 AND start = ?3",
        )
        .map_err(explain)?;
    let found = query.query_row(params![app, step, start], piece).optional().map_err(explain)?;
    let mut sum = found.unwrap_or_default();
    sum.add(fresh);
    let Piece { steps, cpu, memory, errors, counts } = &sum;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO pieces VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        .and_then(|mut insert| {
            insert.execute(params![app, step, start, steps, cpu, memory, errors, counts.to_bytes()])
        })
        .map(drop)
        .map_err(explain)
}

fn piece(row: &Row<'_>) -> rusqlite::Result<Piece> {
    Ok(Piece {
        steps: row.get(1)?,
        cpu: row.get(2)?,
        memory: row.get(3)?,
        errors: row.get(4)?,
        counts: Counts::from_bytes(row.get_ref(5)?.as_blob().unwrap_or_default()),
    })
}
