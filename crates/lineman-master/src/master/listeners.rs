//! The sockets of all slots: bound before anything starts, kept for the master's life, lent to every
//! process of their slot. Reads and accepts nothing.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::lending::Reach;
use super::socket_file::{self, SocketFile};
use super::upgrade::ListenerState;
use crate::Error;
use crate::os::procfs;
use crate::service::bind::{Reuse, bind, resolve};
use crate::service::{Description, Endpoint, Listen, Ports, Sharing, SocketOptions, Traffic};

/// One slot's socket for one address; or the one that all slots have.
#[derive(Debug, Clone)]
pub(super) struct Listener(Rc<BoundListener>);

#[derive(Debug)]
struct BoundListener {
    recipe: Recipe,
    address: Endpoint,
    users: Users,
    /// Stands before the socket: see [`SocketFile`].
    file: RefCell<Option<SocketFile>>,
    /// `None` while it is parked, but for TCP.
    socket: RefCell<Option<Socket>>,
    parked: Cell<bool>,
    /// Whether a service manager opened it: it goes on listening then, whatever becomes of us.
    given: bool,
}

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    OneSlot,
    /// That of all slots of its service.
    AllSlots,
}

impl Users {
    /// Returns whose a socket is that all of so many slots have.
    fn of(slots: usize) -> Self {
        if slots == 1 { Self::OneSlot } else { Self::AllSlots }
    }
}

impl BoundListener {
    fn new(recipe: Recipe, address: Endpoint, users: Users, socket: Socket) -> Self {
        let socket = RefCell::new(Some(socket));
        let (file, parked) = (RefCell::default(), Cell::new(false));
        Self { recipe, address, users, file, socket, parked, given: false }
    }
}

impl Listener {
    fn open(mut recipe: Recipe, users: Users) -> io::Result<Self> {
        let (socket, file) = recipe.open()?;
        let address = match &mut recipe.place {
            BindAddress::Unix(endpoint) => endpoint.clone(),
            BindAddress::Internet(address) => {
                *address = local(&socket)?;
                Endpoint::from(*address)
            }
        };
        let file = RefCell::new(file);
        Ok(Self(Rc::new(BoundListener {
            file,
            ..BoundListener::new(recipe, address, users, socket)
        })))
    }

    /// Takes a socket that listens already. A Unix socket's file is not ours to remove.
    fn given(listen: &Listen, socket: Socket, users: Users) -> io::Result<Self> {
        let local = socket.local_addr()?.as_socket();
        let (address, place) = match (local, listen.endpoint().map_err(io::Error::other)?) {
            (Some(local), _) => (Endpoint::from(local), BindAddress::Internet(local)),
            (None, endpoint) => (endpoint.clone(), BindAddress::Unix(endpoint)),
        };
        let recipe = Recipe::new(listen, place);
        let listener = BoundListener::new(recipe, address, users, socket);
        Ok(Self(Rc::new(BoundListener { given: true, ..listener })))
    }

    /// Returns one that the program before had.
    pub(super) fn again(
        listen: &Listen,
        socket: OwnedFd,
        state: &ListenerState,
    ) -> io::Result<Self> {
        let address: Endpoint = state.address.parse().map_err(io::Error::other)?;
        let socket = Socket::from(socket);
        let place = match socket.local_addr()?.as_socket() {
            Some(local) => BindAddress::Internet(local),
            None => BindAddress::Unix(address.clone()),
        };
        let reuse = if state.reuses_port { Reuse::Port } else { Reuse::Nothing };
        let recipe = Recipe { reuse, ..Recipe::new(listen, place) };
        let users = if state.is_shared { Users::AllSlots } else { Users::OneSlot };
        let file = match (&address, state.file) {
            (Endpoint::Path(path), Some(identity)) => Some(SocketFile::again(path, identity)),
            _ => None,
        };
        let listener = BoundListener::new(recipe, address, users, socket);
        let (file, given) = (RefCell::new(file), state.is_given);
        Ok(Self(Rc::new(BoundListener { file, given, ..listener })))
    }

    /// Writes it down, with a descriptor that stays open across an execution.
    pub(super) fn written(
        &self,
        hold: &mut impl FnMut(OwnedFd) -> RawFd,
    ) -> io::Result<ListenerState> {
        let parked = || io::Error::other("a listener is parked");
        let socket = self.0.socket.borrow();
        let socket = socket.as_ref().filter(|_| !self.0.parked.get()).ok_or_else(parked)?;
        Ok(ListenerState {
            socket: hold(rustix::io::dup(socket)?),
            address: self.0.address.to_string(),
            is_shared: self.0.users == Users::AllSlots,
            reuses_port: matches!(self.0.recipe.reuse, Reuse::Port),
            is_given: self.0.given,
            file: self.0.file.borrow().as_ref().map(SocketFile::identity),
        })
    }

