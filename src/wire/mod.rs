//! The documents of the Max API, shared by rig and maxd so that they can't drift
//! apart. `docs/protocol.md` says when each is sent.
//!
//! Times are RFC 3339 in UTC with milliseconds (`2026-11-24T10:00:00.000Z`), sizes
//! are bytes, and an absent value is `null`. rig prints these same documents with
//! `-o json`, so a name here is a name in `docs/json.md`.

pub mod alert;
pub mod app;
pub mod audit;
pub mod auth;
pub mod config;
pub mod dashboard;
pub mod deploy;
pub mod exec;
pub mod log;
pub mod member;
pub mod metrics;
pub mod network;
pub mod page;
pub mod release;
pub mod secret;
pub mod token;
pub mod trash;
pub mod variable;
pub mod webhook;

use crate::error::{Error, Kind};
use miniserde::{Deserialize, Serialize};

/// The topic on which requests are made.
pub const CONTROL: &str = "control";

/// The answer to joining [`CONTROL`]: who asks, and what the server is like.
#[derive(Serialize, Deserialize, Clone)]
pub struct Welcome {
    /// The user's name.
    pub user: String,
    /// The server's version.
    pub version: String,
    /// The domain under which apps are reached.
    pub domain: String,
    /// What the server accepts.
    pub limits: Limits,
    /// Whether a deploy may send a manifest, and then only what is missing. Null on a server
    /// that is older than that.
    pub manifests: Option<bool>,
}

/// What the server accepts in one deploy.
#[derive(Serialize, Deserialize, Clone)]
pub struct Limits {
    /// The files' contents together, in bytes.
    pub source_bytes: u64,
    /// Files, directories and links together.
    pub files: u64,
}

/// Why a request failed. Also the body of an HTTP error.
#[derive(Serialize, Deserialize)]
pub struct Failure {
    /// A [`Kind`]'s code.
    pub code: String,
    /// What happened, and to what.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The field of the request that is wrong.
    pub field: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure {
            code: error.kind().code().to_owned(),
            message: error.message().to_owned(),
            hint: error.hint_text().map(str::to_owned),
            field: error.field_name().map(str::to_owned),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let mut error = Error::new(Kind::from_code(&failure.code), failure.message);
        if let Some(hint) = failure.hint {
            error = error.hint(hint);
        }
        if let Some(field) = failure.field {
            error = error.field(field);
        }
        error
    }
}
