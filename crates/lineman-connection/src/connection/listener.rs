//! Listeners in the table, and outgoing connections: how an entry comes to be.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::accept::Accept;
use super::admission::Population;
use super::due::Deadline;
use super::entry::{Entry, Readiness, Weight};
use super::life::{HeardOf, State};
use super::stream::{Stream, StreamListener};
use super::table::{Arrivals, Table};
use super::transit::{Fallback, Transit};
use super::transport::{Prelude, Transport};
use super::{Address, Admission, CloseReason, Connection, Driver, Front, Handler, Limits};
use crate::Error;
use crate::limit::zero_is_none;
use crate::os::PeerTimeout;
use crate::tls::{Acceptor, FromMaster, MutualTls, OfferedTls, Session};

/// How long accepting rests when the process is out of descriptors: spinning would not free one.
const REST: Duration = Duration::from_millis(100);

/// Pauses nearer to each other than this are one episode, which is said once: a process that is full
/// rests ten times a second, for hours if no connection ends.
const EPISODE: Duration = Duration::from_secs(10);

/// Connections accepted in one turn: a flood of them leaves the others their turn.
const ACCEPTS: usize = 256;

/// What all connections of a listener have in common, or those a service opens itself.
pub struct Serve<D: Driver> {
    make: Box<dyn Fn() -> D>,
    pub(super) handler: Rc<dyn Handler<D>>,
    pub(super) front: Rc<Front>,
    pub(super) weight: Weight,
    /// What those that are made here do about a machine that does not answer; none is the system's way.
    peer_timeout: Option<PeerTimeout>,
    /// What takes connections whose first bytes are of another protocol.
    pub(super) fallback: Option<Rc<dyn Fallback>>,
    /// The names of the protocol in TLS's ALPN, the preferred one first.
    alpn: &'static [&'static str],
    pub(super) population: Rc<Population>,
    /// Its place among what the process accepts with; `None` for connections that are made here.
    place: Cell<Option<u16>>,
    /// TLS of the listener's connections, or of those that ask for it.
    pub(super) acceptor: OnceCell<Rc<Acceptor>>,
    /// What becomes of peers that begin with TLS where they need not.
    pub(super) offered_tls: OfferedTls,
    /// TLS that connections which are made here begin with.
    begins_tls: Option<Rc<MutualTls>>,
}

impl<D: Driver> Serve<D> {
    /// Returns peers: each gets a protocol state from `make`, and `handler` hears its events.
    pub fn peers(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        let front = Rc::new(Front::default());
        Self {
            make: Box::new(make),
            handler,
            population: Population::new(&front.limits),
            place: Cell::new(None),
            acceptor: OnceCell::new(),
            offered_tls: OfferedTls::Unseen,
            begins_tls: None,
            front,
            weight: Weight::Peer,
            peer_timeout: None,
            fallback: None,
            alpn: &[],
        }
    }

    /// Returns links between processes of a cluster: not counted as peers, and not closed by a drain.
    pub fn links(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        Self { weight: Weight::Link, ..Self::peers(make, handler) }
    }

    /// Returns connections that the program makes: not counted as peers, told when the process goes away.
    pub(crate) fn outgoing(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        Self { weight: Weight::Outgoing, ..Self::peers(make, handler) }
    }

