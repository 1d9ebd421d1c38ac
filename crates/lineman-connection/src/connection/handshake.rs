//! How a connection begins: the socket is connected, the layers are through, the protocol's handshake
//! is done. Until then it has one deadline, and counts among its listener's handshakes under way.

use std::io;
use std::rc::Rc;

use super::due::Deadline;
use super::entry::Entry;
use super::handler::Event;
use super::life::{HeardOf, State};
use super::outflow::Ending;
use super::{Address, CloseReason, Driver, Opening};

impl<D: Driver> Entry<D> {
    /// The socket of an outgoing connection is connected, or that failed.
    pub(super) fn transport_up(self: &Rc<Self>) {
        let outcome = match self.transport.borrow().as_ref() {
            Some(transport) => match transport.stream().take_error() {
                Ok(None) => transport.stream().peer_addr().map(drop),
                Ok(Some(error)) | Err(error) => Err(error),
            },
            None => return,
        };
        match outcome {
            Ok(()) => self.begin(),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => self.finish(CloseReason::ConnectFailed(error.to_string())),
        }
    }

    /// The socket is connected: the layers begin, or else the protocol.
    pub(super) fn begin(self: &Rc<Self>) {
        self.life.become_now(State::Preparing);
        let begun = match self.transport.borrow_mut().as_mut() {
            Some(transport) => transport.start().map(|()| transport.is_up()),
            None => return,
        };
        match begun {
            Ok(true) => self.begin_protocol(),
            Ok(false) => {
                self.enter_handshake();
                self.touch();
            }
            Err(reason) => self.layer_failed(reason),
        }
    }

    /// The layers are through: the driver starts, and without a handshake the connection is open.
    pub(super) fn begin_protocol(self: &Rc<Self>) {
        self.life.become_now(State::Handshake);
        self.driver.borrow_mut().start(self.outflow.queue.borrow_mut().tail(), self.limits());
        if !self.outflow.queue.borrow().is_empty() {
            self.touch();
        }
        if D::HANDSHAKE {
            self.enter_handshake();
        } else {
            self.open(Event::Connect);
        }
    }

    /// Messages flow from here on.
    pub(super) fn open(self: &Rc<Self>, event: Event<D>) {
        self.life.become_now(State::Open);
        self.leave_handshake();
        self.life.announce(HeardOf::Connection);
        self.dispatch(event);
        // An end that was asked for before a change of protocol.
        if self.life.is_open() && self.outflow.end() == Ending::Asked {
            if D::HALF_CLOSES { self.begin_end() } else { self.begin_close(CloseReason::Local) }
        }
    }

    /// The handler agrees to the handshake.
    pub(super) fn answer_handshake(self: &Rc<Self>) {
        let accepted = self.driver.borrow_mut().accept(self.outflow.queue.borrow_mut().tail());
        self.touch();
        match accepted {
            Ok(()) => self.open(Event::Opened),
            Err(reason) => self.begin_close(reason),
        }
    }

    /// It counts as half-open from here, and has a deadline; the listener's oldest may give way to it.
    pub(super) fn enter_handshake(&self) {
        if !self.life.enter_handshakes() {
            return;
        }
        self.set_due(Deadline::Handshake, self.limits().handshake_time);
        let oldest =
            self.serve.population.begin_handshake(self.id, |id| self.table.is_half_open(id));
        if let Some(oldest) = oldest
            && self.table.evict(oldest)
        {
            self.table.add(|counters| &counters.handshakes_failed, 1);
        }
    }

    pub(super) fn leave_handshake(&self) {
        self.clear_due(Deadline::Handshake);
        if self.life.leave_handshakes() {
            self.serve.population.end_handshake();
        }
    }

    /// A proxy told the client's address: its bound is that address's from now on.
    pub(super) fn readdress(&self, peer: Address) -> Result<(), CloseReason> {
        match self.serve.population.readdress(self.counted_for(), peer.ip()) {
            Ok(()) => {
                self.extra(|extra| extra.peer = Some(peer));
                self.life.set_counted(true);
                Ok(())
            }
            Err(limit) => {
                self.table.add(|counters| counters.limited(limit), 1);
                Err(CloseReason::Limited(limit))
            }
        }
    }

    /// The request may tell which client is behind a proxy.
    pub(super) fn find_client(&self, opening: &D::Opening) -> Result<(), CloseReason> {
        let Some(proxies) = &self.serve.front.proxies else { return Ok(()) };
        let told = proxies.client_of(&self.peer(), |name| opening.values(name))?;
        told.map_or(Ok(()), |client| self.readdress(client))
    }
}
