//! Looks after the loop from a thread of its own: one that stands still for too long is reported,
//! with what it is doing. It ends nothing; the master does, if it is asked to.

use std::fs;
use std::thread;
use std::time::Duration;

use super::lag::{LoopBeat, PERIOD};
use crate::control::frame::Outbox;
use crate::control::message::FromWorker;

/// The least time between two looks; no limit is kept more exactly.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);

/// Watches the loop that beats, for the life of the process; `current` says which call is under way.
pub(super) fn watch(
    heartbeat: LoopBeat,
    limit: Duration,
    current: fn() -> Option<String>,
    outbox: Outbox<FromWorker>,
) {
    let look_every = (limit / 4).max(SHORTEST_LOOK).max(PERIOD * 2);
    let watching = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let mut loop_ = Loop { beats: heartbeat.count(), still: Duration::ZERO, told: false };
        loop {
            thread::sleep(look_every);
            match loop_.look(heartbeat.count(), look_every, limit) {
                Some(News::Stuck(still)) => report(still, current(), &outbox),
                Some(News::GoesOn(still)) => tracing::warn!(?still, "the loop goes on"),
                None => {}
            }
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "no watchdog: a loop that stands still will not be noticed");
    }
}

fn report(still: Duration, call: Option<String>, outbox: &Outbox<FromWorker>) {
    let doing = call.unwrap_or_else(|| "no handler".to_owned());
    // Running, or waiting in the kernel, and what for.
    let state = kernel_state().unwrap_or_default();
    let doing = format!("{doing}{state}");
    tracing::error!(?still, doing, "the loop is blocked (hint: `blocking` runs work elsewhere)");
    if let Err(error) = outbox.send(&FromWorker::Stuck { still, doing }) {
        tracing::debug!(%error, "the master was not told");
    }
}

/// Returns what the kernel knows of the process's first thread, which has the loop.
fn kernel_state() -> Option<String> {
    let pid = std::process::id();
    let status = fs::read_to_string(format!("/proc/self/task/{pid}/status")).ok()?;
    let state = status.lines().find_map(|line| line.strip_prefix("State:"))?.trim();
    let waits = fs::read_to_string(format!("/proc/self/task/{pid}/wchan")).unwrap_or_default();
    let waits = waits.trim();
    if matches!(waits, "" | "0") {
        Some(format!(", {state}"))
    } else {
        Some(format!(", {state} in {waits}"))
    }
}

/// What was seen of the loop.
#[derive(Debug)]
struct Loop {
    beats: u64,
    /// How long it has not beaten, in looks of ours: a process that was stopped as a whole is not
    /// blamed for the time.
    still: Duration,
    told: bool,
}

/// What is worth a word.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Stuck(Duration),
    GoesOn(Duration),
}

impl Loop {
    fn look(&mut self, beats: u64, after: Duration, limit: Duration) -> Option<News> {
        if beats != self.beats {
            let was = std::mem::replace(&mut self.still, Duration::ZERO);
            self.beats = beats;
            return std::mem::take(&mut self.told).then_some(News::GoesOn(was));
        }
        self.still += after;
        let stuck = self.still >= limit && !std::mem::replace(&mut self.told, self.still >= limit);
        stuck.then_some(News::Stuck(self.still))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_told_of_once_and_again_when_it_goes_on() {
        let (second, limit) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut watched = Loop { beats: 5, still: Duration::ZERO, told: false };
        let mut look = |beats| watched.look(beats, second, limit);
        assert_eq!([look(6), look(6), look(6)], [None, None, None]);
        assert_eq!(look(6), Some(News::Stuck(limit)));
        assert_eq!([look(6), look(6)], [None, None]);
        assert_eq!(look(7), Some(News::GoesOn(second * 5)));
        assert_eq!([look(7), look(7), look(8)], [None, None, None]);
        assert_eq!([look(8), look(8)], [None, None]);
        assert_eq!(look(8), Some(News::Stuck(limit)));
    }

    #[test]
    fn the_kernel_says_what_a_thread_does() {
        assert!(kernel_state().unwrap().starts_with(", "));
    }
}
