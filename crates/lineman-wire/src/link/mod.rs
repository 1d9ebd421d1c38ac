//! `GatewayWorker`'s inner protocols: packets between gateway and business, lines of the register.
//!
//! `lineman-gateway` calls it on its links, and `lineman-client`. It never checks a key, keeps a
//! table, or sends anything. [`Packet`] and [`Codec`] are the bytes; [`Event`] and
//! [`Request`] are what they mean.

mod answer;
mod body;
mod client_id;
mod codec;
mod command;
mod held_names;
mod error;
mod event;
mod json;
mod login;
mod name;
mod order;
mod packet;
pub mod php_json;
mod query;
pub mod register;
mod reply;
mod request;
mod revision;
mod secret;
pub mod session;
mod websocket_connect;
mod witness;

pub use answer::{Answers, GatewayAnswer, Incomplete, Member, Missing, OnlineClient};
pub use body::Body;
pub use client_id::ClientId;
pub use codec::Codec;
pub use command::Command;
pub use error::Error;
pub use event::{Client, Event, Hello};
pub use held_names::{Change, Extent, HeldNames, NameKey};
pub use login::Login;
pub use name::Name;
pub use order::{Audience, Order};
pub use packet::{HEADER_LENGTH, MAX_PACKET, Packet, flags};
pub use query::{Condition, Field, Query, Select};
pub use reply::{MAX_REPLY, Reply, ReplyCodec};
pub use request::{Allowance, Control, Request};
pub use revision::{SessionForm, SessionPatch, SessionVersion};
pub use secret::{Secret, is_cluster_name};
pub use websocket_connect::RequestHead;
pub use witness::{Note, Says, Witness, Witnessed};

/// The version of Lineman's extension of the protocol, offered in `WORKER_CONNECT` and `Hello`. Each end
/// uses what the lower of the two has: 2 adds [`Control::Credit`], [`Control::Alive`] and [`Control::Share`]; 3
/// [`Control::Probe`], [`Control::Kept`], [`Control::Relay`], [`Control::Settle`], [`Query::Stamped`],
/// [`Event::Probe`], [`Event::Refused`], [`Event::Returned`], [`Event::Forget`], [`Event::Witness`], [`Event::Relay`] and
/// [`HeldNames`], and epochs, signs of life and reasons to the lines of a register; 4 the type of a message
/// ([`flags::TEXT`], [`flags::BINARY`]); 5 addresses of clients in IPv6, and
/// sessions with versions ([`SessionForm`], [`Order::PatchSession`]).
pub const EXTENSION_VERSION: u32 = 5;

/// The version from which on a peer knows the type of a message.
pub const TYPES: u32 = 4;

/// The version from which on a peer knows a client's address in IPv6.
pub const ADDRESSES: u32 = 5;

/// The version from which on a peer keeps the sessions of its clients, and writes what has changed in them.
pub const SESSIONS: u32 = 5;
