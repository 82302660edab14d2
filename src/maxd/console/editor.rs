//! A line editor that does no input and no output: bytes go in, and bytes for the terminal
//! and events come out. The keys are those of readline in its emacs mode.
//!
//! ```text
//! feed ─► waiting bytes ─ poll ─► Event::Line, Complete, End
//!                          └────► bytes for the terminal: take
//! ```
//!
//! Behind an event nothing more is looked at until it was answered: a line by [`Editor::begin`],
//! a request for completions by [`Editor::complete`]. So what is typed ahead waits, and the
//! pieces in which bytes come make no difference.
//!
//! **What is pasted** (between `ESC [ 200 ~` and `ESC [ 201 ~`) is text and nothing else:
//! nothing of it runs until Enter is pressed, then each of its lines does, in order. Without
//! such brackets a line feed can't be told from Enter.

use super::completion::{Completion, common, list};
use super::history::History;
use super::keys::{Decoder, Key};
use super::line::{Line, Word, wide};
use super::text::safe;
use super::view::View;
use std::collections::VecDeque;

/// So much may wait, in bytes.
pub const WAITING: usize = 64 * 1024;
/// The width of a terminal that does not tell, and the least there is.
const COLUMNS: usize = 80;
const COLUMNS_MIN: usize = 8;

/// What the program has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line to run. Answered by [`Editor::begin`].
    Line(String),
    /// What may stand in the place of the last word of this? Answered by
    /// [`Editor::complete`].
    Complete(String),
    /// There will be no further line.
    End,
}

/// A search through the lines typed before.
struct Search {
    text: String,
    /// How far back what is shown was found; 0 before anything was.
    back: usize,
    failed: bool,
    /// What was being typed.
    before: Line,
}

/// Where it is in answering.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Editing,
    /// An event waits for its answer.
    Waiting,
}

/// The editor.
pub struct Editor {
    prompt: String,
    columns: usize,
    mode: Mode,
    waiting: VecDeque<u8>,
    decoder: Decoder,
    line: Line,
    view: View,
    history: History,
    search: Option<Search>,
    /// What was cut out last, and whether the next cut is added to it.
    killed: String,
    killing: bool,
    /// The line as it was before what is being pasted, and whether all of that has fit.
    pasting: Option<(Line, bool)>,
    /// Further lines that were entered together.
    lines: VecDeque<String>,
    out: String,
    /// What is shown is not the line as it is.
    dirty: bool,
}

impl Editor {
    /// Begins with another prompt from the next line on.
    pub fn ask_with(&mut self, prompt: &str) {
        self.prompt = safe(prompt).into_owned();
    }

    /// An editor that waits for [`begin`](Editor::begin).
    pub fn new(prompt: &str, columns: u16) -> Editor {
        let mut editor = Editor {
            prompt: safe(prompt).into_owned(),
            columns: COLUMNS,
            mode: Mode::Waiting,
            waiting: VecDeque::new(),
            decoder: Decoder::default(),
            line: Line::default(),
            view: View::default(),
            history: History::default(),
            search: None,
            killed: String::new(),
            killing: false,
            pasting: None,
            lines: VecDeque::new(),
            out: String::new(),
            dirty: false,
        };
        editor.set_columns(columns);
        editor
    }

