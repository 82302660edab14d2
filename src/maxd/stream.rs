//! Subscriptions: log topics and `deploy:ID`, with cursor and credit as in
//! docs/protocol.md.

mod lines;

use super::access::{self, Access};
use super::auth::Identity;
use super::control::read;
use super::dashboard;
use super::deploys::last_words;
use super::echo;
use super::exec::{Session, feed};
use super::logs::{Filter, Select};
use super::outlet::Outlet;
use super::platform::{Platform, find_app, find_network};
use super::socket::Push;
use super::store::explain;
use crate::error::{Error, Kind, Result};
use crate::wire::CONTROL;
use crate::wire::deploy::{Deploy, Follow, State};
use crate::wire::log::{End, Query};
use lines::Cursor;
use miniserde::json;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// What became of a join.
pub enum Joined {
    /// It is open: the reply, and what follows.
    Open(String, Feed),
    /// It is refused, and why, as JSON.
    Refused(String),
    /// There is no such kind of topic.
    Unmatched,
}

/// What a joined topic sends.
pub enum Feed {
    /// Nothing by itself.
    Nothing,
    /// A log.
    Log(Log),
    /// A deploy.
    Deploy {
        /// Who follows.
        who: Access,
        /// Its number.
        id: u64,
        /// Its network's row.
        network: i64,
        /// Its build's lines.
        lines: Cursor,
    },
    /// What a program reads and writes.
    Exec(Box<feed::Client>),
    /// All apps of a user.
    Dashboard(Box<dashboard::Board>),
    /// What a conformance test asks for, on this topic.
    Echo(String, tokio::sync::broadcast::Receiver<echo::Shout>),
}

/// A log that somebody reads.
pub struct Log {
    /// Who reads it.
    who: Access,
    lines: Cursor,
    /// The network's row.
    network: i64,
    /// The app's row, when it is an app's log.
    app: Option<i64>,
    /// Whether it goes on with new lines.
    follow: bool,
    /// The detached command at whose end it ends.
    command: Option<Arc<Session>>,
}

/// Joins `topic`.
pub async fn join(platform: &Arc<Platform>, who: &Identity, topic: &str, params: &str) -> Result<Joined> {
    let parts: Vec<&str> = topic.split(':').collect();
    // What is in no table is no topic.
    let kind = format!("topic {}", parts.first().unwrap_or(&""));
    let Ok(who) = who.asks(&kind) else { return Ok(Joined::Unmatched) };
    let joined = open(platform, &who, topic, &parts, params).await;
    platform.witness(&who, joined).await
}

async fn open(
    platform: &Arc<Platform>,
    who: &Access,
    topic: &str,
    parts: &[&str],
    params: &str,
) -> Result<Joined> {
    let (reply, feed) = match parts {
        [CONTROL] => (json::to_string(&platform.welcome(who)), Feed::Nothing),
        ["deploy", id] => {
            let request: Follow = read("deploy", params)?;
            let id = id
                .parse()
                .map_err(|_| Error::new(Kind::NotFound, format!("deploy '{id}' does not exist")))?;
            let (deploy, app, network) = platform.deploy_status(who, id).await?;
            let after = Some(request.after.unwrap_or(0));
            let lines = Cursor::new(Select::Builds(app), Filter::default(), after, request.credit);
            let feed = Feed::Deploy { who: who.clone(), id, network, lines };
            (json::to_string(&deploy), feed)
        }
        ["logs", kind @ ("app" | "build"), network, app] => {
            let row = {
                let (who, network, app) = (who.clone(), (*network).to_owned(), (*app).to_owned());
                platform.store.with(move |t| find_app(t, &who, &network, &app)).await?
            };
            let select = if *kind == "app" { Select::App(row.id) } else { Select::Builds(row.id) };
            log(platform, who, select, (row.network_id, Some(row.id)), params, None)?
        }
        ["logs", "command", id] => {
            let unknown = || Error::new(Kind::NotFound, format!("session '{id}' does not exist"));
            let id = id.parse().map_err(|_| unknown())?;
            let found = platform.command_log(who, id).await?;
            let (select, place) = (Select::Commands(found.app), (found.network, Some(found.app)));
            log(platform, who, select, place, params, Some((id, found.running)))?
        }
        ["logs", "network", network] => {
            let (asks, name) = (who.clone(), (*network).to_owned());
            let network = platform.store.with(move |t| find_network(t, &asks, &name)).await?;
            log(platform, who, Select::Network(network), (network, None), params, None)?
        }
        ["exec", id] => {
            let id = id
                .parse()
                .map_err(|_| Error::new(Kind::NotFound, format!("session '{id}' does not exist")))?;
            let (reply, client) = feed::join(platform, who, id, read("exec", params)?).await?;
            (reply, Feed::Exec(client))
        }
        ["dashboard"] => return dashboard::join(platform, who, params).await,
        ["echo", ..] if platform.sockets.trial.topics => return Ok(echo::join(topic, params)),
        _ => return Ok(Joined::Unmatched),
    };
    Ok(Joined::Open(reply, feed))
}

