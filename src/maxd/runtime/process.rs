//! The runtime of a single host: every job is a process group, inside bubblewrap
//! where that works.
//!
//! A job starts with an environment of its own and nothing of maxd's. When it ends,
//! is stopped or is dropped, everything it started ends with it: without a sandbox
//! that is its process group, with one its process namespace.

#[cfg(test)]
mod tests;

use super::cgroup::{Cgroups, Group};
use super::gauge::{Gauge, Tracked, Tracking};
use super::proc::{self, Proc};
use super::record::{Record, Records};
use super::sandbox::Sandbox;
use super::{Exit, Future, Input, Job, Measured, Pipe, Runtime, Size, Streams, Task};
use crate::error::{Error, Kind, Result};
use crate::redact::Secret;
use pty_process::{OwnedReadPty, OwnedWritePty};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use std::{env, io, thread};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// The `PATH` of jobs when maxd itself has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often is looked whether the rest of a group has ended.
const POLL: Duration = Duration::from_millis(20);

/// Becomes the program behind it, or ends as shells do when that is impossible.
const BECOME: &str = r#"exec "$@""#;

/// What lies between the apps and the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Bubblewrap where it works, else nothing.
    Auto,
    /// Bubblewrap; where it does not work maxd does not start.
    Bubblewrap,
    /// Nothing.
    None,
}

/// Runs jobs as processes of this host.
pub struct Process {
    path: String,
    sandbox: Option<Sandbox>,
    records: OnceLock<Records>,
    /// None where there can be no groups, and before the records are claimed.
    cgroups: OnceLock<Option<Arc<Cgroups>>>,
    grouped: bool,
    gauge: Arc<Gauge>,
    spawner: mpsc::Sender<Order>,
}

/// A process for the spawner to start.
struct Order {
    command: Command,
    terminal: Option<Size>,
    handle: Handle,
    reply: oneshot::Sender<io::Result<(Child, Option<Terminal>)>>,
}

impl Order {
    fn start(mut self) {
        let _context = self.handle.enter();
        let started = match self.terminal {
            None => self.command.spawn().map(|child| (child, None)),
            Some(size) => Terminal::start(self.command, size),
        };
        let _ = self.reply.send(started);
    }
}

/// The near end of a pseudo-terminal (pty(7)).
struct Terminal {
    /// Until they are taken.
    reader: Option<OwnedReadPty>,
    writer: Option<OwnedWritePty>,
    /// For its size.
    control: OwnedFd,
}

impl Terminal {
    /// Starts a program that leads a session of its own in a terminal of its own.
    fn start(command: Command, size: Size) -> io::Result<(Child, Option<Terminal>)> {
        let failed = |error: pty_process::Error| match error {
            pty_process::Error::Io(error) => error,
            pty_process::Error::Rustix(error) => error.into(),
            _ => io::Error::other("the terminal is broken"),
        };
        let (near, far) = pty_process::open().map_err(failed)?;
        let control = near.as_fd().try_clone_to_owned()?;
        let (reader, writer) = near.into_split();
        let terminal = Terminal { reader: Some(reader), writer: Some(writer), control };
        terminal.resize(size);
        let child = pty_process::Command::from(command).spawn(far).map_err(failed)?;
        Ok((child, Some(terminal)))
    }

    fn resize(&self, size: Size) {
        let size = Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
        // Of one that is gone the size makes no difference.
        let _ = tcsetwinsize(&self.control, size);
    }
}

impl Process {
    /// A runtime for apps below the data directory `data`, of which each sees only its
    /// own part, and nothing of the file `secret`, if there is a sandbox. Trying it
    /// blocks for a moment; whether there is one is said on standard error.
    pub fn new(data: &Path, secret: Option<&Path>, isolation: Isolation) -> Result<Process> {
        let path = env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
        let data = canonical(data)?;
        let secret = secret.map(canonical).transpose()?;
        let sandbox = match isolation {
            Isolation::None => Err("no isolation was asked for".to_owned()),
            _ => thread::scope(|scope| scope.spawn(|| probe(&data, secret.as_deref(), &path)).join())
                .unwrap_or_else(|_| Err("the test of bubblewrap failed".to_owned())),
        };
        match &sandbox {
            Ok(_) => say!("apps run inside bubblewrap"),
            Err(why) if isolation == Isolation::Bubblewrap => {
                return Err(Error::new(Kind::Failed, why.as_str())
                    .hint("mend that, or let apps run without it: --isolation none"));
            }
            Err(why) => say!("apps run as plain processes: {why}"),
        }
        Process::with(path, sandbox.ok())
    }

    /// The same with control groups or without.
    pub fn grouped(self, grouped: bool) -> Process {
        Process { grouped, ..self }
    }

    /// The same without a sandbox.
    #[cfg(test)]
    pub fn plain() -> Result<Process> {
        Process::with(env::var("PATH").unwrap_or_else(|_| PATH.to_owned()), None)
    }

