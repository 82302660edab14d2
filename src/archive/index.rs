//! What was deployed last from a directory, so that what has not changed need not be read
//! again: each entry as its manifest has it, and behind a file the stamp that it had.
//!
//! ```text
//! rig 2 TIME\0 base HASH\0   f 644 11 b94d…cde9 src/a\0 STAMP   …   .\0 SHA-256
//! ```
//!
//! A stamp is three numbers of eight bytes each, the lowest byte first. An index is read in its
//! order beside a walk, which has the same. As with git's index a file that was written shortly
//! before the index proves nothing: what came after may have the same stamp ("racy git", Documentation/technical/racy-git.txt).

use crate::manifest::{Hash, Hasher, Item, Record, order};
use crate::sys::files::{self, About};
use std::cmp::Ordering;
use std::ffi::CStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How the first record begins.
const MAGIC: &str = "rig 2 ";
/// What is behind the last entry.
const END: &[u8] = b".\0";
/// How coarse the stamps of file systems are, in nanoseconds: of most a tick of the clock, of
/// those whose stamps are whole seconds (FAT) two seconds.
const TICK: u64 = 20_000_000;
const SECOND: u64 = 1_000_000_000;
/// Of a million files; what is larger is none.
const LARGEST: u64 = 256 << 20;
/// The SHA-256 of all before it, at the end: what a disk has made of an index must not be sent.
const SUM: usize = 32;
/// So many of one user are kept.
const KEPT: usize = 64;

/// What changes when a file does (`sys::files::About`).
pub type Stamp = [u64; 3];
/// How many bytes that takes.
const STAMP: usize = 24;

/// An index as it was read.
pub struct Index {
    text: Vec<u8>,
    /// Where its entries begin.
    start: usize,
    /// When the walk began that it tells of: nanoseconds since 1970.
    time: u64,
    /// The manifest that was sent.
    pub base: Hash,
}

impl Index {
    /// Reads an index; none when there is none that can be read.
    pub fn open(path: &Path) -> Option<Index> {
        let about = files::about(path).ok().filter(|about| about.is_file() && about.size <= LARGEST)?;
        let mut text = Vec::with_capacity(usize::try_from(about.size).ok()?);
        files::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
        let sum = text.split_off(text.len().checked_sub(SUM)?);
        let mut hasher = Hasher::new();
        hasher.update(&text);
        if hasher.finish() != *sum {
            return None;
        }
        let mut rest = text.as_slice();
        let time = std::str::from_utf8(piece(&mut rest)?).ok()?.strip_prefix(MAGIC)?.parse().ok()?;
        let Ok(Record::Base(base)) = Record::parse(piece(&mut rest)?) else { return None };
        let start = text.len() - rest.len();
        Some(Index { text, start, time, base })
    }

    /// Its entries, from the first on.
    pub fn entries(&self) -> Entries<'_> {
        let rest = self.text.get(self.start..).unwrap_or_default();
        let (time, found, broken) = (self.time, false, false);
        let mut entries = Entries { rest, time, record: &[], stamp: &[0; STAMP], found, broken };
        entries.advance();
        entries
    }
}

/// The entries of an index, which are asked for in their order.
pub struct Entries<'a> {
    /// Behind the present one.
    rest: &'a [u8],
    time: u64,
    /// The present one's record, without its last zero byte; empty behind the last one.
    record: &'a [u8],
    stamp: &'a [u8; STAMP],
    /// Somebody has asked for the present one.
    found: bool,
    /// Something can't be read, or the end is missing.
    pub broken: bool,
}

impl<'a> Entries<'a> {
    fn advance(&mut self) {
        (self.record, self.found) = (&[], false);
        if self.rest != END && self.try_advance().is_none() {
            (self.record, self.broken) = (&[], true);
        }
    }

    fn try_advance(&mut self) -> Option<()> {
        let (all, mut rest) = (self.rest, self.rest);
        if piece(&mut rest)?.starts_with(b"l ") {
            piece(&mut rest)?;
        }
        self.record = all.get(..all.len() - rest.len() - 1)?;
        (self.stamp, self.rest) = rest.split_first_chunk()?;
        Some(())
    }

