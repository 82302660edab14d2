//! `rig details app`, `rig details network`: everything that decides how something runs.

use super::list::APP_FIELDS;
use super::status::show;
use super::{secret, variable};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::Result;
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::view::{Field, Show, field};
use crate::wire::config::Select;
use std::path::Path;

const AT: Flag = Flag {
    long: word("at"),
    short: None,
    value: word("N"),
    help: packed!("as it was behind that change (`rig list history`)"),
};

/// `rig details app`.
pub const APP: Command = Command {
    words: word("details app"),
    aliases: &[],
    summary: packed!("Show everything that decides how an app runs"),
    about: packed!(
        "Names, release, how it is built and run, limits, variables with their values, secrets \
            without, and who changed its configuration last. With --at what its release is does not \
            change: configuration and code have histories of their own."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: &[&session::NETWORK, &AT],
    examples: packed![
        ("An app", "rig details app web.blue"),
        ("As it was behind change 7", "rig details app web.blue --at 7"),
        ("Its health check, in a script", "rig details app web.blue -o json | jq -r .plan.health"),
    ],
    run: app,
};

/// `rig details network`.
pub const NETWORK: Command = Command {
    words: word("details network"),
    aliases: &[],
    summary: packed!("Show the configuration of a network and what its apps share"),
    about: packed!("With --at its apps are those that it has now."),
    args: &[Arg { name: word("NETWORK"), help: packed!("the network (else rig.json)"), required: false }],
    flags: &[&session::NETWORK, &AT],
    examples: packed![("A network", "rig details network blue")],
    run: network,
};

const APP_RECORD: &[Field] = &[
    field("app", "app.name", Show::Plain),
    field("network", "app.network", Show::Plain),
    field("url", "app.url", Show::Plain),
    field("state", "app.state", Show::State),
    field("instances", "app.instances", Show::Plain),
    field("release", "app.release", Show::Plain),
    field("deployed", "app.deployed_at", Show::Ago),
    field("kind", "plan.kind", Show::Plain),
    field("build", "plan.build", Show::Plain),
    field("release command", "plan.release", Show::Plain),
    field("run", "plan.run", Show::Plain),
    field("health", "plan.health", Show::Plain),
    field("healthy within", "plan.health_timeout_ms", Show::Millis),
    field("memory limit", "plan.memory", Show::Bytes),
    field("cpu limit", "plan.cpu", Show::Cores),
    field("webhooks", "webhooks", Show::Plain),
    field("created", "app.created_at", Show::Ago),
    field("version", "version.number", Show::Plain),
    field("changed", "version.time", Show::Ago),
    field("by", "version.user", Show::Plain),
];

const NETWORK_RECORD: &[Field] = &[
    field("network", "network.name", Show::Plain),
    field("domain", "network.domain", Show::Plain),
    field("webhooks", "webhooks", Show::Plain),
    field("created", "network.created_at", Show::Ago),
    field("version", "version.number", Show::Plain),
    field("changed", "version.time", Show::Ago),
    field("by", "version.user", Show::Plain),
];

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = Select {
        network: name.network.to_string(),
        app: Some(name.app.to_string()),
        at: super::number(matches, &AT, "a change's number", "7")?,
    };
    let answer = session.max()?.document("app:details", &request)?;
    let sections = &[(APP_RECORD, ""), (variable::FIELDS, "variables"), (secret::FIELDS, "secrets")];
    show(session, &answer, sections)
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, matches.arg(0))?.to_string();
    let at = super::number(matches, &AT, "a change's number", "7")?;
    let answer = session.max()?.document("network:details", &Select { network, app: None, at })?;
    let sections = &[
        (NETWORK_RECORD, ""),
        (variable::FIELDS, "variables"),
        (secret::FIELDS, "secrets"),
        (APP_FIELDS, "apps"),
    ];
    show(session, &answer, sections)
}
