//! From the bytes of a terminal to keys, whatever the pieces they come in.
//!
//! A sequence that is not known is taken whole, so that nothing of it is taken for text
//! (ECMA-48, 5.4; the keys are those of xterm, the Linux console and rxvt).

/// The longest string sequence (OSC, DCS, …) that is waited for the end of.
const STRING_MAX: usize = 4096;

/// What was pressed, named by what it means in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// With Ctrl: the capital letter, or one of `@[\]^_`.
    Ctrl(char),
    /// With Alt.
    Alt(char),
    /// The cursor keys, and those beside them.
    Left,
    /// See `Left`.
    Right,
    /// See `Left`.
    Up,
    /// See `Left`.
    Down,
    /// See `Left`.
    Home,
    /// See `Left`.
    End,
    /// See `Left`.
    Delete,
    /// See `Left`.
    Backspace,
    /// See `Left`.
    Enter,
    /// See `Left`.
    Tab,
    /// A word to the left: Ctrl-Left, Alt-Left, Alt-B.
    WordLeft,
    /// A word to the right.
    WordRight,
    /// What follows was not typed, but pasted.
    PasteBegins,
    /// What was pasted ends.
    PasteEnds,
}

/// Where in a sequence it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// A line feed right behind a carriage return is the same line's end.
    Return,
    /// The bytes of a character that are there, as a number, and how many are not.
    Text(u32, u8, u8),
    Escape,
    /// `ESC [`, with the parameters so far and whether there is more to it.
    Csi(Params),
    /// `ESC [ [`: one more (the function keys of the Linux console).
    Linux,
    /// `ESC O`, and one more behind digits.
    Ss3,
    /// A string sequence, and how long it is already.
    String(usize),
    /// An escape in it, which may begin its end.
    StringEnd,
}

/// The first two parameters of a control sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Params {
    first: u16,
    second: u16,
    /// Which of them is being read; beyond the second nothing is kept.
    at: u8,
    /// Something that no key of ours has.
    strange: bool,
}

/// Reads keys.
#[derive(Default)]
pub struct Decoder(State);

impl Decoder {
    /// Takes one byte; a key, when it was the last of one.
    pub fn take(&mut self, byte: u8) -> Option<Key> {
        let state = std::mem::take(&mut self.0);
        let (next, key) = step(state, byte);
        self.0 = next;
        key
    }

    /// Forgets what has begun.
    pub fn reset(&mut self) {
        self.0 = State::Ground;
    }
}

fn step(state: State, byte: u8) -> (State, Option<Key>) {
    match state {
        State::Return if byte == b'\n' => (State::Ground, None),
        State::Ground | State::Return => ground(byte),
        State::Text(bits, missing, length) => match byte {
            0x80..=0xbf => text((bits << 6) | u32::from(byte & 0x3f), missing - 1, length),
            // It was no character, but this may be one.
            _ => ground(byte),
        },
        State::Escape => escape(byte),
        State::Csi(params) => csi(params, byte),
        State::Linux => (State::Ground, None),
        State::Ss3 => match byte {
            0x30..=0x3f => (State::Ss3, None),
            0x40..=0x7e => (State::Ground, ss3(byte)),
            _ => ground(byte),
        },
        State::String(length) => match byte {
            0x07 => (State::Ground, None),
            0x1b => (State::StringEnd, None),
            // No string has control characters: this is somebody who has pressed Alt-] only.
            0x00..=0x1f => ground(byte),
            _ if length >= STRING_MAX => (State::Ground, None),
            _ => (State::String(length + 1), None),
        },
        State::StringEnd => match byte {
            b'\\' => (State::Ground, None),
            _ => escape(byte),
        },
    }
}

fn ground(byte: u8) -> (State, Option<Key>) {
    let key = match byte {
        b'\r' => return (State::Return, Some(Key::Enter)),
        b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x08 | 0x7f => Key::Backspace,
        0x1b => return (State::Escape, None),
        0x00..=0x1f => Key::Ctrl(char::from(byte | 0x40)),
        0x20..=0x7e => Key::Char(char::from(byte)),
        0xc2..=0xdf => return (State::Text(u32::from(byte & 0x1f), 1, 2), None),
        0xe0..=0xef => return (State::Text(u32::from(byte & 0x0f), 2, 3), None),
        0xf0..=0xf4 => return (State::Text(u32::from(byte & 0x07), 3, 4), None),
        // No character begins so.
        _ => return (State::Ground, None),
    };
    (State::Ground, Some(key))
}

/// A character of several bytes, when nothing is missing (RFC 3629: in its shortest form).
fn text(bits: u32, missing: u8, length: u8) -> (State, Option<Key>) {
    if missing > 0 {
        return (State::Text(bits, missing, length), None);
    }
    let char = char::from_u32(bits).filter(|c| c.len_utf8() == usize::from(length));
    (State::Ground, char.filter(|c| !super::text::drives(*c)).map(Key::Char))
}

