//! `rig create var`, `rig list vars`, `rig delete var`, `rig export vars`, `rig import vars`,
//! `rig apply`.

use super::delete::YES;
use super::lifecycle::ask;
use super::list;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::{packed, word};
use crate::redact::Secret;
use crate::session::{self, Session};
use crate::term::prompt::{confirm, possible};
use crate::term::text::{count, push_safe_lines};
use crate::view::{Field, Show, at, brief, field, items, number, text};
use crate::wire::exec::Variable;
use crate::wire::variable::{Change, Query, Select};
use miniserde::Serialize;
use miniserde::json::{self, Value};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// `--from-file`.
pub const FROM_FILE: Flag = Flag {
    long: word("from-file"),
    short: None,
    value: word("FILE"),
    help: packed!("also those in this dotenv file; `-` is standard input"),
};

/// `--stage`.
pub const STAGE: Flag = Flag {
    long: word("stage"),
    short: None,
    value: word(""),
    help: packed!("restart nothing: `rig apply` or the next deploy does"),
};

/// `--prune`.
pub const PRUNE: Flag = Flag {
    long: word("prune"),
    short: None,
    value: word(""),
    help: packed!("delete those that are not in the file"),
};

/// `--if-version`.
pub const IF_VERSION: Flag = Flag {
    long: word("if-version"),
    short: None,
    value: word("N"),
    help: packed!("only if this still is the configuration's version"),
};

const OWN: Flag = Flag {
    long: word("own"),
    short: None,
    value: word(""),
    help: packed!("without those of the app's network"),
};

/// `rig create var`.
pub const CREATE: Command = Command {
    words: word("create var"),
    aliases: &[],
    summary: packed!("Set variables of an app, or of all apps of a network"),
    about: packed!(
        "Instances, builds, commands and shells have them in their environment; an app's own win \
            over its network's (--network without --app). Running apps are restarted at once, without \
            a failed request; when new instances never are healthy the old ones go on as they were, \
            and the exit code is 1. A value has at most 64 KiB, those of an app together 256 KiB."
    ),
    args: &[Arg {
        name: word("KEY=VALUE..."),
        help: packed!("variables, all set in one step; `-`: as --from-file"),
        required: false,
    }],
    flags: &[&session::APP, &session::NETWORK, &FROM_FILE, &STAGE, &IF_VERSION],
    examples: packed![
        ("Two of them", "rig create var MODE=fast LEVEL=3 --app web.blue"),
        ("For all apps of a network", "rig create var REGION=north --network blue"),
        ("From a dotenv file", "rig create var --from-file .env --app web.blue"),
        ("Several changes, one restart", "rig create var A=1 --stage && rig apply"),
    ],
    run: create,
};

/// `rig list vars`.
pub const LIST: Command = Command {
    words: word("list vars"),
    aliases: &[],
    summary: packed!("List the variables of an app or a network"),
    about: packed!(
        "Of an app also those it has from its network. A long value is cut; `rig export vars` and \
            `-o json` have all of it."
    ),
    args: &[],
    flags: &[&session::APP, &session::NETWORK, &list::WHERE, &list::SORT, &list::PAGE, &list::AFTER],
    examples: packed![
        ("An app's", "rig list vars --app web.blue"),
        ("Those that all apps of a network have", "rig list vars --network blue"),
        ("Those that begin so", "rig list vars --app web.blue --where 'name=DB_*'"),
    ],
    run: show,
};

/// `rig delete var`.
pub const DELETE: Command = Command {
    words: word("delete var"),
    aliases: &[],
    summary: packed!("Delete variables of an app or a network"),
    about: packed!("Running apps are restarted without them, as with `rig create var`."),
    args: &[Arg { name: word("KEY..."), help: packed!("their names"), required: true }],
    flags: &[&session::APP, &session::NETWORK, &STAGE, &IF_VERSION],
    examples: packed![("Two of them", "rig delete var MODE LEVEL --app web.blue")],
    run: delete,
};