    /// Takes what was typed, as far as there is [`room`](Editor::room).
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes.iter().take(self.room()));
    }

    /// How many bytes may be fed.
    pub fn room(&self) -> usize {
        WAITING - self.waiting.len().min(WAITING)
    }

    /// The bytes for the terminal.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Begins a line. Pasted brackets are asked for meanwhile.
    pub fn begin(&mut self) {
        self.mode = Mode::Editing;
        self.line = Line::default();
        self.view.reset();
        if self.lines.is_empty() {
            self.out.push_str("\x1b[?2004h");
        }
        self.dirty = true;
    }

    /// Whether Ctrl-C is among what waits: that, and all before it, is done with then.
    pub fn interrupted(&mut self) -> bool {
        let Some(at) = self.waiting.iter().rposition(|byte| *byte == 0x03) else { return false };
        self.waiting.drain(..=at);
        self.decoder.reset();
        self.lines.clear();
        true
    }

    /// The terminal has another width. Terminals either cut the row or wrap it; what the
    /// latter leaves above stays, and nothing else is touched.
    pub fn resize(&mut self, columns: u16) {
        self.set_columns(columns);
        self.dirty = true;
        if self.mode == Mode::Editing {
            self.out.push_str("\r\x1b[J");
        }
    }

    /// The width of the terminal.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn set_columns(&mut self, columns: u16) {
        self.columns = if columns == 0 { COLUMNS } else { usize::from(columns).max(COLUMNS_MIN) };
    }

    /// The next event; none when more must be fed first.
    pub fn poll(&mut self) -> Option<Event> {
        while self.mode == Mode::Editing {
            if let Some(line) = self.lines.pop_front() {
                return Some(self.run(line));
            }
            let Some(byte) = self.waiting.pop_front() else {
                self.paint_if_dirty();
                return None;
            };
            if let Some(key) = self.decoder.take(byte)
                && let Some(event) = self.press(key)
            {
                self.mode = Mode::Waiting;
                return Some(event);
            }
        }
        None
    }

    /// A line as it is run: shown in full, as far as it fits.
    fn run(&mut self, line: String) -> Event {
        self.line = Line::new(&line);
        self.view.reset();
        self.paint();
        self.out.push_str(if self.lines.is_empty() { "\r\n\x1b[?2004l" } else { "\r\n" });
        self.history.push(&line);
        self.mode = Mode::Waiting;
        Event::Line(line)
    }

    fn paint_if_dirty(&mut self) {
        if self.dirty {
            self.paint();
        }
    }

    fn paint(&mut self) {
        self.dirty = false;
        let Editor { out, view, line, columns, .. } = self;
        match &self.search {
            None => view.paint(out, &self.prompt, line, *columns),
            Some(search) => {
                let failed = if search.failed { "failed " } else { "" };
                view.paint(out, &format!("({failed}search)'{}': ", search.text), line, *columns);
            }
        }
    }

    fn ring(&mut self) {
        self.out.push('\x07');
    }

    /// Does what a key means.
    fn press(&mut self, key: Key) -> Option<Event> {
        if self.pasting.is_some() {
            self.paste(key);
            return None;
        }
        if self.search.is_some() && self.press_in_search(key) {
            return None;
        }
        let killing = std::mem::take(&mut self.killing);
        match key {
            Key::Char(c) => self.insert(c),
            Key::Enter => return self.enter(),
            Key::Tab => return self.ask(),
            Key::Ctrl('C') => self.drop_line(),
            Key::Ctrl('D') if self.line.text().is_empty() => {
                self.paint();
                self.out.push_str("\r\n\x1b[?2004l");
                return Some(Event::End);
            }
            Key::Ctrl('L') => {
                self.out.push_str("\x1b[H\x1b[2J");
                self.dirty = true;
            }
            Key::Ctrl('R') => {
                let before = self.line.clone();
                self.search = Some(Search { text: String::new(), back: 0, failed: false, before });
                self.dirty = true;
            }
            Key::PasteBegins => self.pasting = Some((self.line.clone(), true)),
            Key::Up | Key::Ctrl('P') => {
                let line = self.history.older(&self.line);
                self.show(line);
            }
            Key::Down | Key::Ctrl('N') => {
                let line = self.history.newer();
                self.show(line);
            }
            Key::Ctrl('Y') => {
                let killed = std::mem::take(&mut self.killed);
                self.edited(|line| line.insert(&killed));
                self.killed = killed;
            }
            Key::Ctrl('T') => self.edited(Line::transpose),
            key => {
                if !self.move_or_cut(key, killing) {
                    self.ring();
                }
            }
        }
        None
    }

    /// The keys that lead to a place; some cut what is between there and the cursor.
    fn move_or_cut(&mut self, key: Key, killing: bool) -> bool {
        let line = &self.line;
        let (all, end) = (0, line.text().len());
        let (at, how) = match key {
            Key::Left | Key::Ctrl('B') => (line.left(), How::Move),
            Key::Right | Key::Ctrl('F') => (line.right(), How::Move),
            Key::Home | Key::Ctrl('A') => (all, How::Move),
            Key::End | Key::Ctrl('E') => (end, How::Move),
            Key::WordLeft => (line.word_left(Word::Letters), How::Move),
            Key::WordRight => (line.word_right(), How::Move),
            Key::Backspace => (line.left(), How::Delete),
            Key::Delete | Key::Ctrl('D') => (line.right(), How::Delete),
            Key::Ctrl('U') => (all, How::Kill),
            Key::Ctrl('K') => (end, How::Kill),
            Key::Ctrl('W') => (line.word_left(Word::Spaces), How::Kill),
            Key::Alt('\u{7f}') => (line.word_left(Word::Letters), How::Kill),
            Key::Alt('d' | 'D') => (line.word_right(), How::Kill),
            _ => return false,
        };
        self.dirty = true;
        if how == How::Move {
            let moves = line.parts().0.len() != at;
            self.line.go_to(at);
            return moves;
        }
        let before = at < line.parts().0.len();
        let gone = self.line.cut(at);
        let some = !gone.is_empty();
        if how == How::Kill {
            match (killing, before) {
                (false, _) => self.killed = gone,
                (true, true) => self.killed.insert_str(0, &gone),
                (true, false) => self.killed.push_str(&gone),
            }
            self.killing = true;
        }
        some
    }

    fn insert(&mut self, c: char) {
        let (end, wide) = (self.line.at_end(), wide(c));
        let alone =
            end && wide > 0 && !self.dirty && self.view.fits(&self.prompt, &self.line, wide, self.columns);
        if !self.line.insert(c.encode_utf8(&mut [0; 4])) {
            self.ring();
        } else if alone {
            self.out.push(c);
        } else {
            self.dirty = true;
        }
    }

    fn edited(&mut self, edit: impl FnOnce(&mut Line) -> bool) {
        match edit(&mut self.line) {
            true => self.dirty = true,
            false => self.ring(),
        }
    }

    fn show(&mut self, line: Option<Line>) {
        match line {
            Some(line) => {
                self.line = line;
                self.dirty = true;
            }
            None => self.ring(),
        }
    }

    /// Runs the line, or the lines that were pasted.
    fn enter(&mut self) -> Option<Event> {
        let text = std::mem::take(&mut self.line).text().to_owned();
        let mut lines = text.split('\n').map(str::to_owned);
        let first = lines.next().unwrap_or_default();
        self.lines = lines.filter(|line| !line.trim().is_empty()).collect();
        Some(self.run(first))
    }

    /// Ctrl-C: the line is dropped.
    fn drop_line(&mut self) {
        self.search = None;
        self.line.go_to(self.line.text().len());
        self.paint();
        self.out.push_str("^C\r\n");
        self.history.push("");
        self.begin();
    }

    /// What is pasted is text.
    fn paste(&mut self, key: Key) {
        let c = match key {
            Key::Char(c) => c,
            Key::Enter => '\n',
            Key::Tab => ' ',
            Key::PasteEnds => return self.end_paste(),
            _ => return,
        };
        self.dirty = true;
        let fits = self.line.insert(c.encode_utf8(&mut [0; 4]));
        if let Some((_, all)) = &mut self.pasting {
            *all &= fits;
        }
    }

    /// A paste that is too long leaves nothing behind: its beginning alone may mean something
    /// else.
    fn end_paste(&mut self) {
        self.dirty = true;
        let Some((before, all)) = self.pasting.take() else { return };
        if !all {
            self.line = before;
            self.ring();
        } else if self.line.parts().0.ends_with('\n') {
            // The end of the last line is the Enter that is still to be pressed.
            let end = self.line.left();
            self.line.cut(end);
        }
    }

    /// A key during a search; false when it ends the search and is a key for the line.
    fn press_in_search(&mut self, key: Key) -> bool {
        let Some(search) = &mut self.search else { return false };
        self.dirty = true;
        match key {
            Key::Char(c) if search.text.len() < 200 => {
                search.text.push(c);
                self.look(false);
            }
            Key::Backspace => {
                search.text.pop();
                search.back = 0;
                self.look(false);
            }
            Key::Ctrl('R') => self.look(true),
            Key::Ctrl('G') => {
                if let Some(search) = self.search.take() {
                    self.line = search.before;
                }
            }
            _ => {
                if let Some(search) = self.search.take()
                    && search.back > 0
                {
                    self.history.show(search.back, &search.before);
                }
                return false;
            }
        }
        true
    }

    /// Looks for the text, from where it was found; or further back.
    fn look(&mut self, further: bool) {
        let Some(search) = &mut self.search else { return };
        let found = match search.text.is_empty() {
            true => None,
            false => self.history.find(&search.text, search.back + usize::from(further)),
        };
        search.failed = found.is_none() && !search.text.is_empty();
        match found {
            Some((back, line)) => {
                search.back = back;
                self.line = line;
            }
            None if search.failed => self.ring(),
            None => self.line = search.before.clone(),
        }
    }

    /// Asks what the word before the cursor may become.
    fn ask(&mut self) -> Option<Event> {
        self.paint_if_dirty();
        Some(Event::Complete(self.line.parts().0.to_owned()))
    }

    /// Answers [`Event::Complete`]. One word is put in; of several what they have in common,
    /// and if that is there already they are listed.
    pub fn complete(&mut self, completion: Completion) {
        self.mode = Mode::Editing;
        let Completion { start, words } = completion;
        let typed = self.line.parts().0.get(start..).unwrap_or_default().to_owned();
        let behind = self.line.parts().1;
        match words.as_slice() {
            [] => self.ring(),
            [word] => {
                let space = if behind.starts_with(' ') { "" } else { " " };
                self.edited(|line| line.replace(start, &format!("{word}{space}")));
            }
            _ => {
                let common = common(&words);
                match common.len() > typed.len() {
                    true => self.edited(|line| line.replace(start, common)),
                    false => {
                        list(&mut self.out, &words, self.columns);
                        self.dirty = true;
                    }
                }
            }
        }
    }
}

/// What a key does between the cursor and a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Move,
    Delete,
    /// What was there can be put in again.
    Kill,
}

#[cfg(test)]
mod tests;
