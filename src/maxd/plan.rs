//! How a release is built and run: what [`detect`](super::detect) found out.

use std::time::Duration;

/// How to build and run a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was recognised: `rig.json`, `procfile`, `node`, `python` or `static`.
    pub kind: String,
    /// Command lines for `sh -c`, in order.
    pub build: Vec<String>,
    /// What serves afterwards.
    pub run: Run,
    /// When a new instance counts as healthy.
    pub health: Health,
}

/// What serves a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A command line for `sh -c` that listens on `PORT`.
    Command(String),
    /// maxd itself: the release's files.
    Static,
}

/// When a new instance counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The path that must answer 2xx or 3xx; without one the port must accept.
    pub path: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Health {
        Health { path: None, timeout: Duration::from_secs(60) }
    }
}
