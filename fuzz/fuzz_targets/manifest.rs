//! Manifests that nobody vouches for, whole and as what differs from another one: what is
//! accepted is written as it was read, under its name, and nothing of it leads out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::archive::{Limits, Manifest, lay_out, read_changes};
use rig::manifest::{Hash, Hasher, Item, Record, hex, order, parse_hex, parse_ranges, write_ranges};
use std::fs;
use std::path::{Component, Path, PathBuf};

const LIMITS: Limits = Limits { bytes: 4096, entries: 8 };

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(ranges) = parse_ranges(text)
    {
        // Small enough to be written one by one.
        let numbers = || ranges.iter().flat_map(|(first, last)| *first..=*last);
        if ranges.iter().all(|(first, last)| last - first < 1000) {
            let again = parse_ranges(&write_ranges(numbers())).expect("what it wrote");
            assert!(again.iter().flat_map(|(first, last)| *first..=*last).eq(numbers()));
        }
    }
    // As it comes, and with what the fuzzer can't guess: the hash at its end.
    let _ = read(data, None);
    let (whole, delta) = match data.windows(2).position(|two| two == [0, 0]) {
        Some(at) => (&data[..=at], Some(&data[at + 2..])),
        None => (data, None),
    };
    let Some(base) = complete(b"full\0", whole, None) else { return };
    check(&base);
    let Some(delta) = delta else { return };
    let mut first = Vec::new();
    Record::Base(base.name).write(&mut first);
    assert!(read(&first, None).is_none(), "without its base");
    if let Some(manifest) = complete(&first, delta, Some(&base.text)) {
        check(&manifest);
    }
});

fn read(bytes: &[u8], base: Option<&[u8]>) -> Option<Manifest> {
    read_changes(bytes, &LIMITS, |_| Ok(base.map(<[u8]>::to_vec))).ok()
}

/// With the end that makes it a manifest, if there is one: the first attempt tells it.
fn complete(first: &[u8], records: &[u8], base: Option<&[u8]>) -> Option<Manifest> {
    let ended = |name: &Hash| {
        let mut bytes = [first, records].concat();
        if bytes.last() != Some(&0) {
            bytes.push(0);
        }
        Record::End(*name).write(&mut bytes);
        bytes
    };
    let zeros = [0; 32];
    let error = read_changes(ended(&zeros).as_slice(), &LIMITS, |_| Ok(base.map(<[u8]>::to_vec))).err()?;
    let name = error.message().strip_prefix("the manifest is '")?.get(..64)?;
    let found = read(&ended(&parse_hex(name.as_bytes())?), base);
    Some(found.expect("accepted under its name"))
}

/// What must hold of everything that is accepted.
fn check(manifest: &Manifest) {
    let (name, canonical) = (&manifest.name, manifest.text.as_slice());
    assert_eq!(Hasher::of(canonical), *name);
    assert!(manifest.items().count() as u64 <= LIMITS.entries && manifest.bytes <= LIMITS.bytes);
    assert!(manifest.wanted.list().iter().map(|content| content.1).sum::<u64>() <= manifest.bytes);
    let stored = Manifest::stored(canonical.to_vec(), name).expect("its name");
    assert_eq!(stored.text, canonical);
    assert!(Manifest::stored(canonical.to_vec(), &[1; 32]).is_none());
    let again = complete(b"full\0", canonical, None).expect("it was accepted");
    assert_eq!((again.name, again.text), (*name, canonical.to_vec()), "{}", hex(name));

    // In order, each once, and plain.
    let mut before: Vec<u8> = Vec::new();
    let mut rest = canonical;
    while !rest.is_empty() {
        let parts = if rest.starts_with(b"l ") { 2 } else { 1 };
        let end = rest.iter().enumerate().filter(|(_, byte)| **byte == 0).nth(parts - 1).expect("an end").0;
        let Ok(Record::Item(path, item)) = Record::parse(&rest[..end]) else { panic!("not a record") };
        assert!(item != Item::Removed && order(&before, path).is_lt());
        before = path.to_vec();
        rest = &rest[end + 1..];
    }

    let home = home();
    let dest = home.join("dest");
    // Names that the file system does not take are errors.
    let _ = lay_out(manifest, &dest, |_, _| Ok(()));
    inspect(&dest, &dest);
    fs::remove_dir_all(&dest).expect("its own files can be removed");
    let left: Vec<_> = fs::read_dir(&home).expect("the home is there").flatten().collect();
    assert!(left.len() == 1 && left[0].file_name() == "sentinel", "something outside changed");
    assert_eq!(fs::read(home.join("sentinel")).expect("the sentinel"), b"untouched");
    fs::remove_dir_all(home).expect("its own files can be removed");
}

/// A directory in memory, with a file beside where the files go.
fn home() -> PathBuf {
    let home = PathBuf::from(format!("/dev/shm/rig-manifest-{}", std::process::id()));
    fs::create_dir(&home).expect("a directory in memory");
    fs::write(home.join("sentinel"), b"untouched").expect("a file in memory");
    home
}

fn inspect(dest: &Path, directory: &Path) {
    for item in fs::read_dir(directory).expect("its own directory").flatten() {
        let (path, kind) = (item.path(), item.file_type().expect("its own file"));
        if kind.is_dir() {
            inspect(dest, &path);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("its own link");
            assert!(stays(dest, directory, &target), "{} leads out: {}", path.display(), target.display());
        } else {
            assert!(kind.is_file(), "{} is no file", path.display());
        }
    }
}

/// Follows a link as the kernel would; what there is not is taken for a directory.
fn stays(dest: &Path, directory: &Path, target: &Path) -> bool {
    let (mut at, mut hops) = (directory.to_owned(), 0);
    let mut todo: Vec<PathBuf> = target.components().rev().map(|part| part.as_os_str().into()).collect();
    while let Some(part) = todo.pop() {
        match part.components().next() {
            Some(Component::CurDir) | None => {}
            Some(Component::Normal(name)) => match fs::read_link(at.join(name)) {
                Ok(target) => {
                    hops += 1;
                    if hops > 40 {
                        return true;
                    }
                    todo.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
                }
                Err(_) => at.push(name),
            },
            Some(Component::ParentDir) if at != dest => {
                at.pop();
            }
            Some(_) => return false,
        }
    }
    true
}
