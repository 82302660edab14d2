//! JSON text without a tree: where a value ends, a member of an object, the text
//! of a string, and the escape of one (RFC 8259).
//!
//! The frame codec passes payloads on as slices of the frame; this is the little
//! that it and the callers need to cut them. Whole documents are read and written
//! with miniserde.

use std::borrow::Cow;

/// How deep arrays and objects may nest: a guard against stack exhaustion.
const MAX_DEPTH: usize = 128;

/// The offset behind the value that starts at `at` (after white space).
/// `Err` holds the offset of the first byte that is no JSON.
pub fn skip_value(text: &[u8], at: usize) -> Result<usize, usize> {
    skip(text, skip_space(text, at), 0)
}

/// The whole of `text` as one value: nothing but white space may follow it. `Err`
/// holds the offset of the first wrong byte.
pub fn check(text: &[u8]) -> Result<(), usize> {
    let end = skip_space(text, skip_value(text, 0)?);
    if end == text.len() { Ok(()) } else { Err(end) }
}

/// The offset of the next byte that is no white space.
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn skip(text: &[u8], at: usize, depth: usize) -> Result<usize, usize> {
    if depth > MAX_DEPTH {
        return Err(at);
    }
    match text.get(at) {
        Some(b'"') => skip_string(text, at),
        Some(b'[') => items(text, at, b']', &mut |at| skip(text, at, depth + 1)),
        Some(b'{') => members(text, at, &mut |_, at| skip(text, at, depth + 1)),
        Some(b't') => skip_word(text, at, b"true"),
        Some(b'f') => skip_word(text, at, b"false"),
        Some(b'n') => skip_word(text, at, b"null"),
        _ => skip_number(text, at),
    }
}

/// What is called with a key and the offset of its value, and gives the offset behind that.
pub type Member<'a> = dyn FnMut(&[u8], usize) -> Result<usize, usize> + 'a;

/// Walks the members of the object at `at`: `member` gets each key with its quotes and the
/// offset of its value, and gives the offset behind that. The offset behind the object.
pub fn members(text: &[u8], at: usize, member: &mut Member<'_>) -> Result<usize, usize> {
    if text.get(at) != Some(&b'{') {
        return Err(at);
    }
    items(text, at, b'}', &mut |at| {
        let end = skip_string(text, at)?;
        let colon = skip_space(text, end);
        if text.get(colon) != Some(&b':') {
            return Err(colon);
        }
        member(text.get(at..end).unwrap_or_default(), skip_space(text, colon + 1))
    })
}

/// Walks the items of the list at `at`, in the same way.
pub fn list(
    text: &[u8],
    at: usize,
    item: &mut dyn FnMut(usize) -> Result<usize, usize>,
) -> Result<usize, usize> {
    if text.get(at) == Some(&b'[') { items(text, at, b']', item) } else { Err(at) }
}

fn items(
    text: &[u8],
    at: usize,
    close: u8,
    item: &mut dyn FnMut(usize) -> Result<usize, usize>,
) -> Result<usize, usize> {
    let mut at = skip_space(text, at + 1);
    if text.get(at) == Some(&close) {
        return Ok(at + 1);
    }
    loop {
        at = skip_space(text, item(at)?);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(byte) if *byte == close => return Ok(at + 1),
            _ => return Err(at),
        }
    }
}

fn skip_word(text: &[u8], at: usize, word: &[u8]) -> Result<usize, usize> {
    if text.get(at..).is_some_and(|rest| rest.starts_with(word)) { Ok(at + word.len()) } else { Err(at) }
}

fn skip_string(text: &[u8], at: usize) -> Result<usize, usize> {
    if text.get(at) != Some(&b'"') {
        return Err(at);
    }
    let mut at = at + 1;
    loop {
        at += plain(text.get(at..).unwrap_or_default());
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            // Above what is plain, and fine here.
            Some(0x7f..) => at += 1,
            Some(b'\\') => match text.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') => {
                    let digits = text.get(at + 2..at + 6).ok_or(at)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return Err(at);
                    }
                    at += 6;
                }
                _ => return Err(at),
            },
            _ => return Err(at),
        }
    }
}

/// How many bytes in front are printable ASCII and neither quote nor backslash, in words of
/// eight: most of what is read and written is.
pub fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(word) = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()) {
        let word = u64::from_le_bytes(word);
        // In each byte its highest bit says whether it is less than, or is, the one sought
        // (Hacker's Delight, 6-1); a wrong bit stands only above a right one.
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let high = word | (word & !TOPS).wrapping_add(ONES);
        let found = (below(word, 0x20) | is(b'"') | is(b'\\') | high) & TOPS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let printable = |byte: &&u8| matches!(**byte, b' '..=b'~') && !matches!(**byte, b'"' | b'\\');
    at + bytes.get(at..).unwrap_or_default().iter().take_while(printable).count()
}

