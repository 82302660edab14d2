//! What was deployed last from a directory, so that what has not changed need not be read
//! again: each entry as its manifest has it, and behind a file the stamp that it had.
//!
//! ```text
//! rig 1 TIME\0 base HASH\0   f 644 11 b94d…cde9 src/a\0 MTIME CTIME INODE\0 …   .\0 SHA-256
//! ```
//!
//! It is read in its order beside a walk, which has the same. As with
//! git's index a file that was written shortly before the index proves nothing: what came
//! after may have the same stamp ("racy git", Documentation/technical/racy-git.txt).

use crate::manifest::{Hash, Hasher, Item, Record, order};
use crate::sys::files;
use std::cmp::Ordering;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How the first record begins.
const MAGIC: &str = "rig 1 ";
/// The last record.
const END: &[u8] = b".";
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

/// What changes when a file does (`sys::files::stamp`).
pub type Stamp = [u64; 3];

/// An index that is being read.
pub struct Index {
    text: Vec<u8>,
    /// Where the present entry begins, and where the next.
    at: usize,
    next: usize,
    /// How long the present record is, without its last zero byte; 0 behind the last one.
    length: usize,
    stamp: Stamp,
    /// When the walk began that it tells of: nanoseconds since 1970.
    time: u64,
    /// The manifest that was sent.
    pub base: Hash,
    /// Somebody has asked for the present entry.
    found: bool,
    /// Something in it can't be read, or its end is missing.
    pub broken: bool,
}

impl Index {
    /// Reads an index; none when there is none that can be read.
    pub fn open(path: &Path) -> Option<Index> {
        let about = fs::metadata(path).ok().filter(|about| about.is_file() && about.len() <= LARGEST)?;
        let mut text = Vec::with_capacity(usize::try_from(about.len()).ok()?);
        files::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
        let sum = text.split_off(text.len().checked_sub(SUM)?);
        if summed(&text) != *sum {
            return None;
        }
        let mut index = Index {
            text,
            at: 0,
            next: 0,
            length: 0,
            stamp: [0; 3],
            time: 0,
            base: [0; 32],
            found: false,
            broken: false,
        };
        let mut at = 0;
        let head = piece(&index.text, &mut at)?;
        index.time = std::str::from_utf8(head).ok()?.strip_prefix(MAGIC)?.parse().ok()?;
        match Record::parse(piece(&index.text, &mut at)?) {
            Ok(Record::Base(hash)) => index.base = hash,
            _ => return None,
        }
        index.next = at;
        index.advance();
        Some(index)
    }

    fn record(&self) -> &[u8] {
        self.text.get(self.at..self.at + self.length).unwrap_or_default()
    }

    fn advance(&mut self) {
        (self.at, self.length, self.found) = (self.next, 0, false);
        if self.try_advance().is_none() {
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.broken |= rest.strip_suffix(&[0]) != Some(END);
            self.length = 0;
        }
    }

    fn try_advance(&mut self) -> Option<()> {
        let mut at = self.at;
        if piece(&self.text, &mut at)?.starts_with(b"l ") {
            piece(&self.text, &mut at)?;
        }
        let length = at - self.at - 1;
        let mut numbers = std::str::from_utf8(piece(&self.text, &mut at)?).ok()?.split(' ').map(str::parse);
        for number in &mut self.stamp {
            *number = numbers.next()?.ok()?;
        }
        (self.length, self.next) = (length, at);
        Some(())
    }

    /// The record of what it has at `path`, without its last zero byte. Paths are asked for in
    /// their order; `gone` gets those before this one that nobody has asked for.
    pub fn at(&mut self, path: &[u8], gone: &mut dyn FnMut(&[u8])) -> Option<&[u8]> {
        loop {
            let Ok(Record::Item(known, _)) = Record::parse(self.record()) else {
                self.broken |= self.length > 0;
                return None;
            };
            match order(known, path) {
                Ordering::Less if !self.found => gone(known),
                Ordering::Less => {}
                Ordering::Greater => return None,
                Ordering::Equal => {
                    self.found = true;
                    return Some(self.record());
                }
            }
            self.advance();
        }
    }