/// `rig export vars`.
pub const EXPORT: Command = Command {
    words: word("export vars"),
    aliases: &[],
    summary: packed!("Print variables as a dotenv file"),
    about: packed!("Of an app also those it has from its network."),
    args: &[],
    flags: &[&session::APP, &session::NETWORK, &OWN],
    examples: packed![
        ("For a start on this machine", "rig export vars --app web.blue > .env"),
        ("From one app to another", "rig export vars -a web.blue --own | rig import vars - -a api.blue -y"),
    ],
    run: export,
};

/// `rig import vars`.
pub const IMPORT: Command = Command {
    words: word("import vars"),
    aliases: &[],
    summary: packed!("Set variables from a dotenv file, asking first"),
    about: packed!(
        "Shows which variables are added, changed and removed, and asks; without a terminal it \
            needs --yes. Quotes, escapes, `export`, comments and values of several lines are read; \
            `$` is an ordinary character."
    ),
    args: &[Arg { name: word("FILE"), help: packed!("the file; `-` is standard input"), required: true }],
    flags: &[&session::APP, &session::NETWORK, &PRUNE, &STAGE, &IF_VERSION, &YES],
    examples: packed![
        ("Ask first", "rig import vars .env --app web.blue"),
        ("Exactly those in the file, in a script", "rig import vars .env -a web.blue --prune --yes"),
    ],
    run: import,
};

/// `rig apply`.
pub const APPLY: Command = Command {
    words: word("apply"),
    aliases: &[],
    summary: packed!("Restart apps with the variables that are staged"),
    about: packed!(
        "Does nothing where nothing is staged. --network without an app: all apps of the network."
    ),
    args: &[Arg {
        name: word("APP"),
        help: packed!("the app, or APP.NETWORK (else rig.json)"),
        required: false,
    }],
    flags: &[&session::NETWORK],
    examples: packed![("An app", "rig apply web.blue"), ("All of a network", "rig apply --network blue")],
    run: apply,
};

/// The columns of variables.
pub const FIELDS: &[Field] = &[
    field("variable", "name", Show::Plain),
    field("value", "value", Show::Brief),
    field("from", "from", Show::Plain),
    field("overrides", "overrides", Show::Plain),
    field("staged", "staged", Show::Plain),
    field("set", "updated_at", Show::Ago),
    field("by", "updated_by", Show::Plain),
];

/// The most bytes of a file that are read.
const FILE_MAX: u64 = 1 << 20;

/// The app that is named, or with `--network` alone the network.
pub fn scope(session: &Session, matches: &Matches, given: Option<&str>) -> Result<Select> {
    let named = given.is_some() || matches.has(&session::APP);
    if !named && matches.has(&session::NETWORK) {
        return Ok(Select { network: session.network(matches, None)?.to_string(), app: None });
    }
    let name = session.app(matches, given, Path::new("."))?;
    Ok(Select { network: name.network.to_string(), app: Some(name.app.to_string()) })
}

/// `app web of network blue`, `network blue`.
pub fn place(of: &Select) -> String {
    match &of.app {
        Some(app) => format!("app {app} of network {}", of.network),
        None => format!("network {}", of.network),
    }
}

/// `web.blue`, `--network blue`.
fn argument(of: &Select) -> String {
    match &of.app {
        Some(app) => format!("{app}.{}", of.network),
        None => format!("--network {}", of.network),
    }
}

fn create(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let (mut set, mut file) = (Vec::new(), matches.value(&FROM_FILE));
    for (at, given) in matches.args.iter().enumerate() {
        match given.split_once('=') {
            Some((name, value)) => set.push(Variable { name: name.to_owned(), value: value.to_owned() }),
            None if given == "-" && file.is_none() => file = Some("-"),
            // It may be half of a value that a shell has cut: not shown, unless it is first.
            None => {
                let what = if at == 0 { format!("'{given}'") } else { format!("argument {}", at + 1) };
                return Err(Error::usage(format!("{what} is not of the form KEY=VALUE"))
                    .hint(packed!("quote a value with spaces: 'KEY=two words'")));
            }
        }
    }
    if set.is_empty() && file.is_none() {
        return Err(Error::usage(packed!("`rig create var` needs KEY=VALUE or --from-file"))
            .hint(packed!("see `rig create var --help`")));
    }
    let text = file.map(content).transpose()?;
    let request = change_of(&of, matches)?;
    send(session, &of, "var:change", &Change { set, text, ..request }, file)
}

