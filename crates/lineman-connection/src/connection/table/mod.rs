//! The table: every connection of this process, and the loop that serves them.
//!
//! One poll set, nested in tokio's through its descriptor, so that a connection needs no task. A
//! turn reads what is readable, runs handlers, then flushes each touched connection once. The table
//! knows nothing of protocols; it holds [`AnyEntry`]s.

mod membership;
mod relief;
mod quiet;
mod census;
mod places;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::{Events, Registry, Token};
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

pub(super) use self::places::ListensAt;
use self::quiet::Quiet;
pub(super) use self::relief::SMALL;
use crate::Error;
use crate::connection::Guest;
use crate::connection::budget::Budget;
use crate::connection::deadlines::Deadlines;
use crate::connection::entry::{AnyEntry, End, Readiness};
use crate::connection::listener::Listener;
use crate::connection::queue::Pool;
use crate::connection::reading::READ_SIZE;
use crate::connection::stats::Counters;
use crate::work::OpenWork;

/// Events taken from the kernel at once: enough to amortise the call, few enough that a turn stays
/// short beside other tasks.
///
/// More than this, and the buffers of a turn's answers do not stay in the processor's cache:
/// `cargo xtask bench echo --connections 1000`.
const EVENTS: usize = 128;

/// How long the connections that have sent more than their share of a turn are served in a turn. A connection
/// that sends little waits so long for all of them together, however many they are.
pub(super) const TIME_FOR_LATER: Duration = Duration::from_millis(2);

thread_local! {
    /// A worker has one thread and one table.
    static CURRENT: RefCell<Weak<Inner>> = const { RefCell::new(Weak::new()) };
}

/// The connections of this process. A handle; all clones are the same table.
#[derive(Clone)]
pub struct Table(Rc<Inner>);

/// How far the process is on its way out; connections that hyper serves go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shutdown {
    /// Accepting and serving.
    Serving,
    /// Nothing new: what is under way may end by itself.
    Draining,
    /// Everything is being closed.
    Closing,
}

/// What a place in the slab holds.
#[derive(Clone)]
pub(super) enum Item {
    Entry(Rc<dyn AnyEntry>),
    Guest(Rc<Guest>),
    Arrivals(Rc<dyn Arrivals>),
}

impl Item {
    fn entry(&self) -> Option<Rc<dyn AnyEntry>> {
        match self {
            Self::Entry(entry) => Some(Rc::clone(entry)),
            Self::Guest(_) | Self::Arrivals(_) => None,
        }
    }
}

/// A socket at which something arrives that is no connection yet, or never: a listener, UDP.
pub(super) trait Arrivals {
    /// The kernel has something for it.
    fn ready(self: Rc<Self>, table: &Table, readiness: Readiness);

    /// Takes a turn's share of what arrived; asks for another turn with [`Table::take_again`].
    fn take_some(self: Rc<Self>, table: &Table);

    /// Returns it as a listener, if it is one.
    fn listener(self: Rc<Self>) -> Option<Rc<Listener>> {
        None
    }

    /// Leaves the poll set for good.
    fn leave(&self, registry: &Registry);
}

struct Inner {
    poll: RefCell<(mio::Poll, Events)>,
    registry: Registry,
    readiness: AsyncFd<OwnedFd>,
    items: RefCell<Slab<Item>>,
    deadlines: RefCell<Deadlines>,
    /// Entries to flush at the end of the turn.
    touched: RefCell<Vec<Rc<dyn AnyEntry>>>,
    /// What is to be done before they are.
    jobs: RefCell<Vec<Job>>,
    /// Entries that go on reading in the next turn.
    again: RefCell<Vec<Rc<dyn AnyEntry>>>,
    /// Entries that used up their share of a turn: they go on one after the other, as long as a turn may take.
    later: RefCell<VecDeque<Rc<dyn AnyEntry>>>,
    /// Sockets that go on taking arrivals in the next turn.
    accepting: RefCell<Vec<Rc<dyn Arrivals>>>,
    /// The periods in which silent connections are looked after.
    beats: RefCell<Vec<Duration>>,
    pool: RefCell<Pool>,
    budget: Budget,
    quiet: Quiet,
    counters: Counters,
    /// When accepting paused last.
    paused: Cell<Option<Instant>>,
    next_number: Cell<u64>,
    made: Instant,
    /// Peers and guests in the slab, plus handlers of datagrams that wait.
    peers: Cell<usize>,
    /// Connections that the program made itself.
    outgoing: Cell<usize>,
    shutdown: watch::Sender<Shutdown>,
    waker: RefCell<Option<Waker>>,
    /// Whether turns do nothing.
    still: Cell<bool>,
    /// What the process accepts with, in the order in which it was added.
    places: RefCell<Vec<ListensAt>>,
    /// Whether a turn is under way: what is touched now is flushed at its end.
    in_turn: Cell<bool>,
    /// What handlers, timers and `blocking` are at beside the connections.
    work: Arc<OpenWork>,
    /// Tasks that wait for the table to change: empty, flushed.
    changed: tokio::sync::Notify,
}

