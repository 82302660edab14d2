//! The names of an archive and what they stand for, in any order: no name twice, nothing below
//! what is no directory, no limit passed. Pure; the disk is not asked.

use super::Limits;
use super::manifest::{Draft, Manifest};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Item, PATH_MAX};
use std::collections::BTreeMap;

/// The longest part of a path, in bytes: no file system takes a longer one.
const NAME_MAX: usize = 255;

/// How many parts a path may have: to remove a directory takes an open file for each.
const DEPTH_MAX: usize = 128;

/// Paths and targets together, in bytes: what is kept of them in memory.
const NAMES_MAX: u64 = 32 << 20;

/// What is left of the limits.
pub struct Room {
    limits: Limits,
    bytes: u64,
    names: u64,
    entries: u64,
}

impl Room {
    /// All that they allow.
    pub fn new(limits: &Limits) -> Room {
        Room { limits: *limits, bytes: limits.bytes, names: NAMES_MAX, entries: limits.entries }
    }

    /// What may come as changes: all that was may go, and as much be new.
    pub fn of_changes(limits: &Limits) -> Room {
        Room { entries: limits.entries.saturating_mul(2), ..Room::new(limits) }
    }

    /// Takes what a path needs, and the target of a link there.
    pub fn take(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let (most, length) = (self.limits.entries, (path.len() + target.len()) as u64);
        let long = || over(&format!("the source has more than {NAMES_MAX} bytes of names"), path);
        let many = || over(&format!("the source has more than {most} files and directories"), path);
        self.names = self.names.checked_sub(length).ok_or_else(long)?;
        self.entries = self.entries.checked_sub(1).ok_or_else(many)?;
        Ok(())
    }

    /// Takes what a content needs.
    pub fn take_bytes(&mut self, path: &[u8], size: u64) -> Result<()> {
        let limit = self.limits.bytes;
        let large = || over(&format!("the files are larger than {limit} bytes together"), path);
        self.bytes = self.bytes.checked_sub(size).ok_or_else(large)?;
        Ok(())
    }
}

fn over(what: &str, path: &[u8]) -> Error {
    Error::new(Kind::TooLarge, format!("{what}, from '{}' on", shown(path)))
}

/// What is at a path.
enum Node {
    File {
        mode: u32,
        size: u64,
        hash: Hash,
    },
    Dir {
        mode: u32,
        /// By an entry of its own, not only by its content.
        announced: bool,
    },
    Link {
        target: Vec<u8>,
    },
}

/// All names so far.
pub struct Tree {
    limits: Limits,
    room: Room,
    /// By their clean path with zeros for slashes: so its order is that of manifests.
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Without a name yet.
    pub fn new(limits: &Limits) -> Tree {
        Tree { limits: *limits, room: Room::new(limits), nodes: BTreeMap::new() }
    }

    /// All of it.
    pub fn manifest(&self) -> Result<Manifest> {
        let mut draft = Draft::new(&self.limits);
        for (key, node) in &self.nodes {
            let item = match node {
                Node::File { mode, size, hash } => Item::File { mode: *mode, size: *size, hash: *hash },
                Node::Dir { mode, .. } => Item::Directory(*mode),
                Node::Link { target } => Item::Link(target),
            };
            draft.add(&slashed(key), item)?;
        }
        draft.finish()
    }

    /// Makes sure that everything above `path` is a directory. Returns those that are
    /// new, the highest first.
    pub fn claim_parents(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut new = Vec::new();
        // Where the nearest is one, all above it are.
        for parent in parents(path) {
            match self.nodes.get(&key(parent)) {
                Some(Node::Dir { .. }) => break,
                Some(other) => return Err(refused(path, &below(parent, other))),
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
        self.room.take_bytes(path, size)?;
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
        match unfit_target(target) {
            Some(why) => Err(refused(path, why)),
            None => self.insert(path, Node::Link { target: target.to_vec() }),
        }
    }

    fn insert(&mut self, path: &[u8], node: Node) -> Result<()> {
        self.room.take(path, if let Node::Link { target } = &node { target } else { &[] })?;
        match self.nodes.insert(key(path), node) {
            Some(_) => Err(refused(path, "its name occurs twice")),
            None => Ok(()),
        }
    }
}

/// A path with zeros for slashes, whose order is that of manifests.
fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

/// The path again.
fn slashed(key: &[u8]) -> Vec<u8> {
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

/// What is wrong with the target of a link by itself.
pub fn unfit_target(target: &[u8]) -> Option<&'static str> {
    match target {
        [] => Some("it is a symbolic link to nothing"),
        [b'/', ..] => Some("it is a symbolic link to an absolute path"),
        _ if target.contains(&0) => Some("its target has a null byte"),
        _ if target.len() > PATH_MAX => Some("its target is too long"),
        _ => None,
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
