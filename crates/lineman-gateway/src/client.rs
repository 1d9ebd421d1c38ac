//! The client an event is about, as handlers see it.

use std::fmt;
use std::net::SocketAddr;

use lineman::Result;
use lineman_wire::link::{self, ClientId, Order};

use crate::cluster::gateway_of;
use crate::hub::{self, Hub, IntoMessage};

/// A client behind a gateway, with its session.
///
/// The functions are those of [`Hub`] for this client, but for one thing: sending to it and closing
/// it fail when the link to its gateway is gone.
pub struct Client<S = ()> {
    /// Data that stays with the client: a handler sees what the one before it left, and what others have changed since.
    ///
    /// Written back when the handler returns `Ok`: the fields that it has changed, so that what others change in the
    /// same session at the same time ([`Hub::set_session`], PHP) stays, and so do fields that the type does not know.
    /// Where both change one field, the later write counts, and `status` counts a conflict (`session_conflicts`).
    /// To a gateway of `GatewayWorker`'s, or of an earlier version, the session is written whole.
    pub session: S,
    id: ClientId,
    addr: SocketAddr,
    gateway_port: u16,
    hub: Hub,
}

impl<S> Client<S> {
    pub(crate) fn new(client: &link::Client, session: S, hub: Hub) -> Self {
        let addr = SocketAddr::from((client.ip, client.port));
        Self { session, id: client.id, addr, gateway_port: client.gateway_port, hub }
    }

    /// Returns the client's name in the cluster.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Returns the client's address and port. It is 0.0.0.0 for a client that has none, as one of a Unix socket, and
    /// for one in IPv6 behind a gateway of `GatewayWorker`'s, or of an earlier version.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns where the client's gateway is reached by businesses.
    pub fn gateway_addr(&self) -> SocketAddr {
        gateway_of(self.id)
    }

    /// Returns the port that the client connected to.
    pub fn gateway_port(&self) -> u16 {
        self.gateway_port
    }

    /// Sends the client a message.
    ///
    /// # Errors
    /// The gateway's link is full or gone; a message that has no form in JSON.
    pub fn send(&self, message: impl IntoMessage) -> Result {
        let message = message.into_body()?;
        self.order(Order::SendToOne { connection_id: self.id.connection_id, message })
    }

    /// Closes the client when everything sent to it before has left.
    ///
    /// # Errors
    /// The gateway's link is full or gone.
    pub fn close(&self) -> Result {
        self.order(hub::kick(self.id))
    }

    /// Sends the client a last message, then closes it.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn close_with(&self, farewell: impl IntoMessage) -> Result {
        let farewell = farewell.into_body()?;
        self.order(Order::Kick { connection_id: self.id.connection_id, farewell })
    }

    /// Drops the client's connection now; what is queued for it is lost.
    ///
    /// # Errors
    /// As [`Hub::destroy_client`].
    pub fn destroy(&self) -> Result {
        self.hub.destroy_client(self.id)
    }

    /// Binds a uid to the client, in place of the one it had.
    ///
    /// # Errors
    /// As [`Hub::bind_uid`].
    pub fn bind_uid(&self, uid: impl fmt::Display) -> Result {
        self.hub.bind_uid(self.id, uid)
    }

    /// Takes the client's uid away.
    ///
    /// # Errors
    /// As [`Hub::unbind_uid`].
    pub fn unbind_uid(&self) -> Result {
        self.hub.unbind_uid(self.id)
    }

    /// Adds the client to a group.
    ///
    /// # Errors
    /// As [`Hub::join`].
    pub fn join(&self, group: impl fmt::Display) -> Result {
        self.hub.join(self.id, group)
    }

    /// Takes the client out of a group.
    ///
    /// # Errors
    /// As [`Hub::leave`].
    pub fn leave(&self, group: impl fmt::Display) -> Result {
        self.hub.leave(self.id, group)
    }

    fn order(&self, order: Order) -> Result {
        Ok(self.hub.order(self.id, order)?)
    }
}

impl<S: fmt::Debug> fmt::Debug for Client<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("id", &format_args!("{}", self.id))
            .field("addr", &self.addr)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
