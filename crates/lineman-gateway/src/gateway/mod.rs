//! The gateway: holds the clients' connections, and tells businesses what happens on them.
//!
//! It runs no code of users but the HTTP service of [`Gateway::http`], which has a thread of its own,
//! and what [`Gateway::on_start`] and its neighbours are given. To be read in this order: here is the service and its settings,
//! `shell` turns events into inputs, `core` handles them.

mod start;
mod shell;
mod core;
mod arrivals;
mod assignment;
mod peers;
mod orders;
mod fan_outs;
mod answers;
mod clients;
mod index;
mod roll;
mod ids;
mod links;
mod told;
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
mod outlet;
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
use lineman_wire::link::{Allowance, Secret};
use lineman_wire::raw::Raw;
use lineman_wire::text::ByteLines;

use dialect::ClientDialect;
use heartbeat::Heartbeat;
use inner_port::InnerPort;
use stalls::StallLimits;

use crate::strangers::STRANGERS;

/// What happens to a client that reads more slowly than it is sent to, when its send queue
/// ([`Limits::send_queue`](lineman::connection::Limits::send_queue)) is at its bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SlowClient {
    /// It is closed (1013) and counted as `slow_clients`. The default: a client that silently
    /// misses messages shows what is not so, and a reconnect mends it.
    #[default]
    Close,
    /// It misses the message, which is counted as `dropped_messages`; `GatewayWorker`'s way.
    DropMessage,
}

/// Which businesses a gateway prefers for a new client. A client stays where it is while that link lives, so
/// those that had to go elsewhere stay there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Those of the gateway's own machine, for each message to another one travels there and back. The
    /// default.
    ///
    /// Another machine's gets the client where each one here is stalled or its link is full, has handled
    /// nothing for four times as long as the best one elsewhere (256 ms at least), or has eight times as much
    /// under way (256 events at least). A business is on the same machine if it connects from a loopback
    /// address, or from [`Gateway::lan_ip`]; one in a container with an address of its own is elsewhere.
    #[default]
    SameMachine,
    /// None: the one that is least behind, wherever it is.
    Any,
}

