//! The messages that wait, as rows of the state database: each webhook's one after the
//! other, the oldest first.

use crate::error::Result;
use crate::maxd::store::explain;
use crate::time::rfc3339;
use crate::wire::alert::Alert;
use crate::wire::webhook::Message;
use miniserde::json;
use rusqlite::{Transaction, params};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many messages may wait for one webhook.
const WAIT_MOST: u64 = 100;
/// How long a message is tried.
const WITHIN: Duration = Duration::from_secs(24 * 3600);

/// The longest reason that is kept, in characters: some of it may be the receiver's words.
const REASON: usize = 300;

/// The pauses after each try but the last, in seconds.
const PAUSES: &[u32] = &[1, 5, 30, 300, 3600];

/// A message whose turn it is, of its webhook.
pub struct Waiting {
    /// Its number.
    pub id: i64,
    /// The webhook.
    pub webhook: i64,
    /// Where it goes.
    pub url: String,
    /// What signs it.
    pub secret: String,
    /// The message.
    pub body: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was made, in Unix milliseconds.
    pub created: i64,
    /// When it is tried next.
    pub due: i64,
}

/// Unix milliseconds.
pub fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis().try_into().unwrap_or(i64::MAX))
}

/// Puts a message about an alert of this network, or of the host, before each webhook that
/// is to hear of it. Where too many wait, the oldest is given up.
pub fn enqueue(
    t: &Transaction<'_>,
    network: Option<i64>,
    event: &str,
    now: SystemTime,
    alert: &Alert,
) -> Result<()> {
    let mut query =
        t.prepare("SELECT w.id FROM webhooks w JOIN networks n ON n.id = w.network WHERE n.id = ifnull(?1, n.id) ORDER BY w.id").map_err(explain)?;
    let webhooks: Vec<i64> =
        query.query_map([network], |row| row.get(0)).and_then(Iterator::collect).map_err(explain)?;
    for webhook in webhooks {
        t.execute(
            "INSERT INTO deliveries(webhook, body, created, due) VALUES (?1, '', ?2, ?2)",
            params![webhook, millis(now)],
        )
        .map_err(explain)?;
        let id = t.last_insert_rowid();
        let message =
            Message { id: id as u64, event: event.to_owned(), time: rfc3339(now), alert: alert.clone() };
        t.execute("UPDATE deliveries SET body = ?2 WHERE id = ?1", params![id, json::to_string(&message)])
            .map_err(explain)?;
        let dropped = t
            .execute(
                "DELETE FROM deliveries WHERE webhook = ?1 AND id <=
                     (SELECT id FROM deliveries WHERE webhook = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![webhook, WAIT_MOST],
            )
            .map_err(explain)?;
        if dropped > 0 {
            drop_some(t, webhook, dropped)?;
        }
    }
    Ok(())
}

/// Forgets what waits for the webhooks of a network that is deleted.
pub fn forget(t: &Transaction<'_>, network: i64) -> Result<()> {
    let delete = "DELETE FROM deliveries WHERE webhook IN (SELECT id FROM webhooks WHERE network = ?1)";
    t.execute(delete, [network]).map(drop).map_err(explain)
}

fn drop_some(t: &Transaction<'_>, webhook: i64, count: usize) -> Result<()> {
    let update = "UPDATE webhooks SET dropped = dropped + ?2 WHERE id = ?1";
    t.execute(update, params![webhook, count]).map(drop).map_err(explain)
}

/// The oldest message of each webhook.
pub fn heads(t: &Transaction<'_>) -> Result<Vec<Waiting>> {
    let mut query = t
        .prepare(
            "SELECT d.id, w.id, w.url, w.secret, d.body, d.tries, d.created, d.due
             FROM webhooks w JOIN deliveries d ON d.id = (SELECT min(id) FROM deliveries WHERE webhook = w.id)
             ORDER BY d.due",
        )
        .map_err(explain)?;
    let found = query.query_map([], |row| {
        Ok(Waiting {
            id: row.get(0)?,
            webhook: row.get(1)?,
            url: row.get(2)?,
            secret: row.get(3)?,
            body: row.get(4)?,
            tries: row.get(5)?,
            created: row.get(6)?,
            due: row.get(7)?,
        })
    });
    found.and_then(Iterator::collect).map_err(explain)
}

/// A message was taken.
pub fn taken(t: &Transaction<'_>, message: &Waiting, now: SystemTime) -> Result<()> {
    t.execute("DELETE FROM deliveries WHERE id = ?1", [message.id]).map_err(explain)?;
    let update = "UPDATE webhooks SET delivered_at = ?2, error = NULL WHERE id = ?1";
    t.execute(update, params![message.webhook, rfc3339(now)]).map(drop).map_err(explain)
}

/// A message was not taken: it is tried again at `next` (Unix milliseconds), or given up.
pub fn refused(t: &Transaction<'_>, message: &Waiting, reason: &str, next: Option<i64>) -> Result<()> {
    let reason: String = reason.chars().take(REASON).collect();
    let update = "UPDATE webhooks SET error = ?2 WHERE id = ?1";
    t.execute(update, params![message.webhook, reason]).map_err(explain)?;
    let Some(next) = next else {
        let gone = t.execute("DELETE FROM deliveries WHERE id = ?1", [message.id]).map_err(explain)?;
        return drop_some(t, message.webhook, gone);
    };
    let update = "UPDATE deliveries SET tries = tries + 1, due = ?2 WHERE id = ?1";
    t.execute(update, params![message.id, next]).map(drop).map_err(explain)
}

/// When a message is tried again that has been refused once more at `now`; none when it is
/// given up. `second` is how long a second takes, and `random` spreads the pause over half
/// to one and a half of its length.
pub fn next(message: &Waiting, now: i64, second: Duration, random: u16) -> Option<i64> {
    let pause = PAUSES.get(message.tries as usize)?;
    let whole = (second * *pause).as_millis() as i64;
    let next = now + whole / 2 + whole * i64::from(random) / i64::from(u16::MAX);
    (next - message.created < WITHIN.as_millis() as i64).then_some(next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::maxd::store::Store;
    use crate::wire::alert::Cause;

    fn waiting(tries: u32, created: i64) -> Waiting {
        let (url, secret, body) = Default::default();
        Waiting { id: 1, webhook: 1, url, secret, body, tries, created, due: 0 }
    }

    #[test]
    fn pauses_grow_until_it_is_given_up() {
        let second = Duration::from_secs(1);
        for (tries, pause) in [(0, 1), (1, 5), (2, 30), (3, 300), (4, 3600)] {
            let at = |random| next(&waiting(tries, 0), 1000, second, random).unwrap() - 1000;
            assert_eq!((at(0), at(u16::MAX)), (pause * 500, pause * 1500), "{tries}");
            assert!((pause * 990..=pause * 1010).contains(&at(u16::MAX / 2)), "{tries}");
        }
        assert_eq!(next(&waiting(5, 0), 1000, second, 0), None);
        assert_eq!(next(&waiting(0, 0), 86_400_000, second, 0), None);
        assert_eq!(next(&waiting(2, 0), 7, Duration::from_millis(2), 0), Some(37));
    }

    fn world() -> (tempfile::TempDir, std::sync::Arc<Store>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let made = store.run(|t| {
            t.execute_batch(
                "INSERT INTO users(name, created_at) VALUES ('ada', '');
                 INSERT INTO all_networks(name, created_at) VALUES ('blue', ''), ('red', '');
                 INSERT INTO webhooks(network, url, secret, created_at) VALUES (1, 'u1', 's', ''), (2, 'u2', 's', '');",
            )
            .map_err(explain)
        });
        made.unwrap();
        (dir, store)
    }

    fn alert() -> Alert {
        let (network, app, resolved_at) = (Some("blue".to_owned()), Some("web".to_owned()), None);
        let (message, since) = ("bad".to_owned(), String::new());
        Alert { id: 9, cause: Cause::Memory, network, app, message, since, resolved_at }
    }

    #[test]
    fn a_network_is_told_what_is_its_own_and_all_what_concerns_the_host() {
        let (_dir, store) = world();
        let urls = |network: Option<i64>| {
            let heads = store.run(|t| {
                t.execute("DELETE FROM deliveries", []).map_err(explain)?;
                enqueue(t, network, "alert.raised", SystemTime::now(), &alert())?;
                heads(t)
            });
            heads.unwrap().into_iter().map(|head| head.url).collect::<Vec<_>>()
        };
        assert_eq!(urls(Some(1)), ["u1"]);
        assert_eq!(urls(Some(2)), ["u2"]);
        assert_eq!(urls(None), ["u1", "u2"]);
        let delete = |t: &Transaction<'_>| {
            t.execute("UPDATE all_networks SET deleted_at = '' WHERE id = 2", []).map_err(explain)?;
            forget(t, 2)?;
            heads(t)
        };
        assert_eq!(store.run(delete).unwrap().len(), 1);
        assert_eq!(urls(None), ["u1"]);
        assert_eq!(urls(Some(2)), Vec::<String>::new());
    }

    #[test]
    fn a_hundred_wait_the_oldest_of_more_is_given_up_and_counted() {
        let (_dir, store) = world();
        let first = store.run(|t| {
            for _ in 0..103 {
                enqueue(t, Some(1), "alert.raised", SystemTime::now(), &alert())?;
            }
            heads(t)
        });
        let first = first.unwrap().pop().unwrap();
        assert_eq!(first.id, 4);
        let message: Message = json::from_str(&first.body).unwrap();
        assert_eq!((message.id, message.event.as_str(), message.alert == alert()), (4, "alert.raised", true));
        let counts = |first: &Waiting, next: Option<i64>| {
            let counted = store.run(|t| {
                refused(t, first, "no", next)?;
                t.query_row(
                    "SELECT count(*), w.dropped, w.error FROM deliveries d JOIN webhooks w ON w.id = d.webhook",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .map_err(explain)
            });
            counted.unwrap()
        };
        let no = "no".to_owned();
        assert_eq!(counts(&first, Some(7)), (100, 3, no.clone()));
        assert_eq!(counts(&first, None), (99, 4, no.clone()));
        // It was given up meanwhile: that counts once.
        assert_eq!(counts(&first, None), (99, 4, no));
        let second = store.run(|t| {
            taken(t, &first, UNIX_EPOCH)?;
            heads(t)
        });
        assert_eq!(second.unwrap().pop().unwrap().id, 5);
    }
}
