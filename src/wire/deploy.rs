//! Deploys: `deploy:create`, `deploy:status`, `deploy:cancel`, and the topic `deploy:ID`.

use miniserde::{Deserialize, Serialize};

/// `deploy:create`. The source then goes to [`Deploy::upload_path`].
#[derive(Serialize, Deserialize)]
pub struct Create {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// Create the app when it does not exist.
    pub create: bool,
    /// The files' contents together, in bytes; checked against the limit.
    pub source_bytes: u64,
    /// Files, directories and links together; checked against the limit.
    pub files: u64,
    /// Whether the app's deploys that are under way are cancelled first.
    pub replace: Option<bool>,
    /// Whether the build uses nothing that former builds have left.
    pub no_cache: Option<bool>,
}

/// `deploy:status` and `deploy:cancel`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The deploy's number.
    pub id: u64,
}

/// Where a deploy is. `live` and `failed` are final.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum State {
    /// Waits for the archive.
    #[serde(rename = "uploading")]
    Uploading,
    /// Waits for the app's previous deploy.
    #[serde(rename = "queued")]
    Queued,
    /// The archive is checked and unpacked.
    #[serde(rename = "unpacking")]
    Unpacking,
    /// The build commands run.
    #[serde(rename = "building")]
    Building,
    /// The release command runs.
    #[serde(rename = "releasing")]
    Releasing,
    /// The new release is started and must become healthy.
    #[serde(rename = "starting")]
    Starting,
    /// The new release serves.
    #[serde(rename = "live")]
    Live,
    /// It ended at `phase` because of `error`; the old release goes on serving. Behind `live` when
    /// the new one did not stay healthy.
    #[serde(rename = "failed")]
    Failed,
}

/// A deploy. The answer to `deploy:create`, `deploy:status` and `deploy:cancel`, to the upload, and
/// the payload of `state` events.
#[derive(Serialize, Deserialize, Clone)]
pub struct Deploy {
    /// Its number, unique in the whole system.
    pub id: u64,
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: String,
    /// Where it is.
    pub state: State,
    /// The state in which it failed.
    pub phase: Option<State>,
    /// Why it failed.
    pub error: Option<String>,
    /// The number of the release it makes, counted per app from 1; null until the
    /// archive has arrived.
    pub release: Option<u64>,
    /// What was recognised: `node`, `python`, `static`, `procfile`, `rig.json`.
    pub kind: Option<String>,
    /// Where the app answers.
    pub url: String,
    /// Where the archive goes, relative to the server.
    pub upload_path: String,
    /// Whether `deploy:create` created the app.
    pub created_app: bool,
    /// Who deployed.
    pub user: String,
    /// When it began.
    pub created_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
}

/// The answer to a manifest and to contents.
#[derive(Serialize, Deserialize)]
pub struct Progress {
    /// The deploy; behind `uploading` when nothing is missing.
    pub deploy: Deploy,
    /// The numbers of the contents that are missing, as ranges (`0-41,43`). They are counted
    /// from 0, by the first occurrence of each in the canonical manifest.
    pub missing: String,
    /// Those of them of which a part is there.
    pub partial: Vec<Partial>,
}

/// The answer to a manifest that is only looked at.
#[derive(Serialize, Deserialize)]
pub struct Missing {
    /// As in [`Progress`].
    pub missing: String,
    /// As in [`Progress`].
    pub partial: Vec<Partial>,
}

/// A content of which a part is there.
#[derive(Serialize, Deserialize)]
pub struct Partial {
    /// Its number.
    pub index: u64,
    /// So many bytes from its beginning are there.
    pub bytes: u64,
}

/// The join parameters of `deploy:ID`.
#[derive(Serialize, Deserialize)]
pub struct Follow {
    /// Send only build lines after this sequence number.
    pub after: Option<u64>,
    /// How many lines may be sent before the next `credit`.
    pub credit: u64,
}
