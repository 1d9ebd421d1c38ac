//! What a register's list says beyond addresses: that a gateway has just come, so that it need not be
//! waited for, and which run it is in, so that a link to a former one is found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::Connection;
use lineman_wire::link::{Codec, Control, Packet};
use tokio::time::Instant;

use super::clients::LinkId;
use super::core::Core;
use super::gateway::{KnownGateway, Link};
use crate::Events;

/// Two attempts begin at least so far apart, whatever registers say: they may list what refuses, and often.
const SPACING: Duration = Duration::from_millis(100);

/// How long a gateway may take to say something when a register names another run of it. One that is gone
/// is found by the reset of its machine as a rule, in one round trip.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

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
                    link.connection.abort();
                }
                self.connect(gateway);
            }
        }
    }

    /// A register has told which run each gateway is in: a link to another run is probed, once for each.
    ///
    /// It is not cut at once: another register may know of a former run still, and two gateways may
    /// announce one address by mistake.
    pub(super) fn on_epochs(self: &Rc<Self>, epochs: &BTreeMap<String, String>) {
        for (address, epoch) in epochs {
            let Ok(gateway) = address.parse() else { continue };
            let probe = |known: &mut KnownGateway| known.link.as_mut()?.probe(epoch);
            let connection = self.gateways.borrow_mut().get_mut(&gateway).and_then(probe);
            if let Some(connection) = connection {
                self.probe(gateway, &connection);
            }
        }
    }

    fn probe(self: &Rc<Self>, gateway: SocketAddr, connection: &Connection<Codec>) {
        tracing::info!(%gateway, "a register names another run of the gateway, is this one there?");
        if let Err(error) = connection.send(Packet::from(Control::Probe)) {
            // What fills its queue is a sign as well, or the end.
            return tracing::debug!(%gateway, %error, "not probed");
        }
        let (core, link, asked) = (Rc::clone(self), connection.id(), Instant::now());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(PROBE_LIMIT).await;
            core.probed(gateway, link, asked);
        });
    }

    /// A link that was probed has had its time.
    fn probed(&self, gateway: SocketAddr, link: LinkId, asked: Instant) {
        let silent = |link: &mut Link| (link.heard < asked).then(|| link.connection.clone());
        let connection = self.with_link(gateway, link, silent).flatten();
        // A link that we do not read is silent by our doing.
        if let Some(connection) = connection.filter(|connection| !connection.is_paused()) {
            tracing::warn!(%gateway, "this run of the gateway says nothing, and a register names another");
            connection.abort();
        }
    }
}

impl KnownGateway {
    fn refuses(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.refusals() > 0)
    }

    fn haste(&self, now: Instant) -> Haste {
        let age = self.tried.map_or(Duration::MAX, |tried| now.saturating_duration_since(tried));
        match &self.link {
            Some(link) if link.up.is_none() && age >= SPACING => Haste::TryAnew,
            // One that refuses us is known to be there, and is tried when its pause is over.
            None if self.refuses() => Haste::None,
            None if self.pause.is_some() => Haste::ConnectAfter(SPACING.saturating_sub(age)),
            Some(_) | None => Haste::None,
        }
    }
}

impl Link {
    /// Returns where to ask whether the other end is there, if this epoch is a reason to, and a new one.
    fn probe(&mut self, epoch: &str) -> Option<Connection<Codec>> {
        let is_another = self.epoch.as_deref().is_some_and(|ours| ours != epoch);
        if !is_another || self.version < 3 || self.probed_for.as_deref() == Some(epoch) {
            return None;
        }
        self.probed_for = Some(epoch.to_owned());
        Some(self.connection.clone())
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
            let mut refuses = never_tried;
            refuses.refuse("wrong secret key", tried);
            assert_eq!(refuses.haste(tried + SPACING * 9), Haste::None, "its back-off goes on");
            refuses.fail("does not answer".to_owned(), tried);
            assert_eq!(refuses.haste(tried), Haste::ConnectAfter(Duration::ZERO));
        };
        LocalSet::new().run_until(test).await;
    }
}
