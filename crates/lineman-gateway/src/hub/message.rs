//! What can be sent to clients: everything that becomes a message.

use bytes::Bytes;
use lineman_wire::link::Body;
use lineman_wire::websocket::Message;
use serde::Serialize;

use crate::error::HubError;

/// Something to send to clients, text or binary: strings and JSON are text, bytes are binary, and a [`Message`] is
/// what it was received or made as. A [`Body::Raw`] has bytes that go out to clients as they are, in the form that
/// these speak, as a frame of WebSocket with its head: the argument `$raw` in `GatewayWorker`.
///
/// ```no_run
/// # use lineman_gateway::{Body, Hub};
/// # fn example(hub: &Hub) -> lineman::Result {
/// hub.send_to_group("lobby", Body::Raw("\u{1}\u{2}hi".into()))
/// # }
/// ```
///
/// Clients get it in that type, unless their gateway has another setting
/// ([`Gateway::message_type`](crate::Gateway::message_type)). A gateway of PHP's knows no types: it sends all as text,
/// or all as binary.
pub trait IntoMessage {
    /// Makes the message.
    ///
    /// # Errors
    /// The value has no form in JSON.
    fn into_message(self) -> Result<Message, HubError>;

    /// Makes what travels to the gateway: the message.
    ///
    /// # Errors
    /// As [`IntoMessage::into_message`].
    fn into_body(self) -> Result<Body, HubError>
    where
        Self: Sized,
    {
        self.into_message().map(Body::from)
    }
}

/// Sends a value of any type as JSON: `hub.send_to_all(Json(&score))`.
///
/// ```
/// use lineman_gateway::{IntoMessage, Json};
///
/// let message = Json(&("Ada", 36)).into_message()?;
/// assert_eq!(message.as_text(), Some(r#"["Ada",36]"#));
/// # Ok::<(), lineman_gateway::HubError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Json<'a, T: ?Sized>(pub &'a T);

impl<T: Serialize + ?Sized> IntoMessage for Json<'_, T> {
    fn into_message(self) -> Result<Message, HubError> {
        Ok(Message::from_json(self.0)?)
    }
}

/// Implements the trait for types that become a message without fail.
macro_rules! messages {
    ($($type:ty),* $(,)?) => {$(
        impl IntoMessage for $type {
            fn into_message(self) -> Result<Message, HubError> {
                Ok(Message::from(self))
            }
        }
    )*};
}

messages!(&str, String, Bytes, Vec<u8>, &[u8], serde_json::Value, &serde_json::Value);

impl IntoMessage for Message {
    fn into_message(self) -> Result<Message, HubError> {
        Ok(self)
    }
}

impl IntoMessage for &Message {
    fn into_message(self) -> Result<Message, HubError> {
        Ok(self.clone())
    }
}

impl IntoMessage for &String {
    fn into_message(self) -> Result<Message, HubError> {
        Ok(Message::from(self.as_str()))
    }
}

/// It travels as it is; as a message it is binary.
impl IntoMessage for Body {
    fn into_message(self) -> Result<Message, HubError> {
        Ok(Message::from(self.into_parts().1))
    }

    fn into_body(self) -> Result<Body, HubError> {
        Ok(self)
    }
}
