//! The program as the command line and a worker's process see it: what it consists of, and what serves
//! inside a worker. Implemented by `lineman` over `App`, the connection table and the slot's service;
//! nothing here knows any of them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use lineman_wire::Result;
use lineman_wire::briefing::Predecessor;
use lineman_wire::handover::{HandedOver, MoveOrder, RecordFormats};
use lineman_wire::stats::{Complaints, Row, Stats};
use lineman_wire::ticket_keys::TicketKeys;

use crate::config::Config;
use crate::master::hooks::Hooks;
pub use crate::service::StartManner;
use crate::service::{Description, Slot, Socket};

/// A program made of services.
pub trait Program {
    /// Returns its settings.
    fn config(&self) -> &Config;

    /// Returns the facts of its services, in the order they were added.
    fn descriptions(&self) -> Vec<Description>;

    /// Returns what it wants to hear of in the master.
    fn hooks(&self) -> Rc<Hooks>;

    /// Looks at what its services need beside their sockets; returns a line for each that lacks
    /// something.
    fn problems(&self) -> Vec<String>;

    /// Asks what its services need of other machines, for `check --cluster`; this may take some seconds.
    /// Returns a line for each address, each once.
    fn peers(&self) -> Vec<ClusterPeer>;

    /// Returns in which formats of records its processes hand over, where their service does.
    fn formats(&self) -> RecordFormats;

    /// Returns how many threads of a worker may run work that blocks.
    fn blocking_threads(&self) -> usize;

    /// Returns what serves in the worker of a slot; its service does not run yet.
    ///
    /// # Errors
    /// When it cannot be set up.
    fn inside(self: Box<Self>, inherited: Inherited) -> Result<Rc<dyn Inside>>;
}

/// An address of another process that a service needs, and what came of asking there.
#[derive(Debug, Clone)]
pub struct ClusterPeer {
    /// What is there, or should be: `register`, `gateway`.
    pub role: &'static str,
    /// `host:port`, as it was configured or found.
    pub address: String,
    /// How long it took.
    pub took: Duration,
    /// What it answered, or why it did not.
    pub outcome: Result<String, String>,
}

/// What a worker has from its master.
#[derive(Debug)]
pub struct Inherited {
    /// Which process it is.
    pub slot: Slot,
    /// Its sockets, in the order of [`Description::listeners`].
    pub listeners: Vec<Socket>,
    /// The certificate and its key that all TLS uses, if the master made them at its start.
    pub self_signed: Option<(PathBuf, PathBuf)>,
}

/// What serves inside a worker: its connections and the service of its slot.
pub trait Inside {
    /// Serves the connections; resolves only when that has failed.
    fn run(&self) -> LocalBoxFuture<'static, ()>;

    /// Starts the service, which may go by what the process before it has told; it is ready when the
    /// future resolves. Called once.
    fn start(
        &self,
        predecessor: Option<Predecessor>,
        manner: StartManner,
    ) -> LocalBoxFuture<'static, Result>;

    /// Returns which formats of records it hands over in; `None` when its service does not hand over.
    fn record_formats(&self) -> Option<RecordFormats>;

    /// Gives all that can move to the process at the other end of the socket; resolves behind the commit,
    /// when the process accepts no more and has only what could not move. Dropped before, it is as if it had
    /// not been called.
    ///
    /// # Errors
    /// Why it was given up, in one line: everything is as before.
    fn hand_over(
        &self,
        socket: OwnedFd,
        order: MoveOrder,
    ) -> LocalBoxFuture<'static, Result<HandedOver, String>>;

    /// Takes what the process at the other end of the socket gives, and serves it from the commit on, when
    /// this resolves. Called once, when a start that was [`StartManner::Dormant`] is over.
    ///
    /// # Errors
    /// Why there was no commit, in one line: the process is to end, and to touch no connection.
    fn take_over(
        &self,
        socket: OwnedFd,
        order: MoveOrder,
    ) -> LocalBoxFuture<'static, Result<(), String>>;

    /// Returns what a thread that watches the loop may ask: the call of the program's code under way.
    fn current_call(&self) -> fn() -> Option<String>;

    /// Returns how many connections there are.
    fn connections(&self) -> usize;

    /// Returns the sums of its counters, and the named numbers of the service.
    fn status(&self) -> (Stats, BTreeMap<String, u64>);

    /// Returns what the service says of itself in words.
    fn condition(&self) -> Complaints;

    /// Returns what the next process of the slot is to know.
    fn briefing(&self) -> Option<String>;

    /// Returns at most `limit` connections from the place `from` on, and where the next slice begins.
    fn rows(&self, from: usize, limit: usize) -> (Vec<Row>, Option<usize>);

    /// Puts these keys of session tickets in force.
    fn use_ticket_keys(&self, keys: TicketKeys);

    /// Hears of a reload that leaves this process as it is.
    fn reload(&self) -> LocalBoxFuture<'static, ()>;

    /// Accepts at a listener of the slot `lender` as well.
    ///
    /// # Errors
    /// When nothing here listens at its address.
    fn borrow_listener(&self, lender: &str, socket: OwnedFd) -> io::Result<()>;

    /// Leaves the listeners of the slot `lender`.
    fn return_listeners(&self, lender: &str);

    /// Accepts no more.
    fn stop_accepting(&self);

    /// Resolves when the service that runs has nothing left to do.
    fn drain(&self) -> LocalBoxFuture<'static, ()>;

    /// Tells all connections that the process is going away; returns how many.
    fn close_all(&self) -> usize;

    /// Resolves when no connection is left, and no code of the program's is under way.
    fn finished(&self) -> LocalBoxFuture<'static, ()>;

    /// Returns how many handlers, callbacks and calls are under way behind the last connection.
    fn unfinished(&self) -> usize;

    /// Tells at most so many connections that their service restarts (WebSocket code 1012); returns how
    /// many. What it has told does not count again.
    fn close_for_restart(&self, most: usize) -> usize;

    /// Cuts what is left; returns how many.
    fn abort_all(&self) -> usize;

    /// Gives the service that runs the last word.
    fn stopped(&self) -> LocalBoxFuture<'static, ()>;
}
