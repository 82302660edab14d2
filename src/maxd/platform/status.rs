//! The use-cases that only look: what apps and networks do at the moment, and what they
//! have done.

use super::variables::staged;
use super::{AppRow, Platform, app_rows, find_app, find_network, network_row};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::Access;
use crate::maxd::alerts::Scope;
use crate::maxd::deploys::newest_deploys;
use crate::maxd::logs::{Filter, Select};
use crate::maxd::metrics::Reading;
use crate::maxd::supervisor::Status;
use crate::wire::app::App;
use crate::wire::deploy::Deploy;
use crate::wire::log::Line;
use crate::wire::variable::Difference;
use crate::wire::{app, metrics, network};
use std::collections::HashMap;
use std::sync::Arc;

/// So many events stand in an app's status.
const EVENTS: u64 = 10;

impl Platform {
    /// `network:status`.
    pub async fn network_status(&self, who: &Access, request: network::Select) -> Result<network::Status> {
        let (who, domain) = (who.clone(), self.address.domain.clone());
        let (id, network, rows) = self
            .store
            .with(move |t| {
                let id = find_network(t, &who, &request.network)?;
                Ok((id, network_row(t, id, &domain)?, app_rows(t, &who, Some(id))?))
            })
            .await?;
        let apps = rows.iter().map(|row| self.app_document(row)).collect();
        let (usage, traffic) = self.metrics.together(&rows.iter().map(|row| row.id).collect::<Vec<_>>());
        let readings = rows.iter().map(|row| {
            let Reading { usage, traffic, .. } = self.metrics.reading(row.id);
            network::Reading { app: row.name.clone(), usage, traffic }
        });
        let (readings, alerts) = (readings.collect(), self.alerts.active(Scope::Network(id)));
        Ok(network::Status { network, apps, readings, usage, traffic, alerts })
    }

    /// The apps that `who` sees, or those of one network, by network and name, with their rows
    /// and instances.
    pub async fn apps_of(
        &self,
        who: &Access,
        network: Option<i64>,
    ) -> Result<Vec<(i64, App, Vec<app::Instance>)>> {
        let who = who.clone();
        let rows = self.store.with(move |t| app_rows(t, &who, network)).await?;
        let with = |row: &AppRow| (row.id, self.app_document(row), self.supervisor.status(row.id).instances);
        Ok(rows.iter().map(with).collect())
    }

    /// `app:status`.
    pub async fn app_status(&self, who: &Access, request: app::Select) -> Result<app::Status> {
        let (who, address) = (who.clone(), self.address.clone());
        let (row, deploy, staged): (AppRow, Option<Deploy>, Vec<Difference>) = self
            .store
            .with(move |t| {
                let row = find_app(t, &who, &request.network, &request.app)?;
                let deploy = newest_deploys(t, row.id, 1, &address)?.pop();
                let staged = staged(t, &row)?;
                Ok((row, deploy, staged))
            })
            .await?;
        let Status { mut instances, checks, .. } = self.supervisor.status(row.id);
        for instance in &mut instances {
            instance.usage = instance.pid.and_then(|pid| self.metrics.instance(row.id, pid));
        }
        let app = self.app_document(&row);
        let Reading { usage, traffic, .. } = self.metrics.reading(row.id);
        let usage = instances.iter().any(|instance| instance.usage.is_some()).then_some(usage);
        let events = self.events(&row).await?;
        let alerts = self.alerts.active(Scope::App(row.id));
        Ok(app::Status { app, instances, deploy, usage, traffic, checks, events, alerts, staged })
    }

    async fn events(&self, row: &AppRow) -> Result<Vec<Line>> {
        let names = HashMap::from([(row.id, row.name.clone())]);
        self.lines_of(Select::App(row.id), names, Filter::of_events(), EVENTS).await
    }

    /// The newest lines of an app's log, or without one of its network's, that `filter`
    /// wants; the newest last.
    pub async fn newest_lines(
        &self,
        who: &Access,
        network: String,
        app: Option<String>,
        filter: Filter,
        count: u64,
    ) -> Result<Vec<Line>> {
        let who = who.clone();
        let found = self.store.with(move |t| match &app {
            Some(app) => {
                let row = find_app(t, &who, &network, app)?;
                Ok((Select::App(row.id), vec![row]))
            }
            None => {
                let id = find_network(t, &who, &network)?;
                Ok((Select::Network(id), app_rows(t, &who, Some(id))?))
            }
        });
        let (select, rows) = found.await?;
        let names = rows.into_iter().map(|row| (row.id, row.name)).collect();
        self.lines_of(select, names, filter, count).await
    }

    async fn lines_of(
        &self,
        select: Select,
        names: HashMap<i64, String>,
        filter: Filter,
        count: u64,
    ) -> Result<Vec<Line>> {
        let logs = Arc::clone(&self.logs);
        let read = move || logs.newest_lines(select, &filter, count, &|app| names.get(&app).cloned());
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its logs")))
    }

    /// An app's newest deploys, whatever became of them, the newest first.
    pub async fn list_deploys(&self, who: &Access, request: app::Select, count: u64) -> Result<Vec<Deploy>> {
        let (who, address) = (who.clone(), self.address.clone());
        let deploys = self.store.with(move |t| {
            let row = find_app(t, &who, &request.network, &request.app)?;
            newest_deploys(t, row.id, count, &address)
        });
        deploys.await
    }

    /// `app:metrics`.
    pub async fn app_metrics(&self, who: &Access, request: metrics::Query) -> Result<metrics::History> {
        let (who, seconds) = (who.clone(), request.seconds);
        let row = self.store.with(move |t| find_app(t, &who, &request.network, &request.app)).await?;
        let metrics = Arc::clone(&self.metrics);
        let read = tokio::task::spawn_blocking(move || metrics.history(row.id, seconds)).await;
        read.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its metrics")))
    }
}
