//! What a deploy would send, and why: `--dry-run` and `--explain`. Nothing is sent, and nobody
//! has to be logged in.

use super::check;
use super::send::lacking;
use crate::api::Max;
use crate::archive::walk::{Cause, Kind, explain as judge, walk};
use crate::cli::Matches;
use crate::commands::tell;
use crate::error::Result;
use crate::session::Session;
use crate::sys::terminal;
use crate::view::{Field, Show, at, field, items, record, table};
use miniserde::json::{Array, Number, Object, Value};
use std::path::{Path, is_separator};
use std::time::SystemTime;

/// How many of the largest files are told.
const LARGEST: usize = 10;

const ALL: &[Field] = &[
    field("would be sent", "directory", Show::Plain),
    field("files", "files", Show::Plain),
    field("directories", "directories", Show::Plain),
    field("links", "links", Show::Plain),
    field("size", "bytes", Show::Bytes),
    field("files Max lacks", "missing.files", Show::Plain),
    field("their size", "missing.bytes", Show::Bytes),
];

const TABLES: [(&str, &[Field]); 2] = [
    ("largest", &[field("size", "bytes", Show::Bytes), field("largest files", "path", Show::Plain)]),
    (
        "left_out",
        &[
            field("by", "file", Show::Plain),
            field("line", "line", Show::Plain),
            field("left out", "pattern", Show::Brief),
            field("directories", "directories", Show::Plain),
            field("files", "files", Show::Plain),
            field("size", "bytes", Show::Bytes),
        ],
    ),
];

/// `--dry-run`.
pub fn dry_run(session: &Session, matches: &Matches, directory: &Path) -> Result<()> {
    let began = SystemTime::now();
    let tree = walk(directory)?;
    let output = &session.output;
    let welcome = session.max().and_then(Max::welcome);
    if let Err(error) = &welcome {
        output.note(&format!("not checked against Max's limits: {}", error.message()));
    }
    let (mut files, mut directories, mut links) = (0, 0, 0);
    let mut found: Vec<(u64, &Path)> = Vec::new();
    for entry in &tree.entries {
        match entry.kind {
            Kind::Directory => directories += 1,
            Kind::Link(_) => links += 1,
            Kind::File(size) => {
                files += 1;
                let at = found.iter().position(|known| known.0 < size).unwrap_or(found.len());
                found.insert(at, (size, &entry.path));
                found.truncate(LARGEST);
            }
        }
    }
    let (mut largest, mut left_out) = (Array::new(), Array::new());
    for (size, path) in found {
        let mut row = Object::new();
        text(&mut row, "path", &path.to_string_lossy());
        number(&mut row, "bytes", size);
        largest.push(Value::Object(row));
    }
    for left in &tree.left {
        let mut row = Object::new();
        cause(&mut row, Some(&left.cause));
        number(&mut row, "directories", left.directories);
        number(&mut row, "files", left.files);
        // Nobody has looked into the directories.
        match left.files {
            0 => put(&mut row, "bytes", Value::Null),
            _ => number(&mut row, "bytes", left.bytes),
        }
        left_out.push(Value::Object(row));
    }
    let mut all = Object::new();
    text(&mut all, "directory", &directory.to_string_lossy());
    number(&mut all, "files", files);
    number(&mut all, "directories", directories);
    number(&mut all, "links", links);
    number(&mut all, "bytes", tree.bytes);
    put(&mut all, "largest", Value::Array(largest));
    put(&mut all, "left_out", Value::Array(left_out));
    put(&mut all, "checked", Value::Bool(welcome.is_ok()));
    let takes = welcome.as_ref().ok().and_then(|welcome| at(welcome, "manifests"));
    let takes = matches!(takes, Some(Value::Bool(true)));
    let mut refused = welcome.map_or(Ok(()), |welcome| check(&tree, &welcome));
    put(&mut all, "missing", Value::Null);
    if let (true, Ok(()), Ok(name)) = (takes, &refused, session.app(matches, None, directory)) {
        match lacking(session, &name, (tree, began)) {
            Ok((files, bytes)) => {
                let mut missing = Object::new();
                number(&mut missing, "files", files);
                number(&mut missing, "bytes", bytes);
                put(&mut all, "missing", Value::Object(missing));
            }
            Err(error) => refused = Err(error),
        }
    }
    let all = Value::Object(all);
    if output.json {
        output.document(&all)?;
    } else {
        output.write(&record(output, &all, ALL, session.now()))?;
        let columns = terminal::width().filter(|_| output.terminal);
        for (path, fields) in TABLES {
            let rows = items(&all, path);
            if !rows.is_empty() {
                output.write("\n")?;
                output.write(&table(output, rows, fields, columns, session.now()))?;
            }
        }
    }
    refused
}

/// `--explain`.
pub fn explain(session: &Session, directory: &Path, given: &str) -> Result<()> {
    let verdict = judge(directory, Path::new(given), given.ends_with(is_separator))?;
    let mut all = Object::new();
    text(&mut all, "path", given);
    put(&mut all, "sent", Value::Bool(verdict.sent));
    put(&mut all, "exists", Value::Bool(verdict.exists));
    cause(&mut all, verdict.cause.as_ref());
    put(&mut all, "matched", Value::Null);
    if verdict.cause.is_some() {
        text(&mut all, "matched", &verdict.at.to_string_lossy());
    }
    let lines = match (verdict.sent, &verdict.cause) {
        (true, None) => "'{path}' would be sent: no rule matches it",
        (true, Some(_)) => "'{path}' would be sent: {file}:{line}: {pattern}",
        (false, Some(cause)) if cause.file.is_empty() => "'{path}' is never sent: {pattern}",
        (false, _) => "'{path}' would not be sent: {file}:{line}: {pattern}",
    };
    tell(session, &Value::Object(all), lines)
}

/// Its file, line and pattern.
fn cause(row: &mut Object, cause: Option<&Cause>) {
    for name in ["file", "line", "pattern"] {
        put(row, name, Value::Null);
    }
    let Some(cause) = cause else { return };
    text(row, "pattern", &cause.pattern);
    if !cause.file.is_empty() {
        text(row, "file", &cause.file);
        number(row, "line", cause.line);
    }
}

fn text(row: &mut Object, name: &str, text: &str) {
    put(row, name, Value::String(text.to_owned()));
}

fn number(row: &mut Object, name: &str, number: u64) {
    put(row, name, Value::Number(Number::U64(number)));
}

#[inline(never)]
fn put(row: &mut Object, name: &str, value: Value) {
    row.insert(name.to_owned(), value);
}
