//! "did you mean": the nearest name, in front of the hint of something that is not there. The
//! names are those that who asks may see: others must not show in an answer, not even by their
//! absence.

use crate::suggest;
use rusqlite::{Params, Transaction};

/// What is longer is no name, and would take its time to be compared.
const NAME_MAX: usize = 128;
/// So many names are compared.
const NAMES_MAX: usize = 1000;

/// `hint` behind the nearest to `name` of the names that `query` finds.
pub fn hint(t: &Transaction<'_>, name: &str, query: &str, values: impl Params, hint: &str) -> String {
    let names = t.prepare_cached(query).and_then(|mut query| {
        let names = query.query_map(values, |row| row.get::<_, String>(0))?;
        names.take(NAMES_MAX).collect::<rusqlite::Result<Vec<_>>>()
    });
    // What can't be read now takes nothing from the error that is told.
    among(name, names.unwrap_or_default().iter().map(String::as_str), hint)
}

/// `hint` behind the nearest to `name` of these names.
pub fn among<'a>(name: &str, names: impl Iterator<Item = &'a str>, hint: &str) -> String {
    match suggest::nearest(name, names.filter(|_| name.len() <= NAME_MAX)) {
        Some(near) => format!("did you mean '{near}'? {hint}"),
        None => hint.to_owned(),
    }
}
