//! Gateways, businesses and registers together, and the program `lineman`.

mod gateway_tls;
mod link_tls;
mod handover;
mod routes;
mod routers;
mod fairness;
mod questions;
mod registers;
mod misconfigured;
mod machines;
mod partitions;
mod captures;
mod php;
mod server;
mod server_reload;
mod cluster_commands;
