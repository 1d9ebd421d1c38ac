//! A worker: an address, a protocol and the handlers of its connections, in as many processes as
//! asked for. The ten-line server; what the README begins with.

mod datagrams;
mod peers;

use std::fmt;
use std::rc::Rc;

use lineman_wire::Protocol;
use lineman_wire::framed::Framed;
use lineman_wire::text::Text;

use crate::connection::{Driver, Front, Handlers, WebSocket, websocket};
use crate::http::{Http, WebService};
use crate::service::{
    Context, Description, Inner, Listen, Listening, LocalFuture, ProcessHooks, Processes, Reload,
    Running, Service, Socket, Traffic,
};
use crate::tls::Tls;
use crate::{App, Result, Table};

pub use datagrams::Datagrams;
pub use peers::Peers;

/// A service with handlers of its own.
///
/// The constructor chooses the protocol; what is set afterwards has a default. `K` is what the
/// worker's connections are.
///
/// ```no_run
/// use lineman::prelude::*;
///
/// fn main() -> Result {
///     Worker::websocket("0.0.0.0:2346")
///         .count(4)
///         .on_message(async |connection, message| connection.send(message))
///         .run()
/// }
/// ```
pub struct Worker<K = ()> {
    scheme: &'static str,
    address: Option<String>,
    processes: Processes,
    listening: Listening,
    http: Option<Http>,
    kind: K,
}

/// A worker without message handlers of its own: HTTP, or no connections at all.
#[derive(Default)]
pub struct Plain {
    websockets: Vec<(String, Peers<WebSocket>)>,
}

impl Worker {
    /// Serves WebSocket (RFC 6455) on `address`: `host:port` or `unix:/path`, see
    /// [`Endpoint`](crate::service::Endpoint).
    pub fn websocket(address: impl Into<String>) -> Worker<Peers<WebSocket>> {
        Self::peers("websocket", "ws", address, WebSocket::server)
    }

    /// Serves lines of text, each ended by `\n`.
    pub fn text(address: impl Into<String>) -> Worker<Peers<Text>> {
        Self::peers("text", "text", address, Text::default)
    }

    /// Serves frames that begin with their length, a big-endian `u32` that counts itself.
    pub fn framed(address: impl Into<String>) -> Worker<Peers<Framed>> {
        Self::peers("framed", "framed", address, Framed::default)
    }

    /// Serves a protocol of your own; `make` returns the protocol state of a new connection.
    pub fn tcp<P: Protocol>(
        address: impl Into<String>,
        make: impl Fn() -> P + 'static,
    ) -> Worker<Peers<P>> {
        Self::peers("tcp", "tcp", address, make)
    }

    /// Serves a protocol with a handshake, answers, pings or a farewell of its own: a
    /// [`Driver`]; `make` returns the driver of a new connection.
    ///
    /// `examples/login` is one. A protocol that only turns bytes into messages is a [`Protocol`], for
    /// [`Worker::tcp`].
    pub fn driver<D: Driver>(
        address: impl Into<String>,
        make: impl Fn() -> D + 'static,
    ) -> Worker<Peers<D>> {
        Self::peers("tcp", "tcp", address, make)
    }

    /// Serves HTTP/1.1 by way of hyper with a `tower::Service`, such as an axum `Router`.
    pub fn http(address: impl Into<String>, service: impl WebService) -> Worker<Plain> {
        let http = Some(Http::new(service));
        Worker { http, ..Self::with("http", "http", Some(address.into()), Plain::default()) }
    }

    /// Serves datagrams over UDP; `make` returns a protocol state for each datagram.
    ///
    /// A datagram is decoded to all its messages; what is left over is malformed and counted. An
    /// answer is a datagram for each message. Handlers of different datagrams do not wait for each
    /// other, and 1,024 of a socket may wait at once: then datagrams are dropped and counted. The
    /// processes share the port; a sender (address and port) stays with one of them. During a reload
    /// what arrives waits in the socket for the successor.
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     Worker::datagrams("0.0.0.0:9000", Text::default)
    ///         .on_message(async |peer, line| peer.send(line))
    ///         .run()
    /// }
    /// ```
    pub fn datagrams<P: Protocol>(
        address: impl Into<String>,
        make: impl Fn() -> P + 'static,
    ) -> Worker<Datagrams<P>> {
        let kind = Datagrams { make: Box::new(make), handler: None };
        Self::with("udp", "udp", Some(address.into()), kind)
    }

    /// Listens on nothing: for timers and other work in the background.
    pub fn task(name: impl Into<String>) -> Worker<Plain> {
        let name: String = name.into();
        Self::with(&name, "", None, Plain::default())
    }

    fn peers<D: Driver>(
        name: &str,
        scheme: &'static str,
        address: impl Into<String>,
        make: impl Fn() -> D + 'static,
    ) -> Worker<Peers<D>> {
        let (handlers, websocket) = (Handlers::default(), websocket::Options::new());
        let peers = Peers { make: Box::new(make), handlers, websocket };
        Self::with(name, scheme, Some(address.into()), peers)
    }

    fn with<K>(name: &str, scheme: &'static str, address: Option<String>, kind: K) -> Worker<K> {
        Worker {
            scheme,
            address,
            processes: Processes::new(name),
            listening: Listening::default(),
            http: None,
            kind,
        }
    }
}

