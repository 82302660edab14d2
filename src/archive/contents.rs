//! A tree whose contents are named by their hashes: its manifest, and what of it is packed.
//!
//! ```text
//! walk ─▶ hash what the index does not prove, in several threads ─▶ manifest
//!                                        what is missing ─▶ pack
//! ```

use super::gzip::Gzip;
use super::index::{self, Index, Stamp};
use super::pieces;
use super::walk::{Kind, Tree};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::manifest::{Hash, Hasher, Item, Record};
use crate::queue::bounded;
use crate::sys::files;
use crate::sys::thread::{SMALL, start, workers};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What one of them reads at a time.
const BUFFER: usize = 128 * 1024;

/// A tree with the hash of every file.
pub struct Contents {
    /// The tree.
    pub tree: Arc<Tree>,
    /// By entry; of what is no file nothing that means something.
    hashes: Vec<Hash>,
    /// When it was begun: nanoseconds since 1970.
    time: u64,
    /// The entry of each content, by its number.
    pub numbers: Vec<u32>,
    /// The manifest's name.
    pub name: Hash,
    /// The index proved all and has this manifest: another one would say no more.
    pub proven: bool,
}

/// Gets an entry's path, record and stamp.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8], Stamp);

/// Files to hash, shared by threads.
struct Work {
    tree: Arc<Tree>,
    /// The entries.
    wanted: Vec<u32>,
    next: AtomicUsize,
    done: Mutex<Done>,
}

struct Done {
    hashes: Vec<Hash>,
    failed: Option<Error>,
}

impl Contents {
    /// Hashes what is not proven by the index, of a walk that began at `began`. With it comes the
    /// manifest as it is sent: what is different from that of the index, or all of it.
    pub fn new(tree: Tree, began: SystemTime, index: Option<&Index>) -> Result<(Contents, Vec<u8>)> {
        let time = began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        let (hashes, wanted) = known(&tree, index);
        let (tree, done) = (Arc::new(tree), Mutex::new(Done { hashes, failed: None }));
        let work = Arc::new(Work { tree: Arc::clone(&tree), wanted, next: AtomicUsize::new(0), done });
        let (working, ended) = bounded::<()>(0);
        // One more thread than there is to do would be one too many.
        for _ in 1..workers().min(work.wanted.len()) {
            let (work, working) = (Arc::clone(&work), working.clone());
            let hash = move || {
                let _working = working;
                work.run();
            };
            if start(SMALL, Box::new(hash)).is_err() {
                // There are no more threads: those that there are do it.
                break;
            }
        }
        drop(working);
        work.run();
        let _ = ended.recv();
        let mut done = work.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = done.failed.take() {
            return Err(error);
        }
        let hashes = std::mem::take(&mut done.hashes);
        drop(done);
        let numbers = numbers(&tree, &hashes);
        let proven = work.wanted.is_empty();
        let mut contents = Contents { tree, hashes, time, numbers, name: [0; 32], proven };
        let (name, manifest) = contents.manifest(index)?;
        contents.name = name;
        contents.proven &= index.is_some_and(|index| index.base == name);
        Ok((contents, manifest))
    }

    /// All entries in their order.
    fn records(&self, each: Each<'_>) {
        let mut record = Vec::new();
        for (entry, hash) in self.tree.entries.iter().zip(&self.hashes) {
            let (path, target) = (
                files::bytes(&entry.path),
                match &entry.kind {
                    Kind::Link(target) => Some(files::bytes(target)),
                    _ => None,
                },
            );
            let item = match &entry.kind {
                Kind::File(size) => Item::File { mode: entry.mode, size: *size, hash: *hash },
                Kind::Directory => Item::Directory(entry.mode),
                Kind::Link(_) => Item::Link(target.as_ref().map_or(&[], AsRef::as_ref)),
            };
            record.clear();
            Record::Item(path.as_ref(), item).write(&mut record);
            each(path.as_ref(), &record, entry.stamp);
        }
    }

    /// The manifest's name and the manifest as it is sent: what is different from that of the
    /// index, or all of it.
    fn manifest(&self, index: Option<&Index>) -> Result<(Hash, Vec<u8>)> {
        let failed = |error: io::Error| Error::io("pack", "the manifest", &error);
        let (mut packed, mut out, mut hasher) = (Vec::new(), Vec::new(), Hasher::new());
        let mut body = Gzip::new(&mut packed).map_err(failed)?;
        index.map_or(Record::Full, |index| Record::Base(index.base)).write(&mut out);
        let (mut known, mut written) = (index.map(Index::entries), Ok(()));
        self.records(&mut |path, record, _| {
            hasher.update(record);
            let mut gone = |path: &[u8]| removed(&mut out, path);
            let same = known.as_mut().is_some_and(|known| known.has(path, record, &mut gone));
            if !same {
                out.extend_from_slice(record);
            }
            if out.len() > BUFFER && written.is_ok() {
                written = body.write_all(&out);
                out.clear();
            }
        });
        written.map_err(failed)?;
        if let Some(known) = &mut known {
            known.rest(&mut |path| removed(&mut out, path));
        }
        if known.is_some_and(|known| known.broken) {
            return self.manifest(None);
        }
        let name = hasher.finish();
        Record::End(name).write(&mut out);
        body.write_all(&out).and_then(|()| body.finish()).map_err(failed)?;
        Ok((name, packed))
    }

