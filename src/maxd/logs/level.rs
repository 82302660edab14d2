//! Which level a line names: as JSON (`{"level":"warn"}`, pino's numbers, `severity`), as
//! logfmt (`level=warn`), in front (`[ERROR]`, `ERROR:`, `2026-11-24 10:00:00 WARN …`,
//! syslog's `<3>`). Only where it stands in such a place: a line that speaks of errors is
//! none.

use crate::json;
use crate::wire::log::Level;

/// How far into a line it is looked for.
const NEAR: usize = 120;
/// How long a JSON line may be to be looked into.
const JSON_MAX: usize = 16 * 1024;
/// The members that name a level: also Go's, Google's, ECS's and Serilog's.
const MEMBERS: [&str; 6] = ["level", "severity", "lvl", "log.level", "levelname", "@l"];

/// The level of a line.
pub fn level(line: &str) -> Option<Level> {
    let text = line.trim_start();
    match text.as_bytes().first()? {
        b'{' if text.len() <= JSON_MAX && text.trim_end().ends_with('}') => object(text),
        b'<' => syslog(text),
        _ => in_front(text).or_else(|| logfmt(near(text))),
    }
}

fn near(text: &str) -> &str {
    let end = (0..=NEAR.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

fn object(text: &str) -> Option<Level> {
    let raw = MEMBERS.iter().find_map(|name| {
        // The cheap question first.
        text.contains(name).then(|| json::member(text, name)).flatten()
    })?;
    match json::string(raw) {
        Some(name) => word(&name),
        // Pino and bunyan count in tens.
        None => Some(match raw.parse::<u64>().ok()? {
            10..20 => Level::Trace,
            20..30 => Level::Debug,
            30..40 => Level::Info,
            40..50 => Level::Warn,
            50..60 => Level::Error,
            60.. => Level::Fatal,
            _ => return None,
        }),
    }
}

/// `<PRI>`: its lowest three bits are the severity (RFC 5424).
fn syslog(text: &str) -> Option<Level> {
    let (number, _) = text.strip_prefix('<')?.split_once('>')?;
    let number = number.parse::<u8>().ok().filter(|number| *number < 192)?;
    Some(match number & 7 {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        7 => Level::Debug,
        _ => Level::Info,
    })
}

fn logfmt(text: &str) -> Option<Level> {
    ["level=", "lvl=", "severity="].iter().find_map(|key| {
        let at = text.find(key)?;
        let before = text.get(..at)?.bytes().next_back();
        let value = text.get(at + key.len()..)?.trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
        before.is_none_or(|byte| byte == b' ').then(|| word(value.get(..end)?)).flatten()
    })
}

/// A word in capitals or in brackets, or one with a colon at the very beginning; before it
/// only times, dates and numbers.
fn in_front(text: &str) -> Option<Level> {
    for (place, part) in
        near(text).split([' ', '\t', '|']).filter(|part| !part.is_empty()).take(6).enumerate()
    {
        let bare = part.trim_matches(['[', ']', '(', ')', ':', '*', '-', ',', '.']);
        let marked = part.starts_with('[') || part.ends_with(':') && place == 0;
        let capitals = bare.bytes().all(|byte| byte.is_ascii_uppercase());
        if (marked || capitals)
            && let Some(level) = word(bare)
        {
            return Some(level);
        }
        // `[2026-…]`, `10:00:00.123Z`, `1234`, and glog's `E1124`.
        let stamp =
            bare.bytes().any(|byte| byte.is_ascii_digit()) || part.starts_with('[') || bare.is_empty();
        if !stamp {
            return None;
        }
        if let (0, [letter, d1, d2, d3, d4]) = (place, bare.as_bytes())
            && [d1, d2, d3, d4].iter().all(|digit| digit.is_ascii_digit())
        {
            return match letter {
                b'I' => Some(Level::Info),
                b'W' => Some(Level::Warn),
                b'E' => Some(Level::Error),
                b'F' => Some(Level::Fatal),
                _ => None,
            };
        }
    }
    None
}

/// The level of this name.
pub fn word(name: &str) -> Option<Level> {
    const NAMES: [(&str, Level); 24] = [
        ("trace", Level::Trace),
        ("trc", Level::Trace),
        ("verbose", Level::Trace),
        ("debug", Level::Debug),
        ("dbg", Level::Debug),
        ("info", Level::Info),
        ("inf", Level::Info),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("notice", Level::Info),
        ("log", Level::Info),
        ("default", Level::Info),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("wrn", Level::Warn),
        ("error", Level::Error),
        ("err", Level::Error),
        ("severe", Level::Error),
        ("fatal", Level::Fatal),
        ("critical", Level::Fatal),
        ("crit", Level::Fatal),
        ("panic", Level::Fatal),
        ("alert", Level::Fatal),
        ("emergency", Level::Fatal),
    ];
    if !(3..=13).contains(&name.len()) {
        return None;
    }
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_recognised_where_they_stand() {
        for (line, expected) in [
            (r#"{"level":"warn","msg":"x"}"#, Some(Level::Warn)),
            (r#"{"msg":"level","severity":"ERROR"}"#, Some(Level::Error)),
            (r#"{"level":30,"time":1,"msg":"pino"}"#, Some(Level::Info)),
            (r#"{"name":"bunyan","level":60}"#, Some(Level::Fatal)),
            (r#"{"log.level":"debug"}"#, Some(Level::Debug)),
            (r#"{"msg":"no level"}"#, None),
            (r#"{"level":"#, None),
            (r#"time=2026-11-24 level=error msg="x""#, Some(Level::Error)),
            (r#"level="warning" msg=x"#, Some(Level::Warn)),
            ("sublevel=error", None),
            ("[ERROR] it broke", Some(Level::Error)),
            ("[warn] it may break", Some(Level::Warn)),
            ("ERROR: it broke", Some(Level::Error)),
            ("error: it broke", Some(Level::Error)),
            ("2026-11-24T10:00:00.123Z  WARN app: x", Some(Level::Warn)),
            ("2026-11-24 10:00:00,123 - INFO - x", Some(Level::Info)),
            ("[2026-11-24 10:00:00 +0000] [17] [INFO] Listening", Some(Level::Info)),
            ("10:00:00 [main] DEBUG com.example - x", Some(Level::Debug)),
            ("E1124 10:00:00.000000 17 file.go:3] x", Some(Level::Error)),
            ("<3>it broke", Some(Level::Error)),
            ("<34>1 2026-11-24T10:00:00Z host su - x", Some(Level::Fatal)),
            ("  FATAL x", Some(Level::Fatal)),
            ("an ERROR in the middle", None),
            ("errors are counted", None),
            ("error handling begins", None),
            ("GET /error 200", None),
            ("<html>", None),
            ("line 17", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
