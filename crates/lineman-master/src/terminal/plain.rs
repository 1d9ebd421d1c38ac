//! Text of others for a terminal: what a worker says must neither move the cursor nor begin a line that
//! looks like one of ours. Used where such text comes in, and by the log's text form.

use std::borrow::Cow;

/// Returns whether a letter does something else than to be shown: a control character, or one that changes
/// the direction of what stands around it (Unicode's `Bidi_Control`), so that a line reads otherwise than
/// it is.
pub(crate) fn is_unshown(letter: char) -> bool {
    let directs = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    letter.is_control() || directs || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// Returns `text` on one line: the ends of its lines become ` / `, other control characters are escaped.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unshown) {
        return Cow::Borrowed(text);
    }
    let lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    Cow::Owned(lines.map(escaped).collect::<Vec<_>>().join(" / "))
}

/// Returns `text` with its control characters escaped, but for tabs.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let hurts = |letter: char| is_unshown(letter) && letter != '\t';
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
            ("admin\u{202e}txt.\u{2066}x\u{2069}", "admin\\u{202e}txt.\\u{2066}x\\u{2069}"),
            ("\u{61c}\u{200e}\u{2028}\u{200f}", "\\u{61c}\\u{200e}\\u{2028}\\u{200f}"),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }
}
