//! The log database: every line once, in order, with a sequence number.
//!
//! ```text
//! pumps, router, platform ──NewLine──▶ writer ──▶ SQLite ──▶ readers, woken by `newest`
//! ```
//!
//! One thread writes blocks of lines, one transaction for all that waits on a bounded
//! channel; when it can't keep up, who sends waits. Readers have connections of their own
//! and read a bounded step at a time.

mod block;
mod filter;
mod level;
mod scan;
mod writer;

pub use block::{Head, Run};
pub use filter::{Filter, instant};
pub use scan::{Found, Tail};

use super::line::NewLine;
use super::store::{connect, explain, migrate};
use crate::error::{Error, Result};
use crate::wire::log::Line;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Bundles of lines on their way to the writer.
const QUEUE: usize = 1024;
/// Steps in which the newest lines are looked for, back and forth, and how many bytes of
/// them are given.
const NEWEST_STEPS: usize = 32;
const NEWEST_BYTES: usize = 1 << 20;
/// Connections that are kept for the next reader.
const IDLE: usize = 4;

const SCHEMA: &[&str] = &[include_str!("schema/logs1.sql"), include_str!("schema/logs2.sql")];

/// What is kept.
#[derive(Clone, Copy)]
pub struct Keep {
    /// For how long.
    pub time: Duration,
    /// How many bytes of one app and kind.
    pub bytes: u64,
    /// How many lines an app may write in a second; what comes above is dropped. None: it
    /// waits instead.
    pub rate: Option<u64>,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { time: Duration::from_secs(7 * 24 * 3600), bytes: 256 << 20, rate: None }
    }
}

/// The kinds of lines of an app, which are kept apart: what it and maxd say, builds,
/// requests, and detached commands, which must not push out the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    App = 0,
    Build = 1,
    Access = 2,
    Command = 3,
}

/// Which stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Select {
    /// What an app writes, and what happened to it.
    App(i64),
    /// An app's builds.
    Builds(i64),
    /// What an app's detached commands write.
    Commands(i64),
    /// Everything of a network but builds and detached commands.
    Network(i64),
}

impl Select {
    /// The blocks, or what was dropped of them; `?1` is the key.
    fn condition(self) -> &'static str {
        match self {
            Select::App(_) => "app = ?1 AND kind = 0",
            Select::Builds(_) => "app = ?1 AND kind = 1",
            Select::Commands(_) => "app = ?1 AND kind = 3",
            Select::Network(_) => "network = ?1 AND kind NOT IN (1, 3)",
        }
    }

    fn key(self) -> i64 {
        match self {
            Select::App(id) | Select::Builds(id) | Select::Commands(id) | Select::Network(id) => id,
        }
    }
}

/// What an app has written since maxd started.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Counter {
    /// Lines that were kept.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines that were dropped: over the rate, or because the disk was full.
    pub dropped: u64,
}

/// What the writer tells the readers of what it wrote.
#[derive(Default)]
struct Told {
    /// By the app's row; a network's own lines count under 0.
    counters: HashMap<i64, Counter>,
    /// The newest line of each stream since maxd started.
    latest: HashMap<Select, u64>,
}

type Shared = Arc<Mutex<Told>>;

/// The database, for readers.
pub struct Logs {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    newest: watch::Receiver<u64>,
    told: Shared,
}

impl Logs {
    /// Opens (or makes) the database; the sender is where lines go.
    pub fn open(path: &Path, keep: Keep) -> Result<(Arc<Logs>, mpsc::Sender<NewLine>)> {
        let mut connection = connect(path, "NORMAL")?;
        migrate(&mut connection, SCHEMA, path)?;
        writer::convert(&mut connection)?;
        let newest = connection
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'blocks'", [], |row| row.get(0))
            .optional()
            .map_err(explain)?
            .unwrap_or(0);
        let (sender, lines) = mpsc::channel(QUEUE);
        let (tell, newest) = watch::channel(newest);
        let told = Shared::default();
        let writer = writer::Writer::new(connection, keep, tell, Arc::clone(&told))?;
        let disk = connect(path, "NORMAL")?;
        writer::start(writer, disk, lines).map_err(|error| Error::io("start", "the log writer", &error))?;
        Ok((Arc::new(Logs { path: path.to_owned(), idle: Mutex::default(), newest, told }), sender))
    }

    /// The newest sequence number, now and whenever it changes.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// The newest line of a stream that was written since maxd started; 0 when there is none.
    pub fn latest(&self, select: Select) -> u64 {
        lock(&self.told).latest.get(&select).copied().unwrap_or(0)
    }