    /// Returns whether both are of one socket.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the address in force.
    pub(super) fn address(&self) -> &Endpoint {
        &self.0.address
    }

    /// Returns what it has to do with those of the slot's neighbours.
    pub(super) fn reach(&self, listen: &Listen) -> Reach {
        match (self.0.users, listen.ports, listen.traffic) {
            (Users::AllSlots, ..) => Reach::AllSlots,
            (Users::OneSlot, Ports::PerSlot, _) => Reach::OwnAddress,
            (Users::OneSlot, Ports::Shared, Traffic::Streams) => Reach::SameAddress,
            (Users::OneSlot, Ports::Shared, Traffic::Datagrams) => Reach::SameAddressDatagrams,
        }
    }

    /// Returns whether a service manager opened it.
    pub(super) fn is_given(&self) -> bool {
        self.0.given
    }

    /// Returns a descriptor of the same socket, for a process to inherit.
    pub(super) fn lend(&self) -> io::Result<OwnedFd> {
        match &*self.0.socket.borrow() {
            Some(socket) => Ok(socket.try_clone()?.into()),
            None => Err(io::Error::other("the socket is parked")),
        }
    }

    /// Stops listening: while a slot has no process, the kernel would go on feeding its share of
    /// what arrives to a socket that no process reads.
    ///
    /// TCP keeps the address meanwhile. A Unix socket could not listen again, and UDP knows no such
    /// state, so those are closed and bound anew; the file stays, and refuses.
    pub(super) fn park(&self) {
        if self.0.given || self.0.parked.replace(true) {
            return;
        }
        if !self.0.recipe.is_tcp() {
            self.0.socket.take();
            return;
        }
        if let Some(socket) = &*self.0.socket.borrow()
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            tracing::debug!(address = %self.0.address, %error, "cannot park a listener");
        }
    }

    /// Listens again after [`Listener::park`].
    pub(super) fn unpark(&self) -> io::Result<()> {
        if !self.0.parked.get() {
            return Ok(());
        }
        let BoundListener { recipe, file, socket, .. } = &*self.0;
        let mut socket = socket.borrow_mut();
        if let Some(socket) = &*socket {
            socket.listen(recipe.backlog())?;
        } else {
            // What it left behind has the place of the new one.
            drop(file.take());
            let (opened, its_file) = recipe.open()?;
            file.replace(its_file);
            *socket = Some(opened);
        }
        self.0.parked.set(false);
        Ok(())
    }
}

/// Binds the sockets of one service: for each slot, one for each address. What was given is not bound.
pub(super) fn bind_service(
    description: &Description,
    given: Vec<Option<Socket>>,
) -> Result<Vec<Vec<Listener>>, Error> {
    let mut slots: Vec<Vec<Listener>> = (0..description.count).map(|_| Vec::new()).collect();
    for (listen, given) in description.listeners.iter().zip(given) {
        let endpoint = listen.endpoint()?;
        let count = description.count;
        let sockets = match given {
            Some(socket) => Listener::given(listen, socket, Users::of(count))
                .map(|listener| vec![listener; count])
                .map_err(|source| failed(listen, &listen.address, source))?,
            None => bind_address(listen, endpoint, count)?,
        };
        for (slot, listener) in slots.iter_mut().zip(sockets) {
            slot.push(listener);
        }
    }
    Ok(slots)
}

fn failed(listen: &Listen, address: impl Display, source: io::Error) -> Error {
    Error::Listen { address: listen.shown(address), source }
}

/// Says so when the kernel keeps fewer connections waiting than asked for.
pub(super) fn note_backlog(services: &[Description]) {
    let streams = services.iter().flat_map(|service| &service.listeners);
    let streams = streams.filter(|listen| listen.traffic == Traffic::Streams);
    let wanted = streams.map(|listen| listen.options.backlog).max().unwrap_or_default();
    if let Some(limit) = procfs::backlog_limit()
        && limit < u32::from(wanted)
    {
        tracing::warn!(
            wanted,
            limit,
            "net.core.somaxconn is low: bursts of connections may be refused"
        );
    }
}

fn bind_address(listen: &Listen, endpoint: Endpoint, count: usize) -> Result<Vec<Listener>, Error> {
    let all_failed = |source| failed(listen, &listen.address, source);
    let address = match endpoint {
        Endpoint::Internet { host, port } => {
            resolve(&host, port, listen.options.families).map_err(all_failed)?
        }
        unix => {
            let recipe = Recipe::new(listen, BindAddress::Unix(unix));
            return one_for_all(&recipe, count).map_err(all_failed);
        }
    };
    let at = |address| Recipe::new(listen, BindAddress::Internet(address));
    match (listen.ports, listen.options.sharing) {
        (Ports::Shared, Sharing::ReusePort) => {
            shared(&at(address), address, count).map_err(all_failed)
        }
        (Ports::Shared, Sharing::OneSocket) => one_for_all(&at(address), count).map_err(all_failed),
        (Ports::PerSlot, _) => {
            let of_slot = |index| {
                let address = nth_port(address, index).map_err(all_failed)?;
                own(&at(address), Users::OneSlot).map_err(|source| failed(listen, address, source))
            };
            (0..count).map(of_slot).collect()
        }
    }
}

