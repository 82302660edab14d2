//! Changes of an app's instances, one at a time.

use super::set::{self, Set};
use super::{App, Parts, Release, Shown};
use crate::error::Result;
use crate::wire::app::State;
use std::sync::{Arc, PoisonError};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

/// An app whose instances nobody else changes meanwhile.
pub struct Hold {
    pub(super) parts: Arc<Parts>,
    pub(super) app: Arc<App>,
    pub(super) set: OwnedMutexGuard<Option<Set>>,
}

/// Instances that end by themselves.
pub struct Ending(Option<JoinHandle<()>>);

impl Ending {
    /// Waits until they have.
    pub async fn ended(self) {
        if let Some(task) = self.0 {
            let _ = task.await;
        }
    }
}

impl Hold {
    /// The release that serves, or did when the app was stopped.
    pub fn release(&self) -> Option<Release> {
        self.app.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the app has instances.
    pub fn runs(&self) -> bool {
        self.set.is_some()
    }

    /// How many instances it has.
    pub fn instances(&self) -> u64 {
        self.set.as_ref().map_or(0, |set| set.views().len() as u64)
    }

    /// Has what starts next, while the app has no instances, be this release.
    pub fn equip(&self, release: &Release) {
        self.app.serves(release);
    }

    /// Starts so many instances of the release and, once all are healthy, gives them the
    /// app's traffic in place of those before, which then end by themselves. When one never
    /// becomes healthy those go on serving, and nothing of the new ones is left. So it is
    /// when the future is dropped.
    pub async fn switch(&mut self, release: Release, count: u64) -> Result<Ending> {
        let app = Arc::clone(&self.app);
        app.unless_stopped(self.replace(release, count)).await?
    }

    async fn replace(&mut self, release: Release, count: u64) -> Result<Ending> {
        let app = &self.app;
        let mut set = Set::new(Arc::clone(&self.parts), release, app.tasks.clone());
        let views = set.fresh(count);
        // Only when nothing serves they are seen before they do.
        let passing = self.set.is_none().then(|| Passing::show(app, Shown::Instances(views.clone())));
        let instances = set.start(views).await?;
        // From here on nothing waits, so the switch happens or it does not.
        if let Some(passing) = passing {
            passing.stays();
        }
        let old = self.set.take();
        if let Some(old) = &old {
            old.retire();
        }
        set.keep(instances);
        set.open(&self.parts.routes);
        app.show(Shown::Instances(set.views()));
        app.serves(&set.release);
        *self.set = Some(set);
        let drain = self.parts.pace.drain;
        Ok(Ending(old.map(|old| app.tasks.spawn(old.end(drain)))))
    }

    /// Gives an app that runs so many instances. New ones get traffic once they are all
    /// healthy; when one never is, nothing of them is left. Those that are too many answer
    /// what they have begun.
    pub async fn scale(&mut self, count: u64) -> Result<()> {
        let app = Arc::clone(&self.app);
        app.unless_stopped(self.resize(count)).await?
    }

    async fn resize(&mut self, count: u64) -> Result<()> {
        let (app, parts) = (&self.app, &self.parts);
        let Some(set) = &mut *self.set else { return Ok(()) };
        let gone = set.shrink(count);
        let views = set.fresh(count);
        let all = set.views().into_iter().chain(views.iter().cloned()).collect();
        app.show(Shown::Instances(set.views()));
        let passing = Passing::show(app, Shown::Instances(all));
        let instances = set.start(views).await?;
        passing.stays();
        set.keep(instances);
        let drain = parts.pace.drain;
        let ending = app.tasks.spawn(async move { set::end(&gone, drain).await });
        Ending(Some(ending)).ended().await;
        Ok(())
    }

    /// Stops all instances: what they have begun is answered, what is new is told that the
    /// app is stopped.
    pub async fn stop(&mut self) {
        let Some(set) = self.set.take() else { return };
        set.retire();
        self.parts.routes.stop(set.release.app);
        let drain = self.parts.pace.drain;
        Ending(Some(self.app.tasks.spawn(set.end(drain)))).ended().await;
        self.app.show(Shown::Nothing(State::Stopped));
    }
}

/// Shows something for the time being: when it is dropped, what was shown before is again.
struct Passing<'a> {
    app: &'a App,
    before: Option<Shown>,
}

impl Passing<'_> {
    fn show(app: &App, shown: Shown) -> Passing<'_> {
        Passing { app, before: Some(app.show(shown)) }
    }

    fn stays(mut self) {
        self.before = None;
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.app.show(before);
        }
    }
}
