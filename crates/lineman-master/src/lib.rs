//! The processes of a program: the command line, the master that starts, watches, reloads and stops
//! workers, and the inside of a worker as far as it talks with its master.
//!
//! It sees no connection and runs no handler: it does not know `lineman-connection`, and reaches what
//! serves in a worker through the trait `program::Inside`, which `lineman` implements, as it does
//! `program::Program` for `App`. What a service is to the master (name, count, addresses) is data in
//! `service`. Programs use all of it through `lineman`.

pub mod service;
pub mod config;
pub mod program;
pub mod command;
pub mod master;
pub mod process;
mod control;
mod terminal;
mod self_signed;
mod error;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use error::Error;
use lineman_os::{self as os, limit};
use lineman_wire::{BoxError, Result};
pub use terminal::log::Format as LogFormat;
