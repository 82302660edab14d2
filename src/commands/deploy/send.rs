//! Sends the source of a deploy: of a tree what Max does not have, or an archive as it is.

use super::follow::{cancel, look};
use crate::api::decode;
use crate::archive::contents::Contents;
use crate::archive::index::{self, Index};
use crate::archive::pack::{Pack, Part, Reading};
use crate::archive::walk::{Kind as Entry, Tree};
use crate::commands::members;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hasher, hex, parse_ranges};
use crate::packed::packed;
use crate::session::{AppName, Session, environment};
use crate::store::atomic;
use crate::store::config::cache;
use crate::sys::files;
use crate::term::on_interrupt;
use crate::term::progress::Progress as Shown;
use crate::term::text::{bytes, count};
use crate::view::{self, at, filled, items, text};
use miniserde::json::Value;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

/// How often in a row it is tried again without getting any further.
const TRIES: u32 = 8;
/// The first pause before that; each next one is twice as long, up to a bound.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How what is gzip-compressed begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A body, with the progress shown as it is read.
struct Watched<'a> {
    pack: Pack,
    shown: Shown<'a>,
}

impl Read for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.shown.update(self.pack.done(), Instant::now());
        self.pack.read(out)
    }
}

/// Sends what `pack` gives, of which `total` bytes can be done if that is known, and gives the
/// answer.
fn send(
    session: &Session,
    path: &str,
    mut pack: Pack,
    (total, deadline): (Option<u64>, Option<Instant>),
) -> Result<String> {
    pack.deadline = deadline;
    let shown = Shown::new(&session.output, total, Instant::now());
    let mut body = Watched { pack, shown };
    match session.max()?.upload(path, "application/gzip", &mut body) {
        Ok(answer) => {
            body.shown.finish(body.pack.done(), Instant::now());
            Ok(answer)
        }
        Err(error) => Err(body.pack.failure().unwrap_or(error)),
    }
}

/// Sends all of a tree as one archive, to a Max that takes no manifests.
pub fn whole(session: &Session, deploy: &Value, tree: Tree, deadline: Option<Instant>) -> Result<()> {
    let files = tree.entries.iter().filter(|entry| matches!(entry.kind, Entry::File(_))).count() as u64;
    let total = tree.bytes;
    session.output.note(&format!("sending {} ({})", count(files, "file"), bytes(total)));
    send(session, &text(deploy, "upload_path"), Pack::new(tree)?, (Some(total), deadline)).map(drop)
}

/// An archive that somebody has made.
pub struct Archive {
    pack: Pack,
    /// Its size, if that is known.
    size: Option<u64>,
}

impl Archive {
    /// Opens the one at `path`; `-` is standard input.
    pub fn open(path: &str, deadline: Option<Instant>) -> Result<Archive> {
        let name = if path == "-" { "standard input" } else { path };
        let failed = |error| Error::io("read", name, &error);
        let wrong = |what| {
            Error::usage(format!("'{name}' is {what}"))
                .hint(packed!("for instance `tar -czf - -C DIRECTORY . | rig deploy -`"))
        };
        let (read, size): (Reading, _) = match path {
            "-" if io::stdin().is_terminal() => return Err(wrong("a terminal")),
            "-" => (Box::new(|out| io::stdin().lock().read(out)), None),
            _ => {
                let mut file = File::open(path).map_err(failed)?;
                let size = file.metadata().map_err(failed)?.len();
                (Box::new(move |out| file.read(out)), Some(size))
            }
        };
        let mut pack = Pack::made(read, name)?;
        pack.deadline = deadline;
        match pack.peek() {
            Ok([]) => Err(wrong("empty")),
            Ok(start) if start.starts_with(&GZIP) || GZIP.starts_with(start) => Ok(Archive { pack, size }),
            Ok(_) => Err(wrong("no gzip-compressed tar")),
            Err(error) => Err(pack.failure().unwrap_or_else(|| failed(error))),
        }
    }

    /// Sends it as it is.
    pub fn send(self, session: &Session, deploy: &Value, deadline: Option<Instant>) -> Result<()> {
        let path = text(deploy, "upload_path");
        send(session, &path, self.pack, (self.size, deadline)).map(drop)
    }
}

