//! How long an answer is waited for, and which gateways are not worth waiting for at the moment.
//!
//! A machine without power answers nothing, and nothing says so. The first question to it waits for the limit;
//! those after that are spared it, but for one now and then, until an answer comes. Without I/O; the time is
//! passed in.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How many times the limit of silence an answer may take that goes on coming.
const WHOLE_ANSWER: u32 = 5;

/// A look that comes by this part of the limit too late is our own doing: the loop stood still, and what came
/// meanwhile is not read yet.
const LATE_LOOK: u32 = 4;

/// How often a silent gateway is asked all the same, and that question waits: rare enough that most do not.
const TEST_INTERVAL: Duration = Duration::from_secs(2);

/// Such a question waits for this part of the limit: a gateway that is back answers in milliseconds, and an answer
/// that comes later ends the silence all the same.
pub(super) const TEST_PART: u32 = 4;

/// Whether a gateway has stopped answering.
#[derive(Debug, Default)]
pub(super) struct GatewaySilence(Cell<Option<Since>>);

#[derive(Debug, Clone, Copy)]
struct Since {
    /// When the question was asked that got no answer.
    asked: Instant,
    /// When this was known, or tested for the last time.
    tested: Instant,
}

impl GatewaySilence {
    /// A question of `asked` has no answer, and nothing came.
    pub(super) fn begin(&self, asked: Instant, now: Instant) {
        if self.0.get().is_none() {
            self.0.set(Some(Since { asked, tested: now }));
        }
    }

    /// Something came.
    pub(super) fn end(&self) {
        self.0.set(None);
    }

    /// Returns for how long the gateway has owed an answer, if it is silent.
    pub(super) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.0.get().map(|since| now - since.asked)
    }

    /// Returns whether the gateway is to be asked though it is silent; then not again for a while.
    pub(super) fn is_to_be_tested(&self, now: Instant) -> bool {
        match self.0.get() {
            Some(since) if now - since.tested >= TEST_INTERVAL => {
                self.0.set(Some(Since { tested: now, ..since }));
                true
            }
            _ => false,
        }
    }
}

/// How long one answer is waited for.
#[derive(Debug)]
pub(super) struct AnswerDeadline {
    /// How long the gateway may be silent; zero for ever.
    limit: Duration,
    asked: Instant,
    /// When to look next whether something came.
    next_look: Instant,
    /// How many bytes had come at the last look.
    bytes: u64,
    /// The end was put off once, as our own loop stood still.
    excused: bool,
}

/// What is to be done with a question that has no answer yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Something comes.
    Wait,
    /// Something comes, but it takes too long.
    Late,
    /// Nothing has come for the limit.
    Silent {
        /// When the question was asked.
        asked: Instant,
    },
}

impl AnswerDeadline {
    /// A question is asked; so many bytes have come on its connection so far.
    pub(super) fn new(limit: Duration, now: Instant, bytes: u64) -> Self {
        Self { limit, asked: now, next_look: now + limit, bytes, excused: false }
    }

    /// Returns until when to wait before [`AnswerDeadline::look`]; `None` for ever.
    pub(super) fn until(&self) -> Option<Instant> {
        (!self.limit.is_zero()).then_some(self.next_look)
    }

    /// Looks whether to go on waiting; so many bytes have come by now.
    pub(super) fn look(&mut self, now: Instant, bytes: u64) -> Expiry {
        let stood_still = now >= self.next_look + self.limit / LATE_LOOK;
        let came = bytes != self.bytes;
        self.bytes = bytes;
        if stood_still && !self.excused {
            self.excused = true;
        } else if !came {
            return Expiry::Silent { asked: self.asked };
        } else if now >= self.asked + self.limit * WHOLE_ANSWER {
            return Expiry::Late;
        }
        self.next_look = now + self.limit;
        Expiry::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_silence_is_tested_now_and_then_until_something_comes() {
        let (silence, start) = (GatewaySilence::default(), Instant::now());
        assert_eq!(silence.lasts(start), None);
        assert!(!silence.is_to_be_tested(start));
        silence.begin(start, after(start, 1000));
        silence.begin(after(start, 900), after(start, 1900));
        assert_eq!(silence.lasts(after(start, 2500)), Some(Duration::from_millis(2500)));
        let times = [1500, 2999, 3000, 3001, 4999, 5001];
        let tested = times.map(|time| silence.is_to_be_tested(after(start, time)));
        assert_eq!(tested, [false, false, true, false, false, true]);
        silence.end();
        assert_eq!(silence.lasts(after(start, 9000)), None);
        assert!(!silence.is_to_be_tested(after(start, 9000)));
    }

    #[test]
    fn an_answer_may_take_longer_while_it_comes() {
        let start = Instant::now();
        let mut deadline = AnswerDeadline::new(LIMIT, start, 7);
        for second in 1..5 {
            let now = after(start, second * 1000);
            assert_eq!(deadline.until(), Some(now));
            assert_eq!(deadline.look(now, 7 + second), Expiry::Wait);
        }
        assert_eq!(deadline.look(after(start, 5000), 12), Expiry::Late);
        let mut deadline = AnswerDeadline::new(LIMIT, start, 7);
        assert_eq!(deadline.look(after(start, 1000), 8), Expiry::Wait);
        assert_eq!(deadline.look(after(start, 2000), 8), Expiry::Silent { asked: start });
    }

    #[test]
    fn a_loop_that_stood_still_blames_nothing_at_once() {
        let start = Instant::now();
        let mut deadline = AnswerDeadline::new(LIMIT, start, 0);
        let late = after(start, 60_000);
        assert_eq!(deadline.look(late, 0), Expiry::Wait, "what came is read first");
        assert_eq!(deadline.look(late + LIMIT, 0), Expiry::Silent { asked: start });
        // Standing still again and again is no excuse for ever.
        let mut deadline = AnswerDeadline::new(LIMIT, start, 0);
        assert_eq!(deadline.look(late, 0), Expiry::Wait);
        assert_eq!(deadline.look(after(late, 60_000), 0), Expiry::Silent { asked: start });
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let deadline = AnswerDeadline::new(Duration::ZERO, Instant::now(), 0);
        assert_eq!(deadline.until(), None);
    }
}