    fn with(path: String, sandbox: Option<Sandbox>) -> Result<Process> {
        let (spawner, orders) = mpsc::channel::<Order>();
        // `--die-with-parent` means the thread that started the process (prctl(2),
        // PR_SET_PDEATHSIG), so it must be one that lives as long as maxd.
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                shed();
                orders.into_iter().for_each(Order::start);
            })
            .map_err(|error| Error::io("start the thread", "spawner", &error))?;
        Ok(Process {
            path,
            sandbox,
            records: OnceLock::new(),
            cgroups: OnceLock::new(),
            grouped: true,
            gauge: Arc::default(),
            spawner,
        })
    }

    async fn spawn(&self, task: Task) -> Result<Box<dyn Job>> {
        let dir = canonical(&task.dir)?;
        let writable = task.writable.iter().map(|path| canonical(path)).collect::<Result<Vec<_>>>()?;
        let groups = self.cgroups.get().and_then(Option::as_ref);
        let group = task.app.and_then(|_| groups?.group(task.limits));
        let terminal = match task.streams {
            Streams::Terminal(size) => Some(size),
            Streams::Output | Streams::Both => None,
        };
        let mut words = group.as_ref().map(Group::enter).unwrap_or_default();
        if let Some(sandbox) = &self.sandbox {
            words.push(sandbox.program().into());
            words.extend(sandbox.args(&dir, &writable, terminal.is_some()));
        }
        words.extend(["/bin/sh", "-c", BECOME, "sh"].map(OsString::from));
        words.extend(task.argv.iter().map(OsString::from));
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .current_dir(&dir)
            .env_clear()
            .envs([("LANG", "C.UTF-8"), ("TMPDIR", "/tmp")])
            .env("PATH", search_path(&dir, &self.path))
            .env("HOME", &dir)
            .envs(task.env.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        // Some are secrets, of which the command has its own copy.
        task.env.into_iter().for_each(|(_, value)| drop(Secret::new(value)));
        if terminal.is_none() {
            command
                .stdin(if task.streams == Streams::Both { Stdio::piped() } else { Stdio::null() })
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .process_group(0);
        }
        let failed = |error: io::Error| Error::io("start", &task.argv.join(" "), &error);
        let (reply, child) = oneshot::channel();
        let order = Order { command, terminal, handle: Handle::current(), reply };
        let gone = || Error::new(Kind::Internal, "the thread that starts processes has ended");
        self.spawner.send(order).map_err(|_| gone())?;
        let (child, terminal) = child.await.map_err(|_| gone())?.map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(gone)?;
        let sandboxed = self.sandbox.is_some();
        let tracking = task
            .app
            .map(|app| self.gauge.track(pid, Tracked { app, limits: task.limits, nested: sandboxed, group }));
        let mut job = ProcessJob { child, terminal, pid, sandboxed, ended: None, _record: None, tracking };
        if let Some(records) = self.records.get() {
            job._record = Some(records.add(pid, &dir)?);
        }
        Ok(Box::new(job))
    }
}

/// Tries the sandbox, in a thread of its own.
fn probe(data: &Path, secret: Option<&Path>, path: &str) -> std::result::Result<Sandbox, String> {
    shed();
    Sandbox::probe(data, secret, path)
}

/// Gives up for this thread and all it starts what maxd may have been lent to listen on a
/// port below 1024 (capabilities(7), ambient set): no app has a right to it, and
/// bubblewrap refuses to start with it.
fn shed() {
    // Where the kernel knows no such set there is nothing to give up.
    let _ = rustix::thread::clear_ambient_capability_set();
}

/// Programs that a build has installed for the app come first, as a Procfile expects.
fn search_path(dir: &Path, system: &str) -> String {
    let tools = [".venv/bin", "node_modules/.bin"].map(|tools| dir.join(tools));
    let there = tools.iter().filter(|tools| tools.is_dir()).map(|tools| tools.to_string_lossy());
    there.chain([system.into()]).collect::<Vec<_>>().join(":")
}

/// Mounts name the real place.
fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| Error::io("open", &path.to_string_lossy(), &error))
}

impl Runtime for Process {
    fn start(&self, task: Task) -> Future<'_, Result<Box<dyn Job>>> {
        Box::pin(self.spawn(task))
    }

    fn claim(&self, run: &Path) -> Result<()> {
        let records = Records::open(run)?;
        let cgroups = self.grouped.then(Cgroups::claim).flatten();
        match &cgroups {
            Some(_) => say!("apps are held to their limits by control groups"),
            None => say!("limits of apps are only watched: no control group can be made here"),
        }
        let _ = self.cgroups.set(cgroups);
        self.records.set(records).map_err(|_| Error::new(Kind::Internal, "the records are open already"))
    }

    fn release(&self) {
        if let Some(Some(cgroups)) = self.cgroups.get() {
            cgroups.remove();
        }
    }

    fn measure(&self) -> Vec<Measured> {
        if let Some(Some(cgroups)) = self.cgroups.get() {
            cgroups.sweep();
        }
        self.gauge.measure()
    }
}

struct ProcessJob {
    child: Child,
    terminal: Option<Terminal>,
    /// Also the number of its group, and of its session if it has a terminal.
    pid: i32,
    sandboxed: bool,
    ended: Option<Exit>,
    _record: Option<Record>,
    tracking: Option<Tracking>,
}

