//! The line that is being typed: text, a cursor, and what was cut out of it.

use super::text::columns;

/// The longest line, in bytes.
pub const LINE_MAX: usize = 4096;

/// What a line's end inside it is shown as: several lines that were pasted wait for Enter.
pub const END: char = '↵';

/// The columns a character of a line takes.
pub fn wide(c: char) -> usize {
    if c == '\n' { columns(END) } else { columns(c) }
}

/// A line and its cursor.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Line {
    text: String,
    /// A byte of `text`, where a character begins, or its end.
    cursor: usize,
}

/// What ends a word for Alt-B and the like, and for Ctrl-W.
#[derive(Clone, Copy)]
pub enum Word {
    /// Letters and digits.
    Letters,
    /// Anything but spaces.
    Spaces,
}

impl Word {
    fn has(self, c: char) -> bool {
        match self {
            Word::Letters => c.is_alphanumeric(),
            Word::Spaces => !c.is_whitespace(),
        }
    }
}

impl Line {
    /// A line with the cursor at its end.
    pub fn new(text: &str) -> Line {
        Line { text: text.to_owned(), cursor: text.len() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is before the cursor, and what is behind it.
    pub fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Whether the cursor is behind everything.
    pub fn at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// Puts the cursor there, which must be where a character begins.
    pub fn go_to(&mut self, at: usize) {
        if self.text.is_char_boundary(at) {
            self.cursor = at;
        }
    }

    /// Inserts at the cursor; whether there was room for it.
    pub fn insert(&mut self, text: &str) -> bool {
        if self.text.len() + text.len() > LINE_MAX {
            return false;
        }
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
        true
    }

    /// Replaces what is from `start` to the cursor; whether there was room for it.
    pub fn replace(&mut self, start: usize, text: &str) -> bool {
        let before = self.clone();
        self.cut(start);
        let fits = self.insert(text);
        if !fits {
            *self = before;
        }
        fits
    }

    /// The place before the character to the left, with all that combines with it.
    pub fn left(&self) -> usize {
        let before = self.parts().0.char_indices().rev();
        before.into_iter().find(|(_, c)| wide(*c) > 0).map_or(0, |(at, _)| at)
    }

    /// The place behind the character to the right.
    pub fn right(&self) -> usize {
        let mut behind = self.parts().1.char_indices().skip(1);
        behind.find(|(_, c)| wide(*c) > 0).map_or(self.text.len(), |(at, _)| self.cursor + at)
    }

    /// The beginning of the word to the left.
    pub fn word_left(&self, word: Word) -> usize {
        let before = self.parts().0.trim_end_matches(|c| !word.has(c));
        before.trim_end_matches(|c| word.has(c)).len()
    }

    /// The end of the word to the right.
    pub fn word_right(&self) -> usize {
        let behind = self.parts().1.trim_start_matches(|c| !Word::Letters.has(c));
        self.text.len() - behind.trim_start_matches(|c| Word::Letters.has(c)).len()
    }

    /// Takes out what is between `at` and the cursor, which is there then.
    pub fn cut(&mut self, at: usize) -> String {
        let (from, to) = (at.min(self.cursor), at.max(self.cursor));
        if self.text.get(from..to).is_none() {
            return String::new();
        }
        self.cursor = from;
        self.text.drain(from..to).collect()
    }

    /// Exchanges the two characters before the cursor, or around it; false where there are
    /// not two.
    pub fn transpose(&mut self) -> bool {
        let place = if self.at_end() { self.left() } else { self.cursor };
        let end = Line { cursor: place, ..self.clone() }.right();
        let start = Line { cursor: place, ..self.clone() }.left();
        let (Some(one), Some(two)) = (self.text.get(start..place), self.text.get(place..end)) else {
            return false;
        };
        if one.is_empty() || two.is_empty() {
            return false;
        }
        let turned = format!("{two}{one}");
        self.text.replace_range(start..end, &turned);
        self.cursor = end;
        true
    }
}
