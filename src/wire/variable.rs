//! Variables: `var:change`, `var:list`, `var:export`, `var:apply`.

use super::exec;
use miniserde::{Deserialize, Serialize};

/// `var:list` and `var:apply`: an app's, or without one those that all of a network's apps
/// have.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
}

/// `var:change`: sets and deletes variables in one step.
#[derive(Serialize, Deserialize)]
pub struct Change {
    /// The network's name.
    pub network: String,
    /// The app's name; without one all of the network's apps have them.
    pub app: Option<String>,
    /// Those to set; they win over those in `text`.
    pub set: Vec<exec::Variable>,
    /// Further ones to set, in dotenv's syntax.
    pub text: Option<String>,
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

/// What becomes of a variable.
#[derive(Serialize, Deserialize, Clone)]
#[cfg_attr(any(test, feature = "server"), derive(Debug, PartialEq, Eq))]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// What a change means for one app.
#[derive(Serialize, Deserialize, Clone)]
pub struct Rollout {
    /// The app's name.
    pub app: String,
    /// `restarted`, `scaled`, `ready` (nothing runs with them; what starts next has them),
    /// `staged`, or `failed`: its instances go on without.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// What to do then.
    pub hint: Option<String>,
    /// What is different for it.
    pub changes: Vec<Difference>,
}

/// The answer to `var:change`.
#[derive(Serialize, Deserialize)]
pub struct Changed {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// What was changed, by name; never values.
    pub changes: Vec<Difference>,
    /// How many were set to what they were.
    pub unchanged: u64,
    /// The version of the configuration with this change; without it of a preview.
    pub version: u64,
    /// What came of it, by app.
    pub apps: Vec<Rollout>,
}

/// The answer to `var:apply`.
#[derive(Serialize, Deserialize)]
pub struct Applied {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// What came of it, by app; none for which nothing was staged.
    pub apps: Vec<Rollout>,
}

/// A variable.
#[derive(Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it comes from: `app` or `network`.
    pub from: String,
    /// Whether the network has one of this name too, which it takes the place of.
    pub overrides: bool,
    /// Whether the app's instances do not have it like this yet.
    pub staged: bool,
    /// Who set it last.
    pub updated_by: String,
    /// When that was.
    pub updated_at: String,
}

/// The answer to `var:list`.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// The variables, by name: of an app also those of its network.
    pub variables: Vec<Variable>,
    /// What the app's instances do not have like this yet.
    pub staged: Vec<Difference>,
    /// The version of the configuration.
    pub version: u64,
}

/// `var:export`.
#[derive(Serialize, Deserialize)]
pub struct Query {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// Whether those that an app has from its network are left out.
    pub own: bool,
}

/// The answer to `var:export`.
#[derive(Serialize, Deserialize)]
pub struct Export {
    /// The network's name.
    pub network: String,
    /// The app's name.
    pub app: Option<String>,
    /// The variables, by name.
    pub variables: Vec<exec::Variable>,
    /// The same in dotenv's syntax.
    pub text: String,
}
