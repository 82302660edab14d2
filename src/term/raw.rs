//! The terminal while a program elsewhere drives it: what is typed and what is written goes
//! through as it is. What the program switches on and never switches off is switched off in
//! the end, and rig's own words leave no trace.

use crate::error::{Error, Result};
use crate::sys::terminal::{self, Raw};
use crate::term::text::safe;
use crate::term::wrap::clip;
use std::fmt::Write;

/// The terminal. Dropping it gives it back.
pub struct Remote {
    guard: Option<Raw>,
    modes: Modes,
    /// Kinds of terminals that have no second screen.
    plain: bool,
    /// How a word of rig's is shown, while it is.
    notice: Option<Notice>,
}

enum Notice {
    /// On the second screen: leaving it shows what was there.
    Beside,
    /// In the last line, which the program has to draw again.
    Over,
    /// In lines of its own.
    Between,
}

impl Remote {
    /// Takes the terminal, which is of the kind `term`.
    pub fn open(term: &str) -> Result<Remote> {
        let plain = ["linux", "dumb", "ansi", "vt"].iter().any(|kind| term.starts_with(kind));
        let mut remote = Remote { guard: None, modes: Modes::default(), plain, notice: None };
        remote.take()?;
        Ok(remote)
    }

    fn take(&mut self) -> Result<()> {
        let failed = |error| Error::io("use", "the terminal", &error);
        self.guard = Some(Raw::new().map_err(failed)?);
        Ok(())
    }

    /// Writes what the program has written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let changed = bytes.iter().fold(false, |changed, byte| self.modes.take(*byte) | changed);
        let undo = changed.then(|| self.modes.undo());
        self.put(bytes, undo)
    }

    fn put(&self, bytes: &[u8], undo: Option<String>) -> Result<()> {
        let failed = |error| Error::io("write to", "the terminal", &error);
        self.guard.as_ref().map_or(Ok(()), |guard| guard.write(bytes, undo).map_err(failed))
    }

    /// Says something between what the program writes.
    pub fn say(&self, text: &str) -> Result<()> {
        let end = if text.is_empty() { "" } else { "\r\n" };
        self.put(format!("\r\n{text}{end}").as_bytes(), None)
    }

    /// Shows a line for as long as it is true. Not in the middle of a control sequence, whose
    /// rest is still to come.
    pub fn notice(&mut self, text: &str) -> Result<()> {
        if self.notice.is_some() || !self.modes.idle() {
            return Ok(());
        }
        let columns = terminal::width().unwrap_or(80);
        let text = clip(&safe(text), columns.saturating_sub(1));
        let (notice, shown) = match (self.modes.second_screen(), self.plain) {
            (true, _) => {
                (Notice::Over, format!("\u{1b}7\u{1b}[999;1H\u{1b}[0;7m{text}\u{1b}[0m\u{1b}[K\u{1b}8"))
            }
            (false, true) => (Notice::Between, format!("\r\n{text}\r\n")),
            (false, false) => (Notice::Beside, format!("\u{1b}[?1049h\u{1b}[0m\u{1b}[2J\u{1b}[H{text}")),
        };
        let undo = matches!(notice, Notice::Beside).then(|| format!("\u{1b}[?1049l{}", self.modes.undo()));
        self.notice = Some(notice);
        self.put(shown.as_bytes(), undo)
    }

    /// Takes the line away; whether the program has to draw its screen again.
    pub fn clear(&mut self) -> Result<bool> {
        match self.notice.take() {
            Some(Notice::Beside) => self.put(b"\x1b[?1049l", Some(self.modes.undo())).map(|()| false),
            Some(Notice::Over) => Ok(true),
            Some(Notice::Between) | None => Ok(false),
        }
    }

    /// Gives the terminal back and stops, as Ctrl-Z does; takes it again, as the program had
    /// left it, when rig is continued. The program has to draw its screen again.
    pub fn suspend(&mut self) -> Result<()> {
        self.clear()?;
        self.guard = None;
        terminal::suspend();
        self.take()?;
        self.put(self.modes.again().as_bytes(), Some(self.modes.undo()))
    }
}

/// So many modes are known that are not as they are by default.
const MODES: usize = 32;
/// The longest parameters of a sequence that are looked at.
const PARAMETERS: usize = 48;
/// The modes that are set by default: wrapping lines, and a visible cursor.
const DEFAULTS: [u16; 2] = [7, 25];
/// The second screen's.
const SCREENS: [u16; 3] = [47, 1047, 1049];

/// What the program has made of the terminal, told by its output (ECMA-48; xterm's "Control
/// Sequences", DECSET).
#[derive(Default)]
struct Modes {
    state: State,
    parameters: Vec<u8>,
    /// Private modes that differ from the default, in the order in which they came to.
    changed: Vec<u16>,
    keypad: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// So many bytes of a character are missing.
    Character(u8),
    Escape,
    /// Behind ESC and an intermediate byte: one more ends it.
    Charset,
    Sequence,
    /// A string up to BEL or ST.
    String,
    StringEscape,
}

impl Modes {
    /// Whether nothing is half said.
    fn idle(&self) -> bool {
        self.state == State::Ground
    }

    fn second_screen(&self) -> bool {
        self.changed.iter().any(|mode| SCREENS.contains(mode))
    }