/// A log of this network and app; or that of one detached command, with the command while
/// it runs.
fn log(
    platform: &Platform,
    who: &Access,
    select: Select,
    (network, app): (i64, Option<i64>),
    params: &str,
    command: Option<(u64, Option<Arc<Session>>)>,
) -> Result<(String, Feed)> {
    let request: Query = read("logs", params)?;
    let mut filter = Filter::new(&request, SystemTime::now())?;
    if request.follow && request.until.is_some() {
        let message = "until ends what is shown, so that there is nothing to follow";
        return Err(Error::usage(message).hint("leave out --follow or --until").field("until"));
    }
    let (mut follow, mut running) = (request.follow, None);
    if let Some((session, now)) = command {
        filter = filter.of_command(session);
        // One that has ended writes no more.
        follow &= now.is_some();
        running = now;
    }
    // Without either it begins with the oldest line.
    let from_time = request.since.is_some() && request.tail.is_none();
    let tail = if from_time { None } else { request.tail };
    let lines = Cursor::new(select, filter, request.after, request.credit)
        .with_tail(tail)
        .with_runs(request.runs == Some(true));
    let newest = *platform.logs.newest().borrow();
    let lines = if follow { lines } else { lines.with_end(newest) };
    let log = Log { who: who.clone(), lines, network, app, follow, command: running };
    Ok((format!("{{\"newest\":{newest}}}"), Feed::Log(log)))
}

/// Sends until the end of the stream. An error is a crash: the client joins again.
pub async fn run(
    platform: Arc<Platform>,
    feed: Feed,
    outlet: Outlet,
    mut inputs: mpsc::Receiver<Push>,
) -> Result<()> {
    match feed {
        Feed::Nothing => {
            while inputs.recv().await.is_some() {}
            Ok(())
        }
        Feed::Echo(topic, shouts) => echo::run(topic, shouts, outlet, inputs).await,
        Feed::Exec(client) => feed::run(client, &outlet, &mut inputs).await,
        Feed::Dashboard(board) => dashboard::run(&platform, *board, &outlet, &mut inputs).await,
        Feed::Log(log) => {
            let (who, network) = (log.who.clone(), log.network);
            tokio::select! {
                done = follow_log(&platform, log, &outlet, &mut inputs) => done,
                () = removed(&platform, &who, network) => {
                    // Who is gone needs no end.
                    let _ = outlet.push("end", &json::to_string(&End { reason: "revoked".to_owned() })).await;
                    Ok(())
                }
            }
        }
        Feed::Deploy { who, id, network, lines } => {
            tokio::select! {
                done = follow_deploy(&platform, &who, id, network, lines, &outlet, &mut inputs) => done,
                () = removed(&platform, &who, network) => Ok(()),
            }
        }
    }
}

