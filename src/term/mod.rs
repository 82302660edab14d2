//! The terminal: results on standard output, everything else on standard error. No
//! other code writes to either.

pub mod output;
pub mod progress;
pub mod prompt;
pub mod text;
pub mod wrap;

use crate::error::{Error, Kind};
use crate::sys::{signals, terminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is said when a signal ends rig.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

/// When a signal ends rig from now on, `text` says what that means.
pub fn on_interrupt(text: &str) {
    text.clone_into(&mut LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Ends rig on Ctrl-C, SIGTERM and SIGHUP with the terminal restored and the exit code
/// a shell expects (128+n). `json` says how it is told.
pub fn end_on_signals(json: bool) {
    JSON.store(json, Ordering::Relaxed);
    signals::watch(|signal| {
        terminal::restore();
        let words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        let code = 128 + signal;
        let mut error = Error::new(Kind::Interrupted, "interrupted");
        if !words.is_empty() {
            error = error.hint(words.as_str());
        }
        output::interrupted(&error, code, JSON.load(Ordering::Relaxed));
        std::process::exit(code);
    });
}

/// Whether a signal's end is told in JSON.
static JSON: AtomicBool = AtomicBool::new(false);