/// Returns the address of a slot that has a port of its own.
pub(super) fn nth_port(address: SocketAddr, index: usize) -> io::Result<SocketAddr> {
    if address.port() == 0 {
        return Ok(address);
    }
    let port = u16::try_from(index).ok().and_then(|index| address.port().checked_add(index));
    let port = port.ok_or_else(|| io::Error::other(format!("slot {index} has no port left")))?;
    Ok(SocketAddr::new(address.ip(), port))
}

/// One socket with the address to itself.
fn own(recipe: &Recipe, users: Users) -> io::Result<Listener> {
    let (recipe, _reserved) = recipe.with_port()?;
    Listener::open(recipe, users)
}

/// One socket that all slots have.
fn one_for_all(recipe: &Recipe, count: usize) -> io::Result<Vec<Listener>> {
    Ok(vec![own(recipe, Users::of(count))?; count])
}

/// A socket for each slot on one address.
fn shared(recipe: &Recipe, address: SocketAddr, count: usize) -> io::Result<Vec<Listener>> {
    if count == 1 {
        return one_for_all(recipe, count);
    }
    if address.port() != 0 {
        // SO_REUSEPORT lets a second copy of the program in without a word: it would share the
        // connections. So first ask the way that is refused when another socket listens.
        drop(recipe.open()?);
    }
    let recipe = Recipe { reuse: Reuse::Port, ..recipe.clone() };
    let (recipe, _reserved) = recipe.with_port()?;
    (0..count).map(|_| Listener::open(recipe.clone(), Users::OneSlot)).collect()
}

/// How to make a socket, once and again after it was parked.
#[derive(Debug, Clone)]
struct Recipe {
    place: BindAddress,
    traffic: Traffic,
    reuse: Reuse,
    options: SocketOptions,
}

#[derive(Debug, Clone)]
enum BindAddress {
    Internet(SocketAddr),
    Unix(Endpoint),
}

impl Recipe {
    fn new(listen: &Listen, place: BindAddress) -> Self {
        let (traffic, options) = (listen.traffic, listen.options.clone());
        Self { place, traffic, reuse: Reuse::Nothing, options }
    }

    fn is_tcp(&self) -> bool {
        matches!(self.place, BindAddress::Internet(_)) && self.traffic == Traffic::Streams
    }

    fn backlog(&self) -> i32 {
        i32::from(self.options.backlog)
    }

    /// Lets the kernel choose the port where it is 0, and returns the socket that reserves it until
    /// the real ones are bound by its number: a TCP socket bound to port 0 itself would lose it when
    /// parked.
    fn with_port(&self) -> io::Result<(Self, Option<Socket>)> {
        let sole_udp = self.traffic == Traffic::Datagrams && self.reuse == Reuse::Nothing;
        match self.place {
            BindAddress::Internet(address) if address.port() == 0 && !sole_udp => {
                let reserve = Self { reuse: Reuse::Port, ..self.clone() }.bound(address)?;
                let place = BindAddress::Internet(local(&reserve)?);
                Ok((Self { place, ..self.clone() }, Some(reserve)))
            }
            BindAddress::Internet(_) | BindAddress::Unix(_) => Ok((self.clone(), None)),
        }
    }

    fn open(&self) -> io::Result<(Socket, Option<SocketFile>)> {
        let socket = match &self.place {
            BindAddress::Internet(address) => self.bound(*address)?,
            BindAddress::Unix(Endpoint::Path(path)) => {
                let (socket, file) = socket_file::listen(path, &self.options)?;
                return Ok((socket, Some(file)));
            }
            BindAddress::Unix(endpoint) => unix(endpoint)?,
        };
        self.options.tune_buffers(&SockRef::from(&socket))?;
        if self.traffic == Traffic::Streams {
            socket.listen(self.backlog())?;
        }
        Ok((socket, None))
    }

    fn bound(&self, address: SocketAddr) -> io::Result<Socket> {
        bind(address, self.traffic, self.reuse, &self.options)
    }
}

/// A socket with a name that is no file.
fn unix(endpoint: &Endpoint) -> io::Result<Socket> {
    let Endpoint::Abstract(name) = endpoint else {
        return Err(io::Error::other("no Unix socket"));
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the socket has no internet address"))
}

#[cfg(test)]
#[path = "listeners_tests.rs"]
mod tests;
