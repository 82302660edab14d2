//! `config.json`: where the user is logged in. It holds no secret.

use super::atomic;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::sys::files::HOME;
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

/// A login under a name: one user on one server.
#[derive(Serialize, Deserialize, Clone)]
pub struct Context {
    /// Its name.
    pub name: String,
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

/// The content of `config.json`.
#[derive(Serialize, Deserialize)]
pub struct Config {
    /// The context that counts when none is named.
    pub current: Option<String>,
    /// All of them, by name.
    pub contexts: Vec<Context>,
}

impl Config {
    /// Nobody is logged in anywhere.
    pub fn empty() -> Config {
        Config { current: None, contexts: Vec::new() }
    }

    /// The context of this name.
    pub fn find(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|context| context.name == name)
    }

    /// The current context.
    pub fn current(&self) -> Option<&Context> {
        self.find(self.current.as_deref()?)
    }

    /// The context for a server: the current one if it is there, else the first.
    pub fn on(&self, url: &str) -> Option<&Context> {
        let there = |context: &&Context| context.url == url;
        self.current().filter(there).or_else(|| self.contexts.iter().find(there))
    }

    /// Adds a context, or replaces the one of its name, and makes it current.
    pub fn put(&mut self, context: Context) {
        self.current = Some(context.name.clone());
        self.contexts.retain(|known| known.name != context.name);
        let at = self.contexts.partition_point(|known| known.name < context.name);
        self.contexts.insert(at, context);
    }

    /// Removes a context.
    pub fn take(&mut self, name: &str) {
        self.contexts.retain(|known| known.name != name);
        self.current.take_if(|current| current == name);
    }
}

/// Checks a context's name, which also names its files.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.chars().all(good) {
        return Err(Error::usage(format!("'{name}' is no context name"))
            .hint(packed!("a context name has 1 to 63 letters, digits and . _ -")));
    }
    Ok(())
}

/// The directory for [`Config`] and the session: `RIG_CONFIG_DIR`, else `rig` in
/// `XDG_CONFIG_HOME`, else what [`HOME`] says. None without any of them.
pub fn directory(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("RIG_CONFIG_DIR")
        .or_else(|| Some(path("XDG_CONFIG_HOME").filter(|path| path.is_absolute())?.join("rig")))
        .or_else(|| Some(path(HOME.0)?.join(HOME.1)))
}

fn file(directory: &Path) -> PathBuf {
    directory.join("config.json")
}

/// The configuration; without a context when there is none.
pub fn load(directory: &Path) -> Result<Config> {
    let path = file(directory);
    let Some(text) = atomic::read(&path)? else { return Ok(Config::empty()) };
    miniserde::json::from_str(&text).map_err(|_| {
        Error::new(Kind::Failed, format!("'{}' is damaged", path.to_string_lossy()))
            .hint(packed!("remove it and run `rig login`"))
    })
}

/// Changes the configuration; two rigs that do so do it one after the other. Without a
/// context nothing stays.
pub fn change(directory: &Path, change: impl FnOnce(&mut Config)) -> Result<()> {
    let _lock = atomic::lock(&directory.join("lock"))?;
    let mut config = load(directory)?;
    change(&mut config);
    match config.contexts.is_empty() {
        true => atomic::remove(&file(directory)),
        false => atomic::write(&file(directory), &miniserde::json::to_string(&config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &'static [(&str, &str)]) -> Option<PathBuf> {
        directory(|name| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn by_default_the_directory_is_below_the_home() {
        assert_eq!(with(&[(HOME.0, "home")]), Some(Path::new("home").join(HOME.1)));
    }

    #[test]
    #[cfg(unix)]
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

    #[test]
    fn contexts_are_sorted_and_the_newest_is_current() {
        let context = |name: &str, url: &str| Context {
            name: name.to_owned(),
            url: url.to_owned(),
            user: String::new(),
            place: Place::File,
            ca: None,
            pin: None,
        };
        let mut config = Config::empty();
        config.put(context("b", "https://one"));
        config.put(context("a", "https://one"));
        config.put(context("c", "https://two"));
        let name = |context: Option<&Context>| context.map(|context| context.name.clone());
        assert_eq!(name(config.current()).as_deref(), Some("c"));
        assert_eq!(name(config.on("https://one")).as_deref(), Some("a"));
        config.current = Some("b".to_owned());
        assert_eq!(name(config.on("https://one")).as_deref(), Some("b"));
        config.take("b");
        assert!(config.current().is_none() && config.contexts.len() == 2);
        for bad in ["", ".", "..", "a/b", "a b"] {
            assert!(check_name(bad).is_err());
        }
        assert!(check_name("max.example.com-8443").is_ok());
    }
}
