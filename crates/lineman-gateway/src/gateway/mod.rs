//! The gateway: holds the clients' connections, and tells businesses what happens on them.
//!
//! It runs no code of users but the HTTP service of [`Gateway::http`], which has a thread of its own,
//! and what [`Gateway::on_start`] and its neighbours are given. To be read in this order: here is the service and its settings,
//! `shell` turns events into inputs, `core` handles them.

mod settings;
mod start;
mod shell;
mod core;
mod arrivals;
mod assignment;
mod router;
mod peers;
mod orders;
mod fan_outs;
mod answers;
mod clients;
mod client_session;
mod index;
mod roll;
mod ids;
mod links;
mod told;
mod unconfirmed;
mod pulse;
mod share;
mod stalls;
mod identity;
mod inner_port;
mod disputes;
mod settlement;
mod heirs;
mod heartbeat;
mod dialect;
mod choices;
mod outlet;
mod handover;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use lineman::connection::{Driver, WebSocket};
use lineman::http::{Http, WebService};
use lineman::service::{Listening, Processes, Reload};
use lineman::{App, Result, websocket};
use lineman_wire::framed::Framed;
use lineman_wire::link::Allowance;
use lineman_wire::raw::Raw;
use lineman_wire::text::ByteLines;

pub use choices::{MessageType, SlowClient};
use dialect::ClientDialect;
use heartbeat::Heartbeat;
use inner_port::InnerPort;
use stalls::StallLimits;

pub use router::{Prefer, Router};

use crate::ClusterSettings;
use crate::entrance::{Allow, ConnectHook, EntranceSettings};
use crate::reach::LINK_QUEUE;
use crate::strangers::STRANGERS;

/// A gateway: clients connect to it, businesses serve them.
///
/// `P` is what the clients speak. A client's events go to one business, in order: of those that are preferred
/// ([`Gateway::prefer`]) the one that is least behind and has the least clients, or as [`Gateway::router`] says;
/// while there is none, clients are held. Programs in PHP that use
/// `GatewayWorker`'s `BusinessWorker` and `GatewayClient` work with it.
///
/// ```no_run
/// use lineman_gateway::Gateway;
/// use std::time::Duration;
///
/// fn main() -> lineman::Result {
///     Gateway::websocket("0.0.0.0:7272")
///         .count(2)
///         .register("127.0.0.1:1236")
///         .ping_interval(Duration::from_secs(50))
///         .ping_limit(1)
///         .ping_data(r#"{"type":"ping"}"#)
///         .run()
/// }
/// ```
pub struct Gateway<P: Driver = WebSocket> {
    kind: &'static str,
    scheme: &'static str,
    address: String,
    processes: Processes,
    listening: Listening,
    make: Box<dyn Fn() -> P>,
    /// What `make` is made of, where it makes a WebSocket.
    websocket: websocket::Options,
    cluster: ClusterSettings,
    inner: InnerPort,
    heartbeat: Heartbeat,
    link_ping_interval: Option<Duration>,
    slow_client: SlowClient,
    message_type: MessageType,
    prefer: Prefer,
    router: Router,
    pinned: Vec<String>,
    no_business_limit: Duration,
    partition_limit: Duration,
    heirs: bool,
    share: Allowance,
    stall_limits: StallLimits,
    link_timeout: Option<Duration>,
    link_queue: usize,
    strangers: usize,
    entrance: EntranceSettings,
    /// Makes the HTTP service, in the process that serves it.
    http: Option<Box<dyn FnOnce() -> io::Result<Http>>>,
    anew: Option<Anew<P>>,
}

/// Describes a gateway that runs as it is to be from then on.
type Anew<P> = Box<dyn Fn() -> Result<Gateway<P>>>;

impl Gateway {
    /// Serves clients that speak WebSocket on `address`, `host:port` or `unix:/path`.
    ///
    /// To a business, a client is there when it has asked to upgrade; a PHP gateway tells already
    /// when it has connected.
    pub fn websocket(address: impl Into<String>) -> Self {
        Self::with("websocket", "ws", address.into(), WebSocket::server)
    }

