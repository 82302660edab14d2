//! The local time.

use std::mem::MaybeUninit;

/// A moment as clocks here show it.
pub struct Local {
    /// Year, month, day, hour, minute, second.
    pub fields: [i32; 6],
    /// Minutes east of UTC.
    pub offset: i32,
}

/// The local time of a moment, in seconds since 1970; none when there is none.
pub fn local(seconds: u64) -> Option<Local> {
    let seconds = libc::time_t::try_from(seconds).ok()?;
    let mut broken = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: localtime_r fills `broken`, for which zero is valid, or returns null.
    let tm = unsafe {
        if libc::localtime_r(&seconds, broken.as_mut_ptr()).is_null() {
            return None;
        }
        broken.assume_init()
    };
    let fields = [tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec];
    Some(Local { fields, offset: i32::try_from(tm.tm_gmtoff / 60).ok()? })
}
