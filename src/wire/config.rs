//! The configuration of apps and networks: `app:details`, `network:details`,
//! `config:history`, `config:rollback`, `config:export`, `config:import`, `config:diff`.

use super::app::App;
use super::network::Network;
use super::secret::Secret;
use super::variable::{Difference, Rollout, Variable};
use super::webhook::Webhook;
use miniserde::{Deserialize, Serialize};

/// Something that is different between two configurations.
#[derive(Serialize, Deserialize, Clone)]
#[cfg_attr(any(test, feature = "server"), derive(Debug, PartialEq, Eq))]
pub struct Change {
    /// The app it is of; null for a network's own.
    pub app: Option<String>,
    /// What it is: `network`, `app`, `name`, `instances`, `variable`, `secret`, `webhook`, `key`,
    /// or of a release `kind`, `build`, `release`, `run`, `health`, `health_timeout`, `memory`, `cpu`.
    pub kind: String,
    /// Its name; empty where there is but one.
    pub name: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// What it was; of a secret its fingerprint, null when it was not there.
    pub before: Option<String>,
    /// What it is then; likewise.
    pub after: Option<String>,
}

/// `app:details` and `network:details`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
    /// The app's name; null for a network.
    pub app: Option<String>,
    /// As it was behind the change of this number; as it is when absent.
    pub at: Option<u64>,
}

/// The newest change of a configuration that it tells of.
#[derive(Serialize, Deserialize, Clone)]
pub struct Version {
    /// Its number, which writes may name as the one they were made from.
    pub number: u64,
    /// When it was made.
    pub time: String,
    /// Who made it; null when that is not known.
    pub user: Option<String>,
    /// What it was: as of an [`Entry`].
    pub what: String,
}

/// How a release is built and run.
#[derive(Serialize, Deserialize, Clone)]
pub struct Plan {
    /// What was recognised: `rig.json`, `procfile`, `node`, `python` or `static`.
    pub kind: String,
    /// Command lines, in order.
    pub build: Vec<String>,
    /// The command line that runs once before the release has traffic; null without one.
    pub release: Option<String>,
    /// The command line that serves; null where Max itself serves the files.
    pub run: Option<String>,
    /// The path that must answer for an instance to be healthy; null: its port must accept.
    pub health: Option<String>,
    /// How long it may take to become so, in milliseconds.
    pub health_timeout_ms: u64,
    /// Memory that an instance may use; null without a limit.
    pub memory: Option<u64>,
    /// CPU that an instance may use, in thousandths of a core; null without a limit.
    pub cpu: Option<u64>,
}

/// The answer to `app:details`: everything that decides how an app runs.
#[derive(Serialize, Deserialize)]
pub struct AppDetails {
    /// The app, with as many instances as it had.
    pub app: App,
    /// When its configuration was changed last, and by whom.
    pub version: Version,
    /// How its present release is built and run; null before the first.
    pub plan: Option<Plan>,
    /// Its variables, by name, those of its network too.
    pub variables: Vec<Variable>,
    /// Its secrets, likewise.
    pub secrets: Vec<Secret>,
    /// What its instances do not have like this.
    pub staged: Vec<Difference>,
    /// Where its network's webhooks lead.
    pub webhooks: Vec<String>,
}

/// The answer to `network:details`.
#[derive(Serialize, Deserialize)]
pub struct NetworkDetails {
    /// The network.
    pub network: Network,
    /// When its own configuration was changed last, and by whom.
    pub version: Version,
    /// Its apps, by name.
    pub apps: Vec<App>,
    /// The variables that all its apps have, by name.
    pub variables: Vec<Variable>,
    /// The secrets that all its apps have, by name.
    pub secrets: Vec<Secret>,
    /// Where its webhooks lead.
    pub webhooks: Vec<String>,
}

