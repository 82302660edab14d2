//! How lines lie in the database: blocks of runs. A run is lines that follow each other and
//! differ in nothing but their text.
//!
//! ```text
//! block  run run run …
//! run    time(8) release(8) instance(4) lines(4) length(4) source level partial text
//! ```
//!
//! Numbers are little endian, 0 is none. The texts are joined by line feeds. A block's
//! sequence numbers have no holes, so only its last is kept, in the row.

use crate::time::rfc3339;
use crate::wire::log::{Level, Line, Source};
use std::time::{Duration, UNIX_EPOCH};

/// The bytes before a run's text.
const HEAD: usize = 31;
/// When a block is full.
const FULL: usize = 64 * 1024;

const SOURCES: [Source; 5] = [Source::Stdout, Source::Stderr, Source::Build, Source::Access, Source::Event];
const LEVELS: [Level; 6] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

/// What lines of a run have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Head {
    /// When they were read, in milliseconds since 1970.
    pub time: u64,
    /// Where they come from.
    pub source: Source,
    /// The level they name.
    pub level: Option<Level>,
    /// The release they belong to.
    pub release: Option<u64>,
    /// The instance that wrote them; of detached commands the session.
    pub instance: Option<u64>,
    /// The beginning of a line that goes on.
    pub partial: bool,
}

impl Head {
    /// One of these lines as a document.
    pub fn line(&self, seq: u64, app: Option<String>, text: &str) -> Line {
        Line {
            seq,
            time: rfc3339(UNIX_EPOCH + Duration::from_millis(self.time)),
            source: self.source,
            app,
            instance: self.instance,
            release: self.release,
            level: self.level,
            partial: self.partial,
            text: text.to_owned(),
        }
    }
}

/// Lines that are alike.
pub struct Run<'a> {
    /// What they have in common.
    pub head: Head,
    /// How many there are.
    pub lines: u64,
    /// Their texts, joined by line feeds.
    pub text: &'a str,
}

/// The bit of a level in [`Block::levels`]; the lowest is that of lines without one.
pub fn bit(level: Option<Level>) -> u8 {
    1 << code(level)
}

/// The bit of lines about what maxd did.
pub const EVENTS: u8 = 1 << 7;

fn code(level: Option<Level>) -> u8 {
    let at = LEVELS.iter().position(|known| Some(*known) == level);
    at.map_or(0, |at| at as u8 + 1)
}

/// A block in the making.
#[derive(Default)]
pub struct Block {
    /// Its runs.
    pub data: Vec<u8>,
    /// How many lines it has.
    pub lines: u64,
    /// The times of its first and last line.
    pub since: u64,
    /// See `since`.
    pub until: u64,
    /// The [`bit`]s of the levels in it, and [`EVENTS`].
    pub levels: u8,
    /// The last run, and where it begins.
    last: Option<(Head, usize)>,
}

impl Block {
    /// Whether it should be written before more comes.
    pub fn is_full(&self) -> bool {
        self.data.len() >= FULL
    }

    /// Appends a line.
    pub fn push(&mut self, head: Head, line: &str) {
        if self.lines == 0 {
            self.since = head.time;
        }
        self.until = head.time;
        self.levels |= bit(head.level);
        if head.source == Source::Event {
            self.levels |= EVENTS;
        }
        self.lines += 1;
        match self.last {
            Some((last, at)) if last == head && !head.partial => {
                self.data.push(b'\n');
                self.data.extend_from_slice(line.as_bytes());
                self.count(at);
            }
            _ => {
                let at = self.data.len();
                self.last = Some((head, at));
                self.data.extend_from_slice(&head.time.to_le_bytes());
                self.data.extend_from_slice(&head.release.unwrap_or(0).to_le_bytes());
                self.data.extend_from_slice(&(head.instance.unwrap_or(0) as u32).to_le_bytes());
                self.data.extend_from_slice(&[0; 8]);
                let source = SOURCES.iter().position(|source| *source == head.source).unwrap_or(0);
                self.data.extend_from_slice(&[source as u8, code(head.level), u8::from(head.partial)]);
                self.data.extend_from_slice(line.as_bytes());
                self.count(at);
            }
        }
    }

    /// One more line is in the run at `at`, which goes to the end of the data.
    fn count(&mut self, at: usize) {
        let length = (self.data.len() - at - HEAD) as u32;
        if let Some(counts) = self.data.get_mut(at + 20..at + 28) {
            let lines = number(counts.get(..4).unwrap_or_default()) as u32 + 1;
            counts[..4].copy_from_slice(&lines.to_le_bytes());
            counts[4..].copy_from_slice(&length.to_le_bytes());
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The runs of a block. What is damaged ends it.
pub struct Runs<'a>(pub &'a [u8]);

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let (head, rest) = self.0.split_at_checked(HEAD)?;
        let field = |from: usize, to: usize| number(head.get(from..to).unwrap_or_default());
        let (text, rest) = rest.split_at_checked(field(24, 28) as usize)?;
        self.0 = rest;
        let some = |value: u64| Some(value).filter(|value| *value > 0);
        let head = Head {
            time: field(0, 8),
            release: some(field(8, 16)),
            instance: some(field(16, 20)),
            source: SOURCES.get(field(28, 29) as usize).copied()?,
            level: field(29, 30).checked_sub(1).and_then(|at| LEVELS.get(at as usize)).copied(),
            partial: field(30, 31) == 1,
        };
        Some(Run { head, lines: field(20, 24), text: std::str::from_utf8(text).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_as_they_went_in() {
        let plain = Head {
            time: 1_795_514_400_999,
            source: Source::Stderr,
            level: None,
            release: Some(u64::MAX),
            instance: Some(7),
            partial: false,
        };
        let error = Head { level: Some(Level::Fatal), release: None, instance: None, ..plain };
        let piece = Head { partial: true, time: plain.time + 1, ..plain };
        let lines =
            [(plain, "a"), (plain, ""), (plain, "é"), (error, ""), (piece, "x"), (piece, "y"), (plain, "z")];
        let mut block = Block::default();
        lines.iter().for_each(|(head, line)| block.push(*head, line));
        let runs: Vec<_> = Runs(&block.data).map(|run| (run.head, run.lines, run.text)).collect();
        let expected =
            [(plain, 3, "a\n\né"), (error, 1, ""), (piece, 1, "x"), (piece, 1, "y"), (plain, 1, "z")];
        assert_eq!(runs, expected);
        assert_eq!((block.lines, block.since, block.until), (7, plain.time, plain.time));
        assert_eq!(block.levels, bit(None) | bit(Some(Level::Fatal)));
        for end in 0..block.data.len() {
            assert!(Runs(block.data.get(..end).unwrap_or_default()).count() < 5);
        }
    }
}
