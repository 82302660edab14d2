//! The terminal: results on standard output, everything else on standard error. No
//! other code writes to either.

pub mod keys;
pub mod output;
pub mod progress;
pub mod prompt;
pub mod raw;
pub mod screen;
pub mod text;
pub mod wrap;

use crate::error::{Error, Kind};
use crate::sys::{signals, terminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is said when a signal ends rig.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

/// Who takes signals in place of rig; whether it did. A SIGTSTP that nobody takes stops
/// rig, as Ctrl-Z does.
pub type Taker = Box<dyn Fn(i32) -> bool + Send>;

static TAKER: Mutex<Option<Taker>> = Mutex::new(None);

/// From now on a signal that would end rig goes to `taker`, and ends rig only if that does
/// not take it.
pub fn on_signal(taker: Option<Taker>) {
    *TAKER.lock().unwrap_or_else(PoisonError::into_inner) = taker;
}

/// What is done when the terminal's size changes.
static ON_RESIZE: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);

/// From now on `then` is called when the terminal's size has changed.
pub fn on_resize(then: Box<dyn Fn() + Send>) {
    *ON_RESIZE.lock().unwrap_or_else(PoisonError::into_inner) = Some(then);
}

/// When a signal ends rig from now on, `text` says what that means.
pub fn on_interrupt(text: &str) {
    text.clone_into(&mut LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Ends rig on Ctrl-C, SIGTERM, SIGHUP and their like with the terminal restored and the exit
/// code a shell expects (128+n). `json` says how it is told.
pub fn end_on_signals(json: bool) {
    JSON.store(json, Ordering::Relaxed);
    signals::watch(|signal| {
        if signal == signals::RESIZED {
            if let Some(then) = &*ON_RESIZE.lock().unwrap_or_else(PoisonError::into_inner) {
                then();
            }
            return;
        }
        if TAKER.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|taker| taker(signal)) {
            return;
        }
        if signal == signals::STOPPED {
            return terminal::suspend();
        }
        let full = terminal::restore();
        let words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        let code = 128 + signal;
        let mut error = Error::new(Kind::Interrupted, "interrupted");
        if !words.is_empty() {
            error = error.hint(words.as_str());
        }
        // Where the screen was filled, Ctrl-C is one way to leave.
        if full && words.is_empty() && signal == signals::INTERRUPT {
            std::process::exit(code);
        }
        output::interrupted(&error, code, JSON.load(Ordering::Relaxed));
        std::process::exit(code);
    });
}

/// Whether a signal's end is told in JSON.
static JSON: AtomicBool = AtomicBool::new(false);
