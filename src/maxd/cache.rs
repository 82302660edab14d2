//! What builds of an app leave for the next: what package managers have downloaded, and what
//! they have installed, by a key of all that determines it.
//!
//! ```text
//! apps/ID/cache           downloads; builds write there
//! apps/ID/installed/KEY   one result: info.json, and tree, which is copied into releases
//! ```
//!
//! Results are copied in and out, so that no release shares a file with another, and lie where
//! builds do not reach. One becomes visible by a rename when it is whole, and counts until the
//! system is started again: so no build waits until thousands of files are on the disk.

pub mod install;
mod tree;

use super::runtime::boot;
use super::store::{disk, make_private};
use super::sweep;
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Where the downloads are, beside the app's releases.
const DOWNLOADS: &str = "cache";
/// Where the results are.
const INSTALLED: &str = "installed";
/// What one consists of.
const INFO: &str = "info.json";
const TREE: &str = "tree";
/// One that is not whole has a name of this kind.
const PART: &str = "part";

/// The cache of one app, for one build of it.
#[derive(Clone)]
pub struct Cache {
    app: PathBuf,
    limit: u64,
    writing: Arc<Mutex<()>>,
}

/// What a result came from.
struct Info {
    release: u64,
    /// Where the release was, and in which files of the tree that stands.
    path: String,
    mentions: Vec<String>,
    bytes: u64,
}

impl Cache {
    /// The cache beside the releases in `app`, of at most so many bytes. `writing` is held
    /// while anything of the app's is read or written.
    pub fn new(app: PathBuf, limit: u64, writing: Arc<Mutex<()>>) -> Cache {
        Cache { app, limit, writing }
    }

    /// The directory for what builds download. It is made when it is not there.
    pub async fn downloads(&self) -> Result<PathBuf> {
        let path = self.app.join(DOWNLOADS);
        tokio::fs::create_dir_all(&path).await.map_err(|error| disk("make", &path, &error))?;
        Ok(path)
    }

    /// Puts the result with this key into a release, if there is one; tells the number of the
    /// release that it came from. After an error the release is as it was.
    pub async fn reuse(&self, key: &str, release: &Path, directory: &'static str) -> Result<Option<u64>> {
        let (root, to) = (self.app.join(INSTALLED), release.to_owned());
        let entry = root.join(key);
        self.blocking(move || {
            let Some(info) = Info::read(&entry) else { return Ok(None) };
            let target = to.join(directory);
            if target.symlink_metadata().is_ok() {
                return Ok(None);
            }
            if let Err(error) = info.lay_out(&entry, &to, &target) {
                let _ = sweep::remove(&target);
                // It may be damaged.
                discard(&root, &entry)?;
                return Err(error);
            }
            // The oldest go first.
            let used = File::open(&entry).and_then(|entry| entry.set_modified(SystemTime::now()));
            used.map_err(|error| disk("write", &entry, &error))?;
            Ok(Some(info.release))
        })
        .await
    }

    /// Keeps what was installed in a release; tells its bytes.
    pub async fn keep(&self, key: &str, release: &Path, number: u64, directory: &'static str) -> Result<u64> {
        let (root, key, from) = (self.app.join(INSTALLED), key.to_owned(), release.to_owned());
        let limit = self.limit;
        self.blocking(move || {
            make_private(&root)?;
            let (entry, part) = (root.join(&key), root.join(&key).with_extension(PART));
            discard(&root, &entry)?;
            let kept = write(&part, &from, number, directory, limit);
            let kept = kept.and_then(|bytes| {
                fs::rename(&part, &entry).map_err(|error| disk("write", &entry, &error))?;
                Ok(bytes)
            });
            if kept.is_err() {
                let _ = sweep::remove(&part);
            }
            kept
        })
        .await
    }

    /// Removes what is over the limit, and what a crash left half done.
    pub async fn tidy(&self) -> Result<()> {
        let (app, limit) = (self.app.clone(), self.limit);
        self.blocking(move || tidy(&app, limit)).await
    }

