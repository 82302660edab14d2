//! `rig create network`, `rig create app`.

use crate::cli::{Arg, Command, Matches};
use crate::error::Result;
use crate::name::Name;
use crate::session::{self, Session};
use crate::view::text;
use crate::wire::{app, network};
use std::path::Path;

/// `rig create network`.
pub const NETWORK: Command = Command {
    words: "create network",
    aliases: &[],
    summary: "Create a network for apps",
    about: "Its name becomes the subdomain of its apps and is unique in the whole system. A \
            name has 1 to 63 of a-z, 0-9 and -, and starts with a letter. Without one Max \
            assigns one.",
    args: &[Arg { name: "NAME", help: "the network's name", required: false }],
    flags: &[],
    examples: &[
        ("Apps answer under APP.blue.DOMAIN", "rig create network blue"),
        ("Let Max choose, and keep the name", "network=$(rig create network -o json | jq -r .name)"),
    ],
    run: network,
};

/// `rig create app`.
pub const APP: Command = Command {
    words: "create app",
    aliases: &[],
    summary: "Create an app in a network",
    about: "Its name becomes its host name: APP.NETWORK.DOMAIN. `rig deploy --create` does it \
            too.",
    args: &[Arg { name: "APP", help: "the app's name, or APP.NETWORK", required: true }],
    flags: &[&session::NETWORK],
    examples: &[("An app `web` in the network `blue`", "rig create app web --network blue")],
    run: app,
};

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = match matches.arg(0) {
        Some(name) => Some(Name::parse("network", name)?.to_string()),
        None => None,
    };
    let answer = session.max()?.document("network:create", &network::Create { name })?;
    if session.output.json {
        return session.output.document(&answer);
    }
    session.output.line(&format!("created network {} ({})", text(&answer, "name"), text(&answer, "domain")))
}

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = app::Select { network: name.network.to_string(), app: name.app.to_string() };
    let answer = session.max()?.document("app:create", &request)?;
    if session.output.json {
        return session.output.document(&answer);
    }
    session.output.line(&format!(
        "created app {} in network {}",
        text(&answer, "name"),
        text(&answer, "network")
    ))?;
    session.output.note(&format!("it will answer at {}; next: `rig deploy`", text(&answer, "url")));
    Ok(())
}