impl Worker<Plain> {
    /// Serves WebSocket on a path of the HTTP service; `set` says what its connections do, as on a
    /// worker of [`Worker::websocket`].
    ///
    /// Handlers and WebSocket options of what `set` returns count; the bounds are this worker's. Requests on
    /// this path that ask for no WebSocket go to the service, and so do those on other paths.
    ///
    /// ```no_run
    /// use axum::Router;
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     Worker::http("0.0.0.0:2345", Router::new())
    ///         .with_websocket("/echo", |peers| {
    ///             peers.on_message(async |connection, message| connection.send(message))
    ///         })
    ///         .run()
    /// }
    /// ```
    #[must_use]
    pub fn with_websocket(
        mut self,
        path: impl Into<String>,
        set: impl FnOnce(Worker<Peers<WebSocket>>) -> Worker<Peers<WebSocket>>,
    ) -> Self {
        let peers = set(Worker::websocket("")).kind;
        self.kind.websockets.push((path.into(), peers));
        self
    }
}

impl<K> Worker<K>
where
    Self: Service,
{
    crate::process_settings!();
    crate::count_settings!();
    crate::listening_settings!();
    crate::client_settings!();

    /// Lets handlers begin TLS in mid-stream:
    /// [`Connection::start_tls`](crate::connection::Connection::start_tls).
    #[must_use]
    pub fn tls_on_demand(mut self, tls: Tls) -> Self {
        self.listening.front.tls_on_demand = Some(tls);
        self
    }

    /// Has a reload hand the connections over to the process that replaces this one: they stay connected,
    /// within a message, over TLS, whatever waits on them. By default they are drained.
    ///
    /// The new process knows of its predecessor what is part of the connections, and nothing that the program
    /// keeps beside them: [`on_adopt`](Self::on_adopt) is where it learns of each. A connection stays behind and is
    /// drained while its handler is at work or its TLS handshake is under way, if the program has
    /// [set data](crate::connection::Connection::set_data) on it, if hyper serves it, if its compression takes
    /// its context over, and if its protocol does not [write itself down](crate::connection::Driver::save).
    #[must_use]
    pub fn hand_over_on_reload(mut self) -> Self {
        self.processes.set_reload(Reload::HandOver);
        self
    }

    /// Serves from within a worker that runs, beside its own service: an admin port, say, that only
    /// exists when a configuration wants it. See [`Inner::start`].
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     Worker::websocket("0.0.0.0:2346")
    ///         .on_start(async |_slot| {
    ///             let admin = Worker::text("127.0.0.1:0")
    ///                 .on_message(async |connection, line| connection.send(line));
    ///             println!("admin at {}", admin.listen().await?.addresses()[0]);
    ///             Ok(())
    ///         })
    ///         .run()
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`Inner::start`].
    pub async fn listen(self) -> Result<Inner> {
        Inner::start(self).await
    }

    /// Runs a program of this one service: `App::new().service(self).run()`.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn run(self) -> Result {
        App::new().service(self).run()
    }
}

/// How a worker of one kind puts its listeners to use.
trait Listens {
    const TRAFFIC: Traffic = Traffic::Streams;

    fn listen(
        self,
        table: &Table,
        sockets: Vec<Socket>,
        front: Front,
        http: Option<Http>,
    ) -> Result;
}

impl Listens for Plain {
    fn listen(
        self,
        table: &Table,
        sockets: Vec<Socket>,
        front: Front,
        http: Option<Http>,
    ) -> Result {
        let serves = self.websockets.into_iter().map(|(path, peers)| (path, peers.into_serve()));
        // A worker has one address.
        if let (Some(http), Some(socket)) = (http, sockets.into_iter().next()) {
            table.listen_http(socket, http, front, serves.collect())?;
        }
        Ok(())
    }
}

impl<K: Listens + 'static> Service for Worker<K> {
    fn description(&self) -> Description {
        let listen = |address: &String| Listen {
            traffic: K::TRAFFIC,
            page: self.http.is_some(),
            ..self.listening.describe("clients", self.scheme, address)
        };
        let listeners = self.address.iter().map(listen).collect();
        Description { listeners, ..self.processes.describe(self.scheme_name()) }
    }

    fn check(&self) -> Result {
        Ok(self.listening.front.check()?)
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::pin(async move {
            let Self { processes, listening, http, kind, .. } = *self;
            let hooks = processes.start(context.slot()).await?;
            let http = http.map(|http| listening.bound(http));
            kind.listen(&context.table, context.listeners, listening.front, http)?;
            Ok(Rc::new(RunningWorker(hooks)) as Rc<dyn Running>)
        })
    }
}

/// A worker that serves.
struct RunningWorker(ProcessHooks);

impl Running for RunningWorker {
    fn reload(&self) -> LocalFuture<()> {
        self.0.reload()
    }

    fn stopped(&self) -> LocalFuture<()> {
        self.0.stopped()
    }
}

impl<K> Worker<K> {
    fn scheme_name(&self) -> &'static str {
        match self.scheme {
            "ws" => "websocket",
            "" => "task",
            scheme => scheme,
        }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.websockets.iter().map(|(path, _)| path);
        formatter.debug_list().entries(paths).finish()
    }
}

impl<K> fmt::Debug for Worker<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("name", &self.processes.name())
            .field("address", &self.address)
            .field("count", &self.processes.count())
            .finish_non_exhaustive()
    }
}
