//! The progress of an upload on standard error: a line that is redrawn on a
//! terminal, a plain line every few seconds without one, nothing with `-o json`.

use super::output::Output;
use super::text::bytes;
use crate::sys::terminal;
use crate::time::human;
use std::time::{Duration, Instant};

/// Between two plain lines.
const PLAIN: Duration = Duration::from_secs(5);
/// Between two redraws.
const REDRAW: Duration = Duration::from_millis(100);

/// An upload.
pub struct Progress<'a> {
    output: &'a Output,
    total: Option<u64>,
    started: Instant,
    shown: Instant,
    drawn: bool,
}

impl<'a> Progress<'a> {
    /// Nothing of `total` bytes, if that is known, is done at `now`.
    pub fn new(output: &'a Output, total: Option<u64>, now: Instant) -> Progress<'a> {
        Progress { output, total, started: now, shown: now, drawn: false }
    }

    /// `done` bytes are done.
    pub fn update(&mut self, done: u64, now: Instant) {
        let every = if self.output.animated { REDRAW } else { PLAIN };
        if self.output.json || now.duration_since(self.shown) < every {
            return;
        }
        self.shown = now;
        let mut text = describe(done, self.total, now.duration_since(self.started));
        if self.output.animated {
            self.drawn = true;
            // All of it is ASCII.
            text.truncate(terminal::width().unwrap_or(usize::MAX));
            self.output.stderr(&format!("\r\u{1b}[K{text}"));
        } else {
            self.output.note(&text);
        }
    }

    /// Takes the line away and says how long it took to do `done` bytes.
    pub fn finish(&mut self, done: u64, now: Instant) {
        self.clear();
        let took = now.duration_since(self.started);
        self.output.note(&format!("uploaded {} in {}", bytes(done), human(took)));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.output.stderr("\r\u{1b}[K");
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `12.0 MiB of 40.0 MiB (30%), 4.0 MiB/s, 7s left`: short enough for 60 columns.
fn describe(done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let millis = (elapsed.as_millis() as u64).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let Some(total) = total else { return format!("{}, {}/s", bytes(done), bytes(rate)) };
    let percent = done.saturating_mul(100) / total.max(1);
    let left = total.saturating_sub(done).checked_div(rate);
    let left =
        left.map_or(String::new(), |seconds| format!(", {} left", human(Duration::from_secs(seconds))));
    format!("{} of {} ({percent}%), {}/s{left}", bytes(done), bytes(total), bytes(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_bytes_rate_and_what_remains() {
        let mib = 1024 * 1024;
        let text = describe(12 * mib, Some(40 * mib), Duration::from_secs(3));
        assert_eq!(text, "12.0 MiB of 40.0 MiB (30%), 4.0 MiB/s, 7.0s left");
        assert_eq!(describe(12 * mib, None, Duration::from_secs(3)), "12.0 MiB, 4.0 MiB/s");
        assert_eq!(describe(0, Some(10), Duration::ZERO), "0 B of 10 B (0%), 0 B/s");
        assert_eq!(describe(0, Some(0), Duration::ZERO), "0 B of 0 B (0%), 0 B/s");
    }
}