impl ProcessJob {
    /// Waits for the process itself; what it left behind is still there.
    async fn leader(&mut self) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let code = match self.child.wait().await {
            Ok(status) => status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
            Err(_) => -1,
        };
        let exit = Exit { code };
        self.ended = Some(exit);
        exit
    }

    async fn wait_all(&mut self) -> Exit {
        let first = self.ended.is_none();
        let exit = self.leader().await;
        if first {
            self.kill_rest();
        }
        exit
    }

    /// Ends what is left. A shell gives each of its jobs a group of its own.
    fn kill_rest(&self) {
        proc::signal_group(self.pid, Signal::KILL);
        if self.terminal.is_some() && !self.sandboxed {
            self.members().iter().for_each(|one| one.signal(Signal::KILL));
        }
    }

    async fn stop_all(&mut self, grace: Duration) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let deadline = Instant::now() + grace;
        let members = self.members();
        match (self.sandboxed, &self.terminal) {
            (true, _) => self.ask_inside(&members, deadline).await,
            (false, None) => proc::signal_group(self.pid, Signal::TERM),
            (false, Some(_)) => {
                self.ask(&members);
                self.ask(Proc::find(self.pid).as_slice());
            }
        }
        let mut exit = timeout_at(deadline, self.leader()).await.ok();
        while Instant::now() < deadline && !self.sandboxed && !self.members().is_empty() {
            sleep(POLL).await;
        }
        self.kill_rest();
        if exit.is_none() {
            exit = Some(self.leader().await);
        }
        // The namespace is torn down a moment after its outer end is gone.
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && members.iter().any(Proc::lives) {
            sleep(POLL).await;
        }
        exit.unwrap_or(Exit { code: -1 })
    }

    /// Asks what runs in the sandbox to end, and waits for it. Bubblewrap itself ends
    /// with the command it was given, and takes the command's children with it before
    /// they are done; so it is halted meanwhile.
    async fn ask_inside(&self, members: &[Proc], deadline: Instant) {
        let outer = Proc::find(self.pid);
        let tell = |signal| outer.iter().for_each(|one| one.signal(signal));
        // The first is bubblewrap's own, and ignores the signal.
        if members.len() < 2 {
            return tell(Signal::KILL);
        }
        tell(Signal::STOP);
        self.ask(members);
        while Instant::now() < deadline && self.members().len() > 1 {
            sleep(POLL).await;
        }
        tell(Signal::CONT);
    }

    /// Asks processes to end. A shell at work in a terminal ends when that is gone, and what
    /// was stopped there must go on to hear of it.
    fn ask(&self, members: &[Proc]) {
        let how: &[Signal] = match self.terminal {
            Some(_) => &[Signal::HUP, Signal::TERM, Signal::CONT],
            None => &[Signal::TERM],
        };
        for one in members {
            how.iter().for_each(|signal| one.signal(*signal));
        }
    }

    /// What the job consists of, without its leader.
    fn members(&self) -> Vec<Proc> {
        if self.sandboxed {
            return proc::descendants(self.pid);
        }
        let mut all = proc::all();
        let of_job = |one: &Proc| match self.terminal {
            Some(_) => one.session == self.pid,
            None => one.group == self.pid,
        };
        all.retain(|one| of_job(one) && one.pid != self.pid);
        all
    }
}

impl Drop for ProcessJob {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill_rest();
        }
    }
}

impl Job for ProcessJob {
    fn pid(&self) -> Option<u64> {
        u64::try_from(self.pid).ok()
    }

    fn starved(&self) -> bool {
        self.tracking.as_ref().is_some_and(Tracking::starved)
    }

    fn outputs(&mut self) -> Option<(Pipe, Pipe)> {
        if let Some(terminal) = &mut self.terminal {
            return Some((Box::new(terminal.reader.take()?), Box::new(tokio::io::empty())));
        }
        let (stdout, stderr) = (self.child.stdout.take()?, self.child.stderr.take()?);
        Some((Box::new(stdout), Box::new(stderr)))
    }

    fn input(&mut self) -> Option<Input> {
        match &mut self.terminal {
            Some(terminal) => Some(Box::new(terminal.writer.take()?)),
            None => Some(Box::new(self.child.stdin.take()?)),
        }
    }

    fn resize(&self, size: Size) {
        self.terminal.iter().for_each(|terminal| terminal.resize(size));
    }

    fn signal(&self, number: i32) -> bool {
        let Some(signal) = Signal::from_named_raw(number) else { return true };
        if !self.sandboxed {
            proc::signal_group(self.pid, signal);
            return true;
        }
        // The first is bubblewrap's own, and ignores what it can.
        let members = self.members();
        members.iter().skip(1).for_each(|one| one.signal(signal));
        members.len() > 1
    }

    fn wait(&mut self) -> Future<'_, Exit> {
        Box::pin(self.wait_all())
    }

    fn stop(&mut self, grace: Duration) -> Future<'_, Exit> {
        Box::pin(self.stop_all(grace))
    }
}
