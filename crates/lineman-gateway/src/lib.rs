//! Messaging behind gateways: a Gateway holds the clients' connections, a Business runs the
//! application's handlers, a Register introduces them to each other.
//!
//! They speak `GatewayWorker`'s inner protocol, so either side may be the PHP original.

mod discovery;
pub mod register;
mod secret;

pub use register::Register;
