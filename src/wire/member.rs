//! The members of a network: `member:create`, `member:list`, `member:delete`.

use miniserde::{Deserialize, Serialize};

/// `member:create`: adds a user to a network, or gives a member another role.
#[derive(Serialize, Deserialize)]
pub struct Create {
    /// The network's name.
    pub network: String,
    /// The user's name.
    pub user: String,
    /// `viewer`, `deployer` or `owner`; when absent a new member is a viewer and another one
    /// stays what he is.
    pub role: Option<String>,
}

/// `member:delete`.
#[derive(Serialize, Deserialize)]
pub struct Select {
    /// The network's name.
    pub network: String,
    /// The user's name.
    pub user: String,
}

/// `member:list`.
#[derive(Serialize, Deserialize)]
pub struct Filter {
    /// The network's name.
    pub network: String,
}

/// A member. The answer to `member:create` and `member:delete`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Member {
    /// The network's name.
    pub network: String,
    /// The user's name.
    pub user: String,
    /// `viewer`, `deployer` or `owner`.
    pub role: String,
    /// Since when he is one.
    pub added_at: String,
}

/// The answer to `member:list`, by name.
#[derive(Serialize, Deserialize)]
pub struct List {
    /// The members.
    pub members: Vec<Member>,
}
