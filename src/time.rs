//! Instants and durations as text: RFC 3339 in UTC, and `90s`, `5m`, `2h30m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-24T10:00:00.000Z`, the only form rig and maxd write.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// Reads what [`rfc3339`] writes (any number of decimals; `Z` only).
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sane = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_millis(seconds * 1000 + millis))
}

/// Any RFC 3339 instant, also one with an offset: `2026-11-24T11:00:00+01:00`.
pub fn parse_instant(text: &str) -> Option<SystemTime> {
    if text.ends_with('Z') {
        return parse_rfc3339(text);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let part = |text: &str, end: u64| text.parse::<u64>().ok().filter(|number| *number < end);
    let offset = Duration::from_secs(part(hours, 24)? * 3600 + part(minutes, 60)? * 60);
    let local = parse_rfc3339(&format!("{local}Z"))?;
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`] (`days_from_civil`), for years from 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `90s`, `5m`, `2h30m`, `1d`, `250ms`; a bare number counts seconds. None when it is
/// no duration or too long to count.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = rest.get(..digits)?.parse::<u64>().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let millis = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if text.len() == digits => 1000,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration for people, in its two largest units: `3d 4h`, `2m 5s`, `0.4s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, name: char, small: u64, small_name: char| match small {
        0 => format!("{large}{name}"),
        _ => format!("{large}{name} {small}{small_name}"),
    };
    match seconds {
        0..10 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => pair(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => pair(seconds / 3600, 'h', seconds / 60 % 60, 'm'),
        _ => pair(seconds / 86_400, 'd', seconds / 3600 % 24, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (seconds, millis, text) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.001Z"),
            (1_795_514_400, 999, "2026-11-24T10:00:00.999Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59.000Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis);
            assert_eq!(rfc3339(time), text);
            assert_eq!(parse_rfc3339(text), Some(time));
        }
        assert_eq!(parse_rfc3339("2026-11-24T10:00:00Z"), parse_rfc3339("2026-11-24T10:00:00.000Z"));
        for text in
            ["", "Z", "2026-11-24", "2026-11-24T10:00:00+01:00", "2026-13-01T00:00:00Z", "x-1-1T1:1:1Z"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn instants_may_have_an_offset() {
        let ten = parse_rfc3339("2026-11-24T10:00:00Z");
        for text in ["2026-11-24T10:00:00Z", "2026-11-24T11:30:00+01:30", "2026-11-23T23:00:00.000-11:00"] {
            assert_eq!(parse_instant(text), ten, "{text}");
        }
        for text in
            ["", "+01:00", "2026-11-24T10:00:00", "2026-11-24T10:00:00 01:00", "2026-11-24T10:00:00+24:00"]
        {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("10", 10_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("2h30m", 9_000_000),
            ("1d", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "m", "5x", "5 m", "-5m", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        for (seconds, text) in
            [(0, "0.0s"), (59, "59s"), (60, "1m"), (125, "2m 5s"), (3660, "1h 1m"), (273_600, "3d 4h")]
        {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
