//! Which clients may connect, by what their connection and their request say of them. Asked for each new client
//! before anything is known of it; it does no I/O.

use std::fmt;

use lineman::Networks;
use lineman::connection::Address;
use lineman::websocket::{Refusal, Request};
use lineman_wire::websocket::is_token;
use subtle::ConstantTimeEq as _;

/// Which clients may connect to a gateway. Everything that is set has to hold; by default nothing is.
///
/// Pages of `Gateway::http` are served all the same. Of pages' origins, see
/// [`Gateway::origins`](crate::Gateway::origins).
///
/// ```
/// use lineman_gateway::Allow;
///
/// let allow = Allow::new()
///     .networks("10.0.0.0/8, 192.0.2.7".parse()?)
///     .paths(["/chat", "/rooms/*"])
///     .header("X-Key", "a secret of our devices")
///     .cookie_present("session");
/// # let _ = allow;
/// # Ok::<(), lineman::BoxError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Allow {
    networks: Option<Networks>,
    paths: Vec<String>,
    headers: Vec<Demand>,
    cookies: Vec<Demand>,
}

/// What a header or a cookie has to be.
#[derive(Clone)]
struct Demand {
    name: String,
    /// `None` if it has to be there.
    value: Option<String>,
}

/// The value may be a secret.
impl fmt::Debug for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Demand").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Demand {
    fn is(&self, value: &[u8]) -> bool {
        self.value.as_ref().is_none_or(|wanted| wanted.as_bytes().ct_eq(value).into())
    }
}

/// Why a client may not connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAllowed {
    #[error("its address is not allowed")]
    Address,
    #[error("its path {0:?} is not allowed")]
    Path(String),
    #[error("its header {0:?} is missing or wrong")]
    Header(String),
    #[error("its cookie {0:?} is missing or wrong")]
    Cookie(String),
}

impl NotAllowed {
    /// Returns what the client is told. A 401 names a scheme (RFC 9110, 15.5.2).
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Address => Refusal::new(403).body("this address may not connect\n"),
            Self::Path(_) => Refusal::new(404).body("nothing is at this path\n"),
            Self::Header(_) => Refusal::new(401)
                .header("WWW-Authenticate", "Header")
                .body("a header is missing or wrong\n"),
            Self::Cookie(_) => Refusal::new(401)
                .header("WWW-Authenticate", "Cookie")
                .body("a cookie is missing or wrong\n"),
        }
    }
}

impl Allow {
    /// Allows every client.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the addresses that clients may have; others are refused with 403, or closed where there is no
    /// handshake. What a trusted proxy tells counts
    /// ([`Gateway::proxies`](crate::Gateway::proxies)). Clients of a Unix socket need `unix` in it.
    #[must_use]
    pub fn networks(mut self, networks: Networks) -> Self {
        self.networks = Some(networks);
        self
    }

    /// Sets the paths at which there is a WebSocket; others are refused with 404. In each, `*` stands for any
    /// text: `/chat`, `/rooms/*`. They are compared as they come, `%2F` is no `/`.
    #[must_use]
    pub fn paths<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.paths = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Demands a header of this value; others are refused with 401. Each line of that name has to have it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Demand { name: name.into(), value: Some(value.into()) });
        self
    }

    /// Demands a header, whatever its value; others are refused with 401.
    #[must_use]
    pub fn header_present(mut self, name: impl Into<String>) -> Self {
        self.headers.push(Demand { name: name.into(), value: None });
        self
    }

    /// Demands a cookie of this value; others are refused with 401.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.cookies.push(Demand { name: name.into(), value: Some(value.into()) });
        self
    }

    /// Demands a cookie, whatever its value; others are refused with 401.
    #[must_use]
    pub fn cookie_present(mut self, name: impl Into<String>) -> Self {
        self.cookies.push(Demand { name: name.into(), value: None });
        self
    }

    /// Returns whether it demands something of a request, which only a WebSocket's client has.
    pub(super) fn needs_a_request(&self) -> bool {
        !(self.paths.is_empty() && self.headers.is_empty() && self.cookies.is_empty())
    }

    /// Returns what in it can never hold.
    pub(super) fn problem(&self) -> Option<String> {
        let path = self.paths.iter().find(|path| !path.starts_with(['/', '*']));
        let path = path.map(|path| format!("the path {path:?} does not begin with `/` or `*`"));
        let mut names = self.headers.iter().chain(&self.cookies).map(|demand| &demand.name);
        let name = names.find(|name| !is_token(name));
        path.or(name.map(|name| format!("{name:?} is no name of a header or a cookie")))
    }

    /// Looks at a client; one without a handshake has no request.
    pub(super) fn check(
        &self,
        peer: &Address,
        request: Option<&Request>,
    ) -> Result<(), NotAllowed> {
        let is_inside = |networks: &Networks| match peer {
            Address::Internet(address) => networks.contains(address.ip()),
            Address::Unix(_) => networks.contains_unix(),
        };
        if !self.networks.as_ref().is_none_or(is_inside) {
            return Err(NotAllowed::Address);
        }
        let Some(request) = request else { return Ok(()) };
        let path = request.path();
        if !self.paths.is_empty() && !self.paths.iter().any(|pattern| fits(pattern, path)) {
            return Err(NotAllowed::Path(path.to_owned()));
        }
        let missing = self.headers.iter().find(|demand| {
            let same = |(name, _): &(&str, &[u8])| name.eq_ignore_ascii_case(&demand.name);
            let mut lines = request.headers().filter(same).map(|(_, value)| value).peekable();
            lines.peek().is_none() || !lines.all(|value| demand.is(value))
        });
        if let Some(demand) = missing {
            return Err(NotAllowed::Header(demand.name.clone()));
        }
        let missing = self.cookies.iter().find(|demand| {
            let value = request.cookie(&demand.name);
            !value.is_some_and(|value| demand.is(value.as_bytes()))
        });
        missing.map_or(Ok(()), |demand| Err(NotAllowed::Cookie(demand.name.clone())))
    }
}

