//! `rig delete app`, `rig delete network`, `rig delete webhook`, `rig delete session`,
//! `rig delete token`, `rig delete member`.

use super::{id, in_trash, request, tell};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::{Packed, packed};
use crate::session::{self, AppName, Session};
use crate::term::prompt::{confirm, possible};
use crate::term::text::count;
use crate::view::{at, filled, items, number as number_of, text};
use crate::wire::{exec, member, token, webhook};
use miniserde::json::{Number, Object, Value};
use std::path::Path;

/// `--yes`.
pub const YES: Flag = Flag { long: "yes", short: Some('y'), value: "", help: packed!("do not ask") };

/// `--purge`.
const PURGE: Flag =
    Flag { long: "purge", short: None, value: "", help: packed!("for good: it can't be restored") };

/// What is said of both.
const ABOUT: Packed = packed!(
    "What runs ends at once, and the name is free. All else is kept in the trash for \
                     a while, seven days unless Max has another time, and `rig restore` brings it \
                     back. Shows what goes and asks first; without a terminal it needs --yes. What is \
                     in the trash is named by its number in `rig list trash`, with --purge."
);

/// `rig delete app`.
pub const APP: Command = Command {
    words: "delete app",
    aliases: &[],
    summary: packed!("Delete an app, at first into the trash"),
    about: ABOUT,
    args: &[Arg {
        name: "APP",
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
    words: "delete network",
    aliases: &[],
    summary: packed!("Delete a network with its apps, at first into the trash"),
    about: ABOUT,
    args: &[Arg { name: "NETWORK", help: packed!("the network, or a number in the trash"), required: true }],
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
    words: "delete session",
    aliases: &[],
    summary: packed!("End a command that runs in an app"),
    about: packed!("It gets SIGTERM, in a terminal SIGHUP too, and five seconds later SIGKILL."),
    args: &[Arg { name: "ID", help: packed!("its number in `rig list sessions`"), required: true }],
    flags: &[],
    examples: packed![("One of them", "rig delete session 12")],
    run: end_session,
};

/// `rig delete webhook`.
pub const WEBHOOK: Command = Command {
    words: "delete webhook",
    aliases: &[],
    summary: packed!("Delete a webhook with the messages that wait for it"),
    about: packed!("Asks first; without a terminal it needs --yes."),
    args: &[Arg { name: "ID", help: packed!("its number in `rig list webhooks`"), required: true }],
    flags: &[&YES],
    examples: packed![("Ask first", "rig delete webhook 3"), ("In a script", "rig delete webhook 3 --yes")],
    run: webhook,
};

/// `rig delete token`.
pub const TOKEN: Command = Command {
    words: "delete token",
    aliases: &[],
    summary: packed!("Delete an API token: the sessions it opened end at once"),
    about: packed!("Their open shells and followed logs end too; what was detached goes on."),
    args: &[Arg { name: "ID", help: packed!("its number in `rig list tokens`"), required: true }],
    flags: &[],
    examples: packed![("One of them", "rig delete token 7")],
    run: token,
};

/// `rig delete member`.
pub const MEMBER: Command = Command {
    words: "delete member",
    aliases: &[],
    summary: packed!("Take a user out of a network"),
    about: packed!("What he runs there ends, and the logs he follows. The last owner stays."),
    args: &[Arg { name: "USER", help: packed!("the user's name"), required: true }],
    flags: &[&session::NETWORK],
    examples: packed![("Take him out", "rig delete member bob --network blue")],
    run: member,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    if let Some(id) = in_trash(matches) {
        return from_trash(session, matches, "app", id);
    }
    let AppName { network, app } = session.app(matches, matches.arg(0), Path::new("."))?;
    away(session, matches, "app:delete", request([("network", &network), ("app", &app)]))
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    if let Some(id) = in_trash(matches) {
        return from_trash(session, matches, "network", id);
    }
    let name = session.network(matches, matches.arg(0))?;
    away(session, matches, "network:delete", request([("network", &name)]))
}

fn from_trash(session: &Session, matches: &Matches, kind: &str, id: u64) -> Result<()> {
    if !matches.has(&PURGE) {
        return Err(Error::usage(format!("'{id}' is no {kind}'s name, but a number in the trash"))
            .hint("add --purge to delete what has it for good"));
    }
    let mut wanted = request([("kind", &kind)]);
    wanted.insert("id".to_owned(), Value::Number(Number::U64(id)));
    away(session, matches, "trash:delete", wanted)
}

/// What goes, as it is counted.
const CONTENTS: &[(&str, &str)] = &[
    ("contents.apps", "app"),
    ("contents.releases", "release"),
    ("contents.instances", "running instance"),
    ("contents.variables", "variable"),
    ("contents.secrets", "secret"),
    ("contents.webhooks", "webhook"),
    ("contents.members", "member"),
    ("contents.sessions", "running session"),
];

/// Deletes an app or a network: shows what goes and asks, and says how it comes back.
fn away(session: &Session, matches: &Matches, event: &str, mut wanted: Object) -> Result<()> {
    if matches.has(&PURGE) {
        wanted.insert("purge".to_owned(), Value::Bool(true));
    }
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
        wanted.insert("preview".to_owned(), Value::Bool(true));
        let would = session.max()?.document(event, &wanted)?;
        wanted.remove("preview");
        let counted = CONTENTS.iter().filter_map(|(path, noun)| {
            let number = at(&would, path).and_then(number_of).filter(|number| *number > 0)?;
            Some(count(number, noun))
        });
        let counted: Vec<String> = counted.collect();
        if !counted.is_empty() {
            session.output.note(&format!("this goes: {}", counted.join(", ")));
        }
        let until = match text(&would, "expires_at").is_empty() {
            true => "it can't be restored",
            false => "it can be restored until {expires_at}",
        };
        session.output.note(&filled(&would, until));
        ask(session, &filled(&would, &format!("delete {}?", what(&would))))?;
    }
    let answer = session.max()?.document(event, &wanted)?;
    let (what, name) = (what(&answer), if is_app(&answer) { "{name}.{network}" } else { "{name}" });
    let lines = match text(&answer, "expires_at").is_empty() {
        true => format!("deleted {what} for good"),
        false => format!("deleted {what}\n`rig restore {{kind}} {name}` brings it back until {{expires_at}}"),
    };
    tell(session, &answer, &lines)
}

fn is_app(item: &Value) -> bool {
    text(item, "kind") == "app"
}

/// What something of the trash is, to be filled with it.
fn what(item: &Value) -> &'static str {
    if is_app(item) { "app {name} of network {network}" } else { "network {name}" }
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
