//! `rig list networks`, `rig list apps`.

use crate::cli::{Command, Flag, Matches};
use crate::error::Result;
use crate::name::Name;
use crate::session::Session;
use crate::sys::terminal;
use crate::view::{Field, Show, field, items, table};
use crate::wire::app::Filter;
use miniserde::json::{Object, Value};

const ONLY: Flag =
    Flag { long: "network", short: Some('n'), value: "NETWORK", help: "only this network's apps" };

/// `rig list networks`.
pub const NETWORKS: Command = Command {
    words: "list networks",
    aliases: &[],
    summary: "List your networks",
    about: "",
    args: &[],
    flags: &[],
    examples: &[
        ("For people", "rig list networks"),
        ("Their names", "rig list networks -o json | jq -r '.networks[].name'"),
    ],
    run: networks,
};

/// `rig list apps`.
pub const APPS: Command = Command {
    words: "list apps",
    aliases: &[],
    summary: "List your apps",
    about: "",
    args: &[],
    flags: &[&ONLY],
    examples: &[("All of them", "rig list apps"), ("Those of one network", "rig list apps --network blue")],
    run: apps,
};

const NETWORK_FIELDS: &[Field] = &[
    field("network", "name", Show::Plain),
    field("apps", "apps", Show::Plain),
    field("domain", "domain", Show::Plain),
    field("created", "created_at", Show::Ago),
];

const APP_FIELDS: &[Field] = &[
    field("app", "name", Show::Plain),
    field("network", "network", Show::Plain),
    field("state", "state", Show::State),
    field("release", "release", Show::Plain),
    field("deployed", "deployed_at", Show::Ago),
    field("url", "url", Show::Plain),
];

fn networks(session: &Session, _: &Matches) -> Result<()> {
    let answer = session.max()?.document("network:list", &Object::new())?;
    show(session, &answer, "networks", NETWORK_FIELDS, "no networks yet: `rig create network`")
}

fn apps(session: &Session, matches: &Matches) -> Result<()> {
    let network = match matches.value(&ONLY) {
        Some(name) => Some(Name::parse("network", name)?.to_string()),
        None => None,
    };
    let answer = session.max()?.document("app:list", &Filter { network })?;
    show(session, &answer, "apps", APP_FIELDS, "no apps yet: `rig create app APP --network NETWORK`")
}

fn show(session: &Session, answer: &Value, path: &str, fields: &[Field], none: &str) -> Result<()> {
    if session.output.json {
        return session.output.document(answer);
    }
    let rows = items(answer, path);
    if rows.is_empty() {
        session.output.note(none);
        return Ok(());
    }
    let columns = terminal::width().filter(|_| session.output.terminal);
    session.output.write(&table(&session.output, rows, fields, columns, session.now()))
}
