//! Delivers what waits: a task for each webhook whose turn it is, so that a slow one holds
//! nobody else up.

use super::post::Parcel;
use super::queue::{self, Waiting, heads, millis, refused, taken};
use super::target::Target;
use crate::error::Result;
use crate::maxd::platform::Platform;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

/// Webhooks that are reached at the same time.
const AT_ONCE: usize = 64;
/// The pause when the database fails.
const PAUSE: Duration = Duration::from_secs(10);

/// Delivers until maxd stops. What is on its way then is sent again by the next one.
pub async fn deliver(platform: Arc<Platform>) {
    let mut changes = platform.alerts.changes();
    let (mut tasks, mut busy) = (JoinSet::new(), HashMap::<Id, i64>::new());
    loop {
        changes.mark_unchanged();
        let wait = match platform.store.with(heads).await {
            Ok(heads) => {
                let now = millis(SystemTime::now());
                let mut free = heads.into_iter().filter(|head| !busy.values().any(|id| *id == head.webhook));
                let mut later = None;
                for head in free.by_ref().take(AT_ONCE - busy.len()).collect::<Vec<_>>() {
                    if head.due > now {
                        later = Some(head.due.abs_diff(now));
                        break;
                    }
                    let (webhook, platform) = (head.webhook, Arc::clone(&platform));
                    let task = tasks.spawn(async move { attempt(&platform, head).await });
                    busy.insert(task.id(), webhook);
                }
                later.map(Duration::from_millis)
            }
            Err(error) => {
                say!("cannot deliver to webhooks: {error}");
                Some(PAUSE)
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(done) = tasks.join_next_with_id() => {
                busy.remove(&done.map_or_else(|error| error.id(), |(id, ())| id));
            }
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

/// One try.
async fn attempt(platform: &Platform, message: Waiting) {
    let now = SystemTime::now();
    let seconds = (millis(now) / 1000).unsigned_abs();
    let parcel = Parcel { id: message.id, body: &message.body, secret: &message.secret, now: seconds };
    let sent = match Target::parse(&message.url) {
        Ok(target) => platform.webhooks.courier.send(&target, &parcel).await,
        Err(error) => Err(error.message().to_owned()),
    };
    if let Err(error) = record(platform, message, sent).await {
        say!("cannot record a delivery to a webhook: {error}");
        // It would be sent again at once.
        sleep(PAUSE).await;
    }
}

async fn record(platform: &Platform, message: Waiting, sent: Result<(), String>) -> Result<()> {
    let mut random = [0; 2];
    // Without random numbers pauses are short, and all else goes on.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    let (now, second) = (SystemTime::now(), platform.webhooks.second);
    platform
        .store
        .with(move |t| match sent {
            Ok(()) => taken(t, &message, now),
            Err(reason) => {
                let next = queue::next(&message, millis(now), second, u16::from_le_bytes(random));
                refused(t, &message, &reason, next)
            }
        })
        .await
}
