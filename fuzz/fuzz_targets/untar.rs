//! Archives that nobody vouches for: nothing outside the destination changes, no limit is
//! passed, and no link leads out.
#![no_main]

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use rig::archive::{Limits, unpack};
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

const LIMITS: Limits = Limits { bytes: 4096, entries: 8 };
const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let tar_gz = match kind % 4 {
        0 => bytes.to_vec(),
        1 => gzip(bytes),
        _ => gzip(&checked(bytes)),
    };
    let home = home();
    let dest = home.join("dest");
    let unpacked = unpack(tar_gz.as_slice(), &dest, &LIMITS);
    if dest.exists() {
        let (mut count, mut size) = (0, 0);
        inspect(&dest, &dest, &mut count, &mut size, unpacked.is_ok());
        assert!(count <= LIMITS.entries && size <= LIMITS.bytes, "{count} entries, {size} bytes");
        fs::remove_dir_all(&dest).expect("its own files can be removed");
    }
    let left: Vec<_> = fs::read_dir(&home).expect("the home is there").flatten().collect();
    assert!(left.len() == 1 && left[0].file_name() == "sentinel", "something outside changed");
    assert_eq!(fs::read(home.join("sentinel")).expect("the sentinel"), b"untouched");
});

/// A directory in memory, with a file beside where the archive goes.
fn home() -> PathBuf {
    let home = PathBuf::from(format!("/dev/shm/rig-untar-{}", std::process::id()));
    if !home.exists() {
        fs::create_dir(&home).expect("a directory in memory");
        fs::write(home.join("sentinel"), b"untouched").expect("a file in memory");
    }
    home
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
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

fn inspect(dest: &Path, directory: &Path, count: &mut u64, size: &mut u64, whole: bool) {
    for item in fs::read_dir(directory).expect("its own directory").flatten() {
        *count += 1;
        let path = item.path();
        let kind = item.file_type().expect("its own file");
        if kind.is_dir() {
            inspect(dest, &path, count, size, whole);
        } else if kind.is_symlink() {
            // Links are made last, when all of them are known.
            let target = fs::read_link(&path).expect("its own link");
            assert!(stays(dest, directory, &target), "{} leads out: {}", path.display(), target.display());
        } else {
            assert!(kind.is_file(), "{} is no file", path.display());
            *size += item.metadata().expect("its own file").len();
        }
    }
    let _ = whole;
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
