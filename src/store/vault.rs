//! Where a session's tokens are kept: the system's keyring (on Linux the kernel's),
//! or, where there is none, a file that only its owner can read. Never both.

use super::atomic;
use super::config::Place;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::redact::Secret;
use std::path::{Path, PathBuf};

/// The service the keyring entry is filed under.
const SERVICE: &str = "rig";

/// The place for the session of one context.
pub struct Vault {
    directory: PathBuf,
    context: String,
}

impl Vault {
    /// The vault of a context in the configuration directory.
    pub fn new(directory: &Path, context: &str) -> Vault {
        Vault { directory: directory.join("sessions"), context: context.to_owned() }
    }

    /// Keeps `text` in the keyring if there is one that gives it back, else in the
    /// file; only in the file with `file_only`. Says where.
    pub fn store(&self, text: &str, file_only: bool) -> Result<Place> {
        let kept = !file_only && self.keyring(text).is_some();
        if kept {
            atomic::remove(&self.file())?;
            return Ok(Place::Keyring);
        }
        atomic::write(&self.file(), text)?;
        self.forget_keyring();
        Ok(Place::File)
    }

    /// Replaces what is kept in `place`.
    pub fn replace(&self, place: Place, text: &str) -> Result<()> {
        match place {
            Place::File => atomic::write(&self.file(), text),
            Place::Keyring => self.keyring(text).ok_or_else(|| {
                Error::new(Kind::Failed, packed!("the keyring did not take the session"))
                    .hint("run `rig login` again")
            }),
        }
    }

    /// What is kept in `place`; none when it is gone.
    pub fn load(&self, place: Place) -> Result<Option<Secret>> {
        Ok(match place {
            Place::File => atomic::read(&self.file())?.map(Secret::new),
            Place::Keyring => self.entry().and_then(|entry| entry.get_password().ok()).map(Secret::new),
        })
    }

    /// Forgets it wherever it is.
    pub fn forget(&self) -> Result<()> {
        self.forget_keyring();
        atomic::remove(&self.file())?;
        // Empty, and made again when it is needed.
        let _ = std::fs::remove_file(self.lock());
        let _ = std::fs::remove_dir(&self.directory);
        Ok(())
    }

    /// The file a session is kept in where there is no keyring.
    pub fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.context))
    }

    /// The lock to hold while the session is refreshed.
    pub fn lock(&self) -> PathBuf {
        self.directory.join(format!("{}.lock", self.context))
    }

    fn entry(&self) -> Option<keyring::Entry> {
        keyring::Entry::new(SERVICE, &self.directory.join(&self.context).to_string_lossy()).ok()
    }

    /// Stores `text` and reads it back: some containers let a process write keys that
    /// it then can't read.
    fn keyring(&self, text: &str) -> Option<()> {
        let entry = self.entry()?;
        entry.set_password(text).ok()?;
        (entry.get_password().ok()? == text).then_some(())
    }

    fn forget_keyring(&self) {
        if let Some(entry) = self.entry() {
            // That there is none is what is wanted.
            let _ = entry.delete_credential();
        }
    }
}
