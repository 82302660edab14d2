//! The task of a session: starts the program, carries its bytes, and sees it end.

use super::{Order, Orders, Program, Session, shell};
use crate::error::{Error, Kind, Result};
use crate::maxd::console::Console;
use crate::maxd::instance;
use crate::maxd::platform::Platform;
use crate::maxd::runtime::{self, Input, Job, Pipe, Streams, Task};
use crate::maxd::supervisor::Release;
use crate::wire::exec::{Create, Exit, PIECE};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Between SIGTERM and SIGKILL, when it has to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long the end of the output is waited for once the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Between two tries to signal a program that is just being started.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a client waits to hear that little of what it has sent has arrived.
const UNTOLD: Duration = Duration::from_millis(20);
/// Ctrl-D.
const END_OF_FILE: u8 = 4;
/// What shells answer for what can't be run.
pub const CANNOT_RUN: u64 = 126;

/// Runs the program from beginning to end.
pub async fn run(
    platform: Arc<Platform>,
    session: Arc<Session>,
    request: Create,
    program: Program,
    orders: Orders,
) {
    let started: Result<Box<dyn Job>> = match program {
        Program::Release(release) => start(&platform, &request, &release).await,
        Program::Console(who) => {
            let size = request.tty.as_ref().map_or((0, 0), |tty| (tty.columns, tty.rows));
            let network = (session.network, request.network.clone());
            let size = shell::size(size.0, size.1);
            Ok(Box::new(Console::open(Arc::clone(&platform), who, network, size)))
        }
    };
    let (code, reason) = match started {
        Ok(job) => carry(&session, job, request.timeout_ms, orders).await,
        Err(error) => {
            session.flows().err.push(format!("{}\n", error.message()).as_bytes());
            (CANNOT_RUN, None)
        }
    };
    note_end(&platform, &session, code, reason).await;
}

/// Notes that the program has ended, and tells who waits for it.
pub async fn note_end(platform: &Platform, session: &Session, code: u64, reason: Option<&str>) {
    let exit = {
        let mut flows = session.flows();
        flows.out.finish();
        flows.err.finish();
        let duration_ms = u64::try_from(session.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (out, err, reason) = (flows.out.end(), flows.err.end(), reason.map(str::to_owned));
        Exit { code, reason, out, err, duration_ms }
    };
    platform.end_exec(session.id, &exit).await;
    let _ = session.exit.set(exit);
    session.changed();
}

/// Starts the program.
pub async fn start(platform: &Platform, request: &Create, release: &Release) -> Result<Box<dyn Job>> {
    let mut env = instance::environment(release)?;
    // One that is down has none.
    let ports = platform.supervisor.instances(release.app);
    if let Some((_, port)) = ports.iter().find(|(number, _)| request.instance == Some(*number)) {
        env.extend(instance::place(*port));
    }
    let streams = match &request.tty {
        None => Streams::Both,
        Some(tty) => {
            env.extend(shell::environment(request, tty));
            Streams::Terminal(shell::size(tty.columns, tty.rows))
        }
    };
    env.extend(request.env.iter().map(|pair| (pair.name.clone(), pair.value.clone())));
    let dir = release.dir.clone();
    let argv = if request.argv.is_empty() { shell::login() } else { request.argv.clone() };
    let argv = match &request.workdir {
        None => argv,
        Some(workdir) => {
            // It is the shell inside the sandbox that goes there.
            let place = below(&dir, workdir)?;
            let enter = r#"cd -- "$1" || exit 126; shift; exec "$@""#;
            let words = ["/bin/sh", "-c", enter, "sh"].map(str::to_owned);
            let place = place.to_string_lossy().into_owned();
            words.into_iter().chain([place]).chain(argv).collect()
        }
    };
    let (app, limits) = (Some(release.app), release.plan.limits);
    let task = Task { argv, streams, dir, writable: Vec::new(), env, app, limits };
    platform.runtime.start(task).await
}

/// A place in the release, or an absolute one.
fn below(dir: &Path, workdir: &str) -> Result<PathBuf> {
    let path = Path::new(workdir);
    if path.components().any(|part| part == Component::ParentDir) || workdir.contains('\0') {
        return Err(Error::new(Kind::Usage, format!("'{workdir}' is no working directory")));
    }
    Ok(dir.join(path))
}

/// Carries bytes and orders until it has ended: its exit code, and why it was ended.
async fn carry(
    session: &Arc<Session>,
    mut job: Box<dyn Job>,
    limit: Option<u64>,
    mut orders: Orders,
) -> (u64, Option<&'static str>) {
    let mut tasks = JoinSet::new();
    if let Some((out, err)) = job.outputs() {
        tasks.spawn(read(Arc::clone(session), out, true));
        tasks.spawn(read(Arc::clone(session), err, false));
    }
    let terminal = session.document.tty;
    let writer = job.input().map(|input| tokio::spawn(write(Arc::clone(session), input, terminal)));
    let (exit, reason) = until_end(&mut *job, limit, &mut orders).await;
    if let Some(writer) = writer {
        writer.abort();
    }
    give_out(session, tasks, &mut orders.ending, reason.is_some()).await;
    (u64::try_from(exit.code).unwrap_or(255), reason)
}

/// Does what it is told until the program has ended: how, and why it was ended.
pub async fn until_end(
    job: &mut dyn Job,
    limit: Option<u64>,
    Orders { queue, ending }: &mut Orders,
) -> (runtime::Exit, Option<&'static str>) {
    let deadline = limit.map(|limit| Instant::now() + Duration::from_millis(limit));
    let mut waiting = Vec::new();
    loop {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = job.wait() => break (exit, None),
            reason = told(ending) => break (job.stop(GRACE).await, Some(reason)),
            Some(order) = queue.recv() => match order {
                Order::Signal(number) => waiting.push(number),
                Order::Resize(size) => job.resize(size),
            },
            () = late => break (job.stop(GRACE).await, Some("timeout")),
            () = sleep(AGAIN), if !waiting.is_empty() => {}
        }
        waiting.retain(|number| !job.signal(*number));
    }
}

