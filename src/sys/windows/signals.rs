//! What the console tells, as the signals that it would be elsewhere.

use std::sync::OnceLock;
use std::time::Duration;
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

// The numbers are Linux'.
const HANGUP: i32 = 1;
/// Ctrl-C.
pub const INTERRUPT: i32 = 2;
const QUIT: i32 = 3;
const TERMINATE: i32 = 15;
/// Ctrl-Z, which nothing sends here.
pub const STOPPED: i32 = 20;
/// The terminal's size has changed.
pub const RESIZED: i32 = 28;

static THEN: OnceLock<fn(i32)> = OnceLock::new();

/// From now on calls `then` with the number of each of these signals, on a thread that
/// Windows makes for it. Ctrl-C that was ignored from outside stays ignored.
pub fn watch(then: fn(i32)) {
    if THEN.set(then).is_ok() {
        // SAFETY: the handler is a function, so it is always there. Without it, Ctrl-C ends
        // rig all the same.
        unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    }
}

unsafe extern "system" fn handle(event: u32) -> BOOL {
    let (signal, last) = match event {
        CTRL_C_EVENT => (INTERRUPT, false),
        CTRL_BREAK_EVENT => (QUIT, false),
        CTRL_CLOSE_EVENT => (HANGUP, true),
        _ => (TERMINATE, true),
    };
    tell(signal);
    // When this returns Windows ends rig, which somebody may have something to do before;
    // it ends rig anyway after some seconds.
    if last {
        std::thread::sleep(Duration::from_secs(60));
    }
    1
}

fn tell(signal: i32) {
    if let Some(then) = THEN.get() {
        then(signal);
    }
}

/// The console's input has told that it has another size.
pub fn resized() {
    tell(RESIZED);
}

/// Windows has no stopping of programs: goes on at once.
pub fn suspend() {}

/// The number a signal has on Linux, which is what Max is told.
pub fn number(signal: i32) -> i32 {
    signal
}
