//! Deploys as rows of the state database.

use crate::error::{Error, Kind, Result};
use crate::maxd::platform::Address;
use crate::maxd::store::{explain, held};
use crate::time::rfc3339;
use crate::wire::deploy::{Deploy, State};
use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::SystemTime;

/// Which releases of an app stay on the disk.
#[derive(Clone, Copy)]
pub struct Retention {
    /// So many of the newest that served …
    pub releases: u64,
    /// … as long as they take no more than this together, in bytes.
    pub bytes: u64,
}

/// The numbers of the releases of an app that stay on the disk, the newest first. In any case
/// the one that serves and the one that served before it.
pub fn kept_releases(t: &Transaction<'_>, app: i64, keep: Retention) -> Result<Vec<u64>> {
    Ok(kept(t, app, keep)?.into_iter().map(|release| release.0).collect())
}

/// Those with the names of their manifests.
fn kept(t: &Transaction<'_>, app: i64, keep: Retention) -> Result<Vec<(u64, Option<String>)>> {
    let query = "SELECT d.release, d.bytes, d.release = a.release, d.manifest
                 FROM deploys d JOIN all_apps a ON a.id = d.app WHERE d.app = ?1 AND d.state = ?2 ORDER BY d.id DESC";
    let mut query = t.prepare_cached(query).map_err(explain)?;
    let mut rows = query.query(params![app, word(State::Live)]).map_err(explain)?;
    let (mut kept, mut left, mut within, mut before) = (Vec::new(), keep.bytes, true, false);
    while let Some(row) = rows.next().map_err(explain)? {
        let column =
            || Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?, row.get::<_, Option<bool>>(2)?, row.get(3)?));
        let (number, bytes, serves, manifest) = column().map_err(explain)?;
        let serves = serves.unwrap_or(false);
        match left.checked_sub(bytes.unwrap_or(0)) {
            Some(rest) if (kept.len() as u64) < keep.releases => left = rest,
            _ => within = false,
        }
        if within || serves || before {
            kept.push((number, manifest));
        }
        before = serves;
    }
    Ok(kept)
}

/// The releases of which it is not known what they take on the disk.
pub(super) fn unmeasured(t: &Transaction<'_>, app: i64) -> Result<Vec<u64>> {
    let query = "SELECT release FROM deploys WHERE app = ?1 AND state = ?2 AND bytes IS NULL";
    let mut query = t.prepare(query).map_err(explain)?;
    let rows = query.query_map(params![app, word(State::Live)], |row| row.get(0));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// What a release takes.
pub(super) fn measured(t: &Transaction<'_>, app: i64, release: u64, bytes: u64) -> Result<()> {
    let set = "UPDATE deploys SET bytes = ?3 WHERE app = ?1 AND release = ?2";
    t.execute(set, params![app, release, held(bytes)]).map(drop).map_err(explain)
}

/// The names of the manifests that a network's releases and the deploys under way need.
pub fn needed_manifests(t: &Transaction<'_>, network: i64, keep: Retention) -> Result<Vec<String>> {
    let under_way = "SELECT d.manifest FROM deploys d JOIN all_apps a ON a.id = d.app
                     WHERE a.network = ?1 AND d.finished_at IS NULL AND d.manifest IS NOT NULL";
    let mut names = column(t, under_way, network)?;
    for app in column(t, "SELECT id FROM all_apps WHERE network = ?1", network)? {
        names.extend(kept(t, app, keep)?.into_iter().filter_map(|release| release.1));
    }
    Ok(names)
}

fn column<T: FromSql>(t: &Transaction<'_>, query: &str, key: i64) -> Result<Vec<T>> {
    let mut query = t.prepare(query).map_err(explain)?;
    let rows = query.query_map([key], |row| row.get(0));
    rows.and_then(Iterator::collect).map_err(explain)
}

/// Fails every deploy that a former maxd left unfinished; but one whose contents are being sent
/// goes on.
pub fn fail_unfinished(t: &Transaction<'_>) -> Result<()> {
    let condition = "state NOT IN ('live', ?1) AND NOT (state = 'uploading' AND manifest IS NOT NULL)";
    fail(t, condition, &word(State::Failed), "maxd was restarted during this deploy")
}

/// Fails what is under way of an app that is deleted.
pub fn fail_those_of(t: &Transaction<'_>, app: i64) -> Result<()> {
    fail(t, "app = ?1 AND finished_at IS NULL", &app.to_string(), "the app was deleted")
}

pub(super) fn fail(t: &Transaction<'_>, condition: &str, key: &str, reason: &str) -> Result<()> {
    let query = format!(
        "UPDATE deploys SET phase = state, state = 'failed', error = ?2, finished_at = ?3 WHERE {condition}"
    );
    t.execute(&query, params![key, reason, rfc3339(SystemTime::now())]).map(drop).map_err(explain)
}

/// An app's newest deploys, the newest first.
pub fn newest_deploys(t: &Transaction<'_>, app: i64, count: u64, address: &Address) -> Result<Vec<Deploy>> {
    let mut query =
        t.prepare(&format!("{DEPLOYS} WHERE d.app = ?1 ORDER BY d.id DESC LIMIT ?2")).map_err(explain)?;
    let rows = query.query_map(params![app, held(count)], |row| document(row, address));
    rows.and_then(Iterator::collect).map_err(explain)
}

pub(super) fn find(t: &Transaction<'_>, id: i64, address: &Address) -> Result<Option<Deploy>> {
    let query = format!("{DEPLOYS} WHERE d.id = ?1");
    t.query_row(&query, [id], |row| document(row, address)).optional().map_err(explain)
}

const DEPLOYS: &str = "SELECT d.id, n.name, a.name, d.state, d.phase, d.error, d.release, d.kind, d.created_app, u.name,
            d.created_at, d.finished_at
     FROM deploys d JOIN apps a ON a.id = d.app JOIN networks n ON n.id = a.network JOIN users u ON u.id = d.user";

fn document(row: &Row<'_>, address: &Address) -> rusqlite::Result<Deploy> {
    let id: u64 = row.get(0)?;
    let (network, app): (String, String) = (row.get(1)?, row.get(2)?);
    Ok(Deploy {
        id,
        url: address.url(&network, &app),
        network,
        app,
        state: state(&row.get::<_, String>(3)?),
        phase: row.get::<_, Option<String>>(4)?.as_deref().map(state),
        error: row.get(5)?,
        release: row.get(6)?,
        kind: row.get(7)?,
        upload_path: format!("/api/v1/deploys/{id}/source"),
        created_app: row.get(8)?,
        user: row.get(9)?,
        created_at: row.get(10)?,
        finished_at: row.get(11)?,
    })
}

/// A state's word on the wire, which is also its word in the database.
pub(super) fn word(state: State) -> String {
    miniserde::json::to_string(&state).trim_matches('"').to_owned()
}

pub(super) fn state(word: &str) -> State {
    miniserde::json::from_str(&format!("\"{word}\"")).unwrap_or(State::Failed)
}

pub(super) fn missing(id: u64) -> Error {
    Error::new(Kind::NotFound, format!("deploy {id} does not exist")).field("id")
}
