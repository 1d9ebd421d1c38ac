//! From HTTP back to the table: a request that asks for a WebSocket leaves hyper unanswered, with
//! its socket and every byte behind it, and the WebSocket's own driver answers it.
//!
//! hyper has consumed the request's bytes, so they are written again from what it parsed: the same
//! fields in the same order, names in lower case, values as they came.

use std::fmt;
use std::rc::Rc;

use bytes::{BufMut, BytesMut};
use http::header::UPGRADE;
use http::{Request, Version};
use http_body::Body;
use lineman_wire::websocket::{HandshakeLimits, RequestParser};

use crate::connection::Adopt;

/// A request that asks for a WebSocket, and what takes it.
pub(super) struct Upgrading {
    pub(super) head: BytesMut,
    pub(super) to: Rc<dyn Adopt>,
}

/// What takes which requests for a WebSocket.
#[derive(Clone, Default)]
pub(super) struct Upgrades {
    /// One path each, compared as it is on the wire.
    pub(super) paths: Vec<(String, Rc<dyn Adopt>)>,
    /// All others; where the connection came from.
    pub(super) rest: Option<Rc<dyn Adopt>>,
}

impl Upgrades {
    /// Returns what to do with a request that asks for a WebSocket which a service takes. To all others the
    /// service answers, as RFC 9110 section 7.8 lets a server do.
    pub(super) fn of<B: Body>(&self, request: &Request<B>) -> Option<Upgrading> {
        if request.version() >= Version::HTTP_2 || !request.headers().contains_key(UPGRADE) {
            return None;
        }
        let path = request.uri().path();
        let of_path = self.paths.iter().find(|(known, _)| known == path).map(|(_, to)| to);
        let to = Rc::clone(of_path.or(self.rest.as_ref())?);
        // A body would be taken for the first frames.
        if !request.body().is_end_stream() {
            return None;
        }
        let head = head(request);
        asks_for_websocket(&head).then_some(Upgrading { head, to })
    }
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths.iter().map(|(path, _)| path);
        formatter.debug_list().entries(paths).finish()
    }
}

/// Asks the driver's own parser. What that refuses is the driver's to refuse, and has hyper's bounds.
fn asks_for_websocket(head: &[u8]) -> bool {
    let limits = HandshakeLimits { max_head_size: usize::MAX, max_headers: 1024 };
    match RequestParser::new().parse(head, &limits) {
        Ok(Some(request)) => request.is_upgrade(),
        Ok(None) | Err(_) => false,
    }
}

fn head<B>(request: &Request<B>) -> BytesMut {
    let mut head = BytesMut::with_capacity(1024);
    head.put_slice(request.method().as_str().as_bytes());
    head.put_slice(b" ");
    head.put_slice(request.uri().to_string().as_bytes());
    let version: &[u8] =
        if request.version() == Version::HTTP_10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    head.put_slice(version);
    for (name, value) in request.headers() {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head
}
