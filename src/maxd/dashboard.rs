//! The topic `dashboard`: every app that a user sees at a glance, then at each measurement what
//! has changed.

use super::access::{Access, admit, roles};
use super::alerts::Scope;
use super::control::read;
use super::outlet::{Gone, Outlet};
use super::platform::{Platform, find_network, network_in_row};
use super::socket::Push;
use super::stream::{Feed, Joined};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::alert::Alert;
use crate::wire::dashboard::{Beat, Name, Row, Snapshot, Tick, Watch};
use miniserde::json;
use rusqlite::Transaction;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// What a client has been told.
pub struct Board {
    who: Access,
    /// The row of the only network.
    network: Option<i64>,
    follow: bool,
    ticks: watch::Receiver<u64>,
    apps: HashMap<i64, Row>,
    alerts: Vec<Alert>,
}

/// Joins.
pub async fn join(platform: &Arc<Platform>, who: &Access, params: &str) -> Result<Joined> {
    let Watch { network, follow } = read("dashboard", params)?;
    let mut ticks = platform.metrics.ticks();
    ticks.mark_unchanged();
    let (asks, alerts) = (who.clone(), Vec::new());
    let find = move |t: &Transaction<'_>| network.map(|name| find_network(t, &asks, &name)).transpose();
    let network = platform.store.with(find).await?;
    let mut board = Board { who: who.clone(), network, follow, ticks, apps: HashMap::new(), alerts };
    let now = board.look(platform).await?;
    let past = now.apps.iter().map(|(id, _)| platform.metrics.past(*id)).collect();
    board.alerts.clone_from(&now.alerts);
    board.apps = now.apps.iter().cloned().collect();
    let apps = now.apps.into_iter().map(|(_, row)| row).collect();
    let snapshot = Snapshot { time: rfc3339(SystemTime::now()), apps, past, alerts: now.alerts };
    Ok(Joined::Open(json::to_string(&snapshot), Feed::Dashboard(Box::new(board))))
}

/// Sends until the client leaves or the network is gone.
pub async fn run(
    platform: &Arc<Platform>,
    mut board: Board,
    outlet: &Outlet,
    inputs: &mut mpsc::Receiver<Push>,
) -> Result<()> {
    while board.follow {
        tokio::select! {
            ticked = board.ticks.changed() => {
                if ticked.is_err() {
                    return Ok(());
                }
                let tick = match board.tick(platform).await {
                    Err(error) if error.kind() == Kind::NotFound => return Ok(()),
                    tick => json::to_string(&tick?),
                };
                if let Err(Gone) = outlet.push("tick", &tick).await {
                    return Ok(());
                }
            }
            // Nothing is asked of it.
            input = inputs.recv() => if input.is_none() {
                return Ok(());
            },
        }
    }
    Ok(())
}

/// What there is at the moment.
struct Now {
    /// By network and name.
    apps: Vec<(i64, Row)>,
    alerts: Vec<Alert>,
}

impl Board {
    /// What has changed since the last time.
    async fn tick(&mut self, platform: &Arc<Platform>) -> Result<Tick> {
        let now = self.look(platform).await?;
        let (mut apps, mut beats) = (Vec::new(), Vec::new());
        let mut before = std::mem::take(&mut self.apps);
        for (id, row) in now.apps {
            let requests = platform.metrics.reading(id).beat;
            if requests > 0 {
                beats.push(Beat { network: row.network.clone(), app: row.app.clone(), requests });
            }
            match before.remove(&id) {
                Some(same) if same == row => {}
                // What it was called is gone.
                Some(other) if other.app != row.app || other.network != row.network => {
                    apps.push(row.clone());
                    before.insert(id, other);
                }
                _ => apps.push(row.clone()),
            }
            self.apps.insert(id, row);
        }
        // A name that another app has now is not gone.
        let named =
            |gone: &Row| !self.apps.values().any(|row| row.network == gone.network && row.app == gone.app);
        let gone = before.into_values().filter(named);
        let gone = gone.map(|row| Name { network: row.network, app: row.app }).collect();
        let alerts = (now.alerts != self.alerts).then(|| now.alerts.clone());
        self.alerts = now.alerts;
        Ok(Tick { time: rfc3339(SystemTime::now()), apps, beats, gone, alerts })
    }

    async fn look(&self, platform: &Arc<Platform>) -> Result<Now> {
        let (who, network) = (self.who.clone(), self.network);
        let seen = platform.store.with(move |t| {
            if let Some(network) = network {
                let gone = || Error::new(Kind::NotFound, "the network was deleted");
                network_in_row(t, network)?.ok_or_else(gone)?;
                admit(t, &who, network, gone)?;
            }
            roles(t, &who)
        });
        let roles = seen.await?;
        let all = || Scope::Networks(roles.into_iter().map(|(network, _)| network).collect());
        let alerts = platform.alerts.active(network.map_or_else(all, Scope::Network));
        let said = |row: &Row| {
            let its = alerts.iter().filter(|alert| {
                alert.network.as_deref() == Some(&row.network) && alert.app.as_deref() == Some(&row.app)
            });
            its.map(|alert| alert.message.clone()).collect()
        };
        let apps = platform.apps_of(&self.who, network).await?;
        let apps = apps.into_iter().map(|(id, app, instances)| {
            let reading = platform.metrics.reading(id);
            let mut row = Row {
                network: app.network,
                app: app.name,
                state: app.state,
                reason: app.reason,
                release: app.release,
                deployed_at: app.deployed_at,
                url: app.url,
                instances: app.instances,
                running: app.running,
                restarts: instances.iter().map(|one| one.restarts).sum(),
                usage: reading.usage,
                traffic: reading.traffic,
                alerts: Vec::new(),
            };
            row.alerts = said(&row);
            (id, row)
        });
        let apps = apps.collect();
        Ok(Now { apps, alerts })
    }
}
