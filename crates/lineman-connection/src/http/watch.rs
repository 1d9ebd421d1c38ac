//! What happens on one HTTP connection, and by when something has to: hyper's timers know neither a
//! request's first byte nor an answer that its peer does not take. Nothing here reads or writes.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::crowd::Seat;
use super::limits::Limits;
use super::strict::Framing;
use super::upgrade::Upgrading;
use crate::connection::{Guest, Share};
use crate::limit::finite;

/// A frame of HTTP/2 (RFC 9113, 4.2): at the pace of [`Limits::answer_stall`], 270 bytes a second.
const PIECE: usize = 16 * 1024;

/// Smaller pieces of an answer leave with the next write, as a rule.
const COUNTED: usize = 4096;

/// How long a connection may still be idle when its process is on its way out: a request may be on its way
/// to it, and seldom takes as long. A reload waits for this at each of its processes.
const IDLE_IN_DRAIN: Duration = Duration::from_secs(1);

/// How long a head that has begun may take then: its sender is told so, and asks elsewhere.
const HEAD_IN_DRAIN: Duration = Duration::from_secs(2);

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2, as ALPN agreed.
    Http2,
}

impl Spoken {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
        }
    }
}

/// Something that the connection's task has to deal with.
pub(super) enum Sign {
    /// A request asks for a WebSocket, and all answers before it are sent.
    Upgrade(Upgrading),
    /// No further request is wanted.
    LastRequest,
    /// More requests came after that than were on their way.
    Unheeded,
    /// A request's head did not come in time.
    HeadOverdue,
    /// No request came for long.
    Idle,
    /// An answer waits, and the peer takes nothing of it.
    AnswerStalled,
    /// The process holds too much, and this connection much of it.
    OverBudget,
}

/// The state of one connection; the socket, the service and the answers write it.
pub(super) struct Watch {
    pub(super) limits: Rc<Limits>,
    pub(super) spoken: Spoken,
    /// What frames the body of the last request, until the socket has asked for it.
    pub(super) framing: Cell<Option<Framing>>,
    /// What is told of the connection.
    pub(super) guest: Rc<Guest>,
    /// Whether a request's head has begun; only between exchanges.
    in_head: Cell<bool>,
    /// When the head began, or the last exchange ended.
    since: Cell<Instant>,
    /// Requests whose answers are not at their end.
    exchanges: Cell<usize>,
    requests: Cell<u32>,
    /// How many requests had come when the peer was told to send no more, over HTTP/2.
    farewell: Cell<Option<u32>>,
    /// Since when the process is on its way out.
    draining: Cell<Option<Instant>>,
    /// Answers that have more to say and wait until the peer takes what they said.
    stuck: Cell<usize>,
    /// When such an answer last went on.
    progress: Cell<Instant>,
    /// Whether the socket has everything that hyper wrote.
    flushed: Cell<bool>,
    upgrade: RefCell<Option<Upgrading>>,
    /// What the connection holds, once it has held something.
    holder: OnceCell<Arc<Share>>,
}

impl Watch {
    /// The first bytes of a request are here.
    pub(super) fn new(limits: Rc<Limits>, spoken: Spoken, guest: Rc<Guest>) -> Self {
        Self {
            limits,
            spoken,
            framing: Cell::new(None),
            guest,
            in_head: Cell::new(true),
            since: Cell::new(Instant::now()),
            exchanges: Cell::new(0),
            requests: Cell::new(0),
            farewell: Cell::new(None),
            draining: Cell::new(None),
            stuck: Cell::new(0),
            progress: Cell::new(Instant::now()),
            flushed: Cell::new(true),
            upgrade: RefCell::new(None),
            holder: OnceCell::new(),
        }
    }

    /// Bytes came. Between requests they begin a head; over HTTP/2 they may be anything.
    pub(super) fn received(&self) {
        if self.is_between() && !self.in_head.replace(true) {
            self.since.set(Instant::now());
        }
    }

    pub(super) fn writing(&self) {
        self.flushed.set(false);
    }

    /// Everything is written. The time between requests begins when the answer is sent; over HTTP/2
    /// it may have been a ping.
    pub(super) fn written(&self) {
        if !self.flushed.replace(true) && self.is_between() && !self.in_head.get() {
            self.since.set(Instant::now());
        }
    }

    /// Returns what counts the bodies of its requests and its answers.
    pub(super) fn holder(&self) -> &Arc<Share> {
        self.holder.get_or_init(|| self.guest.table().holder())
    }

    /// Returns whether no request of HTTP/1 is under way.
    pub(super) fn is_between(&self) -> bool {
        self.exchanges.get() == 0 && self.spoken == Spoken::Http1
    }

    pub(super) fn ask_upgrade(&self, upgrade: Upgrading) {
        self.upgrade.replace(Some(upgrade));
    }

    /// Returns whether the connection has had all the requests it may have.
    pub(super) fn is_last_request(&self) -> bool {
        self.draining.get().is_some() || self.requests.get() >= self.limits.requests
    }

