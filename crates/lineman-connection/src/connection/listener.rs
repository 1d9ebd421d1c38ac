//! Listeners in the table, and outgoing connections: how an entry comes to be.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::admission::Population;
use super::deadlines::Whose;
use super::entry::{Entry, Flags, Readiness, State, Weight};
use super::extra::Extra;
use super::http_only::HttpOnly;
use super::queue::SendQueue;
use super::stream::{Stream, StreamListener};
use super::table::{Arrivals, Table};
use super::transport::Transport;
use super::{Address, Admission, Arrival, Connection, Driver, Front, Handler, Limits, WebSocket};
use crate::Error;
use crate::http::{Http, Upgrade};
use crate::tls::{Acceptor, FromMaster, Session};

/// How long accepting rests when the process is out of descriptors: spinning would not free one.
const REST: Duration = Duration::from_millis(100);

/// Pauses nearer to each other than this are one episode, which is said once: a process that is full
/// rests ten times a second, for hours if nobody leaves.
const EPISODE: Duration = Duration::from_secs(10);

/// Connections accepted in one turn: a flood of them leaves the others their turn.
const ACCEPTS: usize = 256;

/// What all connections of a listener have in common, or those a service opens itself.
pub struct Serve<D: Driver> {
    make: Box<dyn Fn() -> D>,
    pub(super) handler: Rc<dyn Handler<D>>,
    pub(super) front: Rc<Front>,
    pub(super) weight: Weight,
    pub(super) http: Option<Http>,
    pub(super) population: Rc<Population>,
    /// TLS of the listener's connections, or of those that ask for it.
    pub(super) acceptor: OnceCell<Rc<Acceptor>>,
}

impl<D: Driver> Serve<D> {
    /// Returns peers: each gets a protocol state from `make`, and `handler` hears its events.
    pub fn peers(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        let front = Rc::new(Front::default());
        Self {
            make: Box::new(make),
            handler,
            population: Population::new(&front.limits),
            acceptor: OnceCell::new(),
            front,
            weight: Weight::Peer,
            http: None,
        }
    }

    /// Returns links between processes of a cluster: not counted as peers, and not closed by a drain.
    pub fn links(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        Self { weight: Weight::Link, ..Self::peers(make, handler) }
    }

    /// Sets the bounds of each connection, and of all of them together. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        let front = Front { limits, ..Front::clone(&self.front) };
        self.front(front)
    }

    /// Sets everything that does not depend on the protocol. Default: [`Front::default`].
    #[must_use]
    pub fn front(mut self, front: Front) -> Self {
        self.population = Population::new(&front.limits);
        self.front = Rc::new(front);
        self
    }

    /// Reads the certificates, before the first connection needs them.
    fn prepare_tls(&self) -> Result<(), Error> {
        let Some(tls) = self.front.tls.as_ref().or(self.front.tls_on_demand.as_ref()) else {
            return Ok(());
        };
        let tls = tls.clone().or_alpn(D::ALPN);
        let acceptor = Acceptor::new(&tls, FromMaster::of_this_process())?;
        self.acceptor.get_or_init(|| acceptor);
        Ok(())
    }

    /// Returns the TLS that a new connection begins with.
    fn session(&self) -> Option<Session> {
        self.front.tls.as_ref()?;
        Some(self.acceptor.get()?.session())
    }

    /// Sets who serves requests that are plain HTTP. Without one they are refused with 426.
    #[must_use]
    pub fn http(mut self, http: Option<Http>) -> Self {
        self.http = http;
        self
    }
}

impl<D: Driver> fmt::Debug for Serve<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Serve")
            .field("protocol", &D::name())
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl<D: Driver> Serve<D> {
    /// Returns who takes the upgrades of connections that became HTTP: those they came from.
    pub(super) fn upgrades(self: &Rc<Self>) -> Option<Rc<dyn Upgrade>> {
        D::UPGRADES.then(|| Rc::<Self>::clone(self) as Rc<dyn Upgrade>)
    }
}

impl<D: Driver> Upgrade for Serve<D> {
    fn adopt(self: Rc<Self>, table: &Table, arrival: Arrival) -> io::Result<()> {
        table.adopt(arrival, &self)
    }
}

/// What a listener does with an arrival.
pub(super) trait Accept {
    fn accept(&self, table: &Table, stream: Stream, peer: Address) -> io::Result<()>;
}

