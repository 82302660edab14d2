//! Tells from a project's files how it is built and run.

pub use super::plan::{Health, Plan, Run};
use crate::error::{Error, Result};
use std::path::Path;

/// The plan for the project in `dir`.
pub fn detect(dir: &Path) -> Result<Plan> {
    Err(Error::usage(format!("cannot tell how to run '{}'", dir.display())))
}
