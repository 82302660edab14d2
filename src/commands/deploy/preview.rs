//! What a deploy would send, and why: `--dry-run` and `--explain`. Nothing is sent, and nobody
//! has to be logged in.

use super::check;
use crate::archive::walk::{Cause, Kind, Left, Tree, explain as judge, walk};
use crate::commands::tell;
use crate::error::{Error, Result};
use crate::packed::packed;
use crate::session::Session;
use crate::sys::terminal;
use crate::view::{Field, Show, field, items, record, table};
use miniserde::json::{Number, Object, Value};
use std::path::{Component, Path, PathBuf};
use std::{env, io};

/// How many of the largest files are told.
const LARGEST: usize = 10;

const ALL: &[Field] = &[
    field("would be sent", "directory", Show::Plain),
    field("files", "files", Show::Plain),
    field("directories", "directories", Show::Plain),
    field("links", "links", Show::Plain),
    field("size", "bytes", Show::Bytes),
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
pub fn dry_run(session: &Session, directory: &Path) -> Result<()> {
    let tree = walk(directory)?;
    let output = &session.output;
    let welcome = session.max().and_then(|max| max.welcome::<Value>());
    if let Err(error) = &welcome {
        output.note(&format!("not checked against Max's limits: {}", error.message()));
    }
    let of = |wanted: fn(&Kind) -> bool| {
        number(tree.entries.iter().filter(|entry| wanted(&entry.kind)).count() as u64)
    };
    let values = vec![
        path(directory),
        of(|kind| matches!(kind, Kind::File(_))),
        of(|kind| matches!(kind, Kind::Directory)),
        of(|kind| matches!(kind, Kind::Link(_))),
        number(tree.bytes),
        largest(&tree),
        left_out(&tree),
        Value::Bool(welcome.is_ok()),
    ];
    let document = object("directory files directories links bytes largest left_out checked", values);
    if output.json {
        output.document(&document)?;
    } else {
        output.write(&record(output, &document, ALL, session.now()))?;
        let columns = terminal::width().filter(|_| output.terminal);
        for (path, fields) in TABLES {
            let rows = items(&document, path);
            if !rows.is_empty() {
                output.write("\n")?;
                output.write(&table(output, rows, fields, columns, session.now()))?;
            }
        }
    }
    welcome.map_or(Ok(()), |welcome| check(&tree, &welcome))
}

fn largest(tree: &Tree) -> Value {
    let mut found: Vec<(u64, &Path)> = Vec::new();
    for entry in &tree.entries {
        if let Kind::File(size) = entry.kind {
            let at = found.iter().position(|known| known.0 < size).unwrap_or(found.len());
            found.insert(at, (size, &entry.path));
            found.truncate(LARGEST);
        }
    }
    let row = |(size, file)| object("path bytes", vec![path(file), number(size)]);
    Value::Array(found.into_iter().map(row).collect())
}

fn left_out(tree: &Tree) -> Value {
    let row = |left: &Left| {
        let mut values = cause(Some(&left.cause));
        // Nobody has looked into the directories.
        let bytes = if left.files > 0 { number(left.bytes) } else { Value::Null };
        values.extend([number(left.directories), number(left.files), bytes]);
        object("file line pattern directories files bytes", values)
    };
    Value::Array(tree.left.iter().map(row).collect())
}

/// `--explain`.
pub fn explain(session: &Session, directory: &Path, given: &str) -> Result<()> {
    let outside = || {
        let directory = directory.to_string_lossy();
        Error::usage(format!("'{given}' is not in '{directory}'")).hint(packed!("name it as seen from here"))
    };
    let (root, whole) = (clean(directory), clean(Path::new(given)));
    let (Ok(root), Ok(whole)) = (root, whole) else { return Err(outside()) };
    let below = whole.strip_prefix(&root).ok().filter(|below| !below.as_os_str().is_empty());
    let below = below.ok_or_else(outside)?;
    let verdict = judge(directory, below, given.ends_with(std::path::is_separator))?;
    let matched = if verdict.cause.is_some() { path(&verdict.at) } else { Value::Null };
    let mut values = vec![path(below), Value::Bool(verdict.sent), Value::Bool(verdict.exists), matched];
    values.extend(cause(verdict.cause.as_ref()));
    let document = object("path sent exists matched file line pattern", values);
    let lines = match (verdict.sent, &verdict.cause) {
        (true, None) => "'{path}' would be sent: no rule matches it",
        (true, Some(_)) => "'{path}' would be sent: {file}:{line}: {pattern}",
        (false, Some(Cause { file: None, .. })) => "'{path}' is never sent: {pattern}",
        (false, _) => "'{path}' would not be sent: {file}:{line}: {pattern}",
    };
    tell(session, &document, lines)
}

/// A path from the root, without `.` and `..`.
pub(super) fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in env::current_dir()?.join(path).components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    Ok(out)
}

/// Its file, line and pattern.
fn cause(cause: Option<&Cause>) -> Vec<Value> {
    let Some(cause) = cause else { return vec![Value::Null, Value::Null, Value::Null] };
    let pattern = Value::String(cause.pattern.clone());
    match &cause.file {
        Some(file) => vec![path(file), number(cause.line), pattern],
        None => vec![Value::Null, Value::Null, pattern],
    }
}

fn object(names: &str, values: Vec<Value>) -> Value {
    let mut object = Object::new();
    // One by one: to collect them would bring code that sorts.
    for (name, value) in names.split(' ').zip(values) {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object)
}

fn number(number: u64) -> Value {
    Value::Number(Number::U64(number))
}

fn path(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}
