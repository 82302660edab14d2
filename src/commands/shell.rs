//! `rig shell`: a login shell in an app, or a network's console, on the terminal rig is in.

use super::carry::{End, How, OURS, carry, has_terminal, tty};
use super::command::{INSTANCE, instance};
use crate::api::exec::Remote;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::name::Name;
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::time::parse_duration;
use crate::wire::exec::{Create, Exit};
use std::path::Path;
use std::time::Duration;

const KEEP: Flag = Flag {
    long: word("keep"),
    short: None,
    value: word("TIME"),
    help: packed!("how long it waits for a lost connection (60s)"),
};
const ATTACH: Flag = Flag {
    long: word("attach"),
    short: None,
    value: word("ID"),
    help: packed!("come back to a session of `rig list sessions`"),
};
const NO_ESCAPE: Flag = Flag {
    long: word("no-escape"),
    short: None,
    value: word(""),
    help: packed!("send everything, also what begins with ~"),
};

/// `rig shell`.
pub const SHELL: Command = Command {
    words: word("shell"),
    aliases: &[],
    summary: packed!("Open a shell in an app, or a network's console"),
    about: packed!(
        "It has the app's files, variables and isolation, beside the app itself, and its exit code \
            is rig's; 255 says that rig failed. When the connection breaks the session waits for it, \
            and rig comes back by itself with nothing lost. At the start of a line ~. ends the session, \
            ~d leaves it, ~^Z suspends rig, ~? shows these, ~~ is a tilde. Without a terminal use \
            `rig command`. With --network alone, what opens is the network's console, in Max itself: \
            it lists apps, events and logs, restarts and scales; `help` there says the rest."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: &[&session::NETWORK, &INSTANCE, &KEEP, &ATTACH, &NO_ESCAPE],
    examples: packed![
        ("A shell beside the app of this directory", "rig shell"),
        ("One that waits through a longer tunnel", "rig shell web.blue --keep 15m"),
        ("The console of a network", "rig shell --network blue"),
        ("Back to one that was left", "rig shell --attach 12"),
    ],
    run: shell,
};

/// How long a session waits for a rig whose connection broke.
pub const KEEP_DEFAULT: Duration = Duration::from_secs(60);

fn shell(session: &Session, matches: &Matches) -> Result<()> {
    run(session, matches).map_err(|error| error.exits(OURS))
}

fn run(session: &Session, matches: &Matches) -> Result<()> {
    if !has_terminal(session) {
        return Err(Error::usage(packed!("a shell needs a terminal, on standard input and output"))
            .hint(packed!("run a single command: `rig command APP 'ls | wc -l'`")));
    }
    let remote = match matches.value(&ATTACH) {
        Some(id) => attach(session, matches, id)?,
        None => {
            let (network, app) = place(session, matches)?;
            let create = Create {
                network,
                app,
                argv: Vec::new(),
                env: Vec::new(),
                workdir: None,
                tty: Some(tty()),
                timeout_ms: None,
                detach: None,
                instance: instance(matches)?,
                keep: keep(matches)?.as_secs(),
            };
            Remote::create(session.max()?, &create)?
        }
    };
    let id = remote.running.id;
    match carry(session, remote, How::Terminal(!matches.has(&NO_ESCAPE)))? {
        End::Exit(exit) => ended(session, id, &exit),
        End::Left => {}
    }
    Ok(())
}

/// The network and the app; no app for the network's console.
fn place(session: &Session, matches: &Matches) -> Result<(String, Option<String>)> {
    if let (None, Some(network)) = (matches.arg(0), matches.value(&session::NETWORK)) {
        return Ok((Name::parse("network", network)?.to_string(), None));
    }
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    Ok((name.network.to_string(), Some(name.app.to_string())))
}

fn attach(session: &Session, matches: &Matches, id: &str) -> Result<Remote> {
    if matches.arg(0).is_some() || matches.has(&KEEP) || matches.has(&INSTANCE) {
        return Err(Error::usage(packed!(
            "--attach goes to a session that is there, and takes nothing else"
        )));
    }
    let number = super::id(id, "session", "list sessions")?;
    let remote = Remote::attach(session.max()?, number)?;
    if !remote.running.tty {
        return Err(Error::new(Kind::Conflict, format!("session {id} has no terminal: it is a command"))
            .hint(format!("end it with `rig delete session {id}`")));
    }
    Ok(remote)
}

/// `--keep`.
fn keep(matches: &Matches) -> Result<Duration> {
    match matches.value(&KEEP) {
        None => Ok(KEEP_DEFAULT),
        Some(text) => parse_duration(text).filter(|keep| keep.as_secs() > 0).ok_or_else(|| {
            Error::usage(format!("--keep takes a time of at least a second, not '{text}'"))
                .hint(packed!("for instance `--keep 90s` or `--keep 15m`"))
        }),
    }
}

/// Gives its exit code, and says why it ended if that was not its own doing.
pub fn ended(session: &Session, id: u64, exit: &Exit) {
    session.exit_code.set(u8::try_from(exit.code).unwrap_or(OURS));
    if let Some(why) = why(id, exit) {
        session.output.warn(&why);
    }
}

/// Why it ended, if that was not its own doing.
pub fn why(id: u64, exit: &Exit) -> Option<String> {
    Some(match exit.reason.as_deref()? {
        "timeout" => "it was ended: it took longer than --timeout".to_owned(),
        "stopping" => "it was ended: Max is stopping".to_owned(),
        "app_deleted" => "it was ended: its app was deleted".to_owned(),
        "network_deleted" => "it was ended: its network was deleted".to_owned(),
        _ => format!("session {id} was ended"),
    })
}
