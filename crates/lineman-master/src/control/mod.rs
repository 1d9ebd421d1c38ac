//! What processes say to each other: master and worker over a socket pair each, master and command
//! line over a Unix socket in the runtime folder. Used by `master`, `process` and `command`; it
//! decides nothing and signals no process.

pub(crate) mod message;
pub(crate) mod frame;
mod carry;
pub(crate) mod request;
pub(crate) mod report;
pub(crate) mod answers;
pub(crate) mod server;
pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod lock;
pub(crate) mod exit;
pub(crate) mod environment;

pub(crate) use exit::ExitCode;
pub(crate) use lineman_wire::stats::{Complaints, Row, Stats};

#[cfg(test)]
mod tests;
