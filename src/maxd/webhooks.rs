//! Webhooks: where a network's alerts are posted, for whoever or whatever reacts to them.
//!
//! ```text
//! an alert changes ─► queue (state.db) ─► deliver ─► post ─► the receiver
//!                       ▲ again, later ──────┘
//! ```
//!
//! Messages are stored in the transaction that changes the alert and stay until they were
//! taken or given up, so each is sent at least once. A webhook gets one at a time, in order.

mod deliver;
mod post;
pub(super) mod queue;
mod target;

pub use deliver::deliver;

use super::access::{Access, SEEN, admit};
use super::auth::random;
use super::config;
use super::once::Once;
use super::platform::{Platform, find_network};
use super::store::{explain, held};
use super::variables::Scope;
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::webhook::{Create, Filter, List, Select, Webhook};
use post::Courier;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use target::Target;

/// How many webhooks a network may have.
const MOST: u64 = 10;

/// How webhooks are reached.
pub struct Webhooks {
    courier: Arc<Courier>,
    /// How long a second is when a message is tried again.
    second: Duration,
}

impl Webhooks {
    /// `private` allows addresses that are not public; `ca` holds further authorities.
    pub fn new(private: bool, ca: Option<&Path>, second: Duration) -> Result<Webhooks> {
        Ok(Webhooks { courier: Arc::new(Courier::new(private, ca)?), second })
    }
}

impl Platform {
    /// Refuses where a webhook must not lead. Looks the name up.
    pub async fn admit_webhook(&self, url: &str) -> Result<()> {
        self.webhooks.courier.admit(&Target::parse(url)?).await
    }

    /// `webhook:create`.
    pub async fn create_webhook(&self, who: &Access, once: Once, request: Create) -> Result<Webhook> {
        Target::parse(&request.url)?;
        let (asks, network) = (who.clone(), request.network.clone());
        // Names are looked up for the network's owners alone.
        self.store.with(move |t| find_network(t, &asks, &network)).await?;
        self.admit_webhook(&request.url).await?;
        let asks = who.clone();
        let (webhook, created) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let network = find_network(t, &asks, &request.network)?;
                    let webhook = insert(t, network, &request)?;
                    config::record(t, Scope { network, app: None }, &asks.name, "webhook_created")?;
                    Ok((webhook, network))
                })
            })
            .await?;
        if let Some(network) = created {
            self.event(network, None, format!("webhook {} created by {}", webhook.id, who.name)).await;
        }
        Ok(webhook)
    }

    /// `webhook:list`.
    pub async fn list_webhooks(&self, who: &Access, request: Filter) -> Result<List> {
        let who = who.clone();
        let webhooks = self.store.with(move |t| {
            let network = match &request.network {
                Some(name) => Some(find_network(t, &who, name)?),
                None => None,
            };
            let rest = "AND n.id = ifnull(?3, n.id) ORDER BY n.name, w.id";
            let mut query = t.prepare(&format!("{ROWS} WHERE {SEEN} {rest}")).map_err(explain)?;
            let rows = query.query_map(params![who.user, who.network, network], document);
            rows.and_then(Iterator::collect).map_err(explain)
        });
        Ok(List { webhooks: webhooks.await? })
    }

    /// `webhook:delete`, with the messages that wait for it.
    pub async fn delete_webhook(&self, who: &Access, once: Once, request: Select) -> Result<Webhook> {
        let (asks, id) = (who.clone(), request.id);
        let (webhook, deleted) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let found = t
                        .query_row(&format!("{ROWS} WHERE w.id = ?1"), [held(id)], |row| {
                            Ok((document(row)?, row.get(8)?))
                        })
                        .optional()
                        .map_err(explain)?;
                    let (webhook, network): (Webhook, i64) = found.ok_or_else(|| missing(id))?;
                    admit(t, &asks, network, || missing(id))?;
                    t.execute("DELETE FROM webhooks WHERE id = ?1", [held(id)]).map_err(explain)?;
                    config::record(t, Scope { network, app: None }, &asks.name, "webhook_deleted")?;
                    Ok((webhook, network))
                })
            })
            .await?;
        if let Some(network) = deleted {
            self.event(network, None, format!("webhook {id} deleted by {}", who.name)).await;
        }
        Ok(webhook)
    }
}

/// Inserts a webhook: its document, with the secret.
pub fn insert(t: &Transaction<'_>, network: i64, request: &Create) -> Result<Webhook> {
    let count: u64 = t
        .query_row("SELECT count(*) FROM webhooks WHERE network = ?1", [network], |row| row.get(0))
        .map_err(explain)?;
    if count >= MOST {
        let message = format!("network '{}' has {MOST} webhooks already", request.network);
        return Err(Error::new(Kind::Conflict, message)
            .hint(format!("delete one: see `rig list webhooks --network {}`", request.network)));
    }
    let (secret, now) = (format!("whsec_{}", random(24)?), rfc3339(SystemTime::now()));
    t.execute(
        "INSERT INTO webhooks(network, url, secret, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![network, request.url, secret, now],
    )
    .map_err(explain)?;
    Ok(Webhook {
        id: t.last_insert_rowid() as u64,
        network: request.network.clone(),
        url: request.url.clone(),
        secret: Some(secret),
        created_at: now,
        delivered_at: None,
        error: None,
        waiting: 0,
        dropped: 0,
    })
}

const ROWS: &str = "SELECT w.id, n.name, w.url, w.created_at, w.delivered_at, w.error,
            (SELECT count(*) FROM deliveries WHERE webhook = w.id), w.dropped, n.id
     FROM webhooks w JOIN networks n ON n.id = w.network";

fn document(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    Ok(Webhook {
        id: row.get(0)?,
        network: row.get(1)?,
        url: row.get(2)?,
        secret: None,
        created_at: row.get(3)?,
        delivered_at: row.get(4)?,
        error: row.get(5)?,
        waiting: row.get(6)?,
        dropped: row.get(7)?,
    })
}

fn missing(id: u64) -> Error {
    Error::new(Kind::NotFound, format!("webhook {id} does not exist"))
        .hint("see `rig list webhooks`")
        .field("id")
}
