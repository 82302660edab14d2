//! Commands and shells inside apps, and the consoles of networks.
//!
//! ```text
//! exec:create ─► Session ◀── task: job, its pipes, its end
//!                   ▲ out, err, input: flows with offsets
//! exec:ID ── feed ──┘ one at a time; a session without a client waits for one for a while
//! ```
//!
//! A session belongs to its user; an owner of its network sees it, and may end it. What its
//! program writes waits here until a client has acknowledged it, and the program waits when
//! that is much; so a client whose connection breaks goes on where it was.

mod detached;
pub mod feed;
mod run;
mod shell;

use super::access::{self, Access, Level};
use super::audit::{LASTS, What};
use super::auth::Identity;
use super::line::NewLine;
use super::once::Once;
use super::platform::{Platform, app_in_row, find_app, find_network, network_in_row};
use super::runtime::Size;
use super::store::explain;
use super::supervisor::Release;
use crate::env;
use crate::error::{Error, Kind, Result};
use crate::flow::Flow;
use crate::time::rfc3339;
use crate::wire::exec::{Create, Exec, Exit, List};
use rusqlite::{Transaction, params};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, mpsc, watch};

/// Sessions of one user, and in one app, at a time.
const OF_USER: usize = 500;
const OF_APP: usize = 300;
/// The longest a session waits for a client.
const KEEP_MAX: u64 = 3600;
/// How long programs may take to end when maxd stops.
const STOP: Duration = Duration::from_secs(7);
/// Signals and sizes on their way to a program.
const ORDERS: usize = 16;
/// Of a command line, arguments and variables together.
const ARGS_MAX: usize = 128 * 1024;

/// All sessions.
#[derive(Default)]
pub struct Execs {
    all: Mutex<BTreeMap<u64, Arc<Session>>>,
}

/// A program that runs for a user.
pub struct Session {
    id: u64,
    owner: i64,
    network: i64,
    /// None of a console.
    app: Option<i64>,
    document: Exec,
    keep: Duration,
    began: Instant,
    flows: Mutex<Flows>,
    /// Bumped whenever something has changed, but for new input.
    changes: watch::Sender<u64>,
    /// Whether anybody reads standard output, and standard error.
    closed: watch::Sender<(bool, bool)>,
    /// Told of new input.
    typed: Notify,
    /// How much of its input the program has got, so far as that is worth telling.
    got: AtomicU64,
    orders: mpsc::Sender<Order>,
    /// Why it has to end, once it has to: not behind what its client orders.
    ending: watch::Sender<Option<&'static str>>,
    exit: OnceLock<Exit>,
    /// Counts the clients; only the newest is served.
    client: AtomicU64,
    attached: AtomicBool,
}

#[derive(Default)]
struct Flows {
    out: Flow,
    err: Flow,
    input: Flow,
}

/// What a session runs.
enum Program {
    /// A command or a shell in this release.
    Release(Box<Release>),
    /// The console of a network, for this user.
    Console(Identity),
}

/// Where it runs: rows, and the release's number.
struct Place {
    network: i64,
    app: Option<i64>,
    release: Option<u64>,
    program: Program,
}

/// What a client orders.
enum Order {
    Signal(i32),
    Resize(Size),
}

/// What the task of a session is told.
struct Orders {
    queue: mpsc::Receiver<Order>,
    ending: watch::Receiver<Option<&'static str>>,
}

impl Session {
    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// As it is told, with the names that its app and its network have now.
    fn named(&self, t: &Transaction<'_>) -> Result<Exec> {
        let mut exec = Exec { attached: self.attached.load(Ordering::Relaxed), ..self.document.clone() };
        if let Some(network) = network_in_row(t, self.network)? {
            exec.network = network;
        }
        if let Some(app) = self.app
            && let Some(row) = app_in_row(t, app)?
        {
            exec.app = Some(row.name);
        }
        Ok(exec)
    }

