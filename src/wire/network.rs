//! Networks: `network:create`, `network:list`, `network:status`, `network:rename`,
//! `network:delete`, `network:restore`.

use super::alert::Alert;
use super::app::App;
use super::metrics::{Traffic, Usage};
use miniserde::{Deserialize, Serialize};

/// `network:create`.
#[derive(Serialize, Deserialize)]
pub struct Create {
    /// The wanted name; Max assigns one when it is absent.
    pub name: Option<String>,
}

/// `network:status`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
}

/// A network. The answer to `network:create`, `network:rename` and `network:restore`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Network {
    /// Its name, unique in the whole system.
    pub name: String,
    /// The domain its apps are reached under: `NAME.DOMAIN`.
    pub domain: String,
    /// How many apps it has.
    pub apps: u64,
    /// When it was created.
    pub created_at: String,
}

/// `network:rename`.
#[derive(Serialize, Deserialize)]
pub struct Rename {
    /// The network's name.
    pub network: String,
    /// The name it gets.
    pub name: String,
}

/// `network:delete`.
#[derive(Serialize, Deserialize)]
pub struct Delete {
    /// The network's name.
    pub network: String,
    /// Whether it can't be restored.
    pub purge: Option<bool>,
    /// Whether the answer only tells what would go.
    pub preview: Option<bool>,
}

/// `network:restore`: by its number in the trash, or else by its name.
#[derive(Serialize, Deserialize)]
pub struct Restore {
    /// Its number.
    pub id: Option<u64>,
    /// Its name; of several networks the one that was deleted last.
    pub network: Option<String>,
    /// The name it gets, unless that is the one it had.
    pub name: Option<String>,
}

/// The answer to `network:list`, by name.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The user's networks.
    pub networks: Vec<Network>,
}

/// What an app uses, and its requests of the last minute.
#[derive(Serialize, Deserialize)]
pub struct Reading {
    /// Its name.
    pub app: String,
    /// What all its processes use together.
    pub usage: Usage,
    /// Its requests.
    pub traffic: Traffic,
}

/// The answer to `network:status`.
#[derive(Serialize, Deserialize)]
pub struct Status {
    /// The network.
    pub network: Network,
    /// Its apps, by name.
    pub apps: Vec<App>,
    /// What each of them uses and is asked, in the same order.
    pub readings: Vec<Reading>,
    /// What all of them use together.
    pub usage: Usage,
    /// The requests of the last minute to all of them.
    pub traffic: Traffic,
    /// What is wrong with it, its apps and the host at the moment.
    pub alerts: Vec<Alert>,
}
