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
    // Rust's `{:e}` has the shortest digits, too: `d.ddde-7`.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    // The value is 0.DIGITS times ten to the power of `point`.
    let point = power.parse::<i32>().unwrap_or_default() + 1;
    let places = usize::try_from(point).unwrap_or_default();
    if !(LEAST_POINT..=GREATEST_POINT).contains(&point) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        let sign = if point > 0 { '+' } else { '-' };
        let power = (point - 1).unsigned_abs();
        // Writing into a String cannot fail.
        write!(text, "{first}.{rest}{exponent}{sign}{power}").unwrap_or_default();
    } else if point <= 0 {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        text.push_str(&digits);
    } else if digits.len() <= places {
        text.push_str(&digits);
        text.extend(std::iter::repeat_n('0', places - digits.len()));
    } else {
        let (whole, fraction) = digits.split_at(places);
        text.push_str(whole);
        text.push('.');
        text.push_str(fraction);
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
