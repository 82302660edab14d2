//! `rig delete app`, `rig delete network`, `rig delete webhook`, `rig delete session`,
//! `rig delete token`, `rig delete member`, `rig delete deploy`.

use super::{id, in_trash, members, names, tell};
use crate::api::decode;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::{Packed, packed, word};
use crate::session::{self, Session};
use crate::term::prompt::{confirm, possible};
use crate::view::{at, filled, items, text};
use crate::wire::{deploy, exec, member, token, webhook};
use miniserde::json::Value;

/// `--yes`.
pub const YES: Flag =
    Flag { long: word("yes"), short: Some('y'), value: word(""), help: packed!("do not ask") };

/// `--purge`.
const PURGE: Flag = Flag {
    long: word("purge"),
    short: None,
    value: word(""),
    help: packed!("for good: it can't be restored"),
};

/// What is said of both.
const ABOUT: Packed = packed!(
    "What runs ends, and the name is free. All else is kept for a while, seven days \
                     unless Max has another time, and `rig restore` brings it back. Shows what goes \
                     and asks first; without a terminal it needs --yes. What is in the trash has a \
                     number in `rig list trash`."
);

/// `rig delete app`.
pub const APP: Command = Command {
    words: word("delete app"),
    aliases: &[],
    summary: packed!("Delete an app, at first into the trash"),
    about: ABOUT,
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, APP.NETWORK, or a number in the trash"),
        required: true,
    }],
    flags: &[&session::NETWORK, &PURGE, &YES],
    examples: packed![
        ("Ask first", "rig delete app web.blue"),
        ("In a script", "rig delete app web.blue --yes"),
        ("For good, from the trash", "rig delete app 7 --purge"),
    ],
    run: app,
};

/// `rig delete network`.
pub const NETWORK: Command = Command {
    words: word("delete network"),
    aliases: &[],
    summary: packed!("Delete a network with its apps, at first into the trash"),
    about: ABOUT,
    args: &[Arg {
        name: word("NETWORK"),
        help: packed!("the network, or a number in the trash"),
        required: true,
    }],
    flags: &[&PURGE, &YES],
    examples: packed![
        ("Ask first", "rig delete network blue"),
        ("In a script", "rig delete network blue --yes"),
        ("For good, from the trash", "rig delete network 3 --purge"),
    ],
    run: network,
};

/// `rig delete session`.
pub const SESSION: Command = Command {
    words: word("delete session"),
    aliases: &[],
    summary: packed!("End a command that runs in an app"),
    about: packed!("It gets SIGTERM, in a terminal SIGHUP too, and five seconds later SIGKILL."),
    args: &[Arg { name: word("ID"), help: packed!("its number in `rig list sessions`"), required: true }],
    flags: &[],
    examples: packed![("One of them", "rig delete session 12")],
    run: end_session,
};

/// `rig delete deploy`.
pub const DEPLOY: Command = Command {
    words: word("delete deploy"),
    aliases: &[],
    summary: packed!("Cancel a deploy that is under way"),
    about: packed!(
        "Whoever began it. What served goes on serving. One that serves already is not cancelled."
    ),
    args: &[Arg { name: word("ID"), help: packed!("its number (`rig status app`)"), required: true }],
    flags: &[],
    examples: packed![("One of them", "rig delete deploy 12")],
    run: cancel,
};

/// `rig delete webhook`.
pub const WEBHOOK: Command = Command {
    words: word("delete webhook"),
    aliases: &[],
    summary: packed!("Delete a webhook with the messages that wait for it"),
    about: packed!("Asks first; without a terminal it needs --yes."),
    args: &[Arg { name: word("ID"), help: packed!("its number in `rig list webhooks`"), required: true }],
    flags: &[&YES],
    examples: packed![("Ask first", "rig delete webhook 3"), ("In a script", "rig delete webhook 3 --yes")],
    run: webhook,
};

