//! Text for a terminal that is somewhere else: how wide it is there, and that it does not
//! drive it.

use std::borrow::Cow;
use unicode_width::UnicodeWidthChar;

/// Whether it could drive a terminal, or hide what is said: control characters, and
/// Unicode's direction overrides.
pub fn drives(c: char) -> bool {
    let overrides = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || overrides
}

/// The same with an escape such as `\u{1b}` in the place of what drives a terminal, and a
/// space for a tab, whose width depends on where it stands.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(drives) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if drives(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The columns a character takes.
pub fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// As much of the beginning as fits, and the rest.
pub fn split(text: &str, most: usize) -> (&str, &str) {
    let mut used = 0;
    let over = text.char_indices().find(|(_, c)| {
        used += columns(*c);
        used > most
    });
    text.split_at(over.map_or(text.len(), |(at, _)| at))
}

/// The beginning, with `…` when that is not all.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    match most.checked_sub(1) {
        Some(most) => Cow::Owned(format!("{}…", split(text, most).0)),
        None => Cow::Borrowed(""),
    }
}

/// Bytes for people: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (count, 0, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        (whole, tenths, unit) = (whole >> 10, ((whole & 1023) * 10) >> 10, larger);
    }
    match unit {
        "B" => format!("{whole} B"),
        _ => format!("{whole}.{tenths} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_the_terminal_is_shown_instead() {
        assert_eq!(safe("a b é 漢"), "a b é 漢");
        assert_eq!(safe("\u{1b}[31mred\r\n\t"), "\\u{1b}[31mred\\u{d}\\u{a} ");
        assert_eq!(safe("\u{9b}x\u{7f}\u{202e}"), "\\u{9b}x\\u{7f}\\u{202e}");
    }

    #[test]
    fn wide_characters_are_never_cut_in_half() {
        assert_eq!((width("漢字"), width("e\u{301}")), (4, 1));
        assert_eq!(split("漢字", 3), ("漢", "字"));
        // What combines stays with what it combines with.
        assert_eq!(split("e\u{301}x", 1), ("e\u{301}", "x"));
        assert_eq!(cut("漢字", 3), "漢…");
        assert_eq!(cut("漢字", 2), "…");
        assert_eq!(cut("漢字", 0), "");
        assert_eq!(cut("漢字", 4), "漢字");
    }

    #[test]
    fn sizes_have_one_decimal() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
