//! Copies of what was installed, and the paths in it. A program that a package manager has
//! installed may begin with the path of its interpreter, which is another in each release.

use crate::error::{Error, Kind, Result};
use crate::maxd::store::disk;
use memchr::memmem::Finder;
use rustix::fs::{OFlags, ioctl_ficlone};
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What an entry takes on the disk, at least, and by which that rises.
const BLOCK: u64 = 4096;
/// The largest file that is written anew with another path.
const TEXT_MAX: u64 = 16 << 20;
/// What is read at once.
const CHUNK: usize = 64 << 10;

/// Copies a directory of at most `limit` bytes to where nothing is: files, directories and links with
/// their permissions, and the times of files, by which Python knows whether what it has
/// compiled is still true. Tells what the copy takes.
pub fn copy(from: &Path, to: &Path, limit: u64) -> Result<u64> {
    let (mut bytes, mut rest, mut made) = (0, vec![PathBuf::new()], Vec::new());
    let mut take = |size: u64| {
        bytes += size.div_ceil(BLOCK).max(1).saturating_mul(BLOCK);
        match bytes > limit {
            true => Err(Error::new(Kind::TooLarge, format!("it takes more than {limit} bytes"))),
            false => Ok(bytes),
        }
    };
    let mut sum = 0;
    while let Some(below) = rest.pop() {
        let (source, target) = (join(from, &below), join(to, &below));
        let failed = |error: io::Error| disk("copy", &source, &error);
        let data = source.symlink_metadata().map_err(failed)?;
        let kind = data.file_type();
        sum = take(if kind.is_file() { data.len() } else { 0 })?;
        let mode = Permissions::from_mode(data.permissions().mode() & 0o777);
        if kind.is_dir() {
            // Its own permissions may not let anything be written there.
            DirBuilder::new().mode(0o700).create(&target).map_err(failed)?;
            for item in fs::read_dir(&source).map_err(failed)? {
                rest.push(below.join(item.map_err(failed)?.file_name()));
            }
            made.push((target, mode));
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|leads| symlink(leads, &target)).map_err(failed)?;
        } else if kind.is_file() {
            copy_file(&source, &target, mode).map_err(failed)?;
        } else {
            return Err(odd(&below, "is no file, directory or link"));
        }
    }
    for (directory, mode) in made.into_iter().rev() {
        fs::set_permissions(&directory, mode).map_err(|error| disk("copy", &directory, &error))?;
    }
    Ok(sum)
}

/// An empty path would leave a slash behind.
fn join(root: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { root.to_owned() } else { root.join(below) }
}

fn copy_file(from: &Path, to: &Path, mode: Permissions) -> io::Result<()> {
    let mut from = plain(from)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    // Where the file system can share, until one of them is written.
    if ioctl_ficlone(&to, &from).is_err() {
        io::copy(&mut from, &mut to)?;
    }
    to.set_times(FileTimes::new().set_modified(from.metadata()?.modified()?))?;
    to.set_permissions(mode)
}

