//! `rig list trash`, `rig restore app`, `rig restore network`.

use super::lifecycle::ask;
use super::list::{self, AFTER, PAGE, SORT, WHERE};
use super::{in_trash, names, tell};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::Result;
use crate::json::push_string;
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::view::{Field, Show, field};
use miniserde::json::Object;

/// `rig list trash`.
pub const TRASH: Command = Command {
    words: word("list trash"),
    aliases: &[],
    summary: packed!("List the deleted apps and networks that can be restored"),
    about: packed!("An app that was deleted with its network comes back with that and is not listed."),
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
    long: word("as"),
    short: None,
    value: word("NAME"),
    help: packed!("the name it gets, if that it had is taken"),
};

/// `rig restore app`.
pub const APP: Command = Command {
    words: word("restore app"),
    aliases: &[],
    summary: packed!("Bring back an app that was deleted"),
    about: packed!(
        "With all it had. If it ran, it is started, and the answer comes once it is healthy. Of \
            several of one name that comes back which was deleted last."
    ),
    args: &[Arg { name: word("APP"), help: packed!("the app, APP.NETWORK, or its number"), required: true }],
    flags: &[&session::NETWORK, &AS],
    examples: packed![
        ("By its name", "rig restore app web.blue"),
        ("One of several, under another name", "rig restore app 7 --as web-2"),
    ],
    run: app,
};

/// `rig restore network`.
pub const NETWORK: Command = Command {
    words: word("restore network"),
    aliases: &[],
    summary: packed!("Bring back a network that was deleted, with its apps"),
    about: packed!(
        "With the apps that were deleted with it, its members and webhooks; not with API tokens that \
            were for it."
    ),
    args: &[Arg { name: word("NETWORK"), help: packed!("the network, or its number"), required: true }],
    flags: &[&AS],
    examples: packed![("By its name", "rig restore network blue")],
    run: network,
};

fn trash(session: &Session, matches: &Matches) -> Result<()> {
    list::ask(session, matches, &("trash:list", "items", FIELDS), &Object::new(), "the trash is empty")
}

fn app(session: &Session, matches: &Matches) -> Result<()> {
    restore(session, matches, true, "app:restore", "restored app {name} of network {network}\n{url}")
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    restore(session, matches, false, "network:restore", "restored network {name}")
}

fn restore(session: &Session, matches: &Matches, is_app: bool, event: &str, lines: &str) -> Result<()> {
    let mut request = match in_trash(matches) {
        Some(id) => ["{", &id].concat(),
        None => names(session, matches, is_app)?,
    };
    if let Some(name) = matches.value(&AS) {
        request.push_str(",\"name\":");
        push_string(&mut request, name);
    }
    request.push('}');
    let answer = ask(session, event, request, "it was not restored", "`rig list trash`")?;
    tell(session, &answer, lines)
}
