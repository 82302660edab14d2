//! Keys, as a terminal sends them (ECMA-48 and xterm's control sequences).

use crate::sys::terminal;
use std::io;

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// A character.
    Char(char),
    /// The return key.
    Enter,
    /// The escape key.
    Escape,
    /// The backspace key.
    Backspace,
    /// An arrow, or what stands for one.
    Up,
    /// See [`Key::Up`].
    Down,
    /// A page back.
    PageUp,
    /// A page on.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Ctrl with a letter, which is given in lower case.
    Ctrl(char),
}

/// What a sequence behind ESC means.
const SEQUENCES: &[(&str, Key)] = &[
    ("[A", Key::Up),
    ("OA", Key::Up),
    ("[B", Key::Down),
    ("OB", Key::Down),
    ("[5~", Key::PageUp),
    ("[6~", Key::PageDown),
    ("[H", Key::Home),
    ("OH", Key::Home),
    ("[1~", Key::Home),
    ("[F", Key::End),
    ("OF", Key::End),
    ("[4~", Key::End),
];

/// The keys of a terminal.
#[derive(Default)]
pub struct Keys {
    /// The beginning of a character that has not come whole.
    rest: Vec<u8>,
}

impl Keys {
    /// The next keys from standard input; none at its end.
    pub fn read(&mut self) -> io::Result<Option<Vec<Key>>> {
        let mut buffer = [0; 256];
        let count = terminal::read(&mut buffer)?;
        Ok(buffer.get(..count).filter(|bytes| !bytes.is_empty()).map(|bytes| self.decode(bytes)))
    }

    /// What was typed, when it arrived like this. An ESC that comes alone is the key.
    fn decode(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            // A character that is cut may still come whole; bytes that are none never do.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.rest.len(),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8_lossy(&std::mem::replace(&mut self.rest, rest)).into_owned();
        let mut left = text.as_str();
        while let Some(c) = left.chars().next() {
            left = left.get(c.len_utf8()..).unwrap_or("");
            keys.extend(match c {
                '\u{1b}' => {
                    let (key, used) = sequence(left);
                    left = left.get(used..).unwrap_or("");
                    key
                }
                '\r' | '\n' => Some(Key::Enter),
                '\u{7f}' | '\u{8}' => Some(Key::Backspace),
                '\t' => Some(Key::Char('\t')),
                '\u{1}'..='\u{1a}' => Some(Key::Ctrl(char::from(c as u8 + b'a' - 1))),
                c if c.is_control() => None,
                c => Some(Key::Char(c)),
            });
        }
        keys
    }
}

/// The key behind an ESC, and the bytes that belong to it; no key for an unknown sequence.
fn sequence(text: &str) -> (Option<Key>, usize) {
    if let Some((sequence, key)) = SEQUENCES.iter().find(|(sequence, _)| text.starts_with(sequence)) {
        return (Some(*key), sequence.len());
    }
    match text.as_bytes() {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..0x7f).contains(byte));
            (None, end.map_or(text.len(), |end| end + 2))
        }
        [b'O', _, ..] => (None, 2),
        _ => (Some(Key::Escape), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let mut keys = Keys::default();
        for (bytes, expected) in [
            (&b"jq"[..], &[Key::Char('j'), Key::Char('q')][..]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1b[A\x1bOB\x1b[5~", &[Key::Up, Key::Down, Key::PageUp]),
            (b"\x1b[1;5Cx", &[Key::Char('x')]),
            (b"\r\x7f\x1a", &[Key::Enter, Key::Backspace, Key::Ctrl('z')]),
            (b"\xc3", &[]),
            (b"\xa9", &[Key::Char('\u{e9}')]),
            (b"\xff", &[Key::Char('\u{fffd}')]),
        ] {
            assert_eq!(keys.decode(bytes), expected, "{bytes:?}");
        }
    }
}
