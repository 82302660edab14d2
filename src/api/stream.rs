//! A followed stream of lines (logs, a deploy): keeps the cursor, so that a rejoin
//! goes on behind the last line, and grants credit as lines are taken.

use super::{Max, decode, number, unclear};
use crate::error::{Error, Kind, Result};
use crate::json::{list, member, members, skip_space, skip_value, string};
use crate::net::link::{Event, Subscription};
use crate::packed::packed;
use crate::queue::Receiver;
use crate::wire::log::{Line, Source};
use miniserde::json::{self, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many lines the server may send ahead.
pub const CREDIT: u64 = 4096;
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
    State(Value),
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

    /// Waits until something comes, or there is something in another queue, or the deadline.
    pub fn wait_or<T>(&self, other: &Receiver<T>, deadline: Option<Instant>) {
        let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.subscription.wait_or(other, patience);
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
                        let through = number(&payload, "through")?;
                        if through <= self.gap {
                            continue;
                        }
                        self.gap = through;
                        Item::Gap(through)
                    }
                    "mark" => {
                        self.advance(number(&payload, "seq")?);
                        Item::Mark
                    }
                    "end" => {
                        let reason = member(&payload, "reason").ok_or_else(unclear)?;
                        if reason == "\"revoked\"" {
                            return Err(Error::new(
                                Kind::Forbidden,
                                packed!("you are no member of the network any more"),
                            )
                            .hint("ask one of its owners"));
                        }
                        self.deleted = reason == "\"deleted\"";
                        continue;
                    }
                    "state" => Item::State(decode(&payload)?),
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
        let (mut lines, credit) = read(payload)?;
        self.unacknowledged += credit.unwrap_or(lines.len() as u64);
        // What still waited here when the connection broke comes again with the rejoin.
        if let Some(seen) = self.seen() {
            lines.retain_mut(|line| cut(line, seen));
        }
        if let Some(last) = lines.last() {
            self.advance(last_of(last));
        }
        if self.unacknowledged >= CREDIT / 2 {
            let lines = std::mem::take(&mut self.unacknowledged);
            self.subscription.push("credit", format!("{{\"lines\":{lines}}}"))?;
        }
        Ok(lines)
    }
}

/// The lines of a `lines` event and the credit they took. Read by hand and in one go: lines
/// are most of what rig ever reads.
fn read(payload: &str) -> Result<(Vec<Line>, Option<u64>)> {
    let bytes = payload.as_bytes();
    let (mut lines, mut credit) = (Vec::new(), None);
    let walked = members(bytes, skip_space(bytes, 0), &mut |key, at| match key {
        b"\"lines\"" => list(bytes, at, &mut |at| {
            let mut line = Line {
                seq: 0,
                time: String::new(),
                source: Source::Event,
                app: None,
                instance: None,
                release: None,
                level: None,
                partial: false,
                text: String::new(),
            };
            let end = members(bytes, at, &mut |key, at| {
                let end = skip_value(bytes, at)?;
                let raw = payload.get(at..end).unwrap_or_default();
                fill(&mut line, key, raw).map(|()| end).ok_or(at)
            })?;
            lines.push(line);
            Ok(end)
        }),
        _ => {
            let end = skip_value(bytes, at)?;
            if key == b"\"credit\"" {
                credit = payload.get(at..end).and_then(|raw| raw.parse().ok());
            }
            Ok(end)
        }
    });
    walked.map(|_| (lines, credit)).map_err(|_| unclear())
}

/// Sets the member `key`; none when that can't be what `raw` says.
fn fill(line: &mut Line, key: &[u8], raw: &str) -> Option<()> {
    let text = || string(raw).map(Cow::into_owned);
    match key {
        b"\"seq\"" => line.seq = raw.parse().ok()?,
        b"\"time\"" => line.time = text()?,
        b"\"source\"" => line.source = json::from_str(raw).ok()?,
        b"\"app\"" => line.app = text(),
        b"\"instance\"" => line.instance = raw.parse().ok(),
        b"\"release\"" => line.release = raw.parse().ok(),
        b"\"level\"" => line.level = json::from_str(raw).ok(),
        b"\"partial\"" => line.partial = raw == "true",
        b"\"text\"" => line.text = text()?,
        _ => {}
    }
    Some(())
}

/// The number of the last line in it.
fn last_of(line: &Line) -> u64 {
    let words = line.text.as_bytes().chunks_exact(8);
    let rest = words.remainder().iter().filter(|byte| **byte == b'\n').count() as u64;
    line.seq + rest + words.map(line_feeds).sum::<u64>()
}

/// How many of eight bytes are line feeds, at once.
fn line_feeds(word: &[u8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let word = word.try_into().map_or(0, u64::from_le_bytes) ^ (ONES * 10);
    // The highest bit of each byte that is zero now.
    let zeros = !((word & (ONES * 127)).wrapping_add(ONES * 127) | word | (ONES * 127));
    (zeros >> 7).wrapping_mul(ONES) >> 56
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
    Error::new(Kind::TimedOut, packed!("Max did not answer in time"))
        .hint(packed!("try again, or give it longer with --timeout"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::log::Lines;

    #[test]
    fn lines_are_read_as_miniserde_reads_them() {
        let payload = r#" {"lines":[{"text":"a\n\u001b\"é","seq":5,"time":"t","source":"stderr","app":"web",
            "new":{"x":[1]},"instance":1,"release":2,"level":"warn","partial":true},
            {"seq":7,"time":"t","source":"event","app":null,"instance":null,"release":null,"level":null,
            "partial":false,"text":""}],"credit":3}"#;
        let (lines, credit) = read(payload).unwrap();
        let theirs: Lines = json::from_str(payload).unwrap();
        assert_eq!(credit, theirs.credit);
        let text = |lines: Vec<Line>| json::to_string(&Lines { lines, credit });
        assert_eq!(text(lines), text(theirs.lines));
        for broken in ["", "{", "[]", r#"{"lines":[{"seq":"x"}]}"#, r#"{"lines":5}"#] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn line_feeds_are_counted() {
        for word in
            [*b"\n\n\n\n\n\n\n\n", *b"a\nb\x0b\x09\x8a\nc", [0; 8], [0xff; 8], *b"\x0b\n\x0a\x0b\x00\x01\n "]
        {
            let expected = word.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(line_feeds(&word), expected);
        }
    }

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
