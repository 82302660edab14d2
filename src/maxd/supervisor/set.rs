//! The instances of one release that have, or are to have, an app's traffic together.

use super::{Parts, Release};
use crate::error::Result;
use crate::maxd::instance::Instance;
use crate::maxd::keeper::Keeper;
use crate::maxd::keeper::view::View;
use crate::maxd::plan::Run;
use crate::maxd::pump::Journal;
use crate::maxd::router::{Pool, Routes};
use futures_util::future::{join_all, try_join_all};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// So many instances of a set are started at the same time, so that each gets enough of
/// the host to become healthy.
const AT_ONCE: usize = 4;

/// Instances of a release.
pub struct Set {
    parts: Arc<Parts>,
    /// Their release.
    pub release: Arc<Release>,
    pool: Arc<Pool>,
    /// By the instances' numbers.
    keepers: Vec<Arc<Keeper>>,
    /// Where the keepers work.
    tasks: TaskTracker,
}

impl Set {
    /// A set without instances.
    pub fn new(parts: Arc<Parts>, release: Release, tasks: TaskTracker) -> Set {
        let pool = Pool::new(release.number);
        Set { parts, release: Arc::new(release), pool, keepers: Vec::new(), tasks }
    }

    /// What is shown of its instances.
    pub fn views(&self) -> Vec<Arc<View>> {
        self.keepers.iter().map(|keeper| Arc::clone(&keeper.view)).collect()
    }

    /// The instances that are missing for there to be so many. maxd serves files alone.
    pub fn fresh(&self, count: u64) -> Vec<Arc<View>> {
        let count = if self.release.plan.run == Run::Static { 1 } else { count };
        let first = self.keepers.last().map_or(1, |keeper| keeper.view.number + 1);
        (first..=count).map(|number| View::new(number, self.release.number)).collect()
    }

    /// Starts these and waits until all are healthy; none of them has traffic yet. When one
    /// fails, or the future is dropped, nothing of them is left.
    pub async fn start(&self, views: Vec<Arc<View>>) -> Result<Vec<(Arc<View>, Option<Instance>)>> {
        let turns = Semaphore::new(AT_ONCE);
        try_join_all(views.into_iter().map(|view| async {
            let Run::Command(command) = &self.release.plan.run else { return Ok((view, None)) };
            let _turn = turns.acquire().await;
            let journal = Journal::new(&self.release, Some(view.number), &self.parts.lines);
            let started = |instance: &Instance| view.started(instance);
            let start = Instance::start(command, &self.release, &self.parts, &journal, started);
            let instance = start.await.map_err(|unhealthy| unhealthy.error)?;
            Ok((view, Some(instance)))
        }))
        .await
    }

    /// Keeps these running from now on; those that are healthy get traffic.
    pub fn keep(&mut self, instances: Vec<(Arc<View>, Option<Instance>)>) {
        for (view, instance) in instances {
            let (parts, release, pool) = (&self.parts, &self.release, &self.pool);
            let (parts, release, pool) = (Arc::clone(parts), Arc::clone(release), Arc::clone(pool));
            self.keepers.push(Keeper::begin(parts, release, pool, view, instance, &self.tasks));
        }
    }

    /// Takes the app's traffic.
    pub fn open(&self, routes: &Routes) {
        routes.open(self.release.app, &self.pool);
    }

    /// All but so many, which get no more traffic and have to be ended.
    pub fn shrink(&mut self, count: u64) -> Vec<Arc<Keeper>> {
        let (kept, gone) =
            std::mem::take(&mut self.keepers).into_iter().partition(|keeper| keeper.view.number <= count);
        self.keepers = kept;
        for keeper in &gone {
            keeper.retire();
            keeper.close();
        }
        gone
    }

    /// From now on the route belongs to another set, and what fails is nobody's matter.
    pub fn retire(&self) {
        self.keepers.iter().for_each(|keeper| keeper.retire());
    }

    /// Waits until what was begun is answered, at most so long, and ends all.
    pub async fn end(self, drain: Duration) {
        end(&self.keepers, drain).await;
    }
}

/// Waits until what these have begun is answered, at most so long, and ends them.
pub async fn end(keepers: &[Arc<Keeper>], drain: Duration) {
    join_all(keepers.iter().map(|keeper| keeper.end(drain))).await;
}
