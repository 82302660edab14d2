//! Reads manifests that nobody vouches for, whole or as what differs from another one, and
//! those that were stored, which are checked by their name.

use super::tree::{NAMES_MAX, Tree, key, refused, shown, slashed, unfit};
use super::{Limits, broken};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Hasher, Item, RECORD_MAX, Record, hex, order};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read as _};

/// No limit for what was accepted once.
const STORED: Limits = Limits { bytes: u64::MAX, entries: u64::MAX };

/// What a manifest holds before it is known to be one: by the paths with zeros for slashes.
type Items = BTreeMap<Vec<u8>, Owned>;

enum Owned {
    File { mode: u32, size: u64, hash: Hash },
    Directory(u32),
    Link(Vec<u8>),
}

/// Reads a manifest as it is sent, and tells its name. `base` gives the one that it differs
/// from. Blocks.
pub fn read_changes<R: BufRead>(
    input: impl BufRead,
    limits: &Limits,
    base: impl FnOnce(&Hash) -> Result<Option<R>>,
) -> Result<(Hash, Tree)> {
    let mut records = Records { input, record: Vec::new() };
    let (mut items, delta) = match records.next()?.map(Record::parse).transpose()? {
        Some(Record::Full) => (Items::new(), false),
        Some(Record::Base(name)) => {
            let items = base(&name)?.map(|stored| items_of(stored, &name)).transpose()?.flatten();
            (items.ok_or_else(|| unknown(&name))?, true)
        }
        Some(_) => return Err(malformed("it begins with neither 'full' nor 'base'")),
        None => return Err(cut_short()),
    };
    let name = change(&mut records, &mut items, limits, delta)?;
    if records.next()?.is_some() {
        return Err(malformed("something follows its end"));
    }
    let tree = check(items, limits)?;
    match tree.write(|_| Ok(()))? {
        found if found == name => Ok((name, tree)),
        found => {
            let message =
                format!("the manifest is '{}' and not '{}' as its end says", hex(&found), hex(&name));
            Err(Error::usage(message).hint("send it in full"))
        }
    }
}

/// Reads a manifest that was stored under its name; none when it is not that any more. Blocks.
pub fn read_stored(input: impl BufRead, name: &Hash) -> Result<Option<Tree>> {
    items_of(input, name)?.map(|items| check(items, &STORED)).transpose()
}

fn unknown(name: &Hash) -> Error {
    Error::new(Kind::Conflict, format!("this network has no manifest '{}'", hex(name)))
        .hint("send it in full")
        .field("base")
}

/// Applies the records up to the end, which says the name of the whole.
fn change(
    records: &mut Records<impl BufRead>,
    items: &mut Items,
    limits: &Limits,
    delta: bool,
) -> Result<Hash> {
    let (mut left, mut names) = (limits.entries.saturating_mul(if delta { 2 } else { 1 }), NAMES_MAX);
    let mut before: Vec<u8> = Vec::new();
    while let Some(record) = records.next()? {
        let (path, item) = match Record::parse(record)? {
            Record::End(name) => return Ok(name),
            Record::Item(path, item) => (path, item),
            Record::Full | Record::Base(_) => return Err(malformed("it begins twice")),
        };
        let target = if let Item::Link(target) = item { target.len() } else { 0 };
        if left == 0 {
            let most = limits.entries;
            return Err(over(&format!("more than {most} files and directories"), path));
        }
        left -= 1;
        names = names
            .checked_sub((path.len() + target) as u64)
            .ok_or_else(|| over(&format!("more than {NAMES_MAX} bytes of names"), path))?;
        fit(path)?;
        match order(&before, path) {
            Ordering::Less => {}
            Ordering::Equal => return Err(refused(path, "its name occurs twice")),
            Ordering::Greater => {
                let why = format!("it comes behind '{}', out of order", shown(&before));
                return Err(refused(path, &why));
            }
        }
        before.clear();
        before.extend_from_slice(path);
        apply(items, path, item, delta)?;
    }
    Err(cut_short())
}

