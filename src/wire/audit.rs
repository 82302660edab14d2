//! Who did what: `audit:list`.

use miniserde::{Deserialize, Serialize};

/// `audit:list`. What is absent does not restrict.
#[derive(Serialize, Deserialize, Default)]
pub struct Filter {
    /// Only of this kind.
    pub what: Option<String>,
    /// Only in this network.
    pub network: Option<String>,
    /// Only in apps of this name.
    pub app: Option<String>,
    /// Only from then on: RFC 3339, or how long ago (`24h`).
    pub since: Option<String>,
    /// Only those with a lower number: the cursor for the next page.
    pub before: Option<u64>,
    /// How many at most: up to 1000, 50 when absent.
    pub limit: Option<u64>,
}

/// The answer to `audit:list`, the newest first.
#[derive(Serialize, Deserialize)]
pub struct Audit {
    /// What happened.
    pub entries: Vec<Entry>,
    /// What `before` has to be for the next page; null when there is none.
    pub before: Option<u64>,
}

/// Something that happened: what, who, where, when, and how it ended.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    /// Its number, which is the session's where there is one.
    pub id: u64,
    /// `command`, `shell` or `console`: a session; `login`, `token_created`, `token_deleted`,
    /// `member_added`, `member_changed`, `member_removed`, `refused`.
    pub what: String,
    /// Who did it.
    pub user: String,
    /// The number of the API token it was done with; null when that is not known.
    pub token: Option<u64>,
    /// The network's name; null when it concerns none.
    pub network: Option<String>,
    /// The app's name; null when it concerns none.
    pub app: Option<String>,
    /// With what or whom it was done, in words; null for a session.
    pub about: Option<String>,
    /// Whether the session had a terminal.
    pub tty: bool,
    /// Whether it went on without a client.
    pub detached: bool,
    /// When it happened or began.
    pub started_at: String,
    /// When the session ended; null while it goes on, and for what is no session.
    pub ended_at: Option<String>,
    /// The exit code; null while it goes on, and when it ended with the server.
    pub code: Option<u64>,
    /// Why, when the program did not end by itself: as of an `Exit`, or `killed` when the
    /// server was.
    pub reason: Option<String>,
}
