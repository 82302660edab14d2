//! The configuration of apps and networks, and its history.
//!
//! ```text
//! history:    1 created ── 2 variables ── 3 scaled ── 4 variables ── …   (one line a scope)
//! variables:      ├── MODE=a since 2, until 4 ──────────┼── MODE=b since 4
//! ```
//!
//! Each change of a scope, an app or a network itself, is a row of the history with the next
//! number. It holds what is set besides variables; a variable's row says from which change
//! to which it was current. So a configuration at any number is read, not computed, and what
//! a change was is the difference to the one before.

pub mod document;
mod export;
mod import;

pub use export::export;
pub use import::{Import, Outcome};

use super::store::{explain, held};
use super::variables::{self, Scope, Variable};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::config::{Change, Entry, Version};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How many changes of a scope are kept.
const KEPT: u64 = 500;
/// How many bytes of former values of a scope are kept.
const KEPT_BYTES: i64 = 8 << 20;
/// So many characters of a value stand in words about a change.
const BRIEF: usize = 40;
/// So many changes stand in words.
const TOLD: usize = 10;

/// What is set: the value of each kind and name.
pub type Items = BTreeMap<(String, String), String>;

/// One of [`Items`].
pub fn item(kind: &str, name: &str, value: impl Into<String>) -> ((String, String), String) {
    ((kind.to_owned(), name.to_owned()), value.into())
}

/// What variables are among [`Items`]. Secrets are told apart by their fingerprints.
pub fn items(variables: &[Variable]) -> impl Iterator<Item = ((String, String), String)> {
    variables.iter().map(|one| match one.fingerprint() {
        Some(fingerprint) => item("secret", &one.name, fingerprint),
        None => item("variable", &one.name, &*one.value),
    })
}

/// What it takes from one to the other, of the app with this name if it is one's.
pub fn differences(before: &Items, after: &Items, app: Option<&str>) -> Vec<Change> {
    let all: BTreeMap<_, _> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    let change = |key: &(String, String)| {
        let (before, after) = (before.get(key), after.get(key));
        let change = match (before, after) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        Some(Change {
            app: app.map(str::to_owned),
            kind: key.0.clone(),
            name: key.1.clone(),
            change: change.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        })
    };
    all.into_keys().filter_map(change).collect()
}

/// `variable A changed from '1' to '2', secret B added`.
pub fn told(changes: &[Change]) -> String {
    let brief = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or_default();
        match value.char_indices().nth(BRIEF) {
            Some((end, _)) => format!("'{}...'", value.get(..end).unwrap_or_default()),
            None => format!("'{value}'"),
        }
    };
    let one = |one: &Change| {
        let mut text = one.kind.clone();
        if !one.name.is_empty() {
            text = format!("{text} {}", one.name);
        }
        if let Some(app) = &one.app {
            text = format!("{text} of app {app}");
        }
        text = format!("{text} {}", one.change);
        match (one.change.as_str(), one.kind.as_str()) {
            (_, "secret" | "webhook") | ("removed", _) => text,
            ("added", _) => format!("{text}: {}", brief(&one.after)),
            _ => format!("{text} from {} to {}", brief(&one.before), brief(&one.after)),
        }
    };
    let more = changes.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("and {more} more"));
    changes.iter().take(TOLD).map(one).chain(more).collect::<Vec<_>>().join(", ")
}

/// The number of the newest change of a scope.
pub fn version(t: &Transaction<'_>, scope: Scope) -> Result<u64> {
    newest(t, scope).map(|newest| newest.number)
}

/// The newest change of a scope.
pub fn newest(t: &Transaction<'_>, scope: Scope) -> Result<Version> {
    one(t, scope, "ORDER BY number DESC LIMIT ?3", 1)?
        .ok_or_else(|| Error::new(Kind::Internal, "there is no history"))
}

