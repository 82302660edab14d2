//! `rig list releases`, `rig rollback app`.

use super::config::TO;
use super::lifecycle::{APP, ask};
use super::list::{self, AFTER, PAGE, SORT, WHERE};
use super::{names, number, tell};
use crate::cli::{Command, Flag, Matches};
use crate::error::Result;
use crate::packed::packed;
use crate::session::{self, Session};
use crate::view::{Field, Show, field};
use crate::wire::app::Select;
use std::path::Path;

/// `rig list releases`.
pub const LIST: Command = Command {
    words: "list releases",
    aliases: &[],
    summary: packed!("List the releases of an app that serve or have served"),
    about: packed!(
        "The newest first. Those that are kept can be gone back to; of those that are gone the files \
            are not there any more. A deploy that failed has made none: `rig status app`."
    ),
    args: APP,
    flags: &[&session::NETWORK, &WHERE, &SORT, &PAGE, &AFTER],
    examples: packed![
        ("An app's", "rig list releases web.blue"),
        ("To which one can go back", "rig list releases web.blue --where state=kept"),
    ],
    run: releases,
};

/// `rig rollback app`.
pub const ROLLBACK: Command = Command {
    words: "rollback app",
    aliases: &[],
    summary: packed!("Go back to a former release of an app, without a gap"),
    about: packed!(
        "Starts the release before the serving one, or --to N, and switches to it once all its \
            instances are healthy. When one never is, the release that served goes on serving, and the \
            exit code is 7. Variables and secrets are the present ones: `rig rollback config` is the \
            other half. Nothing is built, and a release command is not run. The next deploy is the next \
            release, whichever serves. --timeout limits the wait."
    ),
    args: APP,
    flags: &[&session::NETWORK, &TO_RELEASE],
    examples: packed![
        ("To the one before", "rig rollback app web.blue"),
        ("To a certain one", "rig rollback app web.blue --to 7"),
    ],
    run: rollback,
};

const TO_RELEASE: Flag = Flag { help: packed!("the release's number (`rig list releases`)"), ..TO };

const FIELDS: &[Field] = &[
    field("release", "release", Show::Plain),
    field("state", "state", Show::State),
    field("since", "since", Show::Ago),
    field("what", "what", Show::State),
    field("from", "from", Show::Plain),
    field("by", "by", Show::Plain),
    field("deploy", "deploy", Show::Plain),
    field("kind", "kind", Show::Plain),
    field("error", "error", Show::Brief),
];

fn releases(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = Select { network: name.network.to_string(), app: name.app.to_string() };
    let what = &("release:list", "releases", FIELDS);
    list::ask(session, matches, what, &request, "no releases yet: `rig deploy`")
}

fn rollback(session: &Session, matches: &Matches) -> Result<()> {
    let mut request = names(session, matches, true)?;
    if let Some(to) = number(matches, &TO_RELEASE, "a release's number", "7")? {
        request = [&request, ",\"to\":", &to.to_string()].concat();
    }
    request.push('}');
    let answer = ask(session, "app:rollback", request, "the app was not rolled back", "`rig list releases`")?;
    tell(session, &answer, "release {release} of app {name} of network {network} serves\n{url}")
}