/// A gateway: clients connect to it, businesses serve them.
///
/// `P` is what the clients speak. A client's events go to one business, in order: of those that are preferred
/// ([`Gateway::prefer`]) the one that is least behind and has the least clients; while there is none, clients
/// are held. Programs in PHP that use
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
    registers: Vec<String>,
    secret_key: Secret,
    cluster: String,
    inner: InnerPort,
    heartbeat: Heartbeat,
    link_ping_interval: Option<Duration>,
    slow_client: SlowClient,
    prefer: Prefer,
    no_business_limit: Duration,
    partition_limit: Duration,
    heirs: bool,
    share: Allowance,
    stall_limits: StallLimits,
    link_timeout: Option<Duration>,
    strangers: usize,
    /// Makes the HTTP service, in the process that serves it.
    http: Option<Box<dyn FnOnce() -> io::Result<Http>>>,
}

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

    fn with_options(
        mut self,
        change: impl FnOnce(websocket::Options) -> websocket::Options,
    ) -> Self {
        let options = change(std::mem::take(&mut self.websocket));
        self.websocket = options.clone();
        self.make = Box::new(WebSocket::server_with(options));
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

    /// Adds a register to announce the gateway to, `host:port`. Default: `127.0.0.1:1236` alone.
    #[must_use]
    pub fn register(mut self, address: impl Into<String>) -> Self {
        self.registers.push(address.into());
        self
    }

    /// Sets the key of the cluster: shown to the registers, asked of businesses. Default: none.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.secret_key = Secret::new(key);
        self
    }

    /// Sets the name of the cluster: [`Register::cluster`](crate::Register::cluster). A business of another cluster
    /// is refused. Default: none.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// Sets the address at which businesses reach this machine, which is announced to them and in client ids: an
    /// IPv4 address, or a host name that has one, resolved at the start. Default `127.0.0.1`, which is right where
    /// the whole cluster is on one machine.
    ///
    /// Links are listened for there, unless [`Gateway::inner_listen`] names another place. What no machine can be
    /// reached at, and without `inner_listen` what is not this machine's, is refused at the start. Two machines
    /// with one address are found by the register, which refuses the second.
    #[must_use]
    pub fn lan_ip(mut self, address: impl Into<String>) -> Self {
        self.inner.lan_ip = address.into();
        self
    }

    /// Sets where links are listened for, `host` or `host:port`, apart from what is announced: behind NAT, in a
    /// cloud, in a container whose ports are published. [`Gateway::lan_ip`] is announced then, with the ports from
    /// [`Gateway::start_port`] on, and has to lead here; with a port of its own here the ports may be translated
    /// as well. Default: `lan_ip` and `start_port`.
    ///
    /// ```no_run
    /// # use lineman_gateway::Gateway;
    /// # fn main() -> lineman::Result {
    /// // docker run -p 4000-4001:4000-4001 on a machine that others reach at 10.0.0.7.
    /// let gateway = Gateway::websocket("0.0.0.0:7272").count(2);
    /// gateway.lan_ip("10.0.0.7").start_port(4000).inner_listen("0.0.0.0").run()
    /// # }
    /// ```
    #[must_use]
    pub fn inner_listen(mut self, address: impl Into<String>) -> Self {
        self.inner.listen = Some(address.into());
        self
    }

    /// Sets the inner port of the first process; the others follow it. Default 0: the kernel
    /// chooses, and the port stays while the master lives.
    #[must_use]
    pub fn start_port(mut self, port: u16) -> Self {
        self.inner.start_port = port;
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

    /// Sets how often the link to each business is pinged; zero for never. Default: 25 s, and never
    /// where [`Gateway::lan_ip`] is this machine alone, for nothing between forgets such a link.
    #[must_use]
    pub fn link_ping_interval(mut self, interval: Duration) -> Self {
        self.link_ping_interval = Some(interval);
        self
    }

    /// Sets how long the machine of a business may be unreachable: without power, or behind a cut cable. Then its
    /// link is given up, and its clients move to another one, at the latest; zero for ever.
    /// Default: 15 s, and for ever where [`Gateway::lan_ip`] is this machine alone. Set the same with
    /// [`Business::link_timeout`](crate::Business::link_timeout).
    ///
    /// A machine acknowledges what it gets by itself, and is asked each second where a link is silent (each 15th
    /// of the timeout, if that is longer), whatever speaks there, PHP included. One that has acknowledged nothing
    /// for a second, or a quarter of the timeout, is in doubt (`links_in_doubt`): it gets no new client and
    /// nothing more, and its clients are not read. Events that it was sent before are lost with it
    /// (`lost_events`), for it may have begun them; others get the rest. A client that waits for an answer to one
    /// of these is not told: it has to ask again after a while.
    #[must_use]
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = Some(timeout);
        self
    }

    /// Sets what happens to clients that read too slowly. Default [`SlowClient::Close`].
    #[must_use]
    pub fn slow_client(mut self, policy: SlowClient) -> Self {
        self.slow_client = policy;
        self
    }

    /// Sets which businesses get new clients. Default [`Prefer::SameMachine`].
    ///
    /// ```no_run
    /// # use lineman_gateway::{Gateway, Prefer};
    /// # fn main() -> lineman::Result {
    /// // The gateways have machines of their own, and every business is as far away as the others.
    /// Gateway::websocket("0.0.0.0:7272").prefer(Prefer::Any).run()
    /// # }
    /// ```
    #[must_use]
    pub fn prefer(mut self, prefer: Prefer) -> Self {
        self.prefer = prefer;
        self
    }

    /// Sets how long clients are held while no business is connected; then they are closed (1013).
    /// Default 30 s; zero for ever.
    ///
    /// A business that comes within this time hears of those that went meanwhile, as many as 16 MiB
    /// have room for with their sessions. The others are forgotten, the oldest first, and counted:
    /// `forgotten_clients` in `status`.
    #[must_use]
    pub fn no_business_limit(mut self, limit: Duration) -> Self {
        self.no_business_limit = if limit.is_zero() { Duration::MAX } else { limit };
        self
    }

    /// Sets how long it is reckoned with that a business whose link was lost is alive and only cut off. Default
    /// 10 min; zero for not at all.
    ///
    /// Its clients are served by others at once, but such a business takes this gateway for dead and runs
    /// `on_close` for each of them. So when a client of these leaves, others run its `on_close` only when the
    /// business is back and has not, when another process has taken its place, or after this limit: earlier it
    /// might run twice. With zero they run it at once.
    #[must_use]
    pub fn partition_limit(mut self, limit: Duration) -> Self {
        self.partition_limit = limit;
        self
    }

    /// Does without heirs: when a process of this gateway and a business die together, as with their machine,
    /// `on_close` does not run for the clients that they had. By default each business has another one that runs
    /// it then, to which this gateway tells each second which clients came, with their sessions, and went: about
    /// 100 bytes and the session of each client are kept there. A session of more than 64 KiB is not.
    #[must_use]
    pub fn without_heirs(mut self) -> Self {
        self.heirs = false;
        self
    }

    /// Sets how many events of one client its business may have unhandled; then that client is not read,
    /// and counted as `share_reached`, until half of them are done. Default 256, at least 1.
    ///
    /// It is less while a business has much that waits, 1 at least: an eighth of the room that is left of 10,000
    /// events or 16 MiB.
    ///
    /// It is what a client can send while one message travels to its business and back. A business in PHP
    /// does not tell what it has handled; there only the bytes count.
    #[must_use]
    pub fn client_events(mut self, events: u32) -> Self {
        self.share.events = events.max(1);
        self
    }

    /// Sets how many bytes of one client its business may have unhandled, sessions included; beyond it as
    /// with [`Gateway::client_events`]. A message that is longer is sent all the same. Default 1 MiB.
    ///
    /// For a business in PHP it bounds what has not left this process yet.
    #[must_use]
    pub fn client_bytes(mut self, bytes: u32) -> Self {
        self.share.bytes = bytes.max(1);
        self
    }

    /// Sets how many peers of the inner port there may be that have not shown the key yet; beyond it the
    /// oldest of them is closed, unless it has just come, and counted as `refused_strangers`. Each has 5 s, and
    /// 4 KiB. In a cluster without a key it is those that have not sent a whole packet. Default 64, at least 1.
    #[must_use]
    pub fn strangers(mut self, bound: usize) -> Self {
        self.strangers = bound;
        self
    }

    /// Sets how long a business may have events and give no sign of its loop going on before it counts as
    /// `stalled` and gets no new clients while there is another one, until it gives a sign or has done what
    /// it had then; zero for ever. Default 5 s.
    ///
    /// A business in PHP gives no signs: there it is how long nothing leaves on its link.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limits.stalled = limit;
        self
    }

    /// Sets how long a business of Lineman's may have events and give no sign at all, as one that is
    /// stopped or blocks its loop, before its clients move to another one that works; zero for ever. What
    /// it had not handled is lost and counted (`lost_events`). Default 30 s.
    #[must_use]
    pub fn abandon_limit(mut self, limit: Duration) -> Self {
        self.stall_limits.abandoned = limit;
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
        processes.set_reload(Reload::Keep);
        Self {
            kind,
            scheme,
            address,
            processes,
            listening: Listening::default(),
            make: Box::new(make),
            websocket: websocket::Options::default(),
            registers: Vec::new(),
            secret_key: Secret::default(),
            cluster: String::new(),
            inner: InnerPort::new(),
            heartbeat: Heartbeat { interval, limit: 0, data: Bytes::new() },
            link_ping_interval: None,
            slow_client: SlowClient::default(),
            prefer: Prefer::default(),
            no_business_limit: Duration::from_secs(30),
            partition_limit: Duration::from_mins(10),
            heirs: true,
            share: Allowance { events: 256, bytes: 1024 * 1024 },
            stall_limits: StallLimits {
                stalled: Duration::from_secs(5),
                abandoned: Duration::from_secs(30),
            },
            link_timeout: None,
            strangers: STRANGERS,
            http: None,
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
            .field("registers", &self.registers)
            .finish_non_exhaustive()
    }
}
