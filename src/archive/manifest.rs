//! A manifest that was checked: its canonical text, which is also what is stored, and the
//! contents it names. Nothing of it leads out, and no limit is passed. Pure; the disk is not asked.

use super::Limits;
use super::tree::{Room, refused, shown, unfit_target};
use crate::error::{Error, Result};
use crate::manifest::{Hash, Hasher, Item, Record};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead;
use std::iter;

/// How many links are followed to find where one leads. Linux gives up after 40, so
/// what takes longer leads nowhere.
const HOPS: usize = 64;

/// How many parts of targets are looked at for all links together.
const STEPS: u64 = 16 << 20;

/// No limit for what was accepted once.
const STORED: Limits = Limits { bytes: u64::MAX, entries: u64::MAX };

/// Contents, each once and with its size. Their places are their numbers.
#[derive(Default)]
pub struct Wanted {
    list: Vec<(Hash, u64)>,
    numbers: HashMap<Hash, usize>,
}

impl Wanted {
    /// Adds one. False when it is there with another size.
    fn add(&mut self, hash: Hash, size: u64) -> bool {
        match self.numbers.entry(hash) {
            Entry::Occupied(known) => self.list.get(*known.get()).is_some_and(|known| known.1 == size),
            Entry::Vacant(new) => {
                new.insert(self.list.len());
                self.list.push((hash, size));
                true
            }
        }
    }

    /// All of them, by their numbers.
    pub fn list(&self) -> &[(Hash, u64)] {
        &self.list
    }

    /// The one with this number.
    pub fn get(&self, number: usize) -> Option<&(Hash, u64)> {
        self.list.get(number)
    }

    /// The number of a content.
    pub fn number(&self, hash: &Hash) -> Option<usize> {
        self.numbers.get(hash).copied()
    }
}

/// A manifest.
pub struct Manifest {
    /// The SHA-256 of its text.
    pub name: Hash,
    /// Its records in their order, each with its zero byte.
    pub text: Vec<u8>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// Their contents.
    pub wanted: Wanted,
}

impl Manifest {
    /// The one that was stored under this name, from its text; none when it is not that any more.
    pub fn stored(text: Vec<u8>, name: &Hash) -> Option<Manifest> {
        let mut draft = Draft::new(&STORED);
        items(&text).try_for_each(|(path, item)| draft.see(path, item)).ok()?;
        draft.text = text;
        draft.finish().ok().filter(|manifest| manifest.name == *name)
    }

    /// All paths and what is there, directories before what they hold.
    pub fn items(&self) -> impl Iterator<Item = (&[u8], Item<'_>)> {
        items(&self.text)
    }

    /// The symbolic links and their targets.
    pub fn links(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let links = records(&self.text).filter(|record| record.starts_with(b"l "));
        links.filter_map(|record| match item(record)? {
            (path, Item::Link(target)) => Some((path, target)),
            _ => None,
        })
    }

    /// The paths of a content.
    pub fn paths_of(&self, hash: &Hash) -> impl Iterator<Item = String> {
        let of = move |item: &Item<'_>| matches!(item, Item::File { hash: of, .. } if of == hash);
        self.items().filter(move |(_, item)| of(item)).map(|(path, _)| shown(path))
    }
}

/// The records of a canonical text, without their zero bytes.
fn records(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    iter::from_fn(move || {
        let mut behind = rest;
        let mut length = 0;
        for _ in 0..if rest.starts_with(b"l ") { 2 } else { 1 } {
            length += behind.skip_until(0).ok()?;
        }
        let record = rest.get(..length)?.strip_suffix(&[0])?;
        rest = behind;
        Some(record)
    })
}

/// The paths of a canonical text and what is there.
pub fn items(text: &[u8]) -> impl Iterator<Item = (&[u8], Item<'_>)> {
    records(text).map_while(item)
}

fn item(record: &[u8]) -> Option<(&[u8], Item<'_>)> {
    match Record::parse(record) {
        Ok(Record::Item(path, item)) => Some((path, item)),
        _ => None,
    }
}

