//! Reads manifests that nobody vouches for, whole or as what differs from another one.

use super::manifest::{Draft, Manifest, items};
use super::tree::{Room, refused, shown, unfit};
use super::{Limits, broken};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, Hasher, Item, RECORD_MAX, Record, hex, order};
use std::cmp::Ordering;
use std::io::{self, BufRead, Read as _};

/// Reads a manifest as it is sent. `base` gives the text of the one that it differs from, which
/// is not believed. Blocks.
pub fn read_changes(
    input: impl BufRead,
    limits: &Limits,
    base: impl FnOnce(&Hash) -> Result<Option<Vec<u8>>>,
) -> Result<Manifest> {
    let mut records = Records { input, record: Vec::new() };
    let base = match records.next()?.map(Record::parse).transpose()? {
        Some(Record::Full) => None,
        Some(Record::Base(name)) => {
            let text = base(&name)?.filter(|text| Hasher::of(text) == name);
            Some(text.ok_or_else(|| unknown(&name))?)
        }
        Some(_) => return Err(malformed("it begins with neither 'full' nor 'base'")),
        None => return Err(cut_short()),
    };
    let mut draft = Draft::new(limits);
    let said = merge(&mut records, base.as_deref(), limits, &mut draft)?;
    if records.next()?.is_some() {
        return Err(malformed("something follows its end"));
    }
    let manifest = draft.finish()?;
    if manifest.name != said {
        let (is, said) = (hex(&manifest.name), hex(&said));
        let message = format!("the manifest is '{is}' and not '{said}' as its end says");
        return Err(Error::usage(message).hint("send it in full"));
    }
    Ok(manifest)
}

fn unknown(name: &Hash) -> Error {
    Error::new(Kind::Conflict, format!("this network has no manifest '{}'", hex(name)))
        .hint("send it in full")
        .field("base")
}

/// Puts together a base, if there is one, and the records up to the end, which says the name of
/// the whole: both are in order.
fn merge(
    records: &mut Records<impl BufRead>,
    base: Option<&[u8]>,
    limits: &Limits,
    draft: &mut Draft,
) -> Result<Hash> {
    let mut rest = items(base.unwrap_or_default()).peekable();
    let mut room = Room::of_changes(limits);
    let mut before: Vec<u8> = Vec::new();
    while let Some(record) = records.next()? {
        let (path, item) = match Record::parse(record)? {
            Record::Item(path, item) => (path, item),
            Record::End(name) => {
                rest.try_for_each(|(path, item)| draft.add(path, item))?;
                return Ok(name);
            }
            Record::Full | Record::Base(_) => return Err(malformed("it begins twice")),
        };
        room.take(path, if let Item::Link(target) = item { target } else { &[] })?;
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
        while let Some((path, item)) = rest.next_if(|(other, _)| order(other, path).is_lt()) {
            draft.add(path, item)?;
        }
        let known = rest.next_if(|(other, _)| *other == path).is_some();
        match item {
            Item::Removed if base.is_none() => {
                return Err(refused(path, "there is no base to remove it from"));
            }
            Item::Removed if !known => return Err(refused(path, "it is removed and was not in the base")),
            Item::Removed => {}
            item => draft.add(path, item)?,
        }
    }
    Err(cut_short())
}

/// What can't be a path of a manifest whatever else there is in it.
fn fit(path: &[u8]) -> Result<()> {
    let plain = || path.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b".");
    let why = unfit(path).or_else(|| (!plain()).then(|| "its path has '.' or an empty part".to_owned()));
    why.map_or(Ok(()), |why| Err(refused(path, &why)))
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
    Error::usage("the manifest ends too early").hint("it was cut off on its way; deploy again")
}
