//! Sessions: the token exchange, refresh and revocation (HTTP), and `session:show`.

use miniserde::{Deserialize, Serialize};

/// `POST /api/v1/auth/exchange`: an API token for a session.
#[derive(Serialize, Deserialize)]
pub struct Exchange {
    /// The API token.
    pub token: String,
    /// The session is for one command and lives for an hour after its last refresh.
    pub brief: Option<bool>,
}

/// `POST /api/v1/auth/refresh`: new tokens for the same session. The refresh token
/// is good for one use.
#[derive(Serialize, Deserialize)]
pub struct Refresh {
    /// The refresh token.
    pub refresh_token: String,
}

/// The answer to both.
#[derive(Serialize, Deserialize)]
pub struct Tokens {
    /// The user's name.
    pub user: String,
    /// Opens the socket and uploads, until `access_expires_at`. Letters, digits, `-`,
    /// `_` and `.` only.
    pub access_token: String,
    /// When the access token ends.
    pub access_expires_at: String,
    /// In how many seconds from the answer that is, whatever the receiver's clock says.
    pub access_expires_in: u64,
    /// Gets the next pair, until `expires_at`.
    pub refresh_token: String,
    /// When the session ends unless it is refreshed before.
    pub expires_at: String,
}

/// The answer to `session:show`.
#[derive(Serialize, Deserialize)]
pub struct Session {
    /// The session's number.
    pub id: u64,
    /// The user's name.
    pub user: String,
    /// The API token's number.
    pub token: u64,
    /// What it may: `read`, `deploy` or `admin`.
    pub scope: String,
    /// The only network it is for; null for all of the user's.
    pub network: Option<String>,
    /// When the API token was exchanged.
    pub created_at: String,
    /// When the session ends unless it is refreshed before.
    pub expires_at: String,
}