/// `config:history`.
#[derive(Serialize, Deserialize)]
pub struct Filter {
    /// The network's name.
    pub network: String,
    /// The app's name; null for the network's own.
    pub app: Option<String>,
    /// Only changes with a lower number: the cursor for the next page.
    pub before: Option<u64>,
    /// How many at most: up to 1000, 50 when absent.
    pub limit: Option<u64>,
}

/// The answer to `config:history`, the newest first.
#[derive(Serialize, Deserialize)]
pub struct History {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// The changes.
    pub entries: Vec<Entry>,
    /// What `before` has to be for the next page; null when there is none.
    pub before: Option<u64>,
}

/// A change of a configuration.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 in each app and in each network.
    pub number: u64,
    /// When it was made.
    pub time: String,
    /// Who made it; null when that is not known.
    pub user: Option<String>,
    /// `created`, `variables`, `secrets`, `scaled`, `renamed`, `webhook_created`,
    /// `webhook_deleted`, `key_rotated`, `imported`, `rolled_back`.
    pub what: String,
    /// The same in words, with what was before and after.
    pub about: String,
    /// What was different by it.
    pub changes: Vec<Change>,
}

/// `config:rollback`: back to how it was behind a change.
#[derive(Serialize, Deserialize)]
pub struct Rollback {
    /// The network's name.
    pub network: String,
    /// The app's name; null for the network's own.
    pub app: Option<String>,
    /// The number of that change.
    pub to: u64,
    /// The version this was made from: with another one it is a conflict.
    pub version: Option<u64>,
    /// Whether apps get it only with `var:apply` or their next deploy.
    pub stage: bool,
    /// Whether the answer only tells what would change.
    pub preview: bool,
}

/// The answer to `config:rollback`, `config:import` and `config:diff`.
#[derive(Serialize, Deserialize)]
pub struct Changed {
    /// The network's name.
    pub network: String,
    /// The app's name; null for a network.
    pub app: Option<String>,
    /// What a write that is made from this names as its version.
    pub version: u64,
    /// What was, or would be, different.
    pub changes: Vec<Change>,
    /// Secrets whose value the document does not hold, so that they are not set: `NAME`, or
    /// `NAME of app APP`.
    pub unset: Vec<String>,
    /// The webhooks that were created, with their secrets, this once.
    pub webhooks: Vec<Webhook>,
    /// What came of it, by app.
    pub apps: Vec<Rollout>,
}

/// `config:export`.
#[derive(Serialize, Deserialize)]
pub struct Export {
    /// The network's name.
    pub network: String,
    /// The app's name; null for the network with all its apps.
    pub app: Option<String>,
    /// Whether secrets are in it, sealed.
    pub secrets: bool,
}

/// The answer to `config:export`.
#[derive(Serialize, Deserialize)]
pub struct Exported {
    /// The document (JSON), as `config:import` takes it.
    pub document: String,
}

/// `config:import`: makes a configuration like that of a document, all of it or nothing.
#[derive(Serialize, Deserialize)]
pub struct Import {
    /// The document.
    pub document: String,
    /// The network to change, when it is not the document's.
    pub network: Option<String>,
    /// The app to change, when it is not the document's; only for that of an app.
    pub app: Option<String>,
    /// Whether what is not in it is removed.
    pub prune: bool,
    /// Whether secrets are set (and removed) too.
    pub secrets: bool,
    /// The version this was made from: with another one it is a conflict.
    pub version: Option<u64>,
    /// Whether apps get it only with `var:apply` or their next deploy.
    pub stage: bool,
    /// Whether the answer only tells what would change.
    pub preview: bool,
}

/// `config:diff`: what an import that prunes would change; or what is different from one app to
/// another.
#[derive(Serialize, Deserialize)]
pub struct Diff {
    /// The document; null to compare two apps.
    pub document: Option<String>,
    /// The network to compare it with, when it is not the document's; or that of the first app.
    pub network: Option<String>,
    /// Likewise the app.
    pub app: Option<String>,
    /// The network of the second app.
    pub other_network: Option<String>,
    /// The second app.
    pub other_app: Option<String>,
}
