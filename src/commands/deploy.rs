//! `rig deploy`: pack, send, follow the build, wait until it serves.

mod follow;
mod preview;
mod send;

use crate::api::decode;
use crate::archive::walk::{Tree, walk};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::commands::members;
use crate::error::{Error, Kind, Result};
use crate::packed::{packed, word};
use crate::session::{self, AppName, Session};
use crate::store::project;
use crate::term::prompt;
use crate::term::prompt::confirm;
use crate::term::text::{bytes, count};
use crate::time::human;
use crate::view::{at, filled, number, text};
use miniserde::json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

const CREATE: Flag = Flag {
    long: word("create"),
    short: None,
    value: word(""),
    help: packed!("create the app when it does not exist"),
};
const LINK: Flag = Flag {
    long: word("link"),
    short: None,
    value: word(""),
    help: packed!("write app and network into a new rig.json"),
};
const DRY_RUN: Flag = Flag {
    long: word("dry-run"),
    short: None,
    value: word(""),
    help: packed!("only show what would be sent, and what is left out"),
};
const EXPLAIN: Flag = Flag {
    long: word("explain"),
    short: None,
    value: word("FILE"),
    help: packed!("only tell whether this is sent, and which rule says so"),
};
const DETACH: Flag = Flag {
    long: word("detach"),
    short: None,
    value: word(""),
    help: packed!("do not wait: print its number once all is sent"),
};
const REPLACE: Flag = Flag {
    long: word("replace"),
    short: None,
    value: word(""),
    help: packed!("cancel deploys of the app that are under way"),
};
const NO_CACHE: Flag = Flag {
    long: word("no-cache"),
    short: None,
    value: word(""),
    help: packed!("build without what former builds have left"),
};

/// `rig deploy`.
pub const DEPLOY: Command = Command {
    words: word("deploy"),
    aliases: &[],
    summary: packed!("Send source code, build it, and switch to it once healthy"),
    about: packed!(
        "Sends the files of a directory (without .git and what .rigignore, or .gitignore \
            where there is none, leaves out), of those that Max does not have, shows the build, waits \
            until the new release is healthy, and prints its URL. What was cut off goes on where it \
            broke off, also with the next `rig deploy`. When anything fails the old release goes on serving \
            and the exit code is 7. A rig.json in the directory may hold \"app\" and \
            \"network\", so that `rig deploy` alone suffices, and \"build\", \"release\" (which \
            runs once before the traffic), \"run\", \"health\" and \"limits\". --timeout limits the \
            whole deploy. Ctrl-C \
            asks whether to cancel it; what was sent goes on without rig. Ignore files may stand in \
            each directory, those above the one that is sent do not count, and their rules mean what \
            they mean to git. --explain takes a path relative to the directory."
    ),
    args: &[Arg {
        name: word("PATH"),
        help: packed!("the directory (else this one), or a .tar.gz; `-`: from standard input"),
        required: false,
    }],
    flags: &[
        &session::APP,
        &session::NETWORK,
        &CREATE,
        &LINK,
        &DETACH,
        &REPLACE,
        &NO_CACHE,
        &DRY_RUN,
        &EXPLAIN,
    ],
    examples: packed![
        ("This directory, as its rig.json says", "rig deploy"),
        (
            "First time: create the app, and link the directory",
            "rig deploy --app web --network blue --create --link",
        ),
        ("What would be sent, and why not", "rig deploy --dry-run; rig deploy --explain src/a.log"),
        ("An archive", "git archive --format=tar.gz HEAD | rig deploy - -a web.blue"),
        ("Without waiting", "rig status deploy \"$(rig deploy --detach)\""),
        ("In CI", "rig deploy --create -o json | jq -r .url"),
    ],
    run: deploy,
};

