//! Keeps every app's release running.

use super::line::NewLine;
use super::plan::Plan;
use super::router::Routes;
use super::runtime::Runtime;
use crate::error::Result;
use crate::wire::app::{Instance, State};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A release that is unpacked and can be built or run.
#[derive(Clone)]
pub struct Release {
    /// The network's row in the state database.
    pub network: i64,
    /// The app's row.
    pub app: i64,
    /// Counts from 1 for each app.
    pub number: u64,
    /// Its files. The directory `cache` beside it keeps what builds download.
    pub dir: PathBuf,
    /// `APP.NETWORK.DOMAIN`.
    pub hostname: String,
    /// How it is built and run.
    pub plan: Plan,
    /// The user's variables.
    pub env: Vec<(String, String)>,
}

/// What an app does at the moment.
pub struct Status {
    /// What it does.
    pub state: State,
    /// Why, when that needs saying: `exited with code 1, 5 times in 40 s`.
    pub reason: Option<String>,
    /// Its running copies.
    pub instances: Vec<Instance>,
}

/// Starts, watches and stops the apps' releases.
pub struct Supervisor {}

impl Supervisor {
    /// A supervisor without apps. What a previous maxd left running according to the
    /// records in `run_dir` is ended first, so this may block for some seconds.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        routes: Arc<Routes>,
        lines: mpsc::Sender<NewLine>,
        run_dir: PathBuf,
    ) -> Arc<Supervisor> {
        let _ = (runtime, routes, lines, run_dir);
        Arc::new(Supervisor {})
    }

    /// Starts the release and, once it is healthy, gives it the app's traffic in place
    /// of the one before. When it never becomes healthy that one goes on serving.
    pub async fn switch(&self, release: Release) -> Result<()> {
        let _ = release;
        Ok(())
    }

    /// Starts the app's current release after a restart of maxd, and goes on trying.
    pub fn resume(&self, release: Release) {
        let _ = release;
    }

    /// Stops everything of the app and forgets it.
    pub async fn remove(&self, app: i64) {
        let _ = app;
    }

    /// Stops all apps.
    pub async fn shutdown(&self) {}

    /// What the app does at the moment.
    pub fn status(&self, app: i64) -> Status {
        let _ = app;
        Status { state: State::Empty, reason: None, instances: Vec::new() }
    }
}
