//! `rig rename app`, `rig rename network`.

use super::{members, tell};
use crate::api::decode;
use crate::cli::{Arg, Command, Matches};
use crate::error::Result;
use crate::json::push_string;
use crate::packed::{Packed, packed, word};
use crate::session::{self, AppName, Session};
use crate::store::project;
use std::path::Path;

const NEW: Arg = Arg { name: word("NEW"), help: packed!("the name it gets"), required: true };

/// What is said of both.
const ABOUT: Packed = packed!(
    "At once the new URL answers and the old one does not. All else goes on as it was. A \
                     rig.json here that has the name is changed with it."
);

/// `rig rename app`.
pub const APP: Command = Command {
    words: word("rename app"),
    aliases: &[],
    summary: packed!("Give an app another name, and so another URL"),
    about: ABOUT,
    args: &[Arg { name: word("APP"), help: packed!("the app, or APP.NETWORK"), required: true }, NEW],
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig rename app web.blue shop")],
    run: app,
};

/// `rig rename network`.
pub const NETWORK: Command = Command {
    words: word("rename network"),
    aliases: &[],
    summary: packed!("Give a network another name, and so its apps other URLs"),
    about: ABOUT,
    args: &[Arg { name: word("NETWORK"), help: packed!("the network"), required: true }, NEW],
    flags: &[],
    examples: packed![("A network", "rig rename network blue green")],
    run: network,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let AppName { network, app } = session.app(matches, matches.arg(0), Path::new("."))?;
    rename(session, matches, &[("network", network.as_str()), ("app", app.as_str())])
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    rename(session, matches, &[("network", session.network(matches, matches.arg(0))?.as_str())])
}

/// Renames the last of `names`, and has the `rig.json` here follow if it has all of them.
fn rename(session: &Session, matches: &Matches, names: &[(&str, &str)]) -> Result<()> {
    let Some((kind, old)) = names.last() else { return Ok(()) };
    let new = matches.arg(1).unwrap_or_default();
    let mut request = members(names);
    request.push_str(",\"name\":");
    push_string(&mut request, new);
    request.push('}');
    let answer = decode(&session.max()?.ask(&[kind, ":rename"].concat(), request)?)?;
    let url = if names.len() > 1 { "\n{url}" } else { "" };
    tell(session, &answer, &[kind, " ", old, " is {name} now", url].concat())?;
    match project::relink(Path::new("."), names, new) {
        Ok(false) => {}
        Ok(true) => session.output.note("rig.json names it so too"),
        // It is done all the same.
        Err(error) => session.output.warn(error.message()),
    }
    Ok(())
}
