//! Commands and shells inside an app: `exec:create`, `exec:list`, `exec:delete`, and the topic
//! `exec:ID`. What they read and write are bytes, in binary frames: eight bytes with
//! the offset of the first byte in its stream (big-endian), then the bytes.

use miniserde::{Deserialize, Serialize};

/// The most bytes of a stream that are on their way: sent and not acknowledged. Who sends
/// keeps them, and sends them again behind a cut.
pub const WINDOW: usize = 256 * 1024;
/// The most frames of output that are on their way, however short they are.
pub const FRAMES: usize = 1024;
/// The most bytes in one frame.
pub const PIECE: usize = 16 * 1024;

/// `exec:create`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Create {
    /// The network's name.
    pub network: String,
    /// The app's name; null for the network's console, which needs a terminal and takes
    /// nothing of what follows but that and `keep`.
    pub app: Option<String>,
    /// The program and its arguments, exactly as they are; none for a login shell, which
    /// needs a terminal.
    pub argv: Vec<String>,
    /// Further variables, which win over the app's.
    pub env: Vec<Variable>,
    /// The working directory, below the release's.
    pub workdir: Option<String>,
    /// A terminal to run it in, whose output is one stream; without one standard output and
    /// error are apart.
    pub tty: Option<Tty>,
    /// It is ended when it takes longer, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How long it may go on without a client, in seconds.
    pub keep: u64,
    /// It goes on without a client until it ends: it has nothing to read, and what it writes
    /// goes to the topic `logs:command:ID`.
    pub detach: Option<bool>,
    /// The instance beside which it runs: the variable `PORT` is that instance's.
    pub instance: Option<u64>,
}

/// A variable.
#[derive(Serialize, Deserialize, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A terminal.
#[derive(Serialize, Deserialize, Clone)]
pub struct Tty {
    /// Its kind, for `TERM`.
    pub term: String,
    /// Its columns.
    pub columns: u64,
    /// Its rows.
    pub rows: u64,
}

/// The push `closed`: nobody reads a stream of output any more.
#[derive(Serialize, Deserialize)]
pub struct Closed {
    /// `out` or `err`.
    pub stream: String,
}

/// The push `resize`: the terminal's size now.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Its columns.
    pub columns: u64,
    /// Its rows.
    pub rows: u64,
}

/// One that runs. The answer to `exec:create` and `exec:delete`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Exec {
    /// Its number, unique in the whole system.
    pub id: u64,
    /// The network's name.
    pub network: String,
    /// The app's name; null for the network's console.
    pub app: Option<String>,
    /// Who began it.
    pub user: String,
    /// The release whose files it sees; null for a console.
    pub release: Option<u64>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether a client is there.
    pub attached: bool,
    /// Whether it goes on without one.
    pub detached: bool,
    /// When it began.
    pub started_at: String,
    /// How long it goes on without a client, in seconds.
    pub keep: u64,
}

/// `exec:delete`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// Its number.
    pub id: u64,
}

/// The answer to `exec:list`, by number.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The user's, and in networks he owns everybody's.
    pub sessions: Vec<Exec>,
}

/// The parameters of a join of `exec:ID`: where to go on. A join takes the place of the one
/// before, whose channel is closed.
#[derive(Serialize, Deserialize, Clone, Copy, Default)]
pub struct Attach {
    /// Bytes of standard output that have arrived; null to begin with what is kept.
    pub out: Option<u64>,
    /// Bytes of standard error.
    pub err: Option<u64>,
}

/// The answer to a join: where each stream goes on.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub struct Attached {
    /// The offset of the next byte of standard output.
    pub out: u64,
    /// Of standard error.
    pub err: u64,
    /// Of standard input: so many bytes the program has got, or will get.
    pub input: u64,
}

/// The push `ack`: so many bytes have arrived.
#[derive(Serialize, Deserialize, Clone, Copy, Default)]
pub struct Arrived {
    /// Of standard output.
    pub out: u64,
    /// Of standard error.
    pub err: u64,
}

/// The event `ack`.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub struct Taken {
    /// Bytes of standard input that the program has got.
    pub input: u64,
}

/// The push `eof`: standard input ends.
#[derive(Serialize, Deserialize)]
pub struct Eof {
    /// How many bytes it had.
    pub at: u64,
}

/// The push `signal`.
#[derive(Serialize, Deserialize)]
pub struct Signal {
    /// Its number on Linux.
    pub number: u64,
}

/// The event `exit`, behind the last byte of output.
#[derive(Serialize, Deserialize, Clone)]
pub struct Exit {
    /// The exit code; 128 + n after signal n.
    pub code: u64,
    /// Why, when the program did not end by itself: `timeout`, `detached` (no client came
    /// back), `deleted`, `app_deleted`, `network_deleted`, `revoked` (its client's access),
    /// `stopping` (the server).
    pub reason: Option<String>,
    /// Bytes of standard output there were.
    pub out: u64,
    /// Bytes of standard error.
    pub err: u64,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}
