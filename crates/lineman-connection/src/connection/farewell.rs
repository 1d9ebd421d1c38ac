//! What was said before an end arrives: how far that is, how long it may take, and how long the peer's
//! last word is waited for after it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::due::{Deadline, Flow};
use super::entry::Entry;
use super::life::State;
use super::outflow::Ending;
use super::{CloseReason, Driver};

/// How long the peer may take to end its side after it has got everything, our end too; Workerman
/// lingers as long.
const LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether what was said arrives: when it has taken as long again as before,
/// within these. The kernel does not tell when its queue is empty, and a look is one call.
const LOOK_LEAST: Duration = Duration::from_millis(10);
const LOOK_MOST: Duration = Duration::from_secs(1);

impl<D: Driver> Entry<D> {
    /// From here on the peer has to take what was said before our end.
    pub(super) fn begin_farewell(&self) {
        let (delivered, _) = self.delivered();
        let pace = Flow::new([delivered; 2], Instant::now());
        self.due.borrow_mut().farewell().replace(pace);
        self.set_due(Deadline::Farewell, LOOK_LEAST);
    }

    /// Looks at how much of what was said has arrived. Once it is all, the peer's time for its last word
    /// begins; until then it has as long as it goes on taking.
    pub(super) fn follow_farewell(self: &Rc<Self>) {
        let (last_word, time) = match self.life.state() {
            State::Lingering => (Deadline::Close, LINGER),
            State::Closing => (Deadline::Close, self.limits().close_time),
            State::Open => (Deadline::End, self.limits().end_time),
            State::Connecting
            | State::Preparing
            | State::Handshake
            | State::Deciding
            | State::Closed => return,
        };
        let (delivered, has_all) = self.delivered();
        if has_all {
            self.clear_due(Deadline::Farewell);
            // An end that waits for TLS is said once that is up.
            if self.life.is_open() && self.outflow.end() != Ending::Said {
                return;
            }
            return self.set_due(last_word, time);
        }
        let (lasts, left) = self.farewell_goes_on(delivered);
        if left.is_zero() {
            self.table.add(|counters| &counters.ends_cut, 1);
            return self.finish_as_begun();
        }
        self.set_due(Deadline::Farewell, left.min(lasts.clamp(LOOK_LEAST, LOOK_MOST)));
        self.report_close();
    }

    /// The peer has so much by now. Returns how long that has taken, and how long it may take until it has
    /// more.
    fn farewell_goes_on(&self, delivered: u64) -> (Duration, Duration) {
        let now = Instant::now();
        let mut due = self.due.borrow_mut();
        let pace = due.farewell().get_or_insert_with(|| Flow::new([delivered; 2], now));
        pace.goes_on([delivered; 2], now);
        let until = pace.until(self.limits().send_stall, self.limits().least_rate);
        (pace.lasts(now), until.saturating_duration_since(now))
    }

    /// Returns whether the handler is to hear the peer's answer with the end: it wants to know how an end
    /// of its own was taken, and that for no longer than an answer may take at once.
    pub(super) fn awaits_to_tell(&self) -> bool {
        if self.life.state() != State::Closing || !self.outflow.awaits() {
            return false;
        }
        let lasts = self.due.borrow_mut().farewell().map(|pace| pace.lasts(Instant::now()));
        matches!(self.reason(), Some(CloseReason::Local | CloseReason::Chosen { .. }))
            && lasts.is_none_or(|lasts| lasts < self.limits().close_time)
    }

    /// Something came from a peer whose last word is waited for: it is there, and may be reading what its
    /// machine has. It has more time, but no more than it had to take all that, nor than the least rate
    /// gives it for everything it was ever sent.
    pub(super) fn still_there(self: &Rc<Self>) {
        let Some(at) = self.due.borrow().at(Deadline::Close) else { return };
        let (lasts, left) = self.farewell_goes_on(self.delivered().0);
        let sent = self.counters.get().bytes_out;
        let reading = sent.checked_div(u64::from(self.limits().least_rate));
        let reading = reading.map_or(Duration::MAX, Duration::from_secs).saturating_sub(lasts);
        let time = self.limits().close_time.min(left).min(reading);
        if at < Instant::now() + crate::limit::finite(time) {
            self.set_due(Deadline::Close, time);
        }
        self.report_close();
    }

    /// Returns how many bytes have arrived with the peer, and whether that is all there is.
    pub(super) fn delivered(&self) -> (u64, bool) {
        let transport = self.transport.borrow();
        let Some(transport) = transport.as_ref() else { return (0, true) };
        let undelivered = crate::os::undelivered(transport.stream()).unwrap_or_default();
        // Our end may be on its way for as long as the peer has nothing to say: TCP delays its receipt.
        let has_ended = self.life.state() == State::Lingering || self.outflow.end() == Ending::Said;
        let undelivered = undelivered.saturating_sub(usize::from(has_ended));
        let waits = self.outflow.queued() + transport.pending();
        let taken = self.counters.get().bytes_out;
        (taken.saturating_sub(undelivered as u64), undelivered + waits == 0)
    }
}
