//! Secrets, which are sealed before they leave rig: `secret:key`, `secret:change`,
//! `secret:list`, `secret:rotate`.

use super::variable::Difference;
use miniserde::{Deserialize, Serialize};

/// HPKE's `info` of a secret.
pub const INFO: &[u8] = b"max secret 1";

/// HPKE's `aad` of a secret: what it is for, so that it opens for nothing else.
pub fn about(network: &str, app: Option<&str>, name: &str) -> String {
    [network, app.unwrap_or_default(), name].join("\0")
}

/// `secret:key` and `secret:rotate`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
}

/// What secrets of a network are sealed to. The answer to `secret:key` and `secret:rotate`.
#[derive(Serialize, Deserialize)]
pub struct Key {
    /// The network's name.
    pub network: String,
    /// Counts from 1.
    pub number: u64,
    /// The X25519 key, in base64.
    pub public_key: String,
    /// When it was made.
    pub created_at: String,
    /// How many secrets are sealed to it.
    pub secrets: u64,
}

/// One to set.
#[derive(Serialize, Deserialize)]
pub struct Sealed {
    /// Its name.
    pub name: String,
    /// HPKE's encapsulated key and ciphertext, in base64.
    pub sealed: String,
}

/// `secret:change`: sets and deletes secrets in one step.
#[derive(Serialize, Deserialize)]
pub struct Change {
    /// The network's name.
    pub network: String,
    /// The app's name; without one all of the network's apps have them.
    pub app: Option<String>,
    /// The number of the key that they are sealed to.
    pub key: u64,
    /// Those to set.
    pub set: Vec<Sealed>,
    /// The names of those to delete; each must be there.
    pub delete: Vec<String>,
    /// Whether all that are not set here are deleted.
    pub prune: bool,
    /// The version this was made from: with another one it is a conflict.
    pub version: Option<u64>,
    /// Whether apps get them only with `var:apply` or their next deploy.
    pub stage: bool,
    /// Whether the answer only tells what would change.
    pub preview: bool,
}

/// A secret, of which nothing more is told.
#[derive(Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Where it comes from: `app` or `network`.
    pub from: String,
    /// Whether the network has one of this name too, which it takes the place of.
    pub overrides: bool,
    /// Whether the app's instances do not have it like this yet.
    pub staged: bool,
    /// Another one each time it is set, also to the same value.
    pub fingerprint: String,
    /// How many bytes it has.
    pub size: u64,
    /// Who set it last.
    pub updated_by: String,
    /// When that was.
    pub updated_at: String,
}

/// The answer to `secret:list`, whose request is that of `var:list`.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// The secrets, by name: of an app also those of its network.
    pub secrets: Vec<Secret>,
    /// What the app's instances do not have as it was set, variables too.
    pub staged: Vec<Difference>,
    /// The version of the configuration.
    pub version: u64,
}