async fn follow_log(
    platform: &Arc<Platform>,
    log: Log,
    outlet: &Outlet,
    inputs: &mut mpsc::Receiver<Push>,
) -> Result<()> {
    let Log { mut lines, network, app, follow, command, .. } = log;
    let mut newest = platform.logs.newest();
    let mut changes = platform.deploys.changes();
    let mut ended = command.as_ref().map(|command| command.changes());
    if lines.begin(platform, outlet).await?.is_none() {
        return Ok(());
    }
    let mut there = exists(platform, network, app).await?;
    let mut first = true;
    loop {
        newest.mark_unchanged();
        // Looked at first: its last line was written before.
        let over = command.as_ref().is_some_and(|command| command.is_over());
        // Most of what wakes is other apps' lines.
        if (first || lines.has_news(platform))
            && lines.send(platform, network, outlet, inputs).await?.is_none()
        {
            return Ok(());
        }
        first = false;
        let reason = match (there, follow && !over) {
            (false, _) => Some("deleted"),
            (true, false) => Some("done"),
            _ => None,
        };
        if let Some(reason) = reason {
            let end = End { reason: reason.to_owned() };
            // Who is gone needs no end.
            let _ = outlet.push("end", &json::to_string(&end)).await;
            return Ok(());
        }
        tokio::select! {
            _ = newest.changed() => {}
            _ = changes.changed() => there = exists(platform, network, app).await?,
            () = change(&mut ended) => {}
            input = inputs.recv() => match input {
                Some(input) => lines.grant(&input),
                None => return Ok(()),
            }
        }
    }
}

async fn follow_deploy(
    platform: &Arc<Platform>,
    who: &Access,
    id: u64,
    network: i64,
    mut lines: Cursor,
    outlet: &Outlet,
    inputs: &mut mpsc::Receiver<Push>,
) -> Result<()> {
    let mut newest = platform.logs.newest();
    let mut changes = platform.deploys.changes();
    let mut told = None;
    loop {
        newest.mark_unchanged();
        changes.mark_unchanged();
        // The state first: a final one was written after the last line.
        let deploy: Deploy = match platform.deploy_status(who, id).await {
            Ok((deploy, ..)) => deploy,
            // Its app was deleted.
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Known once the source has arrived.
        if let Some(release) = deploy.release {
            lines.narrow(Filter::of_release(release, last_words(id)));
            let Some(_) = lines.send(platform, network, outlet, inputs).await? else { return Ok(()) };
        }
        if told != Some(deploy.state) {
            told = Some(deploy.state);
            if outlet.push("state", &json::to_string(&deploy)).await.is_err() {
                return Ok(());
            }
        }
        if matches!(deploy.state, State::Live | State::Failed) {
            return Ok(());
        }
        tokio::select! {
            _ = newest.changed() => {}
            _ = changes.changed() => {}
            input = inputs.recv() => match input {
                Some(input) => lines.grant(&input),
                None => return Ok(()),
            }
        }
    }
}

/// Waits until somebody is no member of a network any more that is still there.
async fn removed(platform: &Arc<Platform>, who: &Access, network: i64) {
    let mut changes = platform.deploys.changes();
    while changes.changed().await.is_ok() {
        let who = who.clone();
        let role = platform.store.with(move |t| access::role(t, &who, network));
        if matches!(role.await, Ok(None)) && matches!(exists(platform, network, None).await, Ok(true)) {
            return;
        }
    }
    std::future::pending().await
}

/// The next change of a command, if it is one's.
async fn change(command: &mut Option<watch::Receiver<u64>>) {
    match command {
        Some(changes) => drop(changes.changed().await),
        None => std::future::pending().await,
    }
}

async fn exists(platform: &Arc<Platform>, network: i64, app: Option<i64>) -> Result<bool> {
    let found = platform.store.with(move |t| {
        let query = match app {
            Some(_) => "SELECT EXISTS (SELECT 1 FROM apps WHERE network = ?1 AND id = ?2)",
            None => "SELECT EXISTS (SELECT 1 FROM networks WHERE id = ?1 AND ?2 IS NULL)",
        };
        t.query_row(query, rusqlite::params![network, app], |row| row.get(0)).map_err(explain)
    });
    found.await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its logs")))
}
