//! The use-cases that change how an app runs: start, stop, restart, scale, and go
//! back to a former release.
//!
//! They take as long as the app does ([`under_way`](super::under_way)).

use super::configuration::tried;
use super::{AppRow, Platform, app_in_row, find_app};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::config;
use crate::maxd::detect::detect;
use crate::maxd::once::Once;
use crate::maxd::plan::{Plan, Run};
use crate::maxd::store::{explain, held};
use crate::maxd::supervisor::{Hold, Release};
use crate::maxd::variables::{self, Scope};
use crate::wire::app::{App, INSTANCES_MAX, Scale, Select};
use crate::wire::release::Rollback;
use rusqlite::{Transaction, params};
use std::sync::Arc;

/// A change of how an app runs.
#[derive(Clone, Copy)]
enum Change {
    Start,
    Stop,
    Restart,
    /// To so many instances, from the configuration of this version.
    Scale(u64, Option<u64>),
    /// To this release, or the one before.
    Rollback(Option<u64>),
}

impl Change {
    /// `was not …`.
    fn done(self) -> String {
        match self {
            Change::Start => "started".to_owned(),
            Change::Stop => "stopped".to_owned(),
            Change::Restart => "restarted".to_owned(),
            Change::Scale(count, _) => format!("scaled to {}", instances(count)),
            Change::Rollback(_) => "rolled back".to_owned(),
        }
    }
}

impl Platform {
    /// `app:start`.
    pub async fn start_app(self: &Arc<Self>, who: &Access, once: Once, request: Select) -> Result<App> {
        self.change(who, once, request, Change::Start).await
    }

    /// `app:stop`.
    pub async fn stop_app(self: &Arc<Self>, who: &Access, once: Once, request: Select) -> Result<App> {
        self.change(who, once, request, Change::Stop).await
    }

    /// `app:restart`.
    pub async fn restart_app(self: &Arc<Self>, who: &Access, once: Once, request: Select) -> Result<App> {
        self.change(who, once, request, Change::Restart).await
    }

    /// `app:scale`.
    pub async fn scale_app(self: &Arc<Self>, who: &Access, once: Once, request: Scale) -> Result<App> {
        let Scale { network, app, instances, version } = request;
        match instances {
            1..=INSTANCES_MAX => {}
            0 => {
                return Err(Error::usage("an app that runs has at least one instance")
                    .hint(format!("`rig stop app {app}.{network}` stops it"))
                    .field("instances"));
            }
            _ => {
                let message = format!("an app has at most {INSTANCES_MAX} instances, not {instances}");
                return Err(Error::usage(message).field("instances"));
            }
        }
        self.change(who, once, Select { network, app }, Change::Scale(instances, version)).await
    }

    /// `app:rollback`.
    pub async fn roll_back_app(self: &Arc<Self>, who: &Access, once: Once, request: Rollback) -> Result<App> {
        let Rollback { network, app, to } = request;
        self.change(who, once, Select { network, app }, Change::Rollback(to)).await
    }

    async fn change(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Select,
        change: Change,
    ) -> Result<App> {
        let who = who.clone();
        let work = |platform: Arc<Platform>, once| async move {
            platform.carry_out(&who, once, request, change).await
        };
        self.carry(once, work).await
    }

    async fn carry_out(&self, who: &Access, once: Once, request: Select, change: Change) -> Result<App> {
        let once = Arc::new(once);
        let (asks, known) = (who.clone(), Arc::clone(&once));
        let (kept, row) = self
            .store
            .with(move |t| match known.kept(t)? {
                Some(app) => Ok((Some(app), None)),
                None => Ok((None, Some(find_app(t, &asks, &request.network, &request.app)?))),
            })
            .await?;
        let Some(row) = row else {
            return kept.ok_or_else(|| Error::new(Kind::Internal, "a kept answer is missing"));
        };
        let mut stopping = self.stopping.clone();
        let done = tokio::select! {
            biased;
            done = self.apply(&who.name, &row, change) => done,
            _ = stopping.wait_for(|stopping| *stopping) => {
                Err(Error::new(Kind::Failed, format!("maxd was stopped before app '{}' was {}", row.name, change.done())))
            }
        };
        let (network, app) = (row.network_id, row.id);
        match done {
            Err(error) => {
                let text = format!("not {}, as {} asked: {error}", change.done(), who.name);
                self.event(network, Some(app), text).await;
                Err(error)
            }
            Ok((hold, said)) => {
                let show = self.shows();
                let kept = self.store.with(move |t| {
                    once.run(t, || {
                        let row = app_in_row(t, app)?.ok_or_else(gone)?;
                        Ok((show(&row), ()))
                    })
                });
                let (document, _) = kept.await?;
                drop(hold);
                if let Some(said) = said {
                    self.event(network, Some(app), format!("{said} by {}", who.name)).await;
                }
                Ok(document)
            }
        }
    }

