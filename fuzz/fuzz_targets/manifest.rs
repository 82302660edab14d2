//! Manifests that nobody vouches for, whole and as what differs from another one: what is
//! accepted is written as it was read, under its name, and nothing of it leads out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::archive::{Limits, Tree, lay_out, read_changes, read_stored};
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
    let Some((name, base)) = complete(b"full\0", whole, None) else { return };
    let text = text(&base);
    check(&name, &base, &text);
    let Some(delta) = delta else { return };
    let mut first = Vec::new();
    Record::Base(name).write(&mut first);
    assert!(read(&first, None).is_none(), "without its base");
    if let Some((name, tree)) = complete(&first, delta, Some(&text)) {
        check(&name, &tree, &self::text(&tree));
    }
});

fn read(bytes: &[u8], base: Option<&[u8]>) -> Option<(Hash, Tree)> {
    read_changes(bytes, &LIMITS, |_| Ok(base)).ok()
}

/// With the end that makes it a manifest, if there is one: the first attempt tells it.
fn complete(first: &[u8], records: &[u8], base: Option<&[u8]>) -> Option<(Hash, Tree)> {
    let ended = |name: &Hash| {
        let mut bytes = [first, records].concat();
        if bytes.last() != Some(&0) {
            bytes.push(0);
        }
        Record::End(*name).write(&mut bytes);
        bytes
    };
    let zeros = [0; 32];
    let error = read_changes(ended(&zeros).as_slice(), &LIMITS, |_| Ok(base)).err()?;
    let name = error.message().strip_prefix("the manifest is '")?.get(..64)?;
    let found = read(&ended(&parse_hex(name.as_bytes())?), base);
    Some(found.expect("accepted under its name"))
}

fn text(tree: &Tree) -> Vec<u8> {
    let mut text = Vec::new();
    let written = tree.write(|record| {
        text.extend_from_slice(record);
        Ok(())
    });
    let mut hasher = Hasher::new();
    hasher.update(&text);
    assert_eq!(written.expect("memory"), hasher.finish());
    text
}

/// What must hold of everything that is accepted.
fn check(name: &Hash, tree: &Tree, canonical: &[u8]) {
    assert!(tree.len() <= LIMITS.entries && tree.bytes() <= LIMITS.bytes);
    let stored = read_stored(canonical, name).expect("it was accepted").expect("its name");
    assert_eq!(text(&stored), canonical);
    let other = [1; 32];
    assert!(read_stored(canonical, &other).expect("no error").is_none());
    let (again, tree) = complete(b"full\0", canonical, None).expect("it was accepted");
    assert_eq!((again, text(&tree)), (*name, canonical.to_vec()), "{}", hex(name));

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
    let _ = lay_out(&tree, &dest, |_, _| Ok(()));
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