    /// All that is left and that nobody has asked for.
    pub fn rest(&mut self, gone: &mut dyn FnMut(&[u8])) {
        // No path is that high.
        self.at(&[0xff; 8192], gone);
    }

    /// The content of the file at `path`, if it is proven to be that still: it has the size and
    /// the stamp of then, and had them for long enough.
    pub fn content(&mut self, path: &[u8], size: u64, stamp: Stamp) -> Option<Hash> {
        let record = self.at(path, &mut |_| {})?;
        let Ok(Record::Item(_, Item::File { size: then, hash, .. })) = Record::parse(record) else {
            return None;
        };
        let [written, changed, _] = stamp;
        let coarse = written % SECOND == 0 && changed % SECOND == 0;
        let since = written.max(changed).saturating_add(if coarse { 2 * SECOND } else { TICK });
        (size == then && stamp == self.stamp && since < self.time).then_some(hash)
    }
}

/// Removes the oldest indexes of more than [`KEPT`]: nobody deletes those of directories that are gone.
pub fn prune(directory: &Path) {
    let items = fs::read_dir(directory).into_iter().flatten().flatten();
    let written = |item: fs::DirEntry| Some((item.metadata().ok()?.modified().ok()?, item.path()));
    let mut found: Vec<(SystemTime, PathBuf)> = items.filter_map(written).collect();
    while found.len() > KEPT {
        let oldest = (0..).zip(&found).min_by_key(|(_, (time, _))| *time).map_or(0, |(at, _)| at);
        let _ = fs::remove_file(found.swap_remove(oldest).1);
    }
}

fn summed(text: &[u8]) -> Hash {
    let mut hasher = Hasher::new();
    hasher.update(text);
    hasher.finish()
}

/// What is up to the next zero byte.
fn piece<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = text.get(*at..)?;
    let length = rest.iter().position(|byte| *byte == 0)?;
    *at += length + 1;
    rest.get(..length)
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
    for (number, end) in stamp.iter().zip(b"  \0") {
        out.extend_from_slice(number.to_string().as_bytes());
        out.push(*end);
    }
}

/// Ends it.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(END);
    out.push(0);
    let sum = summed(out);
    out.extend_from_slice(&sum);
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        end(&mut out);
        fs::write(&path, out).unwrap();
        path
    }

    #[test]
    fn it_is_read_beside_a_walk() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::open(&written(dir.path())).unwrap();
        assert_eq!(index.base, [7; 32]);
        let mut gone = Vec::new();
        let mut at = |index: &mut Index, path: &[u8]| {
            index
                .at(path, &mut |path| gone.push(String::from_utf8_lossy(path).into_owned()))
                .map(<[u8]>::to_vec)
        };
        assert_eq!(at(&mut index, b"0"), None);
        assert!(at(&mut index, b"a").is_some());
        // Asked for twice.
        assert_eq!(at(&mut index, b"a/l").unwrap(), b"l a/l\0b c");
        assert_eq!(at(&mut index, b"a/l").unwrap(), b"l a/l\0b c");
        assert!(at(&mut index, b"b").is_none() && at(&mut index, b"c").is_some());
        index.rest(&mut |path| gone.push(String::from_utf8_lossy(path).into_owned()));
        assert_eq!(gone, ["a/b", "a.b", "d"]);
        assert!(!index.broken);
    }

    #[test]
    fn a_content_is_proven_by_size_and_stamp_that_are_not_too_new() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::open(&written(dir.path())).unwrap();
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
            let Some(mut index) = Index::open(&path) else { continue };
            index.rest(&mut |_| {});
            assert!(index.broken, "{end}");
        }
        fs::write(&path, b"rig 2 100\0").unwrap();
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