impl Table {
    /// Returns an empty table; call it inside the worker's runtime.
    ///
    /// # Errors
    /// When the operating system gives no poll set.
    pub fn new() -> Result<Self, Error> {
        let failed = |source| Error::Os { action: "create the poll set", source };
        let poll = mio::Poll::new().map_err(failed)?;
        let registry = poll.registry().try_clone().map_err(failed)?;
        let descriptor = registry.as_fd().try_clone_to_owned().map_err(failed)?;
        let readiness = crate::os::watch_readable(descriptor).map_err(failed)?;
        let budget = Budget::new();
        let table = Self(Rc::new(Inner {
            poll: RefCell::new((poll, Events::with_capacity(EVENTS))),
            registry,
            readiness,
            items: RefCell::default(),
            deadlines: RefCell::default(),
            touched: RefCell::default(),
            jobs: RefCell::default(),
            again: RefCell::default(),
            later: RefCell::default(),
            accepting: RefCell::default(),
            beats: RefCell::default(),
            pool: RefCell::new(Pool::new(&budget.account)),
            budget,
            quiet: Quiet::default(),
            counters: Counters::default(),
            paused: Cell::new(None),
            next_number: Cell::new(1),
            made: Instant::now(),
            peers: Cell::new(0),
            outgoing: Cell::new(0),
            shutdown: watch::Sender::new(Shutdown::Serving),
            waker: RefCell::new(None),
            still: Cell::new(false),
            places: RefCell::default(),
            in_turn: Cell::new(false),
            work: OpenWork::of_new_table(),
            changed: tokio::sync::Notify::new(),
        }));
        CURRENT.set(Rc::downgrade(&table.0));
        Ok(table)
    }

