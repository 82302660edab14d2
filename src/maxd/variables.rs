//! The variables of apps and networks, secret ones too: which names and sizes there are, what
//! is wanted and what the instances run with.
//!
//! ```text
//! var:change ──▶ wanted ── rolled out ──▶ applied
//!                (rows that are current)  (rows that the instances have)
//! ```
//!
//! A row is never changed: a new value is a new row, and the old one stays for as long as an
//! app runs with it or the history of its configuration tells of it. So it is known at any
//! time, also after a crash, what an app runs with and what is only staged.

mod rows;

pub use rows::{Change, Content, Scope, Setting, Variable, add, again, applied, apply, at, changed_at};
pub use rows::{check_limits, differences, end, environment, forget_unused, own, rows_of, sealed_in, wanted};

use crate::dotenv;
use crate::env::check_name;
use crate::error::Result;
use crate::wire::exec;

/// The names and values of one app together, in bytes.
const TOTAL_MAX: usize = 256 << 10;
/// The most an app has.
const COUNT_MAX: usize = 500;

/// Reads variables in dotenv's syntax.
pub fn parse(text: &str) -> Result<Vec<exec::Variable>> {
    let entries = dotenv::parse(text)?.into_iter().map(|dotenv::Entry { line, name, value }| {
        check_name(&name).map_err(|error| {
            let hint = error.hint_text().unwrap_or_default().to_owned();
            dotenv::wrong(line, &format!("can't be taken: {}", error.message())).hint(hint)
        })?;
        Ok(exec::Variable { name, value })
    });
    entries.collect()
}

/// Writes variables in dotenv's syntax, so that [`parse`] gives them again, and other readers
/// do as far as they can.
pub fn write(variables: &[exec::Variable]) -> String {
    variables.iter().map(|one| format!("{}={}\n", one.name, quote(&one.value))).collect()
}

fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    // What stands in single quotes is the same everywhere, but for these.
    if !value.contains(['\'', '\\', '\r']) {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::env::VALUE_MAX;
    use nanorand::{Rng, WyRand};

    #[test]
    fn a_name_that_can_t_be_is_told_with_its_line() {
        for (text, message) in [
            ("a.b=1", "line 1 can't be taken: 'a.b' is no variable's name"),
            ("a='\n'\n2a=1", "line 3 can't be taken: '2a' is no variable's name"),
            ("PORT=80", "line 1 can't be taken: 'PORT' is Max's own: it tells an instance where to listen"),
        ] {
            let error = parse(text).err().unwrap();
            assert_eq!((error.message(), error.field_name()), (message, Some("text")), "{text}");
        }
    }

    #[test]
    fn what_needs_no_quotes_has_none() {
        for (value, text) in [
            ("", "a=\n"),
            ("postgres://u:p@h:5432/d", "a=postgres://u:p@h:5432/d\n"),
            ("two words", "a='two words'\n"),
            ("a#b", "a='a#b'\n"),
            ("$HOME \"x\"\ny", "a='$HOME \"x\"\ny'\n"),
            ("it's $5\r\n\\", "a=\"it's \\$5\\r\\n\\\\\"\n"),
        ] {
            let one = exec::Variable { name: "a".to_owned(), value: value.to_owned() };
            assert_eq!(write(&[one]), text);
        }
    }

    /// Any value but one with a zero byte, which no environment can hold.
    fn arbitrary(random: &mut WyRand) -> String {
        const PIECES: &[&str] = &[
            "\n",
            "\r",
            "\r\n",
            "'",
            "\"",
            "`",
            "\\",
            "\\n",
            "\\\\",
            "$",
            "${A}",
            "#",
            " #",
            " ",
            "\t",
            "=",
            "é",
            "漢",
            "🦀",
            "\u{feff}",
            "\u{a0}",
            "\u{1b}[31m",
            "\u{7f}",
            "x",
            "export ",
            "A=1",
            "\u{2028}",
            "\u{1}",
        ];
        let count = match random.generate_range(0..10_u8) {
            0 => 20_000,
            _ => random.generate_range(0..12_usize),
        };
        let mut value: String = (0..count).map(|_| PIECES[random.generate_range(0..PIECES.len())]).collect();
        while value.len() > VALUE_MAX {
            value.pop();
        }
        value
    }

    #[test]
    fn arbitrary_values_survive_export_and_import() {
        let mut random = WyRand::new_seed(7);
        for round in 0..2000 {
            let variables: Vec<_> = (0..random.generate_range(0..4_u8))
                .map(|n| exec::Variable { name: format!("V_{n}"), value: arbitrary(&mut random) })
                .collect();
            let text = write(&variables);
            let again = parse(&text).unwrap_or_else(|error| panic!("round {round}: {error}\n{text}"));
            let same = again.len() == variables.len()
                && again.iter().zip(&variables).all(|(a, b)| a.name == b.name && a.value == b.value);
            assert!(same, "round {round}: {text:?}");
        }
    }
}
