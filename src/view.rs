//! An answer as text, from the same document that `-o json` prints: which members
//! are shown, and how, is data.

use crate::packed::{Word, word};
use crate::term::output::{Colour, Output};
use crate::term::text::{bytes, safe};
use crate::term::wrap::{pad, width};
use crate::time::{human, parse_rfc3339};
use miniserde::json::{Number, Value};
use std::time::SystemTime;

/// How a member is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As it is; a line is left out when it is null.
    Plain,
    /// As it is, but no more of it than fits beside other columns.
    Brief,
    /// A state, in its colour.
    State,
    /// An instant, as how long ago it was.
    Ago,
    /// Bytes, in their unit.
    Bytes,
    /// Thousandths of a core, as a percentage of one.
    Cores,
    /// Microseconds, as `12 ms`.
    Micros,
    /// Milliseconds, likewise.
    Millis,
    /// What was counted in a minute, as `12.3/s`, or `5/min` when that is little.
    Rate,
    /// How much of the number at another path it is, as a percentage.
    Share(Word),
    /// A list of health checks, as a mark for each.
    Marks,
    /// A number out of the one at another path: `2/3`.
    Of(Word),
}

/// The most characters of [`Show::Brief`].
const BRIEF: usize = 40;

/// A member of a document.
#[derive(Clone, Copy)]
pub struct Field {
    /// What stands before it or above it.
    pub label: Word,
    /// Where it is: names joined by dots.
    pub path: Word,
    /// How it is shown.
    pub show: Show,
}

/// A [`Field`] in one line.
pub const fn field(label: &str, path: &str, show: Show) -> Field {
    Field { label: word(label), path: word(path), show }
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

/// `template` with the text at each path that stands in it in braces.
pub fn filled(document: &Value, template: &str) -> String {
    let mut out = String::new();
    for piece in template.split('{') {
        match piece.split_once('}') {
            Some((path, rest)) => {
                out.push_str(&text(document, path));
                out.push_str(rest);
            }
            None => out.push_str(piece),
        }
    }
    out
}

/// One field a line, behind its label; null members are left out.
pub fn record(output: &Output, document: &Value, fields: &[Field], now: SystemTime) -> String {
    let shown: Vec<(&str, Cell)> = fields
        .iter()
        .filter_map(|field| Some((field.label.text(), cell(output, document, field, now)?)))
        .collect();
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
        rows.iter().map(|row| fields.iter().map(|field| cell(output, row, field, now)).collect()).collect();
    let widths: Vec<usize> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let cells = cells.iter().filter_map(|row| row.get(index)?.as_ref());
            cells.map(Cell::width).max().unwrap_or(0).max(field.label.text().len())
        })
        .collect();
    let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if columns.is_some_and(|columns| total > columns) {
        return rows.iter().map(|row| record(output, row, fields, now)).collect::<Vec<_>>().join("\n");
    }
    let header =
        fields.iter().map(|field| Some(Cell { text: field.label.text().to_ascii_uppercase(), colour: None }));
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
        width(&self.text)
    }

    fn painted(&self, output: &Output) -> String {
        match self.colour {
            Some(colour) => output.paint(colour, &self.text),
            None => self.text.clone(),
        }
    }
}

/// The member that `field` names; none when it is null.
pub fn cell(output: &Output, document: &Value, field: &Field, now: SystemTime) -> Option<Cell> {
    let value = at(document, field.path.text())?;
    if let Show::Marks = field.show {
        return marks(items(document, field.path.text()), output).map(|text| Cell { text, colour: None });
    }
    let (text, count) = (plain(value)?, number(value).unwrap_or(0));
    let text = match field.show {
        Show::State => return Some(Cell { colour: state_colour(&text), text: text.replace('_', " ") }),
        Show::Plain | Show::Marks => text,
        Show::Brief => brief(text),
        Show::Ago => ago(&text, now),
        Show::Bytes => bytes(count),
        Show::Cores => percent(count, 1000),
        Show::Micros => micros(count),
        Show::Millis => micros(count.saturating_mul(1000)),
        Show::Rate => rate(count),
        Show::Of(whole) => format!("{count}/{}", at(document, whole.text()).and_then(number)?),
        Show::Share(whole) => {
            percent(count, at(document, whole.text()).and_then(number).filter(|whole| *whole > 0)?)
        }
    };
    Some(Cell { text, colour: None })
}

