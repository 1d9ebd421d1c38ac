//! What a register's list says beyond addresses: that a gateway has just come, so that it need not be
//! waited for.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use super::gateway::KnownGateway;
use crate::Events;

/// Two attempts begin at least so far apart, whatever registers say: they may list what refuses, and often.
const SPACING: Duration = Duration::from_millis(100);

/// What to do about a gateway that a register has just listed.
#[derive(Debug, PartialEq, Eq)]
enum Haste {
    /// It is linked, or is tried right now.
    None,
    /// Connect after so long, and not after the pause that is under way.
    ConnectAfter(Duration),
    /// The attempt under way began before: its first packet may have met a machine that was not up yet, and
    /// is sent again only after a second, then two more.
    TryAnew,
}

impl<E: Events> Core<E> {
    /// A register has told of a gateway: it has come, or another one has.
    pub(super) fn hasten(self: &Rc<Self>, gateway: SocketAddr) {
        let now = Instant::now();
        let haste = self.gateways.borrow().get(&gateway).map(|known| known.haste(now));
        match haste {
            None | Some(Haste::None) => {}
            Some(Haste::ConnectAfter(pause)) => self.connect_after(gateway, pause),
            Some(Haste::TryAnew) => {
                let link = self.gateways.borrow_mut().get_mut(&gateway).and_then(|g| g.link.take());
                if let Some(link) = link {
                    self.silence.borrow_mut().remove(link.id());
                    link.connection.abort();
                }
                self.connect(gateway);
            }
        }
    }
}

impl KnownGateway {
    fn haste(&self, now: Instant) -> Haste {
        let age = self.tried.map_or(Duration::MAX, |tried| now.saturating_duration_since(tried));
        match &self.link {
            Some(link) if link.up.is_none() && age >= SPACING => Haste::TryAnew,
            None if self.pause.is_some() => Haste::ConnectAfter(SPACING.saturating_sub(age)),
            Some(_) | None => Haste::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::business::gateway::Pause;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_with_the_news_and_attempts_keep_their_distance() {
        let test = async {
            let tried = Instant::now();
            let waits = KnownGateway {
                pause: Some(Pause(spawn_local(std::future::pending()))),
                tried: Some(tried),
                ..KnownGateway::default()
            };
            assert_eq!(waits.haste(tried), Haste::ConnectAfter(SPACING));
            assert_eq!(waits.haste(tried + SPACING / 4), Haste::ConnectAfter(SPACING * 3 / 4));
            assert_eq!(waits.haste(tried + SPACING * 9), Haste::ConnectAfter(Duration::ZERO));
            let never_tried = KnownGateway { tried: None, ..waits };
            assert_eq!(never_tried.haste(tried), Haste::ConnectAfter(Duration::ZERO));
            assert_eq!(KnownGateway::default().haste(tried), Haste::None);
        };
        LocalSet::new().run_until(test).await;
    }
}
