//! What an application is made of: the handlers of its clients' events.

use lineman::Result;
use lineman_wire::websocket::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Client, Hub, Request};

/// An application behind gateways.
///
/// Each process of a [`crate::Business`] has one value of it. The events of one client come in
/// order, one at a time; those of different clients interleave wherever a handler waits. A handler
/// that returns an error, or panics, is logged with its client; the client is closed, and its
/// session stays as it was.
///
/// ```
/// use lineman_gateway::{Client, Events, Hub, Message};
///
/// struct Echo;
///
/// impl Events for Echo {
///     type Session = ();
///
///     async fn on_message(
///         &self,
///         _hub: &Hub,
///         client: &mut Client,
///         message: Message,
///     ) -> lineman::Result {
///         client.send(message)
///     }
/// }
/// ```
#[expect(async_fn_in_trait, reason = "a business has one thread: no future needs to be Send")]
pub trait Events: 'static {
    /// What travels with each client: a struct or a map, or `()` for nothing.
    ///
    /// It is kept by the gateway as an array in PHP's format, so a field that is new should have a
    /// `#[serde(default)]`: clients that are connected bring the old ones.
    type Session: Serialize + DeserializeOwned + Default + 'static;

    /// Runs in each process before it is linked to gateways; an error is a failed start.
    async fn on_start(&self, hub: &Hub) -> Result {
        let _ = hub;
        Ok(())
    }

    /// Runs when a client has connected.
    async fn on_connect(&self, hub: &Hub, client: &mut Client<Self::Session>) -> Result {
        let _ = (hub, client);
        Ok(())
    }

    /// Runs when a client is connected for which `on_close` has run: its gateway had been out of reach, and is
    /// back. By default it does what `on_connect` does.
    ///
    /// While a gateway cannot be reached, its businesses on the other side cannot know whether it is dead with
    /// its clients, and run `on_close`; on its own side the clients are served meanwhile. When the two sides see
    /// each other again, this runs for each such client that is still connected, wherever it is served by then, so
    /// that `on_connect` or this, and `on_close`, are pairs. The client has its uid, its groups and its session,
    /// and may have sent messages since; put right here what `on_close` undid, or have it connect anew with
    /// [`Client::close`].
    async fn on_return(&self, hub: &Hub, client: &mut Client<Self::Session>) -> Result {
        self.on_connect(hub, client).await
    }

    /// Runs when a client has asked to open its WebSocket; after `on_connect`.
    async fn on_websocket_connect(
        &self,
        hub: &Hub,
        client: &mut Client<Self::Session>,
        request: Request,
    ) -> Result {
        let _ = (hub, client, request);
        Ok(())
    }

    /// Runs for each message of a client.
    ///
    /// It is text or binary as the client has sent it over WebSocket. Of other protocols, and behind a gateway of
    /// PHP's, what is UTF-8 is text.
    async fn on_message(
        &self,
        hub: &Hub,
        client: &mut Client<Self::Session>,
        message: Message,
    ) -> Result;

    /// Runs once when a client is gone, for whatever reason; also when its gateway died, or cannot be reached
    /// for so long that it counts as dead. If it was alive all the same, [`Events::on_return`] runs later.
    ///
    /// The client has its last session, but neither uid nor groups any more.
    async fn on_close(&self, hub: &Hub, client: &mut Client<Self::Session>) -> Result {
        let _ = (hub, client);
        Ok(())
    }

    /// Runs in each process when it has nothing left to do, before it exits; an error is logged.
    ///
    /// It has half of [`App::stop_limit`](lineman::App::stop_limit), so 1 s by default.
    async fn on_stop(&self, hub: &Hub) -> Result {
        let _ = hub;
        Ok(())
    }
}
