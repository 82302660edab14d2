//! Alerts: what is wrong by itself, until it is not any more. `alert:list`, the status
//! documents and webhooks carry them.

use miniserde::{Deserialize, Serialize};

/// What is wrong.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug, Hash))]
pub enum Cause {
    /// The app ends again and again.
    #[serde(rename = "crash_loop")]
    CrashLoop,
    /// The app's health check fails.
    #[serde(rename = "unhealthy")]
    Unhealthy,
    /// The app's newest deploy failed.
    #[serde(rename = "deploy_failed")]
    DeployFailed,
    /// The app answers too many requests with 500 or above.
    #[serde(rename = "error_rate")]
    ErrorRate,
    /// The app's memory is near its limit.
    #[serde(rename = "memory")]
    Memory,
    /// The disk of Max is nearly full.
    #[serde(rename = "disk")]
    Disk,
}

/// Something that is or was wrong.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct Alert {
    /// Its number, unique in the whole system.
    pub id: u64,
    /// What is wrong.
    pub cause: Cause,
    /// The network it concerns; null for the host.
    pub network: Option<String>,
    /// The app it concerns; null for a network or the host.
    pub app: Option<String>,
    /// The same for people: `exited with code 1, 5 times in 40 s`.
    pub message: String,
    /// Since when.
    pub since: String,
    /// When it was over; null while it lasts.
    pub resolved_at: Option<String>,
}

/// `alert:list`.
#[derive(Serialize, Deserialize)]
pub struct Filter {
    /// Only this network's, and those of the host, which concern every network.
    pub network: Option<String>,
    /// Those of the last thirty days that are over, too.
    pub all: Option<bool>,
}

/// The answer to `alert:list`: those that last first, of these the newest first.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The alerts.
    pub alerts: Vec<Alert>,
}