fn apply(items: &mut Items, path: &[u8], item: Item<'_>, delta: bool) -> Result<()> {
    let key = key(path);
    let item = match item {
        Item::File { mode, size, hash } => Owned::File { mode, size, hash },
        Item::Directory(mode) => Owned::Directory(mode),
        Item::Link(target) => Owned::Link(target.to_vec()),
        Item::Removed if !delta => return Err(refused(path, "there is no base to remove it from")),
        Item::Removed => {
            let missing = || refused(path, "it is removed and was not in the base");
            return items.remove(&key).map(drop).ok_or_else(missing);
        }
    };
    items.insert(key, item);
    Ok(())
}

/// What can't be a path of a manifest whatever else there is in it.
fn fit(path: &[u8]) -> Result<()> {
    let plain = || path.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b".");
    let why = unfit(path).or_else(|| (!plain()).then(|| "its path has '.' or an empty part".to_owned()));
    why.map_or(Ok(()), |why| Err(refused(path, &why)))
}

/// All of it at once: what one record alone does not show.
fn check(items: Items, limits: &Limits) -> Result<Tree> {
    let mut tree = Tree::new(limits);
    let mut sizes: HashMap<Hash, u64> = HashMap::new();
    for (key, item) in items {
        let path = slashed(&key);
        if let Some(parent) = tree.claim_parents(&path)?.first() {
            let why = format!("its directory '{}' is missing", shown(parent));
            return Err(refused(&path, &why));
        }
        match item {
            Owned::Directory(mode) => tree.add_dir(&path, mode)?,
            Owned::Link(target) => tree.add_link(&path, &target)?,
            Owned::File { mode, size, hash } => {
                if *sizes.entry(hash).or_insert(size) != size {
                    return Err(refused(&path, "another file has the same content and another size"));
                }
                tree.add_file(&path, mode, size, hash)?;
            }
        }
    }
    tree.checked_links()?;
    Ok(tree)
}

/// The records of a canonical manifest; none when it has another name.
fn items_of(input: impl BufRead, name: &Hash) -> Result<Option<Items>> {
    let (mut items, mut hasher) = (Items::new(), Hasher::new());
    let mut records = Records { input, record: Vec::new() };
    while let Ok(Some(record)) = records.next() {
        hasher.update(record);
        hasher.update(&[0]);
        let Ok(Record::Item(path, item)) = Record::parse(record) else { return Ok(None) };
        if apply(&mut items, path, item, false).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(items).filter(|_| hasher.finish() == *name))
}

/// What stands between two zero bytes; of a link, both parts.
struct Records<R> {
    input: R,
    record: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.record.clear();
        let parts = match self.part()? {
            false => return Ok(None),
            true if self.record.starts_with(b"l ") => 2,
            true => 1,
        };
        if parts == 2 {
            self.record.push(0);
            if !self.part()? {
                return Err(cut_short());
            }
        }
        Ok(Some(&self.record))
    }

    /// Reads up to the next zero byte. False when nothing comes any more.
    fn part(&mut self) -> Result<bool> {
        let left = RECORD_MAX.saturating_sub(self.record.len()) as u64;
        let read = (&mut self.input).take(left).read_until(0, &mut self.record);
        match read.map_err(|error| unread(&error))? {
            0 if left == 0 => Err(malformed("a record is too long")),
            0 => Ok(false),
            _ if self.record.last() == Some(&0) => {
                self.record.pop();
                Ok(true)
            }
            _ if self.record.len() >= RECORD_MAX => Err(malformed("a record is too long")),
            _ => Err(cut_short()),
        }
    }
}

fn unread(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_short(),
        _ => malformed(&broken(error)),
    }
}

fn malformed(why: &str) -> Error {
    Error::usage(format!("the manifest is malformed: {why}"))
}

fn cut_short() -> Error {
    Error::usage("the manifest ends too early").hint("it was cut off on its way; send it again")
}

fn over(what: &str, path: &[u8]) -> Error {
    Error::new(Kind::TooLarge, format!("the source has {what}, from '{}' on", shown(path)))
}
