//! A followed stream of lines (logs, a deploy): keeps the cursor, so that a rejoin
//! goes on behind the last line, and grants credit as lines are taken.

use super::{Max, decode};
use crate::error::{Error, Kind, Result};
use crate::net::link::{Event, Subscription};
use crate::wire::deploy::Deploy;
use crate::wire::log::{Credit, Gap, Line, Lines};
use miniserde::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many lines the server may send ahead.
pub const CREDIT: u64 = 1000;

/// What comes along a stream.
pub enum Item {
    /// Lines, in order.
    Lines(Vec<Line>),
    /// Lines up to this sequence number are no longer kept.
    Gap(u64),
    /// The deploy changed.
    State(Box<Deploy>),
    /// Something about the connection that a person may want to know.
    Note(String),
    /// Nothing more will come.
    End,
}

/// A joined stream.
pub struct Stream {
    subscription: Subscription,
    cursor: Arc<AtomicU64>,
    unacknowledged: u64,
}

impl Stream {
    /// Joins `topic` with what `params` makes of the cursor (none at first).
    pub fn open(
        max: &Max,
        topic: &str,
        params: impl Fn(Option<u64>) -> String + Send + 'static,
    ) -> Result<Stream> {
        let cursor = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&cursor);
        let params = Box::new(move || params(Some(seen.load(Ordering::Relaxed)).filter(|seq| *seq > 0)));
        let (_, subscription) = max.subscribe(topic, params)?;
        Ok(Stream { subscription, cursor, unacknowledged: 0 })
    }

    /// The next item; an error of [`Kind::TimedOut`] at `deadline`.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Item> {
        loop {
            let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(event) = self.subscription.recv(patience)? else { return Err(late()) };
            return Ok(match event {
                Event::Message { event, payload } => match event.as_str() {
                    "lines" => Item::Lines(self.take(&payload)?),
                    "gap" => Item::Gap(decode::<Gap>(&payload)?.through),
                    "state" => Item::State(Box::new(decode(&payload)?)),
                    _ => continue,
                },
                Event::Lost(reason) => Item::Note(format!("connection to Max lost ({reason}); reconnecting")),
                Event::Restored(_) => Item::Note("connected again".to_owned()),
                Event::Refused(error) => return Err(error),
                Event::Closed => Item::End,
                Event::Binary { .. } => continue,
            });
        }
    }

    fn take(&mut self, payload: &str) -> Result<Vec<Line>> {
        let mut lines = decode::<Lines>(payload)?.lines;
        self.unacknowledged += lines.len() as u64;
        // What still waited here when the connection broke comes again with the rejoin.
        let seen = self.cursor.load(Ordering::Relaxed);
        lines.retain(|line| line.seq > seen);
        if let Some(last) = lines.last() {
            self.cursor.store(last.seq, Ordering::Relaxed);
        }
        if self.unacknowledged >= CREDIT / 2 {
            let credit = Credit { lines: std::mem::take(&mut self.unacknowledged) };
            self.subscription.push("credit", json::to_string(&credit))?;
        }
        Ok(lines)
    }
}

fn late() -> Error {
    Error::new(Kind::TimedOut, "Max did not answer in time")
        .hint("try again, or give it longer with --timeout")
}
