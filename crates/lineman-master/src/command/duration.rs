//! Durations on the command line: `30s`, `2m`, `500ms`, `1h`; a plain number is seconds.

use std::time::Duration;

/// The longest duration: a year. Longer ones are a slip of the finger, and could overflow a clock.
const LONGEST: Duration = Duration::from_hours(365 * 24);

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Parses a duration.
///
/// # Errors
/// A text that says what is understood.
pub fn parse(text: &str) -> Result<Duration, String> {
    let understood = || format!("{text:?} is no duration: write 500ms, 30s, 2m or 1h");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| understood())?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(understood()),
    };
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| understood())?;
    if duration > LONGEST {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(duration)
}

/// Parses how often something is looked at: a tenth of a second at least, for looking costs each
/// worker a little.
///
/// # Errors
/// A text that says what is understood.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse(text)?;
    if interval < SHORTEST_INTERVAL {
        return Err(format!("{text:?} is too often: 100ms is the least"));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        let cases =
            [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000), ("7", 7000)];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn an_interval_is_no_shorter_than_a_tenth_of_a_second() {
        assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
        assert!(interval("99ms").is_err());
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "s", "-1s", "5 s", "5d", "1e300h", "inf", "nan", "99999h", "ß"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
