//! Where builds and apps run. This trait is all the supervisor knows of it, so that
//! a scheduler over many hosts can take the place of plain processes.

mod cgroup;
mod gauge;
mod proc;
pub mod process;
mod record;
mod sandbox;

pub use record::boot;

use crate::error::Result;
use crate::maxd::plan::Limits;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A boxed future, which keeps the traits object-safe.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// One of a job's output streams.
pub type Pipe = Box<dyn AsyncRead + Send + Unpin>;

/// A job's standard input.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// What to run.
pub struct Task {
    /// The program and its arguments. One that is not there ends with 127, one that can't
    /// be run with 126, as in a shell.
    pub argv: Vec<String>,
    /// Its standard streams.
    pub streams: Streams,
    /// The release's directory: working directory, home, and writable.
    pub dir: PathBuf,
    /// Other directories that are writable.
    pub writable: Vec<PathBuf>,
    /// The whole environment besides what every job gets (`PATH`, `HOME`, …).
    pub env: Vec<(String, String)>,
    /// The app whose usage it counts for; none for a build.
    pub app: Option<i64>,
    /// What it may use.
    pub limits: Limits,
}

/// A job's standard streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// What it writes is read; it has nothing to read itself.
    Output,
    /// It can be given something to read, too.
    Both,
    /// A terminal, which is its controlling one (termios(4)). What it writes comes on its
    /// standard output alone.
    Terminal(Size),
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many stand in a line.
    pub columns: u16,
    /// How many lines there are.
    pub rows: u16,
}

/// A command line for `sh -c`, as arguments.
pub fn shell(command: &str) -> Vec<String> {
    ["/bin/sh", "-c", command].map(str::to_owned).into()
}

/// What a running job of an app uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The app's row.
    pub app: i64,
    /// The number by which the host's administrator knows the job.
    pub pid: u64,
    /// The CPU time of all it has started, since its start, in microseconds.
    pub cpu_us: u64,
    /// The memory of all that runs of it now, in bytes.
    pub memory: u64,
    /// What it may use.
    pub limits: Limits,
}

/// Starts jobs.
pub trait Runtime: Send + Sync {
    /// Starts a job.
    fn start(&self, task: Task) -> Future<'_, Result<Box<dyn Job>>>;

    /// Ends what a previous maxd has left running according to the records in `run`,
    /// and keeps the records of its own jobs there from now on. Blocks; called once,
    /// before the first start.
    fn claim(&self, run: &Path) -> Result<()>;

    /// Gives up what it has claimed of the host; called once, when all jobs have ended.
    fn release(&self) {}

    /// What the running jobs of apps use; nothing where that can't be told. Blocks for
    /// some milliseconds.
    fn measure(&self) -> Vec<Measured> {
        Vec::new()
    }
}

/// A job that was started. Dropping it kills it.
pub trait Job: Send {
    /// The number by which the host's administrator knows it.
    fn pid(&self) -> Option<u64>;

    /// Whether the kernel has ended some of it because it was over its memory limit.
    fn starved(&self) -> bool {
        false
    }

    /// Its standard output and standard error; none when they were taken before.
    fn outputs(&mut self) -> Option<(Pipe, Pipe)>;

    /// Its standard input; none when there is none, or it was taken before.
    fn input(&mut self) -> Option<Input> {
        None
    }

    /// Its terminal has another size; nothing without a terminal.
    fn resize(&self, _: Size) {}

    /// Sends a signal to everything it has started; whether there was anything yet.
    fn signal(&self, number: i32) -> bool;

    /// Waits until it has ended, with everything it started. May be dropped and
    /// called again.
    fn wait(&mut self) -> Future<'_, Exit>;

    /// Asks it to end, and after `grace` ends it.
    fn stop(&mut self, grace: Duration) -> Future<'_, Exit>;
}

/// What maxd itself uses.
pub struct Own {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Open files.
    pub files: usize,
    /// When it was started, in seconds since 1970.
    pub started: u64,
}

/// What maxd itself uses.
pub fn own() -> Option<Own> {
    let stat = proc::own()?;
    Some(Own {
        cpu_us: gauge::micros(stat.ticks),
        memory: stat.pages * rustix::param::page_size() as u64,
        files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        started: proc::booted()? + gauge::micros(stat.start) / 1_000_000,
    })
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n after signal n, as shells have it.
    pub code: i32,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exited with code {}", self.code)?;
        match SIGNALS.iter().find(|row| row.0 + 128 == self.code) {
            Some((_, name)) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// The signals that end programs, with their numbers on Linux.
const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (15, "SIGTERM"),
];