/// `rig delete token`.
pub const TOKEN: Command = Command {
    words: word("delete token"),
    aliases: &[],
    summary: packed!("Delete an API token: the sessions it opened end at once"),
    about: packed!("Their open shells and followed logs end too; what was detached goes on."),
    args: &[Arg { name: word("ID"), help: packed!("its number in `rig list tokens`"), required: true }],
    flags: &[],
    examples: packed![("One of them", "rig delete token 7")],
    run: token,
};

/// `rig delete member`.
pub const MEMBER: Command = Command {
    words: word("delete member"),
    aliases: &[],
    summary: packed!("Take a user out of a network"),
    about: packed!("What he runs there ends, and the logs he follows. The last owner stays."),
    args: &[Arg { name: word("USER"), help: packed!("the user's name"), required: true }],
    flags: &[&session::NETWORK],
    examples: packed![("Take him out", "rig delete member bob --network blue")],
    run: member,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    away(session, matches, true)
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    away(session, matches, false)
}

/// Deletes an app or a network: shows what goes and asks, and says how it comes back.
fn away(session: &Session, matches: &Matches, is_app: bool) -> Result<()> {
    let kind = if is_app { "app" } else { "network" };
    let (event, mut request) = match in_trash(matches) {
        Some(_) if !matches.has(&PURGE) => {
            let given = matches.arg(0).unwrap_or_default();
            let message = ["'", given, "' is no ", kind, "'s name, but a number in the trash"].concat();
            return Err(Error::usage(message).hint(packed!("add --purge to delete what has it for good")));
        }
        Some(id) => ("trash".to_owned(), [&members(&[("kind", kind)]), ",", &id].concat()),
        None => (kind.to_owned(), names(session, matches, is_app)?),
    };
    let event = event + ":delete";
    if matches.has(&PURGE) {
        request.push_str(",\"purge\":true");
    }
    let what = if is_app { "app {name} of network {network}" } else { "network {name}" };
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        let would: Value = decode(&session.max()?.ask(&event, [&request, ",\"preview\":true}"].concat())?)?;
        session.output.note(&filled(&would, "this goes: {contents.summary}"));
        let until = match text(&would, "expires_at").is_empty() {
            true => "it can't be restored",
            false => "it can be restored until {expires_at}",
        };
        session.output.note(&filled(&would, until));
        ask(session, &filled(&would, &["delete ", what, "?"].concat()))?;
    }
    request.push('}');
    let answer = decode(&session.max()?.ask(&event, request)?)?;
    let then = match (text(&answer, "expires_at").is_empty(), is_app) {
        (true, _) => " for good",
        (_, true) => "\n`rig restore app {name}.{network}` brings it back until {expires_at}",
        (_, false) => "\n`rig restore network {name}` brings it back until {expires_at}",
    };
    tell(session, &answer, &["deleted ", what, then].concat())
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

fn cancel(session: &Session, matches: &Matches) -> Result<()> {
    let id = id(matches.arg(0).unwrap_or_default(), "deploy", "status app")?;
    let answer = session.max()?.document("deploy:cancel", &deploy::Select { id })?;
    tell(session, &answer, "cancelled deploy {id} of app {app}")
}

fn webhook(session: &Session, matches: &Matches) -> Result<()> {
    let id = number(matches, "webhook")?;
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        let all = session.max()?.document("webhook:list", &webhook::Filter { network: None })?;
        let one = |webhook: &&Value| text(webhook, "id") == id.to_string();
        let webhook = items(&all, "webhooks").iter().find(one).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("webhook {id} does not exist"))
                .hint(packed!("see `rig list webhooks`"))
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
    id(matches.arg(0).unwrap_or_default(), what, &format!("list {what}s"))
}

fn ask(session: &Session, question: &str) -> Result<()> {
    if confirm(&session.output, question, "--yes")? {
        return Ok(());
    }
    Err(Error::new(Kind::Failed, "nothing was deleted"))
}
