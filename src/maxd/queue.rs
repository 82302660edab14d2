//! One deploy of an app at a time, in the order in which they joined the queue.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// The queues, one an app.
#[derive(Default)]
pub struct Queues {
    /// Of each queue the turn that joined last.
    last: Mutex<HashMap<i64, Before>>,
}

/// Tells when a turn is over. One that is given up before it came hands on what it
/// waited for itself.
struct Before(oneshot::Receiver<Before>);

/// A place in a queue. Dropping it lets the next go on.
pub struct Turn {
    before: Option<Before>,
    end: Option<oneshot::Sender<Before>>,
}

impl Queues {
    /// Joins the queue of `app` at its end.
    pub fn join(&self, app: i64) -> Turn {
        let (end, ended) = oneshot::channel();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, turn| turn.goes_on());
        Turn { before: last.insert(app, Before(ended)), end: Some(end) }
    }
}

impl Before {
    fn goes_on(&mut self) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(earlier) => *self = earlier,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Closed) => return false,
            }
        }
    }
}

impl Turn {
    /// Whether somebody is before it.
    pub fn waits(&mut self) -> bool {
        self.before.take_if(|before| !before.goes_on());
        self.before.is_some()
    }

    /// Waits until nobody is before it.
    pub async fn comes(&mut self) {
        while let Some(before) = &mut self.before {
            self.before = (&mut before.0).await.ok();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(before), Some(end)) = (self.before.take(), self.end.take()) {
            // Nobody may be behind it.
            let _ = end.send(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_apps_do_not_wait_for_each_other() {
        let queues = Queues::default();
        let mut other = queues.join(2);
        let mut first = queues.join(1);
        let (mut second, mut third) = (queues.join(1), queues.join(1));
        assert!(!other.waits() && !first.waits() && second.waits() && third.waits());
        other.comes().await;
        first.comes().await;
        drop(first);
        assert!(!second.waits() && third.waits());
        second.comes().await;
        drop(second);
        third.comes().await;
        drop(third);
        assert!(!queues.join(1).waits());
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_lets_nobody_pass_those_before_it() {
        let queues = Queues::default();
        let first = queues.join(1);
        let (second, mut third) = (queues.join(1), queues.join(1));
        drop(second);
        assert!(third.waits());
        drop(first);
        assert!(!third.waits());
        third.comes().await;
    }
}
