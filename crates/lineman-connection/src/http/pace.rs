//! The pace of what passes between a peer and a service: how long the next piece may take, so that it does
//! not stall, and that all of it has a rate. Used for the bodies of requests, and for answers by `socket`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limit::finite;

/// How fast it goes, over the time that it was waited for.
pub(super) struct Pace {
    stall: Duration,
    rate: u32,
    /// Bytes that have passed.
    passed: u64,
    waited: Duration,
    /// Since when the next piece is waited for.
    waits_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) const fn new(stall: Duration, rate: u32) -> Self {
        Self { stall, rate, passed: 0, waited: Duration::ZERO, waits_since: None, timer: None }
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Returns whether something is waited for.
    pub(super) fn waits(&self) -> bool {
        self.waits_since.is_some()
    }

    /// Begins anew, with something else that passes.
    pub(super) fn restart(&mut self) {
        (self.passed, self.waited, self.waits_since) = (0, Duration::ZERO, None);
    }

    pub(super) fn went_on(&mut self, bytes: usize) {
        self.passed = self.passed.saturating_add(bytes as u64);
        if let Some(since) = self.waits_since.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// Nothing passes now; resolves when that has lasted too long.
    pub(super) fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waits_since.is_none() {
            let now = Instant::now();
            self.waits_since = Some(now);
            let deadline = now + finite(self.silence_limit());
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(sleep_until(deadline))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }

    /// Returns how long the next piece may take.
    fn silence_limit(&self) -> Duration {
        let Some(earned) = self.passed.checked_div(u64::from(self.rate)) else {
            return self.stall;
        };
        let whole = self.stall.saturating_add(Duration::from_secs(earned));
        self.stall.min(whole.saturating_sub(self.waited))
    }
}
