//! `rig start app`, `rig stop app`, `rig restart app`, `rig scale app`.

use super::tell;
use super::variable::{IF_VERSION, if_version};
use crate::api::decode;
use crate::cli::{Arg, Command, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::{packed, word};
use crate::session::{self, AppName, Session};
use crate::term::on_interrupt;
use crate::term::text::count;
use crate::view::text;
use crate::wire::app::{Scale, Select};
use miniserde::Serialize;
use miniserde::json::{self, Value};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it may take unless `--timeout` says otherwise: an app decides itself how long
/// its instances may take to become healthy.
const LIMIT: Duration = Duration::from_secs(3600);

/// The app that a command is about.
pub const APP: &[Arg] =
    &[Arg { name: word("APP"), help: packed!("the app, or APP.NETWORK (else rig.json)"), required: false }];

/// `rig start app`.
pub const START: Command = Command {
    words: word("start app"),
    aliases: &[],
    summary: packed!("Start an app that was stopped"),
    about: packed!(
        "Waits until all its instances are healthy. When one never is, the app stays stopped. \
            --timeout limits the wait."
    ),
    args: APP,
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig start app web.blue")],
    run: start,
};

/// `rig stop app`.
pub const STOP: Command = Command {
    words: word("stop app"),
    aliases: &[],
    summary: packed!("Stop an app until it is started again"),
    about: packed!(
        "Answers the requests that were begun, at most ten seconds long, and ends all its \
            instances. Its visitors get 503, and are told that it is stopped. It stays so, also when \
            Max is restarted, until `rig start app` or the next deploy."
    ),
    args: APP,
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig stop app web.blue")],
    run: stop,
};

/// `rig restart app`.
pub const RESTART: Command = Command {
    words: word("restart app"),
    aliases: &[],
    summary: packed!("Put new instances in place of an app's, without a gap"),
    about: packed!(
        "Starts new instances of the same release, switches to them once all are healthy, and \
            then stops the old ones. When one never is healthy the old ones go on serving, and the \
            exit code is 1. --timeout limits the wait."
    ),
    args: APP,
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig restart app web.blue")],
    run: restart,
};

/// `rig scale app`.
pub const SCALE: Command = Command {
    words: word("scale app"),
    aliases: &[],
    summary: packed!("Set how many instances of an app run"),
    about: packed!(
        "New ones get requests once all of them are healthy; those that are too many answer what \
            they have begun. Each request goes to the healthy instance that has the fewest. The \
            number stays for later deploys. --timeout limits the wait."
    ),
    args: &[
        Arg { name: word("APP"), help: packed!("the app, or APP.NETWORK"), required: true },
        Arg { name: word("COUNT"), help: packed!("how many, from 1 to 20"), required: true },
    ],
    flags: &[&session::NETWORK, &IF_VERSION],
    examples: packed![
        ("Three of them", "rig scale app web.blue 3"),
        ("How many run", "rig status app web.blue -o json | jq .app.running"),
    ],
    run: scale,
};

fn start(session: &Session, matches: &Matches) -> Result<()> {
    toggle(session, matches, "app:start", "started", |state| !["stopped", "empty"].contains(&state))
}

fn stop(session: &Session, matches: &Matches) -> Result<()> {
    toggle(session, matches, "app:stop", "stopped", |state| state == "stopped")
}

/// Starts or stops, and says so if it was so `already`.
fn toggle(
    session: &Session,
    matches: &Matches,
    event: &str,
    done: &str,
    already: fn(&str) -> bool,
) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = select(&name);
    let before = match session.output.json {
        true => None,
        false => Some(session.max()?.document("app:status", &request)?),
    };
    let answer = change(session, &name, event, &request, done)?;
    let line = match before.is_some_and(|before| already(&text(&before, "app.state"))) {
        true => format!("app {{name}} of network {{network}} was {done} already"),
        false => format!("{done} app {{name}} of network {{network}}"),
    };
    tell(session, &answer, &line)
}

fn restart(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let answer = change(session, &name, "app:restart", &select(&name), "restarted")?;
    tell(session, &answer, "restarted app {name} of network {network}")
}

fn scale(session: &Session, matches: &Matches) -> Result<()> {
    let given = matches.arg(1).unwrap_or_default();
    let instances = given.parse().map_err(|_| {
        Error::usage(format!("'{given}' is no number of instances"))
            .hint(packed!("write for instance `rig scale app web.blue 3`"))
    })?;
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let Select { network, app } = select(&name);
    let request = Scale { network, app, instances, version: if_version(matches)? };
    let answer = change(session, &name, "app:scale", &request, "scaled")?;
    let size = count(instances, "instance");
    tell(session, &answer, &format!("scaled app {{name}} of network {{network}} to {size}"))
}

fn select(name: &AppName) -> Select {
    Select { network: name.network.to_string(), app: name.app.to_string() }
}

/// Asks for a change of an app and waits until it is made.
fn change(
    session: &Session,
    name: &AppName,
    event: &str,
    request: &dyn Serialize,
    done: &str,
) -> Result<Value> {
    let AppName { network, app } = name;
    let (late, see) = (format!("app '{app}' was not {done}"), format!("`rig status app {app}.{network}`"));
    ask(session, event, json::to_string(request), &late, &see)
}

/// Asks for something that takes as long as apps do, and waits until it is done. `late` says
/// what was not, and `see` where to look then.
pub fn ask(session: &Session, event: &str, request: String, late: &str, see: &str) -> Result<Value> {
    let (limit, max) = (session.limit.unwrap_or(LIMIT), session.max()?);
    // Nothing goes on in a Max that can't be reached.
    max.welcome()?;
    on_interrupt(&format!("that goes on in Max; see {see}"));
    let began = Instant::now();
    let answer = max.ask_within(limit, event, request).map_err(|error| {
        if ![Kind::TimedOut, Kind::Unreachable].contains(&error.kind()) || began.elapsed() < limit {
            return error;
        }
        Error::new(Kind::TimedOut, format!("{late} in time; that goes on in Max"))
            .hint(format!("see {see}, or give it longer with --timeout"))
    });
    on_interrupt("");
    decode(&answer?)
}
