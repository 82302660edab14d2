//! `config.json`: where the user is logged in. It holds no secret.

use super::atomic;
use crate::error::{Error, Kind, Result};
use miniserde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where the session's tokens are.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the system's keyring.
    #[serde(rename = "keyring")]
    Keyring,
    /// In `session.json` beside this file.
    #[serde(rename = "file")]
    File,
}

/// The content of `config.json`.
#[derive(Serialize, Deserialize)]
pub struct Config {
    /// The server.
    pub url: String,
    /// The user's name there.
    pub user: String,
    /// Where the tokens are.
    pub place: Place,
    /// The `--ca` file given at login, as an absolute path.
    pub ca: Option<String>,
    /// The fingerprint of the one certificate that is trusted.
    pub pin: Option<String>,
}

/// The directory for [`Config`] and the session: `RIG_CONFIG_DIR`, else `rig` in
/// `XDG_CONFIG_HOME`, else `~/.config/rig`. None without any of them.
pub fn directory(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("RIG_CONFIG_DIR")
        .or_else(|| Some(path("XDG_CONFIG_HOME").filter(|path| path.is_absolute())?.join("rig")))
        .or_else(|| Some(path("HOME")?.join(".config/rig")))
}

fn file(directory: &Path) -> PathBuf {
    directory.join("config.json")
}

/// The configuration; none when nobody is logged in.
pub fn load(directory: &Path) -> Result<Option<Config>> {
    let path = file(directory);
    let Some(text) = atomic::read(&path)? else { return Ok(None) };
    match miniserde::json::from_str(&text) {
        Ok(config) => Ok(Some(config)),
        Err(_) => Err(Error::new(Kind::Failed, format!("'{}' is damaged", path.to_string_lossy()))
            .hint("remove it and run `rig login`")),
    }
}

/// Writes the configuration.
pub fn save(directory: &Path, config: &Config) -> Result<()> {
    atomic::write(&file(directory), &miniserde::json::to_string(config))
}

/// Forgets it.
pub fn remove(directory: &Path) -> Result<()> {
    atomic::remove(&file(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &'static [(&str, &str)]) -> Option<PathBuf> {
        directory(|name| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_directory_is_the_first_that_is_named() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("HOME", "/h")]), Some(PathBuf::from("/h/.config/rig")));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some(PathBuf::from("/x/rig")));
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]),
            Some(PathBuf::from("/h/.config/rig"))
        );
        assert_eq!(with(&[("HOME", "/h"), ("RIG_CONFIG_DIR", "/r")]), Some(PathBuf::from("/r")));
        assert_eq!(with(&[("HOME", "")]), None);
    }
}
