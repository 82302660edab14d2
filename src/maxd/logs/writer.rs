//! The thread that writes: takes what waits, makes blocks of it, and drops what is no
//! longer kept.

use super::block::{Block, Head};
use super::level::level;
use super::{Keep, Kind, Select, Shared, lock};
use crate::error::Result;
use crate::maxd::line::NewLine;
use crate::maxd::store::explain;
use crate::wire::log::{Level, Source};
use rusqlite::{Connection, Transaction, params};
use std::collections::HashMap;
use std::sync::mpsc as threads;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// Bundles in one transaction.
const BATCH: usize = 128;
/// What a row takes besides its data, about.
const ROW: u64 = 100;
/// When who was over the rate is told so, and when what was written last goes into the
/// database.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at what has become too old, at most.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// Blocks that one look drops of one stream, so that writing goes on.
const DROPPED: u64 = 64;
/// How many seconds' worth of lines an app may write at once.
const BURST: u64 = 10;
/// After so many bytes the write-ahead log goes into the database.
const CHECKPOINT: u64 = 8 << 20;
/// When the writer itself does that, in pages: who checkpoints beside it can't keep up.
const WAL_PAGES: u32 = 16_384;

/// Of which app and kind.
type Key = (i64, Kind);

pub struct Writer {
    connection: Connection,
    keep: Keep,
    newest: watch::Sender<u64>,
    told: Shared,
    streams: HashMap<Key, Stream>,
}

/// What is known of a stream.
struct Stream {
    network: i64,
    size: u64,
}

/// How many lines of an app are still let through, as of a time; and what was not.
struct Bucket {
    left: u64,
    at: u64,
    network: i64,
    dropped: u64,
    told: u64,
}

/// Blocks in the making, in the order in which their streams came.
#[derive(Default)]
struct Batch {
    blocks: Vec<(Key, i64, Block)>,
    open: HashMap<Key, usize>,
}

impl Batch {
    /// The block that takes the next line of a stream.
    fn block(&mut self, key: Key, network: i64) -> Option<&mut Block> {
        let full = |at: usize| self.blocks.get(at).is_none_or(|(.., block)| block.is_full());
        let at = match self.open.get(&key) {
            Some(at) if !full(*at) => *at,
            _ => {
                self.blocks.push((key, network, Block::default()));
                self.open.insert(key, self.blocks.len() - 1);
                self.blocks.len() - 1
            }
        };
        self.blocks.get_mut(at).map(|(.., block)| block)
    }
}

/// Starts the writer, and beside it a thread that brings what was written from the
/// write-ahead log into the database: that waits for the disk, which no line has to.
pub fn start(writer: Writer, disk: Connection, lines: mpsc::Receiver<NewLine>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (written, due) = threads::sync_channel(1);
    std::thread::Builder::new().name("logs".to_owned()).spawn(move || {
        runtime.block_on(writer.run(lines, &written));
    })?;
    std::thread::Builder::new().name("logs-disk".to_owned()).spawn(move || {
        while due.recv().is_ok() {
            let done = disk.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = done {
                say!("cannot write the logs through: {error}");
            }
        }
    })?;
    Ok(())
}

