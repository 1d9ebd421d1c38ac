//! What RFC 9110, 9112 and 9113 want of a request beyond what hyper checks: whom it is for, what
//! frames its body, what it expects. Parsing and framing are hyper's.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Version};

use super::limits::Limits;

/// How a request that no service has to see is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The service answers.
    Serve,
    /// `OPTIONS *` asks whether the server is there (RFC 9110, 9.3.7).
    Pong,
    Refuse(StatusCode),
}

/// Judges a request's head. An authority in the target takes the place of `Host` (RFC 9112, 3.2.2), and
/// several lines of cookies become one (RFC 9113, 8.2.3).
pub(super) fn judge<B>(request: &mut Request<B>, limits: &Limits) -> Verdict {
    let checks = [check_size, check_coding, check_expectation, check_length];
    if let Err(status) = checks.iter().try_for_each(|check| check(request.headers(), limits)) {
        return Verdict::Refuse(status);
    }
    join_cookies(request.headers_mut());
    let target = if request.version() == Version::HTTP_2 { authority_of_2 } else { check_target };
    match target(request) {
        Err(status) => Verdict::Refuse(status),
        Ok(()) if request.uri().path() == "*" => Verdict::Pong,
        Ok(()) => Verdict::Serve,
    }
}

/// HTTP/2 bounds the list's size, not its length.
fn check_size(headers: &HeaderMap, limits: &Limits) -> Result<(), StatusCode> {
    let too_many = headers.len() > limits.headers;
    if too_many { Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) } else { Ok(()) }
}

/// RFC 9112, 6.1: `chunked` comes once and last. We understand no other coding, and a service that
/// got the body would not know that it is coded.
fn check_coding(headers: &HeaderMap, _limits: &Limits) -> Result<(), StatusCode> {
    let mut chunked = false;
    for value in headers.get_all(TRANSFER_ENCODING) {
        let value = value.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
        for coding in value.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
            if chunked {
                return Err(StatusCode::BAD_REQUEST);
            }
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(StatusCode::NOT_IMPLEMENTED);
            }
            chunked = true;
        }
    }
    Ok(())
}

/// RFC 9110, 10.1.1.
fn check_expectation(headers: &HeaderMap, _limits: &Limits) -> Result<(), StatusCode> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let all = headers.get_all(EXPECT).iter().all(known);
    if all { Ok(()) } else { Err(StatusCode::EXPECTATION_FAILED) }
}

/// What is announced and too large is not even waited for.
fn check_length(headers: &HeaderMap, limits: &Limits) -> Result<(), StatusCode> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: Option<u64> = length.and_then(|text| text.trim().parse().ok());
    let too_large = length.is_some_and(|length| length > limits.body_size);
    if too_large { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(()) }
}

fn join_cookies(headers: &mut HeaderMap) {
    let values: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&values.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// RFC 9112, 3.2: the form of the target, and the host it means.
fn check_target<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    // A tunnel (RFC 9110, 9.3.6) is a proxy's to give.
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let host = host(request.headers())?;
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Err(StatusCode::BAD_REQUEST);
    }
    let uri = request.uri();
    let authority = match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if is_http(scheme) => authority,
        (None, None) if uri.path() != "*" || request.method() == Method::OPTIONS => return Ok(()),
        // A name alone is a target of CONNECT, another scheme is not served here.
        _ => return Err(StatusCode::BAD_REQUEST),
    };
    let value = host_value(authority)?;
    request.headers_mut().insert(HOST, value);
    Ok(())
}

/// RFC 9113, 8.3.1: `:authority` names the host, `Host` may not contradict it.
fn authority_of_2<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let host = host(request.headers())?;
    let Some(authority) = request.uri().authority() else {
        return if host.is_some() { Ok(()) } else { Err(StatusCode::BAD_REQUEST) };
    };
    let value = host_value(authority)?;
    if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(value.as_bytes())) {
        return Err(StatusCode::BAD_REQUEST);
    }
    request.headers_mut().insert(HOST, value);
    Ok(())
}

fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}

/// Returns the one `Host`, if there is one.
fn host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, StatusCode> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || !host.is_none_or(is_host) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(host)
}

/// `uri-host [":" port]`, or nothing where the target has no authority.
fn is_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.is_empty() || Authority::try_from(bytes).is_ok_and(|authority| is_sound(&authority))
}

fn host_value(authority: &Authority) -> Result<HeaderValue, StatusCode> {
    let bytes = Bytes::copy_from_slice(authority.as_str().as_bytes());
    let value = HeaderValue::from_maybe_shared(bytes).ok().filter(|_| is_sound(authority));
    value.ok_or(StatusCode::BAD_REQUEST)
}

/// No user in front (RFC 9110, 4.2.4), and a port that is one.
fn is_sound(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    let has_host = !authority.host().is_empty();
    let rest_is_port = match port {
        Some(port) => port.is_empty() || authority.port_u16().is_some(),
        None => text.len() == authority.host().len(),
    };
    has_host && rest_is_port && !text.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTTP/2 sends a line for each cookie, and frameworks read the first line alone.
    #[test]
    fn lines_of_cookies_are_one() {
        let request = Request::builder().uri("/").header("host", "a");
        let request = request.header("cookie", "a=1").header("cookie", &b"b=\xf6"[..]);
        let mut request = request.header("cookie", "c=3; d=4").body(()).expect("a request");
        assert_eq!(judge(&mut request, &Limits::default()), Verdict::Serve);
        let cookies: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, [&b"a=1; b=\xf6; c=3; d=4"[..]]);
    }

    #[test]
    fn what_names_a_host() {
        for (value, expected) in [
            ("", true),
            ("a", true),
            ("example.org:80", true),
            ("example.org:", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("a:b", false),
            ("a:80:80", false),
            ("a:65536", false),
            ("user@a", false),
            (":80", false),
            ("a b", false),
            ("a/b", false),
            ("a,b", true),
            ("[::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_host(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
    }
}
