//! `rig list trash`, `rig restore app`, `rig restore network`.

use super::lifecycle::ask;
use super::list::{self, AFTER, PAGE, SORT, WHERE};
use super::{in_trash, request, tell};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::Result;
use crate::packed::packed;
use crate::session::{self, AppName, Session};
use crate::view::{Field, Show, field};
use miniserde::json::{Number, Object, Value};
use std::path::Path;

/// `rig list trash`.
pub const TRASH: Command = Command {
    words: "list trash",
    aliases: &[],
    summary: packed!("List the deleted apps and networks that can be restored"),
    about: packed!(
        "Those of the networks you are a member of. An app that was deleted with its network comes \
            back with that and is not listed."
    ),
    args: &[],
    flags: &[&WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![("All of it", "rig list trash"), ("The apps", "rig list trash --where kind=app")],
    run: trash,
};

const FIELDS: &[Field] = &[
    field("kind", "kind", Show::Plain),
    field("id", "id", Show::Plain),
    field("name", "name", Show::Plain),
    field("network", "network", Show::Plain),
    field("deleted", "deleted_at", Show::Ago),
    field("by", "deleted_by", Show::Plain),
    field("expires", "expires_at", Show::Ago),
];

const AS: Flag = Flag {
    long: "as",
    short: None,
    value: "NAME",
    help: packed!("the name it gets, if that it had is taken"),
};

/// `rig restore app`.
pub const APP: Command = Command {
    words: "restore app",
    aliases: &[],
    summary: packed!("Bring back an app that was deleted"),
    about: packed!(
        "With its releases, variables, secrets and logs. If it ran, it is started, and the answer \
            comes once it is healthy. Of several of one name the one comes back that was deleted last; \
            `rig list trash` has the numbers of all."
    ),
    args: &[Arg { name: "APP", help: packed!("the app, APP.NETWORK, or its number"), required: true }],
    flags: &[&session::NETWORK, &AS],
    examples: packed![
        ("By its name", "rig restore app web.blue"),
        ("One of several, under another name", "rig restore app 7 --as web-2"),
    ],
    run: app,
};

/// `rig restore network`.
pub const NETWORK: Command = Command {
    words: "restore network",
    aliases: &[],
    summary: packed!("Bring back a network that was deleted, with its apps"),
    about: packed!(
        "With the apps that were deleted with it, its members and its webhooks. Those that ran are \
            started, and the answer comes once they are healthy. API tokens that were for it are not \
            brought back."
    ),
    args: &[Arg { name: "NETWORK", help: packed!("the network, or its number"), required: true }],
    flags: &[&AS],
    examples: packed![("By its name", "rig restore network blue")],
    run: network,
};

fn trash(session: &Session, matches: &Matches) -> Result<()> {
    list::ask(session, matches, &("trash:list", "items", FIELDS), &Object::new(), "the trash is empty")
}

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let names = || {
        let AppName { network, app } = session.app(matches, matches.arg(0), Path::new("."))?;
        Ok(request([("network", &network), ("app", &app)]))
    };
    restore(session, matches, "app:restore", names, "restored app {name} of network {network}\n{url}")
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let names = || Ok(request([("network", &session.network(matches, matches.arg(0))?)]));
    restore(session, matches, "network:restore", names, "restored network {name}")
}

fn restore(
    session: &Session,
    matches: &Matches,
    event: &str,
    names: impl FnOnce() -> Result<Object>,
    lines: &str,
) -> Result<()> {
    let mut wanted = match in_trash(matches) {
        Some(id) => [("id".to_owned(), Value::Number(Number::U64(id)))].into_iter().collect(),
        None => names()?,
    };
    if let Some(name) = matches.value(&AS) {
        wanted.insert("name".to_owned(), Value::String(name.to_owned()));
    }
    let answer = ask(session, event, &wanted, "it was not restored", "`rig list trash`")?;
    tell(session, &answer, lines)
}
