//! `rig export app`, `rig export network`, `rig import`, `rig validate`, `rig diff`: the
//! configuration of an app or a network as one document.

use super::delete::YES;
use super::lifecycle::ask;
use super::list::named;
use super::tell;
use super::variable::{PRUNE, STAGE, agree, described, in_file, outcome, place, read_most};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::document::{BYTES_MAX, check};
use crate::error::{Error, Kind, Result};
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::term::prompt::possible;
use crate::term::text::count;
use crate::view::{at, items, number, text};
use crate::wire::config::{Diff, Export, Import};
use crate::wire::variable::Select;
use miniserde::Serialize;
use miniserde::json::{self, Value};
use std::path::Path;

const NO_SECRETS: Flag = Flag {
    long: word("no-secrets"),
    short: None,
    value: word(""),
    help: packed!("leave the values of secrets out"),
};
const KEEP_SECRETS: Flag = Flag { help: packed!("leave secrets as they are"), ..NO_SECRETS };
const DRY_RUN: Flag = Flag {
    long: word("dry-run"),
    short: None,
    value: word(""),
    help: packed!("show what would change, and change nothing"),
};
const OFFLINE: Flag =
    Flag { long: word("offline"), short: None, value: word(""), help: packed!("ask no Max") };
const TO_NETWORK: Flag = Flag { help: packed!("another network than the document's"), ..session::NETWORK };
const TO_APP: Flag = Flag { help: packed!("another app than the document's"), ..session::APP };
const PRUNE_ALL: Flag = Flag { help: packed!("remove what is not in the file"), ..PRUNE };
const FILE: Arg =
    Arg { name: word("FILE"), help: packed!("the document; `-` is standard input"), required: true };

/// `rig export app`.
pub const EXPORT_APP: Command = Command {
    words: word("export app"),
    aliases: &[],
    summary: packed!("Print the configuration of an app as a document"),
    about: packed!(
        "Variables, secrets and the number of instances; not its code. Secrets are in it as they \
            are sealed: only you can import them again, and only where Max has the same master key."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: &[&session::NETWORK, &NO_SECRETS],
    examples: packed![("A backup", "rig export app web.blue > web.json")],
    run: export_app,
};

/// `rig export network`.
pub const EXPORT_NETWORK: Command = Command {
    words: word("export network"),
    aliases: &[],
    summary: packed!("Print the configuration of a network with its apps"),
    about: packed!("As `rig export app`, of all its apps, with what they share and its webhooks."),
    args: &[Arg { name: word("NETWORK"), help: packed!("the network (else rig.json)"), required: false }],
    flags: &[&session::NETWORK, &NO_SECRETS],
    examples: packed![
        ("A backup", "rig export network blue > blue.json"),
        ("For a repository", "rig export network blue --no-secrets > blue.json"),
    ],
    run: export_network,
};

/// `rig import`.
pub const IMPORT: Command = Command {
    words: word("import"),
    aliases: &[],
    summary: packed!("Make a configuration what an exported document says"),
    about: packed!(
        "Shows what would be created, changed and removed, and asks; without a terminal it needs \
            --yes. All of it happens or nothing. What the document does not have stays, unless \
            --prune; then apps go to the trash. Running apps are restarted, as with `rig create \
            var`; code is deployed apart."
    ),
    args: &[FILE],
    flags: &[&TO_APP, &TO_NETWORK, &PRUNE_ALL, &KEEP_SECRETS, &DRY_RUN, &STAGE, &YES],
    examples: packed![
        ("Ask first", "rig import blue.json"),
        ("A copy under another name", "rig import blue.json --network green"),
        ("Exactly what is in the file, in a script", "rig import blue.json --prune --yes"),
    ],
    run: import,
};

/// `rig validate`.
pub const VALIDATE: Command = Command {
    words: word("validate"),
    aliases: &[],
    summary: packed!("Check an exported document without importing it"),
    about: packed!(
        "First by itself, then Max tries what an import would do; when you are not logged in, or \
            with --offline, as far as that goes without."
    ),
    args: &[FILE],
    flags: &[&TO_APP, &TO_NETWORK, &KEEP_SECRETS, &OFFLINE],
    examples: packed![("In CI, without a token", "rig validate blue.json --offline")],
    run: validate,
};

/// `rig diff`.
pub const DIFF: Command = Command {
    words: word("diff"),
    aliases: &[],
    summary: packed!("Compare a document with what there is, or two apps"),
    about: packed!(
        "Tells what `rig import --prune` would change; or what is different in the second app, \
            with what it has from its network and how its release is run. Of two apps' secrets only \
            the names are compared. The exit code is 1 when there is a difference."
    ),
    args: &[
        Arg {
            name: word("FILE|APP1"),
            help: packed!("a document (`-` is standard input), or an app"),
            required: true,
        },
        Arg { name: word("APP2"), help: packed!("the app to compare it with"), required: false },
    ],
    flags: &[&TO_APP, &TO_NETWORK],
    examples: packed![
        ("What has drifted", "rig diff blue.json"),
        ("Two apps", "rig diff web.staging web.blue")
    ],
    run: diff,
};

fn export_app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    export(session, matches, name.network.to_string(), Some(name.app.to_string()))
}

fn export_network(session: &Session, matches: &Matches) -> Result<()> {
    export(session, matches, session.network(matches, matches.arg(0))?.to_string(), None)
}

