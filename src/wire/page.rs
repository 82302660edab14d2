//! A page of a list: the member `page` of a request that is answered with one.

use miniserde::{Deserialize, Serialize};

/// The most items of a page.
pub const LIMIT_MAX: u64 = 1000;

/// Which items, in which order, and how many of them. What is absent does not restrict.
#[derive(Serialize, Deserialize, Default)]
pub struct Page {
    /// Those whose members are so: each `MEMBER=VALUE`, where `*` stands for any text.
    #[serde(rename = "where")]
    pub only: Option<Vec<String>>,
    /// The member to order by; with a hyphen before it the largest first.
    pub sort: Option<String>,
    /// How many at most: up to [`LIMIT_MAX`].
    pub limit: Option<u64>,
    /// Only those behind this: `next` of the page before.
    pub after: Option<String>,
}
