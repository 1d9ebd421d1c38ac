//! Heartbeats to silent clients: `GatewayWorker`'s counter, tick for tick, without its burst.
//!
//! Called for each client once in a tick's period, by the core's [`Rounds`](crate::rounds::Rounds).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// When clients are pinged, and when they are given up.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    /// How long a client may be silent before it is pinged; zero for never.
    pub(super) interval: Duration,
    /// After how many intervals without a message it is closed; 0 for never.
    pub(super) limit: u32,
    /// What is sent; empty for nothing.
    pub(super) data: Bytes,
}

impl Heartbeat {
    /// Returns how often each client is visited; zero for never.
    pub(super) fn period(&self) -> Duration {
        if self.limit > 0 { self.interval / 2 } else { self.interval }
    }
}

/// How many ticks a client has been silent for: `GatewayWorker`'s −1, 0, 1, … plus one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat(u32);

/// What a tick does to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// Nothing.
    Wait,
    /// It gets the heartbeat's data.
    Ping,
    /// It has been silent for too long.
    GiveUp,
}

impl Beat {
    /// The client said something.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    /// Counts a tick.
    pub(super) fn tick(&mut self, limit: u32) -> Visit {
        let limited = limit > 0;
        if limited && self.0 > limit.saturating_mul(2) {
            return Visit::GiveUp;
        }
        self.0 = self.0.saturating_add(1);
        let silent_for = self.0 - 1;
        if silent_for == 0 || limited && silent_for % 2 == 1 { Visit::Wait } else { Visit::Ping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the ticks at which a silent client is pinged, and the one at which it is given up.
    fn silent(limit: u32, ticks: u32) -> (Vec<u32>, Option<u32>) {
        let mut beat = Beat::default();
        let mut pings = Vec::new();
        for tick in 1..=ticks {
            match beat.tick(limit) {
                Visit::Wait => {}
                Visit::Ping => pings.push(tick),
                Visit::GiveUp => return (pings, Some(tick)),
            }
        }
        (pings, None)
    }

    #[test]
    fn silent_clients_are_pinged_and_given_up_as_measured() {
        // Files 08 to 11 of the captures, interval 2 s: ticks of 2 s without a limit, of 1 s with one.
        assert_eq!(silent(0, 5), (vec![2, 3, 4, 5], None));
        assert_eq!(silent(1, 9), (vec![3], Some(4)));
        assert_eq!(silent(2, 9), (vec![3, 5], Some(6)));
        assert_eq!(silent(3, 9), (vec![3, 5, 7], Some(8)));
    }

    #[test]
    fn a_client_that_speaks_in_time_is_never_pinged() {
        let mut beat = Beat::default();
        for _ in 0..10 {
            assert_eq!((beat.tick(1), beat.tick(1)), (Visit::Wait, Visit::Wait));
            beat.reset();
        }
    }

    #[test]
    fn the_period_is_half_the_interval_where_there_is_a_limit() {
        let check = |interval, limit, expected| {
            let interval = Duration::from_secs(interval);
            let heartbeat = Heartbeat { interval, limit, data: Bytes::new() };
            assert_eq!(heartbeat.period(), Duration::from_secs(expected));
        };
        check(0, 0, 0);
        check(0, 3, 0);
        check(50, 0, 50);
        check(50, 1, 25);
    }
}
