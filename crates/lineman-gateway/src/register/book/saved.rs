//! The book written down for the process that takes over from this one.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Book, Role};
use crate::register::rivals::Rivals;
use crate::strangers::Strangers;
use crate::written;

/// The book, written down for the process that takes over from this one.
#[derive(Debug, Serialize, Deserialize)]
struct SavedBook<'a> {
    peers: Cow<'a, FxHashMap<u64, Role>>,
    strangers: Cow<'a, Strangers>,
    gateways: Cow<'a, [u64]>,
    rivals: Cow<'a, Rivals>,
}

impl Book {
    /// Writes it down, between two events.
    ///
    /// # Errors
    /// It has no written form.
    pub(in crate::register) fn save(&self, now: Instant) -> Result<Vec<u8>, String> {
        // What is due is done with the event that it is due to.
        let Self { secret_key: _, peers, strangers, gateways, rivals, due: _ } = self;
        let saved = SavedBook {
            peers: Cow::Borrowed(peers),
            strangers: Cow::Borrowed(strangers),
            gateways: Cow::Borrowed(gateways),
            rivals: Cow::Borrowed(rivals),
        };
        written::encode(&saved, now).map_err(|error| format!("the register's state: {error}"))
    }

    /// Goes on where another process was, by this one's own settings; says nothing to any peer.
    ///
    /// # Errors
    /// It is not understood.
    pub(in crate::register) fn restore(
        &mut self,
        saved: &[u8],
        now: Instant,
    ) -> Result<(), String> {
        let saved = written::decode::<SavedBook<'_>>(saved, now);
        let SavedBook { peers, strangers, gateways, rivals } =
            saved.map_err(|error| format!("the register's state is not understood: {error}"))?;
        (self.peers, self.gateways) = (peers.into_owned(), gateways.into_owned());
        self.strangers = strangers.into_owned().with_bounds_of(&self.strangers);
        self.rivals = rivals.into_owned();
        Ok(())
    }

    /// Returns the peers that have no connection any more.
    pub(in crate::register) fn without(&self, is_there: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut gone: Vec<_> = self.peers.keys().copied().filter(|peer| !is_there(*peer)).collect();
        gone.sort_unstable();
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use lineman_wire::link::Secret;
    use lineman_wire::link::register::Line;

    use super::*;
    use crate::register::book::{Reaction, Speaks};

    fn gateway(port: u16, epoch: &str) -> String {
        Line::GatewayConnect {
            address: format!("10.0.0.2:{port}"),
            secret_key: Secret::default(),
            lineman: Some(3),
            epoch: Some(epoch.to_owned()),
            explicit: true,
        }
        .encode()
    }

    /// Moves to a process whose clock shows something else.
    fn moved(book: &Book, now: &mut Instant) -> Book {
        let written = book.save(*now).unwrap();
        *now += Duration::from_hours(1);
        let strangers = Strangers::new(8, Duration::from_secs(5));
        let mut other = Book::new(Secret::default(), strangers);
        other.restore(&written, *now).unwrap();
        other
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_goes_on_with_every_peer() {
        let mut now = Instant::now();
        let strangers = Strangers::new(2, Duration::from_secs(99));
        let mut book = Book::new(Secret::default(), strangers);
        let from = Some(SocketAddr::from(([10, 0, 0, 2], 5000)));
        (1..=6).for_each(|peer| drop(book.connected(peer, now)));
        let business = Line::WorkerConnect { secret_key: Secret::default(), lineman: Some(3) };
        assert_eq!(book.heard(1, from, &business.encode(), now), Reaction::TellPeer);
        for (peer, port) in [(3, 2), (2, 1)] {
            let line = gateway(port, "e");
            assert_eq!(book.heard(peer, from, &line, now), Reaction::TellAll);
        }
        assert_eq!(book.heard(4, from, &gateway(1, "other"), now), Reaction::Nothing);
        assert_eq!(book.take_due(), [(2, Reaction::Ask)]);
        let list = book.list(Speaks::Extension);

        let mut book = moved(&book, &mut now);
        assert_eq!(book.list(Speaks::Extension), list, "in their order");
        assert_eq!((book.businesses(), book.speaks(1)), (vec![1], Speaks::Extension));
        assert_eq!(book.strangers.late(now + Duration::from_secs(4)), [0; 0]);
        assert_eq!(book.strangers.late(now + Duration::from_secs(5)), [5, 6]);
        assert_eq!(book.without(|peer| peer != 3 && peer != 6), [3, 6]);
        // The one that was asked says that it lives.
        book.heard(2, from, &Line::Ping.encode(), now);
        assert!(matches!(book.take_due()[..], [(4, Reaction::Object(..)), (2, Reaction::Say(_))]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_asked_has_as_long_to_answer() {
        let mut now = Instant::now();
        let mut book = Book::new(Secret::default(), Strangers::new(8, Duration::ZERO));
        (1..=2).for_each(|peer| drop(book.connected(peer, now)));
        book.heard(1, None, &gateway(1, "e"), now);
        book.heard(2, None, &gateway(1, "other"), now);
        drop(book.take_due());
        let mut book = moved(&book, &mut now);
        book.give_up_silent(now + Duration::from_millis(2999));
        assert!(book.take_due().is_empty());
        book.give_up_silent(now + Duration::from_secs(3));
        assert_eq!(book.take_due()[0], (1, Reaction::Drop));
        assert!(book.restore(b"garbage", now).unwrap_err().contains("not understood"));
    }
}