impl Writer {
    pub fn new(
        connection: Connection,
        keep: Keep,
        newest: watch::Sender<u64>,
        told: Shared,
    ) -> Result<Writer> {
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES).map_err(explain)?;
        let streams = {
            let mut query = connection
                .prepare("SELECT app, kind, max(network), sum(size) FROM blocks GROUP BY app, kind")
                .map_err(explain)?;
            let rows = query.query_map([], |row| {
                let kind = kind_of_code(row.get(1)?);
                Ok(((row.get(0)?, kind), Stream { network: row.get(2)?, size: row.get(3)? }))
            });
            rows.and_then(Iterator::collect).map_err(explain)?
        };
        Ok(Writer { connection, keep, newest, told, streams })
    }

    async fn run(mut self, mut lines: mpsc::Receiver<NewLine>, written: &threads::SyncSender<()>) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut buckets = HashMap::new();
        let clean_every = (self.keep.time / 10).clamp(TICK, CLEAN_EVERY);
        let (mut cleaned, mut ticked) = (Instant::now(), Instant::now());
        let mut unwritten = 0;
        loop {
            let pause = if unwritten > 0 || !buckets.is_empty() { TICK } else { clean_every };
            if let Ok(0) = timeout(pause, lines.recv_many(&mut waiting, BATCH)).await {
                return;
            }
            let now = millis(SystemTime::now());
            let mut batch = Batch::default();
            for line in waiting.iter().filter(|line| !line.is_mark()) {
                self.take(line, now, &mut batch, &mut buckets);
            }
            self.tell_dropped(now, &mut batch, &mut buckets);
            if !batch.blocks.is_empty() {
                unwritten += self.store(&batch);
            }
            for stored in waiting.drain(..).filter_map(|line| line.stored) {
                // Who asked may have stopped waiting.
                let _ = stored.send(());
            }
            if cleaned.elapsed() >= clean_every {
                cleaned = Instant::now();
                self.keep_house(SystemTime::now());
            }
            if unwritten >= CHECKPOINT || (unwritten > 0 && ticked.elapsed() >= TICK) {
                (unwritten, ticked) = (0, Instant::now());
                // When it is at work already it will see this too.
                let _ = written.try_send(());
            }
        }
    }

    /// Puts a bundle's lines into the batch.
    fn take(&self, line: &NewLine, now: u64, batch: &mut Batch, buckets: &mut HashMap<i64, Bucket>) {
        let key = key(line);
        let from_app = matches!(line.source, Source::Stdout | Source::Stderr);
        let mut allowed = match self.keep.rate {
            Some(rate) if from_app => bucket(buckets, key.0, line.network, rate, now).left,
            _ => u64::MAX,
        };
        let (mut kept, mut dropped) = (0, 0);
        for text in line.text.split('\n') {
            if allowed == 0 {
                dropped += 1;
                continue;
            }
            allowed -= 1;
            kept += 1;
            let head = Head {
                time: now,
                source: line.source,
                level: if from_app { level(text) } else { None },
                release: line.release,
                // They are apart: a block has lines of instances or of commands.
                instance: line.command.or(line.instance),
                partial: line.partial,
            };
            if let Some(block) = batch.block(key, line.network) {
                block.push(head, text);
            }
        }
        if self.keep.rate.is_some()
            && let Some(bucket) = buckets.get_mut(&key.0)
            && from_app
        {
            bucket.left -= kept;
            bucket.dropped += dropped;
        }
    }

    /// Says, at most once a second, how many lines were over the rate.
    fn tell_dropped(&self, now: u64, batch: &mut Batch, buckets: &mut HashMap<i64, Bucket>) {
        let Some(rate) = self.keep.rate else { return };
        for (app, bucket) in buckets.iter_mut() {
            if bucket.dropped == 0 || now < bucket.told + TICK.as_millis() as u64 {
                continue;
            }
            let dropped = std::mem::take(&mut bucket.dropped);
            bucket.told = now;
            lock(&self.told).counters.entry(*app).or_default().dropped += dropped;
            let text = format!("{dropped} lines dropped: over {rate} lines a second");
            let head = Head {
                time: now,
                source: Source::Event,
                level: Some(Level::Warn),
                release: None,
                instance: None,
                partial: false,
            };
            if let Some(block) = batch.block((*app, Kind::App), bucket.network) {
                block.push(head, &text);
            }
        }
        let fresh = |bucket: &Bucket| bucket.dropped > 0 || now < bucket.at + 10 * TICK.as_millis() as u64;
        buckets.retain(|_, bucket| fresh(bucket));
    }

    /// Writes the batch in one transaction; how many bytes that were.
    fn store(&mut self, batch: &Batch) -> u64 {
        // A full disk must not stop the apps: the lines are lost, and said to be.
        let (newest, size) = match self.insert(batch) {
            Ok(done) => done,
            Err(error) => {
                let lost: u64 = batch.blocks.iter().map(|(.., block)| block.lines).sum();
                say!("lost {lost} log lines: {error}");
                let mut told = lock(&self.told);
                for ((app, _), _, block) in &batch.blocks {
                    told.counters.entry((*app).max(0)).or_default().dropped += block.lines;
                }
                return 0;
            }
        };
        let mut told = lock(&self.told);
        for ((app, kind), network, block) in &batch.blocks {
            let counter = told.counters.entry((*app).max(0)).or_default();
            counter.lines += block.lines;
            counter.bytes += block.data.len() as u64;
            let streams = match kind {
                Kind::App => [Some(Select::App(*app)), Some(Select::Network(*network))],
                Kind::Build => [Some(Select::Builds(*app)), None],
                Kind::Access => [None, Some(Select::Network(*network))],
                Kind::Command => [Some(Select::Commands(*app)), None],
            };
            for stream in streams.into_iter().flatten() {
                // At least its own newest: one look too many does no harm.
                told.latest.insert(stream, newest);
            }
        }
        drop(told);
        self.newest.send_replace(newest);
        size
    }

    fn insert(&mut self, batch: &Batch) -> Result<(u64, u64)> {
        let mut seq = *self.newest.borrow();
        let mut total = 0;
        let transaction = self.connection.transaction().map_err(explain)?;
        for ((app, kind), network, block) in &batch.blocks {
            seq += block.lines;
            total += insert_block(&transaction, seq, (*app, *kind), *network, block)?;
        }
        // In the same transaction, so that the file does not grow first.
        for (key, network, block) in &batch.blocks {
            let stream = self.streams.entry(*key).or_insert_with(|| Stream { network: *network, size: 0 });
            stream.size += block.data.len() as u64 + ROW;
            if stream.size > self.keep.bytes {
                shorten(&transaction, *key, stream, self.keep.bytes)?;
            }
        }
        transaction.commit().map_err(explain)?;
        Ok((seq, total))
    }

    /// Drops what has become too old.
    fn keep_house(&mut self, now: SystemTime) {
        let oldest = millis(now.checked_sub(self.keep.time).unwrap_or(UNIX_EPOCH));
        let done = self.connection.transaction().map_err(explain).and_then(|transaction| {
            for (key, stream) in &mut self.streams {
                expire(&transaction, *key, stream, oldest)?;
            }
            transaction.commit().map_err(explain)
        });
        if let Err(error) = done {
            say!("cannot drop old log lines: {error}");
        }
        self.streams.retain(|_, stream| stream.size > 0);
    }
}

