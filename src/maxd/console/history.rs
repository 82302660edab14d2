//! The lines that were typed before.

use super::line::Line;
use std::collections::VecDeque;

/// How many are kept, and how many bytes.
const LINES: usize = 500;
const BYTES: usize = 64 * 1024;

/// Lines, the newest last, and which of them is shown.
#[derive(Default)]
pub struct History {
    lines: VecDeque<String>,
    bytes: usize,
    /// How far back from the newest; 0 is the line that is being typed.
    back: usize,
    /// That line, while another is shown.
    typed: Line,
}

impl History {
    /// Keeps a line, unless it is empty or the newest already.
    pub fn push(&mut self, line: &str) {
        self.back = 0;
        self.typed = Line::default();
        let line = line.trim_end();
        if line.is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// The line `back` lines before the newest, from 1.
    fn get(&self, back: usize) -> Option<&str> {
        self.lines.get(self.lines.len().checked_sub(back)?).map(String::as_str)
    }

    /// The next older line in the place of `shown`.
    pub fn older(&mut self, shown: &Line) -> Option<Line> {
        let line = Line::new(self.get(self.back + 1)?);
        if self.back == 0 {
            self.typed = shown.clone();
        }
        self.back += 1;
        Some(line)
    }

    /// The next newer line; the one that was being typed is the last.
    pub fn newer(&mut self) -> Option<Line> {
        self.back = self.back.checked_sub(1)?;
        match self.back {
            0 => Some(std::mem::take(&mut self.typed)),
            back => self.get(back).map(Line::new),
        }
    }

    /// The newest line from `back` on that contains `text`: how far back it is, and the line
    /// with the cursor before what was found.
    pub fn find(&self, text: &str, back: usize) -> Option<(usize, Line)> {
        (back.max(1)..=self.lines.len()).find_map(|back| {
            let line = self.get(back)?;
            let at = line.rfind(text)?;
            let mut found = Line::new(line);
            found.go_to(at);
            Some((back, found))
        })
    }

    /// Shows the line `back` in the place of `shown`, as if it was gone to.
    pub fn show(&mut self, back: usize, shown: &Line) {
        if self.back == 0 {
            self.typed = shown.clone();
        }
        self.back = back;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_line_being_typed_comes_back() {
        let mut history = History::default();
        for line in ["one", "two", "two", " ", "three"] {
            history.push(line);
        }
        let mut line = Line::new("typ");
        for wanted in ["three", "two", "one"] {
            line = history.older(&line).unwrap();
            assert_eq!(line.text(), wanted);
        }
        assert!(history.older(&line).is_none());
        for wanted in ["two", "three", "typ"] {
            line = history.newer().unwrap();
            assert_eq!(line.text(), wanted);
        }
        assert!(history.newer().is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut history = History::default();
        (0..2 * LINES).for_each(|number| history.push(&number.to_string()));
        assert_eq!((history.lines.len(), history.lines.front().unwrap().as_str()), (LINES, "500"));
        (0..100).for_each(|number| history.push(&format!("{number}{}", "x".repeat(4000))));
        assert!(history.bytes <= BYTES && history.lines.len() < 20);
        assert_eq!(history.bytes, history.lines.iter().map(String::len).sum::<usize>());
    }
}
