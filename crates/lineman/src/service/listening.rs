//! The part of a service's builder that concerns the address it serves: how its sockets are set up, and
//! what stands between the network and its protocol. `Worker` has it, and the Gateway and the Register.
//!
//! The setters are written once, as macros for a builder with a field `listening`; see `processes`.

use super::{Listen, SocketOptions};
use crate::connection::Front;
use crate::http::{Http, Limits as HttpLimits};

/// The settings of a service's address that do not depend on what is spoken there.
#[derive(Debug, Default)]
pub struct Listening {
    /// How its sockets are set up.
    pub options: SocketOptions,
    /// What stands between the network and the protocol.
    pub front: Front,
    /// The bounds of HTTP; `None` for those that the HTTP service has.
    pub http_limits: Option<HttpLimits>,
}

impl Listening {
    /// Returns an address with these settings, shared by all slots.
    pub fn describe(
        &self,
        label: &'static str,
        scheme: &'static str,
        address: impl Into<String>,
    ) -> Listen {
        let listen = Listen::streams(label, scheme, address).with_tls(self.front.tls.is_some());
        Listen { options: self.options.clone(), ..listen }
    }

    /// Gives an HTTP service its bounds.
    pub fn bound(&self, http: Http) -> Http {
        match self.http_limits.clone() {
            Some(limits) => http.limits(limits),
            None => http,
        }
    }
}

/// Gives a builder with a field `listening` the setters that every listening service has.
#[macro_export]
#[doc(hidden)]
macro_rules! listening_settings {
    () => {
        /// Sets how its sockets are set up: keepalive, backlog, buffers, a Unix socket's mode, ….
        /// Default: `SocketOptions::new`.
        #[must_use]
        pub fn socket_options(mut self, options: $crate::service::SocketOptions) -> Self {
            self.listening.options = options;
            self
        }

        /// Sets the bounds of each connection, and of all of them together. Default: `Limits::default`.
        #[must_use]
        pub fn limits(mut self, limits: $crate::connection::Limits) -> Self {
            self.listening.front.limits = limits;
            self
        }

        /// Sets which proxies are believed about where a peer comes from. Default: none.
        #[must_use]
        pub fn proxies(mut self, proxies: $crate::connection::Proxies) -> Self {
            self.listening.front.proxies = Some(proxies);
            self
        }
    };
}

/// Gives a builder with a field `listening` the setters of services that serve clients.
#[macro_export]
#[doc(hidden)]
macro_rules! client_settings {
    () => {
        /// Pings a WebSocket that was silent for this long and closes it if it stays silent; closes a
        /// silent peer of another protocol: `Limits::heartbeat`. Default, and zero: silence is no fault.
        #[must_use]
        pub fn heartbeat(mut self, silence: std::time::Duration) -> Self {
            self.listening.front.limits.heartbeat = Some(silence);
            self
        }

        /// Speaks TLS on every connection: `wss`, `https`, or TLS beneath any other protocol. Links of
        /// a cluster are not affected. Default: none.
        ///
        /// The handshake has the deadline and the bound of every other (`Limits::handshake_time`). HTTP
        /// offers HTTP/2 with it. `start --self-signed` replaces the files for development.
        ///
        /// ```no_run
        /// use lineman::prelude::*;
        /// use lineman::tls::Tls;
        ///
        /// fn main() -> Result {
        ///     Worker::websocket("0.0.0.0:443")
        ///         .tls(Tls::files("example.org.pem", "example.org.key"))
        ///         .on_message(async |connection, message| connection.send(message))
        ///         .run()
        /// }
        /// ```
        #[must_use]
        pub fn tls(mut self, tls: $crate::tls::Tls) -> Self {
            self.listening.front.tls = Some(tls);
            self
        }

        /// Sets the bounds of HTTP. Default: `HttpLimits::default`.
        #[must_use]
        pub fn http_limits(mut self, limits: $crate::HttpLimits) -> Self {
            self.listening.http_limits = Some(limits);
            self
        }
    };
}
