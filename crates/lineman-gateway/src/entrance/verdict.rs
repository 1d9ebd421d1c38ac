//! What an answer of the connect hook means: a client is accepted with what is bound to it, or refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use lineman::websocket::Refusal;
use lineman_wire::fastcgi::CgiAnswer;
use lineman_wire::link::session;
use serde::Deserialize;

use super::asking::NoAnswer;

/// What is in force for a client before a business hears of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) uid: Option<Bytes>,
    pub(crate) groups: Vec<Bytes>,
    /// PHP-serialized; empty for none.
    pub(crate) session: Bytes,
}

/// A client is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) binding: Binding,
    /// Further header lines of the answer that opens the WebSocket.
    pub(crate) headers: Vec<(String, String)>,
}

/// A hook's word about a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HookVerdict {
    Accept(Welcome),
    Refuse(Refusal),
}

/// The body of an answer. A key that is not known is an error: `user_id` in the place of `uid` would bind nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    uid: Option<HookName>,
    groups: Vec<HookName>,
    session: Option<serde_json::Map<String, serde_json::Value>>,
    headers: BTreeMap<String, Lines>,
}

/// A uid or a group: PHP writes `42` or `"42"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HookName {
    Number(i64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

/// Header lines of a refusal that concern its client.
const OF_A_REFUSAL: [&str; 4] = ["content-type", "retry-after", "set-cookie", "www-authenticate"];

/// Reads an answer.
pub(super) fn read(answer: CgiAnswer) -> Result<HookVerdict, NoAnswer> {
    match answer.status {
        200..=299 => welcome(&answer).map(HookVerdict::Accept),
        300..=399 => Ok(HookVerdict::Refuse(Refusal::new(403))),
        400..=499 => Ok(HookVerdict::Refuse(refusal(answer))),
        status => Err(NoAnswer::Status(status)),
    }
}

fn refusal(answer: CgiAnswer) -> Refusal {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let refusal = Refusal::new(answer.status).body(text);
    let of_a_refusal =
        |name: &str| OF_A_REFUSAL.iter().any(|other| other.eq_ignore_ascii_case(name));
    let passed = answer.headers.into_iter().filter(|(name, _)| of_a_refusal(name));
    passed.fold(refusal, |refusal, (name, value)| refusal.header(name, value))
}

fn welcome(answer: &CgiAnswer) -> Result<Welcome, NoAnswer> {
    let body = answer.body.trim_ascii();
    let said: Said = match body {
        b"" => Said::default(),
        body => serde_json::from_slice(body).map_err(|error| NoAnswer::Body(error.to_string()))?,
    };
    let session = match said.session {
        Some(session) => session::encode(&serde_json::Value::Object(session))
            .map_err(|error| NoAnswer::Body(format!("session: {error}")))?,
        None => Bytes::new(),
    };
    let binding = Binding {
        uid: said.uid.map(name).transpose()?,
        groups: said.groups.into_iter().map(name).collect::<Result<_, _>>()?,
        session,
    };
    let cookies = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let mut headers: Vec<_> = cookies.cloned().collect();
    for (name, lines) in said.headers {
        match lines {
            Lines::One(value) => headers.push((name, value)),
            Lines::Many(values) => {
                headers.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
    }
    Ok(Welcome { binding, headers })
}

fn name(named: HookName) -> Result<Bytes, NoAnswer> {
    let text = match named {
        HookName::Number(number) => number.to_string(),
        HookName::Text(text) => text,
    };
    if text.is_empty() || text == "0" {
        return Err(NoAnswer::Body("a uid or group must not be empty or \"0\"".to_owned()));
    }
    Ok(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> CgiAnswer {
        let headers =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        CgiAnswer { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    fn accepted(body: &'static str) -> Welcome {
        match read(answer(200, &[("Content-Type", "text/html")], body)) {
            Ok(HookVerdict::Accept(welcome)) => welcome,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_client_is_accepted_with_what_is_said_of_it() {
        for body in ["", " \r\n", "{}", r#"{"uid":null,"groups":[],"session":null}"#] {
            assert_eq!(accepted(body), Welcome::default(), "{body}");
        }
        let said = r#"{"uid":42,"groups":["room",7],"session":{"name":"Ada","n":1},
            "headers":{"X-A":"b","X-C":["d","e"]}}"#;
        let Welcome { binding, headers } = accepted(said);
        assert_eq!(binding.uid.as_deref(), Some(&b"42"[..]));
        assert_eq!(binding.groups, ["room", "7"]);
        assert_eq!(binding.session, r#"a:2:{s:4:"name";s:3:"Ada";s:1:"n";i:1;}"#);
        let expected = [("X-A", "b"), ("X-C", "d"), ("X-C", "e")];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let cookies = answer(204, &[("Set-Cookie", "a=1"), ("Server", "x")], "");
        let Ok(HookVerdict::Accept(welcome)) = read(cookies) else { panic!("it is accepted") };
        assert_eq!(welcome.headers, [("Set-Cookie".to_owned(), "a=1".to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_is_no_answer() {
        for (body, part) in [
            ("<b>Warning</b>: Undefined variable", "expected value"),
            ("true", "invalid type"),
            (r#"{"user_id":"42"}"#, "user_id"),
            (r#"{"uid":"0"}"#, "\"0\""),
            (r#"{"groups":["a",""]}"#, "empty"),
            (r#"{"uid":true}"#, "uid"),
            (r#"{"session":"Ada"}"#, "invalid type"),
            (r#"{"uid":"42"} x"#, "trailing"),
        ] {
            match read(answer(200, &[], body)) {
                Err(NoAnswer::Body(problem)) => {
                    assert!(problem.contains(part) || part == "uid", "{body}: {problem}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
        for status in [500, 502, 503, 599, 101, 199] {
            assert!(matches!(read(answer(status, &[], "")), Err(NoAnswer::Status(_))), "{status}");
        }
    }

    #[test]
    fn a_refusal_passes_with_its_text() {
        let headers =
            [("WWW-Authenticate", "Bearer"), ("Server", "x"), ("Content-Type", "text/plain")];
        let Ok(HookVerdict::Refuse(refusal)) = read(answer(401, &headers, "log in\n")) else {
            panic!("it is refused")
        };
        let expected = Refusal::new(401)
            .body("log in\n")
            .header("WWW-Authenticate", "Bearer")
            .header("Content-Type", "text/plain");
        assert_eq!(refusal, expected);
        let redirect = read(answer(302, &[("Location", "/login")], "<html>"));
        assert_eq!(redirect.ok(), Some(HookVerdict::Refuse(Refusal::new(403))));
    }
}
