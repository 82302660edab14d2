//! What rig can do. [`COMMANDS`] is the only list.

mod api;
mod carry;
mod command;
mod config;
mod context;
mod create;
mod dashboard;
mod delete;
mod deploy;
mod details;
mod escape;
mod lifecycle;
mod list;
mod login;
mod logs;
mod release;
mod rename;
mod secret;
mod shell;
mod status;
mod transfer;
mod trash;
mod variable;

use crate::cli::{Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::json::push_string;
use crate::session::{AppName, Session};
use crate::view::filled;
use miniserde::json::Value;
use std::ffi::OsString;
use std::path::Path;

pub use carry::OURS;

/// Whether these arguments call a program elsewhere, whose exit code is rig's: then no failure
/// of rig looks like one of its codes, not even that the arguments are wrong.
pub fn runs_elsewhere(args: &[OsString]) -> bool {
    let is_first = |arg: &&OsString| {
        COMMANDS
            .iter()
            .any(|command| command.words.text().split(' ').next().is_some_and(|word| **arg == *word))
    };
    args.iter().find(is_first).is_some_and(|word| word == "command" || word == "shell")
}

/// Every command, in the order of help.
pub static COMMANDS: &[Command] = &[
    login::LOGIN,
    login::LOGOUT,
    login::WHOAMI,
    create::NETWORK,
    create::APP,
    create::WEBHOOK,
    create::MEMBER,
    create::TOKEN,
    variable::CREATE,
    secret::CREATE,
    deploy::DEPLOY,
    variable::APPLY,
    lifecycle::START,
    lifecycle::STOP,
    lifecycle::RESTART,
    lifecycle::SCALE,
    rename::APP,
    rename::NETWORK,
    details::APP,
    details::NETWORK,
    status::APP,
    status::NETWORK,
    status::DEPLOY,
    dashboard::DASHBOARD,
    shell::SHELL,
    command::COMMAND,
    logs::APP,
    logs::BUILD,
    logs::COMMAND,
    logs::NETWORK,
    list::APPS,
    list::NETWORKS,
    release::LIST,
    variable::LIST,
    secret::LIST,
    list::ALERTS,
    list::WEBHOOKS,
    list::MEMBERS,
    list::TOKENS,
    list::SESSIONS,
    config::HISTORY,
    list::AUDIT,
    trash::TRASH,
    delete::APP,
    delete::NETWORK,
    delete::WEBHOOK,
    delete::MEMBER,
    delete::TOKEN,
    variable::DELETE,
    secret::DELETE,
    delete::SESSION,
    delete::DEPLOY,
    trash::APP,
    trash::NETWORK,
    variable::EXPORT,
    transfer::EXPORT_APP,
    transfer::EXPORT_NETWORK,
    variable::IMPORT,
    secret::IMPORT,
    transfer::IMPORT,
    transfer::VALIDATE,
    transfer::DIFF,
    secret::ROTATE,
    config::ROLLBACK,
    release::ROLLBACK,
    release::DIFF,
    context::LIST,
    context::USE,
    context::DELETE,
    api::API,
];

/// Tells what came of a request: the answer with `-o json`, else these lines, filled with it.
fn tell(session: &Session, answer: &Value, lines: &str) -> Result<()> {
    if session.output.json {
        return session.output.document(answer);
    }
    lines.split('\n').try_for_each(|line| session.output.line(&filled(answer, line)))
}

/// The beginning of a request: its first members, whose values are texts.
fn members(members: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in members {
        out.push_str(if out.is_empty() { "{\"" } else { ",\"" });
        out.push_str(name);
        out.push_str("\":");
        push_string(&mut out, value);
    }
    out
}

/// The beginning of a request about the app, or else the network, that is named first.
fn names(session: &Session, matches: &Matches, is_app: bool) -> Result<String> {
    if !is_app {
        return Ok(members(&[("network", session.network(matches, matches.arg(0))?.as_str())]));
    }
    let AppName { network, app } = session.app(matches, matches.arg(0), Path::new("."))?;
    Ok(members(&[("network", network.as_str()), ("app", app.as_str())]))
}

/// The number in the trash that the first argument is, behind its name in a request: no name of
/// an app or a network begins with a digit.
fn in_trash(matches: &Matches) -> Option<String> {
    let id: u64 = matches.arg(0)?.parse().ok()?;
    Some(["\"id\":", &id.to_string()].concat())
}

/// The number that `flag`, which takes `what`, is given.
fn number(matches: &Matches, flag: &Flag, what: &str, example: &str) -> Result<Option<u64>> {
    let Some(text) = matches.value(flag) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let long = flag.long.text();
        Error::usage(format!("--{long} takes {what}, not '{text}'"))
            .hint(format!("for instance `--{long} {example}`"))
    })
}

/// The number of one of `what`, which this command shows.
fn id(given: &str, what: &str, shows: &str) -> Result<u64> {
    given.parse().map_err(|_| {
        Error::usage(format!("'{given}' is no {what}'s number")).hint(format!("see `rig {shows}`"))
    })
}
