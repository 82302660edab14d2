//! The names of an archive or a manifest and what they stand for: no name twice, nothing below
//! what is no directory, no link that leads out, no limit passed. Pure; the disk is not asked.

use super::Limits;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Hasher, Item, PATH_MAX, Record};
use std::collections::BTreeMap;

/// How many links are followed to find where one leads. Linux gives up after 40, so
/// what takes longer leads nowhere.
const HOPS: usize = 64;

/// How many parts of targets are looked at for all links together.
const STEPS: u64 = 16 << 20;

/// The longest part of a path, in bytes: no file system takes a longer one.
const NAME_MAX: usize = 255;

/// How many parts a path may have: to remove a directory takes an open file for each.
const DEPTH_MAX: usize = 128;

/// Paths and targets together, in bytes: what is kept of them in memory.
pub const NAMES_MAX: u64 = 32 << 20;

/// What is at a path.
pub enum Node {
    /// A file.
    File {
        /// Its permission bits.
        mode: u32,
        /// Its bytes.
        size: u64,
        /// Its content.
        hash: Hash,
    },
    /// A directory.
    Dir {
        /// Its permission bits.
        mode: u32,
        /// By an entry of its own, not only by its content.
        announced: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: Vec<u8>,
    },
}

/// All names so far.
pub struct Tree {
    limits: Limits,
    /// What is left of the limits.
    bytes: u64,
    names: u64,
    /// By their clean path with zeros for slashes: so its order is that of manifests.
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Without a name yet.
    pub fn new(limits: &Limits) -> Tree {
        Tree { limits: *limits, bytes: limits.bytes, names: NAMES_MAX, nodes: BTreeMap::new() }
    }

    /// How many names there are, with the directories that no entry of their own announces.
    pub fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The files' contents together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.limits.bytes - self.bytes
    }

    /// All of it, directories before what they hold, in the order of manifests.
    pub fn nodes(&self) -> impl Iterator<Item = (Vec<u8>, &Node)> {
        self.nodes.iter().map(|(key, node)| (slashed(key), node))
    }

    /// The contents of the files and their sizes, as often as they occur.
    pub fn contents(&self) -> impl Iterator<Item = (Hash, u64)> {
        self.nodes.values().filter_map(|node| match node {
            Node::File { size, hash, .. } => Some((*hash, *size)),
            _ => None,
        })
    }

    /// The paths of a content.
    pub fn paths_of(&self, hash: &Hash) -> impl Iterator<Item = String> {
        let of = move |node: &Node| matches!(node, Node::File { hash: of, .. } if of == hash);
        self.nodes.iter().filter(move |(_, node)| of(node)).map(|(key, _)| shown(&slashed(key)))
    }

    /// Writes the canonical manifest and returns its name.
    pub fn write(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<Hash> {
        let (mut hasher, mut record) = (Hasher::new(), Vec::new());
        for (path, node) in self.nodes() {
            let item = match node {
                Node::File { mode, size, hash } => Item::File { mode: *mode, size: *size, hash: *hash },
                Node::Dir { mode, .. } => Item::Directory(*mode),
                Node::Link { target } => Item::Link(target),
            };
            record.clear();
            Record::Item(&path, item).write(&mut record);
            hasher.update(&record);
            write(&record)?;
        }
        Ok(hasher.finish())
    }

    /// Makes sure that everything above `path` is a directory. Returns those that are
    /// new, the highest first.
    pub fn claim_parents(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut new = Vec::new();
        // Where the nearest is one, all above it are.
        for parent in parents(path) {
            match self.nodes.get(&key(parent)) {
                Some(Node::Dir { .. }) => break,
                Some(other) => return Err(self.refuse(path, &below(parent, other))),
                None => new.push(parent.to_vec()),
            }
        }
        new.reverse();
        for parent in &new {
            self.insert(parent, Node::Dir { mode: 0o755, announced: false })?;
        }
        Ok(new)
    }

    /// Adds a directory, also one whose content came first.
    pub fn add_dir(&mut self, path: &[u8], mode: u32) -> Result<()> {
        match self.nodes.get_mut(&key(path)) {
            Some(Node::Dir { mode: known, announced }) if !*announced => {
                (*known, *announced) = (mode, true);
                Ok(())
            }
            _ => self.insert(path, Node::Dir { mode, announced: true }),
        }
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &[u8], mode: u32, size: u64, hash: Hash) -> Result<()> {
        self.weigh(path, size)?;
        self.insert(path, Node::File { mode, size, hash })
    }

    /// What was read of a file that was added.
    pub fn found(&mut self, path: &[u8], read: Hash) {
        if let Some(Node::File { hash, .. }) = self.nodes.get_mut(&key(path)) {
            *hash = read;
        }
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let wrong = match target {
            [] => Some("it is a symbolic link to nothing"),
            [b'/', ..] => Some("it is a symbolic link to an absolute path"),
            _ if target.contains(&0) => Some("its target has a null byte"),
            _ if target.len() > PATH_MAX => Some("its target is too long"),
            _ => None,
        };
        match wrong {
            Some(why) => Err(self.refuse(path, why)),
            None => self.insert(path, Node::Link { target: target.to_vec() }),
        }
    }

    fn insert(&mut self, path: &[u8], node: Node) -> Result<()> {
        let target = match &node {
            Node::Link { target } => target.len(),
            _ => 0,
        };
        let over = |text: String| Error::new(Kind::TooLarge, format!("{text}, from '{}' on", shown(path)));
        self.names = self
            .names
            .checked_sub((path.len() + target) as u64)
            .ok_or_else(|| over(format!("the source has more than {NAMES_MAX} bytes of names")))?;
        let known = self.nodes.len() as u64;
        match self.nodes.insert(key(path), node) {
            Some(_) => Err(self.refuse(path, "its name occurs twice")),
            None if known >= self.limits.entries => {
                let most = self.limits.entries;
                Err(over(format!("the source has more than {most} files and directories")))
            }
            None => Ok(()),
        }
    }

    fn weigh(&mut self, path: &[u8], size: u64) -> Result<()> {
        let limit = self.limits.bytes;
        self.bytes = self.bytes.checked_sub(size).ok_or_else(|| {
            let message =
                format!("the files are larger than {limit} bytes together, from '{}' on", shown(path));
            Error::new(Kind::TooLarge, message)
        })?;
        Ok(())
    }

    /// The error for a path that can't be.
    pub fn refuse(&self, path: &[u8], why: &str) -> Error {
        refused(path, why)
    }

    /// Every link with its target, all of which stay inside.
    pub fn checked_links(&self) -> Result<Vec<(Vec<u8>, &[u8])>> {
        let (mut links, mut steps) = (Vec::new(), STEPS);
        for (path, node) in self.nodes() {
            let Node::Link { target } = node else { continue };
            self.check(&path, target, &mut steps)?;
            links.push((path, target.as_slice()));
        }
        Ok(links)
    }

    /// Follows a link as the kernel would.
    fn check(&self, path: &[u8], target: &[u8], steps: &mut u64) -> Result<()> {
        let escape = || {
            let to = shown(target);
            self.refuse(path, &format!("it is a symbolic link that leads out of the tree, to '{to}'"))
        };
        let mut at = key(parents(path).next().unwrap_or_default());
        // What is still to be walked, the next part last.
        let mut todo = parts(target);
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            *steps = steps
                .checked_sub(1)
                .ok_or_else(|| self.refuse(path, "it is a symbolic link that takes too long to follow"))?;
            if part == b".." {
                if at.is_empty() {
                    return Err(escape());
                }
                let parent = at.iter().rposition(|byte| *byte == 0).unwrap_or(0);
                at.truncate(parent);
                continue;
            }
            let parent = at.len();
            if !at.is_empty() {
                at.push(0);
            }
            at.extend_from_slice(part);
            if let Some(Node::Link { target }) = self.nodes.get(&at) {
                hops += 1;
                if hops > HOPS {
                    return Ok(());
                }
                at.truncate(parent);
                todo.extend(parts(target));
            }
        }
        Ok(())
    }
}

