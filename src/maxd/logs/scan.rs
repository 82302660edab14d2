//! Reading: a bounded step forward behind a cursor, and a bounded step back from the end.

use super::block::{Head, Runs};
use super::{Filter, Select};
use rusqlite::{Connection, Row, Rows, params};

/// Bytes that are looked at in one step.
const STEP_BYTES: usize = 512 * 1024;
/// Blocks that are looked at in one step, also those that are passed by their row.
const STEP_BLOCKS: usize = 2048;

/// Takes a line: the app's row, the line's number, what it has in common with others, and
/// its text. False when it takes no more, and has not taken this one.
pub type Take<'a> = dyn FnMut(Option<i64>, u64, &Head, &str) -> bool + 'a;

/// What a step forward has come to.
pub struct Found {
    /// Up to here everything was looked at.
    pub after: u64,
    /// What retention has dropped: everything up to here, at least in one of the streams.
    pub dropped: u64,
    /// There is more to look at.
    pub more: bool,
}

/// The state of looking back.
#[derive(Clone, Copy)]
pub struct Tail {
    /// Before this number nothing was looked at.
    pub before: u64,
    /// So many lines are still to be found; at 0, or when there is nothing more to look at,
    /// `before` is the place.
    pub wanted: u64,
    /// There is more to look at.
    pub more: bool,
}

pub fn dropped_through(connection: &Connection, select: Select) -> rusqlite::Result<u64> {
    let query = format!("SELECT coalesce(max(through), 0) FROM dropped WHERE {}", select.condition());
    connection.prepare_cached(&query)?.query_row([select.key()], |row| row.get(0))
}

/// A block's row without its data.
struct Place {
    first: u64,
    last: u64,
    app: Option<i64>,
    admitted: bool,
}

const COLUMNS: &str = "seq, lines, app, since, until, levels, data";

fn place(row: &Row<'_>, filter: &Filter) -> rusqlite::Result<Place> {
    let (last, lines, app): (u64, u64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(Place {
        first: (last + 1).saturating_sub(lines),
        last,
        app: Some(app).filter(|app| *app > 0),
        admitted: filter.admits_block(row.get(3)?, row.get(4)?, row.get(5)?),
    })
}

/// How much of a step is left.
struct Budget {
    bytes: usize,
    blocks: usize,
}

impl Budget {
    fn new() -> Budget {
        Budget { bytes: STEP_BYTES, blocks: STEP_BLOCKS }
    }

    /// The next row, while there is something left.
    fn next<'a>(&mut self, rows: &'a mut Rows<'_>) -> rusqlite::Result<Option<&'a Row<'a>>> {
        if self.blocks == 0 || self.bytes == 0 {
            return Ok(None);
        }
        self.blocks -= 1;
        rows.next()
    }

    fn is_spent(&self) -> bool {
        self.blocks == 0 || self.bytes == 0
    }
}

pub fn scan(
    connection: &Connection,
    select: Select,
    filter: &Filter,
    (after, newest): (u64, u64),
    take: &mut Take<'_>,
) -> rusqlite::Result<Found> {
    let snapshot = connection.unchecked_transaction()?;
    let dropped = dropped_through(&snapshot, select)?;
    let query =
        format!("SELECT {COLUMNS} FROM blocks WHERE {} AND seq > ?2 ORDER BY seq", select.condition());
    let mut statement = snapshot.prepare_cached(&query)?;
    let mut rows = statement.query(params![select.key(), after])?;
    let mut budget = Budget::new();
    let mut reached = after;
    while let Some(row) = budget.next(&mut rows)? {
        let place = place(row, filter)?;
        if place.admitted {
            let data = row.get_ref(6)?.as_blob()?;
            budget.bytes = budget.bytes.saturating_sub(data.len());
            if let Some(stopped) = hand_out(&place, data, after, filter, take) {
                return Ok(Found { after: reached.max(stopped), dropped, more: true });
            }
        }
        reached = place.last;
    }
    let more = budget.is_spent();
    Ok(Found { after: if more { reached } else { reached.max(newest) }, dropped, more })
}

/// Hands out a block's lines behind `after`; the number of the last one taken when `take`
/// wants no more.
fn hand_out(place: &Place, data: &[u8], after: u64, filter: &Filter, take: &mut Take<'_>) -> Option<u64> {
    let mut seq = place.first;
    for run in Runs(data) {
        let next = seq + run.lines;
        if next > after + 1 && filter.admits(&run.head) && filter.may_match(&run) {
            for (number, line) in (seq..next).zip(run.text.split('\n')) {
                if number > after
                    && (!filter.reads() || filter.matches(line))
                    && !take(place.app, number, &run.head, line)
                {
                    return Some(number - 1);
                }
            }
        }
        seq = next;
    }
    None
}

pub fn tail(
    connection: &Connection,
    select: Select,
    filter: &Filter,
    mut tail: Tail,
) -> rusqlite::Result<Tail> {
    let query =
        format!("SELECT {COLUMNS} FROM blocks WHERE {} AND seq <= ?2 ORDER BY seq DESC", select.condition());
    let mut statement = connection.prepare_cached(&query)?;
    let before = i64::try_from(tail.before).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![select.key(), before])?;
    let mut budget = Budget::new();
    while let Some(row) = budget.next(&mut rows)? {
        let place = place(row, filter)?;
        if place.admitted {
            let data = row.get_ref(6)?.as_blob()?;
            budget.bytes = budget.bytes.saturating_sub(data.len());
            let wanted = wanted(&place, data, filter);
            if let Some(skip) = wanted.len().checked_sub(tail.wanted as usize) {
                let first = wanted.get(skip).copied().unwrap_or(place.last + 1);
                return Ok(Tail { before: first - 1, wanted: 0, more: false });
            }
            tail.wanted -= wanted.len() as u64;
        }
        tail.before = place.first - 1;
    }
    tail.more = budget.is_spent();
    if !tail.more {
        tail.before = 0;
    }
    Ok(tail)
}

/// The numbers of the lines that are wanted.
fn wanted(place: &Place, data: &[u8], filter: &Filter) -> Vec<u64> {
    let mut numbers = Vec::new();
    hand_out(place, data, 0, filter, &mut |_, number, _, _| {
        numbers.push(number);
        true
    });
    numbers
}
