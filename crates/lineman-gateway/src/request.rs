//! The request by which a client opened its WebSocket, as its gateway passes it on.

use lineman_wire::php::{Array, Value};

/// The head of a client's WebSocket handshake.
///
/// It arrives as PHP's `$_GET`, `$_SERVER` and `$_COOKIE`: percent-decoded, header names in upper
/// case. Values that are no UTF-8 are in [`Request::as_php`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Request(Value);

impl Request {
    pub(crate) fn new(value: Value) -> Self {
        Self(value)
    }

    /// Returns path and query, as they were sent.
    pub fn uri(&self) -> &str {
        self.server("REQUEST_URI").unwrap_or("/")
    }

    /// Returns the path: what stands before the first `?`.
    pub fn path(&self) -> &str {
        self.uri().split('?').next().unwrap_or_default()
    }

    /// Returns a parameter of the query: `room` of `/chat?room=7`.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.part("get")?.get(name)?.as_str()
    }

    /// Returns a header; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.server(&format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")))
    }

    /// Returns a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.part("cookie")?.get(name)?.as_str()
    }

    /// Returns the array `{get, server, cookie}` itself.
    pub fn as_php(&self) -> &Value {
        &self.0
    }

    fn server(&self, name: &str) -> Option<&str> {
        self.part("server")?.get(name)?.as_str()
    }

    fn part(&self, name: &str) -> Option<&Array> {
        self.0.as_array()?.get(name)?.as_array()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineman_wire::link::RequestHead;

    #[test]
    fn reads_what_gateways_write() {
        let head = RequestHead {
            method: "GET",
            uri: "/chat?room=7&name=Ada%20L",
            version: "HTTP/1.1",
            headers: &[("Host", b"example.org"), ("X-Real-IP", b"10.1.2.3"), ("Cookie", b"sid=42")],
            remote: "127.0.0.1:4000".parse().unwrap(),
            server_port: 7272,
        };
        let request = Request::new(Value::Array(head.to_php()));
        assert_eq!((request.path(), request.query("room")), ("/chat", Some("7")));
        assert_eq!(request.query("name"), Some("Ada L"));
        assert_eq!(request.header("x-real-ip"), Some("10.1.2.3"));
        assert_eq!(request.cookie("sid"), Some("42"));
        assert_eq!(
            (request.query("x"), request.cookie("x"), request.header("x")),
            (None, None, None)
        );
    }
}
