//! Names and texts made fit for pages that insert them as HTML, byte for byte as PHP does it.

/// Escapes what HTML gives a meaning, as PHP's `htmlspecialchars`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#039;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Puts `<br />` before each line break, which stays, as PHP's `nl2br`.
pub(crate) fn lines(text: &str) -> String {
    let mut broken = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        let (before, after) = rest.split_at(at);
        // Two different characters in a row are one break, in either order.
        let length = if after.starts_with("\r\n") || after.starts_with("\n\r") { 2 } else { 1 };
        let (newline, behind) = after.split_at(length);
        broken.push_str(before);
        broken.push_str("<br />");
        broken.push_str(newline);
        rest = behind;
    }
    broken.push_str(rest);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_gives_a_meaning_is_escaped() {
        assert_eq!(
            escape(r#"<b title="x">Tom & 'Jerry'</b>"#),
            "&lt;b title=&quot;x&quot;&gt;Tom &amp; &#039;Jerry&#039;&lt;/b&gt;"
        );
        assert_eq!(escape("&lt;"), "&amp;lt;");
        assert_eq!(escape("对你说"), "对你说");
    }

    #[test]
    fn each_line_break_is_kept_behind_a_tag() {
        assert_eq!(lines("hi\nthere"), "hi<br />\nthere");
        assert_eq!(lines("a\r\nb\rc\n\nd"), "a<br />\r\nb<br />\rc<br />\n<br />\nd");
        assert_eq!(lines("none"), "none");
    }
}
