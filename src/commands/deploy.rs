//! `rig deploy`: pack, send, follow the build, wait until it serves.

mod follow;
mod preview;

use crate::api::decode;
use crate::archive::pack::Pack;
use crate::archive::walk::{Tree, walk};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::session::{self, AppName, Session};
use crate::store::project;
use crate::term::progress::Progress;
use crate::term::prompt;
use crate::term::prompt::confirm;
use crate::term::text::{bytes, count};
use crate::time::human;
use crate::wire::deploy::{Create, Deploy};
use crate::wire::{Limits, Welcome};
use miniserde::json;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Instant;

const CREATE: Flag =
    Flag { long: "create", short: None, value: "", help: packed!("create the app when it does not exist") };
const LINK: Flag =
    Flag { long: "link", short: None, value: "", help: packed!("write app and network into a new rig.json") };
const DRY_RUN: Flag = Flag {
    long: "dry-run",
    short: None,
    value: "",
    help: packed!("only show what would be sent, and what is left out"),
};
const EXPLAIN: Flag = Flag {
    long: "explain",
    short: None,
    value: "FILE",
    help: packed!("only tell whether this is sent, and which rule says so"),
};
const DETACH: Flag = Flag {
    long: "detach",
    short: None,
    value: "",
    help: packed!("do not wait: print its number once all is sent"),
};
const REPLACE: Flag = Flag {
    long: "replace",
    short: None,
    value: "",
    help: packed!("cancel deploys of the app that are under way"),
};

/// `rig deploy`.
pub const DEPLOY: Command = Command {
    words: "deploy",
    aliases: &[],
    summary: packed!("Send source code, build it, and switch to it once healthy"),
    about: packed!(
        "Sends the files of a directory (without .git and what .rigignore, or .gitignore \
            where there is none, leaves out), shows the build, waits until the new release is \
            healthy, and prints its URL. When anything fails the old release goes on serving \
            and the exit code is 7. A rig.json in the directory may hold \"app\" and \
            \"network\", so that `rig deploy` alone suffices, and \"build\", \"release\" (which \
            runs once before the traffic), \"run\", \"health\" and \"limits\". --timeout limits the \
            whole deploy. Ctrl-C \
            asks whether to cancel it; what was sent goes on without rig. Ignore files may stand in \
            each directory, those above the one that is sent do not count, and their rules mean what \
            they mean to git. --explain takes a path below the directory."
    ),
    args: &[Arg { name: "PATH", help: packed!("the directory (this one by default)"), required: false }],
    flags: &[&session::APP, &session::NETWORK, &CREATE, &LINK, &DETACH, &REPLACE, &DRY_RUN, &EXPLAIN],
    examples: packed![
        ("This directory, as its rig.json says", "rig deploy"),
        (
            "First time: create the app, and link the directory",
            "rig deploy --app web --network blue --create --link",
        ),
        ("What would be sent, and why not", "rig deploy --dry-run; rig deploy --explain src/a.log"),
        ("Without waiting", "rig status deploy \"$(rig deploy --detach)\""),
        ("In CI", "rig deploy --create -o json | jq -r .url"),
    ],
    run: deploy,
};

fn deploy(session: &Session, matches: &Matches) -> Result<()> {
    let directory = PathBuf::from(matches.arg(0).unwrap_or("."));
    if let Some(file) = matches.value(&EXPLAIN) {
        return preview::explain(session, &directory, file);
    }
    if matches.has(&DRY_RUN) {
        return preview::dry_run(session, &directory);
    }
    let name = session.app(matches, None, &directory)?;
    if matches.has(&LINK) && directory.join(project::FILE).exists() {
        return Err(Error::new(
            Kind::Conflict,
            format!("'{}' exists", directory.join(project::FILE).to_string_lossy()),
        )
        .hint(packed!("write \"app\" and \"network\" into it, and leave --link out")));
    }
    let tree = walk(&directory)?;
    let started = Instant::now();
    let created = create(session, matches, &name, &tree)?;
    let deadline = session.limit.map(|limit| started + limit);
    upload(session, &created, tree)?;
    let ended = match matches.has(&DETACH) {
        true => follow::look(session, &created)?,
        false => follow::follow(session, &created, deadline)?,
    };
    if matches.has(&LINK) {
        project::create(&directory, name.app.as_str(), name.network.as_str())?;
        session.output.note(&format!("wrote '{}'", directory.join(project::FILE).to_string_lossy()));
    }
    if session.output.json {
        return session.output.document(&ended);
    }
    if matches.has(&DETACH) {
        session.output.note(&format!("see `rig status deploy {}`", ended.id));
        return session.output.line(&ended.id.to_string());
    }
    let release = ended.release.map_or(String::new(), |release| format!("release {release} "));
    session.output.note(&format!("{release}of {} serves after {}", name.app, human(started.elapsed())));
    session.output.line(&ended.url)
}

/// Announces the deploy. Nothing is sent that Max would not take.
fn create(session: &Session, matches: &Matches, name: &AppName, tree: &Tree) -> Result<Deploy> {
    check(tree, &limits(session)?)?;
    let files = tree.entries.len() as u64;
    let request = |create| {
        json::to_string(&Create {
            network: name.network.to_string(),
            app: name.app.to_string(),
            create,
            source_bytes: tree.bytes,
            files,
            replace: Some(matches.has(&REPLACE)),
        })
    };
    let ask = |create| decode::<Deploy>(&session.max()?.ask("deploy:create", request(create))?);
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
    if answer.created_app {
        session.output.note(&format!("created app {} in network {}", name.app, name.network));
    }
    Ok(answer)
}

/// What Max takes at most.
fn limits(session: &Session) -> Result<Limits> {
    let welcome: Welcome = session.max()?.welcome()?;
    Ok(welcome.limits)
}

/// Whether Max takes so much.
fn check(tree: &Tree, limits: &Limits) -> Result<()> {
    let files = tree.entries.len() as u64;
    let over = |what: String, limit: String| {
        Error::new(Kind::TooLarge, format!("'{}' has {what}; Max takes {limit}", tree.root.to_string_lossy()))
            .hint(packed!("leave out what the app does not need: name it in '.rigignore'"))
    };
    if tree.bytes > limits.source_bytes {
        return Err(over(bytes(tree.bytes), bytes(limits.source_bytes)));
    }
    if files > limits.files {
        return Err(over(count(files, "file"), count(limits.files, "file")));
    }
    Ok(())
}

/// The archive, with the progress shown as it is read.
struct Watched<'a> {
    pack: Pack,
    progress: Progress<'a>,
    deadline: Option<Instant>,
}

impl Read for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.progress.update(self.pack.done(), now);
        self.pack.read(out)
    }
}

fn upload(session: &Session, deploy: &Deploy, tree: Tree) -> Result<()> {
    let (files, total) = (tree.entries.len() as u64, tree.bytes);
    let output = &session.output;
    output.note(&format!("sending {} ({})", count(files, "file"), bytes(total)));
    let deadline = session.limit.map(|limit| Instant::now() + limit);
    let progress = Progress::new(output, total, Instant::now());
    let mut body = Watched { pack: Pack::new(tree)?, progress, deadline };
    if let Err(error) = session.max()?.upload(&deploy.upload_path, "application/gzip", &mut body) {
        return Err(body.pack.failure().unwrap_or(error));
    }
    body.progress.finish(Instant::now());
    Ok(())
}
