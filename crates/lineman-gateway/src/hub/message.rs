//! What can be sent to clients: everything that becomes a message.

use bytes::Bytes;
use lineman_wire::websocket::Message;
use serde::Serialize;

use crate::error::HubError;

/// Something to send to clients, text or binary: strings and JSON are text, bytes are binary, and a [`Message`] is
/// what it was received or made as.
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
