//! Starting a thread. (The standard library's have handles and names, and take part in the
//! message for a stack that overflows, with 6 KB of code.)

use crate::sys::thread::Work;
use libc::{c_void, pthread_t};
use std::io;
use std::mem::MaybeUninit;

/// Runs `work` in a thread with a stack of `stack` bytes, for which nobody can wait.
pub fn start(stack: usize, work: Work) -> io::Result<()> {
    let (mut thread, mut attributes) = (MaybeUninit::<pthread_t>::uninit(), MaybeUninit::uninit());
    let attributes = attributes.as_mut_ptr();
    let work = Box::into_raw(Box::new(work)).cast();
    // SAFETY: all places are valid; `run` takes what `work` points to. Where such a stack is
    // refused the thread has the system's.
    let error = unsafe {
        libc::pthread_attr_init(attributes);
        libc::pthread_attr_setstacksize(attributes, stack);
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_create(thread.as_mut_ptr(), attributes, run, work)
    };
    // SAFETY: `attributes` was initialised.
    unsafe { libc::pthread_attr_destroy(attributes) };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: no thread has begun, so `work` is still ours.
    drop(unsafe { Box::from_raw(work.cast::<Work>()) });
    Err(io::Error::from_raw_os_error(error))
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: it comes from `start`, which has given it away.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    work();
    std::ptr::null_mut()
}
