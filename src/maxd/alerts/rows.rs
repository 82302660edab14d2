//! Alerts as rows of the state database.

use super::book::Key;
use crate::error::Result;
use crate::maxd::access::SEEN;
use crate::maxd::auth::Identity;
use crate::maxd::store::explain;
use crate::maxd::webhooks::queue::enqueue;
use crate::time::rfc3339;
use crate::wire::alert::{Alert, Cause};
use crate::wire::deploy::State;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::time::{Duration, SystemTime};

/// How long an alert that is over is kept.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many of a network, and of the host, are kept when they are over.
const KEEP_MOST: u64 = 1000;
/// The most that one answer holds.
const LIST_MOST: u64 = 2000;

/// An alert that lasts, with what is needed to find it.
pub struct Active {
    /// Its row.
    pub id: i64,
    /// What is wrong, and with which app.
    pub key: Key,
    /// Its network's row; none for the host.
    pub network: Option<i64>,
    /// The release that served when it was raised.
    pub release: Option<u64>,
    /// As a document.
    pub alert: Alert,
}

const ROWS: &str = "SELECT a.id, a.cause, a.app, a.network, a.release, n.name, a.app_name, a.message,
            a.since, a.resolved_at
     FROM alerts a LEFT JOIN networks n ON n.id = a.network";

fn row(row: &Row<'_>) -> rusqlite::Result<Active> {
    let id: i64 = row.get(0)?;
    let cause: Cause = miniserde::json::from_str(&format!("\"{}\"", row.get::<_, String>(1)?))
        .map_err(|_| rusqlite::Error::InvalidQuery)?;
    let alert = Alert {
        id: id as u64,
        cause,
        network: row.get(5)?,
        app: row.get(6)?,
        message: row.get(7)?,
        since: row.get(8)?,
        resolved_at: row.get(9)?,
    };
    let key = Key { cause, app: row.get(2)? };
    Ok(Active { id, key, network: row.get(3)?, release: row.get(4)?, alert })
}

fn rows(t: &Transaction<'_>, rest: &str, with: impl rusqlite::Params) -> Result<Vec<Active>> {
    let mut query = t.prepare(&format!("{ROWS} {rest}")).map_err(explain)?;
    let found = query.query_map(with, row);
    found.and_then(Iterator::collect).map_err(explain)
}

/// Those that last, the newest first.
pub fn active(t: &Transaction<'_>) -> Result<Vec<Active>> {
    rows(t, "WHERE a.resolved_at IS NULL ORDER BY a.id DESC", [])
}

/// `alert:list`.
pub fn list(t: &Transaction<'_>, who: &Identity, network: Option<i64>, all: bool) -> Result<Vec<Alert>> {
    let rest = format!(
        "WHERE (a.network IS NULL OR {SEEN} AND n.id = ifnull(?3, n.id))
         AND (?4 OR a.resolved_at IS NULL) ORDER BY a.resolved_at IS NOT NULL, a.id DESC LIMIT ?5"
    );
    let found = rows(t, &rest, params![who.user, who.network, network, all, LIST_MOST])?;
    Ok(found.into_iter().map(|active| active.alert).collect())
}

/// Stores a new alert and the messages about it; none when its app is gone.
pub fn raise(
    t: &Transaction<'_>,
    key: Key,
    message: &str,
    release: Option<u64>,
    since: SystemTime,
) -> Result<Option<Active>> {
    let source = match key.app {
        Some(_) => "SELECT ?1, network, id, name, ?3, ?4, ?5 FROM apps WHERE id = ?2",
        None => "VALUES (?1, NULL, ?2, NULL, ?3, ?4, ?5)",
    };
    // One that lasts already stays as it is, and nobody is told again.
    let insert = format!(
        "INSERT OR IGNORE INTO alerts(cause, network, app, app_name, release, message, since) {source}"
    );
    let with = params![word(key.cause), key.app, release, message, rfc3339(since)];
    let inserted = t.execute(&insert, with).map_err(explain)?;
    let rest = "WHERE a.cause = ?1 AND ifnull(a.app, 0) = ifnull(?2, 0) AND a.resolved_at IS NULL";
    let active = rows(t, rest, params![word(key.cause), key.app])?.pop();
    if let (1, Some(active)) = (inserted, &active) {
        enqueue(t, active.network, "alert.raised", SystemTime::now(), &active.alert)?;
    }
    Ok(active)
}