struct AcceptPeers<D: Driver> {
    serve: Rc<Serve<D>>,
    /// Connections that were in their handshake when they came, oldest first.
    half_open: RefCell<VecDeque<Whose>>,
}

impl<D: Driver> Accept for AcceptPeers<D> {
    fn accept(&self, table: &Table, stream: Stream, peer: Address) -> io::Result<()> {
        let proxies = self.serve.front.proxies.as_ref();
        let counts = proxies.is_none_or(|proxies| !proxies.will_tell(&peer));
        let address = peer.ip().filter(|_| counts);
        if let Err(limit) = self.serve.population.admit(address) {
            tracing::debug!(%peer, %limit, "connection refused");
            table.add(|counters| counters.limited(limit), 1);
            return Ok(());
        }
        let admission = Admission::new(&self.serve.population, address);
        let session = self.serve.session();
        let prelude = proxies.and_then(|proxies| proxies.prelude(&peer));
        let transport = Transport::new(stream, prelude, session);
        let entry = insert(table, &self.serve, State::Preparing, transport, peer)?;
        // From here on the entry gives the place back.
        admission.keep();
        entry.flags.counted.set(counts);
        entry.begin();
        if entry.flags.half_open.get() {
            self.bound_handshakes(table, (entry.key, entry.id));
        }
        Ok(())
    }
}

impl<D: Driver> AcceptPeers<D> {
    /// A flood of half-open connections displaces its own oldest, never an open connection.
    fn bound_handshakes(&self, table: &Table, newest: Whose) {
        let mut half_open = self.half_open.borrow_mut();
        half_open.push_back(newest);
        if table.handshakes() <= self.serve.front.limits.handshakes {
            // Those that are done leave the list when it has grown to twice what can be under way.
            if half_open.len() > 2 * self.serve.front.limits.handshakes {
                half_open.retain(|&whose| table.in_handshake(whose));
            }
            return;
        }
        while let Some(oldest) = half_open.pop_front() {
            if table.evict(oldest) {
                table.add(|counters| &counters.handshakes_failed, 1);
                return;
            }
        }
    }
}

/// A listening socket in the table's poll set.
pub(super) struct Listener {
    pub(super) socket: RefCell<StreamListener>,
    pub(super) accept: Rc<dyn Accept>,
    pub(super) resting: Cell<bool>,
    /// The slot it belongs to, if it is not ours.
    pub(super) lender: Option<String>,
}

impl Arrivals for Listener {
    fn ready(self: Rc<Self>, table: &Table, _readiness: Readiness) {
        self.take_some(table);
    }

