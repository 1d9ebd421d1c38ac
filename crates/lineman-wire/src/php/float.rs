//! Floats as PHP prints them with `serialize_precision = -1`: the shortest digits that read back.

use std::fmt::Write;

/// PHP's `%.17G` borders: outside of them an exponent is written.
const LEAST_POINT: i32 = -3;
const GREATEST_POINT: i32 = 17;

/// Appends `value`; `exponent` is `E` for `serialize` and `e` for `json_encode`.
pub(crate) fn write_float(text: &mut String, value: f64, exponent: char) {
    if value.is_nan() {
        return text.push_str("NAN");
    }
    if value.is_sign_negative() {
        text.push('-');
    }
    if value.is_infinite() {
        return text.push_str("INF");
    }
    // Rust's `{:e}` has the shortest digits, too: `d.ddde-7`. Writing into a String cannot fail.
    let start = text.len();
    write!(text, "{:e}", value.abs()).unwrap_or_default();
    let end = text.rfind('e').unwrap_or(text.len());
    let power = text.get(end + 1..).and_then(|power| power.parse().ok()).unwrap_or(0);
    text.truncate(end);
    // The value is 0.DIGITS times ten to the power of `point`.
    let point = power + 1;
    if !(LEAST_POINT..=GREATEST_POINT).contains(&point) {
        if text.len() == start + 1 {
            text.push_str(".0");
        }
        return write!(text, "{exponent}{power:+}").unwrap_or_default();
    }
    if text.len() > start + 1 {
        text.remove(start + 1);
    }
    let (digits, places) = (text.len() - start, usize::try_from(point).unwrap_or_default());
    if point <= 0 {
        text.insert_str(start, "0.");
        for _ in point..0 {
            text.insert(start + 2, '0');
        }
    } else if digits <= places {
        text.extend(std::iter::repeat_n('0', places - digits));
    } else {
        text.insert(start + places, '.');
    }
}

#[cfg(test)]
mod tests {
    use super::write_float;

    #[test]
    fn floats_print_as_php_prints_them() {
        let check = |value: f64, expected: &str| {
            let mut text = String::new();
            write_float(&mut text, value, 'E');
            assert_eq!(text, expected);
        };
        check(0.1, "0.1");
        check(1.0, "1");
        check(0.0, "0");
        check(-0.0, "-0");
        check(-2.5, "-2.5");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e100, "1.0E+100");
        check(1.25e-100, "1.25E-100");
        check(1e-7, "1.0E-7");
        check(0.0001, "0.0001");
        check(0.000_012, "1.2E-5");
        check(1e16, "10000000000000000");
        check(1e17, "1.0E+17");
        check(123_456.75, "123456.75");
        check(9_223_372_036_854_775_808.0, "9.223372036854776E+18");
        check(f64::INFINITY, "INF");
        check(f64::NEG_INFINITY, "-INF");
        check(f64::NAN, "NAN");
        check(f64::MIN_POSITIVE, "2.2250738585072014E-308");
    }
}
