//! The trash, where what is deleted can be restored from for a while: `trash:list`,
//! `trash:delete`.

use miniserde::{Deserialize, Serialize};

/// `trash:delete`: removes one thing for good.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// `app` or `network`.
    pub kind: String,
    /// Its number in `trash:list`.
    pub id: u64,
    /// Whether the answer only tells what would go.
    pub preview: Option<bool>,
}

/// Something that was deleted. The answer to `app:delete`, `network:delete` and
/// `trash:delete`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Item {
    /// `app` or `network`.
    pub kind: String,
    /// Its number among those of its kind.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The name of an app's network; a network's own.
    pub network: String,
    /// When it was deleted.
    pub deleted_at: String,
    /// Who did it.
    pub deleted_by: String,
    /// Until when it can be restored; null when it can't.
    pub expires_at: Option<String>,
    /// What goes with it; null in a list.
    pub contents: Option<Contents>,
}

/// How much goes with what is deleted.
#[derive(Serialize, Deserialize, Clone)]
pub struct Contents {
    /// The apps of a network.
    pub apps: u64,
    /// The releases that are kept.
    pub releases: u64,
    /// The instances that run.
    pub instances: u64,
    /// The variables.
    pub variables: u64,
    /// The secrets.
    pub secrets: u64,
    /// The webhooks of a network.
    pub webhooks: u64,
    /// The members of a network.
    pub members: u64,
    /// The commands and shells that run.
    pub sessions: u64,
    /// All of it in words, such as `2 releases, 1 variable`.
    pub summary: String,
}

/// The answer to `trash:list`, the newest first, at most 1000. What was deleted with its
/// network goes with that.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// What is in the trash.
    pub items: Vec<Item>,
}
