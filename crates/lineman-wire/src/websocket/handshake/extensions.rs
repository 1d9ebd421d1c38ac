//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455, 9.1): a list of names with parameters.
//!
//! Both handshakes read it; what an extension's parameters mean, its own module knows. It
//! accepts what the grammar does and nothing else.

use std::borrow::Cow;

use super::head::{Headers, is_token};

const NAME: &str = "sec-websocket-extensions";

/// An extension that is offered or accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    /// Name and value of each parameter, in their order.
    pub(crate) parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// Returns the extensions that the header lines name, or `None` if one is malformed.
pub(super) fn parse(headers: &Headers) -> Option<Vec<Extension<'_>>> {
    let mut extensions = Vec::new();
    let mut lines = 0;
    for line in headers.all(NAME) {
        lines += 1;
        parse_line(line, &mut extensions)?;
    }
    // Values that are no UTF-8 are not among `all`.
    (lines == headers.count(NAME)).then_some(extensions)
}

fn parse_line<'a>(line: &'a str, extensions: &mut Vec<Extension<'a>>) -> Option<()> {
    let mut rest = skip_space(line);
    loop {
        // Empty members of a list do not count (RFC 9110, 5.6.1.2).
        while let Some(behind) = rest.strip_prefix(',') {
            rest = skip_space(behind);
        }
        if rest.is_empty() {
            return Some(());
        }
        let (name, behind) = token(rest)?;
        rest = skip_space(behind);
        let mut parameters = Vec::new();
        while let Some(behind) = rest.strip_prefix(';') {
            let (parameter, behind) = parameter(skip_space(behind))?;
            parameters.push(parameter);
            rest = skip_space(behind);
        }
        if !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
        extensions.push(Extension { name, parameters });
    }
}

type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

fn parameter(input: &str) -> Option<(Parameter<'_>, &str)> {
    let (name, behind) = token(input)?;
    // Spaces around the sign are what RFC 2616's implied whitespace allowed; no browser sends them, and
    // RFC 9110 does not know them.
    let Some(behind) = behind.strip_prefix('=') else { return Some(((name, None), behind)) };
    if let Some(quoted) = behind.strip_prefix('"') {
        let (value, behind) = quoted_string(quoted)?;
        return Some(((name, Some(value)), behind));
    }
    let (value, behind) = token(behind)?;
    Some(((name, Some(Cow::Borrowed(value))), behind))
}

/// Reads behind the opening quote. What is quoted must be a token once it is unescaped (9.1).
fn quoted_string(input: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut value = String::new();
    let mut characters = input.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let behind = input.get(at + 1..)?;
                return is_token(&value).then_some((Cow::Owned(value), behind));
            }
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn token(input: &str) -> Option<(&str, &str)> {
    let end = input.find([' ', '\t', ',', ';', '=', '"']).unwrap_or(input.len());
    let (token, behind) = input.split_at(end);
    is_token(token).then_some((token, behind))
}

fn skip_space(input: &str) -> &str {
    input.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&str>) {
        let mut extensions = Vec::new();
        let shown = parse_line(line, &mut extensions).map(|()| {
            let shown: Vec<_> = extensions
                .iter()
                .map(|extension| {
                    let parameters = extension.parameters.iter().map(|(name, value)| {
                        value
                            .as_ref()
                            .map_or(format!(";{name}"), |value| format!(";{name}={value}"))
                    });
                    format!("{}{}", extension.name, parameters.collect::<String>())
                })
                .collect();
            shown.join(",")
        });
        assert_eq!(shown.as_deref(), expected, "{line:?}");
    }

    #[test]
    fn what_the_grammar_of_section_9_1_allows() {
        check("", Some(""));
        check("foo", Some("foo"));
        check("foo, bar; baz=2", Some("foo,bar;baz=2"));
        check(
            "deflate-stream , mux; max-channels=4; flow-control,",
            Some("deflate-stream,mux;max-channels=4;flow-control"),
        );
        check(" , ,a;b=\"c\"\t;\td", Some("a;b=c;d"));
        check(r#"a;b="\1\5""#, Some("a;b=15"));
    }

    #[test]
    fn what_it_does_not() {
        for line in [
            ";",
            "a;",
            "a;;b",
            "a b",
            "a=b",
            "a;b=",
            "a;b=\"\"",
            "a;b=\"c",
            "a;b=\"c d\"",
            "a;b=\"\\",
            "a;b c",
            "a;b = c",
            "a;=c",
            "a/b",
            "é",
            "a;b=\"é\"",
            "\"a\"",
            "a;b=\"c\"d",
        ] {
            check(line, None);
        }
    }
}