fn delete(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let request = change_of(&of, matches)?;
    send(session, &of, "var:change", &Change { delete: matches.args.clone(), ..request }, None)
}

fn import(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let file = matches.arg(0);
    let text = file.map(content).transpose()?;
    let request = Change { text, prune: matches.has(&PRUNE), ..change_of(&of, matches)? };
    if matches.has(&YES) {
        return send(session, &of, "var:change", &request, file);
    }
    possible(&session.output, "--yes")?;
    let request = Change { preview: true, ..request };
    let preview = session.max()?.document("var:change", &request).map_err(|error| in_file(error, file))?;
    agree(session, &of, &preview)?;
    // What was looked at is what is changed.
    let version = at(&preview, "version").and_then(number);
    send(session, &of, "var:change", &Change { version, preview: false, ..request }, file)
}

fn content(path: &str) -> Result<String> {
    Ok(read(path)?.reveal().to_owned())
}

/// Shows what would change and asks whether it shall.
pub fn agree(session: &Session, of: &Select, preview: &Value) -> Result<()> {
    let changes = items(preview, "changes");
    for one in changes {
        session.output.note(&described(one));
    }
    let question = format!("make {} for {}?", count(changes.len() as u64, "change"), place(of));
    match changes.is_empty() || confirm(&session.output, &question, "--yes")? {
        true => Ok(()),
        false => Err(Error::new(Kind::Failed, "nothing was changed")),
    }
}

/// `~ variable MODE of app web: slow -> fast`, as far as it is told.
pub fn described(change: &Value) -> String {
    let mark = match text(change, "change").as_str() {
        "added" => "+",
        "removed" => "-",
        _ => "~",
    };
    let mut words = vec![mark.to_owned(), text(change, "kind"), text(change, "name")];
    let app = text(change, "app");
    if !app.is_empty() && text(change, "kind") != "app" {
        words.push(format!("of app {app}"));
    }
    words.retain(|word| !word.is_empty());
    let (before, after) = (brief(text(change, "before")), brief(text(change, "after")));
    let values = match (before.is_empty(), after.is_empty()) {
        (true, true) => return words.join(" "),
        (true, false) => after,
        (false, true) => before,
        _ => format!("{before} -> {after}"),
    };
    format!("{}: {values}", words.join(" "))
}

/// A request that changes nothing yet.
fn change_of(of: &Select, matches: &Matches) -> Result<Change> {
    Ok(Change {
        network: of.network.clone(),
        app: of.app.clone(),
        set: Vec::new(),
        text: None,
        delete: Vec::new(),
        prune: false,
        version: if_version(matches)?,
        stage: matches.has(&STAGE),
        preview: false,
    })
}

/// The version that a change is made from.
pub fn if_version(matches: &Matches) -> Result<Option<u64>> {
    super::number(matches, &IF_VERSION, "a version's number", "7")
}

/// A text file, or standard input.
pub fn read(path: &str) -> Result<Secret> {
    read_most(path, FILE_MAX)
}

/// The same of at most so many bytes.
pub fn read_most(path: &str, most: u64) -> Result<Secret> {
    let failed = |error| Error::io("read", path, &error);
    // So much at once that what grows leaves no copies behind.
    let mut bytes = Vec::with_capacity(most as usize + 1);
    let file: &mut dyn Read = match path {
        "-" => &mut io::stdin().lock(),
        _ => &mut File::open(path).map_err(failed)?,
    };
    let read = file.take(most + 1).read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).map(Secret::new);
    read.map_err(failed)?;
    let text = text.map_err(|_| Error::usage(format!("'{path}' is not valid UTF-8")))?;
    if text.reveal().len() as u64 > most {
        return Err(Error::new(Kind::TooLarge, format!("'{path}' has more than {most} bytes")));
    }
    Ok(text)
}

/// What is wrong with a line of a file names the file.
pub fn in_file(error: Error, file: Option<&str>) -> Error {
    match (error.field_name(), file) {
        (Some(field @ ("text" | "document")), Some(file)) => {
            let named = Error::new(error.kind(), format!("'{file}': {}", error.message()));
            let see =
                if field == "text" { "see `rig import vars --help`" } else { "see `rig import --help`" };
            named.hint(error.hint_text().unwrap_or(see))
        }
        _ => error,
    }
}