/// Sends what Max does not have of a tree that was walked at `began`: its manifest, then the
/// contents that are missing. What a broken connection leaves is gone on with.
pub fn contents(
    session: &Session,
    deploy: &Value,
    tree: (Tree, SystemTime),
    deadline: Option<Instant>,
) -> Result<()> {
    on_interrupt("what was sent is kept; `rig deploy` goes on with the rest");
    let sent = missing_of(session, deploy, tree, deadline);
    let Err(error) = sent else { return sent };
    if !is_passing(&error) {
        // Nobody will send the rest.
        let _ = cancel(session, deploy);
    }
    Err(match error.kind() {
        // Not what was asked for is wrong.
        Kind::Usage if error.field_name() == Some("contents") => {
            Error::new(Kind::Failed, error.message()).hint(packed!("deploy again once nothing writes there"))
        }
        Kind::Usage => error.hint(packed!("mend it, or leave it out: name it in '.rigignore'")),
        _ => error,
    })
}

fn missing_of(
    session: &Session,
    deploy: &Value,
    tree: (Tree, SystemTime),
    deadline: Option<Instant>,
) -> Result<()> {
    let (sending, mut progress) = Sending::begin(session, deploy, tree, (deadline, TRIES))?;
    if let Some(index) = sending.index.as_ref().filter(|_| !sending.contents.proven) {
        // Without one all is read again.
        let _ = atomic::replace(index, &mut |file| {
            sending.contents.write_index(&mut |bytes| file.write_all(bytes))
        });
        index.parent().into_iter().for_each(index::prune);
    }
    let all = sending.contents.numbers.len() as u64;
    let again = sending.contents.known_manifest()?;
    let (mut stuck, mut left) = (0, u64::MAX);
    while let Some(now) = progress.take() {
        let (parts, total) = sending.missing(&now)?;
        if parts.is_empty() {
            session.output.note("nothing is sent: Max has every file");
            break;
        }
        let new = format!("sending {} of {} ({})", parts.len(), count(all, "file"), bytes(total));
        session.output.note(&new);
        stuck = if total < left { 0 } else { stuck + 1 };
        left = total;
        let pack = Pack::parts(sending.contents.tree.clone(), parts)?;
        let path = sending.path("contents");
        progress = match send(session, &path, pack, (Some(total), deadline)) {
            Ok(_) if stuck == TRIES => {
                return Err(Error::new(Kind::Failed, "Max takes the files and does not have them then"));
            }
            Ok(answer) => Some(decode(&answer)?).filter(|progress| !text(progress, "missing").is_empty()),
            Err(error) => {
                let Some(pause) = sending.pause(&error, stuck) else { return Err(error) };
                session.output.note(&format!("{}; going on where that broke off", error.message()));
                thread::sleep(pause);
                sending.keep_trying(|| sending.put(&again))?
            }
        };
    }
    Ok(())
}

/// What a deploy of a tree to an app would send: how many files, and how many bytes of them.
pub fn lacking(session: &Session, name: &AppName, tree: (Tree, SystemTime)) -> Result<(u64, u64)> {
    let (app, network) = (name.app.as_str(), name.network.as_str());
    let path = format!("/api/v1/networks/{network}/source");
    let place = members(&[("app", app), ("network", network), ("upload_path", &path)]) + "}";
    let place = decode(&place)?;
    let (sending, progress) = Sending::begin(session, &place, tree, (None, 0))?;
    let (parts, total) = progress.map_or(Ok((Vec::new(), 0)), |now| sending.missing(&now))?;
    Ok((parts.len() as u64, total))
}

/// Whether it may work when it is tried again.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unreachable | Kind::TimedOut) || is_overtaken(error)
}

/// Another request has ended this one: one that was given up here may reach Max only now.
fn is_overtaken(error: &Error) -> bool {
    error.kind() == Kind::Conflict && error.field_name().is_none()
}

/// A tree that is being sent.
struct Sending<'a> {
    session: &'a Session,
    deploy: &'a Value,
    contents: Contents,
    deadline: Option<Instant>,
    tries: u32,
    /// Where what was sent is noted.
    index: Option<PathBuf>,
}