    /// Whether the program has ended, and everything it wrote is where it belongs.
    pub fn is_over(&self) -> bool {
        self.exit.get().is_some()
    }

    /// Told whenever something has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether somebody with this role in its network sees it.
    fn is_seen(&self, who: &Identity, role: Option<Level>) -> bool {
        role.is_some_and(|role| self.owner == who.user || role == Level::Admin)
    }

    /// Ends it, and says why.
    fn end(&self, reason: &'static str) {
        self.ending.send_replace(Some(reason));
    }
}

impl Execs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: u64) -> Result<Arc<Session>> {
        self.all().get(&id).cloned().ok_or_else(|| missing(id))
    }

    /// Ends what a user runs in a network in which he may not any more.
    pub fn expel(&self, user: i64, network: i64) {
        let all = self.all();
        let his = all.values().filter(|session| session.owner == user && session.network == network);
        his.for_each(|session| session.end("revoked"));
    }

    /// Ends what runs in an app that is gone, and waits until none writes to its log.
    pub async fn forget(&self, app: i64) {
        let its: Vec<_> = self.all().values().filter(|session| session.app == Some(app)).cloned().collect();
        its.iter().for_each(|session| session.end("app_deleted"));
        over(its.iter().filter(|session| session.document.detached)).await;
    }

    /// How many run in a network, or in one of its apps.
    pub fn count(&self, network: i64, app: Option<i64>) -> u64 {
        let all = self.all();
        let its = all
            .values()
            .filter(|session| session.network == network && (app.is_none() || session.app == app));
        its.filter(|session| !session.is_over()).count() as u64
    }

    /// The releases of an app in which something runs.
    pub fn releases(&self, app: i64) -> Vec<u64> {
        let all = self.all();
        all.values()
            .filter(|session| session.app == Some(app))
            .filter_map(|session| session.document.release)
            .collect()
    }

    /// Ends the consoles of a network that is gone.
    pub fn forget_network(&self, network: i64) {
        let all = self.all();
        let consoles = all.values().filter(|session| session.app.is_none() && session.network == network);
        consoles.for_each(|session| session.end("network_deleted"));
    }

    /// Ends all, and waits until they have ended.
    pub async fn stop(&self) {
        let all: Vec<_> = self.all().values().cloned().collect();
        all.iter().for_each(|session| session.end("stopping"));
        over(all.iter()).await;
    }

    fn full(&self, owner: i64, app: Option<i64>) -> Option<String> {
        let all = self.all();
        let of_user = all.values().filter(|session| session.owner == owner).count();
        let of_app = all.values().filter(|session| app.is_some() && session.app == app).count();
        match (of_user >= OF_USER, of_app >= OF_APP) {
            (true, _) => Some(format!("you have {OF_USER} sessions open")),
            (_, true) => Some(format!("{OF_APP} sessions are open in this app")),
            _ => None,
        }
    }
}

/// Waits until these have ended; not for ever.
async fn over(sessions: impl Iterator<Item = &Arc<Session>>) {
    let ended = async {
        for session in sessions {
            let mut changes = session.changes();
            while !session.is_over() && changes.changed().await.is_ok() {}
        }
    };
    let _ = tokio::time::timeout(STOP, ended).await;
}