    /// Returns the table of this worker: the one that was made last on this thread, if it is still
    /// there. `None` outside of a worker.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Weak::upgrade).map(Self)
    }

    /// Serves the connections; runs as long as the process does.
    pub async fn run(&self) {
        let mut turn = Turns {
            scratch: Scratch { plain: BytesMut::with_capacity(READ_SIZE), raw: BytesMut::new() },
            ready: Vec::with_capacity(EVENTS),
            entries: Vec::new(),
        };
        poll_fn(|context| self.turn(context, &mut turn)).await;
    }

    fn turn(&self, context: &mut Context<'_>, turns: &mut Turns) -> Poll<()> {
        self.keep_waker(context);
        if self.is_still() {
            return Poll::Pending;
        }
        self.0.in_turn.set(true);
        self.expire(context);
        let all = self.poll_events(context, turns);
        self.serve_events(turns);
        self.serve_again(turns);
        self.flush(&mut turns.entries);
        if self.relieve() {
            self.flush(&mut turns.entries);
        }
        self.look_for_quiet();
        self.0.in_turn.set(false);
        self.0.changed.notify_waiters();
        // Other tasks, and the runtime's own poll of sockets and timers, get their turn between two of
        // ours: a wake at once would have up to 61 of ours before that. Asking again also leaves our
        // waker with the descriptor.
        let more = !all
            || !self.0.again.borrow().is_empty()
            || !self.0.later.borrow().is_empty()
            || !self.0.accepting.borrow().is_empty();
        if more || self.0.readiness.poll_read_ready(context).is_ready() {
            let yielded = pin!(tokio::task::yield_now()).poll(context);
            debug_assert!(yielded.is_pending(), "it wakes us behind the runtime's poll");
        }
        Poll::Pending
    }

    fn keep_waker(&self, context: &mut Context<'_>) {
        let mut kept = self.0.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *kept = Some(context.waker().clone());
            self.account().watch(context.waker());
        }
    }

    fn expire(&self, context: &mut Context<'_>) {
        loop {
            let next = self.0.deadlines.borrow_mut().next(context);
            let Some(id) = next else { return };
            if let Some(entry) = self.entry(id) {
                entry.expired();
            }
        }
    }

    /// Asks the poll set what is ready; returns whether that was all.
    fn poll_events(&self, context: &mut Context<'_>, turns: &mut Turns) -> bool {
        turns.ready.clear();
        let Poll::Ready(Ok(mut guard)) = self.0.readiness.poll_read_ready(context) else {
            return true;
        };
        let mut poll = self.0.poll.borrow_mut();
        let (poll, events) = &mut *poll;
        if let Err(error) = poll.poll(events, Some(Duration::ZERO)) {
            if error.kind() == std::io::ErrorKind::Interrupted {
                return false;
            }
            tracing::error!(%error, "cannot wait for events");
            return true;
        }
        for event in events.iter() {
            let in_order = event.is_read_closed().then_some(End::InOrder);
            let end = if event.is_error() { Some(End::Failed) } else { in_order };
            let readiness = Readiness {
                readable: event.is_readable() || end.is_some(),
                writable: event.is_writable() || event.is_error(),
                end,
            };
            turns.ready.push((event.token(), readiness));
        }
        let all = turns.ready.len() < EVENTS;
        if all {
            guard.clear_ready();
        }
        all
    }

    fn serve_events(&self, turns: &mut Turns) {
        let Turns { scratch, ready, .. } = turns;
        for (Token(key), readiness) in ready.drain(..) {
            let item = self.0.items.borrow().get(key).cloned();
            match item {
                Some(Item::Entry(entry)) => entry.ready(readiness, scratch),
                Some(Item::Arrivals(socket)) => socket.ready(self, readiness),
                Some(Item::Guest(_)) | None => {}
            }
        }
    }

    fn serve_again(&self, turns: &mut Turns) {
        for socket in self.0.accepting.take() {
            socket.take_some(self);
        }
        let Turns { scratch, entries, .. } = turns;
        std::mem::swap(entries, &mut *self.0.again.borrow_mut());
        for entry in entries.drain(..) {
            entry.again(scratch);
        }
        self.serve_later(scratch);
    }

    /// Those that wait for their next share; each is served once, and the rest in the turns to come.
    fn serve_later(&self, scratch: &mut Scratch) {
        let waiting = self.0.later.borrow().len();
        if waiting == 0 {
            return;
        }
        let begun = Instant::now();
        for _ in 0..waiting {
            let next = self.0.later.borrow_mut().pop_front();
            let Some(entry) = next else { return };
            entry.again(scratch);
            if begun.elapsed() >= TIME_FOR_LATER {
                return;
            }
        }
    }

    fn flush(&self, entries: &mut Vec<Rc<dyn AnyEntry>>) {
        // A handler that runs on "drained" may touch further entries.
        while !(self.0.jobs.borrow().is_empty() && self.0.touched.borrow().is_empty()) {
            for job in self.0.jobs.take() {
                job();
            }
            std::mem::swap(entries, &mut *self.0.touched.borrow_mut());
            for entry in entries.drain(..) {
                entry.flush();
            }
        }
    }

    /// Makes a turn due, for what happened outside of one.
    fn wake(&self) {
        if self.0.in_turn.get() {
            return;
        }
        if let Some(waker) = self.0.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// What is done at the end of a turn.
type Job = Box<dyn FnOnce()>;

/// The buffers that everything is read into.
pub(super) struct Scratch {
    /// What the protocols decode.
    pub(super) plain: BytesMut,
    /// What comes off the wire of a connection with layers.
    pub(super) raw: BytesMut,
}

/// What the loop owns between two turns.
struct Turns {
    scratch: Scratch,
    ready: Vec<(Token, Readiness)>,
    /// Entries that a list of the table was emptied into; its memory changes places with theirs.
    entries: Vec<Rc<dyn AnyEntry>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Table").field("peers", &self.len()).finish_non_exhaustive()
    }
}
