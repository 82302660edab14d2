//! A log line on its way to the log database.

use crate::wire::log::Source;
use tokio::sync::oneshot;

/// A line that has no sequence number yet. The bounded channel these travel in is
/// the back-pressure between an app's pipes and the database.
pub struct NewLine {
    /// The network's row in the state database.
    pub network: i64,
    /// The app's row; none for what concerns the whole network.
    pub app: Option<i64>,
    /// The release that wrote it, or that is being built.
    pub release: Option<u64>,
    /// Where it comes from.
    pub source: Source,
    /// Without its line end, valid UTF-8.
    pub text: String,
    /// Told when this line, and with it all before it, can be read.
    pub stored: Option<oneshot::Sender<()>>,
}