    /// The process is on its way out: the next answer is the last one.
    pub(super) fn drain(&self) {
        self.draining.set(Some(Instant::now()));
    }

    /// The peer of HTTP/2 is told to send no more requests.
    pub(super) fn says_farewell(&self) {
        if self.farewell.get().is_none() {
            self.farewell.set(Some(self.requests.get()));
        }
    }

    /// How much of an answer is handed on before the peer takes more. Over HTTP/2 it lies in a queue
    /// that tells of no progress, and so an answer is over when its last piece is there.
    pub(super) fn piece(&self) -> usize {
        match self.spoken {
            Spoken::Http1 => usize::MAX,
            Spoken::Http2 => PIECE,
        }
    }

    /// Resolves when there is something to do. Poll it right behind hyper, which changes the state.
    pub(super) async fn sign(&self) -> Sign {
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|context| {
            if self.holder.get().is_some_and(|holder| holder.is_cut(context)) {
                return Poll::Ready(Sign::OverBudget);
            }
            loop {
                if let Some(sign) = self.due_now() {
                    return Poll::Ready(sign);
                }
                let Some((deadline, sign)) = self.deadline() else { return Poll::Pending };
                if deadline <= Instant::now() {
                    return Poll::Ready(sign);
                }
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn due_now(&self) -> Option<Sign> {
        if self.flushed.get()
            && let Some(upgrade) = self.upgrade.take()
        {
            return Some(Sign::Upgrade(upgrade));
        }
        // Over HTTP/1 the answer itself says so.
        if self.spoken == Spoken::Http1 {
            return None;
        }
        match self.farewell.get() {
            None if self.is_last_request() => {
                self.says_farewell();
                Some(Sign::LastRequest)
            }
            // It reads its answers in order, and so has no more than its streams on their way when it
            // reads the farewell. hyper would serve it for as long as it does not acknowledge that.
            Some(before) if self.requests.get() - before > self.limits.streams => {
                Some(Sign::Unheeded)
            }
            None | Some(_) => None,
        }
    }

    /// Returns the end of a time between requests, which is short once the process is on its way out.
    fn end(&self, limit: Duration, in_drain: Duration) -> Instant {
        let (since, end) = (self.since.get(), self.since.get() + finite(limit));
        let hurried = self.draining.get().map(|begun| begun.max(since) + in_drain);
        hurried.map_or(end, |hurried| end.min(hurried))
    }

    fn deadline(&self) -> Option<(Instant, Sign)> {
        let limits = &self.limits;
        let stuck = self.stuck.get() > 0;
        match (self.exchanges.get(), self.in_head.get()) {
            // What the peer does not take of the last answer is the socket's affair.
            (0, _) if !self.flushed.get() => None,
            (0, true) => Some((self.end(limits.header_time, HEAD_IN_DRAIN), Sign::HeadOverdue)),
            (0, false) => Some((self.end(limits.keep_alive, IDLE_IN_DRAIN), Sign::Idle)),
            _ if stuck => {
                Some((self.progress.get() + finite(limits.answer_stall), Sign::AnswerStalled))
            }
            _ => None,
        }
    }
}

/// A request under way, from its head to the end of its answer.
pub(super) struct Exchange {
    watch: Rc<Watch>,
    stuck: Cell<bool>,
    /// Its place among the requests of its address, if those are bounded.
    place: Option<Seat>,
}

impl Exchange {
    pub(super) fn begin(watch: &Rc<Watch>) -> Self {
        watch.in_head.set(false);
        watch.exchanges.set(watch.exchanges.get() + 1);
        watch.requests.set(watch.requests.get().saturating_add(1));
        Self { watch: Rc::clone(watch), stuck: Cell::new(false), place: None }
    }

    /// Takes its place among the requests of its address until it ends.
    pub(super) fn takes(&mut self, place: Seat) {
        self.place = Some(place);
    }

    /// The answer's head is there.
    pub(super) fn answered(&self) {
        self.watch.guest.answered();
    }

    pub(super) fn piece(&self) -> usize {
        self.watch.piece()
    }

    /// What the service gave counts until all of it is sent, unless others hold its memory as well.
    pub(super) fn count(&self, given: Bytes) -> Bytes {
        let counts = given.len() >= COUNTED && given.is_unique();
        if counts { self.watch.holder().count(given) } else { given }
    }

    /// The peer has taken enough of the answer that its next piece is asked for.
    pub(super) fn went_on(&self) {
        self.watch.progress.set(Instant::now());
        if self.stuck.replace(false) {
            self.watch.stuck.set(self.watch.stuck.get().saturating_sub(1));
        }
    }

    /// A piece of the answer is on its way; the next one is asked for when the peer takes it.
    pub(super) fn gave(&self) {
        if !self.stuck.replace(true) {
            self.watch.stuck.set(self.watch.stuck.get() + 1);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.went_on();
        self.watch.exchanges.set(self.watch.exchanges.get().saturating_sub(1));
        self.watch.since.set(Instant::now());
    }
}
