//! The local time.

use windows_sys::Win32::Foundation::{FILETIME, SYSTEMTIME};
use windows_sys::Win32::System::Time::{
    FileTimeToSystemTime, SystemTimeToFileTime, SystemTimeToTzSpecificLocalTime,
};

/// A moment as clocks here show it.
pub struct Local {
    /// Year, month, day, hour, minute, second.
    pub fields: [i32; 6],
    /// Minutes east of UTC.
    pub offset: i32,
}

/// Windows counts from 1601, in steps of 100 ns.
const BEFORE_1970: u64 = 11_644_473_600;
const STEPS: u64 = 10_000_000;

/// The local time of a moment, in seconds since 1970; none when there is none.
pub fn local(seconds: u64) -> Option<Local> {
    let steps = seconds.checked_add(BEFORE_1970)?.checked_mul(STEPS)?;
    let moment = FILETIME { dwLowDateTime: steps as u32, dwHighDateTime: (steps >> 32) as u32 };
    let (mut utc, mut local) = (SYSTEMTIME::default(), SYSTEMTIME::default());
    let mut shown = FILETIME::default();
    // SAFETY: each reads what it is given and fills its last argument, or returns 0; without
    // a zone the present one is meant.
    let known = unsafe {
        FileTimeToSystemTime(&moment, &mut utc) != 0
            && SystemTimeToTzSpecificLocalTime(std::ptr::null(), &utc, &mut local) != 0
            && SystemTimeToFileTime(&local, &mut shown) != 0
    };
    if !known {
        return None;
    }
    let shown = u64::from(shown.dwHighDateTime) << 32 | u64::from(shown.dwLowDateTime);
    // Steps below a second are in neither.
    let ahead = i64::try_from(shown / STEPS).ok()? - i64::try_from(steps / STEPS).ok()?;
    let fields = [local.wYear, local.wMonth, local.wDay, local.wHour, local.wMinute, local.wSecond];
    Some(Local { fields: fields.map(i32::from), offset: i32::try_from(ahead / 60).ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fields_and_the_offset_are_of_one_moment() {
        for seconds in [0, 1_700_000_000, 1_720_000_000, 4_000_000_000] {
            let Local { fields: [year, month, day, hour, minute, second], offset } = local(seconds).unwrap();
            // Howard Hinnant, "days_from_civil".
            let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
            let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
            let minutes = i64::from(days - 719_468) * 1440 + i64::from(hour * 60 + minute - offset);
            assert_eq!(minutes * 60 + i64::from(second), i64::try_from(seconds).unwrap());
        }
        assert!(local(u64::MAX).is_none());
    }
}