    /// All of the manifest.
    pub fn full_manifest(&self) -> Result<Vec<u8>> {
        self.manifest(None).map(|(_, manifest)| manifest)
    }

    /// The manifest that says that it is known already.
    pub fn known_manifest(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        Record::Base(self.name).write(&mut out);
        Record::End(self.name).write(&mut out);
        let mut packed = Vec::new();
        let done = Gzip::new(&mut packed).and_then(|mut body| {
            body.write_all(&out)?;
            body.finish()
        });
        done.map(|()| packed).map_err(|error| Error::io("pack", "the manifest", &error))
    }

    /// Writes the index for the next time, when the server has the manifest.
    pub fn write_index(&self, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let (mut out, mut hasher, mut written) = (index::begin(self.time, &self.name), Hasher::new(), Ok(()));
        self.records(&mut |_, record, stamp| {
            index::add(&mut out, record, stamp);
            if out.len() > BUFFER && written.is_ok() {
                hasher.update(&out);
                written = write(&out);
                out.clear();
            }
        });
        index::end(&mut out, hasher);
        written.and_then(|()| write(&out))
    }

    /// The hash of the content of an entry.
    pub fn hash(&self, entry: u32) -> Hash {
        self.hashes.get(entry as usize).copied().unwrap_or_default()
    }
}

fn removed(out: &mut Vec<u8>, path: &[u8]) {
    Record::Item(path, Item::Removed).write(out);
}

/// The hashes that the index proves, and the entries of which it does not.
fn known(tree: &Tree, index: Option<&Index>) -> (Vec<Hash>, Vec<u32>) {
    let mut index = index.map(Index::entries);
    let (mut hashes, mut wanted) = (vec![[0; 32]; tree.entries.len()], Vec::new());
    for ((at, entry), hash) in (0..).zip(&tree.entries).zip(&mut hashes) {
        let Kind::File(size) = entry.kind else { continue };
        let path = files::bytes(&entry.path);
        match index.as_mut().and_then(|index| index.content(path.as_ref(), size, entry.stamp)) {
            Some(known) => *hash = known,
            None => wanted.push(at),
        }
    }
    (hashes, wanted)
}

/// The entry at which each content occurs first.
fn numbers(tree: &Tree, hashes: &[Hash]) -> Vec<u32> {
    // A table with room for twice as many, in which a hash lies behind the place it names.
    let room = (2 * hashes.len()).next_power_of_two();
    let (mut table, mut first) = (vec![u32::MAX; room], Vec::new());
    for (at, (entry, hash)) in (0..).zip(tree.entries.iter().zip(hashes)) {
        let Kind::File(_) = entry.kind else { continue };
        let [a, b, c, d, ..] = *hash;
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        let mut places = (start..start + room).map(|place| place % room);
        let place = places.find(|place| {
            table
                .get(*place)
                .is_some_and(|known| *known == u32::MAX || hashes.get(*known as usize) == Some(hash))
        });
        if let Some(place) = place.and_then(|place| table.get_mut(place))
            && *place == u32::MAX
        {
            *place = at;
            first.push(at);
        }
    }
    first
}

impl Work {
    /// Hashes until nothing is left, or somebody failed.
    fn run(&self) {
        let mut buffer = vec![0; BUFFER];
        while let Some(at) = self.wanted.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let hashed = self.hash(*at as usize, &mut buffer);
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            match hashed {
                Ok(hash) => {
                    if let Some(place) = done.hashes.get_mut(*at as usize) {
                        *place = hash;
                    }
                }
                Err(error) => {
                    done.failed.get_or_insert(error);
                    self.next.store(self.wanted.len(), Ordering::Relaxed);
                }
            }
        }
    }

    fn hash(&self, at: usize, buffer: &mut [u8]) -> Result<Hash> {
        let Some((entry, size)) = self.tree.entries.get(at).and_then(|entry| match entry.kind {
            Kind::File(size) => Some((entry, size)),
            _ => None,
        }) else {
            return Ok([0; 32]);
        };
        let path = self.tree.root.join(&entry.path);
        let failed = |error: io::Error| Error::io("read", &path.to_string_lossy(), &error);
        let mut hasher = Hasher::new();
        let mut update = |piece: &[u8]| {
            hasher.update(piece);
            Ok(())
        };
        let read = files::open(&path)
            .and_then(|mut file| pieces(&mut |out| file.read(out), buffer, &mut update))
            .map_err(failed)?;
        match read == size {
            true => Ok(hasher.finish()),
            false => {
                let message = format!("'{}' changed while it was read", path.to_string_lossy());
                Err(Error::new(ErrorKind::Failed, message).hint("deploy again once nothing writes there"))
            }
        }
    }
}

