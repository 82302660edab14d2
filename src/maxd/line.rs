//! Log lines on their way to the log database.

use crate::wire::log::Source;
use tokio::sync::oneshot;

/// A line that has no sequence number yet, or several that are alike. The bounded channel
/// these travel in is the back-pressure between an app's pipes and the database.
pub struct NewLine {
    /// The network's row in the state database.
    pub network: i64,
    /// The app's row; none for what concerns the whole network.
    pub app: Option<i64>,
    /// The release that wrote it, or that is being built.
    pub release: Option<u64>,
    /// The instance that wrote it.
    pub instance: Option<u64>,
    /// The session of the detached command that wrote it.
    pub command: Option<u64>,
    /// Where it comes from.
    pub source: Source,
    /// Without the last line's end, valid UTF-8.
    pub text: String,
    /// The beginning of a line that goes on.
    pub partial: bool,
    /// Told when this line, and with it all before it, can be read.
    pub stored: Option<oneshot::Sender<()>>,
}

impl NewLine {
    /// A line of no instance.
    pub fn new(
        network: i64,
        app: Option<i64>,
        release: Option<u64>,
        source: Source,
        text: String,
    ) -> NewLine {
        let (instance, command, partial, stored) = (None, None, false, None);
        NewLine { network, app, release, instance, command, source, text, partial, stored }
    }

    /// No line, but a mark behind all that were sent before it: told when they are stored.
    pub fn mark(stored: oneshot::Sender<()>) -> NewLine {
        NewLine { stored: Some(stored), ..NewLine::new(0, None, None, Source::Event, String::new()) }
    }

    /// Whether it is only a [`mark`](NewLine::mark): networks count from 1.
    pub fn is_mark(&self) -> bool {
        self.network == 0
    }
}
