//! Apps: `app:create`, `app:list`, `app:status`, `app:start`, `app:stop`, `app:restart`,
//! `app:scale`, `app:rename`, `app:delete`, `app:restore`.

use super::alert::Alert;
use super::deploy::Deploy;
use super::log::Line;
use super::metrics::{Traffic, Usage};
use super::variable::Difference;
use miniserde::{Deserialize, Serialize};

/// `app:create`, `app:status`, `app:start`, `app:stop` and `app:restart`: one app of one
/// network.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
}

/// `app:rename`.
#[derive(Serialize, Deserialize)]
pub struct Rename {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// The name it gets.
    pub name: String,
}

/// `app:delete`.
#[derive(Serialize, Deserialize)]
pub struct Delete {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// Whether it can't be restored.
    pub purge: Option<bool>,
    /// Whether the answer only tells what would go.
    pub preview: Option<bool>,
}

/// `app:restore`: by its number in the trash, or else by its names.
#[derive(Serialize, Deserialize)]
pub struct Restore {
    /// Its number.
    pub id: Option<u64>,
    /// The network's name.
    pub network: Option<String>,
    /// The app's name; of several the one that was deleted last.
    pub app: Option<String>,
    /// The name it gets, unless that is the one it had.
    pub name: Option<String>,
}

/// `app:list`.
#[derive(Serialize, Deserialize)]
pub struct Filter {
    /// Only this network's apps; all the user's when absent.
    pub network: Option<String>,
}

/// The most instances an app can have.
pub const INSTANCES_MAX: u64 = 20;

/// `app:scale`.
#[derive(Serialize, Deserialize)]
pub struct Scale {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// How many instances it shall have, from 1 to [`INSTANCES_MAX`].
    pub instances: u64,
    /// The version of the configuration this was made from: with another one it is a conflict.
    pub version: Option<u64>,
}

/// What an app does at the moment.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum State {
    /// Nothing has been deployed yet.
    #[serde(rename = "empty")]
    Empty,
    /// It is being started and isn't healthy yet.
    #[serde(rename = "starting")]
    Starting,
    /// It serves.
    #[serde(rename = "running")]
    Running,
    /// It runs, but its health check fails; `reason` says how.
    #[serde(rename = "unhealthy")]
    Unhealthy,
    /// It ended and is started again after a pause.
    #[serde(rename = "restarting")]
    Restarting,
    /// It ends again and again; `reason` says how.
    #[serde(rename = "crash_loop")]
    CrashLoop,
    /// Its user has stopped it, or maxd is stopping.
    #[serde(rename = "stopped")]
    Stopped,
}

/// An app. The answer to every request that changes one.
#[derive(Serialize, Deserialize, Clone)]
pub struct App {
    /// Its name, unique in its network.
    pub name: String,
    /// Its network's name.
    pub network: String,
    /// `APP.NETWORK.DOMAIN`.
    pub hostname: String,
    /// Where it answers.
    pub url: String,
    /// What it does.
    pub state: State,
    /// Why, when that needs saying: `exited with code 1, 5 times in 40 s`.
    pub reason: Option<String>,
    /// How many instances it has when it runs.
    pub instances: u64,
    /// How many of them are running at the moment.
    pub running: u64,
    /// The release that serves.
    pub release: Option<u64>,
    /// When that release took the traffic.
    pub deployed_at: Option<String>,
    /// When the app was created.
    pub created_at: String,
}

/// The answer to `app:list`, by network and name.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The apps.
    pub apps: Vec<App>,
}

/// One running copy of an app.
#[derive(Serialize, Deserialize, Clone)]
pub struct Instance {
    /// Counts from 1.
    pub number: u64,
    /// Its release.
    pub release: u64,
    /// The process, or null when maxd serves the files itself or it is not running.
    pub pid: Option<u64>,
    /// What it does.
    pub state: State,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// When it was started last.
    pub started_at: Option<String>,
    /// How often it was started again since the release took over.
    pub restarts: u64,
    /// What its processes use; null when there are none.
    pub usage: Option<Usage>,
}

/// One look at whether an instance is healthy.
#[derive(Serialize, Deserialize, Clone)]
pub struct Check {
    /// When it was made.
    pub time: String,
    /// The instance's number.
    pub instance: u64,
    /// Whether it is.
    pub healthy: bool,
    /// What was seen otherwise: `'/health' answered 500`.
    pub reason: Option<String>,
    /// How long the answer took, in microseconds.
    pub took_us: u64,
}

/// The answer to `app:status`.
#[derive(Serialize, Deserialize)]
pub struct Status {
    /// The app.
    pub app: App,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// The newest deploy, whatever became of it.
    pub deploy: Option<Deploy>,
    /// What all its instances use together.
    pub usage: Option<Usage>,
    /// Its requests of the last minute.
    pub traffic: Traffic,
    /// The newest health checks, at most 20, the newest last.
    pub checks: Vec<Check>,
    /// What Max said about it, at most 10 lines, the newest last.
    pub events: Vec<Line>,
    /// What is wrong at the moment.
    pub alerts: Vec<Alert>,
    /// The variables that its instances do not have as they were set.
    pub staged: Vec<Difference>,
}