/// Opens a file, and not what a link leads to.
fn plain(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The texts and links in a tree in which the path of its release stands. An error when it stands in a
/// program, where it can't be changed.
pub fn mentions(tree: &Path, path: &str) -> Result<Vec<String>> {
    let finder = Finder::new(path);
    let (mut found, mut rest) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = rest.pop() {
        let source = join(tree, &below);
        let failed = |error: io::Error| disk("read", &source, &error);
        let kind = source.symlink_metadata().map_err(failed)?.file_type();
        let mentioned = if kind.is_dir() {
            for item in fs::read_dir(&source).map_err(failed)? {
                rest.push(below.join(item.map_err(failed)?.file_name()));
            }
            false
        } else if kind.is_symlink() {
            fs::read_link(&source).map_err(failed)?.starts_with(path)
        } else {
            // Python takes the path of the source there for no more than it is.
            let compiled = below.extension().is_some_and(|suffix| suffix == "pyc");
            match look(&source, &finder).map_err(failed)? {
                Some(text) if !compiled && !text => return Err(odd(&below, "holds the release's path")),
                found => found.is_some() && !compiled,
            }
        };
        if mentioned {
            let name = below.to_str().ok_or_else(|| odd(&below, "has a name that is not UTF-8"))?;
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Whether a file that has these words is a text; none when it has not.
fn look(path: &Path, finder: &Finder<'_>) -> io::Result<Option<bool>> {
    let mut file = plain(path)?;
    let overlap = finder.needle().len().saturating_sub(1);
    let (mut buffer, mut held, mut text, mut found) = (vec![0; CHUNK + overlap], 0, true, false);
    loop {
        let read = match file.read(buffer.get_mut(held..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let there = buffer.get(..held + read).unwrap_or_default();
        text = text && memchr::memchr(0, there).is_none();
        found = found || finder.find(there).is_some();
        let start = there.len().saturating_sub(overlap);
        held = there.len() - start;
        buffer.copy_within(start..start + held, 0);
    }
    let small = file.metadata()?.len() <= TEXT_MAX;
    Ok(found.then_some(text && small))
}

/// Puts another path in the place of one, in a text or a link.
pub fn rewrite(file: &Path, old: &str, new: &str) -> Result<()> {
    let failed = |error: io::Error| disk("write", file, &error);
    let data = file.symlink_metadata().map_err(failed)?;
    if data.file_type().is_symlink() {
        let leads = fs::read_link(file).map_err(failed)?;
        let leads = replaced(leads.as_os_str().as_bytes(), old, new);
        fs::remove_file(file).map_err(failed)?;
        return symlink(std::ffi::OsString::from_vec(leads), file).map_err(failed);
    }
    let mut text = Vec::new();
    plain(file).and_then(|mut file| file.read_to_end(&mut text)).map_err(failed)?;
    let text = replaced(&text, old, new);
    fs::remove_file(file).map_err(failed)?;
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = written.and_then(|mut to| {
        to.write_all(&text)?;
        to.set_times(FileTimes::new().set_modified(data.modified()?))?;
        to.set_permissions(data.permissions())
    });
    written.map_err(failed)
}

/// The path of release 1 is no part of that of release 10.
fn replaced(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    let finder = Finder::new(old);
    while let Some(at) = finder.find(rest) {
        let (before, from) = rest.split_at(at);
        let (found, behind) = from.split_at(old.len());
        let whole = !behind.first().is_some_and(u8::is_ascii_digit);
        out.extend_from_slice(before);
        out.extend_from_slice(if whole { new.as_bytes() } else { found });
        rest = behind;
    }
    out.extend_from_slice(rest);
    out
}

fn odd(path: &Path, what: &str) -> Error {
    Error::new(Kind::Failed, format!("'{}' {what}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_has_the_modes_and_times_and_shares_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/tool"), "x").unwrap();
        symlink("../b/tool", from.join("a/b/link")).unwrap();
        symlink("/nowhere", from.join("dangling")).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::open(from.join("a/b/tool")).unwrap().set_modified(old).unwrap();
        for (path, mode) in [("a/b/tool", 0o555), ("a/b", 0o555)] {
            fs::set_permissions(from.join(path), Permissions::from_mode(mode)).unwrap();
        }
        // Three directories, two links and a file.
        assert_eq!(copy(&from, &to, u64::MAX).unwrap(), 6 * BLOCK);
        let tool = to.join("a/b/tool").metadata().unwrap();
        assert_eq!((tool.permissions().mode() & 0o777, tool.modified().unwrap()), (0o555, old));
        assert_eq!(to.join("a/b").metadata().unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(fs::read_link(to.join("a/b/link")).unwrap(), Path::new("../b/tool"));
        assert_eq!(fs::read_link(to.join("dangling")).unwrap(), Path::new("/nowhere"));
        fs::set_permissions(to.join("a/b/tool"), Permissions::from_mode(0o644)).unwrap();
        fs::write(to.join("a/b/tool"), "other").unwrap();
        assert_eq!(fs::read(from.join("a/b/tool")).unwrap(), b"x");
        // Never over something, or through a link.
        symlink(temp.path(), temp.path().join("way")).unwrap();
        assert!(
            copy(&from, &to, u64::MAX).is_err() && copy(&from, &temp.path().join("way"), u64::MAX).is_err()
        );
        rustix::fs::mkfifoat(rustix::fs::CWD, from.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
        let error = copy(&from, &temp.path().join("third"), u64::MAX).unwrap_err();
        assert_eq!(error.message(), "'pipe' is no file, directory or link");
    }

    #[test]
    fn paths_are_found_in_texts_and_refused_in_programs() {
        let temp = tempfile::tempdir().unwrap();
        let far = [vec![b'x'; CHUNK - 3], b"/a/1/x".to_vec()].concat();
        fs::write(temp.path().join("far"), far).unwrap();
        fs::write(temp.path().join("none"), "/a/2").unwrap();
        fs::write(temp.path().join("x.pyc"), "\0/a/1").unwrap();
        assert_eq!(mentions(temp.path(), "/a/1").unwrap(), ["far"]);
        fs::write(temp.path().join("x.so"), "\0/a/1").unwrap();
        let error = mentions(temp.path(), "/a/1").unwrap_err();
        assert_eq!(error.message(), "'x.so' holds the release's path");
        assert_eq!(replaced(b"/a/1 /a/1/b /a/12 /a/1", "/a/1", "/a/2"), b"/a/2 /a/2/b /a/12 /a/2");
    }
}
