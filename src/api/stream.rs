//! A followed stream of lines (logs, a deploy): keeps the cursor, so that a rejoin
//! goes on behind the last line, and grants credit as lines are taken.

use super::{Max, decode};
use crate::error::{Error, Kind, Result};
use crate::net::link::{Event, Subscription};
use crate::wire::deploy::Deploy;
use crate::wire::log::{Credit, End, Gap, Line, Lines, Mark};
use miniserde::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many lines the server may send ahead.
pub const CREDIT: u64 = 2048;
/// The cursor before there is one.
const NOWHERE: u64 = u64::MAX;

/// What comes along a stream.
pub enum Item {
    /// Lines, in order.
    Lines(Vec<Line>),
    /// Lines up to this sequence number are no longer kept.
    Gap(u64),
    /// Max is at work, and has found nothing yet.
    Mark,
    /// The deploy changed.
    State(Box<Deploy>),
    /// Something about the connection that a person may want to know.
    Note(String),
    /// Nothing more will come; true when what was followed was deleted.
    End(bool),
}

/// A joined stream.
pub struct Stream {
    subscription: Subscription,
    cursor: Arc<AtomicU64>,
    unacknowledged: u64,
    /// The end of the last gap that was told.
    gap: u64,
    deleted: bool,
}

impl Stream {
    /// Joins `topic` with what `params` makes of the cursor (none at first).
    pub fn open(
        max: &Max,
        topic: &str,
        params: impl Fn(Option<u64>) -> String + Send + 'static,
    ) -> Result<Stream> {
        let cursor = Arc::new(AtomicU64::new(NOWHERE));
        let seen = Arc::clone(&cursor);
        let params =
            Box::new(move || params(Some(seen.load(Ordering::Relaxed)).filter(|seq| *seq != NOWHERE)));
        let (_, subscription) = max.subscribe(topic, params)?;
        Ok(Stream { subscription, cursor, unacknowledged: 0, gap: 0, deleted: false })
    }

    /// The next item; an error of [`Kind::TimedOut`] at `deadline`.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Item> {
        loop {
            let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(event) = self.subscription.recv(patience)? else { return Err(late()) };
            return Ok(match event {
                Event::Message { event, payload } => match event.as_str() {
                    "lines" => Item::Lines(self.take(&payload)?),
                    "gap" => {
                        // A log of many apps may name one again after a rejoin.
                        let through = decode::<Gap>(&payload)?.through;
                        if through <= self.gap {
                            continue;
                        }
                        self.gap = through;
                        Item::Gap(through)
                    }
                    "mark" => {
                        self.advance(decode::<Mark>(&payload)?.seq);
                        Item::Mark
                    }
                    "end" => {
                        self.deleted = decode::<End>(&payload)?.reason == "deleted";
                        continue;
                    }
                    "state" => Item::State(Box::new(decode(&payload)?)),
                    _ => continue,
                },
                Event::Lost(reason) => Item::Note(format!("connection to Max lost ({reason}); reconnecting")),
                Event::Restored(_) => Item::Note("connected again".to_owned()),
                // It was there, and went while there was no connection.
                Event::Refused(error) if error.kind() == Kind::NotFound => Item::End(true),
                Event::Refused(error) => return Err(error),
                Event::Closed => Item::End(self.deleted),
                Event::Binary { .. } => continue,
            });
        }
    }

    fn seen(&self) -> Option<u64> {
        Some(self.cursor.load(Ordering::Relaxed)).filter(|seq| *seq != NOWHERE)
    }

    fn advance(&self, seq: u64) {
        self.cursor.store(self.seen().unwrap_or(0).max(seq), Ordering::Relaxed);
    }

    fn take(&mut self, payload: &str) -> Result<Vec<Line>> {
        let Lines { mut lines, credit } = decode(payload)?;
        self.unacknowledged += credit.unwrap_or(lines.len() as u64);
        // What still waited here when the connection broke comes again with the rejoin.
        if let Some(seen) = self.seen() {
            lines.retain_mut(|line| cut(line, seen));
        }
        if let Some(last) = lines.last() {
            self.advance(last_of(last));
        }
        if self.unacknowledged >= CREDIT / 2 {
            let credit = Credit { lines: std::mem::take(&mut self.unacknowledged) };
            self.subscription.push("credit", json::to_string(&credit))?;
        }
        Ok(lines)
    }
}

/// The number of the last line in it.
fn last_of(line: &Line) -> u64 {
    line.seq + line.text.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// Takes off what was seen; false when that is all.
fn cut(line: &mut Line, seen: u64) -> bool {
    let last = last_of(line);
    while line.seq <= seen && seen < last {
        let Some(end) = line.text.find('\n') else { break };
        line.text.drain(..=end);
        line.seq += 1;
    }
    last > seen
}

fn late() -> Error {
    Error::new(Kind::TimedOut, "Max did not answer in time")
        .hint("try again, or give it longer with --timeout")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_seen_is_cut_off() {
        for (seen, left) in [
            (0, Some((5, "a\n\nc"))),
            (4, Some((5, "a\n\nc"))),
            (5, Some((6, "\nc"))),
            (6, Some((7, "c"))),
            (7, None),
        ] {
            let text = r#"{"seq":5,"time":"","source":"stdout","app":null,"instance":null,"release":null,"level":null,"partial":false,"text":"a\n\nc"}"#;
            let mut line: Line = json::from_str(text).unwrap();
            assert_eq!(last_of(&line), 7);
            let more = cut(&mut line, seen);
            assert_eq!(more.then_some((line.seq, line.text.as_str())), left, "{seen}");
        }
    }
}
