//! What a service wants of its WebSocket connections: subprotocols, origins, compression, further headers.
//!
//! Set once, shared by all connections of a listener. Bounds are not here, but in
//! [`Limits`](crate::connection::Limits).

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use lineman_wire::websocket::{Deflate, Leniency, Pool, Request};

/// What the WebSocket connections of a listener have in common.
///
/// ```
/// # use lineman_connection::websocket::{Deflate, Options, Origins};
/// let options = Options::new()
///     .subprotocols(["chat.v2", "chat"])
///     .origins(Origins::list(["https://example.org"]))
///     .compression(Deflate::new())
///     .header("Server", "lineman");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(super) subprotocols: Vec<String>,
    pub(super) origins: Origins,
    pub(super) deflate: Option<Deflate>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) leniency: Leniency,
}

impl Options {
    /// Returns the defaults: no subprotocol, any origin, no compression.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the subprotocols that are spoken, the preferred one first: the first that a client offers
    /// is chosen, unless the handler chooses. A client that offers none of them gets none. Default: none.
    #[must_use]
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the pages whose scripts may connect; others are refused with 403. Default: any.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Offers permessage-deflate (RFC 7692) to clients that ask for it. Default: no compression.
    #[must_use]
    pub fn compression(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(deflate);
        self
    }

    /// Adds a header line to every answer that opens a WebSocket. One that cannot be sent, or that the
    /// handshake sets itself, makes every handshake fail with 500.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets which rules of RFC 6455 clients may break, for devices whose programs cannot be changed. Default:
    /// none of them.
    ///
    /// ```
    /// # use lineman_connection::websocket::{Concession, Leniency, Options};
    /// let leniency = Leniency::none().with(Concession::MissingHost).with(Concession::AnyKey);
    /// # let _ =
    /// Options::new().leniency(leniency);
    /// ```
    #[must_use]
    pub fn leniency(mut self, leniency: Leniency) -> Self {
        self.leniency = leniency;
        self
    }
}

type Check = dyn Fn(Option<&str>, &Request) -> bool;

/// Which pages may connect (RFC 6455, 10.2). Browsers say truthfully whose script it is; other
/// programs say what they like, so this protects users, not the server.
#[derive(Clone, Default)]
pub struct Origins(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Any,
    List(Rc<[String]>),
    Check(Rc<Check>),
}

impl Origins {
    /// Allows every page.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Allows these pages, such as `https://example.org`, compared without regard to case; and every
    /// request without an `Origin`, which no browser sends.
    pub fn list<S: Into<String>>(origins: impl IntoIterator<Item = S>) -> Self {
        Self(Rule::List(origins.into_iter().map(Into::into).collect()))
    }

    /// Allows what `check` does; it gets the `Origin`, if there is one, and the request.
    pub fn check(check: impl Fn(Option<&str>, &Request) -> bool + 'static) -> Self {
        Self(Rule::Check(Rc::new(check)))
    }

    pub(super) fn allow(&self, request: &Request) -> bool {
        match &self.0 {
            Rule::Any => true,
            Rule::List(allowed) => {
                let mut lines =
                    request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("origin"));
                lines.all(|(_, origin)| {
                    allowed.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(origin))
                })
            }
            Rule::Check(check) => check(request.header("origin"), request),
        }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Any => formatter.write_str("Any"),
            Rule::List(origins) => formatter.debug_tuple("List").field(origins).finish(),
            Rule::Check(_) => formatter.write_str("Check(..)"),
        }
    }
}

/// The options, and what the connections take turns with.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) pool: RefCell<Pool>,
}
