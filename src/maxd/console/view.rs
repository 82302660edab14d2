//! One row of a terminal with a prompt and a line in it. A line that is too long for the row
//! scrolls sideways, and the last column stays free: so a terminal never wraps the row, and
//! where the cursor is does not depend on what it does when its width changes.

use super::line::{END, Line, wide};
use super::text::{cut, width};
use std::fmt::Write;

/// So many columns of the line are shown at least; the prompt is cut before.
const LINE_MIN: usize = 12;

/// How far it is scrolled.
#[derive(Default)]
pub struct View {
    /// The column of the line that stands first.
    offset: usize,
}

impl View {
    /// Writes the row anew. `\r` and `ESC [ K` are all it needs of a terminal, and
    /// `ESC [ N C`.
    pub fn paint(&mut self, out: &mut String, prompt: &str, line: &Line, columns: usize) {
        let prompt = cut(prompt, columns.saturating_sub(LINE_MIN + 1).min(width(prompt)));
        let room = columns.saturating_sub(width(&prompt) + 1).max(1);
        let cursor: usize = line.parts().0.chars().map(wide).sum();
        let length: usize = line.text().chars().map(wide).sum();
        self.scroll(cursor, length, room);
        out.push('\r');
        out.push_str(&prompt);
        self.push_line(out, line.text(), length, room);
        out.push_str("\x1b[K\r");
        let at = width(&prompt) + cursor - self.offset;
        if at > 0 {
            // A string takes what is written to it.
            let _ = write!(out, "\x1b[{at}C");
        }
    }

    /// Whether a line that ends at the cursor and gets `more` columns longer is still shown
    /// whole, so that what was added is all that has to be written.
    pub fn fits(&self, prompt: &str, line: &Line, more: usize, columns: usize) -> bool {
        let length: usize = line.text().chars().map(wide).sum();
        self.offset == 0 && width(prompt) + LINE_MIN < columns && width(prompt) + length + more < columns
    }

    /// Begins with the line's beginning again.
    pub fn reset(&mut self) {
        self.offset = 0;
    }

    /// By half rows, until the cursor is between the marks on both sides.
    fn scroll(&mut self, cursor: usize, length: usize, room: usize) {
        let (beyond, step) = (cursor.saturating_sub(room.saturating_sub(2)), (room / 2).max(1));
        self.offset = if length <= room { 0 } else { beyond.div_ceil(step) * step };
    }

    fn push_line(&self, out: &mut String, text: &str, length: usize, room: usize) {
        let (from, to) = (self.offset, self.offset + room);
        let (first, last) = (usize::from(from > 0), usize::from(length > to));
        if first > 0 {
            out.push('<');
        }
        let (mut at, mut done) = (0, from + first);
        for c in text.chars() {
            let end = at + wide(c);
            if at >= from + first && end <= to - last && (end > at || at > from + first) {
                // Half of a wide character to the left.
                (done..at).for_each(|_| out.push(' '));
                out.push(if c == '\n' { END } else { c });
                done = end;
            }
            at = end;
        }
        if last > 0 {
            (done..to - 1).for_each(|_| out.push(' '));
            out.push('>');
        }
    }
}