    /// Removes all of it.
    pub async fn clear(&self) -> Result<()> {
        let app = self.app.clone();
        self.blocking(move || tidy(&app, 0)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let writing = Arc::clone(&self.writing);
        let done = tokio::task::spawn_blocking(move || {
            let _writes = writing.lock().unwrap_or_else(PoisonError::into_inner);
            work()
        });
        done.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its cache")))
    }
}

/// Writes a result of at most so many bytes; tells how many.
fn write(part: &Path, release: &Path, number: u64, directory: &str, limit: u64) -> Result<u64> {
    let tree = part.join(TREE);
    fs::create_dir(part).map_err(|error| disk("make", part, &error))?;
    let bytes = tree::copy(&release.join(directory), &tree, limit)?;
    let path = place(release)?;
    let info = Info { release: number, mentions: tree::mentions(&tree, &path)?, path, bytes };
    let file = part.join(INFO);
    fs::write(&file, info.to_json()).map_err(|error| disk("write", &file, &error))?;
    Ok(bytes)
}

/// Where a release is, as what is installed there calls it.
fn place(release: &Path) -> Result<String> {
    let place = release.canonicalize().map_err(|error| disk("open", release, &error))?;
    place.into_os_string().into_string().map_err(|_| Error::new(Kind::Failed, "its path is not UTF-8"))
}

impl Info {
    fn to_json(&self) -> String {
        let Info { release, path, mentions, bytes } = self;
        json!({"boot": boot(), "release": release, "path": path, "mentions": mentions, "bytes": bytes})
            .to_string()
    }

    /// None when there is no such result, or the system was started since: after a crash of the
    /// machine it may not be whole.
    fn read(entry: &Path) -> Option<Info> {
        let value = serde_json::from_str::<Value>(&fs::read_to_string(entry.join(INFO)).ok()?).ok()?;
        let boot = Some(boot()).filter(|boot| !boot.is_empty());
        if value.get("boot")?.as_str() != boot.as_deref() {
            return None;
        }
        let mentions = value.get("mentions")?.as_array()?.iter().map(|one| one.as_str().map(str::to_owned));
        Some(Info {
            release: value.get("release")?.as_u64()?,
            path: value.get("path")?.as_str()?.to_owned(),
            mentions: mentions.collect::<Option<_>>()?,
            bytes: value.get("bytes")?.as_u64()?,
        })
    }

