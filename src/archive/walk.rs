//! What a deploy sends: the files below a directory, without `.git` and what the
//! ignore files leave out. Symbolic links stay links and are never followed.

use crate::error::{Error, Result, io_reason};
use crate::ignore::Rules;
use crate::sys::files;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that is sent, in the order it is sent.
pub struct Tree {
    /// The directory.
    pub root: PathBuf,
    /// Directories before what they hold, names in byte order.
    pub entries: Vec<Entry>,
    /// The files' contents together, in bytes.
    pub bytes: u64,
}

/// A file, directory or link.
pub struct Entry {
    /// Its path below the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
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

/// The rules of the directories above, each with the length of its directory's path
/// below the root.
type Stack = Vec<(usize, Rules)>;

/// Lists what is below `root`. Nothing is read but names and ignore files.
pub fn walk(root: &Path) -> Result<Tree> {
    let mut tree = Tree { root: root.to_owned(), entries: Vec::new(), bytes: 0 };
    descend(&mut tree, Path::new(""), &mut Vec::new())?;
    if !tree.entries.iter().any(|entry| !matches!(entry.kind, Kind::Directory)) {
        return Err(Error::usage(format!("there is nothing to deploy in '{}'", root.to_string_lossy()))
            .hint("name the directory of your app: `rig deploy PATH`"));
    }
    Ok(tree)
}

fn descend(tree: &mut Tree, below: &Path, stack: &mut Stack) -> Result<()> {
    let prefix = below.as_os_str().len();
    let directory = if prefix == 0 { tree.root.clone() } else { tree.root.join(below) };
    let unreadable = |error: io::Error| Error::io("read", &directory.to_string_lossy(), &error);
    let mut items =
        fs::read_dir(&directory).map_err(unreadable)?.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    items.sort_by_key(fs::DirEntry::file_name);
    let rules = rules(&directory)?;
    let depth = stack.len();
    if let Some(rules) = rules {
        stack.push((if prefix == 0 { 0 } else { prefix + 1 }, rules));
    }
    for item in items {
        let path = below.join(item.file_name());
        let data = item.metadata().map_err(|error| Error::io("read", &shown(tree, &path), &error))?;
        let kind = data.file_type();
        if item.file_name() == ".git" || ignored(stack, &path, kind.is_dir()) {
            continue;
        }
        let entry = |kind| Entry { path: path.clone(), kind, mode: files::mode(&data) };
        if kind.is_symlink() {
            let target =
                fs::read_link(item.path()).map_err(|error| Error::io("read", &shown(tree, &path), &error))?;
            tree.entries.push(entry(Kind::Link(target)));
        } else if kind.is_dir() {
            tree.entries.push(entry(Kind::Directory));
            descend(tree, &path, stack)?;
        } else if kind.is_file() {
            tree.bytes += data.len();
            tree.entries.push(entry(Kind::File(data.len())));
        } else {
            let what = files::special(kind);
            return Err(Error::usage(format!("cannot deploy '{}': it is {what}", shown(tree, &path)))
                .hint("remove it, or name it in '.rigignore'"));
        }
    }
    stack.truncate(depth);
    Ok(())
}

fn shown(tree: &Tree, path: &Path) -> String {
    tree.root.join(path).to_string_lossy().into_owned()
}

/// `.rigignore`, or `.gitignore` where there is none.
fn rules(directory: &Path) -> Result<Option<Rules>> {
    for name in [".rigignore", ".gitignore"] {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(text) => return Ok(Some(Rules::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("cannot read '{}': {}", path.to_string_lossy(), io_reason(&error));
                return Err(Error::usage(message));
            }
        }
    }
    Ok(None)
}

/// The deepest file with a rule that matches decides.
fn ignored(stack: &Stack, path: &Path, directory: bool) -> bool {
    let path = files::bytes(path);
    let below = |skip: usize| path.as_ref().get(skip..);
    let verdict = stack.iter().rev().find_map(|(skip, rules)| rules.verdict(below(*skip)?, directory));
    verdict.unwrap_or(false)
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
