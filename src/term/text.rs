//! Text from outside made safe to show: it must not drive the terminal.

use crate::json::plain;
use std::borrow::Cow;

/// `text` with everything that could drive a terminal or hide what it says (control
/// characters but tab, and Unicode's direction overrides) replaced by a visible
/// escape such as `\u{1b}`.
pub fn safe(text: &str) -> Cow<'_, str> {
    if plain(text.as_bytes()) == text.len() || !text.chars().any(drives) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    push_safe(&mut out, text);
    Cow::Owned(out)
}

/// Appends `text` made safe.
pub fn push_safe(out: &mut String, text: &str) {
    push(out, text, false);
}

/// Appends lines, each made safe.
pub fn push_safe_lines(out: &mut String, text: &str) {
    push(out, text, true);
}

fn push(out: &mut String, text: &str, lines: bool) {
    let mut rest = text;
    while !rest.is_empty() {
        let end = plain(rest.as_bytes());
        // The usual case by itself: a line and its end.
        if lines && rest.as_bytes().get(end) == Some(&b'\n') {
            let (line, others) = rest.split_at(end + 1);
            out.push_str(line);
            rest = others;
            continue;
        }
        let (front, behind) = rest.split_at(end);
        out.push_str(front);
        let mut chars = behind.chars();
        match chars.next() {
            Some(c) if drives(c) && !(lines && c == '\n') => out.extend(c.escape_unicode()),
            Some(c) => out.push(c),
            None => {}
        }
        rest = chars.as_str();
    }
}

fn drives(c: char) -> bool {
    let overrides = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || overrides
}

/// Bytes for people: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = "B";
    let mut shift = 0;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if count >> shift < 1024 {
            break;
        }
        shift += 10;
        unit = larger;
    }
    let rest = count & ((1 << shift) - 1);
    match unit {
        "B" => format!("{count} B"),
        _ => format!("{}.{} {unit}", count >> shift, (rest * 10) >> shift),
    }
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_the_terminal_is_shown_instead() {
        assert_eq!(safe("a\tb é 漢"), "a\tb é 漢");
        assert_eq!(safe("\u{1b}[31mred\r\n"), "\\u{1b}[31mred\\u{d}\\u{a}");
        assert_eq!(safe("\u{9b}x\u{7f}\u{202e}"), "\\u{9b}x\\u{7f}\\u{202e}");
    }

    #[test]
    fn sizes_have_one_decimal() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
