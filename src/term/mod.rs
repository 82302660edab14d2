//! The terminal: results on standard output, everything else on standard error. No
//! other code writes to either.

pub mod output;
pub mod progress;
pub mod prompt;
pub mod text;

use crate::sys::{signals, terminal};
use std::sync::{Mutex, PoisonError};

/// What is said when a signal ends rig.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

/// When a signal ends rig from now on, `text` says what that means.
pub fn on_interrupt(text: &str) {
    text.clone_into(&mut LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Ends rig on Ctrl-C, SIGTERM and SIGHUP with the terminal restored and the exit code
/// a shell expects (128+n).
pub fn end_on_signals() {
    signals::watch(|signal| {
        terminal::restore();
        let words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("\nrig: interrupted{}{words}", if words.is_empty() { "" } else { "; " });
        std::process::exit(128 + signal);
    });
}
