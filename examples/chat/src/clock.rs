//! The time as the chat writes it: `2026-11-22 07:45:49`, UTC.
//!
//! Twenty lines of calendar instead of a time-zone library: the page turns it into local time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time now.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs())
}

/// Writes a number of seconds since 1970.
///
/// The calendar is counted from 1 March of year 0, so that a leap day is the last of its year, in
/// eras of 400 years, which all have the same number of days.
fn format(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_a_date() {
        let check = |seconds, expected: &str| assert_eq!(format(seconds), expected);
        check(0, "1970-01-01 00:00:00");
        check(951_782_399, "2000-02-28 23:59:59");
        check(951_782_400, "2000-02-29 00:00:00");
        check(1_795_333_549, "2026-11-22 07:45:49");
        check(4_107_542_400, "2100-03-01 00:00:00");
        check(1_735_689_599, "2024-12-31 23:59:59");
    }
}
