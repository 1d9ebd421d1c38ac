//! Whether the register at the other end of a connection is still there: what is to be asked when, and
//! when it counts as gone. No socket, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How often a register of ours on another machine is asked: one that has rebooted answers with a reset,
/// so that it is missed for a second. It costs each process a packet a second, and the register as many as
/// there are processes.
const PERIOD: Duration = Duration::from_secs(1);

/// How often one of PHP's is, which does not answer: below the 60 s after which the shortest-lived NAT
/// tables forget a silent connection. `GatewayWorker`'s interval.
const PHP_PERIOD: Duration = Duration::from_secs(25);

/// After so many questions without an answer it is gone. They are counted, and not the time, so that it is
/// not blamed where this process stood still.
const UNANSWERED: u32 = 3;

/// Whether to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Now.
    Now,
    /// No more: it does not answer.
    NoMore,
    /// After so long.
    After(Duration),
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    asked: Instant,
    /// It is ours, and answers.
    answers: bool,
    unanswered: u32,
}

impl Liveness {
    /// The connection is up.
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: now, answers: false, unanswered: 0 }
    }

    /// The register has shown that it is there.
    pub(super) fn answered(&mut self) {
        self.answers = true;
        self.unanswered = 0;
    }

    /// Returns whether it is to be asked now; the caller asks.
    pub(super) fn ask(&mut self, now: Instant) -> Ask {
        let period = if self.answers { PERIOD } else { PHP_PERIOD };
        let since = now.saturating_duration_since(self.asked);
        if since < period {
            return Ask::After(period.saturating_sub(since));
        }
        if self.unanswered >= UNANSWERED {
            return Ask::NoMore;
        }
        self.asked = now;
        if self.answers {
            self.unanswered += 1;
        }
        Ask::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_of_ours_is_asked_each_second_and_given_up_when_three_are_not_answered() {
        let begun = Instant::now();
        let mut liveness = Liveness::new(begun);
        liveness.answered();
        assert_eq!(liveness.ask(begun), Ask::After(PERIOD));
        for second in 1..=100 {
            assert_eq!(liveness.ask(begun + PERIOD * second), Ask::Now);
            liveness.answered();
        }
        let answered = begun + PERIOD * 100;
        for second in 1..=3 {
            assert_eq!(liveness.ask(answered + PERIOD * second), Ask::Now);
        }
        let last = answered + PERIOD * 3;
        assert_eq!(liveness.ask(last + PERIOD / 2), Ask::After(PERIOD / 2));
        assert_eq!(liveness.ask(last + PERIOD), Ask::NoMore);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_ours_is_asked_seldom_and_never_given_up() {
        let begun = Instant::now();
        let mut liveness = Liveness::new(begun);
        for turn in 1..=100 {
            let almost = begun + PHP_PERIOD * turn - PERIOD;
            assert_eq!(liveness.ask(almost), Ask::After(PERIOD));
            assert_eq!(liveness.ask(almost + PERIOD), Ask::Now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_blames_no_register() {
        let begun = Instant::now();
        let mut liveness = Liveness::new(begun);
        liveness.answered();
        assert_eq!(liveness.ask(begun + PERIOD), Ask::Now);
        let woken = begun + PERIOD * 1000;
        assert_eq!(liveness.ask(woken), Ask::Now);
        assert_eq!(liveness.ask(woken), Ask::After(PERIOD), "its answers are read first");
    }
}