/// Waits until it has to end: why.
async fn told(ending: &mut watch::Receiver<Option<&'static str>>) -> &'static str {
    let reason = ending.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
    // Whoever ends it is gone only when its session is.
    reason.unwrap_or("deleted")
}

/// Reads what it wrote to its end, as fast as the client takes it; only who holds the pipes
/// without writing is not waited for.
async fn give_out(
    session: &Session,
    mut tasks: JoinSet<()>,
    ending: &mut watch::Receiver<Option<&'static str>>,
    stopped: bool,
) {
    let mut before = None;
    while !tasks.is_empty() {
        let done = {
            let flows = session.flows();
            (flows.out.end(), flows.err.end(), flows.out.room().min(flows.err.room()))
        };
        tokio::select! {
            _ = tasks.join_next() => {}
            // Nobody will take the rest.
            _ = ending.changed() => break,
            () = sleep(LAST_WORDS) => {
                let given_up = stopped && !session.attached.load(Ordering::Relaxed);
                if before == Some(done) && (done.2 > 0 || given_up) {
                    break;
                }
                before = Some(done);
            }
        }
    }
}

/// From a pipe into its flow, as there is room.
async fn read(session: Arc<Session>, mut pipe: Pipe, out: bool) {
    let mut changes = session.changes.subscribe();
    let mut closed = session.closed.subscribe();
    let mut buffer = vec![0; PIECE];
    loop {
        let room = {
            changes.mark_unchanged();
            let flows = session.flows();
            if out { flows.out.room() } else { flows.err.room() }
        };
        // Then the pipe is closed, of which the program hears when it writes.
        let unread = closed.wait_for(|(gone_out, gone_err)| if out { *gone_out } else { *gone_err });
        if room == 0 {
            tokio::select! {
                _ = unread => return,
                _ = changes.changed() => continue,
            }
        }
        let most = room.min(PIECE);
        let read = tokio::select! {
            _ = unread => return,
            read = pipe.read(buffer.get_mut(..most).unwrap_or(&mut [])) => read,
        };
        match read {
            Ok(count @ 1..) => {
                let bytes = buffer.get(..count).unwrap_or(&[]);
                let mut flows = session.flows();
                if out { flows.out.push(bytes) } else { flows.err.push(bytes) }
            }
            _ => return,
        }
        session.changed();
    }
}

/// From the client into the program. One that reads no more makes no difference to the
/// client.
async fn write(session: Arc<Session>, input: Input, terminal: bool) {
    let (mut input, mut untold) = (Some(input), 0);
    loop {
        let (piece, at, ended) = {
            let flows = session.flows();
            let at = flows.input.acknowledged();
            (flows.input.piece(at), at, flows.input.ended())
        };
        match piece {
            Some(piece) => {
                if let Some(pipe) = &mut input
                    && pipe.write_all(&piece).await.is_err()
                {
                    input = None;
                }
                let _ = session.flows().input.acknowledge(at + piece.len() as u64);
                untold += piece.len();
                if untold >= PIECE {
                    untold = tell(&session);
                }
            }
            None if ended => {
                // A terminal has no end; this key says that there is no more (termios(3)).
                if let Some(pipe) = input.as_mut().filter(|_| terminal) {
                    let _ = pipe.write_all(&[END_OF_FILE]).await;
                }
                return;
            }
            None => tokio::select! {
                () = session.typed.notified() => {}
                // Not for each key: its echo comes first.
                () = sleep(UNTOLD), if untold > 0 => untold = tell(&session),
            },
        }
    }
}

/// Lets the client hear how much has arrived; nothing is untold then.
fn tell(session: &Session) -> usize {
    session.got.store(session.flows().input.acknowledged(), Ordering::Relaxed);
    session.changed();
    0
}