/// The same thing is wrong in other words. Nobody is sent a message for that.
pub fn reword(t: &Transaction<'_>, id: i64, message: &str) -> Result<()> {
    let done = t.execute("UPDATE alerts SET message = ?2 WHERE id = ?1", params![id, message]);
    done.map(drop).map_err(explain)
}

/// An alert is over.
pub fn resolve(t: &Transaction<'_>, id: i64, now: SystemTime) -> Result<()> {
    let update = "UPDATE alerts SET resolved_at = ?2 WHERE id = ?1 AND resolved_at IS NULL";
    if t.execute(update, params![id, rfc3339(now)]).map_err(explain)? == 0 {
        return Ok(());
    }
    for over in rows(t, "WHERE a.id = ?1", [id])? {
        enqueue(t, over.network, "alert.resolved", now, &over.alert)?;
    }
    Ok(())
}

/// An app is about to be deleted: nothing is wrong with it any more.
pub fn resolve_app(t: &Transaction<'_>, app: i64, now: SystemTime) -> Result<()> {
    for active in rows(t, "WHERE a.app = ?1 AND a.resolved_at IS NULL", [app])? {
        resolve(t, active.id, now)?;
    }
    Ok(())
}

/// A network is about to be deleted, and nobody is told of it any more.
pub fn resolve_network(t: &Transaction<'_>, network: i64, now: SystemTime) -> Result<()> {
    let update = "UPDATE alerts SET resolved_at = ?2 WHERE network = ?1 AND resolved_at IS NULL";
    t.execute(update, params![network, rfc3339(now)]).map(drop).map_err(explain)
}

/// An app has another name.
pub fn rename_app(t: &Transaction<'_>, app: i64, name: &str) -> Result<()> {
    t.execute("UPDATE alerts SET app_name = ?2 WHERE app = ?1", params![app, name]).map(drop).map_err(explain)
}

/// For each app whose deploys have ended: why the newest failed, or none when it did not.
pub fn deploys(t: &Transaction<'_>) -> Result<Vec<(i64, Option<String>)>> {
    let mut query = t
        .prepare(
            "SELECT a.id, d.id, d.state, d.phase, d.error FROM apps a JOIN deploys d ON d.id =
                (SELECT id FROM deploys WHERE app = a.id AND finished_at IS NOT NULL AND (cancelled IS NULL OR state = 'live')
                 ORDER BY id DESC LIMIT 1)
             ORDER BY a.id",
        )
        .map_err(explain)?;
    let found = query.query_map([], |row| {
        let (app, id, state): (i64, u64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (phase, error): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
        let failed = (state == word(State::Failed)).then(|| {
            let phase = phase.map(|phase| format!(" while {phase}")).unwrap_or_default();
            format!("deploy {id} failed{phase}: {}", error.as_deref().unwrap_or("no reason is known"))
        });
        Ok((app, failed))
    });
    found.and_then(Iterator::collect).map_err(explain)
}

/// Forgets what has been over for long, and what is more than anybody reads.
pub fn forget_old(t: &Transaction<'_>) -> Result<()> {
    let cutoff = SystemTime::now().checked_sub(KEEP).map(rfc3339);
    t.execute("DELETE FROM alerts WHERE resolved_at < ?1", [cutoff]).map_err(explain)?;
    let over = "SELECT network, count(*) FROM alerts WHERE resolved_at IS NOT NULL GROUP BY network
         HAVING count(*) > ?1";
    let mut query = t.prepare(over).map_err(explain)?;
    let crowded: rusqlite::Result<Vec<Option<i64>>> =
        query.query_map([KEEP_MOST], |row| row.get(0)).and_then(Iterator::collect);
    for network in crowded.map_err(explain)? {
        let last = t
            .query_row(
                "SELECT id FROM alerts WHERE network IS ?1 AND resolved_at IS NOT NULL
                 ORDER BY id DESC LIMIT 1 OFFSET ?2",
                params![network, KEEP_MOST],
                |row| row.get::<_, i64>(0),
            )
            .optional()
            .map_err(explain)?;
        t.execute(
            "DELETE FROM alerts WHERE network IS ?1 AND resolved_at IS NOT NULL AND id <= ?2",
            params![network, last],
        )
        .map_err(explain)?;
    }
    Ok(())
}

/// A word of the wire, which is also the one in the database.
fn word(value: impl miniserde::Serialize) -> String {
    miniserde::json::to_string(&value).trim_matches('"').to_owned()
}