impl Platform {
    /// `exec:create`.
    pub async fn create_exec(self: &Arc<Self>, who: &Access, once: Once, request: Create) -> Result<Exec> {
        check(&request)?;
        let (owner, user) = (who.user, who.name.clone());
        let place = self.place(who, &request).await?;
        let detached = request.detach == Some(true);
        if let Some(full) = self.execs.full(owner, place.app) {
            return Err(Error::new(Kind::TooLarge, full).hint("end some: `rig list sessions`"));
        }
        let (network, app) = (request.network.clone(), request.app.clone());
        let what = match &request {
            Create { app: None, .. } => What::Console,
            Create { argv, .. } if argv.is_empty() => What::Shell,
            _ => What::Command,
        };
        let (token, within) = (who.token, place.network);
        let (row, release, tty, keep) = (place.app, place.release, request.tty.is_some(), request.keep);
        let (document, created) = self
            .store
            .with(move |t| {
                once.run(t, || {
                    let started_at = rfc3339(SystemTime::now());
                    t.execute(
                        "INSERT INTO audit(what, user, token, network, network_id, app, app_id, tty, detached,
                                           started_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                        params![
                            what.word(),
                            owner,
                            token,
                            network,
                            within,
                            app,
                            row.filter(|_| detached),
                            tty,
                            detached,
                            started_at
                        ],
                    )
                    .map_err(explain)?;
                    let id = u64::try_from(t.last_insert_rowid()).unwrap_or(0);
                    let attached = false;
                    let exec =
                        Exec { id, network, app, user, release, tty, attached, detached, started_at, keep };
                    Ok((exec, ()))
                })
            })
            .await?;
        if created.is_some() {
            let (orders, queue) = mpsc::channel(ORDERS);
            let (ending, told) = watch::channel(None);
            let taken = Orders { queue, ending: told };
            let session = Arc::new(Session {
                id: document.id,
                owner,
                network: place.network,
                app: place.app,
                document: document.clone(),
                keep: Duration::from_secs(request.keep),
                began: Instant::now(),
                flows: Mutex::default(),
                changes: watch::Sender::default(),
                closed: watch::Sender::default(),
                typed: Notify::new(),
                got: AtomicU64::new(0),
                orders,
                ending,
                exit: OnceLock::new(),
                client: AtomicU64::new(0),
                attached: AtomicBool::new(false),
            });
            self.execs.all().insert(session.id, Arc::clone(&session));
            match place.program {
                Program::Release(release) if detached => {
                    tokio::spawn(detached::run(Arc::clone(self), session, request, *release, taken));
                }
                program => {
                    tokio::spawn(run::run(Arc::clone(self), Arc::clone(&session), request, program, taken));
                    // Whoever asked may be gone already.
                    feed::abandon(self, &session, 0);
                }
            }
        }
        Ok(document)
    }

    /// Where a program is to run, and what it is.
    async fn place(&self, who: &Access, request: &Create) -> Result<Place> {
        let (asks, network) = (who.clone(), request.network.clone());
        let Some(name) = &request.app else {
            let network = self.store.with(move |t| find_network(t, &asks, &network)).await?;
            let program = Program::Console(Identity::clone(who));
            return Ok(Place { network, app: None, release: None, program });
        };
        let app = name.clone();
        let row = self.store.with(move |t| find_app(t, &asks, &network, &app)).await?;
        let release = self.supervisor.release(row.id).ok_or_else(|| {
            let message = format!("app '{name}' has no release to run anything in");
            Error::new(Kind::Conflict, message).hint("deploy it first: `rig deploy`")
        })?;
        if let Some(number) = request.instance
            && !self.supervisor.status(row.id).instances.iter().any(|instance| instance.number == number)
        {
            let message = format!("app '{name}' has no instance {number}");
            let hint = format!("see `rig status app {name}.{}`", request.network);
            return Err(Error::new(Kind::NotFound, message).hint(hint).field("instance"));
        }
        let (network, app, number) = (row.network_id, Some(row.id), Some(release.number));
        Ok(Place { network, app, release: number, program: Program::Release(Box::new(release)) })
    }

    /// `exec:list`: the user's, and in the networks he owns everybody's.
    pub async fn list_execs(&self, who: &Access) -> Result<List> {
        let asks = who.clone();
        let all: Vec<_> = self.execs.all().values().cloned().collect();
        let seen = self.store.with(move |t| {
            let roles = access::roles(t, &asks)?;
            let seen = all.iter().filter(|session| {
                let role =
                    roles.iter().find(|(network, _)| *network == session.network).map(|(_, role)| *role);
                !session.is_over() && session.is_seen(&asks, role)
            });
            seen.map(|session| session.named(t)).collect()
        });
        Ok(List { sessions: seen.await? })
    }

