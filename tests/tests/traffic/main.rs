//! What goes over sockets: protocols, TLS, HTTP, peers that mean harm, many connections.

mod transports;
mod tls;
mod web;
mod login;
mod outgoing;
mod hostile;
mod hostile_limits;
mod hostile_tls;
mod hostile_http;
mod hostile_http2;
mod hostile_deflate;
mod hostile_datagrams;
mod many;
mod handover;
mod gateway_handover;
