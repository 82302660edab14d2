//! The terminal's modes and size (termios(3)).

use super::wait::{poll, watch};
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// How a terminal treats what is typed and written.
pub type Modes = libc::termios;

/// When other modes begin.
#[derive(Clone, Copy)]
pub enum When {
    /// At once.
    Now,
    /// Behind what is being written.
    Written,
    /// Behind that, and what was typed before is forgotten.
    Forgetting,
}

/// The modes of standard input.
pub fn modes() -> io::Result<Modes> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: tcgetattr fills `modes` when it returns 0.
    unsafe {
        if libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(modes.assume_init())
    }
}

/// Changes the modes of standard input.
pub fn set(modes: &Modes, when: When) -> io::Result<()> {
    let when = match when {
        When::Now => libc::TCSANOW,
        When::Written => libc::TCSADRAIN,
        When::Forgetting => libc::TCSAFLUSH,
    };
    // SAFETY: `modes` came from tcgetattr.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, when, modes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What is typed is not shown, but for the end of the line.
pub fn hide(modes: &mut Modes) {
    modes.c_lflag &= !libc::ECHO;
    modes.c_lflag |= libc::ECHONL | libc::ICANON;
}

/// Each key is read at once and not shown; Ctrl-C is a signal.
pub fn keys(modes: &mut Modes) {
    modes.c_lflag &= !(libc::ECHO | libc::ICANON | libc::IEXTEN);
    modes.c_iflag &= !(libc::IXON | libc::ICRNL);
    for (key, value) in [(libc::VMIN, 1), (libc::VTIME, 0), (libc::VSUSP, 0), (libc::VQUIT, 0)] {
        if let Some(slot) = modes.c_cc.get_mut(key) {
            *slot = value;
        }
    }
}

/// Everything goes through as it is.
pub fn raw(modes: &mut Modes) {
    // SAFETY: `modes` is valid, and only written to.
    unsafe { libc::cfmakeraw(modes) };
}

/// Waits until standard output takes something; whether it does in time.
pub fn writable(limit: Duration) -> bool {
    let mut ready = [watch(libc::STDOUT_FILENO, libc::POLLOUT)];
    let _ = poll(&mut ready, Some(limit));
    // macOS' poll says of some terminals that it doesn't know them (poll(2), "Bugs").
    ready.iter().any(|one| one.revents & (libc::POLLOUT | libc::POLLNVAL) != 0)
}

/// Reads what is typed, or what else is standard input; 0 at its end.
pub fn read(buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match io::stdin().lock().read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Whether terminals here know control sequences: those that don't say so by `TERM`.
pub fn shows_escapes() -> bool {
    true
}

/// The columns and rows of the terminal on standard output or standard error; none without
/// one.
pub fn size() -> Option<(usize, usize)> {
    let descriptor = match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
        (true, _) => libc::STDOUT_FILENO,
        (_, true) => libc::STDERR_FILENO,
        _ => return None,
    };
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ fills a winsize, for which zero is valid.
    let size = unsafe {
        libc::ioctl(descriptor, libc::TIOCGWINSZ, size.as_mut_ptr());
        size.assume_init()
    };
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, _)| *columns > 0)
}

/// The modes to go back to when this program crashes; none while they are as they were found.
static CRASHED: AtomicPtr<libc::termios> = AtomicPtr::new(std::ptr::null_mut());

/// What shows that a program crashes: an abort of its own, and what the processor refuses.
const CRASHES: [i32; 5] = [libc::SIGABRT, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE];

/// From now on a crash puts these modes back.
pub fn remember(modes: libc::termios) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    // Never freed: the handler may be looking at it.
    CRASHED.store(Box::into_raw(Box::new(modes)), Ordering::Relaxed);
    if ONCE.swap(true, Ordering::Relaxed) {
        return;
    }
    for signal in CRASHES {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zero is valid for a sigaction; the handler makes only calls that may be made
        // there (signal-safety(7)), and happens once (SA_RESETHAND).
        unsafe {
            let chosen = action.assume_init_mut();
            chosen.sa_sigaction = crashed as *const () as libc::sighandler_t;
            chosen.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, chosen, std::ptr::null_mut());
        }
    }
}

/// Puts the terminal back, so far as that can be done here, and goes on to crash.
extern "C" fn crashed(signal: libc::c_int) {
    const UNDO: &[u8] = b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m";
    let modes = CRASHED.load(Ordering::Relaxed);
    if !modes.is_null() {
        // SAFETY: what is not null was leaked, so it is valid; UNDO is static.
        unsafe {
            libc::write(libc::STDOUT_FILENO, UNDO.as_ptr().cast(), UNDO.len());
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, modes);
        }
    }
    // SAFETY: no memory is involved; the signal's default is in force again.
    unsafe { libc::raise(signal) };
}

/// From now on a crash changes no modes.
pub fn forget() {
    CRASHED.swap(std::ptr::null_mut(), Ordering::Relaxed);
}
