//! The body of `ON_WEBSOCKET_CONNECT`: a request's head as PHP's `$_GET`, `$_SERVER`, `$_COOKIE`.

use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::php::{Array, Key, Value, parse_cookies, parse_query};

/// The head of a client's websocket handshake.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// `GET`, as a rule.
    pub method: &'a str,
    /// What stands between method and version: path and query.
    pub uri: &'a str,
    /// `HTTP/1.1`, as a rule.
    pub version: &'a str,
    /// The headers in the order in which they came, with names in any case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The client's address.
    pub remote: SocketAddr,
    /// The port at which the gateway listens for clients.
    pub server_port: u16,
}

impl RequestHead<'_> {
    /// Returns the array `{get, server, cookie}`, with its keys in `GatewayWorker`'s order.
    ///
    /// A header that came twice is joined with a comma, cookies with a semicolon. An IPv6 address stands in brackets.
    pub fn to_php(&self) -> Array {
        let cookies = self.header("cookie").unwrap_or_default();
        Array::from_iter([
            ("get", parse_query(self.query().as_bytes())),
            ("server", self.server()),
            ("cookie", parse_cookies(&cookies)),
        ])
    }

    fn server(&self) -> Array {
        let mut server = Array::from_iter([
            ("QUERY_STRING", Value::from(self.query())),
            ("REQUEST_METHOD", Value::from(self.method)),
            ("REQUEST_URI", Value::from(self.uri)),
            ("SERVER_PROTOCOL", Value::from(self.version)),
            ("SERVER_NAME", Value::from(self.header("host"))),
            ("CONTENT_TYPE", Value::from(self.header("content-type"))),
            ("REMOTE_ADDR", Value::from(self.remote_address())),
            ("REMOTE_PORT", Value::from(self.remote.port())),
            ("SERVER_PORT", Value::from(self.server_port)),
        ]);
        for (name, _) in self.headers {
            let key = Key::from(format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")));
            if !server.contains_key(key.clone()) {
                server.insert(key, self.header(name));
            }
        }
        server
    }

    /// Returns what stands behind the first `?`, up to a `#`.
    fn query(&self) -> &str {
        let uri = self.uri.split('#').next().unwrap_or_default();
        uri.split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns a header, its values joined.
    fn header(&self, name: &str) -> Option<Bytes> {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        let mut values = self.headers.iter().filter(|(known, _)| same(known)).map(|(_, v)| *v);
        let mut joined = values.next()?.to_vec();
        // RFC 6265 and 9113, 8.2.3: a cookie's value may have a comma.
        let separator: &[u8] = if name.eq_ignore_ascii_case("cookie") { b"; " } else { b"," };
        for value in values {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value);
        }
        Some(Bytes::from(joined))
    }

    fn remote_address(&self) -> String {
        match self.remote.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }
}
