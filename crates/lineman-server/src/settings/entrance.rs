//! `[[gateway]]`: which clients it lets in, and which rules of RFC 6455 they may break.

use http::Uri;
use lineman::Networks;
use lineman::websocket::Concession;
use lineman_gateway::HookFailure;

use super::sockets::is_network;
use super::takes::{ANY, something};
use super::{Setting, Takes, anew, unset_anew};
use crate::draft::Draft;

fn is_path(text: &str) -> Result<(), String> {
    let right = text.starts_with(['/', '*']);
    right
        .then_some(())
        .ok_or_else(|| format!("{text:?} is no path: write \"/chat\" or \"/rooms/*\""))
}

/// Returns name and value of `Name: value`, or of `Name` alone.
fn pair(line: &str, separator: char) -> (&str, Option<&str>) {
    match line.split_once(separator) {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (line.trim(), None),
    }
}

/// The value may be a secret: what is wrong is said without it.
fn is_header(line: &str) -> Result<(), String> {
    let (name, _) = pair(line, ':');
    let right = name.parse::<http::HeaderName>().is_ok();
    right.then_some(()).ok_or_else(|| "it is no header: write \"Name: value\"".to_owned())
}

fn is_whole_header(line: &str) -> Result<(), String> {
    let has_value = pair(line, ':').1.is_some();
    is_header(line).and_then(|()| {
        has_value.then_some(()).ok_or_else(|| "it has no value: write \"Name: value\"".to_owned())
    })
}

fn is_cookie(line: &str) -> Result<(), String> {
    let (name, _) = pair(line, '=');
    let right = name.parse::<http::HeaderName>().is_ok();
    right
        .then_some(())
        .ok_or_else(|| "it is no cookie: write \"name=value\" or \"name\"".to_owned())
}

fn is_url(text: &str) -> Result<(), String> {
    let uri = text.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(
            "user and password have no place in it: connect_hook.headers may have them".to_owned()
        );
    }
    let right = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    let form = "it is no URL: write \"http://127.0.0.1:8080/connect\"";
    right.then_some(()).ok_or_else(|| form.to_owned())
}

fn forgive(draft: &mut Draft, concession: Concession, on: bool) {
    if on {
        draft.leniency = draft.leniency.with(concession);
    }
}

pub(super) const ALLOW: &[Setting] = &[
    anew(
        "allow.networks",
        Takes::List("networks", is_network, |draft, names| {
            if !names.is_empty() {
                let networks = Networks::new(names).unwrap_or_default();
                draft.allow = std::mem::take(&mut draft.allow).networks(networks);
            }
        }),
        "[]",
        "The addresses that clients may have: single ones, networks as \"10.0.0.0/8\", or \"unix\"; others are refused \
         (403). Without any, all may connect.",
    ),
    anew(
        "allow.paths",
        Takes::List("paths", is_path, |draft, paths| {
            draft.allow = std::mem::take(&mut draft.allow).paths(paths);
        }),
        "[]",
        "The paths at which there is a WebSocket, `*` being any text: \"/rooms/*\"; others are refused (404). Without \
         any, it is at all.",
    ),
    anew(
        "allow.headers",
        Takes::SecretList("headers", is_header, |draft, lines| {
            for line in lines {
                let allow = std::mem::take(&mut draft.allow);
                draft.allow = match pair(line, ':') {
                    (name, Some(value)) => allow.header(name, value),
                    (name, None) => allow.header_present(name),
                };
            }
        }),
        "[]",
        "Headers that a client has to send, as \"Name: value\", or \"Name\" for any value; others are refused (401).",
    ),
    anew(
        "allow.cookies",
        Takes::SecretList("cookies", is_cookie, |draft, lines| {
            for line in lines {
                let allow = std::mem::take(&mut draft.allow);
                draft.allow = match pair(line, '=') {
                    (name, Some(value)) => allow.cookie(name, value),
                    (name, None) => allow.cookie_present(name),
                };
            }
        }),
        "[]",
        "Cookies that a client has to send, as \"name=value\", or \"name\" for any value; others are refused (401).",
    ),
];