    /// What it has at `path`; `gone` gets the paths before it that nobody has asked for.
    pub fn at(&mut self, path: &[u8], gone: &mut dyn FnMut(&[u8])) -> Option<Item<'a>> {
        loop {
            let Ok(Record::Item(known, item)) = Record::parse(self.record) else {
                self.broken |= !self.record.is_empty();
                return None;
            };
            match order(known, path) {
                Ordering::Less if !self.found => gone(known),
                Ordering::Less => {}
                Ordering::Greater => return None,
                Ordering::Equal => {
                    self.found = true;
                    return Some(item);
                }
            }
            self.advance();
        }
    }

    /// Whether it has this record, of what is at `path`; `gone` as above.
    pub fn has(&mut self, path: &[u8], record: &[u8], gone: &mut dyn FnMut(&[u8])) -> bool {
        if self.found {
            self.advance();
        }
        // Mostly it is the next one, and need not be parsed.
        self.found = record.strip_suffix(&[0]) == Some(self.record);
        self.found || (self.at(path, gone).is_some() && record.strip_suffix(&[0]) == Some(self.record))
    }

    /// All that is left and that nobody has asked for.
    pub fn rest(&mut self, gone: &mut dyn FnMut(&[u8])) {
        // No path is that high.
        self.at(&[0xff; 8192], gone);
    }

    /// The content of the file at `path`, if it is proven to be that still: it has the size and
    /// the stamp of then, and had them for long enough.
    pub fn content(&mut self, path: &[u8], size: u64, stamp: Stamp) -> Option<Hash> {
        let Item::File { size: then, hash, .. } = self.at(path, &mut |_| {})? else { return None };
        let [written, changed, _] = stamp;
        let coarse = written % SECOND == 0 && changed % SECOND == 0;
        let since = written.max(changed).saturating_add(if coarse { 2 * SECOND } else { TICK });
        (size == then && stamped(stamp) == *self.stamp && since < self.time).then_some(hash)
    }
}

/// Removes the oldest indexes of more than [`KEPT`]: nobody deletes those of directories that are gone.
pub fn prune(directory: &Path) {
    let written = |(path, about): (PathBuf, io::Result<About>)| Some((about.ok()?.stamp[0], path));
    let mut found: Vec<_> =
        files::list(directory, directory).unwrap_or_default().into_iter().filter_map(written).collect();
    while found.len() > KEPT {
        let oldest = (0..).zip(&found).min_by_key(|(_, (time, _))| *time).map_or(0, |(at, _)| at);
        let _ = fs::remove_file(found.swap_remove(oldest).1);
    }
}

/// Takes what is up to the next zero byte.
fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let piece = CStr::from_bytes_until_nul(rest).ok()?.to_bytes();
    *rest = rest.get(piece.len() + 1..)?;
    Some(piece)
}

/// The beginning of an index of a walk that began at `time`.
pub fn begin(time: u64, base: &Hash) -> Vec<u8> {
    let mut out = format!("{MAGIC}{time}\0").into_bytes();
    Record::Base(*base).write(&mut out);
    out
}

/// Adds an entry: its record as [`Record::write`] writes it.
pub fn add(out: &mut Vec<u8>, record: &[u8], stamp: Stamp) {
    out.extend_from_slice(record);
    out.extend_from_slice(&stamped(stamp));
}

/// A stamp as it is written.
fn stamped(stamp: Stamp) -> [u8; STAMP] {
    let mut out = [0; STAMP];
    out.chunks_exact_mut(8).zip(stamp).for_each(|(out, number)| out.copy_from_slice(&number.to_le_bytes()));
    out
}