/// A manifest that is put together and checked, record by record in their order: a directory comes
/// right before what it holds, so that nothing needs to be looked up.
pub struct Draft {
    room: Room,
    text: Vec<u8>,
    /// The last path, or what above it is still open.
    open: Vec<u8>,
    /// Why nothing can be in that.
    leaf: Option<&'static str>,
    links: usize,
    files: usize,
    bytes: u64,
    wanted: Wanted,
}

impl Draft {
    /// Without a record yet.
    pub fn new(limits: &Limits) -> Draft {
        let (room, text, open, wanted) = (Room::new(limits), Vec::new(), Vec::new(), Wanted::default());
        Draft { room, text, open, leaf: None, links: 0, files: 0, bytes: 0, wanted }
    }

    /// Adds what comes next.
    pub fn add(&mut self, path: &[u8], item: Item<'_>) -> Result<()> {
        self.see(path, item)?;
        Record::Item(path, item).write(&mut self.text);
        Ok(())
    }

    fn see(&mut self, path: &[u8], item: Item<'_>) -> Result<()> {
        self.enter(path)?;
        self.leaf = match item {
            // A text has none of the latter.
            Item::Directory(_) | Item::Removed => {
                self.room.take(path, &[])?;
                None
            }
            Item::Link(target) => {
                unfit_target(target).map_or(Ok(()), |why| Err(refused(path, why)))?;
                self.room.take(path, target)?;
                self.links += 1;
                Some("a symbolic link")
            }
            Item::File { size, hash, .. } => {
                if !self.wanted.add(hash, size) {
                    return Err(refused(path, "another file has the same content and another size"));
                }
                self.room.take_bytes(path, size)?;
                self.room.take(path, &[])?;
                self.files += 1;
                self.bytes += size;
                Some("a file")
            }
        };
        Ok(())
    }

    /// Opens a path: what is above it must be the directory that is open.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        while !within(path, &self.open) {
            self.open.truncate(parent(&self.open).len());
            self.leaf = None;
        }
        if let Some(what) = self.leaf {
            return Err(refused(path, &format!("'{}' is {what}", shown(&self.open))));
        }
        if self.open != parent(path) {
            let from = if self.open.is_empty() { 0 } else { self.open.len() + 1 };
            let name = path.iter().skip(from).position(|byte| *byte == b'/').unwrap_or(0);
            let missing = path.get(..from + name).unwrap_or_default();
            return Err(refused(path, &format!("its directory '{}' is missing", shown(missing))));
        }
        self.open.clear();
        self.open.extend_from_slice(path);
        Ok(())
    }

    /// That was all.
    pub fn finish(self) -> Result<Manifest> {
        let Draft { text, links, files, bytes, wanted, .. } = self;
        let manifest = Manifest { name: Hasher::of(&text), text, files, bytes, wanted };
        let links: Vec<(&[u8], &[u8])> = manifest.links().take(links).collect();
        let (targets, mut steps) = (links.iter().copied().collect(), STEPS);
        links.iter().try_for_each(|(path, target)| follow(&targets, path, target, &mut steps))?;
        Ok(manifest)
    }
}

/// The directory above a path; empty for the top.
fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..slash).unwrap_or_default()
}

/// Whether a path lies below a directory.
fn within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Follows a link as the kernel would.
fn follow(links: &HashMap<&[u8], &[u8]>, path: &[u8], target: &[u8], steps: &mut u64) -> Result<()> {
    let mut at = parent(path).to_vec();
    // What is still to be walked, the next part last.
    let mut todo = parts(target);
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        *steps = steps
            .checked_sub(1)
            .ok_or_else(|| refused(path, "it is a symbolic link that takes too long to follow"))?;
        if part == b".." {
            if at.is_empty() {
                return Err(escape(path, target));
            }
            at.truncate(parent(&at).len());
            continue;
        }
        let above = at.len();
        if !at.is_empty() {
            at.push(b'/');
        }
        at.extend_from_slice(part);
        if let Some(target) = links.get(at.as_slice()) {
            hops += 1;
            if hops > HOPS {
                return Ok(());
            }
            at.truncate(above);
            todo.extend(parts(target));
        }
    }
    Ok(())
}

fn escape(path: &[u8], target: &[u8]) -> Error {
    let to = shown(target);
    refused(path, &format!("it is a symbolic link that leads out of the tree, to '{to}'"))
}

fn parts(target: &[u8]) -> Vec<&[u8]> {
    target.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}