    fn lay_out(&self, entry: &Path, release: &Path, target: &Path) -> Result<()> {
        let place = place(release)?;
        let bytes = tree::copy(&entry.join(TREE), target, u64::MAX)?;
        // Somebody may have removed some of it.
        if bytes != self.bytes {
            return Err(Error::new(Kind::Failed, "it is not whole any more"));
        }
        self.mentions.iter().try_for_each(|file| tree::rewrite(&target.join(file), &self.path, &place))
    }
}

/// Removes what does not fit in so many bytes any more: of the results those that were not used
/// for the longest time go first; the downloads as a whole, behind all but the newest result, since
/// with the parts of one a package manager might not be content. Blocks.
fn tidy(app: &Path, limit: u64) -> Result<()> {
    let root = app.join(INSTALLED);
    let mut results = Vec::new();
    for item in fs::read_dir(&root).into_iter().flatten().flatten() {
        let path = item.path();
        let info = Info::read(&path).filter(|_| path.extension().is_none());
        let used = item.metadata().and_then(|data| data.modified());
        match (info, used) {
            (Some(info), Ok(used)) => results.push((used, path, info.bytes)),
            _ => discard(&root, &path)?,
        }
    }
    results.sort_by_key(|result| std::cmp::Reverse(result.0));
    let mut all: Vec<_> = results.into_iter().map(|(_, path, bytes)| (path, bytes)).collect();
    let downloads = app.join(DOWNLOADS);
    if downloads.exists() {
        let bytes = sweep::size(&downloads);
        all.insert(all.len().min(1), (downloads, bytes));
    }
    let mut left = limit;
    for (path, bytes) in all {
        match left.checked_sub(bytes).filter(|_| limit > 0) {
            Some(rest) => left = rest,
            None => discard(&root, &path)?,
        }
    }
    Ok(())
}

/// Removes one of those, if it is there: as a whole, also when maxd is killed meanwhile.
fn discard(root: &Path, path: &Path) -> Result<()> {
    let part = root.join(path.file_name().unwrap_or_default()).with_extension(PART);
    let gone = |done: std::io::Result<()>| match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(disk("remove", path, &error)),
        _ => Ok(()),
    };
    if part != path {
        make_private(root)?;
        gone(sweep::remove(&part))?;
        gone(fs::rename(path, &part))?;
    }
    gone(sweep::remove(&part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_result_goes_from_release_to_release_with_its_paths() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::new(temp.path().to_owned(), 1 << 20, Arc::default());
        let at = |number: u64| temp.path().join(number.to_string());
        for number in [1, 2] {
            fs::create_dir(at(number)).unwrap();
        }
        let old = place(&at(1)).unwrap();
        fs::create_dir_all(at(1).join("env/bin")).unwrap();
        fs::write(at(1).join("env/bin/pip"), format!("#!{old}/env/bin/python\n# {old}0\n")).unwrap();
        std::os::unix::fs::symlink(format!("{old}/env/bin/pip"), at(1).join("env/pip")).unwrap();
        assert!(cache.reuse("k", &at(2), "env").await.unwrap().is_none());
        // Two directories, a file and a link, of a block each.
        assert_eq!(cache.keep("k", &at(1), 1, "env").await.unwrap(), 4 * 4096);
        assert_eq!(cache.reuse("k", &at(2), "env").await.unwrap(), Some(1));
        let new = place(&at(2)).unwrap();
        let pip = fs::read_to_string(at(2).join("env/bin/pip")).unwrap();
        assert_eq!(pip, format!("#!{new}/env/bin/python\n# {old}0\n"));
        assert_eq!(fs::read_link(at(2).join("env/pip")).unwrap(), Path::new(&new).join("env/bin/pip"));
        // What is there is not written over, and what is damaged is not tried again.
        assert_eq!(cache.reuse("k", &at(2), "env").await.unwrap(), None);
        fs::remove_file(temp.path().join("installed/k/tree/bin/pip")).unwrap();
        sweep::remove(&at(2).join("env")).unwrap();
        let error = cache.reuse("k", &at(2), "env").await.unwrap_err();
        assert_eq!(error.message(), "it is not whole any more");
        assert!(!at(2).join("env").exists() && !temp.path().join("installed/k").exists());
    }

    #[tokio::test]
    async fn a_result_counts_until_the_system_is_started_again() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::new(temp.path().to_owned(), 1 << 20, Arc::default());
        let (release, next) = (temp.path().join("1"), temp.path().join("2"));
        fs::create_dir_all(release.join("env")).unwrap();
        fs::create_dir(&next).unwrap();
        cache.keep("k", &release, 1, "env").await.unwrap();
        cache.tidy().await.unwrap();
        let file = temp.path().join("installed/k/info.json");
        let text = fs::read_to_string(&file).unwrap();
        for damaged in [text.replace(&boot(), "another"), String::new()] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(cache.reuse("k", &next, "env").await.unwrap(), None);
        }
        cache.tidy().await.unwrap();
        assert!(!temp.path().join("installed/k").exists());
    }

    #[tokio::test]
    async fn what_does_not_fit_goes_and_what_is_half_there_is_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::new(temp.path().to_owned(), 100_000, Arc::default());
        let release = temp.path().join("1");
        fs::create_dir_all(release.join("env")).unwrap();
        let large = release.join("env/large");
        fs::write(&large, vec![1; 200_000]).unwrap();
        let error = cache.keep("large", &release, 1, "env").await.unwrap_err();
        assert_eq!(error.message(), "it takes more than 100000 bytes");
        fs::write(&large, vec![1; 30_000]).unwrap();
        let now = SystemTime::now();
        for (name, age) in [("a", 30), ("b", 20), ("c", 10)] {
            cache.keep(name, &release, 1, "env").await.unwrap();
            let entry = File::open(temp.path().join("installed").join(name)).unwrap();
            entry.set_modified(now - Duration::from_secs(age)).unwrap();
        }
        fs::create_dir_all(temp.path().join("installed/d.part/tree")).unwrap();
        let left = |name: &str| temp.path().join(name).exists();
        cache.tidy().await.unwrap();
        assert!(["a", "b"].map(|name| left(&format!("installed/{name}"))) == [false, true]);
        assert!(left("installed/c") && !left("installed/d.part") && !left("installed/large"));
        // The downloads go before the newest result and behind the others.
        fs::create_dir(temp.path().join("cache")).unwrap();
        fs::write(temp.path().join("cache/x"), vec![0; 50_000]).unwrap();
        cache.tidy().await.unwrap();
        assert!(left("installed/c") && left("cache/x") && !left("installed/b"));
        fs::write(temp.path().join("cache/x"), vec![0; 90_000]).unwrap();
        cache.tidy().await.unwrap();
        assert!(left("installed/c") && !left("cache"));
        cache.clear().await.unwrap();
        assert!(!left("installed/c") && left("1/env/large"));
    }
}