/// The change with this number.
pub fn numbered(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<Version> {
    one(t, scope, "AND number = ?3", number)?.ok_or_else(|| {
        let message = format!("there is no change {number}, or it is not kept any more");
        Error::new(Kind::NotFound, message).hint("see `rig list history`").field("at")
    })
}

const VERSIONS: &str = "SELECT number, time, user, what FROM history WHERE network = ?1 AND app IS ?2";

fn one(t: &Transaction<'_>, scope: Scope, rest: &str, number: u64) -> Result<Option<Version>> {
    let with = params![scope.network, scope.app, held(number)];
    t.query_row(&format!("{VERSIONS} {rest}"), with, document).optional().map_err(explain)
}

fn document(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version { number: row.get(0)?, time: row.get(1)?, user: row.get(2)?, what: row.get(3)? })
}

/// The network's own scope behind the change of this number of an app: what that app had
/// from its network then.
pub fn network_then(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<(Scope, u64)> {
    let query = "SELECT max(number) FROM history WHERE network = ?1 AND app IS NULL AND id <=
         (SELECT id FROM history WHERE network = ?1 AND app IS ?2 AND number = ?3)";
    let with = params![scope.network, scope.app, held(number)];
    let then: Option<u64> = t.query_row(query, with, |row| row.get(0)).map_err(explain)?;
    let scope = Scope { app: None, ..scope };
    // Older than what is kept of the network.
    let oldest = "SELECT min(number) FROM history WHERE network = ?1 AND app IS NULL";
    let then = match then {
        Some(then) => then,
        None => t.query_row(oldest, [scope.network], |row| row.get(0)).map_err(explain)?,
    };
    Ok((scope, then))
}

/// The number of the newest change of a scope up to the one in this row of the history; of the
/// oldest that is kept when all are newer.
pub fn version_then(t: &Transaction<'_>, scope: Scope, row: u64) -> Result<u64> {
    let query = "SELECT ifnull(max(iif(id <= ?3, number, NULL)), min(number)) FROM history
         WHERE network = ?1 AND app IS ?2";
    let with = params![scope.network, scope.app, held(row)];
    t.query_row(query, with, |row| row.get(0)).map_err(explain)
}

/// The scope's configuration as it is.
pub fn present(t: &Transaction<'_>, scope: Scope) -> Result<Items> {
    Ok(settings(t, scope)?.into_iter().chain(items(&variables::own(t, scope)?)).collect())
}

/// The number of instances among [`Items`].
pub fn instances(items: &Items) -> u64 {
    let found = items.get(&("instances".to_owned(), String::new()));
    found.and_then(|value| value.parse().ok()).unwrap_or(1)
}

/// Where the webhooks among [`Items`] lead.
pub fn webhooks(items: &Items) -> Vec<String> {
    items.keys().filter(|key| key.0 == "webhook").map(|key| key.1.clone()).collect()
}

/// What is set besides variables.
fn settings(t: &Transaction<'_>, scope: Scope) -> Result<Vec<((String, String), String)>> {
    let (query, id) = match scope.app {
        Some(app) => (
            "SELECT 'name', '', name FROM all_apps WHERE id = ?1 UNION ALL
             SELECT 'instances', '', CAST(instances AS TEXT) FROM all_apps WHERE id = ?1",
            app,
        ),
        // The first key is made when it is asked for, which changes nothing.
        None => (
            "SELECT 'name', '', name FROM all_networks WHERE id = ?1 UNION ALL
             SELECT 'key', '', CAST(number AS TEXT) FROM network_keys WHERE network = ?1 AND number > 1 UNION ALL
             SELECT DISTINCT 'webhook', url, '' FROM webhooks WHERE network = ?1",
            scope.network,
        ),
    };
    let mut query = t.prepare_cached(query).map_err(explain)?;
    let rows = query.query_map([id], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// The same, behind the change of this number; nothing when that is not kept.
pub fn recorded(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<Items> {
    let query = "SELECT settings FROM history WHERE network = ?1 AND app IS ?2 AND number = ?3";
    let with = params![scope.network, scope.app, held(number)];
    let text: Option<String> = t.query_row(query, with, |row| row.get(0)).optional().map_err(explain)?;
    let Some(text) = text else { return Ok(Items::new()) };
    let list: Vec<(String, String, String)> = serde_json::from_str(&text)
        .map_err(|_| Error::new(Kind::Internal, "the history of a configuration is damaged"))?;
    Ok(list.into_iter().map(|(kind, name, value)| ((kind, name), value)).collect())
}

/// Notes that the scope's configuration was changed in this transaction: `what` is the word for
/// it. Variables that were changed have the number of this change already.
pub fn record(t: &Transaction<'_>, scope: Scope, user: &str, what: &str) -> Result<()> {
    let settings: Vec<_> =
        settings(t, scope)?.into_iter().map(|((kind, name), value)| (kind, name, value)).collect();
    let settings = serde_json::to_string(&settings)
        .map_err(|_| Error::new(Kind::Internal, "a configuration can't be written"))?;
    t.execute(
        "INSERT INTO history(network, app, number, time, user, what, settings)
         SELECT ?1, ?2, ifnull(max(number), 0) + 1, ?3, ?4, ?5, ?6 FROM history WHERE network = ?1 AND app IS ?2",
        params![scope.network, scope.app, rfc3339(SystemTime::now()), user, what, settings],
    )
    .map_err(explain)?;
    forget_old(t, scope)
}

/// Forgets the changes of a scope that are more than are kept, but for one: what was before the
/// oldest that is told of.
fn forget_old(t: &Transaction<'_>, scope: Scope) -> Result<()> {
    let (network, app) = (scope.network, scope.app);
    let large = "SELECT max(until) FROM (SELECT until, sum(length(value) + ifnull(length(sealed), 0))
             OVER (ORDER BY until DESC) AS bytes FROM variables WHERE network = ?1 AND app IS ?2 AND until IS NOT NULL)
         WHERE bytes > ?3";
    let large: Option<i64> =
        t.query_row(large, params![network, app, KEPT_BYTES], |row| row.get(0)).map_err(explain)?;
    let forget = "DELETE FROM history WHERE network = ?1 AND app IS ?2 AND number <
             (SELECT min(max(number), max(max(number) - ?3, ifnull(?4, 0))) FROM history WHERE network = ?1 AND app IS ?2)";
    t.execute(forget, params![network, app, held(KEPT), large]).map_err(explain)?;
    variables::forget_unused(t, scope)
}

/// The changes of a scope with a lower number than `before`, the newest first, and whether there
/// are more.
pub fn entries(t: &Transaction<'_>, scope: Scope, before: u64, limit: u64) -> Result<(Vec<Entry>, bool)> {
    let query = format!("{VERSIONS} AND number < ?3 ORDER BY number DESC LIMIT ?4");
    let mut query = t.prepare(&query).map_err(explain)?;
    // Two more: one that says whether there are more, and what was before that.
    let with = params![scope.network, scope.app, held(before), limit + 2];
    let rows = query.query_map(with, document).and_then(Iterator::collect);
    let mut rows: Vec<Version> = rows.map_err(explain)?;
    // What the oldest one that is kept has changed is not known, unless it is the first.
    if rows.last().is_some_and(|last| last.number > 1) && rows.len() as u64 <= limit + 1 {
        rows.pop();
    }
    let more = rows.len() as u64 > limit;
    rows.truncate(limit as usize);
    let entry = |one: Version| {
        let changes = changes(t, scope, one.number)?;
        let about = if one.number == 1 { String::new() } else { told(&changes) };
        let Version { number, time, user, what } = one;
        Ok(Entry { number, time, user, what, about, changes })
    };
    Ok((rows.into_iter().map(entry).collect::<Result<_>>()?, more))
}

/// What the change of this number has made different.
fn changes(t: &Transaction<'_>, scope: Scope, number: u64) -> Result<Vec<Change>> {
    let (ended, begun) = variables::changed_at(t, scope, number)?;
    let mut before = recorded(t, scope, number - 1)?;
    before.extend(items(&ended));
    let mut after = recorded(t, scope, number)?;
    after.extend(items(&begun));
    Ok(differences(&before, &after, None))
}

/// Makes a change; refuses it when it was made from another version than the present one, whose
/// configuration is `before`.
pub fn expecting<T>(
    t: &Transaction<'_>,
    scope: Scope,
    expected: Option<u64>,
    before: &Items,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let present = version(t, scope)?;
    let made = make();
    let Some(expected) = expected.filter(|expected| *expected != present) else { return made };
    let mine = match made {
        Ok(_) => told(&differences(before, &self::present(t, scope)?, None)),
        Err(error) => format!("refused ({error})"),
    };
    let mine = if mine.is_empty() { "nothing different".to_owned() } else { mine };
    let theirs = theirs(t, scope, expected)?;
    let message = format!("{} has version {present} now, and not {expected}{theirs}", place(t, scope)?);
    let hint = format!("yours was: {mine}; look at what there is, then try again");
    Err(Error::new(Kind::Conflict, message).hint(hint).field("version"))
}

/// What has been changed since a version, in words.
fn theirs(t: &Transaction<'_>, scope: Scope, since: u64) -> Result<String> {
    let (entries, _) = entries(t, scope, u64::MAX, TOLD as u64)?;
    let newer = entries.iter().rev().filter(|one| one.number > since).map(|one| {
        let user = one.user.as_deref().map_or(String::new(), |user| format!(" by {user}"));
        format!("{}{user}: {}", one.number, if one.about.is_empty() { &one.what } else { &one.about })
    });
    let newer = newer.collect::<Vec<_>>().join("; ");
    Ok(if newer.is_empty() { newer } else { format!(": {newer}") })
}

/// A number that is another one whenever something of a network and its apps, or of an app,
/// was changed.
pub fn state(t: &Transaction<'_>, network: i64, app: Option<i64>) -> Result<u64> {
    let query = "SELECT ifnull(max(id), 0) FROM history WHERE network = ?1 AND (?2 IS NULL OR app = ?2)";
    t.query_row(query, params![network, app], |row| row.get(0)).map_err(explain)
}

/// What has been changed since [`state`] was so, in words.
pub fn since(t: &Transaction<'_>, network: i64, app: Option<i64>, state: u64) -> Result<String> {
    let query = "SELECT app, min(number) - 1 FROM history
         WHERE network = ?1 AND (?2 IS NULL OR app = ?2) AND id > ?3 GROUP BY app ORDER BY min(id) LIMIT ?4";
    let mut query = t.prepare(query).map_err(explain)?;
    let rows =
        query.query_map(params![network, app, held(state), TOLD], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Vec<(Option<i64>, u64)> = rows.and_then(Iterator::collect).map_err(explain)?;
    let told = |(app, number): (Option<i64>, u64)| {
        let scope = Scope { network, app };
        Ok(format!("{}{}", place(t, scope)?, theirs(t, scope, number)?))
    };
    Ok(rows.into_iter().map(told).collect::<Result<Vec<_>>>()?.join("; "))
}

/// `app 'web' of network 'blue'`.
fn place(t: &Transaction<'_>, scope: Scope) -> Result<String> {
    let name =
        |query: &str, id: i64| t.query_row(query, [id], |row| row.get::<_, String>(0)).map_err(explain);
    let network = name("SELECT name FROM all_networks WHERE id = ?1", scope.network)?;
    Ok(match scope.app {
        Some(app) => {
            format!("app '{}' of network '{network}'", name("SELECT name FROM all_apps WHERE id = ?1", app)?)
        }
        None => format!("network '{network}'"),
    })
}
