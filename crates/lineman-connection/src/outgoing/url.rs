//! A WebSocket's URL (RFC 6455, section 3): where to connect to, and what to ask for there.

use http::Uri;

use super::place::Place;

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) place: Place,
    /// For the `Host` header: with the port only if it is not the scheme's own.
    pub(super) host: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) is_secure: bool,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let (is_secure, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "ws" => (false, 80),
            "wss" => (true, 443),
            _ => return Err("a websocket's URL begins with ws:// or wss://"),
        };
        if text.contains('#') {
            return Err("a websocket's URL has no fragment");
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("user and password have no place in it: set the header Authorization");
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str() == authority.host() => default_port,
            None => return Err("its port is no number from 1 to 65535"),
        };
        let place = Place::host(authority.host(), port)?;
        let host = if port == default_port {
            authority.host().to_owned()
        } else {
            format!("{}:{port}", authority.host())
        };
        let target = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        Ok(Self { place, host, target, is_secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (text, place, host, target, is_secure) in [
            ("ws://example.org", "example.org:80", "example.org", "/", false),
            ("wss://example.org/", "example.org:443", "example.org", "/", true),
            ("WS://a:81/b/c?d=e", "a:81", "a:81", "/b/c?d=e", false),
            ("ws://a:80/b", "a:80", "a", "/b", false),
            ("wss://a:80?d", "a:80", "a:80", "/?d", true),
            ("ws://[::1]:81/", "[::1]:81", "[::1]:81", "/", false),
            ("wss://[::1]/", "[::1]:443", "[::1]", "/", true),
        ] {
            let url = Url::parse(text).unwrap();
            let read = (url.place.to_string(), url.host, url.target, url.is_secure);
            assert_eq!(read, (place.to_owned(), host.to_owned(), target.to_owned(), is_secure));
        }
        for text in [
            "",
            "a",
            "http://a/",
            "ws:/a",
            "ws://",
            "ws://:80/",
            "ws://a:0/",
            "ws://a:65536/",
            "ws://a:x/",
            "ws://a:/",
            "ws://u:p@a/",
            "ws://a/b#c",
            "ws://a b/",
            "ws://::1/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
