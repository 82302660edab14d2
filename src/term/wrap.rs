//! How wide text is on a terminal, and lines broken to fit into one.

/// What a tab stops at.
const TAB: usize = 8;

/// Characters of no width: combining marks, joiners, variation selectors.
const NONE: [(u32, u32); 12] = [
    (0x300, 0x36f),
    (0x483, 0x489),
    (0x591, 0x5bd),
    (0x610, 0x61a),
    (0x64b, 0x65f),
    (0x900, 0x902),
    (0x1ab0, 0x1aff),
    (0x200b, 0x200f),
    (0x20d0, 0x20ff),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
    (0xe0100, 0xe01ef),
];

/// Characters that are two columns wide: East Asian scripts and emoji.
const WIDE: [(u32, u32); 12] = [
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x2e80, 0x303e),
    (0x3041, 0xa4cf),
    (0xa960, 0xa97c),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe6f),
    (0xff00, 0xff60),
    (0xffe0, 0xffe6),
    (0x1f300, 0x1faff),
    (0x20000, 0x3fffd),
];

/// The columns a character takes.
pub fn columns(c: char) -> usize {
    let code = c as u32;
    let among = |ranges: &[(u32, u32)]| ranges.iter().any(|(from, to)| (*from..=*to).contains(&code));
    match code {
        0..0x300 => 1,
        _ if among(&NONE) => 0,
        _ if among(&WIDE) => 2,
        _ => 1,
    }
}

/// Appends `text`, which begins at the column `indent` of a terminal that is `width` wide,
/// and goes on in the same column of the next rows. Without a width, or with too little of
/// it, the terminal may break the line itself.
pub fn push_wrapped(out: &mut String, text: &str, indent: usize, width: Option<usize>) {
    let Some(room) = width.and_then(|width| width.checked_sub(indent)).filter(|room| *room >= 2 * TAB) else {
        out.push_str(text);
        return;
    };
    let mut at = 0;
    for c in text.chars() {
        let wide = if c == '\t' { TAB - at % TAB } else { columns(c) };
        if at + wide > room {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            at = 0;
        }
        match c {
            '\t' => out.extend(std::iter::repeat_n(' ', wide)),
            c => out.push(c),
        }
        at += wide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, indent: usize, width: usize) -> String {
        let mut out = String::new();
        push_wrapped(&mut out, text, indent, Some(width));
        out
    }

    #[test]
    fn lines_go_on_below_where_they_began() {
        let digits = "0123456789abcdef0123456789abcdefxyz";
        assert_eq!(wrapped(digits, 2, 18), "0123456789abcdef\n  0123456789abcdef\n  xyz");
        assert_eq!(wrapped("0123456789abcdef", 2, 18), "0123456789abcdef");
        assert_eq!(wrapped("", 2, 18), "");
        // Too narrow to be of use.
        assert_eq!(wrapped(digits, 10, 20), digits);
    }

    #[test]
    fn wide_characters_and_tabs_take_their_room() {
        assert_eq!(wrapped("0123456789abcde漢字", 0, 16), "0123456789abcde\n漢字");
        assert_eq!(wrapped("a\tb", 0, 16), "a       b");
        assert_eq!(wrapped("0123456789abcd e\u{301}\u{301}f", 0, 16), "0123456789abcd e\u{301}\u{301}\nf");
        assert_eq!(columns('🦀'), 2);
        assert_eq!(columns('é'), 1);
    }
}
