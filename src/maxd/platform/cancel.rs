//! The use-case of cancelling a deploy.

use super::Platform;
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::deploys::cancel;
use crate::maxd::once::Once;
use crate::wire::deploy::{Deploy, State};
use std::sync::Arc;

impl Platform {
    /// `deploy:cancel`: answered when nothing of it runs any more.
    pub async fn cancel_deploy(self: &Arc<Self>, who: &Access, once: Once, id: u64) -> Result<Deploy> {
        let who = who.clone();
        let work = |platform: Arc<Platform>, once: Once| async move {
            let once = Arc::new(once);
            let known = Arc::clone(&once);
            if let Some(kept) = platform.store.with(move |t| known.kept(t)).await? {
                return Ok(kept);
            }
            platform.deploy_status(&who, id).await?;
            let reason = format!("cancelled by {}", who.name);
            platform.store.with(move |t| cancel(t, id, &reason)).await.map(|_| platform.deploys.changed())?;
            platform.deploys.end_upload(id).await;
            let deploy = platform.ended_deploy(&who, id).await?;
            platform.store.with(move |t| once.run(t, || Ok((deploy, ())))).await.map(|done| done.0)
        };
        self.carry(once, work).await
    }

    /// A deploy that ends as it was cancelled, once it has ended.
    async fn ended_deploy(&self, who: &Access, id: u64) -> Result<Deploy> {
        let mut changes = self.deploys.changes();
        loop {
            changes.mark_unchanged();
            let (deploy, ..) = self.deploy_status(who, id).await?;
            let error = deploy.error.as_deref().unwrap_or_default();
            match deploy.state {
                State::Failed if error.starts_with("cancelled by ") => return Ok(deploy),
                State::Failed => return Err(over(id, "has failed already")),
                State::Live => return Err(over(id, "serves already")),
                _ => {}
            }
            let stopped = || Error::new(Kind::Failed, "maxd was stopped before the deploy was cancelled");
            changes.changed().await.map_err(|_| stopped())?;
        }
    }
}

fn over(id: u64, how: &str) -> Error {
    Error::new(Kind::Conflict, format!("deploy {id} {how}")).hint(format!("see `rig status deploy {id}`"))
}