fn key(line: &NewLine) -> Key {
    let kind = match line.source {
        _ if line.command.is_some() => Kind::Command,
        Source::Build => Kind::Build,
        Source::Access => Kind::Access,
        _ => Kind::App,
    };
    (line.app.unwrap_or(-line.network), kind)
}

fn kind_of_code(code: i64) -> Kind {
    let all = [Kind::App, Kind::Build, Kind::Access, Kind::Command];
    all.into_iter().find(|kind| *kind as i64 == code).unwrap_or(Kind::App)
}

fn bucket(buckets: &mut HashMap<i64, Bucket>, app: i64, network: i64, rate: u64, now: u64) -> &mut Bucket {
    let most = rate.saturating_mul(BURST);
    let bucket =
        buckets.entry(app).or_insert_with(|| Bucket { left: most, at: now, network, dropped: 0, told: 0 });
    let more = now.saturating_sub(bucket.at).saturating_mul(rate) / 1000;
    if more > 0 {
        bucket.left = bucket.left.saturating_add(more).min(most);
        bucket.at = now;
    }
    bucket
}

fn insert_block(t: &Transaction<'_>, seq: u64, key: Key, network: i64, block: &Block) -> Result<u64> {
    let size = block.data.len() as u64 + ROW;
    let mut insert = t
        .prepare_cached(
            "INSERT INTO blocks(seq, lines, network, app, kind, size, since, until, levels, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .map_err(explain)?;
    let kind = key.1 as i64;
    insert
        .execute(params![
            seq,
            block.lines,
            network,
            key.0,
            kind,
            size,
            block.since,
            block.until,
            block.levels,
            block.data
        ])
        .map_err(explain)?;
    Ok(size)
}

/// Drops a stream's oldest blocks until it is within `limit` again.
fn shorten(t: &Transaction<'_>, key: Key, stream: &mut Stream, limit: u64) -> Result<()> {
    // What was forgotten meanwhile is not known here.
    let query = "SELECT coalesce(sum(size), 0) FROM blocks WHERE app = ?1 AND kind = ?2";
    let mut sum = t.prepare_cached(query).map_err(explain)?;
    let size: u64 = sum.query_row(params![key.0, key.1 as i64], |row| row.get(0)).map_err(explain)?;
    stream.size = size;
    // A little more than needed, so that this does not come with every block.
    let mut over = size.saturating_sub(limit - limit / 32);
    if size <= limit {
        return Ok(());
    }
    let mut oldest = t
        .prepare_cached("SELECT seq, size FROM blocks WHERE app = ?1 AND kind = ?2 ORDER BY seq")
        .map_err(explain)?;
    let mut rows = oldest.query(params![key.0, key.1 as i64]).map_err(explain)?;
    let mut through = 0;
    while let Some(row) = rows.next().map_err(explain)?
        && over > 0
    {
        through = row.get(0).map_err(explain)?;
        over = over.saturating_sub(row.get(1).map_err(explain)?);
    }
    drop(rows);
    drop_through(t, key, stream, through)
}

/// Drops a stream's blocks that ended before `oldest`; a bounded number of them.
fn expire(t: &Transaction<'_>, key: Key, stream: &mut Stream, oldest: u64) -> Result<()> {
    let query = "SELECT count(*), max(CASE WHEN until < ?4 THEN seq END) FROM
                 (SELECT seq, until FROM blocks WHERE app = ?1 AND kind = ?2 ORDER BY seq LIMIT ?3)";
    let mut find = t.prepare_cached(query).map_err(explain)?;
    let (blocks, through): (u64, Option<u64>) = find
        .query_row(params![key.0, key.1 as i64, DROPPED, oldest], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(explain)?;
    if blocks == 0 {
        stream.size = 0;
    }
    through.map_or(Ok(()), |through| drop_through(t, key, stream, through))
}

/// Drops a stream's blocks up to this number, and remembers it.
fn drop_through(t: &Transaction<'_>, key: Key, stream: &mut Stream, through: u64) -> Result<()> {
    let (app, kind) = (key.0, key.1 as i64);
    let mut sum = t
        .prepare_cached(
            "SELECT coalesce(sum(size), 0) FROM blocks WHERE app = ?1 AND kind = ?2 AND seq <= ?3",
        )
        .map_err(explain)?;
    let size: u64 = sum.query_row(params![app, kind, through], |row| row.get(0)).map_err(explain)?;
    stream.size = stream.size.saturating_sub(size);
    let mut delete =
        t.prepare_cached("DELETE FROM blocks WHERE app = ?1 AND kind = ?2 AND seq <= ?3").map_err(explain)?;
    delete.execute(params![app, kind, through]).map_err(explain)?;
    let mut remember = t
        .prepare_cached(
            "INSERT INTO dropped(network, app, kind, through) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET through = excluded.through",
        )
        .map_err(explain)?;
    remember.execute(params![stream.network, app, kind, through]).map_err(explain)?;
    Ok(())
}

/// Makes blocks of the lines of an older maxd, which had a row for each.
pub fn convert(connection: &mut Connection) -> Result<()> {
    let old = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'lines')";
    if !connection.query_row(old, [], |row| row.get::<_, bool>(0)).map_err(explain)? {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(explain)?;
    {
        let query = "SELECT seq, time, network, app, source, release, text FROM lines ORDER BY seq";
        let mut query = transaction.prepare(query).map_err(explain)?;
        let mut rows = query.query([]).map_err(explain)?;
        let (mut last, mut stream, mut block) = (0, None, Block::default());
        while let Some(row) = rows.next().map_err(explain)? {
            let (seq, source, line) = old_line(row).map_err(explain)?;
            let now = Some((key(&line), line.network));
            if now != stream || seq != last + 1 || block.is_full() {
                if let Some((key, network)) = stream {
                    insert_block(&transaction, last, key, network, &std::mem::take(&mut block))?;
                }
                stream = now;
            }
            last = seq;
            // An old text may have had a line feed, and had one number.
            block.push(source, &line.text.replace('\n', " "));
        }
        if let Some((key, network)) = stream {
            insert_block(&transaction, last, key, network, &block)?;
        }
    }
    transaction.execute("DROP TABLE lines", []).map_err(explain)?;
    transaction.commit().map_err(explain)
}

fn old_line(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, Head, NewLine)> {
    const SOURCES: [Source; 5] =
        [Source::Stdout, Source::Stderr, Source::Build, Source::Access, Source::Event];
    let source = SOURCES.get(row.get::<_, usize>(4)?).copied().unwrap_or(Source::Event);
    let line = NewLine::new(row.get(2)?, row.get(3)?, row.get(5)?, source, row.get(6)?);
    let head = Head {
        time: row.get(1)?,
        source,
        level: None,
        release: line.release,
        instance: None,
        partial: false,
    };
    Ok((row.get(0)?, head, line))
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What the tests of this module's parent do now and not in a second.
#[cfg(test)]
pub fn clean(connection: &mut Connection, app: i64, now: SystemTime, keep: Keep) -> Result<()> {
    let transaction = connection.transaction().map_err(explain)?;
    let mut stream = Stream { network: 1, size: keep.bytes + 1 };
    expire(&transaction, (app, Kind::App), &mut stream, millis(now - keep.time))?;
    shorten(&transaction, (app, Kind::App), &mut stream, keep.bytes)?;
    transaction.commit().map_err(explain)
}
