//! What a worker process runs: the interface between the process model and the services.
//!
//! Implemented by [`crate::Worker`] and by `lineman-gateway`'s Register, Gateway and Business; called
//! by `inside` in the worker and, for [`Description`] alone, by the command line and the master.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Result;
use crate::connection::{CannotMove, Table};

mod inner;
mod processes;
mod listening;

pub use inner::Inner;
pub use lineman_connection::LocalFuture;
pub use lineman_master::program::ClusterPeer;
pub use lineman_master::service::{
    Description, Endpoint, Keepalive, Listen, Ports, Reload, Slot, Socket, SocketOptions,
    StopOrder, Traffic,
};
pub use lineman_wire::briefing::{MAX_BRIEFING, Predecessor};
pub use lineman_wire::stats::Complaints;
pub use listening::Listening;
pub use processes::{ProcessHooks, Processes};

/// A service: what its processes listen on, how many there are, and what each of them runs.
pub trait Service: 'static {
    /// Returns the facts the master needs; called in every process, before anything runs.
    fn description(&self) -> Description;

    /// Looks at what a start would need beside its sockets, for the verb `check`: files that must be
    /// there and fit. Opens nothing for longer than this call. The default has nothing to look at.
    ///
    /// # Errors
    /// What would make the service fail to start.
    fn check(&self) -> Result {
        Ok(())
    }

    /// Asks what the service needs of other machines, for `check --cluster`, and returns what each address
    /// said. It may block for some seconds. The default needs none.
    fn peers(&self) -> Vec<ClusterPeer> {
        Vec::new()
    }

    /// Starts the service in a worker process; it is ready when the future resolves.
    ///
    /// Runs on the worker's thread, inside a tokio `LocalSet`.
    ///
    /// # Errors
    /// An error is a failed start: the worker exits and the master reports the whole chain.
    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>>;
}

/// What a service gets when it starts in a worker process.
#[derive(Debug)]
pub struct Context {
    /// The service's name.
    pub service: String,
    /// The process's number within the service: 0 to count − 1, kept on respawn.
    pub index: usize,
    /// Counts the processes the master ever started for this slot: 1 for the first.
    pub generation: u64,
    /// The inherited sockets, in the order of [`Description::listeners`].
    pub listeners: Vec<Socket>,
    /// This process's connection table.
    pub table: Table,
    /// What the process before it in its slot has told with [`Running::briefing`]: the one that a reload
    /// replaces, or one that has ended; `None` if that told nothing.
    pub predecessor: Option<Predecessor>,
}

impl Context {
    /// Returns whether the process is to take over from the one before it: what the service would begin by
    /// itself, timers and connections that it makes, begins with [`Running::took_over`].
    pub fn is_dormant(&self) -> bool {
        self.table.is_still()
    }

    /// Returns which process this is.
    pub fn slot(&self) -> Slot {
        Slot { service: self.service.clone(), index: self.index, generation: self.generation }
    }
}

/// A service that runs in this process.
pub trait Running: 'static {
    /// Prepares to leave: takes no new work, and resolves when nothing is left to do.
    ///
    /// Called once, after the table stopped accepting. The default waits until the table is empty
    /// and what handlers and timers have begun is done.
    /// The caller sets the limit and closes what is left when it has passed.
    fn drain(&self, table: &Table) -> LocalFuture<()> {
        let table = table.clone();
        Box::pin(async move { table.finished().await })
    }

    /// Hears of a reload that leaves this process as it is: the `on_reload` of users.
    fn reload(&self) -> LocalFuture<()> {
        Box::pin(async {})
    }

    /// Hears that what is left of its connections is closed next: what it still has for them is to be in their
    /// queues when it returns. The default has nothing.
    fn closing(&self) {}

    /// Runs last, when every connection is closed: the `on_stop` of users.
    fn stopped(&self) -> LocalFuture<()> {
        Box::pin(async {})
    }

    /// What is not as it should be, in words, and whether new clients are better off elsewhere; asked once a
    /// second. The default has nothing to say.
    fn condition(&self) -> Complaints {
        Complaints::default()
    }

    /// Returns what the next process of the slot is to know, at most [`MAX_BRIEFING`] bytes; what is longer
    /// is not told. Asked when the service is ready, and each second from then on until it leaves, so that
    /// a process that has ended has told it as well. The default has nothing to tell.
    fn briefing(&self) -> Option<String> {
        None
    }

    /// Returns what the service keeps beside its connections, for the process that takes over from this one;
    /// in a service whose [`Description::reload`] is [`Reload::HandOver`]. Nothing of the process runs
    /// between this call and [`Running::gave`]; if that is not called, everything goes on as it was. The default
    /// keeps nothing.
    ///
    /// # Errors
    /// When it cannot be told now: then nothing is handed over, and the reload fails and says why.
    fn save(&self) -> Result<Vec<u8>, CannotMove> {
        Ok(Vec::new())
    }

    /// Goes on with what [`Running::save`] returned in the process before, in another version of the program
    /// perhaps. Every connection is in the table, and its handler has heard of it
    /// ([`Handler::on_adopt`](crate::connection::Handler::on_adopt)); nothing may be done with it yet.
    ///
    /// # Errors
    /// When it is not understood: the process before goes on.
    fn restore(&self, state: &[u8]) -> Result {
        if state.is_empty() { Ok(()) } else { Err("a service without state was given some".into()) }
    }

    /// Begins what a process that took over does by itself: from here on it is the one that serves.
    fn took_over(&self) {}

    /// Ends what this process does by itself, without a word to others: another one has taken over.
    fn gave(&self) {}

    /// Named numbers for `status`, beyond what the table counts: `clients`, `lost_events`, ….
    fn gauges(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
}
