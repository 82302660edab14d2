//! What was deployed last from a directory, so that what has not changed need not be read
//! again: each entry as its manifest has it, and behind a file the stamp that it had.
//!
//! ```text
//! rig 1 TIME\0 base HASH\0   f 644 11 b94d…cde9 src/a\0 MTIME CTIME INODE\0 …   .\0
//! ```
//!
//! It is read in its order beside a walk, which has the same, and never held in memory. As with
//! git's index a file that was written shortly before the index proves nothing: what came
//! after may have the same stamp ("racy git", Documentation/technical/racy-git.txt).

use crate::manifest::{Hash, Item, Record, order};
use crate::sys::files;
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// How the first record begins.
const MAGIC: &str = "rig 1 ";
/// The last record.
const END: &[u8] = b".";
/// How coarse the stamps of file systems are, in nanoseconds: of most a tick of the clock, of
/// those whose stamps are whole seconds (FAT) two seconds.
const TICK: i64 = 20_000_000;
const SECOND: i64 = 1_000_000_000;

/// What changes when a file does ([`files::stamp`]).
pub type Stamp = [i64; 3];

/// An index that is being read.
pub struct Index {
    file: BufReader<File>,
    /// When the walk began that it tells of: nanoseconds since 1970.
    time: i64,
    /// The manifest that was sent.
    pub base: Hash,
    /// The present entry, without its last zero byte; empty behind the last one.
    record: Vec<u8>,
    stamp: Stamp,
    /// Somebody has asked for it.
    found: bool,
    /// Something in it can't be read, or its end is missing.
    pub broken: bool,
}

impl Index {
    /// Opens an index; none when there is none that can be read.
    pub fn open(path: &Path) -> Option<Index> {
        let file = BufReader::with_capacity(64 * 1024, File::open(path).ok()?);
        let (record, stamp) = (Vec::new(), [0; 3]);
        let mut index = Index { file, time: 0, base: [0; 32], record, stamp, found: false, broken: false };
        index.read()?;
        index.time = std::str::from_utf8(&index.record).ok()?.strip_prefix(MAGIC)?.parse().ok()?;
        index.record.clear();
        index.read()?;
        match Record::parse(&index.record) {
            Ok(Record::Base(hash)) => index.base = hash,
            _ => return None,
        }
        index.advance();
        Some(index)
    }

    /// Reads up to a zero byte behind what there is of the record.
    fn read(&mut self) -> Option<()> {
        self.file.read_until(0, &mut self.record).ok()?;
        self.record.pop_if(|last| *last == 0).map(drop)
    }

    fn advance(&mut self) {
        self.record.clear();
        self.found = false;
        if self.try_advance().is_none() {
            self.broken |= self.record != END;
            self.record.clear();
        }
    }

    fn try_advance(&mut self) -> Option<()> {
        self.read()?;
        if self.record.first()? == &b'l' {
            self.record.push(0);
            self.read()?;
        }
        let mut stamp = Vec::new();
        self.file.read_until(0, &mut stamp).ok()?;
        let text = std::str::from_utf8(stamp.strip_suffix(&[0])?).ok()?;
        let mut numbers = text.split(' ').map(str::parse);
        for number in &mut self.stamp {
            *number = numbers.next()?.ok()?;
        }
        Some(())
    }

    /// The record of what it has at `path`, without its last zero byte. Paths are asked for in
    /// their order; `gone` gets those before this one that nobody has asked for.
    pub fn at(&mut self, path: &[u8], gone: &mut dyn FnMut(&[u8])) -> Option<&[u8]> {
        loop {
            let Ok(Record::Item(known, _)) = Record::parse(&self.record) else {
                self.broken |= !self.record.is_empty();
                return None;
            };
            match order(known, path) {
                Ordering::Less if !self.found => gone(known),
                Ordering::Less => {}
                Ordering::Greater => return None,
                Ordering::Equal => {
                    self.found = true;
                    return Some(&self.record);
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
        let settled = written.max(changed).saturating_add(if coarse { 2 * SECOND } else { TICK }) < self.time;
        (size == then && stamp == self.stamp && settled).then_some(hash)
    }
}

/// An index that is being written, which takes the place of the one before when it is whole.
pub struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl Writer<'_> {
    /// Begins one of a walk that began at `time`.
    pub fn new<'a>(path: &'a Path, time: i64, base: &Hash) -> io::Result<Writer<'a>> {
        files::make_directory(path.parent().unwrap_or(Path::new(".")))?;
        let file = files::create(&temporary(path))?;
        let mut writer = Writer { path, file: BufWriter::with_capacity(64 * 1024, file) };
        let mut head = format!("{MAGIC}{time}\0").into_bytes();
        Record::Base(*base).write(&mut head);
        writer.file.write_all(&head)?;
        Ok(writer)
    }

    /// Adds an entry: its record as [`Record::write`] writes it.
    pub fn add(&mut self, record: &[u8], stamp: Stamp) -> io::Result<()> {
        let [written, changed, inode] = stamp;
        self.file.write_all(record)?;
        self.file.write_all(format!("{written} {changed} {inode}\0").as_bytes())
    }

    /// Ends it.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.write_all(END)?;
        self.file.write_all(&[0])?;
        self.file.flush()?;
        fs::rename(temporary(self.path), self.path)
    }
}

fn temporary(path: &Path) -> std::path::PathBuf {
    path.with_extension(format!("{}.tmp", std::process::id()))
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
        let path = dir.join("sub/index");
        let mut writer = Writer::new(&path, 100 * SECOND, &[7; 32]).unwrap();
        for (record, stamp) in [
            (record(b"a", Item::Directory(0o755)), [1, 1, 1]),
            (file(b"a/b", 1), [5, 6, 7]),
            (record(b"a/l", Item::Link(b"b c")), [1, 1, 2]),
            (file(b"a.b", 2), [99 * SECOND + 990_000_000, 1, 3]),
            (file(b"c", 3), [99 * SECOND, 0, 4]),
            (file(b"d", 4), [8, 9, 10]),
        ] {
            writer.add(&record, stamp).unwrap();
        }
        writer.finish().unwrap();
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
}