    /// Sets the bounds of each connection, and of all of them together. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        let front = Front { limits, ..Front::clone(&self.front) };
        self.front(front)
    }

    /// Sets what connections that are made here do about a machine that does not answer. Those that a listener
    /// accepts have what was [set](PeerTimeout::set) on its socket. Default: the system's way, which is to wait
    /// for about a quarter of an hour, and for ever on a connection that is silent.
    #[must_use]
    pub fn peer_timeout(self, peer_timeout: Option<PeerTimeout>) -> Self {
        Self { peer_timeout, ..self }
    }

    /// Has a socket that is made here do so.
    pub(crate) fn tune(&self, stream: &Stream) -> io::Result<()> {
        match (stream, self.peer_timeout) {
            (Stream::Tcp(stream), Some(peer_timeout)) => peer_timeout.set(stream),
            (Stream::Tcp(_) | Stream::Unix(_), _) => Ok(()),
        }
    }

    /// Has peers that are accepted begin with TLS if they like, where no message of the protocol begins with the byte
    /// that TLS does (22); without a way to take them they are refused. They are open before it, as in
    /// [`Connection::start_tls`]: whatever bounds there are for peers that have said nothing hold for its handshake.
    #[doc(hidden)]
    #[must_use]
    pub fn offered_tls(self, tls: Option<Rc<MutualTls>>) -> Self {
        Self { offered_tls: tls.map_or(OfferedTls::Refused, OfferedTls::Taken), ..self }
    }

    /// Has connections that [`Table::connect`] makes begin with TLS. Default: they do not.
    #[doc(hidden)]
    #[must_use]
    pub fn begins_tls(self, tls: Option<Rc<MutualTls>>) -> Self {
        Self { begins_tls: tls, ..self }
    }

    /// Sets everything that does not depend on the protocol. Default: [`Front::default`].
    #[must_use]
    pub fn front(mut self, mut front: Front) -> Self {
        front.limits = front.limits.with_zero_as_none();
        self.population = Population::new(&front.limits);
        self.front = Rc::new(front);
        self
    }

    /// Reads the certificates, before the first connection needs them.
    pub(super) fn prepare_tls(&self) -> Result<(), Error> {
        let Some(tls) = self.front.tls.as_ref().or(self.front.tls_on_demand.as_ref()) else {
            return Ok(());
        };
        let tls = tls.clone().or_alpn(self.alpn);
        let acceptor = Acceptor::new(&tls, FromMaster::of_this_process())?;
        self.acceptor.get_or_init(|| acceptor);
        Ok(())
    }

    /// Returns the TLS that a new connection begins with.
    fn session(&self) -> Option<Session> {
        self.front.tls.as_ref()?;
        Some(self.acceptor.get()?.session().without_tls(D::without_tls))
    }

    /// Returns the layers that a connection from this address begins with.
    pub(super) fn fresh_layers(
        &self,
        peer: &Address,
    ) -> (Option<Box<dyn Prelude>>, Option<Session>) {
        let prelude = self.front.proxies.as_ref().and_then(|proxies| proxies.prelude(peer));
        (prelude, self.session())
    }

    /// Sets what takes connections whose first bytes are of another protocol. Without it they are
    /// refused.
    #[must_use]
    pub(crate) fn fallback(self, fallback: Rc<dyn Fallback>) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// Sets the names to offer in TLS's ALPN, the preferred one first. Default: none.
    #[must_use]
    pub(crate) fn alpn(self, names: &'static [&'static str]) -> Self {
        Self { alpn: names, ..self }
    }

    /// Lets this listener's connections count among those of another one.
    #[must_use]
    pub(crate) fn beside<E: Driver>(self, other: &Serve<E>) -> Self {
        let (front, population) = (Rc::clone(&other.front), Rc::clone(&other.population));
        Self { front, population, ..self }
    }

    /// Sets the time for a handshake, and leaves the other limits.
    #[must_use]
    pub(crate) fn handshake_time(self, time: Duration) -> Self {
        let mut front = Front::clone(&self.front);
        front.limits.handshake_time = zero_is_none(time);
        Self { front: Rc::new(front), ..self }
    }

    /// Returns its place among what the process accepts with.
    pub(super) fn place(&self) -> Option<u16> {
        self.place.get()
    }

    pub(super) fn set_place(&self, place: Option<u16>) {
        self.place.set(place);
    }

    pub(crate) fn shared_front(&self) -> &Rc<Front> {
        &self.front
    }

    /// Returns the protocol state of a new connection.
    pub(super) fn make_driver(&self) -> D {
        (self.make)()
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

/// How a listener serves, which can be changed for the connections to come.
pub struct Served<D: Driver>(Rc<RefCell<Rc<Serve<D>>>>);

impl<D: Driver> Served<D> {
    /// Serves the connections to come as `serve` says. Those that are there go on as they are, and count among the
    /// new ones; they are bounded by address only if they were at first. Certificates are read if TLS has changed.
    ///
    /// # Errors
    /// [`Error::Certificate`] names the file that cannot be used; then nothing changes.
    pub fn replace(&self, table: &Table, mut serve: Serve<D>) -> Result<(), Error> {
        let before = Rc::clone(&self.0.borrow());
        match before.acceptor.get() {
            Some(acceptor) if before.front.tls == serve.front.tls => {
                serve.acceptor.get_or_init(|| Rc::clone(acceptor));
            }
            _ => serve.prepare_tls()?,
        }
        if let Some(period) = serve.front.limits.heartbeat {
            table.beat_every(period);
        }
        serve.place.set(before.place());
        before.population.bound(&serve.front.limits);
        serve.population = Rc::clone(&before.population);
        self.0.replace(Rc::new(serve));
        Ok(())
    }
}

impl<D: Driver> fmt::Debug for Served<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Served").field(&self.0.borrow()).finish()
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
                "cannot accept: new connections wait until others leave (hint: `ulimit -n` bounds them); \
                 not said again while it lasts"
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

/// Gives a connection its entry, which counts among the listener's.
pub(super) fn insert<D: Driver>(
    table: &Table,
    serve: &Rc<Serve<D>>,
    state: State,
    mut transit: Transit,
) -> io::Result<Rc<Entry<D>>> {
    table.insert(transit.facts.weight, |key, _| {
        if let Some(transport) = &mut transit.transport {
            table.watch(key, transport.stream_mut())?;
        }
        Ok(Rc::new(Entry::new(table, key, serve, state, transit)))
    })
}

impl Table {
    /// Serves the connections that arrive at a listener; what it returns can change how, for those to come.
    ///
    /// # Errors
    /// When the listener cannot be put into the poll set.
    pub fn listen<D: Driver>(
        &self,
        listener: impl TryInto<StreamListener, Error = io::Error>,
        serve: Serve<D>,
    ) -> Result<Served<D>, Error> {
        let failed = |source| Error::Os { action: "watch a listener", source };
        let socket = listener.try_into().map_err(failed)?;
        let (served, _) = self.begin_to_listen(socket, serve)?;
        Ok(served)
    }

    /// As [`Table::listen`], with what serves the connections of this listener that turn out to be for a path.
    pub(crate) fn listen_beside<D: Driver, E: Driver>(
        &self,
        listener: StreamListener,
        serve: Serve<D>,
        on_paths: Vec<(String, Rc<Serve<E>>)>,
    ) -> Result<(), Error> {
        let (_, address) = self.begin_to_listen(listener, serve)?;
        for (path, serve) in on_paths {
            let place = self.add_place(format!("{address}{path}"), Rc::new(Rc::clone(&serve)));
            serve.set_place(Some(place));
        }
        Ok(())
    }

    fn begin_to_listen<D: Driver>(
        &self,
        mut socket: StreamListener,
        serve: Serve<D>,
    ) -> Result<(Served<D>, String), Error> {
        let failed = |source| Error::Os { action: "watch a listener", source };
        serve.prepare_tls()?;
        if let Some(period) = serve.front.limits.heartbeat {
            self.beat_every(period);
        }
        let address = socket.local().map_err(failed)?;
        let served = Served(Rc::new(RefCell::new(Rc::new(serve))));
        let accept = Rc::clone(&served.0);
        let place = self.add_place(address.clone(), Rc::<RefCell<Rc<Serve<D>>>>::clone(&accept));
        served.0.borrow().set_place(Some(place));
        self.insert_listener(|key, registry| {
            registry.register(&mut socket, Token(key), Interest::READABLE)?;
            let socket = RefCell::new(socket);
            Ok(Rc::new(Listener { socket, accept, resting: Cell::new(false), lender: None }))
        })
        .map_err(failed)?;
        Ok((served, address))
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
        let stream = Stream::Tcp(stream);
        serve.tune(&stream).map_err(failed)?;
        let session = serve.begins_tls.as_ref().map(|tls| tls.begun(address.ip()));
        let transport = Transport::new(stream, None, session);
        let connection = self.insert_outgoing(serve, transport, address.into()).map_err(failed)?;
        let entry = connection.entry();
        entry.set_due(Deadline::Handshake, entry.limits().handshake_time);
        Ok(connection)
    }

    /// Reserves a place for an outgoing connection. Its last event is `Close`, whatever comes of it;
    /// until it is attached its peer is `0.0.0.0:0`.
    pub(crate) fn reserve<D: Driver>(&self, serve: &Rc<Serve<D>>) -> io::Result<Connection<D>> {
        if let Some(period) = serve.front.limits.heartbeat {
            self.beat_every(period);
        }
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
        self.insert_outgoing(serve, None, unknown)
    }

    fn insert_outgoing<D: Driver>(
        &self,
        serve: &Rc<Serve<D>>,
        transport: impl Into<Option<Transport>>,
        peer: Address,
    ) -> io::Result<Connection<D>> {
        serve.population.enter(None);
        let admission = Admission::new(&serve.population, None);
        let transit = Transit::new(self.facts(peer, admission, serve.weight), transport);
        let entry = insert(self, serve, State::Connecting, transit)?;
        // Its maker knows of it before any event, and has to hear that it failed.
        entry.life.announce(HeardOf::Connection);
        Ok(Connection::of(&entry))
    }
}

impl<D: Driver> Connection<D> {
    /// Gives a reserved connection its socket, and begins with its layers or the protocol. One that was
    /// closed meanwhile drops the socket.
    pub(crate) fn attach(&self, mut transport: Transport, peer: Address) -> io::Result<()> {
        let entry = self.entry();
        if entry.life.state() != State::Connecting {
            return Ok(());
        }
        entry.table.watch(entry.id.key, transport.stream_mut())?;
        entry.transport.replace(Some(transport));
        entry.extra(|extra| extra.peer = Some(peer));
        entry.begin();
        Ok(())
    }

    /// Drops the connection now, for this reason.
    pub(crate) fn fail(&self, reason: CloseReason) {
        self.entry().finish(reason);
    }
}