    /// `exec:delete`.
    pub async fn delete_exec(&self, who: &Access, id: u64) -> Result<Exec> {
        let (session, asks) = (self.execs.find(id)?, who.clone());
        let (its, owner) = (Arc::clone(&session), session.owner == who.user);
        let named = self
            .store
            .with(move |t| {
                if !its.is_seen(&asks, access::role(t, &asks, its.network)?) {
                    return Err(missing(id));
                }
                let asks = if owner { asks } else { asks.at_least(Level::Admin) };
                access::admit(t, &asks, its.network, || missing(id))?;
                its.named(t)
            })
            .await?;
        session.end("deleted");
        Ok(named)
    }

    /// Notes how a session ended, and forgets it.
    async fn end_exec(&self, id: u64, exit: &Exit) {
        let (code, reason) = (exit.code, exit.reason.clone());
        let noted = self.store.with(move |t| {
            t.execute(
                "UPDATE audit SET ended_at = ?2, code = ?3, reason = ?4 WHERE id = ?1",
                params![id, rfc3339(SystemTime::now()), code, reason],
            )
            .map_err(explain)
        });
        if let Err(error) = noted.await {
            say!("cannot note the end of session {id}: {error}");
        }
    }
}

/// Notes the end of what ran when maxd was killed, and gives what is to be said of it in the
/// log. Called before anything runs.
pub fn note_killed(t: &Transaction<'_>) -> Result<Vec<NewLine>> {
    let lines = detached::killed(t)?;
    let now = rfc3339(SystemTime::now());
    let query =
        format!("UPDATE audit SET ended_at = ?1, reason = 'killed' WHERE ended_at IS NULL AND {LASTS}");
    t.execute(&query, [now]).map(|_| lines).map_err(explain)
}

fn missing(id: u64) -> Error {
    Error::new(Kind::NotFound, format!("session {id} does not exist, or has ended"))
        .hint("see `rig list sessions`")
        .field("id")
}

fn check(request: &Create) -> Result<()> {
    let size: usize = request.argv.iter().map(String::len).sum::<usize>()
        + request.env.iter().map(|pair| pair.name.len() + pair.value.len()).sum::<usize>();
    if size > ARGS_MAX {
        return Err(Error::usage(format!("a command line has at most {ARGS_MAX} bytes")).field("argv"));
    }
    if request.app.is_none()
        && (request.tty.is_none() || !request.argv.is_empty() || request.detach == Some(true))
    {
        let message = "a network's console needs a terminal, and runs no program";
        return Err(Error::usage(message).hint("to run one, name an app").field("app"));
    }
    if request.argv.first().map_or(request.tty.is_none(), String::is_empty) {
        return Err(Error::usage("there is nothing to run").field("argv"));
    }
    if request.keep > KEEP_MAX {
        let message = format!("a session is kept for at most {KEEP_MAX} s, not {} s", request.keep);
        return Err(Error::usage(message).field("keep"));
    }
    if request.detach == Some(true) && request.tty.is_some() {
        return Err(Error::usage("a detached command has no terminal").field("tty"));
    }
    if request.argv.iter().any(|arg| arg.contains('\0')) {
        return Err(Error::usage("an argument can't hold a zero byte").field("argv"));
    }
    for pair in &request.env {
        if pair.name.is_empty() || pair.name.contains(['=', '\0']) || pair.value.contains('\0') {
            return Err(Error::usage(format!("'{}' is no variable's name", pair.name)).field("env"));
        }
        if env::loads_code(&pair.name) {
            let message = format!("'{}' would change the programs that start the command", pair.name);
            return Err(Error::usage(message)
                .hint("set it in the command: `env NAME=VALUE PROG`")
                .field("env"));
        }
    }
    Ok(())
}