/// No more of a text than fits beside others.
pub fn brief(text: String) -> String {
    match text.char_indices().nth(BRIEF) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A number of a document.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(Number::U64(number)) => Some(*number),
        _ => None,
    }
}

/// `12.3%`.
fn percent(part: u64, whole: u64) -> String {
    tenths(part.saturating_mul(1000) / whole, "%")
}

fn tenths(tenths: u64, unit: &str) -> String {
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// `0.4 ms`, `12 ms`, `1.2 s`.
fn micros(us: u64) -> String {
    match us {
        0..10_000 => tenths(us / 100, " ms"),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => tenths(us / 100_000, " s"),
    }
}

fn rate(count: u64) -> String {
    match count {
        0..60 => format!("{count}/min"),
        _ => tenths(count / 6, "/s"),
    }
}

/// A mark for each check, the newest last.
fn marks(checks: &[Value], output: &Output) -> Option<String> {
    let (good, bad) = if output.unicode { ('✓', '✗') } else { ('.', 'x') };
    let is_good = |check: &Value| matches!(at(check, "healthy"), Some(Value::Bool(true)));
    let marks = checks.iter().map(|check| if is_good(check) { good } else { bad });
    (!checks.is_empty()).then(|| marks.collect())
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
        Value::Array(all) if !all.is_empty() => {
            Some(all.iter().filter_map(plain).collect::<Vec<_>>().join("; "))
        }
        _ => None,
    }
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
        field("since", "created_at", Show::Ago),
    ];

    #[test]
    fn numbers_have_units_and_checks_are_marks() {
        let document = value(
            r#"{"cpu":1234,"size":1572864,"us":[0,950,9999,10000,999999,1234567],"requests":59,"deployed":741,
                "errors":1,"created_at":"1970-01-01T00:00:00.000Z","checks":[{"healthy":true},{"healthy":false}]}"#,
        );
        let show = |output: &Output, path, show| {
            let now = UNIX_EPOCH + Duration::from_secs(61);
            cell(output, &document, &field(path, path, show), now).map(|cell| cell.text)
        };
        let mut output = Output::new(false, true);
        for (path, how, text) in [
            ("cpu", Show::Cores, "123.4%"),
            ("size", Show::Bytes, "1.5 MiB"),
            ("requests", Show::Rate, "59/min"),
            ("deployed", Show::Rate, "12.3/s"),
            ("errors", Show::Share(word("deployed")), "0.1%"),
            ("created_at", Show::Ago, "1m 1s ago"),
            ("checks", Show::Marks, ".x"),
        ] {
            assert_eq!(show(&output, path, how).as_deref(), Some(text), "{path}");
        }
        assert_eq!(show(&output, "errors", Show::Share(word("url"))), None);
        output.unicode = true;
        assert_eq!(show(&output, "checks", Show::Marks).as_deref(), Some("✓✗"));
        let times: Vec<String> = items(&document, "us").iter().filter_map(number).map(micros).collect();
        assert_eq!(times, ["0.0 ms", "0.9 ms", "9.9 ms", "10 ms", "999 ms", "1.2 s"]);
    }

    #[test]
    fn a_template_is_filled_with_what_is_safe_to_show() {
        let document = value(r#"{"id":7,"app":{"name":"a\u001b{id}"}}"#);
        assert_eq!(filled(&document, "made {app.name} ({id}){none}"), "made a\\u{1b}{id} (7)");
        assert_eq!(filled(&document, "all"), "all");
    }

    #[test]
    fn a_table_is_aligned_and_says_what_is_missing() {
        let rows = [
            value(r#"{"app":{"name":"web"},"state":"crash_loop","created_at":"1970-01-01T00:00:00.000Z"}"#),
            value(r#"{"app":{"name":"a\u001b"},"state":"live","created_at":null}"#),
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