pub(super) const HOOK: &[Setting] = &[
    unset_anew(
        "connect_hook.url",
        Takes::Checked("URL", is_url, |draft, url| url.clone_into(&mut draft.hook.url)),
        "\"http://127.0.0.1:8080/connect\"",
        "A server of HTTP that is asked about each client before it is accepted: `GET` with the client's query and some \
         of its headers. 2xx accepts, with a body as {\"uid\":\"42\",\"groups\":[\"room\"],\"session\":{}} to bind; 4xx \
         refuses with that status and text.",
    ),
    unset_anew(
        "connect_hook.authorities",
        Takes::Checked("file", something, |draft, file| draft.hook.authorities = Some(file.into())),
        "\"/etc/lineman/hook-authority.pem\"",
        "The authorities, in PEM, one of which vouches for the certificate of an https:// URL, in the place of those that \
         this machine trusts.",
    ),
    unset_anew(
        "connect_hook.fastcgi",
        Takes::Checked("host:port or unix:path", something, |draft, address| {
            address.clone_into(&mut draft.hook.fastcgi);
        }),
        "\"unix:/run/php/php-fpm.sock\"",
        "The same over FastCGI, as php-fpm speaks it: where it listens.",
    ),
    unset_anew(
        "connect_hook.script",
        Takes::Checked("path", something, |draft, script| {
            script.clone_into(&mut draft.hook.script);
        }),
        "\"/srv/app/connect.php\"",
        "The script that php-fpm runs.",
    ),
    anew(
        "connect_hook.timeout",
        Takes::Duration(|draft, timeout| draft.hook.timeout = Some(timeout)),
        "\"5s\"",
        "How long an answer may take; less than limits.handshake_time.",
    ),
    anew(
        "connect_hook.questions",
        Takes::Number(1, ANY, |draft, bound| draft.hook.questions = usize::try_from(bound).ok()),
        "256",
        "How many questions of a process may be under way; beyond it there is no answer.",
    ),
    anew(
        "connect_hook.on_failure",
        Takes::Choice(&["refuse", "accept"], |draft, policy| {
            let accept = policy == "accept";
            draft.hook.failure = if accept { HookFailure::Accept } else { HookFailure::Refuse };
        }),
        "\"refuse\"",
        "What happens to a client about which there is no answer: it is refused (503), or accepted with nothing bound.",
    ),
    anew(
        "connect_hook.pass_headers",
        Takes::List("names", is_header, |draft, names| draft.hook.passed = Some(names.to_vec())),
        "[\"authorization\", \"cookie\", \"origin\", \"user-agent\", \"accept-language\", \
         \"sec-websocket-protocol\"]",
        "The headers of the client that are passed on.",
    ),
    anew(
        "connect_hook.headers",
        Takes::SecretList("headers", is_whole_header, |draft, lines| {
            let headers = lines.iter().map(|line| pair(line, ':'));
            let owned =
                headers.map(|(name, value)| (name.into(), value.unwrap_or_default().into()));
            draft.hook.headers = owned.collect();
        }),
        "[]",
        "Headers of every question, as \"Name: value\": a key by which the hook knows the gateway.",
    ),
];

pub(super) const LENIENT: &[Setting] = &[
    anew(
        "lenient.invalid_text",
        Takes::Switch(|draft, on| forgive(draft, Concession::InvalidText, on)),
        "false",
        "Lets text messages have bytes that are no UTF-8, as PHP does. Else they end the connection (1007).",
    ),
    anew(
        "lenient.http_10",
        Takes::Switch(|draft, on| forgive(draft, Concession::Http10, on)),
        "false",
        "Lets a WebSocket be asked for in HTTP/1.0, as PHP does. Else it is refused (400).",
    ),
    anew(
        "lenient.missing_host",
        Takes::Switch(|draft, on| forgive(draft, Concession::MissingHost, on)),
        "false",
        "Lets a request have no `Host`, as PHP does. Else it is refused (400).",
    ),
    anew(
        "lenient.missing_connection",
        Takes::Switch(|draft, on| forgive(draft, Concession::MissingConnection, on)),
        "false",
        "Takes a request for one for a WebSocket that lacks `Connection: Upgrade`, or has a `Sec-WebSocket-Key` and no \
         `Upgrade`, as PHP does. Not behind a proxy that shares connections between clients.",
    ),
    anew(
        "lenient.any_key",
        Takes::Switch(|draft, on| forgive(draft, Concession::AnyKey, on)),
        "false",
        "Takes any `Sec-WebSocket-Key`, as PHP does. Else one that is not 16 bytes in base64 is refused (400).",
    ),
    anew(
        "lenient.long_head",
        Takes::Switch(|draft, on| forgive(draft, Concession::LongHead, on)),
        "false",
        "Takes request heads of 64 KiB and 256 lines where the limits are less: long cookies.",
    ),
];
