//! Removes directories whatever the permissions of what is in them: builds make parts
//! of theirs read-only (Go's module cache does), and as such only root can remove them.

use super::store::disk;
use crate::error::Result;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a directory with everything in it. Links are removed and not followed.
pub fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open(directory)?;
            fs::remove_dir_all(directory)
        }
        done => done,
    }
}

/// Removes an app's release directories but these.
pub fn prune(directory: &Path, kept: &[u64]) -> Result<()> {
    let failed = |error: std::io::Error| disk("read", directory, &error);
    for item in fs::read_dir(directory).map_err(failed)? {
        let item = item.map_err(failed)?;
        let number = item.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
        if number.is_some_and(|number| !kept.contains(&number)) {
            remove(&item.path()).map_err(|error| disk("remove", &item.path(), &error))?;
        }
    }
    Ok(())
}

/// What a directory takes: the sizes of its files together, in bytes. What can't be looked at
/// takes nothing.
pub fn size(directory: &Path) -> u64 {
    let (mut rest, mut bytes) = (vec![directory.to_path_buf()], 0_u64);
    while let Some(directory) = rest.pop() {
        for item in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match item.metadata() {
                Ok(data) if data.is_dir() => rest.push(item.path()),
                Ok(data) => bytes = bytes.saturating_add(data.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Lets the owner change every directory of the tree.
fn open(directory: &Path) -> io::Result<()> {
    let mut rest = vec![directory.to_path_buf()];
    while let Some(directory) = rest.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for item in fs::read_dir(&directory)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                rest.push(item.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_read_only_goes_too_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, kept) = (temp.path().join("tree"), temp.path().join("kept"));
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(tree.join("a/b/c/file"), "x").unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/b/link")).unwrap();
        for (path, mode) in [("a/b/c", 0o000), ("a/b", 0o500), ("a", 0o444)] {
            fs::set_permissions(tree.join(path), Permissions::from_mode(mode)).unwrap();
        }
        let before = kept.metadata().unwrap().permissions();
        remove(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        assert_eq!(kept.metadata().unwrap().permissions(), before);
        assert_eq!(remove(&tree).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