fn deploy(session: &Session, matches: &Matches) -> Result<()> {
    let given = matches.arg(0).unwrap_or(".");
    let directory = PathBuf::from(given);
    let about = || fs::metadata(&directory).map_err(|error| Error::io("read", given, &error));
    let is_archive = given == "-" || about()?.is_file();
    if let Some(flag) = [&LINK, &DRY_RUN, &EXPLAIN].iter().find(|flag| is_archive && matches.has(flag)) {
        return Err(Error::usage(format!("--{} is for directories", flag.long.text()))
            .hint(packed!("name the directory, or leave it out")));
    }
    if let Some(file) = matches.value(&EXPLAIN) {
        return preview::explain(session, &directory, file);
    }
    if matches.has(&DRY_RUN) {
        return preview::dry_run(session, matches, &directory);
    }
    let name = session.app(matches, None, if is_archive { Path::new(".") } else { &directory })?;
    if matches.has(&LINK) && directory.join(project::FILE).exists() {
        return Err(Error::new(
            Kind::Conflict,
            format!("'{}' exists", directory.join(project::FILE).to_string_lossy()),
        )
        .hint(packed!("write \"app\" and \"network\" into it, and leave --link out")));
    }
    let (began, started) = (SystemTime::now(), Instant::now());
    let deadline = session.limit.map(|limit| started + limit);
    let created = if is_archive {
        let archive = send::Archive::open(given, deadline)?;
        let created = create(session, matches, &name, (0, 0))?;
        archive.send(session, &created, deadline)?;
        created
    } else {
        let tree = walk(&directory)?;
        let welcome = session.max()?.welcome()?;
        check(&tree, &welcome)?;
        let created = create(session, matches, &name, (tree.bytes, tree.entries.len() as u64))?;
        match at(&welcome, "manifests") {
            Some(Value::Bool(true)) => send::contents(session, &created, (tree, began), deadline)?,
            _ => send::whole(session, &created, tree, deadline)?,
        }
        created
    };
    let ended = match matches.has(&DETACH) {
        true => follow::look(session, &created)?,
        false => follow::follow(session, &created, deadline)?,
    };
    if session.output.json {
        session.output.document(&ended)?;
    } else if matches.has(&DETACH) {
        session.output.note(&filled(&ended, "see `rig status deploy {id}`"));
        session.output.line(&text(&ended, "id"))?;
    } else {
        let serves = filled(&ended, "release {release} of {app} serves after ");
        session.output.note(&(serves + &human(started.elapsed())));
        session.output.line(&text(&ended, "url"))?;
    }
    if matches.has(&LINK) {
        project::create(&directory, name.app.as_str(), name.network.as_str())?;
        session.output.note(&format!("wrote '{}'", directory.join(project::FILE).to_string_lossy()));
    }
    Ok(())
}

/// Announces the deploy. Nothing is sent that Max would not take.
fn create(
    session: &Session,
    matches: &Matches,
    name: &AppName,
    (source_bytes, files): (u64, u64),
) -> Result<Value> {
    let app = members(&[("network", name.network.as_str()), ("app", name.app.as_str())]);
    let ask = |create: bool| {
        let (replace, no_cache) = (matches.has(&REPLACE), matches.has(&NO_CACHE));
        let request = format!(
            "{app},\"create\":{create},\"source_bytes\":{source_bytes},\"files\":{files},\"replace\":{replace},\"no_cache\":{no_cache}}}"
        );
        decode::<Value>(&session.max()?.ask("deploy:create", request)?)
    };
    let answer = match ask(matches.has(&CREATE)) {
        Err(error) if error.kind() == Kind::NotFound && error.field_name() == Some("app") => {
            if prompt::possible(&session.output, "--create").is_err() {
                return Err(error.hint(packed!("add --create to create it")));
            }
            let question =
                format!("app '{}' does not exist in network '{}'; create it?", name.app, name.network);
            if !confirm(&session.output, &question, "--create")? {
                return Err(error);
            }
            ask(true)?
        }
        answer => answer?,
    };
    if let Some(Value::Bool(true)) = at(&answer, "created_app") {
        session.output.note(&format!("created app {} in network {}", name.app, name.network));
    }
    Ok(answer)
}

/// Whether Max takes so much.
fn check(tree: &Tree, welcome: &Value) -> Result<()> {
    let limit = |path| at(welcome, path).and_then(number).unwrap_or(u64::MAX);
    let (files, most_files) = (tree.entries.len() as u64, limit("limits.files"));
    let most_bytes = limit("limits.source_bytes");
    let over = |what: String, limit: String| {
        Error::new(Kind::TooLarge, format!("'{}' has {what}; Max takes {limit}", tree.root.to_string_lossy()))
            .hint(packed!("leave out what the app does not need: name it in '.rigignore'"))
    };
    if tree.bytes > most_bytes {
        return Err(over(bytes(tree.bytes), bytes(most_bytes)));
    }
    if files > most_files {
        return Err(over(count(files, "file"), count(most_files, "file")));
    }
    Ok(())
}
