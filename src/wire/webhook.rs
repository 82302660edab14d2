//! Webhooks, which hear of a network's alerts: `webhook:create`, `webhook:list`,
//! `webhook:delete`, and what is sent to them.

use super::alert::Alert;
use miniserde::{Deserialize, Serialize};

/// `webhook:create`.
#[derive(Serialize, Deserialize)]
pub struct Create {
    /// The network's name.
    pub network: String,
    /// Where alerts are posted.
    pub url: String,
}

/// `webhook:delete`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// Its number.
    pub id: u64,
}

/// `webhook:list`.
#[derive(Serialize, Deserialize)]
pub struct Filter {
    /// Only this network's.
    pub network: Option<String>,
}

/// A webhook. The answer to `webhook:create` and `webhook:delete`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Webhook {
    /// Its number.
    pub id: u64,
    /// The network's name.
    pub network: String,
    /// Where alerts are posted.
    pub url: String,
    /// What signs the messages; told only once, when the webhook is created.
    pub secret: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When a message was taken last.
    pub delivered_at: Option<String>,
    /// Why the newest message was not taken; null when it was.
    pub error: Option<String>,
    /// How many messages wait for being taken.
    pub waiting: u64,
    /// How many were given up: not taken in time, or too many waited.
    pub dropped: u64,
}

/// The answer to `webhook:list`.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The webhooks, by network and number.
    pub webhooks: Vec<Webhook>,
}

/// What is posted.
#[derive(Serialize, Deserialize, Clone)]
pub struct Message {
    /// The message's number, the same each time it is tried.
    pub id: u64,
    /// `alert.raised` or `alert.resolved`.
    pub event: String,
    /// When that was.
    pub time: String,
    /// The alert.
    pub alert: Alert,
}