/// Asks for the change and tells what came of it.
pub fn send(
    session: &Session,
    of: &Select,
    event: &str,
    request: &dyn Serialize,
    file: Option<&str>,
) -> Result<()> {
    let late = format!("{} was not changed", place(of));
    let see = format!("`rig list vars {}`", flags(of));
    let answer =
        ask(session, event, json::to_string(request), &late, &see).map_err(|error| in_file(error, file))?;
    if !session.output.json {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for one in items(&answer, "changes") {
            let names = if text(one, "change") == "removed" { &mut gone } else { &mut set };
            names.push(text(one, "name"));
        }
        for (done, names) in [("set", &set), ("deleted", &gone)] {
            if !names.is_empty() {
                session.output.line(&format!("{done} {} of {}", names.join(", "), place(of)))?;
            }
        }
        if set.is_empty() && gone.is_empty() {
            session.output.line(&format!("nothing is different for {}", place(of)))?;
        }
    }
    outcome(session, of, &answer)
}

/// `--app web --network blue`, `--network blue`.
pub fn flags(of: &Select) -> String {
    match &of.app {
        Some(_) => format!("--app {}", argument(of)),
        None => argument(of),
    }
}

fn apply(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, matches.arg(0))?;
    let late = format!("what is staged for {} was not applied", place(&of));
    let answer =
        ask(session, "var:apply", json::to_string(&of), &late, &format!("`rig list vars {}`", flags(&of)))?;
    if !session.output.json && items(&answer, "apps").is_empty() {
        session.output.line(&format!("nothing is staged for {}", place(&of)))?;
    }
    outcome(session, &of, &answer)
}

/// Tells what came of it for each app; fails when it is a failure for one.
pub fn outcome(session: &Session, of: &Select, answer: &Value) -> Result<()> {
    if session.output.json {
        session.output.document(answer)?;
    }
    let mut failed = Vec::new();
    for one in items(answer, "apps") {
        let (app, network) = (text(one, "app"), &of.network);
        let line = match text(one, "state").as_str() {
            "failed" => {
                failed.push(one);
                continue;
            }
            "staged" => format!("staged for app {app}: `rig apply {app}.{network}`, or the next deploy"),
            "scaled" => format!("scaled app {app} of network {network}"),
            "ready" => format!("app {app} of network {network} has them when it starts"),
            _ => format!("restarted app {app} of network {network}"),
        };
        if !session.output.json {
            session.output.line(&line)?;
        }
    }
    let told = |one: &Value| Error::new(Kind::Failed, text(one, "error")).hint(text(one, "hint"));
    let Some((last, others)) = failed.split_last() else { return Ok(()) };
    if !session.output.json {
        others.iter().for_each(|one| session.output.error(&told(one)));
    }
    Err(told(last))
}

fn show(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let none = format!("no variables yet: `rig create var KEY=VALUE {}`", flags(&of));
    let answer = list::answer(session, matches, &("var:list", "variables", FIELDS), &of, &none)?;
    let removed = items(&answer, "staged").iter().filter(|one| text(one, "change") == "removed");
    let removed: Vec<_> = removed.map(|one| text(one, "name")).collect();
    if !removed.is_empty() {
        session.output.note(&format!(
            "staged: {} removed; `rig apply {}`, or the next deploy",
            removed.join(", "),
            argument(&of)
        ));
    }
    Ok(())
}

fn export(session: &Session, matches: &Matches) -> Result<()> {
    let Select { network, app } = scope(session, matches, None)?;
    let request = Query { network, app, own: matches.has(&OWN) };
    let answer = session.max()?.document("var:export", &request)?;
    if session.output.json {
        return session.output.document(&answer);
    }
    let Some(Value::String(text)) = at(&answer, "text") else { return Ok(()) };
    if !session.output.terminal {
        return session.output.write(text);
    }
    let mut shown = String::new();
    push_safe_lines(&mut shown, text);
    session.output.write(&shown)
}
