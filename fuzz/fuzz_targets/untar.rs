//! Archives that nobody vouches for: nothing outside the destination changes, no limit is
//! passed, and no link leads out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::archive::{Limits, unpack};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

const LIMITS: Limits = Limits { bytes: 4096, entries: 8 };
const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let tar_gz = match kind % 4 {
        0 => bytes.to_vec(),
        1 => gzip(bytes),
        _ => gzip(&checked(bytes)),
    };
    let home = &*HOME;
    let dest = home.join("dest");
    let _ = unpack(tar_gz.as_slice(), &dest, &LIMITS);
    // Where nothing was unpacked there is nothing to look at.
    if fs::remove_dir(&dest).is_err() && dest.exists() {
        let (mut count, mut size) = (0, 0);
        inspect(&dest, &dest, &mut count, &mut size);
        assert!(count <= LIMITS.entries && size <= LIMITS.bytes, "{count} entries, {size} bytes");
        fs::remove_dir_all(&dest).expect("its own files can be removed");
    }
    let mut left = fs::read_dir(home).expect("the home is there").flatten();
    let only = left.next().is_some_and(|one| one.file_name() == "sentinel") && left.next().is_none();
    assert!(only, "something outside changed");
    assert_eq!(fs::read(home.join("sentinel")).expect("the sentinel"), b"untouched");
});

/// A directory in memory, with a file beside where the archives go, one after the other.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = PathBuf::from(format!("/dev/shm/rig-untar-{}", std::process::id()));
    fs::create_dir(&home).expect("a directory in memory");
    fs::write(home.join("sentinel"), b"untouched").expect("a file in memory");
    home
});

/// Stored as it is, by hand: to set up a compressor would take longer than all the rest.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in bytes.chunks(usize::from(u16::MAX)) {
        let size = block.len() as u16;
        gzip.push(0);
        gzip.extend([size.to_le_bytes(), (!size).to_le_bytes()].concat());
        gzip.extend_from_slice(block);
    }
    gzip.extend([1, 0, 0, 255, 255]);
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    gzip.extend(sum.sum().to_le_bytes());
    gzip.extend((bytes.len() as u32).to_le_bytes());
    gzip
}

/// The bytes as blocks whose headers carry the sums they should, so that what is behind
/// them is reached.
fn checked(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    tar.resize(tar.len().div_ceil(BLOCK) * BLOCK, 0);
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..136]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok());
        at += BLOCK + size.unwrap_or(0).min(1 << 20).div_ceil(BLOCK) * BLOCK;
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn inspect(dest: &Path, directory: &Path, count: &mut u64, size: &mut u64) {
    for item in fs::read_dir(directory).expect("its own directory").flatten() {
        *count += 1;
        let path = item.path();
        let kind = item.file_type().expect("its own file");
        if kind.is_dir() {
            inspect(dest, &path, count, size);
        } else if kind.is_symlink() {
            // Links are made last, when all of them are known.
            let target = fs::read_link(&path).expect("its own link");
            assert!(stays(dest, directory, &target), "{} leads out: {}", path.display(), target.display());
        } else {
            assert!(kind.is_file(), "{} is no file", path.display());
            *size += item.metadata().expect("its own file").len();
        }
    }
}

/// By its words alone; a detour over another link is judged at that link.
fn stays(dest: &Path, directory: &Path, target: &Path) -> bool {
    let mut depth = directory.strip_prefix(dest).expect("inside").components().count();
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}