    /// Serves clients that send lines, each ended by `\n` or `\r\n`, on `address`, `host:port` or `unix:/path`. The
    /// lines may have any bytes; a message to a client that has a line break arrives as several.
    pub fn text(address: impl Into<String>) -> Gateway<ByteLines> {
        Gateway::<ByteLines>::with("text", "text", address.into(), ByteLines::new)
    }

    /// Serves clients that send frames on `address`, `host:port` or `unix:/path`, each with its length before it: a
    /// big-endian `u32` that counts itself, as in Workerman's `Frame`.
    pub fn framed(address: impl Into<String>) -> Gateway<Framed> {
        Gateway::<Framed>::with("framed", "framed", address.into(), Framed::new)
    }

    /// Serves clients that send bytes on `address`, `host:port` or `unix:/path`. A message is what one read gave, of
    /// up to 64 KiB: where it begins and ends means nothing, and the application has to find its own messages.
    pub fn tcp(address: impl Into<String>) -> Gateway<Raw> {
        Gateway::<Raw>::with("tcp", "tcp", address.into(), || Raw)
    }

    /// Sets the subprotocols: [`Options::subprotocols`](websocket::Options::subprotocols).
    #[must_use]
    pub fn subprotocols<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.with_options(|options| options.subprotocols(names))
    }

    /// Sets the pages that may connect: [`Options::origins`](websocket::Options::origins).
    #[must_use]
    pub fn origins(self, origins: websocket::Origins) -> Self {
        self.with_options(|options| options.origins(origins))
    }

    /// Compresses messages (RFC 7692): [`Options::compression`](websocket::Options::compression). What
    /// goes to many clients is compressed once for all that negotiated the same, unless the server's
    /// context is taken over.
    #[must_use]
    pub fn compression(self, deflate: websocket::Deflate) -> Self {
        self.with_options(|options| options.compression(deflate))
    }

    /// Sets which rules of RFC 6455 clients may break: [`Options::leniency`](websocket::Options::leniency).
    #[must_use]
    pub fn leniency(self, leniency: websocket::Leniency) -> Self {
        self.with_options(|options| options.leniency(leniency))
    }

    /// Adds a header to every answer: [`Options::header`](websocket::Options::header).
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_options(|options| options.header(name, value))
    }

    /// Sets whether clients are sent text or binary. Default [`MessageType::AsReceived`].
    ///
    /// ```no_run
    /// # use lineman_gateway::{Gateway, MessageType};
    /// # fn main() -> lineman::Result {
    /// // Businesses in PHP send protobuf.
    /// Gateway::websocket("0.0.0.0:7272").message_type(MessageType::Binary).run()
    /// # }
    /// ```
    #[must_use]
    pub fn message_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    fn with_options(
        mut self,
        change: impl FnOnce(websocket::Options) -> websocket::Options,
    ) -> Self {
        let options = change(std::mem::take(&mut self.websocket));
        self.websocket = options.clone();
        self.make = Box::new(WebSocket::server_with(options));
        self
    }

    /// Asks a program about each client before it is accepted. Default: none.
    #[must_use]
    pub fn connect_hook(mut self, hook: ConnectHook) -> Self {
        self.entrance.hook = Some(hook);
        self
    }

    /// Serves requests on the same port that are no upgrade: the page that opens the WebSocket.
    ///
    /// The service runs on a thread of its own in each process, so that no code of it can cost a client:
    /// while it blocks, requests wait, the 1,025th is answered 503; where it panics, that request is
    /// answered 500.
    #[must_use]
    pub fn http(mut self, service: impl WebService + Send) -> Self {
        self.http = Some(Box::new(|| Http::on_own_thread(service)));
        self
    }
}

impl<P: Driver> Gateway<P> {
    lineman::process_settings!();
    lineman::count_settings!();
    lineman::listening_settings!();
    lineman::client_settings!();