fn escape(byte: u8) -> (State, Option<Key>) {
    let key = match byte {
        b'[' => return (State::Csi(Params::default()), None),
        b'O' => return (State::Ss3, None),
        b'P' | b'X' | b']' | b'^' | b'_' => return (State::String(0), None),
        0x1b => return (State::Escape, None),
        0x08 | 0x7f => Key::Alt('\u{7f}'),
        // Escape by itself, and then another key.
        0x00..=0x1f => return ground(byte),
        b'b' | b'B' => Key::WordLeft,
        b'f' | b'F' => Key::WordRight,
        0x20..=0x7e => Key::Alt(char::from(byte)),
        _ => return ground(byte),
    };
    (State::Ground, Some(key))
}

fn csi(mut params: Params, byte: u8) -> (State, Option<Key>) {
    match byte {
        b'[' if params == Params::default() => return (State::Linux, None),
        b'0'..=b'9' => {
            let digit = u16::from(byte - b'0');
            let number = match params.at {
                0 => &mut params.first,
                1 => &mut params.second,
                _ => return (State::Csi(params), None),
            };
            *number = number.saturating_mul(10).saturating_add(digit);
        }
        b';' => params.at = params.at.saturating_add(1),
        0x20..=0x3f => params.strange = true,
        0x40..=0x7e => return (State::Ground, named(params, byte)),
        _ => return ground(byte),
    }
    (State::Csi(params), None)
}

/// The key of a control sequence. The second parameter tells Shift (1), Alt (2) and
/// Ctrl (4), plus one.
fn named(params: Params, last: u8) -> Option<Key> {
    let wide = params.second.saturating_sub(1) & 6 != 0;
    let key = match (last, params.first) {
        _ if params.strange => return None,
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if wide => Key::WordRight,
        (b'D', _) if wide => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'~', 3) if wide => Key::Alt('d'),
        (b'~', 3) => Key::Delete,
        (b'~', 200) => Key::PasteBegins,
        (b'~', 201) => Key::PasteEnds,
        _ => return None,
    };
    Some(key)
}

fn ss3(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter,
        b'c' => Key::WordRight,
        b'd' => Key::WordLeft,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.take(*byte)).collect()
    }

    #[test]
    fn keys_are_those_of_the_usual_terminals() {
        for (bytes, key) in [
            ("\x1b[A", Key::Up),
            ("\x1bOB", Key::Down),
            ("\x1b[1;5D", Key::WordLeft),
            ("\x1b[1;3C", Key::WordRight),
            ("\x1b[1;2C", Key::Right),
            ("\x1bOd", Key::WordLeft),
            ("\x1b[1~", Key::Home),
            ("\x1b[H", Key::Home),
            ("\x1bOF", Key::End),
            ("\x1b[8~", Key::End),
            ("\x1b[3~", Key::Delete),
            ("\x1b\x7f", Key::Alt('\u{7f}')),
            ("\x1bd", Key::Alt('d')),
            ("\x1b[200~", Key::PasteBegins),
            ("\x01", Key::Ctrl('A')),
            ("\x1f", Key::Ctrl('_')),
            ("\x7f", Key::Backspace),
            ("é", Key::Char('é')),
            ("漢", Key::Char('漢')),
            ("🦀", Key::Char('🦀')),
        ] {
            assert_eq!(keys(bytes.as_bytes()), [key], "{}", bytes.escape_debug());
        }
        assert_eq!(keys(b"\r\n\n"), [Key::Enter, Key::Enter]);
    }

    #[test]
    fn what_is_not_known_is_taken_whole() {
        for bytes in [
            "\x1b[15~",
            "\x1b[[A",
            "\x1b[?25h",
            "\x1b[>0;276;0c",
            "\x1b[999999999999;1;2;3;4R",
            "\x1bOP",
            "\x1b]0;title\x07",
            "\x1b]11;rgb:0000/0000/0000\x1b\\",
            "\x1bP1$r0m\x1b\\",
            "\x1b\x1b[20~",
            "\x1b[1 q",
            // Control characters of Latin-1, and what would turn the text around.
            "\u{9b}",
            "\u{202e}",
        ] {
            assert_eq!(keys(format!("{bytes}x").as_bytes()), [Key::Char('x')], "{}", bytes.escape_debug());
        }
    }

    #[test]
    fn what_was_cut_off_does_not_swallow_what_follows() {
        assert_eq!(keys(b"\x1b\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b[12\x03"), [Key::Ctrl('C')]);
        assert_eq!(keys(b"\x1b]\x03x"), [Key::Ctrl('C'), Key::Char('x')]);
        assert_eq!(keys(b"\xe6\xbcx"), [Key::Char('x')]);
        assert_eq!(keys(b"\xff\x80\xc0\xafx"), [Key::Char('x')]);
        // A surrogate, and a form that is too long.
        assert_eq!(keys(b"\xed\xa0\x80\xe0\x80\xafx"), [Key::Char('x')]);
    }
}
