//! `rig delete app`, `rig delete network`, `rig delete webhook`, `rig delete session`,
//! `rig delete token`, `rig delete member`.

use super::{id, tell};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::session::{self, Session};
use crate::term::prompt::{confirm, possible};
use crate::term::text::count;
use crate::view::{at, items, text};
use crate::wire::{app, exec, member, network, token, webhook};
use miniserde::json::Value;
use std::path::Path;

/// `--yes`.
pub const YES: Flag = Flag { long: "yes", short: Some('y'), value: "", help: "do not ask" };

/// `rig delete app`.
pub const APP: Command = Command {
    words: "delete app",
    aliases: &[],
    summary: "Delete an app: stop it and remove its releases and logs",
    about: "Asks first; without a terminal it needs --yes.",
    args: &[Arg { name: "APP", help: "the app, or APP.NETWORK", required: true }],
    flags: &[&session::NETWORK, &YES],
    examples: &[("Ask first", "rig delete app web.blue"), ("In a script", "rig delete app web.blue --yes")],
    run: app,
};

/// `rig delete network`.
pub const NETWORK: Command = Command {
    words: "delete network",
    aliases: &[],
    summary: "Delete a network with all its apps",
    about: "Asks first; without a terminal it needs --yes.",
    args: &[Arg { name: "NETWORK", help: "the network", required: true }],
    flags: &[&YES],
    examples: &[("Ask first", "rig delete network blue"), ("In a script", "rig delete network blue --yes")],
    run: network,
};

/// `rig delete session`.
pub const SESSION: Command = Command {
    words: "delete session",
    aliases: &[],
    summary: "End a command that runs in an app",
    about: "It gets SIGTERM, in a terminal SIGHUP too, and five seconds later SIGKILL.",
    args: &[Arg { name: "ID", help: "its number in `rig list sessions`", required: true }],
    flags: &[],
    examples: &[("One of them", "rig delete session 12")],
    run: end_session,
};

/// `rig delete webhook`.
pub const WEBHOOK: Command = Command {
    words: "delete webhook",
    aliases: &[],
    summary: "Delete a webhook with the messages that wait for it",
    about: "Asks first; without a terminal it needs --yes.",
    args: &[Arg { name: "ID", help: "its number in `rig list webhooks`", required: true }],
    flags: &[&YES],
    examples: &[("Ask first", "rig delete webhook 3"), ("In a script", "rig delete webhook 3 --yes")],
    run: webhook,
};

/// `rig delete token`.
pub const TOKEN: Command = Command {
    words: "delete token",
    aliases: &[],
    summary: "Delete an API token: the sessions it opened end at once",
    about: "Their open shells and followed logs end too; what was detached goes on.",
    args: &[Arg { name: "ID", help: "its number in `rig list tokens`", required: true }],
    flags: &[],
    examples: &[("One of them", "rig delete token 7")],
    run: token,
};

/// `rig delete member`.
pub const MEMBER: Command = Command {
    words: "delete member",
    aliases: &[],
    summary: "Take a user out of a network",
    about: "What he runs there ends, and the logs he follows. The last owner stays.",
    args: &[Arg { name: "USER", help: "the user's name", required: true }],
    flags: &[&session::NETWORK],
    examples: &[("Take him out", "rig delete member bob --network blue")],
    run: member,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = app::Select { network: name.network.to_string(), app: name.app.to_string() };
    if !matches.has(&YES) {
        // Asked only about what is there: a wrong name fails before the question.
        possible(&session.output, "--yes")?;
        session.max()?.document("app:status", &request)?;
        ask(
            session,
            &format!("delete app '{}' of network '{}' with its releases and logs?", name.app, name.network),
        )?;
    }
    let answer = session.max()?.document("app:delete", &request)?;
    tell(session, &answer, "deleted app {name} of network {network}")
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    let request = network::Select { network: name.to_string() };
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        let status = session.max()?.document("network:status", &request)?;
        let apps = count(items(&status, "apps").len() as u64, "app");
        ask(session, &format!("delete network '{name}' with its {apps}?"))?;
    }
    let answer = session.max()?.document("network:delete", &request)?;
    tell(session, &answer, "deleted network {name}")
}

fn end_session(session: &Session, matches: &Matches) -> Result<()> {
    let id = number(matches, "session")?;
    let answer = session.max()?.document("exec:delete", &exec::Select { id })?;
    let line = match text(&answer, "app").is_empty() {
        true => "ended session {id} of network {network}",
        false => "ended session {id} of app {app}",
    };
    tell(session, &answer, line)
}

fn webhook(session: &Session, matches: &Matches) -> Result<()> {
    let id = number(matches, "webhook")?;
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        let all = session.max()?.document("webhook:list", &webhook::Filter { network: None })?;
        let one = |webhook: &&Value| text(webhook, "id") == id.to_string();
        let webhook = items(&all, "webhooks").iter().find(one).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("webhook {id} does not exist")).hint("see `rig list webhooks`")
        })?;
        let (url, network) = (text(webhook, "url"), text(webhook, "network"));
        ask(session, &format!("delete webhook {id} of network '{network}', to {url}?"))?;
    }
    let answer = session.max()?.document("webhook:delete", &webhook::Select { id })?;
    tell(session, &answer, "deleted webhook {id} of network {network}")
}

fn token(session: &Session, matches: &Matches) -> Result<()> {
    let id = number(matches, "token")?;
    let answer = session.max()?.document("token:delete", &token::Select { id })?;
    tell(session, &answer, &format!("deleted token {id}"))?;
    if let Some(Value::Bool(true)) = at(&answer, "current") {
        session.output.note("it was the one in use: log in with another, `rig login`");
    }
    Ok(())
}

fn member(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, None)?.to_string();
    let user = matches.arg(0).unwrap_or_default().to_owned();
    let answer = session.max()?.document("member:delete", &member::Select { network, user })?;
    tell(session, &answer, "deleted member {user} of network {network}")
}

/// The number of a `what` that the argument names.
fn number(matches: &Matches, what: &str) -> Result<u64> {
    id(matches.arg(0).unwrap_or_default(), what, &format!("{what}s"))
}

fn ask(session: &Session, question: &str) -> Result<()> {
    if confirm(&session.output, question, "--yes")? {
        return Ok(());
    }
    Err(Error::new(Kind::Failed, "nothing was deleted"))
}