    /// Takes the connections that wait; those beyond a turn's number have theirs in the next one.
    fn take_some(self: Rc<Self>, table: &Table) {
        for _ in 0..ACCEPTS {
            if self.resting.get() {
                return;
            }
            let arrival = self.socket.borrow().accept();
            match arrival {
                Ok((stream, peer)) => {
                    table.add(|counters| &counters.accepted, 1);
                    let from = peer.clone();
                    if let Err(error) = self.accept.accept(table, stream, peer) {
                        tracing::debug!(peer = %from, %error, "connection lost while it was accepted");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return self.rest(table, &error),
            }
        }
        table.take_again(self);
    }

    fn listener(self: Rc<Self>) -> Option<Rc<Listener>> {
        Some(self)
    }

    /// Leaves the poll set. Closing alone would not do: the master holds the same socket open, and
    /// the kernel forgets a registration only with the last holder.
    fn leave(&self, registry: &Registry) {
        self.resting.set(true);
        if let Err(error) = registry.deregister(&mut *self.socket.borrow_mut()) {
            tracing::warn!(%error, "cannot leave a listener");
        }
    }
}

impl Listener {
    fn rest(self: &Rc<Self>, table: &Table, error: &io::Error) {
        table.add(|counters| &counters.accept_pauses, 1);
        if table.note_pause(EPISODE) {
            tracing::error!(
                %error,
                connections = table.len(),
                "cannot accept: who comes now waits until others leave (hint: `ulimit -n` bounds the \
                 connections); not said again while it lasts"
            );
        }
        self.resting.set(true);
        let (listener, table) = (Rc::clone(self), table.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(REST).await;
            if table.is_accepting() {
                listener.resting.set(false);
                listener.take_some(&table);
            }
        });
    }
}

/// Errors that `accept` reports for a connection that is gone already; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}

/// Gives a socket its entry, which counts among the listener's connections.
pub(super) fn insert<D: Driver>(
    table: &Table,
    serve: &Rc<Serve<D>>,
    state: State,
    mut transport: Transport,
    peer: Address,
) -> io::Result<Rc<Entry<D>>> {
    table.insert(serve.weight, |key, registry| {
        // Edge-triggered: both interests at once cost one call in a connection's life.
        let wish = Interest::READABLE | Interest::WRITABLE;
        registry.register(transport.stream_mut(), Token(key), wish)?;
        Ok(Rc::new(entry(table, key, serve, state, transport, peer)))
    })
}

/// Makes the entry of a place in the table.
pub(super) fn entry<D: Driver>(
    table: &Table,
    key: usize,
    serve: &Rc<Serve<D>>,
    state: State,
    transport: impl Into<Option<Transport>>,
    peer: Address,
) -> Entry<D> {
    let flags = Flags::default();
    flags.counted.set(true);
    Entry {
        id: table.next_id(),
        key,
        table: table.clone(),
        transport: RefCell::new(transport.into()),
        origin: peer,
        state: Cell::new(state),
        flags,
        driver: RefCell::new((serve.make)()),
        serve: Rc::clone(serve),
        unread: RefCell::new(BytesMut::new()),
        queue: RefCell::new(SendQueue::default()),
        messages_in: Cell::new(0),
        messages_out: Cell::new(0),
        bytes_in: Cell::new(0),
        bytes_out: Cell::new(0),
        deadline: Cell::new(None),
        extra: RefCell::new(Extra::new(&serve.front.limits)),
    }
}

impl Table {
    /// Serves the connections that arrive at a listener.
    ///
    /// # Errors
    /// When the listener cannot be put into the poll set.
    pub fn listen<D: Driver>(
        &self,
        listener: impl TryInto<StreamListener, Error = io::Error>,
        serve: Serve<D>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Os { action: "watch a listener", source };
        let mut socket = listener.try_into().map_err(failed)?;
        serve.prepare_tls()?;
        if let Some(period) = serve.front.limits.heartbeat {
            self.beat_every(period);
        }
        let accept = AcceptPeers { serve: Rc::new(serve), half_open: RefCell::default() };
        self.insert_listener(|key, registry| {
            registry.register(&mut socket, Token(key), Interest::READABLE)?;
            let (socket, accept) = (RefCell::new(socket), Rc::new(accept));
            Ok(Rc::new(Listener { socket, accept, resting: Cell::new(false), lender: None }))
        })
        .map_err(failed)
    }

    /// Hands every connection of a listener to the HTTP service, once its first byte is there;
    /// requests for a WebSocket on one of these paths come back, and keep their place.
    ///
    /// # Errors
    /// As [`Table::listen`].
    #[doc(hidden)]
    pub fn listen_http(
        &self,
        listener: impl TryInto<StreamListener, Error = io::Error>,
        http: Http,
        front: Front,
        websockets: Vec<(String, Serve<WebSocket>)>,
    ) -> Result<(), Error> {
        let serve = Serve::peers(|| HttpOnly, Rc::new(HttpOnly)).front(front);
        let on_path = |(path, peers): (String, Serve<WebSocket>)| {
            let front = Rc::clone(&serve.front);
            let population = Rc::clone(&serve.population);
            (path, Rc::new(Serve { front, population, ..peers }) as Rc<dyn Upgrade>)
        };
        let paths = websockets.into_iter().map(on_path).collect();
        let mut front = Front::clone(&serve.front);
        front.limits.handshake_time = http.header_time();
        let serve = Serve { front: Rc::new(front), ..serve };
        self.listen(listener, serve.http(Some(http.upgrades(paths))))
    }

    /// Starts an outgoing connection; its first event is `Connect` (or `Opened`), or `Close`.
    ///
    /// # Errors
    /// When the operating system refuses at once; later failures come as a `Close` event.
    pub fn connect<D: Driver>(
        &self,
        address: SocketAddr,
        serve: &Rc<Serve<D>>,
    ) -> Result<Connection<D>, Error> {
        let failed = |source| Error::Connect { address, source };
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let transport = Transport::new(Stream::Tcp(stream), None, None);
        let entry = insert(self, serve, State::Connecting, transport, address.into());
        let entry = entry.map_err(failed)?;
        serve.population.enter(entry.counted_for());
        // Who connects knows of it before any event, and has to hear that it failed.
        entry.flags.announced.set(true);
        entry.set_deadline(entry.limits().handshake_time);
        Ok(Connection::of(&entry))
    }
}
