//! Text of others for a terminal: what a worker says must neither move the cursor nor begin a line that
//! looks like one of ours. Used where such text comes in, and by the log's text form.

use std::borrow::Cow;

/// Returns `text` on one line: the ends of its lines become ` / `, other control characters are escaped.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    Cow::Owned(lines.map(escaped).collect::<Vec<_>>().join(" / "))
}

/// Returns `text` with its control characters escaped, but for tabs.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let hurts = |letter: char| letter.is_control() && letter != '\t';
    if !text.contains(hurts) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::new();
    for letter in text.chars() {
        if hurts(letter) {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_its_line() {
        for (text, shown) in [
            ("plain, J\u{fc}rgen", "plain, J\u{fc}rgen"),
            ("one\r\n  two\n\nthree\n", "one /   two / three"),
            ("\x1b[2Jgone\x07\u{9b}31m", "\\u{1b}[2Jgone\\u{7}\\u{9b}31m"),
            ("a\tb\0", "a\tb\\u{0}"),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }
}