#[cfg(all(test, unix, feature = "server"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::archive::walk::walk;
    use crate::manifest::order;
    use nanorand::{Rng, WyRand};
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Read;
    use std::path::Path;
    use std::time::Duration;

    /// The records of a manifest as it is sent, without those that begin and end it; and these.
    fn records(body: &[u8]) -> (Vec<Vec<u8>>, String, Hash) {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(body).read_to_end(&mut text).unwrap();
        let (mut all, mut pieces) = (Vec::new(), text.split(|byte| *byte == 0));
        while let Some(piece) = pieces.next() {
            let mut record = piece.to_vec();
            if record.starts_with(b"l ") {
                record.push(0);
                record.extend_from_slice(pieces.next().unwrap());
            }
            all.push(record);
        }
        assert_eq!(all.pop().unwrap(), b"");
        let Record::End(name) = Record::parse(&all.pop().unwrap()).unwrap() else { panic!("no end") };
        (all.split_off(1), String::from_utf8(all.remove(0)).unwrap(), name)
    }

    fn path_of(record: &[u8]) -> Vec<u8> {
        match Record::parse(record).unwrap() {
            Record::Item(path, _) => path.to_vec(),
            _ => panic!("no item"),
        }
    }

    /// Does something to a tree: makes, changes, moves and removes files, directories and links.
    fn disturb(root: &Path, random: &mut WyRand) {
        let names = ["a", "a.b", "a-", "b", "\u{e9} x", "z\n"];
        let mut path = root.to_owned();
        for _ in 0..random.generate_range(1..4_u8) {
            path.push(names[random.generate_range(0..names.len())]);
        }
        let _ = match random.generate_range(0..6_u8) {
            0 => fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)),
            1 => fs::create_dir_all(&path),
            2 => fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| std::os::unix::fs::symlink("a", &path)),
            _ => fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| fs::write(&path, vec![b'x'; random.generate_range(0..5_usize)])),
        };
    }

    #[test]
    fn a_manifest_from_an_index_is_the_whole_one() {
        let mut random = WyRand::new_seed(1126);
        let dir = tempfile::tempdir().unwrap();
        let (root, index) = (dir.path().join("tree"), dir.path().join("index"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("keep"), "").unwrap();
        let (mut before, mut reused) = (None::<(BTreeMap<Vec<u8>, Vec<u8>>, Hash)>, 0);
        for round in 0..60 {
            for _ in 0..random.generate_range(0..8_u8) {
                disturb(&root, &mut random);
            }
            // As if it was walked much later than it was written.
            let began = SystemTime::now() + Duration::from_secs(3600);
            let old = Index::open(&index);
            let (contents, delta) = Contents::new(walk(&root).unwrap(), began, old.as_ref()).unwrap();
            let (plain, full) = Contents::new(walk(&root).unwrap(), began, None).unwrap();
            assert_eq!(contents.hashes, plain.hashes, "{round}");
            reused += contents.tree.entries.len() - known(&contents.tree, old.as_ref()).1.len();
            let (all, head, name) = records(&full);
            assert_eq!((head.as_str(), name), ("full", contents.name));
            assert!(all.is_sorted_by(|a, b| order(&path_of(a), &path_of(b)).is_lt()));
            if let Some((mut base, base_name)) = before.take() {
                let (delta, head, name) = records(&delta);
                assert_eq!(
                    (head, name),
                    (format!("base {}", crate::manifest::hex(&base_name)), contents.name)
                );
                for record in delta {
                    let path = path_of(&record);
                    let gone = matches!(Record::parse(&record).unwrap(), Record::Item(_, Item::Removed));
                    let old = if gone { base.remove(&path) } else { base.insert(path, record.clone()) };
                    assert_ne!(old, Some(record), "nothing that is the same is sent");
                }
                let all: BTreeMap<_, _> =
                    all.iter().map(|record| (path_of(record), record.clone())).collect();
                assert_eq!(base, all, "{round}");
            }
            let all = all.into_iter().map(|record| (path_of(&record), record)).collect();
            before = Some((all, contents.name));
            let mut text = Vec::new();
            let mut write = |bytes: &[u8]| text.write_all(bytes);
            contents.write_index(&mut write).unwrap();
            fs::write(&index, text).unwrap();
        }
        assert!(reused > 100, "{reused}");
    }

    #[test]
    fn equal_files_are_one_content_and_the_first_names_it() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "2"), ("b", "1"), ("c", "2"), ("d", "3"), ("e", "1")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let (contents, _) = Contents::new(walk(dir.path()).unwrap(), SystemTime::now(), None).unwrap();
        assert_eq!(contents.numbers, [0, 1, 3]);
        let (all, head, name) = records(&contents.known_manifest().unwrap());
        assert_eq!(
            (all.len(), head, name),
            (0, format!("base {}", crate::manifest::hex(&contents.name)), contents.name)
        );
    }

    #[test]
    fn what_changes_size_while_it_is_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let tree = walk(dir.path()).unwrap();
        fs::write(&path, "two!").unwrap();
        let error = Contents::new(tree, SystemTime::now(), None).err().unwrap();
        assert_eq!(error.message(), format!("'{}' changed while it was read", path.display()));
    }
}
