//! What a pool says is there, and what of it is on the disk.
#![allow(clippy::unwrap_used)]

use super::sync::Unsynced;
use super::*;
use crate::archive::{Limits, Manifest, Wanted, read_changes};

fn pool() -> (tempfile::TempDir, Arc<Pool>) {
    let temp = tempfile::tempdir().unwrap();
    let pool = Arc::new(Pool::new(temp.path().join("1")));
    (temp, pool)
}

/// A hash in the first directory or the second.
fn hash(directory: u8, number: u16) -> Hash {
    let [high, low] = number.to_be_bytes();
    let mut hash = [7; 32];
    hash[..3].copy_from_slice(&[directory, high, low]);
    hash
}

/// A manifest with these contents.
fn manifest(contents: impl Iterator<Item = Hash>) -> Manifest {
    let mut text = b"full\0".to_vec();
    contents
        .enumerate()
        .for_each(|(at, hash)| text.extend(format!("f 644 1 {} {at:05}\0", hex(&hash)).bytes()));
    let name = Hasher::of(&text[5..]);
    text.extend(format!(". {}\0", hex(&name)).bytes());
    read_changes(text.as_slice(), &Limits { bytes: 10_000, entries: 10_000 }, |_| Ok(None)).unwrap()
}

fn store(pool: &Pool, hash: &Hash) {
    let path = pool.path(hash);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

fn all(wanted: &Wanted) -> Vec<usize> {
    (0..wanted.list().len()).collect()
}

#[test]
fn what_is_missing_is_found_however_it_is_looked_for() {
    let (_temp, pool) = pool();
    let wanted = manifest((0..40).map(|n| hash(0, n)).chain((0..3).map(|n| hash(1, n)))).wanted;
    assert_eq!(pool.missing(&wanted, all(&wanted)).unwrap(), all(&wanted), "nothing is there");
    // In a directory with nothing else, in one with so much that it is not read to its end, and
    // where three are asked for.
    for n in (0..40).filter(|n| n % 3 != 0) {
        store(&pool, &hash(0, n));
    }
    store(&pool, &hash(1, 1));
    fs::write(pool.root.join("00/no hash"), "").unwrap();
    let missing: Vec<usize> = (0..40).step_by(3).chain([40, 42]).collect();
    assert_eq!(pool.missing(&wanted, all(&wanted)).unwrap(), missing);
    (1000..3000).for_each(|n| store(&pool, &hash(0, n)));
    assert_eq!(pool.missing(&wanted, all(&wanted)).unwrap(), missing);
    // Only what is asked for.
    assert_eq!(pool.missing(&wanted, (0..20).collect()).unwrap(), [0, 3, 6, 9, 12, 15, 18]);
    assert_eq!(pool.missing(&wanted, vec![4, 42]).unwrap(), [42]);
}

#[test]
fn what_is_not_on_the_disk_is_known_while_it_is_little() {
    let (_temp, pool) = pool();
    let named = || match &*pool.unsynced.lock().unwrap() {
        Unsynced::These(paths) => Some(paths.len()),
        Unsynced::All => None,
    };
    pool.sync().unwrap();
    assert_eq!(named(), None, "there is nothing yet, and nothing is known");
    pool.put(&manifest([hash(0, 0)].into_iter())).unwrap();
    pool.sync().unwrap();
    assert_eq!(named(), Some(0));
    let send = |text: &[u8]| {
        let mut writing = pool.begin(&Hasher::of(text), 0).unwrap().unwrap();
        writing.write(text).unwrap();
        assert_eq!(writing.finish().unwrap(), partial::Verdict::Good);
    };
    send(b"one");
    // It, the directory it is in, and the one that this is new in.
    assert_eq!(named(), Some(3));
    // What goes before it is brought there is no error.
    send(b"two");
    fs::remove_file(pool.path(&Hasher::of(b"two"))).unwrap();
    pool.sync().unwrap();
    assert_eq!(named(), Some(0));
    (0..300_u16).for_each(|n| send(&n.to_be_bytes()));
    assert_eq!(named(), None);
    pool.sync().unwrap();
    assert_eq!(named(), Some(0));
}

#[test]
fn a_manifest_that_was_damaged_is_none_and_is_stored_again() {
    let (_temp, pool) = pool();
    let manifest = manifest([hash(0, 0)].into_iter());
    let read = || pool.manifest(&manifest.name).unwrap();
    assert!(read().is_none());
    pool.put(&manifest).unwrap();
    assert_eq!(read().unwrap().text, manifest.text);
    let path = pool.manifest_path(&manifest.name);
    for damage in ["", "d 755 a/b\0", "f 644 1 x"] {
        fs::write(&path, damage).unwrap();
        pool.put(&manifest).unwrap();
        assert_eq!(read().unwrap().text, manifest.text, "{damage}");
        fs::write(&path, damage).unwrap();
        assert!(read().is_none() && !path.exists(), "{damage}");
    }
}
