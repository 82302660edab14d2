//! Log streams: the topics `logs:app:NETWORK:APP`, `logs:build:NETWORK:APP`,
//! `logs:network:NETWORK` and `logs:command:ID`, and the build lines on `deploy:ID`.

use miniserde::{Deserialize, Serialize};

/// The join parameters of a log topic. What is absent does not restrict; all that is
/// there combines.
#[derive(Serialize, Deserialize, Default)]
pub struct Query {
    /// Only lines after this sequence number (the cursor of a rejoin).
    pub after: Option<u64>,
    /// Begin with this many of the newest lines that match; ignored when `after` is given.
    pub tail: Option<u64>,
    /// Go on with new lines; otherwise `end` follows the last one.
    pub follow: bool,
    /// How much may be sent before the next `credit`.
    pub credit: u64,
    /// Lines that are alike may come as one [`Line`], their texts joined by line feeds.
    pub runs: Option<bool>,
    /// Only lines from then on: RFC 3339, or how long ago (`5m`). Ignored when `after` is
    /// given.
    pub since: Option<String>,
    /// Only lines before then, in the same forms.
    pub until: Option<String>,
    /// Only lines that contain this text.
    pub grep: Option<String>,
    /// Only lines in which this regular expression matches.
    pub regex: Option<String>,
    /// Only lines of this level and above.
    pub level: Option<String>,
    /// Only lines of this instance.
    pub instance: Option<u64>,
    /// Only lines of this release.
    pub release: Option<u64>,
    /// Only lines of `stdout` or `stderr`.
    pub stream: Option<String>,
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

/// How much a line matters, as far as it says so itself.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Level {
    /// Every step.
    #[serde(rename = "trace")]
    Trace,
    /// For who looks for a mistake.
    #[serde(rename = "debug")]
    Debug,
    /// What happens.
    #[serde(rename = "info")]
    Info,
    /// What may be wrong.
    #[serde(rename = "warn")]
    Warn,
    /// What went wrong.
    #[serde(rename = "error")]
    Error,
    /// After which it can't go on.
    #[serde(rename = "fatal")]
    Fatal,
}

/// One line; or, where the query allows `runs`, several.
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
    /// The instance that wrote it.
    pub instance: Option<u64>,
    /// The release that wrote it, or that is being built.
    pub release: Option<u64>,
    /// The level it names; null when it names none.
    pub level: Option<Level>,
    /// The line was too long: the next one of this source goes on with it.
    pub partial: bool,
    /// The text without its line end; bytes that are no UTF-8 appear as U+FFFD. Of
    /// several lines each further one has the next sequence number.
    pub text: String,
}

/// The event `lines`.
#[derive(Serialize, Deserialize)]
pub struct Lines {
    /// How much credit they took: one for each started KiB of each line's text.
    pub credit: Option<u64>,
    /// In order of `seq`.
    pub lines: Vec<Line>,
}

/// The event `mark`: up to here nothing that matches is still to come.
#[derive(Serialize, Deserialize)]
pub struct Mark {
    /// The cursor for a rejoin.
    pub seq: u64,
}

/// The event `gap`: lines the receiver should have got but retention has dropped.
#[derive(Serialize, Deserialize)]
pub struct Gap {
    /// The receiver's cursor.
    pub after: u64,
    /// Of what was dropped the newest line had this sequence number.
    pub through: u64,
}

/// The event `end`: nothing more will come; `phx_close` follows.
#[derive(Serialize, Deserialize)]
pub struct End {
    /// `done` (all lines of a query without `follow`, or of a command that has ended),
    /// `deleted`, or `revoked` (who follows is no member of the network any more).
    pub reason: String,
}

/// The push `credit`: so much more may be sent. It is not answered.
#[derive(Serialize, Deserialize)]
pub struct Credit {
    /// A number of lines of at most 1 KiB; a longer one counts as several.
    pub lines: u64,
}