/// Returns whether a text fits a pattern in which each `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let (between, last) = others.rsplit_once('*').unwrap_or(("", others));
    for part in between.split('*') {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lineman_wire::websocket::{HandshakeLimits, RequestParser};

    use super::*;

    fn request(target: &str, lines: &str) -> Request {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let parsed = RequestParser::new().parse(head.as_bytes(), &HandshakeLimits::default());
        parsed.expect("is a request").expect("is whole")
    }

    fn check(allow: &Allow, target: &str, lines: &str) -> u16 {
        let peer = Address::from(SocketAddr::from(([10, 0, 0, 7], 4000)));
        let checked = allow.check(&peer, Some(&request(target, lines)));
        checked.map_or_else(|why| why.refusal().status(), |()| 101)
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("/chat", "/chat", true),
            ("/chat", "/chat/", false),
            ("/chat", "/Chat", false),
            ("/rooms/*", "/rooms/7", true),
            ("/rooms/*", "/rooms/", true),
            ("/rooms/*", "/rooms", false),
            ("*/ws", "/a/b/ws", true),
            ("*", "/", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/c", false),
            ("/a*b*c", "/axbxbxc", true),
            ("/a*b*c", "/axcxb", false),
            ("/a*a", "/a", false),
            ("/**", "/x", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn each_demand_has_to_hold() {
        let paths = Allow::new().paths(["/chat", "/rooms/*"]);
        for (target, expected) in
            [("/chat?x=1", 101), ("/rooms/7", 101), ("/", 404), ("/rooms%2F7", 404)]
        {
            assert_eq!(check(&paths, target, ""), expected, "{target}");
        }
        let key = Allow::new().header("X-Key", "k").header_present("X-Device");
        for (lines, expected) in [
            ("x-key: k\r\nx-device: \r\n", 101),
            ("x-key: k\r\nX-Key: k\r\nx-device: 7\r\n", 101),
            ("x-key: k\r\nX-Key: other\r\nx-device: 7\r\n", 401),
            ("x-key: kk\r\nx-device: 7\r\n", 401),
            ("x-key: k\r\n", 401),
            ("x-device: 7\r\n", 401),
        ] {
            assert_eq!(check(&key, "/", lines), expected, "{lines}");
        }
        let cookies = Allow::new().cookie("plan", "gold").cookie_present("session");
        for (lines, expected) in [
            ("Cookie: session=; plan=gold\r\n", 101),
            ("Cookie: session=7\r\nCookie: plan=gold\r\n", 101),
            ("Cookie: session=7; plan=lead\r\n", 401),
            ("Cookie: plan=gold\r\n", 401),
            ("", 401),
        ] {
            assert_eq!(check(&cookies, "/", lines), expected, "{lines}");
        }
    }

    #[test]
    fn addresses_count_before_everything_else() {
        let allow =
            |list: &str| Allow::new().networks(list.parse().expect("a list")).paths(["/no"]);
        assert_eq!(check(&allow("192.0.2.0/24"), "/", ""), 403);
        assert_eq!(check(&allow(""), "/", ""), 403);
        assert_eq!(check(&allow("10.0.0.0/8"), "/", ""), 404);
        let unix = Address::Unix(None);
        assert_eq!(allow("10.0.0.0/8").check(&unix, None), Err(NotAllowed::Address));
        assert_eq!(allow("unix").check(&unix, None), Ok(()));
    }

    #[test]
    fn what_can_never_hold_is_named_and_no_value_is_shown() {
        let problem = |allow: Allow| allow.problem().unwrap_or_default();
        assert_eq!(problem(Allow::new().paths(["/a", "*b"]).header("X-A", "1")), "");
        assert!(problem(Allow::new().paths(["chat"])).contains("\"chat\""));
        assert!(problem(Allow::new().cookie_present("a b")).contains("\"a b\""));
        let shown = format!("{:?}", Allow::new().header("X-Key", "secret"));
        assert!(shown.contains("X-Key") && !shown.contains("secret"), "{shown}");
        assert!(!Allow::new().needs_a_request() && Allow::new().paths(["/"]).needs_a_request());
    }
}
