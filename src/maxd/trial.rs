//! What a conformance test may change: the topics `echo:…`, which offer what no real
//! topic does (bytes both ways, crashes, refusals), and the times and limits that
//! would make such a test slow.
//!
//! All of it is off unless the environment variable `MAXD_TEST` is set, for instance to
//! `topics,window=500,idle=2000` (milliseconds), and maxd says so when it starts.

use super::keeper::Pace;
use crate::error::{Error, Result};
use std::time::Duration;

/// The environment variable.
pub const VARIABLE: &str = "MAXD_TEST";

/// Times, limits, and whether there are test topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Whether `echo:…` can be joined.
    pub topics: bool,
    /// How long a poll waits for messages. A session that is not polled for one and a
    /// half of it ends.
    pub window: Duration,
    /// A WebSocket or an upload on which nothing comes for so long is closed.
    pub idle: Duration,
    /// Connections of one user at a time.
    pub sockets: usize,
    /// How long something must be wrong to be an alert, and well to be none; and the time
    /// between two looks. Each cause has its own otherwise.
    pub alerts: Option<Duration>,
    /// How many MiB of the disk must be free; a share of it otherwise.
    pub disk: Option<u32>,
    /// How long a second is, for a webhook that is tried again.
    pub second: Duration,
    /// Between two health checks of an instance.
    pub check: Duration,
    /// How long a new release is watched.
    pub probation: Duration,
    /// Whether control groups may be made.
    pub groups: bool,
    /// How long stays what no deploy needs.
    pub grace: Duration,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial {
            topics: false,
            window: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            sockets: 500,
            alerts: None,
            disk: None,
            second: Duration::from_secs(1),
            check: Pace::default().check,
            probation: Duration::from_secs(60),
            groups: true,
            grace: Duration::from_secs(24 * 3600),
        }
    }
}

impl Trial {
    /// What [`VARIABLE`] says; the defaults when it isn't set.
    pub fn parse(text: Option<&str>) -> Result<Trial> {
        let mut trial = Trial::default();
        for word in text.unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = value.parse::<u32>().ok();
            match (name, number) {
                ("topics", None) if value.is_empty() => trial.topics = true,
                ("window", Some(number)) => trial.window = Duration::from_millis(number.into()),
                ("idle", Some(number)) => trial.idle = Duration::from_millis(number.into()),
                ("ungrouped", None) if value.is_empty() => trial.groups = false,
                ("grace", Some(number)) => trial.grace = Duration::from_millis(number.into()),
                ("check", Some(number)) => trial.check = Duration::from_millis(number.into()),
                ("probation", Some(number)) => trial.probation = Duration::from_millis(number.into()),
                ("sockets", Some(number)) => trial.sockets = number as usize,
                ("alerts", Some(number)) => trial.alerts = Some(Duration::from_millis(number.into())),
                ("disk", Some(number)) => trial.disk = Some(number),
                ("second", Some(number)) => trial.second = Duration::from_millis(number.into()),
                _ => {
                    return Err(Error::usage(format!("{VARIABLE} does not know '{word}'"))
                        .hint(format!("unset {VARIABLE}: it is for tests only")));
                }
            }
        }
        Ok(trial)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_open_by_default() {
        for text in [None, Some("")] {
            let trial = Trial::parse(text).unwrap();
            assert_eq!(trial, Trial::default());
            assert!(!trial.topics);
        }
    }

    #[test]
    fn each_word_changes_one_thing_and_others_are_refused() {
        let words = "topics,window=500,idle=20,sockets=3,alerts=7,disk=9,second=10,check=8,probation=6,\
                     ungrouped,grace=5";
        let trial = Trial::parse(Some(words)).unwrap();
        let millis = Duration::from_millis;
        let (window, idle, alerts, second) = (millis(500), millis(20), Some(millis(7)), millis(10));
        let expected = Trial {
            topics: true,
            window,
            idle,
            sockets: 3,
            alerts,
            disk: Some(9),
            second,
            check: millis(8),
            probation: millis(6),
            groups: false,
            grace: millis(5),
        };
        assert_eq!(trial, expected);
        for text in ["topic", "topics=1", "window", "window=x", "idle=-1", "topics,,x", "disk", "alerts=1s"] {
            assert!(Trial::parse(Some(text)).is_err(), "{text}");
        }
    }
}
