//! Sizes on the command line: `500K`, `100M`, `2G`; a plain number is bytes.

/// Parses a size; units are binary, as those that are printed.
///
/// # Errors
/// A text that says what is understood.
pub fn parse(text: &str) -> Result<u64, String> {
    let understood = || format!("{text:?} is no size: write 500K, 100M or 2G");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| understood())?;
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(understood()),
    };
    number.checked_mul(1 << shift).ok_or_else(understood)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, bytes) in
            [("0", 0), ("7", 7), ("500K", 512_000), ("2G", 2 << 30), ("1MiB", 1 << 20)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "M", "-1", "1.5M", "5 M", "5T", "99999999999G", "ß"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
