//! Deploys as rows of the state database.

use crate::error::{Error, Kind, Result};
use crate::maxd::platform::Address;
use crate::maxd::store::{explain, held};
use crate::time::rfc3339;
use crate::wire::deploy::{Deploy, State};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::SystemTime;

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
