//! Log streams: the topics `logs:app:NETWORK:APP`, `logs:build:NETWORK:APP` and
//! `logs:network:NETWORK`, and the build lines on `deploy:ID`.

use miniserde::{Deserialize, Serialize};

/// The join parameters of a log topic.
#[derive(Serialize, Deserialize)]
pub struct Query {
    /// Only lines after this sequence number (the cursor of a rejoin).
    pub after: Option<u64>,
    /// Begin with this many of the newest lines; ignored when `after` is given.
    pub tail: Option<u64>,
    /// Go on with new lines; otherwise `end` follows the last one.
    pub follow: bool,
    /// How many lines may be sent before the next `credit`.
    pub credit: u64,
}

/// Where a line comes from.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Source {
    /// The app's standard output.
    #[serde(rename = "stdout")]
    Stdout,
    /// The app's standard error.
    #[serde(rename = "stderr")]
    Stderr,
    /// A build command's output, or what maxd says about the build.
    #[serde(rename = "build")]
    Build,
    /// A request, as the router saw it.
    #[serde(rename = "access")]
    Access,
    /// What maxd did: created, deployed, started, stopped.
    #[serde(rename = "event")]
    Event,
}

/// One line.
#[derive(Serialize, Deserialize, Clone)]
pub struct Line {
    /// Its place: grows along every stream, with holes (lines of other streams).
    pub seq: u64,
    /// When maxd read it.
    pub time: String,
    /// Where it comes from.
    pub source: Source,
    /// The app's name; null for what concerns the whole network.
    pub app: Option<String>,
    /// The release that wrote it, or that is being built.
    pub release: Option<u64>,
    /// The text without its line end; bytes that are no UTF-8 appear as U+FFFD.
    pub text: String,
}

/// The event `lines`.
#[derive(Serialize, Deserialize)]
pub struct Lines {
    /// In order of `seq`.
    pub lines: Vec<Line>,
}

/// The event `gap`: lines the receiver should have got but retention has dropped.
#[derive(Serialize, Deserialize)]
pub struct Gap {
    /// The cursor the receiver named.
    pub after: u64,
    /// The first line that is still there comes after this sequence number.
    pub through: u64,
}

/// The event `end`: nothing more will come; `phx_close` follows.
#[derive(Serialize, Deserialize)]
pub struct End {
    /// `done` (all lines of a query without `follow`) or `deleted`.
    pub reason: String,
}

/// The push `credit`: so many further lines may be sent. It is not answered.
#[derive(Serialize, Deserialize)]
pub struct Credit {
    /// A number of lines.
    pub lines: u64,
}