/// A path with zeros for slashes, whose order is that of manifests.
pub fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

/// The path again.
pub fn slashed(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

/// The directories above a path, the nearest first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| path.get(..at).unwrap_or_default())
}

/// Why nothing can be below this.
fn below(parent: &[u8], node: &Node) -> String {
    let what = if matches!(node, Node::Link { .. }) { "a symbolic link" } else { "a file" };
    format!("'{}' is {what}", shown(parent))
}

fn parts(target: &[u8]) -> Vec<&[u8]> {
    target.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

/// What is wrong with a path by itself, whatever else there is.
pub fn unfit(path: &[u8]) -> Option<String> {
    let absolute = path.starts_with(b"/");
    let parts = || path.split(|byte| *byte == b'/');
    let parent = parts().any(|part| part == b"..");
    match () {
        () if path.len() > PATH_MAX => Some(format!("its path is longer than {PATH_MAX} bytes")),
        () if absolute => Some("its path is absolute".to_owned()),
        () if path.contains(&0) => Some("its path has a null byte".to_owned()),
        () if parent => Some("its path has '..'".to_owned()),
        () if parts().any(|part| part.len() > NAME_MAX) => {
            Some(format!("a part of its path is longer than {NAME_MAX} bytes"))
        }
        () if parts().count() > DEPTH_MAX => Some(format!("its path has more than {DEPTH_MAX} parts")),
        () => None,
    }
}

/// The error for a path of an archive or a manifest that can't be.
pub fn refused(path: &[u8], why: &str) -> Error {
    Error::usage(format!("cannot deploy '{}': {why}", shown(path)))
}

/// A path for people: short, and without what could drive a terminal.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut short = text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown = short.by_ref().collect::<String>();
    if shown.len() < text.len() && text.chars().count() > 200 {
        shown.push('…');
    }
    shown
}
