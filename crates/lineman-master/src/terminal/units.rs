//! Numbers as people read them: `1.5M`, `3d 4h`, `2.0 s`.

use std::time::Duration;

use crate::limit::is_none;

/// Returns a number of bytes with a binary unit: `999B`, `1.5K`, `20M`.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count, 1024, &["B", "K", "M", "G", "T", "P"])
}

/// Returns a count, shortened from 100,000 on: `99999`, `123k`, `1.2M`.
pub(crate) fn count(count: u64) -> String {
    if count < 100_000 { count.to_string() } else { scaled(count, 1000, &["", "k", "M", "G", "T"]) }
}

/// Returns a short time, given in microseconds, with one unit: `850us`, `1.2ms`, `15ms`, `2.9s`.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros}us"),
        1000..10_000 => format!("{}.{}ms", micros / 1000, micros / 100 % 10),
        10_000..1_000_000 => format!("{}ms", micros / 1000),
        _ => format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// Returns a duration by its two largest units: `41s`, `3m 4s`, `5h 0m`, `12d 7h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Returns a limit as a person would have typed it: `500ms`, `2s`, `2.5s`, `1h`, or `no limit`.
pub(crate) fn limit(limit: Duration) -> String {
    if is_none(limit) {
        return "no limit".to_owned();
    }
    match limit.as_millis() {
        millis if millis < 1000 => format!("{millis}ms"),
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        _ => format!("{:.1}s", limit.as_secs_f64()),
    }
}

/// Returns a noun with its number: `1 process`, `2 processes`.
pub(crate) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn scaled(count: u64, step: u64, units: &[&str]) -> String {
    let (mut whole, mut rest, mut unit) = (count, 0, 0);
    while whole >= step && unit + 1 < units.len() {
        rest = whole % step;
        whole /= step;
        unit += 1;
    }
    let suffix = units.get(unit).unwrap_or(&"");
    // One digit behind the point where there is only one before it: three characters of numbers.
    if unit > 0 && whole < 10 {
        format!("{whole}.{}{suffix}", rest * 10 / step)
    } else {
        format!("{whole}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_largest_unit_that_fits() {
        let cases =
            [(0, "0B"), (1023, "1023B"), (1536, "1.5K"), (20 << 20, "20M"), (9 << 40, "9.0T")];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn counts_stay_exact_while_they_fit() {
        let cases = [(0, "0"), (99_999, "99999"), (123_456, "123k"), (1_290_000, "1.2M")];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (184, "3m 4s"), (18_000, "5h 0m"), (1_062_000, "12d 7h")];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn short_times_have_one_unit() {
        let cases =
            [(0, "0us"), (999, "999us"), (1250, "1.2ms"), (15_999, "15ms"), (2_960_000, "2.9s")];
        for (time, expected) in cases {
            assert_eq!(micros(time), expected);
        }
    }

    #[test]
    fn limits_read_as_they_were_typed() {
        let cases =
            [(500, "500ms"), (2000, "2s"), (2500, "2.5s"), (120_000, "2m"), (3_600_000, "1h")];
        for (millis, expected) in cases {
            assert_eq!(limit(Duration::from_millis(millis)), expected);
        }
    }
}
