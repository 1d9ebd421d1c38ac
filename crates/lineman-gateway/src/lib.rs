//! Messaging behind gateways: a Gateway holds the clients' connections, a Business runs the
//! application's handlers, a Register introduces them to each other.
//!
//! They speak `GatewayWorker`'s inner protocol, so either side may be the PHP original.

mod events;
mod client;
mod request;
mod error;
mod cluster;
mod hub;
mod mesh;
mod business;
mod rounds;
mod discovery;
mod check;
mod entrance;
mod gateway;
mod register;
mod secret;
mod link_tls;
mod cluster_settings;
mod written;
mod recurrence;
mod outage;
mod losses;
mod strangers;
mod reach;

pub use business::Business;
pub use client::Client;
pub use cluster_settings::ClusterSettings;
pub use entrance::{Allow, ConnectHook, HookFailure};
pub use error::HubError;
pub use events::Events;
pub use gateway::{Gateway, MessageType, Prefer, Router, SlowClient};
pub use hub::{Answers, Hub, IntoMessage, Json};
pub use lineman_client::{LinkCertificates, LinkTls};
pub use lineman_wire::link::{Body, ClientId, Incomplete, Missing};
pub use lineman_wire::websocket::Message;
pub use register::Register;
pub use request::Request;
