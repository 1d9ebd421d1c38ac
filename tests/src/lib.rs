//! The vocabulary of the black-box tests in `tests/`: programs on ports of their own, a crowd that
//! talks, peers that misbehave. The tests themselves stay short.

pub mod programs;
pub mod lineman;
pub mod machines;
pub mod contrib;
pub mod person;
pub mod crowd;
pub mod audience;
pub mod raw;
pub mod innocent;
pub mod peer;
pub mod terminal;
pub mod certificates;
pub mod secure;
pub mod http2;
pub mod ours;
pub mod launch;
pub mod watched;
pub mod meanwhile;

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

use tokio::sync::{Mutex, MutexGuard};

/// Held by a test that needs the machine for itself.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// Waits until no other heavy test of this file runs; Cargo runs the files one after the other.
pub async fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().await
}
