//! What a deploy sends: the files below a directory, without `.git` and what the
//! ignore files leave out. Symbolic links stay links and are never followed.

use super::rules::{Decision, NAMES, Stack};
use crate::error::{Error, Result};
use crate::packed::{Packed, packed};
use crate::sys::files::{self, About};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Everything that is sent, in the order it is sent.
pub struct Tree {
    /// The directory.
    pub root: PathBuf,
    /// Directories before what they hold, names in byte order.
    pub entries: Vec<Entry>,
    /// The files' contents together, in bytes.
    pub bytes: u64,
    /// What is not sent, by file and line.
    pub left: Vec<Left>,
}

/// A file, directory or link.
pub struct Entry {
    /// Its path below the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// Tells whether it was changed ([`files::About`]).
    pub stamp: [u64; 3],
}

/// What an [`Entry`] is.
pub enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Link(PathBuf),
}

/// A rule that decided about something.
pub struct Cause {
    /// Its file, below the root; empty for `.git`, which is never sent.
    pub file: String,
    /// Its line there.
    pub line: u64,
    /// The rule as it stands there.
    pub pattern: String,
}

impl Cause {
    fn new((file, rule): Decision<'_>) -> Cause {
        let pattern = String::from_utf8_lossy(&rule.text).into_owned();
        Cause { file: file.to_owned(), line: rule.line, pattern }
    }
}

/// What one rule leaves out.
pub struct Left {
    /// The rule.
    pub cause: Cause,
    /// How many files, links and the like.
    pub files: u64,
    /// How many directories, into which nobody has looked.
    pub directories: u64,
    /// The contents of those files together, in bytes.
    pub bytes: u64,
}

/// What to do about a file that can't be sent.
pub(super) const NEEDLESS: Packed =
    packed!("if the app does not need it, remove it or name it in '.rigignore'");

/// What to do when the directory is the wrong one.
const NAME_IT: Packed = packed!("name the directory of your app: `rig deploy PATH`");

/// How many of the things that can't be sent an error tells.
const TOLD: usize = 10;

struct Walk {
    tree: Tree,
    refused: Vec<Error>,
}

/// Lists what is below `root`. Nothing is read but names and ignore files, but everything
/// is as good as sure to be readable. (By one thread: several would wait for each other's memory
/// and take longer, but where nothing of the names is in the system's cache.)
pub fn walk(root: &Path) -> Result<Tree> {
    let tree = Tree { root: root.to_owned(), entries: Vec::new(), bytes: 0, left: Vec::new() };
    let mut walk = Walk { tree, refused: Vec::new() };
    walk.descend(Path::new(""), &Stack::new()).map_err(|error| match error.hint_text() {
        None => error.hint(NAME_IT),
        Some(_) => error,
    })?;
    let Walk { tree, refused } = walk;
    if let Some(first) = refused.first() {
        let mut messages: Vec<&str> = refused.iter().map(Error::message).collect();
        if messages.len() > TOLD {
            messages.truncate(TOLD);
            messages.push("and others");
        }
        let error = Error::new(first.kind(), messages.join("; "));
        return Err(error.hint(first.hint_text().unwrap_or_else(|| NEEDLESS.text())));
    }
    if !tree.entries.iter().any(|entry| !matches!(entry.kind, Kind::Directory)) {
        return Err(
            Error::usage(format!("there is nothing to deploy in '{}'", root.to_string_lossy())).hint(NAME_IT)
        );
    }
    Ok(tree)
}

impl Walk {
    /// Adds what is in the directory `below` the root, to which `above` applies. What can't be
    /// sent is noted, up to a bound.
    fn descend(&mut self, below: &Path, above: &Stack) -> Result<()> {
        let directory = if below.as_os_str().is_empty() { self.tree.root.clone() } else { self.full(below) };
        let unreadable = |error: io::Error| Error::io("read", &directory.to_string_lossy(), &error);
        let mut items = files::list(&directory, below).map_err(unreadable)?;
        items.sort_by(|(one, _), (other, _)| one.as_os_str().cmp(other.as_os_str()));
        // Also a name that some file systems take for one of these.
        let may_be = |path: &Path| {
            NAMES.iter().any(|name| path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name)))
        };
        let stack = above.enter(&self.tree.root, below, items.iter().any(|(path, _)| may_be(path)))?;
        for (path, about) in items {
            if self.refused.len() > TOLD {
                break;
            }
            if let Err(error) = self.add(about, path, &stack) {
                self.refused.push(error);
            }
        }
        Ok(())
    }

    fn add(&mut self, about: io::Result<About>, path: PathBuf, stack: &Stack) -> Result<()> {
        let unreadable = |error: io::Error| Error::io("read", &self.full(&path).to_string_lossy(), &error);
        let about = about.map_err(unreadable)?;
        let bytes = if about.is_file() { about.size } else { 0 };
        if let Some(decision) = stack.decide(&path, about.is_dir())
            && !decision.1.negated
        {
            let directories = u64::from(about.is_dir());
            let cause = Cause::new(decision);
            count(&mut self.tree.left, Left { cause, files: 1 - directories, directories, bytes });
            return Ok(());
        }
        special(&about, &self.tree.root, &path)?;
        let kind = match () {
            () if about.is_link() => Kind::Link(fs::read_link(self.full(&path)).map_err(unreadable)?),
            () if about.is_dir() => Kind::Directory,
            () => {
                // Opening each of many thousands takes longer than all the rest.
                if !about.is_readable() {
                    files::open(&self.full(&path)).map_err(unreadable)?;
                }
                Kind::File(bytes)
            }
        };
        self.tree.bytes += bytes;
        let below = about.is_dir().then(|| path.clone());
        self.tree.entries.push(Entry { path, kind, mode: about.mode(), stamp: about.stamp });
        below.map_or(Ok(()), |below| self.descend(&below, stack))
    }

    fn full(&self, below: &Path) -> PathBuf {
        self.tree.root.join(below)
    }
}

