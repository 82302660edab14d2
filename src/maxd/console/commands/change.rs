//! The commands that change how an app runs: the same use-cases that rig asks for.

use super::{Answer, Call};
use crate::error::{Error, Result};
use crate::maxd::access::Access;
use crate::maxd::console::text::cut;
use crate::maxd::once::Once;
use crate::wire::app::{App, INSTANCES_MAX, Scale, Select, State};

/// `restart`.
pub async fn restart(call: &Call) -> Result<Answer> {
    let who = call.who.asks("app:restart")?;
    let done = call.platform.restart_app(&who, once(&who)?, call.app()).await?;
    Ok(call.done("restarted", &done))
}

/// `stop`.
pub async fn stop(call: &Call) -> Result<Answer> {
    let who = call.who.asks("app:stop")?;
    let done = call.platform.stop_app(&who, once(&who)?, call.app()).await?;
    Ok(call.done("stopped", &done))
}

/// `start`.
pub async fn start(call: &Call) -> Result<Answer> {
    let who = call.who.asks("app:start")?;
    let done = call.platform.start_app(&who, once(&who)?, call.app()).await?;
    Ok(call.done("started", &done))
}

/// `scale`.
pub async fn scale(call: &Call) -> Result<Answer> {
    let word = call.arg(1).unwrap_or_default();
    let count = word.parse().ok().filter(|count| (1..=INSTANCES_MAX).contains(count)).ok_or_else(|| {
        Error::usage(format!("'{word}' is no number of instances"))
            .hint(format!("it is 1 to {INSTANCES_MAX}; `stop NAME` stops an app"))
    })?;
    let Select { network, app } = call.app();
    let request = Scale { network, app, instances: count, version: None };
    let who = call.who.asks("app:scale")?;
    let done = call.platform.scale_app(&who, once(&who)?, request).await?;
    Ok(call.done("scaled", &done))
}

/// Each is a request of its own: it is said once.
fn once(who: &Access) -> Result<Once> {
    Once::new(who, "{}")
}

impl Call {
    fn done(&self, what: &str, app: &App) -> Answer {
        let text = match (app.state, app.instances) {
            (State::Stopped, _) => format!("{what} app {}: it is stopped", app.name),
            (_, 1) => format!("{what} app {}: {} of 1 instance runs", app.name, app.running),
            (_, all) => format!("{what} app {}: {} of {all} instances run", app.name, app.running),
        };
        Answer::Text(format!("{}\r\n", cut(&text, self.columns)))
    }
}