    /// Does it, and keeps on the disk how the app has to run; what is to be said of it, unless
    /// it was so already.
    async fn apply(&self, user: &str, row: &AppRow, change: Change) -> Result<(Hold, Option<String>)> {
        let app = row.id;
        let mut hold = match change {
            Change::Stop => self.supervisor.interrupt(app).await?,
            _ => self.supervisor.hold(app).await?,
        };
        let Some(row) = self.store.with(move |t| app_in_row(t, app)).await? else {
            self.supervisor.dismiss(app, hold);
            return Err(gone());
        };
        let failed = |error: Error| failed(&row, change, error);
        match change {
            Change::Start if hold.runs() => return Ok((hold, None)),
            Change::Start => {
                let release = hold.release().ok_or_else(|| no_release(&row))?;
                hold.switch(release, row.instances).await.map_err(failed)?;
                self.keep(user, &row, row.instances, false).await?;
            }
            Change::Stop if row.stopped && !hold.runs() => return Ok((hold, None)),
            Change::Stop => {
                hold.release().ok_or_else(|| no_release(&row))?;
                self.keep(user, &row, row.instances, true).await?;
                hold.stop().await;
            }
            Change::Restart => {
                let release = running(&row, hold.release())?;
                hold.switch(release, row.instances).await.map_err(failed)?.ended().await;
            }
            Change::Rollback(to) => {
                let (release, rows) = self.former(&row, to).await?;
                let number = release.number;
                if row.release == Some(number) && hold.runs() {
                    return Ok((hold, None));
                }
                hold.switch(release, row.instances).await.map_err(failed)?;
                self.keep_former(app, number, rows, Some(user.to_owned())).await?;
                let from = row.release.map_or(String::new(), |from| format!(" from release {from}"));
                return Ok((hold, Some(format!("rolled back{from} to release {number}"))));
            }
            Change::Scale(count, version) => {
                let (scope, by) = (Scope { network: row.network_id, app: Some(app) }, user.to_owned());
                let expecting = move |t: &Transaction<'_>| {
                    let before = config::present(t, scope)?;
                    tried(t, || config::expecting(t, scope, version, &before, || scale(t, scope, &by, count)))
                };
                self.store.with(expecting).await?;
                if count > 1 && hold.release().is_some_and(|release| release.plan.run == Run::Static) {
                    let message =
                        format!("app '{}' is static: maxd itself serves it, as one instance", row.name);
                    return Err(Error::new(Kind::Conflict, message).field("instances"));
                }
                if count == row.instances {
                    return Ok((hold, None));
                }
                if count < row.instances {
                    self.keep(user, &row, count, row.stopped).await?;
                    hold.scale(count).await?;
                } else {
                    hold.scale(count).await.map_err(failed)?;
                    self.keep(user, &row, count, row.stopped).await?;
                }
                let said = format!("scaled from {} to {}", row.instances, instances(count));
                return Ok((hold, Some(said)));
            }
        }
        Ok((hold, Some(change.done())))
    }

    /// The release that an app serves according to its row; none before its first deploy.
    pub async fn release_of(&self, row: &AppRow) -> Result<Option<Release>> {
        let Some(number) = row.release else { return Ok(None) };
        let (network, app, vault) = (row.network_id, row.id, Arc::clone(&self.vault));
        let read = self.store.with(move |t| {
            let applied = variables::applied(t, app)?;
            Ok((Plan::recorded(t, app, number)?, variables::environment(t, &vault, network, &applied)?))
        });
        let (plan, env) = read.await?;
        let dir = self.app_directory(app).join(number.to_string());
        let plan = match plan {
            Some(plan) => plan,
            None => detect(&dir)?,
        };
        Ok(Some(Release { network, app, number, dir, plan, env }))
    }

    /// Keeps on the disk how the app has to run.
    pub(super) async fn keep(&self, user: &str, row: &AppRow, instances: u64, stopped: bool) -> Result<()> {
        let (app, scope) = (row.id, Scope { network: row.network_id, app: Some(row.id) });
        let (user, scaled) = (user.to_owned(), instances != row.instances);
        let changed = self.store.with(move |t| {
            let query = "UPDATE all_apps SET stopped = ?2 WHERE id = ?1 AND deleted_at IS NULL";
            let changed = t.execute(query, params![app, stopped]).map_err(explain)?;
            if changed > 0 && scaled {
                scale(t, scope, &user, instances)?;
            }
            Ok(changed)
        });
        match changed.await? {
            0 => Err(gone()),
            _ => Ok(()),
        }
    }
}

/// Gives an app so many instances from now on.
fn scale(t: &Transaction<'_>, scope: Scope, user: &str, instances: u64) -> Result<()> {
    let query = "UPDATE all_apps SET instances = ?2 WHERE id = ?1";
    t.execute(query, params![scope.app, held(instances)]).map_err(explain)?;
    config::record(t, scope, user, "scaled")
}

/// `3 instances`.
fn instances(count: u64) -> String {
    format!("{count} instance{}", if count == 1 { "" } else { "s" })
}

pub(super) fn gone() -> Error {
    Error::new(Kind::NotFound, "the app was deleted")
}

fn no_release(row: &AppRow) -> Error {
    Error::new(Kind::Conflict, format!("app '{}' has no release to run", row.name))
        .hint("deploy it first: `rig deploy`")
}

/// The release of an app that is not stopped.
fn running(row: &AppRow, release: Option<Release>) -> Result<Release> {
    if row.stopped {
        return Err(Error::new(Kind::Conflict, format!("app '{}' is stopped", row.name))
            .hint(format!("start it: `rig start app {}.{}`", row.name, row.network)));
    }
    release.ok_or_else(|| no_release(row))
}

/// The new instances did not become healthy.
fn failed(row: &AppRow, change: Change, error: Error) -> Error {
    if error.kind() == Kind::Conflict {
        return error;
    }
    let message = format!("app '{}' was not {}: {error}", row.name, change.done());
    let kind = if matches!(change, Change::Rollback(_)) { Kind::DeployFailed } else { Kind::Failed };
    let after = match change {
        Change::Start | Change::Stop => "it stays stopped",
        Change::Rollback(_) if row.stopped => "it stays stopped",
        Change::Rollback(_) => "the release that served goes on serving",
        Change::Restart | Change::Scale(..) => "those that ran go on serving",
    };
    let hint = error.hint_text().map_or(String::new(), |hint| format!("; {hint}"));
    Error::new(kind, message).hint(format!("{after}{hint}"))
}
