//! Listeners in the table, and outgoing connections: how an entry comes to be.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::deadlines::Whose;
use super::entry::{Entry, Flags, State, Weight};
use super::limits::Limits;
use super::queue::SendQueue;
use super::table::Table;
use super::{Connection, Driver, Handler};
use crate::Error;
use crate::http::{Http, KeepAlive, Taken, Takeover};

/// How long accepting rests when the process is out of descriptors: spinning would not free one.
const REST: Duration = Duration::from_millis(100);

/// What is made of the connections of one listener, or of an outgoing one.
pub struct Serve<D: Driver> {
    make: Box<dyn Fn() -> D>,
    handler: Rc<dyn Handler<D>>,
    limits: Rc<Limits>,
    weight: Weight,
    http: Option<Rc<dyn Takeover>>,
}

impl<D: Driver> Serve<D> {
    /// Returns peers: each gets a protocol state from `make`, and `handler` hears its events.
    pub fn peers(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        let limits = Rc::new(Limits::default());
        Self { make: Box::new(make), handler, limits, weight: Weight::Peer, http: None }
    }

    /// Returns links between processes of a cluster: not counted as peers, and not closed by a drain.
    pub fn links(make: impl Fn() -> D + 'static, handler: Rc<dyn Handler<D>>) -> Self {
        Self { weight: Weight::Link, ..Self::peers(make, handler) }
    }

