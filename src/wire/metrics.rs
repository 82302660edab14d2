//! What is measured of apps: `app:metrics`, and parts of the status documents.

use miniserde::{Deserialize, Serialize};

/// What processes use.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU over the last two seconds, in thousandths of a core.
    pub cpu: u64,
    /// Memory now, in bytes.
    pub memory: u64,
    /// How much CPU they may use together, in thousandths of a core.
    pub cpu_limit: Option<u64>,
    /// How much memory they may use together, in bytes.
    pub memory_limit: Option<u64>,
}

/// What the router saw in the last minute.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them that were answered with 500 or above.
    pub errors: u64,
    /// Half of the answers began within so many microseconds.
    pub p50_us: Option<u64>,
    /// 95 % of the answers began within so many microseconds.
    pub p95_us: Option<u64>,
}

/// `app:metrics`: an app's history.
#[derive(Serialize, Deserialize)]
pub struct Query {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// How far back, in seconds: up to an hour it is told in steps of 2 s, up to a day in
    /// steps of a minute, up to thirty days in steps of an hour.
    pub seconds: u64,
}

/// A step of an app's history.
#[derive(Serialize, Deserialize, Clone)]
pub struct Sample {
    /// When the step ends.
    pub time: String,
    /// CPU, in thousandths of a core: the mean of the step.
    pub cpu: u64,
    /// Memory, in bytes: the most of the step.
    pub memory: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them that were answered with 500 or above.
    pub errors: u64,
    /// 95 % of the answers began within so many microseconds.
    pub p95_us: Option<u64>,
}

/// The answer to `app:metrics`.
#[derive(Serialize, Deserialize)]
pub struct History {
    /// The length of a step, in seconds.
    pub step: u64,
    /// The steps, the newest last. One without measurements is left out.
    pub samples: Vec<Sample>,
}
