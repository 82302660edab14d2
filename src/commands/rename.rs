//! `rig rename app`, `rig rename network`.

use super::{request, tell};
use crate::cli::{Arg, Command, Matches};
use crate::error::Result;
use crate::name::Name;
use crate::packed::packed;
use crate::session::{self, AppName, Session};
use crate::store::project;
use std::path::Path;

const NEW: Arg = Arg { name: "NEW", help: packed!("the name it gets"), required: true };

/// `rig rename app`.
pub const APP: Command = Command {
    words: "rename app",
    aliases: &[],
    summary: packed!("Give an app another name, and so another URL"),
    about: packed!(
        "At once it answers at the new URL, and no more at the old one. What runs, its releases, \
            variables, secrets and logs stay. A rig.json here that names it is changed with it."
    ),
    args: &[Arg { name: "APP", help: packed!("the app, or APP.NETWORK"), required: true }, NEW],
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig rename app web.blue shop")],
    run: app,
};

/// `rig rename network`.
pub const NETWORK: Command = Command {
    words: "rename network",
    aliases: &[],
    summary: packed!("Give a network another name, and so its apps other URLs"),
    about: packed!(
        "At once its apps answer at their new URLs, and no more at the old ones. What runs, \
            releases, variables, secrets and logs stay. A rig.json here that names it is changed with \
            it."
    ),
    args: &[Arg { name: "NETWORK", help: packed!("the network"), required: true }, NEW],
    flags: &[],
    examples: packed![("A network", "rig rename network blue green")],
    run: network,
};

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let AppName { network, app } = session.app(matches, matches.arg(0), Path::new("."))?;
    let new = Name::parse("app", matches.arg(1).unwrap_or_default())?;
    let wanted = request([("network", &network), ("app", &app), ("name", &new)]);
    let answer = session.max()?.document("app:rename", &wanted)?;
    tell(session, &answer, &format!("app {app} of network {{network}} is {{name}} now\n{{url}}"))?;
    let links = |project: &project::Project| {
        project.app.as_deref() == Some(app.as_str()) && project.network.as_deref() == Some(network.as_str())
    };
    follow(session, links, "app", &new);
    Ok(())
}

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.network(matches, matches.arg(0))?;
    let new = Name::parse("network", matches.arg(1).unwrap_or_default())?;
    let wanted = request([("network", &name), ("name", &new)]);
    let answer = session.max()?.document("network:rename", &wanted)?;
    tell(session, &answer, &format!("network {name} is {{name}} now"))?;
    follow(session, |project| project.network.as_deref() == Some(name.as_str()), "network", &new);
    Ok(())
}

/// Changes a member of the `rig.json` here, if that links what was renamed.
fn follow(session: &Session, links: impl FnOnce(&project::Project) -> bool, member: &str, new: &Name) {
    let here = Path::new(".");
    if !project::load(here).is_ok_and(|project| links(&project)) {
        return;
    }
    match project::relink(here, member, new.as_str()) {
        Ok(()) => session.output.note(&format!("rig.json names it {new} too")),
        // It is done all the same.
        Err(error) => session.output.warn(error.message()),
    }
}