fn skip_number(text: &[u8], start: usize) -> Result<usize, usize> {
    let digits = |mut at: usize| {
        let from = at;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == from { Err(at) } else { Ok(at) }
    };
    let mut at = start;
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

/// The raw value of the member `name` of the object `text`; none when there is no
/// such member or `text` is no object. Of two members of one name the last counts.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let bytes = text.as_bytes();
    let mut found = None;
    let walked = members(bytes, skip_space(bytes, 0), &mut |key, at| {
        let end = skip(bytes, at, 0)?;
        if std::str::from_utf8(key).ok().and_then(string).is_some_and(|key| key == name) {
            found = text.get(at..end);
        }
        Ok(end)
    });
    walked.ok().and(found)
}

/// The text of the JSON string `raw` (with its quotes); none when it is no string.
/// A lone surrogate becomes U+FFFD.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    loop {
        let (front, behind) = rest.as_str().split_at(plain(rest.as_str().as_bytes()));
        text.push_str(front);
        // Most of what is escaped in a log.
        if let Some(others) = behind.strip_prefix("\\n") {
            text.push('\n');
            rest = others.chars();
            continue;
        }
        rest = behind.chars();
        match rest.next() {
            None => break,
            Some('\\') => {}
            Some(c) => {
                text.push(c);
                continue;
            }
        }
        match rest.next()? {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let unit = hex4(&mut rest)?;
                let low = rest.as_str().strip_prefix("\\u").map(str::chars).and_then(|mut tail| {
                    let low = hex4(&mut tail).filter(|low| (0xdc00..0xe000).contains(low))?;
                    Some((low, tail))
                });
                match (unit, low) {
                    (0xd800..=0xdbff, Some((low, tail))) => {
                        rest = tail;
                        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    _ => text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            other => text.push(other),
        }
    }
    Some(Cow::Owned(text))
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let digits = chars.as_str().get(..4)?;
    let unit = u32::from_str_radix(digits, 16).ok()?;
    *chars = chars.as_str().get(4..)?.chars();
    Some(unit)
}

/// Appends `text` as a JSON string with its quotes. Control characters, also those
/// above 0x7f that drive some terminals, are escaped.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        let (front, behind) = rest.split_at(plain(rest.as_bytes()));
        out.push_str(front);
        let mut chars = behind.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) if c.is_control() => push_unicode(out, c as u32),
            Some(c) => out.push(c),
            None => {}
        }
        rest = chars.as_str();
    }
}

fn push_unicode(out: &mut String, code: u32) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(code >> shift & 15, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_json_says() {
        for (text, end) in [
            ("null,", 4),
            ("  true ", 6),
            ("-0.5e+3]", 7),
            ("0", 1),
            ("\"a\\\"b\" x", 6),
            ("[1, [2 , {}], {\"a\" : []}] ", 25),
            ("{}", 2),
        ] {
            assert_eq!(skip_value(text.as_bytes(), 0), Ok(end), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_goes_wrong() {
        for (text, offset) in [
            ("", 0),
            ("nul", 0),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("\"abc", 4),
            ("\"\n\"", 1),
            ("\"\\x\"", 1),
            ("\"\\u12g4\"", 1),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("{} {}", 3),
        ] {
            assert_eq!(check(text.as_bytes()), Err(offset), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(check(deep.as_bytes()).is_err());
    }

    #[test]
    fn serde_json_agrees_on_what_is_json() {
        for text in
            ["1e5", "1E-5", "-1", "- 1", "+1", ".5", "1.e5", "\"\\/\"", "tru", "truee", "[]]", "\u{feff}1"]
        {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(check(text.as_bytes()).is_ok(), theirs, "{text}");
        }
    }

    #[test]
    fn a_member_is_found_by_its_unescaped_name() {
        let text = r#" {"status":"ok", "response" : {"status":1}, "n\u0061me":[1,2]}"#;
        assert_eq!(member(text, "status"), Some("\"ok\""));
        assert_eq!(member(text, "response"), Some("{\"status\":1}"));
        assert_eq!(member(text, "name"), Some("[1,2]"));
        assert_eq!(member(text, "other"), None);
        assert_eq!(member("[1]", "status"), None);
    }

    #[test]
    fn plain_ends_at_the_first_byte_that_is_not() {
        for special in (0..=255u8).filter(|byte| !(b' '..=b'~').contains(byte) || b"\"\\".contains(byte)) {
            for at in 0..20 {
                let mut bytes = [b'~', b' ', b'!', b'#', b'[', b']', b'a', b'0'].repeat(3);
                assert_eq!(plain(&bytes), bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = special;
                }
                assert_eq!(plain(&bytes), at, "{special}");
            }
        }
    }

    #[test]
    fn strings_survive_the_round_trip() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{8}\u{1b}[31m\u{9b}", "é 漢 🦀"] {
            let mut raw = String::new();
            push_string(&mut raw, text);
            assert!(!raw.chars().any(char::is_control));
            assert_eq!(string(&raw).as_deref(), Some(text));
        }
        assert_eq!(string(r#""\ud83e\udd80 \ud800x \/""#).as_deref(), Some("🦀 \u{fffd}x /"));
        assert_eq!(string("12"), None);
    }
}