fn export(session: &Session, matches: &Matches, network: String, app: Option<String>) -> Result<()> {
    let request = Export { network, app, secrets: !matches.has(&NO_SECRETS) };
    let answer = session.max()?.document("config:export", &request)?;
    let Some(Value::String(document)) = at(&answer, "document") else {
        return Err(Error::new(Kind::Internal, packed!("Max's answer holds no document")));
    };
    // It is JSON whatever the output's format.
    document.lines().try_for_each(|line| session.output.raw_json(line))
}

/// The file that is named: its text, if it is a document.
fn document(file: &str) -> Result<String> {
    let text = read_most(file, BYTES_MAX as u64)?.reveal().to_owned();
    check(&text).map_err(|error| in_file(error, Some(file)))?;
    Ok(text)
}

/// What an import of the file asks for.
fn request(matches: &Matches, file: &str) -> Result<Import> {
    let (network, app) = named(matches.value(&TO_APP), matches.value(&TO_NETWORK))?;
    Ok(Import {
        document: document(file)?,
        network,
        app,
        prune: matches.has(&PRUNE),
        secrets: !matches.has(&NO_SECRETS),
        version: None,
        stage: matches.has(&STAGE),
        preview: true,
    })
}

/// What an answer is about.
fn of(answer: &Value) -> Select {
    Select { network: text(answer, "network"), app: Some(text(answer, "app")).filter(|app| !app.is_empty()) }
}

fn import(session: &Session, matches: &Matches) -> Result<()> {
    let file = matches.arg(0).unwrap_or_default();
    let (dry, sure) = (matches.has(&DRY_RUN), matches.has(&YES));
    let mut request = request(matches, file)?;
    if dry || !sure {
        if !dry {
            possible(&session.output, "--yes")?;
        }
        let preview = session.max()?.document("config:import", &request);
        let preview = preview.map_err(|error| in_file(error, Some(file)))?;
        if dry {
            return differences(session, &preview);
        }
        unset(session, &preview);
        agree(session, &of(&preview), &preview)?;
        request.version = at(&preview, "version").and_then(number);
    }
    request.preview = false;
    let (late, see) = (format!("'{file}' was not imported"), "`rig list history`");
    let answer = ask(session, "config:import", json::to_string(&request), &late, see);
    let answer = answer.map_err(|error| in_file(error, Some(file)))?;
    let of = of(&answer);
    if !session.output.json {
        let changes = count(items(&answer, "changes").len() as u64, "change");
        session.output.line(&format!("imported {changes} for {}", place(&of)))?;
        for webhook in items(&answer, "webhooks") {
            tell(session, webhook, "created webhook {id}, to {url}; its secret, shown this once: {secret}")?;
        }
        if sure {
            unset(session, &answer);
        }
    }
    outcome(session, &of, &answer)
}

/// Warns of the secrets whose values the document does not hold.
fn unset(session: &Session, answer: &Value) {
    for name in items(answer, "unset") {
        let name = text(name, "");
        session
            .output
            .warn(&format!("the document does not hold the value of secret {name}: set it yourself"));
    }
}

/// The answer of `rig validate`.
#[derive(Serialize)]
struct Validation<'a> {
    file: &'a str,
    complete: bool,
}

fn validate(session: &Session, matches: &Matches) -> Result<()> {
    let file = matches.arg(0).unwrap_or_default();
    let request = request(matches, file)?;
    let max = match session.max() {
        _ if matches.has(&OFFLINE) => None,
        Err(error) if error.kind() == Kind::Unauthenticated => None,
        max => Some(max?),
    };
    if let Some(max) = max {
        let preview = max.document("config:import", &request);
        unset(session, &preview.map_err(|error| in_file(error, Some(file)))?);
    }
    let complete = max.is_some();
    if session.output.json {
        return session.output.document(&Validation { file, complete });
    }
    let how = if complete { "" } else { ", as far as that can be told without Max" };
    session.output.line(&format!("'{file}' is valid{how}"))
}

fn diff(session: &Session, matches: &Matches) -> Result<()> {
    let first = matches.arg(0).unwrap_or_default();
    let answer = if let Some(second) = matches.arg(1) {
        let app = |given: &str| session.app(matches, Some(given), Path::new("."));
        let (first, second) = (app(first)?, app(second)?);
        let request = Diff {
            document: None,
            network: Some(first.network.to_string()),
            app: Some(first.app.to_string()),
            other_network: Some(second.network.to_string()),
            other_app: Some(second.app.to_string()),
        };
        session.max()?.document("config:diff", &request)?
    } else {
        let (network, app) = named(matches.value(&TO_APP), matches.value(&TO_NETWORK))?;
        let document = Some(document(first)?);
        let request = Diff { document, network, app, other_network: None, other_app: None };
        session.max()?.document("config:diff", &request).map_err(|error| in_file(error, Some(first)))?
    };
    if !items(&answer, "changes").is_empty() {
        session.exit_code.set(1);
    }
    differences(session, &answer)
}

/// Prints what is different.
fn differences(session: &Session, answer: &Value) -> Result<()> {
    unset(session, answer);
    if session.output.json {
        return session.output.document(answer);
    }
    items(answer, "changes").iter().try_for_each(|one| session.output.line(&described(one)))
}
