//! Text that must not be shown: tokens and secrets.
//!
//! [`Secret`] has neither `Debug` nor `Display`, so it can't reach a log or an
//! error by accident, and it is wiped when dropped.

/// A token or a secret value.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for the one place that sends or stores it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from dropping the writes to memory nobody reads.
        std::hint::black_box(&bytes);
    }
}