/// What is neither a file nor a directory nor a link can't be sent.
fn special(about: &About, root: &Path, below: &Path) -> Result<()> {
    if about.is_file() || about.is_dir() || about.is_link() {
        return Ok(());
    }
    let what = about.special();
    Err(Error::usage(format!("cannot deploy '{}': it is {what}", root.join(below).to_string_lossy())))
}

/// Counts what a rule leaves out.
fn count(all: &mut Vec<Left>, one: Left) {
    fn key(left: &Left) -> (&str, u64) {
        (&left.cause.file, left.cause.line)
    }
    let at = all.iter().position(|known| key(known) >= key(&one)).unwrap_or(all.len());
    match all.get_mut(at) {
        Some(known) if key(known) == key(&one) => {
            known.files += one.files;
            known.directories += one.directories;
            known.bytes += one.bytes;
        }
        _ => all.insert(at, one),
    }
}

/// Whether a path is sent, and why.
pub struct Verdict {
    /// Whether it is.
    pub sent: bool,
    /// Whether there is such a file.
    pub exists: bool,
    /// The rule that decides; none when none matches.
    pub cause: Option<Cause>,
    /// What that rule matches: the path itself or a directory above it.
    pub at: PathBuf,
}

/// What [`walk`] makes of `given`, a path below `root`. What does not exist is judged as a
/// file, or as a directory when a `slash` ends it.
pub fn explain(root: &Path, given: &Path, slash: bool) -> Result<Verdict> {
    let mut stack = Stack::new();
    let mut verdict = Verdict { sent: true, exists: true, cause: None, at: PathBuf::new() };
    let mut parts = given.components();
    while let Some(part) = parts.next()
        && verdict.sent
    {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => {
                let (given, root) = (given.to_string_lossy(), root.to_string_lossy());
                return Err(Error::usage(format!("'{given}' is no relative path below '{root}'")));
            }
        };
        stack = stack.enter(root, &verdict.at, true)?;
        verdict.at.push(name);
        let whole = root.join(&verdict.at);
        let about = files::about(&whole).ok();
        let last = parts.as_path().as_os_str().is_empty();
        let directory = about.map_or(slash || !last, |about| about.is_dir());
        verdict.exists = about.is_some();
        let decision = stack.decide(&verdict.at, directory);
        verdict.sent = decision.is_none_or(|(_, rule)| rule.negated);
        verdict.cause = decision.map(Cause::new);
        if verdict.sent {
            about.map_or(Ok(()), |about| special(&about, root, &verdict.at))?;
            if !last && !directory {
                let whole = whole.to_string_lossy();
                return Err(Error::usage(format!("'{whole}' is no directory; a link is sent as a link")));
            }
        }
    }
    Ok(verdict)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    #[test]
    fn what_is_ignored_is_not_listed_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for sub in [".git", "src", "node_modules/x", "empty"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        for (file, text) in [
            (".git/HEAD", "x"),
            (".gitignore", "node_modules/\n*.log\n"),
            ("src/.rigignore", "!keep.log\nb\n"),
            ("src/a", "12345"),
            ("src/b", ""),
            ("src/keep.log", "1"),
            ("drop.log", "2"),
            ("node_modules/x/y", "3"),
        ] {
            fs::write(root.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("src/a", root.join("link")).unwrap();
        let tree = walk(root).unwrap();
        let expected = [".gitignore", "empty", "link", "src", "src/.rigignore", "src/a", "src/keep.log"];
        assert_eq!(paths(&tree), expected);
        assert_eq!(tree.bytes, 20 + 12 + 5 + 1);
    }

    #[test]
    fn an_empty_directory_and_a_special_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = walk(dir.path()).err().unwrap();
        assert_eq!(error.message(), format!("there is nothing to deploy in '{}'", dir.path().display()));
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = walk(dir.path()).err().unwrap();
        assert_eq!(error.message(), format!("cannot deploy '{}': it is a socket", socket.display()));
        let error = walk(&dir.path().join("missing")).err().unwrap();
        assert_eq!(
            error.message(),
            format!("cannot read '{}': no such file or directory", dir.path().join("missing").display())
        );
    }
}
