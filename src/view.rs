//! An answer as text, from the same document that `-o json` prints: which members
//! are shown, and how, is data.

use crate::term::output::{Colour, Output};
use crate::term::text::{bytes, safe};
use crate::time::{human, parse_rfc3339};
use miniserde::json::Value;
use std::time::SystemTime;

/// How a member is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As it is; a line is left out when it is null.
    Plain,
    /// A state, in its colour.
    State,
    /// An instant, as how long ago it was.
    Ago,
    /// A size.
    Bytes,
    /// Thousandths of a core, as per cent of one.
    Cores,
    /// Microseconds.
    Micros,
    /// A number in a minute, as one in a second.
    Rate,
}

/// A member of a document.
#[derive(Clone, Copy)]
pub struct Field {
    /// What stands before it or above it.
    pub label: &'static str,
    /// Where it is: names joined by dots.
    pub path: &'static str,
    /// How it is shown.
    pub show: Show,
}

/// A [`Field`] in one line.
pub const fn field(label: &'static str, path: &'static str, show: Show) -> Field {
    Field { label, path, show }
}

/// The value at `path` in `document`; the document itself at the empty path.
pub fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    names.try_fold(document, |value, name| match value {
        Value::Object(object) => object.get(name),
        _ => None,
    })
}

/// The items of the array at `path`.
pub fn items<'a>(document: &'a Value, path: &str) -> &'a [Value] {
    match at(document, path) {
        Some(Value::Array(array)) => array,
        _ => &[],
    }
}

/// The text at `path`, safe to show.
pub fn text(document: &Value, path: &str) -> String {
    at(document, path).and_then(plain).unwrap_or_default()
}

/// One field a line, behind its label; null members are left out.
pub fn record(output: &Output, document: &Value, fields: &[Field], now: SystemTime) -> String {
    let shown: Vec<(&str, Cell)> =
        fields.iter().filter_map(|field| Some((field.label, cell(document, field, now)?))).collect();
    let width = shown.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (label, cell) in shown {
        out.push_str(label);
        pad(&mut out, width + 2 - label.len());
        out.push_str(&cell.painted(output));
        out.push('\n');
    }
    out
}

/// A row a document under a line of labels; as records when it is wider than the
/// terminal.
pub fn table(
    output: &Output,
    rows: &[Value],
    fields: &[Field],
    columns: Option<usize>,
    now: SystemTime,
) -> String {
    let cells: Vec<Vec<Option<Cell>>> =
        rows.iter().map(|row| fields.iter().map(|field| cell(row, field, now)).collect()).collect();
    let widths: Vec<usize> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let cells = cells.iter().filter_map(|row| row.get(index)?.as_ref());
            cells.map(Cell::width).max().unwrap_or(0).max(field.label.len())
        })
        .collect();
    let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if columns.is_some_and(|columns| total > columns) {
        return rows.iter().map(|row| record(output, row, fields, now)).collect::<Vec<_>>().join("\n");
    }
    let header =
        fields.iter().map(|field| Some(Cell { text: field.label.to_ascii_uppercase(), colour: None }));
    let mut out = String::new();
    for row in std::iter::once(header.collect()).chain(cells) {
        push_row(&mut out, output, &row, &widths);
    }
    out
}

fn push_row(out: &mut String, output: &Output, row: &[Option<Cell>], widths: &[usize]) {
    let mut gap = 0;
    for (cell, width) in row.iter().zip(widths) {
        pad(out, gap);
        let used = match cell {
            Some(cell) => {
                out.push_str(&cell.painted(output));
                cell.width()
            }
            None => {
                out.push('-');
                1
            }
        };
        gap = width.saturating_sub(used) + 2;
    }
    out.push('\n');
}

/// A member as it is shown.
pub struct Cell {
    /// The words.
    pub text: String,
    /// Their colour.
    pub colour: Option<Colour>,
}

impl Cell {
    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn painted(&self, output: &Output) -> String {
        match self.colour {
            Some(colour) => output.paint(colour, &self.text),
            None => self.text.clone(),
        }
    }
}

/// The member that `field` names; none when it is null.
pub fn cell(document: &Value, field: &Field, now: SystemTime) -> Option<Cell> {
    let text = at(document, field.path).and_then(plain)?;
    Some(match field.show {
        Show::Plain => Cell { text, colour: None },
        Show::State => Cell { colour: state_colour(&text), text: text.replace('_', " ") },
        Show::Ago => Cell { text: ago(&text, now), colour: None },
        Show::Bytes => Cell { text: bytes(text.parse().ok()?), colour: None },
        Show::Cores => Cell { text: cores(text.parse().ok()?), colour: None },
        Show::Micros => Cell { text: micros(text.parse().ok()?), colour: None },
        Show::Rate => Cell { text: rate(text.parse().ok()?), colour: None },
    })
}

/// `12.3%`, of one core.
fn cores(thousandths: u64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

/// `0.4 ms`, `12 ms`, `3.1 s`.
fn micros(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1000, micros / 100 % 10),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// `1.2/s`, of so many in a minute.
fn rate(in_a_minute: u64) -> String {
    let tenths = in_a_minute.saturating_add(3) / 6;
    format!("{}.{}/s", tenths / 10, tenths % 10)
}

fn state_colour(state: &str) -> Option<Colour> {
    match state {
        "running" | "live" => Some(Colour::Green),
        "failed" | "crash_loop" | "unhealthy" => Some(Colour::Red),
        "empty" | "stopped" => None,
        _ => Some(Colour::Yellow),
    }
}

fn ago(text: &str, now: SystemTime) -> String {
    let Some(time) = parse_rfc3339(text) else { return text.to_owned() };
    match now.duration_since(time) {
        Ok(since) if since.as_secs() == 0 => "just now".to_owned(),
        Ok(since) => format!("{} ago", human(since)),
        Err(ahead) => format!("in {}", human(ahead.duration())),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(safe(text).into_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(if *flag { "yes" } else { "no" }.to_owned()),
        _ => None,
    }
}

fn pad(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn value(text: &str) -> Value {
        miniserde::json::from_str(text).ok().unwrap_or(Value::Null)
    }

    const FIELDS: &[Field] = &[
        field("name", "app.name", Show::Plain),
        field("state", "state", Show::State),
        field("since", "at", Show::Ago),
    ];

    #[test]
    fn a_table_is_aligned_and_says_what_is_missing() {
        let rows = [
            value(r#"{"app":{"name":"web"},"state":"crash_loop","at":"1970-01-01T00:00:00.000Z"}"#),
            value(r#"{"app":{"name":"a\u001b"},"state":"live","at":null}"#),
        ];
        let output = Output::new(false, true);
        let now = UNIX_EPOCH + Duration::from_secs(61);
        let text = table(&output, &rows, FIELDS, None, now);
        assert_eq!(
            text,
            "NAME     STATE       SINCE\nweb      crash loop  1m 1s ago\na\\u{1b}  live        -\n"
        );
        let narrow = table(&output, &rows, FIELDS, Some(20), now);
        assert_eq!(
            narrow,
            "name   web\nstate  crash loop\nsince  1m 1s ago\n\nname   a\\u{1b}\nstate  live\n"
        );
    }
}