impl<'a> Sending<'a> {
    /// Reads the tree and sends its manifest: what is missing then; none when Max has all.
    fn begin(
        session: &'a Session,
        deploy: &'a Value,
        (tree, began): (Tree, SystemTime),
        (deadline, tries): (Option<Instant>, u32),
    ) -> Result<(Sending<'a>, Option<Value>)> {
        let index = index_file(deploy, &session.max()?.url.to_string(), &tree.root);
        let known = index.as_deref().and_then(Index::open);
        let (contents, manifest) = Contents::new(tree, began, known.as_ref())?;
        drop(known);
        let sending = Sending { session, deploy, contents, deadline, tries, index };
        let progress = match sending.keep_trying(|| sending.put(&manifest)) {
            // Max does not know the one before: it was too long ago.
            Err(error) if error.field_name() == Some("base") => {
                let manifest = sending.contents.full_manifest()?;
                sending.keep_trying(|| sending.put(&manifest))
            }
            put => put,
        }?;
        Ok((sending, progress))
    }

    /// Where something of the deploy goes.
    fn path(&self, what: &str) -> String {
        let path = text(self.deploy, "upload_path");
        format!("{}{what}", path.strip_suffix("source").unwrap_or(&path))
    }

    /// Sends a manifest: what is missing then; none when Max has all.
    fn put(&self, mut manifest: &[u8]) -> Result<Option<Value>> {
        let kind = "application/x-max-manifest+gzip";
        let answer = self.session.max()?.upload(&self.path("manifest"), kind, &mut manifest)?;
        decode(&answer).map(Some)
    }

    /// Tries something until it works or fails for good. That the deploy is under way is
    /// success: then an answer was lost.
    fn keep_trying(&self, put: impl Fn() -> Result<Option<Value>>) -> Result<Option<Value>> {
        let mut tries = 0;
        loop {
            let error = match put() {
                Ok(progress) => return Ok(progress),
                Err(error) => error,
            };
            if is_overtaken(&error) {
                let now = look(self.session, self.deploy)?;
                match &*text(&now, "state") {
                    "uploading" => {}
                    "failed" => return Err(error),
                    _ => return Ok(None),
                }
            }
            thread::sleep(self.pause(&error, tries).ok_or(error)?);
            tries += 1;
        }
    }

    /// How long to wait before the next try behind so many; none when it is not worth one, or
    /// there is no time for it.
    fn pause(&self, error: &Error, tries: u32) -> Option<Duration> {
        let pause = PAUSE_MAX.min(PAUSE * (1 << tries.min(TRIES)));
        let late = self.deadline.is_some_and(|deadline| Instant::now() + pause >= deadline);
        (is_passing(error) && !late && tries < self.tries).then_some(pause)
    }

    /// What is missing, and how many bytes that is.
    fn missing(&self, progress: &Value) -> Result<(Vec<Part>, u64)> {
        let ranges = parse_ranges(&text(progress, "missing")).ok_or_else(unclear)?;
        let (mut parts, mut total) = (Vec::new(), 0);
        for (first, last) in ranges {
            let range = self.contents.numbers.get(first as usize..=last as usize).ok_or_else(unclear)?;
            for (number, entry) in (first..).zip(range) {
                let Some(Entry::File(size)) =
                    self.contents.tree.entries.get(*entry as usize).map(|one| &one.kind)
                else {
                    continue;
                };
                let of = |partial, name| at(partial, name).and_then(view::number);
                let there = items(progress, "partial").iter().find(|one| of(one, "index") == Some(number));
                let offset = there.and_then(|one| of(one, "bytes")).unwrap_or(0).min(*size);
                let hash = hex(&self.contents.hash(*entry));
                let name = if offset == 0 { hash } else { format!("{hash}.{offset}") };
                total += size - offset;
                parts.push(Part { entry: *entry, name, offset });
            }
        }
        Ok((parts, total))
    }
}

fn unclear() -> Error {
    Error::new(Kind::Failed, "Max asks for files that there are not")
        .hint("rig and Max may be of different versions")
}

/// Where the index of what was deployed from a directory to an app is kept.
fn index_file(deploy: &Value, url: &str, root: &Path) -> Option<PathBuf> {
    let root: PathBuf = env::current_dir().ok()?.join(root).components().collect();
    let mut hasher = Hasher::new();
    hasher.update([url, &*filled(deploy, "\0{network}\0{app}\0")].concat().as_bytes());
    hasher.update(files::bytes(&root).as_ref());
    let name = hex(&hasher.finish());
    Some(cache(environment)?.join("index").join(name.get(..16)?))
}