    /// Sets the bounds of each connection.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Rc::new(limits);
        self
    }

    /// Sets who serves requests that are plain HTTP. Without one they are refused with 426.
    #[must_use]
    pub fn http(mut self, http: Option<Http>) -> Self {
        self.http = http.map(|http| http.0);
        self
    }

    /// An entry without its socket, which follows once it is registered.
    fn entry(&self, table: &Table, key: usize, state: State, peer: SocketAddr) -> Rc<Entry<D>> {
        Rc::new(Entry {
            id: table.next_id(),
            key,
            table: table.clone(),
            socket: RefCell::new(None),
            peer,
            weight: self.weight,
            state: Cell::new(state),
            flags: Flags::default(),
            driver: RefCell::new((self.make)()),
            handler: Rc::clone(&self.handler),
            limits: Rc::clone(&self.limits),
            unread: RefCell::new(BytesMut::new()),
            queue: RefCell::new(SendQueue::default()),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            deadline: Cell::new(None),
            reason: RefCell::new(None),
            http: self.http.clone(),
        })
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

/// What `accept` gives.
type Arrival = (TcpStream, SocketAddr);

/// What a listener does with an arrival.
trait Accept {
    fn accept(&self, table: &Table, arrival: Arrival) -> io::Result<()>;
}

struct AcceptPeers<D: Driver> {
    serve: Serve<D>,
    /// Connections that were in their handshake when they came, oldest first.
    half_open: RefCell<VecDeque<Whose>>,
}

impl<D: Driver> Accept for AcceptPeers<D> {
    fn accept(&self, table: &Table, (socket, peer): Arrival) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let entry = insert(table, &self.serve, State::Handshake, socket, peer)?;
        entry.begin();
        if D::HANDSHAKE {
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
        if table.handshakes() <= self.serve.limits.handshakes {
            // Those that are done leave the list when it has grown to twice what can be under way.
            if half_open.len() > 2 * self.serve.limits.handshakes {
                half_open.retain(|&whose| table.in_handshake(whose));
            }
            return;
        }
        while let Some(oldest) = half_open.pop_front() {
            if table.evict(oldest) {
                return;
            }
        }
    }
}

/// A listening socket in the table's poll set.
pub(super) struct Listener {
    socket: RefCell<TcpListener>,
    accept: Box<dyn Accept>,
    resting: Cell<bool>,
}

impl Listener {
    /// Takes every connection that waits.
    pub(super) fn accept_all(self: &Rc<Self>, table: &Table) {
        while !self.resting.get() {
            let arrival = self.socket.borrow().accept();
            match arrival {
                Ok(arrival) => {
                    table.add(|counters| &counters.accepted, 1);
                    let peer = arrival.1;
                    if let Err(error) = self.accept.accept(table, arrival) {
                        tracing::debug!(%peer, %error, "connection lost while it was accepted");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return self.rest(table, &error),
            }
        }
    }

    /// Leaves the poll set. Closing alone would not do: the master holds the same socket open, and
    /// the kernel forgets a registration only with the last holder.
    pub(super) fn leave(&self, registry: &Registry) {
        self.resting.set(true);
        if let Err(error) = registry.deregister(&mut *self.socket.borrow_mut()) {
            tracing::warn!(%error, "cannot leave a listener");
        }
    }

    fn rest(self: &Rc<Self>, table: &Table, error: &io::Error) {
        tracing::error!(%error, "cannot accept, resting (hint: `ulimit -n` bounds the connections)");
        self.resting.set(true);
        let (listener, table) = (Rc::clone(self), table.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(REST).await;
            if table.is_accepting() {
                listener.resting.set(false);
                listener.accept_all(&table);
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

fn insert<D: Driver>(
    table: &Table,
    serve: &Serve<D>,
    state: State,
    mut socket: TcpStream,
    peer: SocketAddr,
) -> io::Result<Rc<Entry<D>>> {
    let make = |key| (serve.entry(table, key, state, peer), serve.weight);
    let entry = table.insert(&mut socket, make)?;
    entry.socket.replace(Some(socket));
    Ok(entry)
}

impl Table {
    /// Serves the connections that arrive at a listener.
    ///
    /// # Errors
    /// When the listener cannot be put into the poll set.
    pub fn listen<D: Driver>(
        &self,
        listener: std::net::TcpListener,
        serve: Serve<D>,
    ) -> Result<(), Error> {
        let accept = Box::new(AcceptPeers { serve, half_open: RefCell::default() });
        self.listen_with(listener, accept)
    }

    /// Hands every connection of a listener to the HTTP service, with no byte read.
    pub(crate) fn listen_http(
        &self,
        listener: std::net::TcpListener,
        http: Http,
    ) -> Result<(), Error> {
        self.listen_with(listener, Box::new(AcceptHttp { http: http.0 }))
    }

    fn listen_with(
        &self,
        listener: std::net::TcpListener,
        accept: Box<dyn Accept>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Os { action: "watch a listener", source };
        listener.set_nonblocking(true).map_err(failed)?;
        self.insert_listener(|key, registry| {
            let mut socket = TcpListener::from_std(listener);
            registry.register(&mut socket, Token(key), Interest::READABLE)?;
            Ok(Listener { socket: RefCell::new(socket), accept, resting: Cell::new(false) })
        })
        .map_err(failed)
    }

    /// Starts an outgoing connection; its first event is `Connect` (or `Opened`), or `Close`.
    ///
    /// # Errors
    /// When the operating system refuses at once; later failures come as a `Close` event.
    pub fn connect<D: Driver>(
        &self,
        address: SocketAddr,
        serve: &Serve<D>,
    ) -> Result<Connection<D>, Error> {
        let failed = |source| Error::Connect { address, source };
        let socket = TcpStream::connect(address).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let entry = insert(self, serve, State::Connecting, socket, address).map_err(failed)?;
        // Who connects knows of it before any event, and has to hear that it failed.
        entry.flags.announced.set(true);
        entry.set_deadline(entry.limits.handshake_time);
        Ok(Connection::of(&entry))
    }
}

struct AcceptHttp {
    http: Rc<dyn Takeover>,
}

impl Accept for AcceptHttp {
    fn accept(&self, table: &Table, (socket, peer): Arrival) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let (bytes, keep_alive) = (Bytes::new(), KeepAlive::On);
        self.http.take(table, Taken { socket, peer, bytes, keep_alive });
        Ok(())
    }
}