    /// Takes a byte of output; whether a mode has changed.
    fn take(&mut self, byte: u8) -> bool {
        let mut changed = false;
        self.state = match (self.state, byte) {
            (State::String, 0x1b) => State::StringEscape,
            (State::String, 0x07 | 0x18 | 0x1a) => State::Ground,
            (State::String, _) => State::String,
            (State::StringEscape, b'\\') => State::Ground,
            (_, 0x1b) => State::Escape,
            (State::Escape | State::StringEscape, b'[') => {
                self.parameters.clear();
                State::Sequence
            }
            (State::Escape | State::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape | State::StringEscape, b' '..=b'/') => State::Charset,
            (State::Escape | State::StringEscape, _) => {
                changed = self.escape(byte);
                State::Ground
            }
            (State::Charset, b' '..=b'/') => State::Charset,
            (State::Sequence, b'@'..=b'~') => {
                changed = self.sequence(byte);
                State::Ground
            }
            (State::Sequence, _) => {
                if self.parameters.len() < PARAMETERS {
                    self.parameters.push(byte);
                }
                State::Sequence
            }
            (State::Character(left @ 2..), 0x80..=0xbf) => State::Character(left - 1),
            (State::Ground | State::Character(_), 0xc2..=0xdf) => State::Character(1),
            (State::Ground | State::Character(_), 0xe0..=0xef) => State::Character(2),
            (State::Ground | State::Character(_), 0xf0..=0xf4) => State::Character(3),
            _ => State::Ground,
        };
        changed
    }

    fn escape(&mut self, byte: u8) -> bool {
        match byte {
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'c' => {
                self.changed.clear();
                self.keypad = false;
            }
            _ => return false,
        }
        true
    }

    /// A control sequence has ended with this byte.
    fn sequence(&mut self, last: u8) -> bool {
        let Some((b'?', list)) = self.parameters.split_first() else { return false };
        if !matches!(last, b'h' | b'l') {
            return false;
        }
        let modes: Vec<u16> = list
            .split(|byte| *byte == b';')
            .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
            .collect();
        for mode in &modes {
            self.changed.retain(|known| known != mode);
            let default = if DEFAULTS.contains(mode) { b'h' } else { b'l' };
            if last != default && self.changed.len() < MODES {
                self.changed.push(*mode);
            }
        }
        !modes.is_empty()
    }

    /// What makes the terminal as it was.
    fn undo(&self) -> String {
        let mut text = String::new();
        for mode in self.changed.iter().rev() {
            let _ = write!(text, "\u{1b}[?{mode}{}", if DEFAULTS.contains(mode) { 'h' } else { 'l' });
        }
        if self.keypad {
            text.push_str("\u{1b}>");
        }
        if !text.is_empty() {
            text.push_str("\u{1b}[0m");
        }
        text
    }

    /// What makes it so again.
    fn again(&self) -> String {
        let mut text = String::new();
        for mode in &self.changed {
            let _ = write!(text, "\u{1b}[?{mode}{}", if DEFAULTS.contains(mode) { 'l' } else { 'h' });
        }
        if self.keypad {
            text.push_str("\u{1b}=");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(output: &str) -> Modes {
        let mut modes = Modes::default();
        for byte in output.bytes() {
            modes.take(byte);
        }
        modes
    }

    #[test]
    fn what_was_switched_on_and_not_off_is_switched_off() {
        for (output, undo) in [
            ("", ""),
            ("plain \u{1b}[31mtext\u{1b}[0m", ""),
            ("\u{1b}[?1049h\u{1b}[?25l", "\u{1b}[?25h\u{1b}[?1049l\u{1b}[0m"),
            ("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?25h\u{1b}[?1049l", ""),
            ("\u{1b}[?1000;1006h\u{1b}=", "\u{1b}[?1006l\u{1b}[?1000l\u{1b}>\u{1b}[0m"),
            ("\u{1b}[?2004h\u{1b}c", ""),
            // A title that looks like one, another kind of mode, no numbers.
            ("\u{1b}]0;[?1000h\u{7}\u{1b}[4h\u{1b}[?xh\u{1b}(B", ""),
        ] {
            assert_eq!(after(output).undo(), undo, "{output:?}");
        }
        let modes = after("\u{1b}[?1049h\u{1b}[?25l\u{1b}=");
        assert!(modes.second_screen());
        assert_eq!(after(&modes.again()).changed, modes.changed);
    }

    #[test]
    fn nothing_is_said_into_the_middle_of_something() {
        for (output, idle) in [
            ("a", true),
            ("\u{1b}", false),
            ("\u{1b}[", false),
            ("\u{1b}[3", false),
            ("\u{1b}[3m", true),
            ("\u{1b}(", false),
            ("\u{1b}(B", true),
            ("\u{1b}]0;title", false),
            ("\u{1b}]0;title\u{1b}\\", true),
            ("\u{20ac}", true),
        ] {
            assert_eq!(after(output).idle(), idle, "{output:?}");
        }
        let mut modes = Modes::default();
        for (byte, idle) in [(0xe2, false), (0x82, false), (0xac, true), (0xff, true)] {
            modes.take(byte);
            assert_eq!(modes.idle(), idle);
        }
    }

    #[test]
    fn a_flood_of_modes_is_bounded() {
        let mut modes = Modes::default();
        for mode in 0..5000 {
            for byte in format!("\u{1b}[?{mode}h\u{1b}[{}", "9".repeat(99)).bytes() {
                modes.take(byte);
            }
        }
        assert!(modes.changed.len() <= MODES && modes.parameters.len() <= PARAMETERS);
    }
}
