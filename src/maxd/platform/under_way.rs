//! Requests that take as long as an app does.
//!
//! Each is carried out in a task of its own, which a lost connection does not end. A request
//! that comes again with its key gets the outcome of the task that is under way, or the
//! answer that was kept.

use super::Platform;
use crate::error::{Error, Kind, Result};
use crate::maxd::once::{Key, Once};
use miniserde::{Deserialize, Serialize, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What is under way; nothing by default.
#[derive(Default)]
pub struct Lifecycle {
    /// By user and key: the event, and the outcome once there is one.
    running: Mutex<HashMap<Key, (String, Outcome)>>,
    tasks: TaskTracker,
}

/// The answer's document.
type Outcome = watch::Receiver<Option<Result<String>>>;

impl Lifecycle {
    fn running(&self) -> MutexGuard<'_, HashMap<Key, (String, Outcome)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something done beside all requests, which ends by itself when maxd stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Waits until all have ended, which they do by themselves when maxd stops.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Platform {
    /// Lets a task do the work, unless one does already, and waits for the outcome.
    pub(super) async fn carry<T, F>(
        self: &Arc<Self>,
        once: Once,
        work: impl FnOnce(Arc<Platform>, Once) -> F,
    ) -> Result<T>
    where
        T: Serialize + Deserialize,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut outcome = {
            let key = once.key();
            let mut running = self.lifecycle.running();
            let known = key.as_ref().and_then(|key| running.get(key));
            match known {
                Some((event, outcome)) => {
                    once.check(event)?;
                    outcome.clone()
                }
                None => {
                    let (told, outcome) = watch::channel(None);
                    if let Some(key) = &key {
                        running.insert(key.clone(), (once.event().to_owned(), outcome.clone()));
                    }
                    let under_way = UnderWay { platform: Arc::clone(self), key };
                    let work = work(Arc::clone(self), once);
                    self.lifecycle.tasks.spawn(async move {
                        let done = work.await.map(|document| json::to_string(&document));
                        told.send_replace(Some(done));
                        drop(under_way);
                    });
                    outcome
                }
            }
        };
        let failed = || Error::new(Kind::Internal, "the server failed at this request");
        let done = outcome.wait_for(Option::is_some).await.ok().and_then(|done| done.clone());
        json::from_str(&done.ok_or_else(failed)??).map_err(|_| failed())
    }
}

/// A change that is carried out. Dropping it forgets that.
struct UnderWay {
    platform: Arc<Platform>,
    key: Option<Key>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.platform.lifecycle.running().remove(key);
        }
    }
}
