//! What the worker's one thread is doing, for the watchdog's thread to read when the loop stands
//! still. Two plain stores for each call of a handler; it decides nothing.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kind in the first byte, subject in the others.
static NOW: AtomicU64 = AtomicU64::new(0);

const SUBJECT: u64 = (1 << 56) - 1;

/// A call of a program's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Activity {
    /// `on_connect` of a connection.
    Connect = 1,
    /// `on_websocket_connect` of a connection.
    WebsocketConnect,
    /// `on_message` of a connection.
    Message,
    /// `on_close` of a connection.
    Close,
    /// `on_full`, `on_drain`, `on_ping` or `on_pong` of a connection.
    Signal,
    /// A service of HTTP.
    Http,
    /// A timer.
    Timer,
    /// An event of a business.
    Event,
    /// `on_reload` or `on_stop`.
    Service,
    /// `on_start`.
    Start,
    /// `on_adopt` of a connection.
    Adopt,
}

impl Activity {
    const ALL: [Self; 11] = [
        Self::Connect,
        Self::WebsocketConnect,
        Self::Message,
        Self::Close,
        Self::Signal,
        Self::Http,
        Self::Timer,
        Self::Event,
        Self::Service,
        Self::Start,
        Self::Adopt,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Connect => "on_connect",
            Self::WebsocketConnect => "on_websocket_connect",
            Self::Message => "on_message",
            Self::Close => "on_close",
            Self::Signal => "on_full, on_drain, on_ping or on_pong",
            Self::Http => "the HTTP service",
            Self::Timer => "a timer",
            Self::Event => "an event of the business",
            Self::Service => "on_reload or on_stop",
            Self::Start => "on_start",
            Self::Adopt => "on_adopt",
        }
    }
}

/// The time of one call; ends when it is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct During {
    before: u64,
}

/// Says that a call begins. `subject` is the number of its connection, 0 if it has none.
pub fn during(activity: Activity, subject: u64) -> During {
    let now = u64::from(activity as u8) << 56 | (subject & SUBJECT);
    let before = NOW.load(Ordering::Relaxed);
    NOW.store(now, Ordering::Relaxed);
    During { before }
}

impl Drop for During {
    fn drop(&mut self) {
        NOW.store(self.before, Ordering::Relaxed);
    }
}

/// Runs a future, and says so whenever it is polled.
pub async fn watched<F: Future>(activity: Activity, subject: u64, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _during = during(activity, subject);
        future.as_mut().poll(context)
    })
    .await
}

/// A call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    activity: Activity,
    subject: u64,
}

impl Current {
    /// Returns what is being called at this moment; `None` is nothing that was announced.
    pub fn look() -> Option<Self> {
        let now = NOW.load(Ordering::Relaxed);
        let activity = Activity::ALL.into_iter().find(|kind| *kind as u64 == now >> 56)?;
        Some(Self { activity, subject: now & SUBJECT })
    }
}

impl fmt::Display for Current {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.activity.name())?;
        if self.subject != 0 {
            write!(formatter, " of connection {}", self.subject)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, as there is one thread to watch in a process.
    #[test]
    fn a_call_is_known_while_it_lasts() {
        let outer = during(Activity::Message, 7);
        assert_eq!(Current::look().unwrap().to_string(), "on_message of connection 7");
        {
            let _inner = during(Activity::Timer, 0);
            assert_eq!(Current::look().unwrap().to_string(), "a timer");
        }
        assert_eq!(Current::look().unwrap().to_string(), "on_message of connection 7");
        drop(outer);
        for activity in Activity::ALL {
            let _during = during(activity, u64::MAX);
            assert_eq!(Current::look().map(|now| now.activity), Some(activity));
        }
    }
}