    /// Sets which clients may connect; others are refused, and counted as `refused_clients`. Default: all.
    #[must_use]
    pub fn allow(mut self, allow: Allow) -> Self {
        self.entrance.allow = allow;
        self
    }

    /// Asks `anew` at each reload of the program how the gateway is to be from then on; that is in force for clients
    /// and messages to come, and no client is disconnected. Before its `on_reload`. Default: it stays as it is.
    ///
    /// What can change so is: the pings to clients and on links, `slow_client`, `message_type`, `prefer`, `router`,
    /// `pinned_to`, `no_business_limit`, `partition_limit`, `stall_limit`, `abandon_limit`, `strangers`, heirs,
    /// `link_tls` with its certificates; for new clients the allow-list, the connect hook (those that wait get the answer
    /// of the one that was asked), the limits (`ipv6_prefix` excepted, and those of an address if there was none),
    /// proxies, TLS, subprotocols, origins, compression, headers, leniency, and the HTTP service with its limits; and for
    /// businesses that connect from then on `client_events`, `client_bytes` and `link_queue`. Of everything else the one
    /// that was started counts. An error is logged, and it stays as it is.
    #[must_use]
    pub fn reconfigured(mut self, anew: impl Fn() -> Result<Self> + 'static) -> Self {
        self.anew = Some(Box::new(anew));
        self
    }

    /// Sets how long a client may be silent before it is pinged; zero for never. Default zero.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.heartbeat.interval = interval;
        self
    }

    /// Sets for how many intervals a client may be silent before it is closed. Default 0: for ever.
    ///
    /// It is closed between half an interval before the limit's end and its end. One that is not read, for it
    /// has its share of events at its business ([`Gateway::client_events`]), cannot answer: it is closed when
    /// none of them was handled for eight times as long.
    #[must_use]
    pub fn ping_limit(mut self, limit: u32) -> Self {
        self.heartbeat.limit = limit;
        self
    }

    /// Sets the message that pings a client. Default: none, so that clients have to speak first.
    #[must_use]
    pub fn ping_data(mut self, data: impl Into<String>) -> Self {
        self.heartbeat.data = Bytes::from(data.into());
        self
    }

    /// Sets what happens to clients that read too slowly. Default [`SlowClient::Close`].
    #[must_use]
    pub fn slow_client(mut self, policy: SlowClient) -> Self {
        self.slow_client = policy;
        self
    }
}

impl<P: ClientDialect> Gateway<P> {
    /// Runs a program of this one service.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn run(self) -> Result {
        App::new().service(self).run()
    }

    fn with(kind: &'static str, scheme: &'static str, address: String, make: fn() -> P) -> Self {
        let interval = Duration::ZERO;
        let mut processes = Processes::new("gateway");
        processes.set_reload(Reload::HandOver);
        Self {
            kind,
            scheme,
            address,
            processes,
            listening: Listening::default(),
            make: Box::new(make),
            websocket: websocket::Options::default(),
            cluster: ClusterSettings::default(),
            inner: InnerPort::new(),
            heartbeat: Heartbeat { interval, limit: 0, data: Bytes::new() },
            link_ping_interval: None,
            slow_client: SlowClient::default(),
            message_type: P::MESSAGE_TYPE,
            prefer: Prefer::default(),
            router: Router::default(),
            pinned: Vec::new(),
            no_business_limit: Duration::from_secs(30),
            partition_limit: Duration::from_mins(10),
            heirs: true,
            share: Allowance { events: 256, bytes: 1024 * 1024 },
            stall_limits: StallLimits {
                stalled: Duration::from_secs(5),
                abandoned: Duration::from_secs(30),
            },
            link_timeout: None,
            link_queue: LINK_QUEUE,
            strangers: STRANGERS,
            entrance: EntranceSettings::default(),
            http: None,
            anew: None,
        }
    }
}

impl<P: Driver> fmt::Debug for Gateway<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("name", &self.processes.name())
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("count", &self.processes.count())
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}
