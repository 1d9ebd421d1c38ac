//! WebSocket, RFC 6455 and 7692, for both ends: handshake, frames, the messages made of them,
//! compressed or not.
//!
//! The connection table decodes and encodes with it, and so may any program with bytes of its own.
//! It never answers by itself: a ping or a close is an event, and what to send back is the caller's.
//!
//! ```
//! use bytes::BytesMut;
//! use lineman_wire::websocket::{Decoder, Event, Limits, Message, Role, encode_message};
//!
//! // What a browser sends: a masked text frame.
//! let mut wire = BytesMut::new();
//! encode_message(&Message::from("hello"), Some([1, 2, 3, 4]), &mut wire);
//!
//! let mut decoder = Decoder::new(Role::Server);
//! let event = decoder.decode(&mut wire, &Limits::default())?;
//! assert_eq!(event, Some(Event::Message(Message::from("hello"))));
//! assert_eq!(decoder.decode(&mut wire, &Limits::default())?, None);
//! # Ok::<(), lineman_wire::websocket::Error>(())
//! ```

mod close;
mod decoder;
mod deflate;
mod encode;
mod error;
pub mod frame;
mod handshake;
mod leniency;
mod mask;
mod message;
mod unfinished;
mod utf8;

pub use close::{CloseCode, CloseFrame};
pub use decoder::{Decoder, Event, Limits};
pub use deflate::{Deflate, Encoder, Pool, Prepared};
pub use encode::{encode_close, encode_message, encode_ping, encode_pong};
pub use error::Error;
pub use frame::{Extensions, Role};
pub use handshake::{
    Accepted, ClientHandshake, HandshakeError, HandshakeLimits, Opened, Request, RequestParser,
    Response, ResponseParser, ServerHandshake, Version, accept, is_token,
};
pub use leniency::{Concession, ConcessionError, Leniency};
pub use message::{Message, Utf8Bytes};
