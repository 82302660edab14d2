//! The log database: every line once, in order, with a sequence number.
//!
//! One thread writes, in batches, what arrives on a bounded channel; when it can't keep
//! up, the writers wait. Readers have a connection of their own and are woken by the
//! newest sequence number.

use super::line::NewLine;
use super::store::{connect, explain, migrate};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::log::{Line, Source};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Lines on their way to the writer.
const QUEUE: usize = 4096;
/// Lines in one transaction.
const BATCH: usize = 1000;
/// Lines in one answer to a reader.
pub const PAGE: u64 = 200;
/// The longest line; a longer one is split by who reads it.
pub const MAX_LINE: usize = 64 * 1024;
/// How long lines are kept, and how many of one app and kind.
const KEEP_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
const KEEP_LINES: u64 = 100_000;
/// Between two clean-ups.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

const SCHEMA: &[&str] = &["
    CREATE TABLE lines (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        network INTEGER NOT NULL,
        app INTEGER,
        -- 1: a build's line, kept apart from what the app says.
        build INTEGER NOT NULL,
        source INTEGER NOT NULL,
        release INTEGER,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX lines_of_app ON lines (app, build, seq);
    CREATE INDEX lines_of_network ON lines (network, build, seq);
    CREATE INDEX lines_by_time ON lines (time);
    -- What retention has dropped: everything up to this sequence number.
    CREATE TABLE dropped (
        network INTEGER NOT NULL,
        app INTEGER NOT NULL,
        build INTEGER NOT NULL,
        through INTEGER NOT NULL,
        PRIMARY KEY (network, app, build)
    ) STRICT;
"];

const SOURCES: [Source; 5] = [Source::Stdout, Source::Stderr, Source::Build, Source::Access, Source::Event];

/// Which lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// What an app writes, and what happened to it.
    App(i64),
    /// An app's builds.
    Builds(i64),
    /// The build of one release.
    Build(i64, u64),
    /// Everything of a network but builds.
    Network(i64),
}

impl Select {
    fn condition(self) -> &'static str {
        match self {
            Select::App(_) => "app = ?1 AND build = 0 AND source <> 3 AND ?2 = 0",
            Select::Builds(_) => "app = ?1 AND build = 1 AND ?2 = 0",
            Select::Build(..) => "app = ?1 AND build = 1 AND release = ?2",
            Select::Network(_) => "network = ?1 AND build = 0 AND ?2 = 0",
        }
    }

    fn keys(self) -> (i64, u64) {
        match self {
            Select::App(id) | Select::Builds(id) | Select::Network(id) => (id, 0),
            Select::Build(app, release) => (app, release),
        }
    }
}

/// The database, for readers.
pub struct Logs {
    reader: Mutex<Connection>,
    newest: watch::Receiver<u64>,
}

impl Logs {
    /// Opens (or makes) the database; the sender is where lines go.
    pub fn open(path: &Path) -> Result<(Arc<Logs>, mpsc::Sender<NewLine>)> {
        let mut writer = connect(path, "NORMAL")?;
        migrate(&mut writer, SCHEMA, path)?;
        let newest: u64 = writer
            .query_row(
                "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'lines'), 0)",
                [],
                |row| row.get(0),
            )
            .map_err(explain)?;
        let reader = connect(path, "NORMAL")?;
        let (sender, lines) = mpsc::channel(QUEUE);
        let (tell, newest) = watch::channel(newest);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || write_all(writer, lines, &tell))
            .map_err(|error| Error::io("start", "the log writer", &error))?;
        Ok((Arc::new(Logs { reader: Mutex::new(reader), newest }), sender))
    }

    /// The newest sequence number, now and whenever it changes.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// At most [`PAGE`] lines behind `after`, in order; `name` gives an app its name.
    pub fn after(
        &self,
        select: Select,
        after: u64,
        name: &dyn Fn(i64) -> Option<String>,
    ) -> Result<Vec<Line>> {
        let (key, release) = select.keys();
        let query = format!(
            "SELECT seq, time, source, app, release, text FROM lines WHERE {} AND seq > ?3 ORDER BY seq LIMIT ?4",
            select.condition()
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map(params![key, release, after, PAGE], |row| line(row, name))?;
            rows.collect()
        })
    }

    /// The newest lines about what Max did with an app, the newest last.
    pub fn events(&self, app: i64, count: u64, name: &dyn Fn(i64) -> Option<String>) -> Result<Vec<Line>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, time, source, app, release, text FROM lines
                 WHERE app = ?1 AND build = 0 AND source = 4 ORDER BY seq DESC LIMIT ?2",
            )?;
            let rows = statement.query_map([app.unsigned_abs(), count], |row| line(row, name))?;
            let mut lines: Vec<Line> = rows.collect::<rusqlite::Result<_>>()?;
            lines.reverse();
            Ok(lines)
        })
    }

    /// The sequence number behind which exactly the newest `count` lines stand; 0 when
    /// there are not more.
    pub fn before_newest(&self, select: Select, count: u64) -> Result<u64> {
        let (key, release) = select.keys();
        let query =
            format!("SELECT seq FROM lines WHERE {} ORDER BY seq DESC LIMIT 1 OFFSET ?3", select.condition());
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let found = statement.query_row(params![key, release, count], |row| row.get(0)).optional()?;
            Ok(found.unwrap_or(0))
        })
    }

    /// Up to where retention has dropped lines; 0 when nothing was dropped.
    pub fn dropped_through(&self, select: Select) -> Result<u64> {
        let condition = match select {
            Select::App(_) => "app = ?1 AND build = 0",
            Select::Builds(_) | Select::Build(..) => "app = ?1 AND build = 1",
            Select::Network(_) => "network = ?1 AND build = 0",
        };
        let query = format!("SELECT coalesce(max(through), 0) FROM dropped WHERE {condition}");
        self.read(|connection| connection.query_row(&query, [select.keys().0], |row| row.get(0)))
    }

    /// Forgets everything of a network, or of one of its apps.
    pub fn forget(&self, network: i64, app: Option<i64>) -> Result<()> {
        self.read(|connection| match app {
            Some(app) => connection.execute("DELETE FROM lines WHERE app = ?1", [app]),
            None => connection.execute("DELETE FROM lines WHERE network = ?1", [network]),
        })
        .map(drop)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        work(&reader).map_err(explain)
    }
}

