//! API tokens: `token:create`, `token:list`, `token:delete`.

use miniserde::{Deserialize, Serialize};

/// `token:create`.
#[derive(Serialize, Deserialize, Default)]
pub struct Create {
    /// A word for people.
    pub name: Option<String>,
    /// What it may: `read`, `deploy` or `admin`, which is meant when it is absent.
    pub scope: Option<String>,
    /// The only network it is for.
    pub network: Option<String>,
    /// When it ends: RFC 3339, or in how long (`30d`); never when absent.
    pub expires: Option<String>,
}

/// `token:delete`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// Its number.
    pub id: u64,
}

/// A token. The answer to `token:create` and `token:delete`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Token {
    /// Its number, unique in the whole system.
    pub id: u64,
    /// The token itself; told only once, when it is created.
    pub token: Option<String>,
    /// A word for people.
    pub name: Option<String>,
    /// How the token begins.
    pub prefix: String,
    /// What it may: `read`, `deploy` or `admin`.
    pub scope: String,
    /// The only network it is for; null for all of the user's.
    pub network: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When it was exchanged for a session last.
    pub used_at: Option<String>,
    /// When it ends; null for never.
    pub expires_at: Option<String>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The answer to `token:list`, by number.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The user's.
    pub tokens: Vec<Token>,
}
