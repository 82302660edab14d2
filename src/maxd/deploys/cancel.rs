//! Cancelling deploys. That it was asked for is in the row; who carries the deploy out sees it there
//! and ends it, unless it serves by then.

use super::rows::{fail, word};
use crate::error::{Error, Kind, Result};
use crate::maxd::platform::Platform;
use crate::maxd::store::{explain, held};
use crate::wire::deploy::State;
use rusqlite::{OptionalExtension, Transaction, params};

/// Cancels a deploy that is under way, and tells why with `reason`; false when it is not. Nobody
/// carries out one whose source is still sent: that ends here.
pub fn cancel(t: &Transaction<'_>, id: u64, reason: &str) -> Result<bool> {
    let set = "UPDATE deploys SET cancelled = ?2 WHERE id = ?1 AND finished_at IS NULL AND cancelled IS NULL";
    if t.execute(set, params![held(id), reason]).map_err(explain)? == 0 {
        return Ok(false);
    }
    fail(t, &format!("id = ?1 AND state = '{}'", word(State::Uploading)), &id.to_string(), reason)?;
    Ok(true)
}

/// Cancels an app's deploys but this one, which takes their place.
pub(super) fn others(t: &Transaction<'_>, app: i64, deploy: i64, user: &str) -> Result<()> {
    let query = "SELECT id FROM deploys WHERE app = ?1 AND id <> ?2 AND finished_at IS NULL";
    let mut query = t.prepare(query).map_err(explain)?;
    let ids = query.query_map([app, deploy], |row| row.get(0)).and_then(Iterator::collect);
    let ids: Vec<u64> = ids.map_err(explain)?;
    let reason = format!("cancelled by {user}, whose deploy {deploy} replaces it");
    ids.into_iter().try_for_each(|id| cancel(t, id, &reason).map(drop))
}

/// That a deploy was cancelled, if it was.
fn cancelled(t: &Transaction<'_>, id: u64) -> Result<Option<Error>> {
    let found = t.query_row("SELECT cancelled FROM deploys WHERE id = ?1", [held(id)], |row| row.get(0));
    let reason: Option<String> = found.optional().map_err(explain)?.flatten();
    Ok(reason.map(|reason| Error::new(Kind::Conflict, reason)))
}

/// Whether nobody has ended a deploy: deleting its app does, and cancelling it.
pub(super) fn goes_on(t: &Transaction<'_>, id: u64) -> Result<bool> {
    let query =
        "SELECT EXISTS (SELECT 1 FROM deploys WHERE id = ?1 AND finished_at IS NULL AND cancelled IS NULL)";
    t.query_row(query, [id], |row| row.get(0)).map_err(explain)
}

/// Why a deploy that has ended did so, where nothing else is known of it.
pub(super) fn over(t: &Transaction<'_>, id: u64) -> Result<Error> {
    Ok(cancelled(t, id)?.unwrap_or_else(deleted))
}

/// Refuses what belongs to a deploy that somebody has ended.
pub(super) fn check(t: &Transaction<'_>, id: u64) -> Result<()> {
    if goes_on(t, id)? { Ok(()) } else { Err(over(t, id)?) }
}

/// Why a deploy takes no source any more.
pub(super) fn closed(t: &Transaction<'_>, id: u64) -> Result<Error> {
    let query = "SELECT ifnull(cancelled, error) FROM deploys WHERE id = ?1";
    let reason: Option<String> = t.query_row(query, [held(id)], |row| row.get(0)).map_err(explain)?;
    Ok(reason.map_or_else(|| sent(id), |reason| Error::new(Kind::Conflict, reason)))
}

pub(super) fn sent(id: u64) -> Error {
    Error::new(Kind::Conflict, format!("the source of deploy {id} has been sent already"))
}

pub(super) fn deleted() -> Error {
    Error::new(Kind::NotFound, "the app was deleted")
}

impl Platform {
    /// How a deploy ended; when it was cancelled, and does not serve, that and nothing else.
    pub(super) async fn unless_cancelled<T>(&self, id: u64, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        let cancelled = self.store.with(move |t| cancelled(t, id)).await;
        Err(cancelled.ok().flatten().unwrap_or(error))
    }
}
