//! The topic `dashboard`: all of the user's apps at a glance, and every two seconds what
//! has changed.

use super::alert::Alert;
use super::app::State;
use super::metrics::{Traffic, Usage};
use miniserde::{Deserialize, Serialize};

/// The parameters of a join.
#[derive(Serialize, Deserialize)]
pub struct Watch {
    /// Only this network's apps.
    pub network: Option<String>,
    /// Go on with what changes; otherwise the channel closes behind its answer.
    pub follow: bool,
}

/// An app at a glance.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its network's name.
    pub network: String,
    /// Its name.
    pub app: String,
    /// What it does.
    pub state: State,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// The release that serves.
    pub release: Option<u64>,
    /// When that release took the traffic.
    pub deployed_at: Option<String>,
    /// Where it answers.
    pub url: String,
    /// How many instances it has when it runs.
    pub instances: u64,
    /// How many of them are running.
    pub running: u64,
    /// How often they were started again since the release took over.
    pub restarts: u64,
    /// What they use.
    pub usage: Usage,
    /// The requests of the last minute.
    pub traffic: Traffic,
    /// What is wrong: the messages of its alerts.
    pub alerts: Vec<String>,
}

/// What came before, for a small picture: at most 30 steps of two seconds, the newest last.
#[derive(Serialize, Deserialize, Clone)]
pub struct Past {
    /// CPU, in thousandths of a core.
    pub cpu: Vec<u64>,
    /// Requests that were answered.
    pub requests: Vec<u64>,
}

/// The answer to a join.
#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was made.
    pub time: String,
    /// The apps, by network and name.
    pub apps: Vec<Row>,
    /// For each of `apps`, what came before.
    pub past: Vec<Past>,
    /// What is wrong at the moment.
    pub alerts: Vec<Alert>,
}

/// An app's names.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its network's name.
    pub network: String,
    /// Its name.
    pub app: String,
}

/// The requests that an app answered in the last two seconds.
#[derive(Serialize, Deserialize, Clone)]
pub struct Beat {
    /// Its network's name.
    pub network: String,
    /// Its name.
    pub app: String,
    /// How many.
    pub requests: u64,
}

/// The event `tick`, every two seconds.
#[derive(Serialize, Deserialize)]
pub struct Tick {
    /// When it was made.
    pub time: String,
    /// The apps that are new or not as they were.
    pub apps: Vec<Row>,
    /// The apps that answered requests since the tick before.
    pub beats: Vec<Beat>,
    /// The apps that are gone.
    pub gone: Vec<Name>,
    /// What is wrong at the moment, when that has changed.
    pub alerts: Option<Vec<Alert>>,
}
