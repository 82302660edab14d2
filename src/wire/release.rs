//! Releases: `release:list`, `release:diff`, `app:rollback`.

use super::config::Change;
use miniserde::{Deserialize, Serialize};

/// `app:rollback`.
#[derive(Serialize, Deserialize)]
pub struct Rollback {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// The release that is to serve; the one before the serving one when absent.
    pub to: Option<u64>,
}

/// A release that serves or has served.
#[derive(Serialize, Deserialize)]
pub struct Release {
    /// Its number, counted per app from 1.
    pub release: u64,
    /// `serving`, `kept`, or `gone` when its files are not kept any more.
    pub state: String,
    /// When it took the app's traffic last.
    pub since: String,
    /// How: `deployed`, `rolled_back`, or `returned` when Max did so by itself.
    pub what: String,
    /// From which release; null when there was none.
    pub from: Option<u64>,
    /// Who gave it that; null when Max did so by itself, or that is not known.
    pub by: Option<String>,
    /// The deploy that made it.
    pub deploy: u64,
    /// What was recognised: `node`, `python`, `static`, `procfile`, `rig.json`.
    pub kind: Option<String>,
    /// Who deployed it.
    pub user: String,
    /// When it took the traffic first.
    pub deployed_at: String,
    /// Why Max returned from it to the one before; null when it did not.
    pub error: Option<String>,
}

/// The answer to `release:list`.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// The newest 1000, the newest first.
    pub releases: Vec<Release>,
}

/// `release:diff`.
#[derive(Serialize, Deserialize)]
pub struct Diff {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// A release; the one from which the other took the traffic when absent.
    pub from: Option<u64>,
    /// The other one; the one that serves when absent.
    pub to: Option<u64>,
}

/// The answer to `release:diff`.
#[derive(Serialize, Deserialize)]
pub struct Difference {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// The one release.
    pub from: u64,
    /// The other.
    pub to: u64,
    /// What is different in the configuration with which they were deployed, and in how they are
    /// built and run.
    pub changes: Vec<Change>,
    /// Which files are different in what was sent, at most 1000, by path; null when that is not
    /// kept of one of them.
    pub files: Option<Vec<File>>,
    /// How many more there are.
    pub more: u64,
}

/// A file, or a link, that is different between two releases.
#[derive(Serialize, Deserialize)]
pub struct File {
    /// Its path.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Its bytes in the one release; null when it was not there.
    pub before: Option<u64>,
    /// Its bytes in the other; likewise.
    pub after: Option<u64>,
    /// Its permission bits in both, such as `0644 -> 0755`; null when they are the same.
    pub mode: Option<String>,
}