/// Ends it: `before` has hashed all that is not in `out` any more.
pub fn end(out: &mut Vec<u8>, mut before: Hasher) {
    out.extend_from_slice(END);
    before.update(out);
    out.extend_from_slice(&before.finish());
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::SystemTime;

    fn record(path: &[u8], item: Item<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Record::Item(path, item).write(&mut out);
        out
    }

    fn file(path: &[u8], hash: u8) -> Vec<u8> {
        record(path, Item::File { mode: 0o644, size: 5, hash: [hash; 32] })
    }

    /// An index of some entries, written at second 100.
    fn written(dir: &Path) -> std::path::PathBuf {
        let (path, mut out) = (dir.join("index"), begin(100 * SECOND, &[7; 32]));
        for (record, stamp) in [
            (record(b"a", Item::Directory(0o755)), [1, 1, 1]),
            (file(b"a/b", 1), [5, 6, 7]),
            (record(b"a/l", Item::Link(b"b c")), [1, 1, 2]),
            (file(b"a.b", 2), [99 * SECOND + 990_000_000, 1, 3]),
            (file(b"c", 3), [99 * SECOND, 0, 4]),
            (file(b"d", 4), [8, 9, 10]),
        ] {
            add(&mut out, &record, stamp);
        }
        end(&mut out, Hasher::new());
        fs::write(&path, out).unwrap();
        path
    }

    #[test]
    fn it_is_read_beside_a_walk() {
        let dir = tempfile::tempdir().unwrap();
        let index = Box::leak(Box::new(Index::open(&written(dir.path())).unwrap()));
        assert_eq!(index.base, [7; 32]);
        let (mut index, mut gone) = (index.entries(), Vec::new());
        let mut at = |index: &mut Entries<'static>, path: &[u8]| {
            index.at(path, &mut |path| gone.push(String::from_utf8_lossy(path).into_owned()))
        };
        assert_eq!(at(&mut index, b"0"), None);
        assert!(at(&mut index, b"a").is_some());
        // Asked for twice.
        assert_eq!(at(&mut index, b"a/l"), Some(Item::Link(b"b c")));
        assert_eq!(at(&mut index, b"a/l"), Some(Item::Link(b"b c")));
        assert!(at(&mut index, b"b").is_none() && at(&mut index, b"c").is_some());
        index.rest(&mut |path| gone.push(String::from_utf8_lossy(path).into_owned()));
        assert_eq!(gone, ["a/b", "a.b", "d"]);
        assert!(!index.broken);
    }

    #[test]
    fn a_content_is_proven_by_size_and_stamp_that_are_not_too_new() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&written(dir.path())).unwrap();
        let mut index = index.entries();
        assert_eq!(index.content(b"a", 5, [1, 1, 1]), None);
        assert_eq!(index.content(b"a/b", 6, [5, 6, 7]), None);
        assert_eq!(index.content(b"a/b", 5, [5, 6, 8]), None);
        assert_eq!(index.content(b"a/b", 5, [5, 7, 7]), None);
        assert_eq!(index.content(b"a/b", 5, [5, 6, 7]), Some([1; 32]));
        assert_eq!(index.content(b"a.b", 5, [99 * SECOND + 990_000_000, 1, 3]), None, "within a tick");
        assert_eq!(index.content(b"c", 5, [99 * SECOND, 0, 4]), None, "within whole seconds");
        assert_eq!(index.content(b"d", 5, [8, 9, 10]), Some([4; 32]));
        assert_eq!(index.content(b"e", 5, [8, 9, 10]), None);
    }

    #[test]
    fn what_is_damaged_is_no_index_or_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let whole = fs::read(&path).unwrap();
        assert!(Index::open(&dir.path().join("none")).is_none());
        for end in 0..whole.len() - 1 {
            fs::write(&path, &whole[..end]).unwrap();
            let Some(index) = Index::open(&path) else { continue };
            let mut index = index.entries();
            index.rest(&mut |_| {});
            assert!(index.broken, "{end}");
        }
        fs::write(&path, b"rig 3 100\0").unwrap();
        assert!(Index::open(&path).is_none());
    }
    #[test]
    fn the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..KEPT + 3 {
            let file = fs::File::create(dir.path().join(at.to_string())).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at as u64)).unwrap();
        }
        prune(dir.path());
        prune(&dir.path().join("none"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), KEPT);
        let left = |name: &str| dir.path().join(name).exists();
        assert!(!left("0") && !left("2") && left("3") && left(&(KEPT + 2).to_string()));
    }
}