fn line(row: &Row<'_>, name: &dyn Fn(i64) -> Option<String>) -> rusqlite::Result<Line> {
    let millis: u64 = row.get(1)?;
    let app: Option<i64> = row.get(3)?;
    Ok(Line {
        seq: row.get(0)?,
        time: rfc3339(UNIX_EPOCH + Duration::from_millis(millis)),
        source: SOURCES.get(row.get::<_, usize>(2)?).copied().unwrap_or(Source::Event),
        app: app.and_then(name),
        release: row.get(4)?,
        text: row.get(5)?,
    })
}

fn write_all(mut connection: Connection, mut lines: mpsc::Receiver<NewLine>, newest: &watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut cleaned = Instant::now();
    while lines.blocking_recv_many(&mut batch, BATCH) > 0 {
        // A full disk must not stop the apps: the lines are lost, and said to be.
        match write(&mut connection, &batch) {
            Ok(seq) => drop(newest.send_replace(seq)),
            Err(error) => say!("lost {} log lines: {error}", batch.len()),
        }
        for line in batch.drain(..) {
            if let Some(stored) = line.stored {
                // Who asked may have stopped waiting.
                let _ = stored.send(());
            }
        }
        if cleaned.elapsed() > CLEAN_EVERY {
            cleaned = Instant::now();
            if let Err(error) = clean(&mut connection, SystemTime::now(), KEEP_LINES) {
                say!("cannot drop old log lines: {error}");
            }
        }
    }
}

