//! The way back from a release that does not stay healthy, which maxd goes by itself: for a while
//! behind its deploy, and when there was one before it.

use super::lifecycle::gone;
use super::{Platform, app_in_row};
use crate::error::Result;
use crate::maxd::supervisor::Brief;
use crate::maxd::{releases, variables};
use crate::wire::app::State;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A release is looked at so often while it is on probation, unless that is very short.
const LOOKS: u32 = 60;

impl Platform {
    /// Watches a release that a deploy has just given the traffic; nothing when it has not.
    pub fn begin_probation(self: &Arc<Self>, app: i64, release: u64) {
        let platform = Arc::clone(self);
        self.lifecycle.spawn(async move {
            let mut stopping = platform.stopping.clone();
            tokio::select! {
                () = platform.watch(app, release) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
    }

    /// Goes on with those that a stop of maxd has interrupted, from their beginning.
    pub fn resume_probations(self: &Arc<Self>) -> Result<()> {
        let time = self.sockets.trial.probation;
        for (app, release) in self.store.run(|t| releases::deployed_within(t, time))? {
            self.begin_probation(app, release);
        }
        Ok(())
    }

    async fn watch(&self, app: i64, release: u64) {
        let time = self.sockets.trial.probation;
        let (ends, pause) = (Instant::now() + time, (time / LOOKS).max(Duration::from_millis(10)));
        while Instant::now() < ends {
            let Some(brief) = self.supervisor.brief(app).filter(|brief| brief.release == Some(release))
            else {
                return;
            };
            if is_sick(&brief) {
                return self.go_back(app, release).await;
            }
            sleep(pause).await;
        }
    }

    /// Goes back, and says so.
    async fn go_back(&self, app: i64, release: u64) {
        let Ok(Some(row)) = self.store.with(move |t| app_in_row(t, app)).await else { return };
        let said = match self.returned(app, release).await {
            Ok(None) => return,
            Ok(Some((before, reason))) => {
                format!(
                    "returned from release {release}, which did not stay healthy, to release {before}: {reason}"
                )
            }
            Err(error) => format!("not returned from release {release}, which did not stay healthy: {error}"),
        };
        self.event(row.network_id, Some(app), said).await;
    }

    /// Gives the traffic back to the release that had it before, and why; none when there was
    /// none, or somebody was faster.
    async fn returned(&self, app: i64, release: u64) -> Result<Option<(u64, String)>> {
        let mut hold = self.supervisor.hold(app).await?;
        let found = self.store.with(move |t| Ok((app_in_row(t, app)?, releases::before(t, app, release)?)));
        let (row, before) = found.await?;
        let Some(row) = row else {
            self.supervisor.dismiss(app, hold);
            return Err(gone());
        };
        let (Some(before), true) = (before, self.supervisor.brief(app).is_some_and(|brief| is_sick(&brief)))
        else {
            return Ok(None);
        };
        let reason =
            self.supervisor.status(app).reason.unwrap_or_else(|| "its health check fails".to_owned());
        let (former, rows) = self.former(&row, Some(before)).await?;
        hold.switch(former, row.instances).await?;
        let error = reason.clone();
        let kept = self.store.with(move |t| {
            variables::apply(t, app, &rows)?;
            releases::fails(t, app, release, &error)?;
            releases::serves(t, app, before, None)
        });
        if !kept.await? {
            return Err(gone());
        }
        self.deploys.changed();
        Ok(Some((before, reason)))
    }
}

/// Whether none of an app's instances is well, and that not just for the moment.
fn is_sick(brief: &Brief) -> bool {
    let sick = |state: State| matches!(state, State::CrashLoop | State::Unhealthy);
    !brief.instances.is_empty() && brief.instances.iter().all(|instance| sick(instance.0))
}
