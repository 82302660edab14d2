//! `rig status app`, `rig status network`.

use super::list::APP_FIELDS;
use crate::cli::{Arg, Command, Matches};
use crate::error::Result;
use crate::session::{self, Session};
use crate::sys::terminal;
use crate::view::{Field, Show, field, items, record, table};
use crate::wire::{app, network};
use miniserde::json::Value;
use std::path::Path;

/// `rig status app`.
pub const APP: Command = Command {
    words: "status app",
    aliases: &[],
    summary: "Show what an app does and why",
    about: "",
    args: &[Arg { name: "APP", help: "the app, or APP.NETWORK (else rig.json)", required: false }],
    flags: &[&session::NETWORK],
    examples: &[
        ("The app of this directory's rig.json", "rig status app"),
        ("Any app", "rig status app web.blue"),
        ("Its state in a script", "rig status app web.blue -o json | jq -r .app.state"),
    ],
    run: app,
};

/// `rig status network`.
pub const NETWORK: Command = Command {
    words: "status network",
    aliases: &[],
    summary: "Show a network and its apps",
    about: "",
    args: &[Arg { name: "NETWORK", help: "the network (else rig.json)", required: false }],
    flags: &[&session::NETWORK],
    examples: &[("A network and what its apps do", "rig status network blue")],
    run: network,
};

const APP_STATUS: &[Field] = &[
    field("app", "app.name", Show::Plain),
    field("network", "app.network", Show::Plain),
    field("state", "app.state", Show::State),
    field("reason", "app.reason", Show::Plain),
    field("url", "app.url", Show::Plain),
    field("release", "app.release", Show::Plain),
    field("deployed", "app.deployed_at", Show::Ago),
    field("created", "app.created_at", Show::Ago),
];

const INSTANCE_FIELDS: &[Field] = &[
    field("instance", "number", Show::Plain),
    field("state", "state", Show::State),
    field("release", "release", Show::Plain),
    field("pid", "pid", Show::Plain),
    field("started", "started_at", Show::Ago),
    field("restarts", "restarts", Show::Plain),
];

const DEPLOY_FIELDS: &[Field] = &[
    field("last deploy", "deploy.id", Show::Plain),
    field("state", "deploy.state", Show::State),
    field("failed while", "deploy.phase", Show::Plain),
    field("error", "deploy.error", Show::Plain),
    field("by", "deploy.user", Show::Plain),
    field("began", "deploy.created_at", Show::Ago),
];

type Sections = &'static [(&'static [Field], &'static str)];

const APP_SECTIONS: Sections = &[(APP_STATUS, ""), (INSTANCE_FIELDS, "instances"), (DEPLOY_FIELDS, "")];

const NETWORK_STATUS: &[Field] = &[
    field("network", "network.name", Show::Plain),
    field("domain", "network.domain", Show::Plain),
    field("apps", "network.apps", Show::Plain),
    field("created", "network.created_at", Show::Ago),
];

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = app::Select { network: name.network.to_string(), app: name.app.to_string() };
    let answer = session.max()?.document("app:status", &request)?;
    show(session, &answer, APP_SECTIONS)
}

/// The answer to `app:status` for a reader with so many columns.
pub fn app_text(session: &Session, answer: &Value, columns: Option<usize>) -> String {
    sections(session, answer, APP_SECTIONS, columns)
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    let answer = session.max()?.document("network:status", &network::Select { network: name.to_string() })?;
    show(session, &answer, &[(NETWORK_STATUS, ""), (APP_FIELDS, "apps")])
}

/// Sections with an empty line between them: a record, or a table of the items at a
/// path.
fn show(session: &Session, answer: &Value, shown: Sections) -> Result<()> {
    if session.output.json {
        return session.output.document(answer);
    }
    let columns = terminal::width().filter(|_| session.output.terminal);
    session.output.write(&sections(session, answer, shown, columns))
}

fn sections(session: &Session, answer: &Value, sections: Sections, columns: Option<usize>) -> String {
    let now = session.now();
    let sections = sections.iter().map(|(fields, path)| match *path {
        "" => record(&session.output, answer, fields, now),
        path => match items(answer, path) {
            [] => String::new(),
            rows => table(&session.output, rows, fields, columns, now),
        },
    });
    sections.filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}
