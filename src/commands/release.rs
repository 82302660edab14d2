//! `rig list releases`, `rig rollback app`, `rig diff release`.

use super::config::TO;
use super::lifecycle::{APP, ask};
use super::list::{self, AFTER, PAGE, SORT, WHERE};
use super::variable::described;
use super::{id, members, names, number, tell};
use crate::api::decode;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::Result;
use crate::packed::{packed, word};
use crate::session::{self, AppName, Session};
use crate::view::{Field, Show, at, field, filled, items, table, text};
use crate::wire::app::Select;
use miniserde::json::Value;
use std::path::Path;

/// `rig list releases`.
pub const LIST: Command = Command {
    words: word("list releases"),
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
    words: word("rollback app"),
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

/// `rig diff release`.
pub const DIFF: Command = Command {
    words: word("diff release"),
    aliases: &[],
    summary: packed!("Compare two releases of an app"),
    about: packed!(
        "What is different in release M from what is in N: the configuration with which they were \
            deployed, how they are built and run, and the files that were sent. Without M the one that serves, without N the one \
            before it. Of secrets fingerprints are compared. The exit code is 1 when there is a \
            difference."
    ),
    args: &[
        Arg { name: word("APP"), help: packed!("the app, or APP.NETWORK (else rig.json)"), required: false },
        Arg { name: word("N"), help: packed!("a release's number"), required: false },
        Arg { name: word("M"), help: packed!("another one's"), required: false },
    ],
    flags: &[&session::NETWORK],
    examples: packed![
        ("What came with the release that serves", "rig diff release web.blue"),
        ("Two releases", "rig diff release web.blue 6 7"),
    ],
    run: diff,
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

const FILES: &[Field] = &[
    field("file", "path", Show::Plain),
    field("change", "change", Show::Plain),
    field("before", "before", Show::Bytes),
    field("after", "after", Show::Bytes),
    field("mode", "mode", Show::Plain),
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

fn diff(session: &Session, matches: &Matches) -> Result<()> {
    // No app's name begins with a digit.
    let is_number = |given: &str| given.starts_with(|first: char| first.is_ascii_digit());
    let first = matches.arg(0);
    let app = first.filter(|given| !is_number(given));
    let AppName { network, app } = session.app(matches, app, Path::new("."))?;
    let mut request = members(&[("network", network.as_str()), ("app", app.as_str())]);
    let skipped = usize::from(first.is_some_and(|given| !is_number(given)));
    for (at, name) in ["from", "to"].into_iter().enumerate() {
        if let Some(given) = matches.arg(at + skipped) {
            let release = id(given, "release", "list releases")?;
            request.push_str(&[",\"", name, "\":", &release.to_string()].concat());
        }
    }
    request.push('}');
    let answer: Value = decode(&session.max()?.ask("release:diff", request)?)?;
    let (changes, files) = (items(&answer, "changes"), items(&answer, "files"));
    if !changes.is_empty() || !files.is_empty() {
        session.exit_code.set(1);
    }
    if session.output.json {
        return session.output.document(&answer);
    }
    changes.iter().try_for_each(|one| session.output.line(&described(one)))?;
    if !files.is_empty() {
        session.output.write(&table(&session.output, files, FILES, None, session.now()))?;
    }
    let note = match (at(&answer, "files"), text(&answer, "more").as_str()) {
        (None | Some(Value::Null), _) => "the files are not compared: they are not kept of both",
        (_, "0") => return Ok(()),
        _ => "and {more} more files",
    };
    session.output.note(&filled(&answer, note));
    Ok(())
}