    /// What each app (by its row) has written since maxd started.
    pub fn counters(&self) -> Vec<(i64, Counter)> {
        lock(&self.told).counters.iter().map(|(app, counter)| (*app, *counter)).collect()
    }

    /// The newest lines that `filter` wants, the newest last; as far as they are found in
    /// bounded time and space. `name` gives an app its name.
    pub fn newest_lines(
        &self,
        select: Select,
        filter: &Filter,
        count: u64,
        name: &dyn Fn(i64) -> Option<String>,
    ) -> Result<Vec<Line>> {
        let mut tail = Tail { before: *self.newest.borrow(), wanted: count, more: count > 0 };
        for _ in 0..NEWEST_STEPS {
            if !tail.more {
                break;
            }
            tail = self.tail(select, filter, tail)?;
        }
        let (mut lines, mut size) = (VecDeque::new(), 0);
        let (mut after, mut more) = (tail.before, true);
        for _ in 0..NEWEST_STEPS {
            if !more {
                break;
            }
            let mut take = |app: Option<i64>, seq: u64, head: &Head, text: &str| {
                size += text.len();
                lines.push_back(head.line(seq, app.and_then(name), text));
                while size > NEWEST_BYTES {
                    size -= lines.pop_front().map_or(size, |line: Line| line.text.len());
                }
                true
            };
            let found = self.scan(select, filter, after, &mut take)?;
            (after, more) = (found.after, found.more);
        }
        // Some may have come since.
        let over = lines.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        lines.drain(..over);
        Ok(lines.into())
    }

    /// Up to where retention has dropped lines; 0 when nothing was dropped.
    pub fn dropped_through(&self, select: Select) -> Result<u64> {
        self.read(|connection| scan::dropped_through(connection, select))
    }

    /// Looks at a bounded number of lines behind `after`, in order, and hands those that
    /// `filter` wants to `take`, until it wants no more.
    pub fn scan(
        &self,
        select: Select,
        filter: &Filter,
        after: u64,
        take: &mut scan::Take<'_>,
    ) -> Result<Found> {
        // What is newer is not looked for: it may be stored in the middle of this.
        let newest = *self.newest.borrow();
        self.read(|connection| scan::scan(connection, select, filter, (after, newest), take))
    }

    /// Looks, from the newest line back, for the place behind which exactly `tail.wanted`
    /// lines stand that `filter` wants; a bounded step of that.
    pub fn tail(&self, select: Select, filter: &Filter, tail: Tail) -> Result<Tail> {
        self.read(|connection| scan::tail(connection, select, filter, tail))
    }

    /// Forgets everything of a network, or of one of its apps.
    pub fn forget(&self, network: i64, app: Option<i64>) -> Result<()> {
        let (condition, key) = match app {
            Some(app) => ("app", app),
            None => ("network", network),
        };
        match (app, &mut *lock(&self.told)) {
            (Some(app), told) => {
                told.counters.remove(&app);
                for select in [Select::App(app), Select::Builds(app), Select::Commands(app)] {
                    told.latest.remove(&select);
                }
            }
            (None, told) => drop(told.latest.remove(&Select::Network(network))),
        }
        // A little at a time, so that the writer gets its turn.
        let some = format!(
            "DELETE FROM blocks WHERE seq IN (SELECT seq FROM blocks WHERE {condition} = ?1 LIMIT 64)"
        );
        while self.read(|connection| connection.execute(&some, [key]))? > 0 {}
        let rest = format!("DELETE FROM dropped WHERE {condition} = ?1");
        self.read(|connection| connection.execute(&rest, [key])).map(drop)
    }

    /// Forgets what neither an app nor a network of these has: a crash came before that could
    /// be done.
    pub fn retain(&self, apps: &[i64], networks: &[i64]) -> Result<()> {
        let all = |column: &str| {
            self.read(|connection| {
                // Each has an index that begins with it.
                let mut query = connection.prepare(&format!("SELECT DISTINCT {column} FROM blocks"))?;
                let rows = query.query_map([], |row| row.get(0))?;
                rows.collect::<rusqlite::Result<Vec<i64>>>()
            })
        };
        for network in all("network")?.into_iter().filter(|network| !networks.contains(network)) {
            self.forget(network, None)?;
        }
        // A network's own lines have no app.
        for app in all("app")?.into_iter().filter(|app| *app > 0 && !apps.contains(app)) {
            self.forget(0, Some(app))?;
        }
        Ok(())
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = lock(&self.idle).pop();
        let connection = idle.map_or_else(|| connect(&self.path, "NORMAL"), Ok)?;
        let done = work(&connection).map_err(explain);
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE {
            idle.push(connection);
        }
        done
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
