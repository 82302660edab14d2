//! Signals as an ordinary function call on a thread of their own.
//!
//! The signals are blocked in every thread and one thread waits for them
//! (`sigwait(3)`), so what happens on Ctrl-C is no signal handler and may do
//! anything.

use crate::sys::thread;
use std::mem::MaybeUninit;

/// `SIGINT`: Ctrl-C.
pub const INTERRUPT: i32 = libc::SIGINT;

/// `SIGWINCH`: the terminal's size has changed.
pub const RESIZED: i32 = libc::SIGWINCH;

/// `SIGTSTP`: Ctrl-Z.
pub const STOPPED: i32 = libc::SIGTSTP;

/// What is waited for.
const WATCHED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGWINCH,
];

/// From now on calls `then` with the number of each of these signals. Must be called before
/// other threads are started, since they inherit the mask. A signal that was ignored from
/// outside (`nohup`) stays ignored.
pub fn watch(then: fn(i32)) {
    let mut set = empty();
    for signal in WATCHED {
        if !ignored(signal) {
            // SAFETY: `set` was initialised by sigemptyset.
            unsafe { libc::sigaddset(&mut set, signal) };
        }
    }
    // SAFETY: `set` is a valid set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    let wait = move || loop {
        let mut signal = 0;
        // SAFETY: both are valid for the call.
        if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
            then(signal);
        }
    };
    // Without the thread the signals would be lost: better not to block them.
    if thread::start(thread::SMALL, Box::new(wait)).is_err() {
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
    }
}

/// Stops this program as Ctrl-Z does, until it is continued. The terminal is the caller's
/// to restore before. The kernel lets nobody be stopped whom no shell could continue
/// (POSIX, orphaned process groups).
pub fn suspend() {
    let mut set = empty();
    // SAFETY: `set` was initialised; raising involves no memory, and the signal, which only
    // this thread takes then, has done its work when the call returns.
    unsafe {
        libc::sigaddset(&mut set, STOPPED);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        libc::raise(STOPPED);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Blocks no signal in this thread and those it starts: whoever started the program may
/// have left some blocked, which programs inherit.
#[cfg(feature = "server")]
pub fn unblock() {
    let none = empty();
    // SAFETY: `none` is a valid set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) };
}

/// The number a signal has on Linux, which is what Max is told.
pub fn number(signal: i32) -> i32 {
    match signal {
        libc::SIGUSR1 => 10,
        libc::SIGUSR2 => 12,
        // The others that Max is told of have one number everywhere.
        other => other,
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Whether whoever started the program has it ignore this signal.
pub fn ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the current action into `action`, for which zero is valid.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