fn write(connection: &mut Connection, batch: &[NewLine]) -> Result<u64> {
    let now = millis(SystemTime::now());
    let transaction = connection.transaction().map_err(explain)?;
    let mut insert = transaction
        .prepare_cached(
            "INSERT INTO lines(time, network, app, build, source, release, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .map_err(explain)?;
    for line in batch {
        let source = SOURCES.iter().position(|source| *source == line.source).unwrap_or(0);
        let build = line.source == Source::Build;
        let values: [&dyn ToSql; 7] =
            [&now, &line.network, &line.app, &build, &source, &line.release, &line.text];
        insert.execute(values).map_err(explain)?;
    }
    drop(insert);
    let newest = transaction.last_insert_rowid();
    transaction.commit().map_err(explain)?;
    u64::try_from(newest).map_err(|_| Error::new(Kind::Internal, "a sequence number is negative"))
}

/// Drops what is too old, and of each app what is more than `keep` lines, and remembers
/// up to where.
fn clean(connection: &mut Connection, now: SystemTime, keep: u64) -> Result<()> {
    let transaction = connection.transaction().map_err(explain)?;
    let oldest = millis(now).saturating_sub(millis(UNIX_EPOCH + KEEP_FOR));
    let streams: Vec<(i64, Option<i64>, bool)> = {
        let mut query =
            transaction.prepare("SELECT DISTINCT network, app, build FROM lines").map_err(explain)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.and_then(Iterator::collect).map_err(explain)?
    };
    for (network, app, build) in streams {
        let through: u64 = transaction
            .query_row(
                "SELECT max(
                   coalesce((SELECT max(seq) FROM lines WHERE network = ?1 AND app IS ?2 AND build = ?3 AND time < ?4), 0),
                   coalesce((SELECT seq FROM lines WHERE network = ?1 AND app IS ?2 AND build = ?3
                             ORDER BY seq DESC LIMIT 1 OFFSET ?5), 0))",
                params![network, app, build, oldest, keep],
                |row| row.get(0),
            )
            .map_err(explain)?;
        if through == 0 {
            continue;
        }
        transaction
            .execute(
                "DELETE FROM lines WHERE network = ?1 AND app IS ?2 AND build = ?3 AND seq <= ?4",
                params![network, app, build, through],
            )
            .map_err(explain)?;
        transaction
            .execute(
                "INSERT INTO dropped(network, app, build, through) VALUES (?1, coalesce(?2, 0), ?3, ?4)
                 ON CONFLICT DO UPDATE SET through = excluded.through",
                params![network, app, build, through],
            )
            .map_err(explain)?;
    }
    transaction.commit().map_err(explain)
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::oneshot;

    fn new(app: Option<i64>, source: Source, text: &str) -> NewLine {
        NewLine { network: 1, app, release: Some(1), source, text: text.to_owned(), stored: None }
    }

    fn name(app: i64) -> Option<String> {
        Some(format!("app{app}"))
    }

    async fn world(lines: Vec<NewLine>) -> (tempfile::TempDir, Arc<Logs>) {
        let dir = tempfile::tempdir().unwrap();
        let (logs, sender) = Logs::open(&dir.path().join("logs.db")).unwrap();
        let (stored, wait) = oneshot::channel();
        let mut last = new(Some(9), Source::Stdout, "last");
        last.stored = Some(stored);
        for line in lines {
            sender.send(line).await.unwrap();
        }
        sender.send(last).await.unwrap();
        wait.await.unwrap();
        (dir, logs)
    }

    #[tokio::test]
    async fn each_stream_shows_its_own_lines_in_order() {
        let (_dir, logs) = world(vec![
            new(Some(1), Source::Stdout, "a"),
            new(Some(1), Source::Build, "b"),
            new(Some(2), Source::Stderr, "c"),
            new(Some(1), Source::Access, "d"),
            new(None, Source::Event, "e"),
            new(Some(1), Source::Event, "f"),
        ])
        .await;
        let texts = |select, after| {
            let lines = logs.after(select, after, &name).unwrap();
            lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("")
        };
        assert_eq!(texts(Select::App(1), 0), "af");
        assert_eq!(texts(Select::App(1), 1), "f");
        assert_eq!(texts(Select::Builds(1), 0), "b");
        assert_eq!(texts(Select::Build(1, 1), 0), "b");
        assert_eq!(texts(Select::Build(1, 2), 0), "");
        assert_eq!(texts(Select::Network(1), 0), "acdeflast");
        let events = logs.events(1, 10, &name).unwrap();
        assert_eq!(events.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["f"]);
        assert_eq!(logs.before_newest(Select::App(1), 1).unwrap(), 1);
        assert_eq!(logs.before_newest(Select::App(1), 5).unwrap(), 0);
        let lines = logs.after(Select::Network(1), 4, &name).unwrap();
        assert_eq!(lines.first().unwrap().app, None);
        assert_eq!(lines.get(1).unwrap().app.as_deref(), Some("app1"));
    }

    #[tokio::test]
    async fn retention_drops_the_oldest_and_remembers_it() {
        let lines = (0..10).map(|n| new(Some(1), Source::Stdout, &n.to_string())).collect();
        let (dir, logs) = world(lines).await;
        assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 0);
        let mut connection = connect(&dir.path().join("logs.db"), "NORMAL").unwrap();
        clean(&mut connection, SystemTime::now(), 4).unwrap();
        assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 6);
        assert_eq!(logs.dropped_through(Select::Network(1)).unwrap(), 6);
        assert_eq!(logs.dropped_through(Select::App(9)).unwrap(), 0);
        assert_eq!(logs.after(Select::App(1), 0, &name).unwrap().first().unwrap().text, "6");
        clean(&mut connection, SystemTime::now() + KEEP_FOR + Duration::from_secs(60), 4).unwrap();
        assert_eq!(logs.dropped_through(Select::App(1)).unwrap(), 10);
    }
}
