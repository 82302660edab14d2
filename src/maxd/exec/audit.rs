//! What is known of the sessions there were: who began them, when, and how they ended.

use crate::error::{Error, Result};
use crate::maxd::auth::Identity;
use crate::maxd::logs::instant;
use crate::maxd::platform::Platform;
use crate::maxd::store::{explain, held};
use crate::time::rfc3339;
use crate::wire::exec::{Audit, Entry, Filter};
use rusqlite::{Row, params};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries in an answer, unless the request says otherwise, and at most.
const PAGE: u64 = 50;
const PAGE_MAX: u64 = 1000;

impl Platform {
    /// `exec:audit`. Nobody but its owner can run anything in an app, so that a user's own
    /// sessions are also those in his apps; and an app of the same name that was another's
    /// before does not tell about him.
    pub async fn audit(&self, who: &Identity, request: Filter) -> Result<Audit> {
        let limit = request.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            let message = format!("limit takes 1 to {PAGE_MAX}, not {limit}");
            return Err(Error::usage(message).hint("for instance `--limit 200`").field("limit"));
        }
        let since = match &request.since {
            Some(text) => instant("since", text, SystemTime::now())?,
            None => 0,
        };
        let since = rfc3339(UNIX_EPOCH + Duration::from_millis(since));
        let (owner, before) = (who.user, request.before.map_or(i64::MAX, held));
        let (network, app) = (request.network, request.app);
        let mut entries: Vec<Entry> = self
            .store
            .with(move |t| {
                let mut query = t
                    .prepare_cached(
                        "SELECT execs.id, network, app, name, tty, detached, started_at, ended_at, code,
                                reason
                         FROM execs JOIN users ON users.id = execs.user
                         WHERE user = ?1 AND execs.id < ?2 AND started_at >= ?3
                         AND (?4 IS NULL OR network = ?4) AND (?5 IS NULL OR app = ?5)
                         ORDER BY execs.id DESC LIMIT ?6",
                    )
                    .map_err(explain)?;
                // One more says whether there is more.
                let rows = query.query_map(params![owner, before, since, network, app, limit + 1], entry);
                rows.and_then(Iterator::collect).map_err(explain)
            })
            .await?;
        let more = entries.len() as u64 > limit;
        entries.truncate(limit as usize);
        Ok(Audit { before: entries.last().filter(|_| more).map(|last| last.id), entries })
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        network: row.get(1)?,
        // That of a console is empty.
        app: row.get::<_, Option<String>>(2)?.filter(|app| !app.is_empty()),
        user: row.get(3)?,
        tty: row.get(4)?,
        detached: row.get(5)?,
        started_at: row.get(6)?,
        ended_at: row.get(7)?,
        code: row.get(8)?,
        reason: row.get(9)?,
    })
}
