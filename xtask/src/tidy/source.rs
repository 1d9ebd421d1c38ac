//! Rust without comments and literals, so that a rule about code does not stumble over a text that
//! speaks of it. Line breaks stay where they are.

/// Returns the code of a Rust file, with comments and the insides of literals blanked out.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = skipped(rest, code.chars().next_back());
        if length == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            let (blank, behind) = rest.split_at(length);
            code.push(' ');
            code.extend(blank.chars().filter(|character| *character == '\n'));
            rest = behind;
        }
    }
    code
}

/// Returns code, as [`code`] leaves it, without what only tests see.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, marked) = rest.split_at(at);
        let (item, behind) = marked.split_at(item_length(marked));
        kept.push_str(before);
        kept.extend(item.chars().filter(|character| *character == '\n'));
        rest = behind;
    }
    kept.push_str(rest);
    kept
}

/// Returns the length of the item that `text` begins with: up to its semicolon or last brace.
fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                let ends_with_semicolon = text[at + 1..].starts_with(';');
                if depth == 0 && !ends_with_semicolon {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Returns a crate's name and the path below its `src`, if that is Rust that is not for tests alone.
pub(super) fn of_crate(path: &str) -> Option<(&str, &str)> {
    let (name, within) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let module = within.strip_suffix(".rs")?;
    (!is_test(module)).then_some((name, within))
}

fn is_test(module: &str) -> bool {
    let mut parts = module.split('/');
    parts.any(|part| part == "tests" || part.ends_with("_tests"))
}

/// Returns the length of the comment or literal that `text` begins with, or 0.
fn skipped(text: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|character| character.is_alphanumeric() || character == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return escaped(text, '"');
    }
    if text.starts_with('\'') {
        return character(text);
    }
    let raw = text.strip_prefix('b').unwrap_or(text);
    match raw.strip_prefix('r') {
        Some(behind) if !in_word => {
            let hashes = behind.len() - behind.trim_start_matches('#').len();
            if !behind[hashes..].starts_with('"') {
                return 0;
            }
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - behind.len() + hashes + 1;
            text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
        }
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += next.len_utf8();
        }
    }
    text.len()
}

fn escaped(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    text.len()
}

/// A character literal, and not a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => escaped(text, '\''),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(code(text), expected, "{text}");
    }

    #[test]
    fn comments_and_literals_are_blanked_out() {
        check("a // b\nc", "a  \nc");
        check("a /* b /* c */ d */ e", "a   e");
        check("a /* b\nc */ d", "a  \n d");
        check(r#"f("a\"b", c)"#, "f( , c)");
        check(r##"f(r#"a"b"#, br"c", b"d")"##, "f( ,  , b )");
        check(r"f('a', '\'', '\u{7f}', b'x')", "f( ,  ,  , b )");
    }

    #[test]
    fn what_only_tests_see_is_taken_out() {
        let text = "a\n#[cfg(test)]\nuse b::{c, d};\ne\n#[cfg(test)]\nmod f {\n g {}\n}\nh";
        assert_eq!(without_tests(text), "a\n\n\ne\n\n\n\n\nh");
        let text = "a\n#[cfg(test)]\n#[path = \"b.rs\"]\nmod tests;\nc";
        assert_eq!(without_tests(text), "a\n\n\n\nc");
    }

    #[test]
    fn test_files_are_known_by_their_paths() {
        for path in ["tests.rs", "tests/b.rs", "a/b_tests.rs", "a/page.html"] {
            assert_eq!(of_crate(&format!("crates/a/src/{path}")), None, "{path}");
        }
        assert_eq!(of_crate("crates/a/tests/b.rs"), None);
        assert_eq!(of_crate("crates/a/src/b/attests.rs"), Some(("a", "b/attests.rs")));
    }

    #[test]
    fn lifetimes_and_words_stay() {
        check(
            "fn f<'a>(x: &'a str, r: u8) -> &'static str",
            "fn f<'a>(x: &'a str, r: u8) -> &'static str",
        );
        check("bar(r#type, number)", "bar(r#type, number)");
    }
}
