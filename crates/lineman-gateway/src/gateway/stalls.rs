//! Businesses that handle nothing, or whose machine does not answer: they get no new clients, and after a
//! limit theirs move to another one.

use std::time::Duration;

use super::core::Core;
use super::links::{Link, LinkId};
use super::outlet::Outlet;
use crate::reach::Reached;

/// A sweep that comes so late was held up by this process, which cannot judge others then.
const LATE: Duration = Duration::from_secs(3);

/// When a business is no longer relied on; zero for never.
#[derive(Debug, Clone, Copy)]
pub(super) struct StallLimits {
    /// It has events, and for so long it handled none or, if it gives signs of life, gave none, asked for one or
    /// not: it gets no new clients.
    pub(super) stalled: Duration,
    /// It has events, or was asked, and said nothing for so long: its clients move to another one.
    pub(super) abandoned: Duration,
}

impl<C: Outlet> Core<C> {
    /// Looks at the pulse of every link, and asks each business that understands it for a sign of life: one that is
    /// idle would give none, and hang unseen behind a kernel, or a proxy, that acknowledges everything.
    pub(super) fn look_for_stalls(&mut self) {
        let now = self.now;
        let late = now.saturating_duration_since(self.swept) >= LATE;
        self.swept = now;
        for link in self.links.iter_mut() {
            // While we do not read it, or did nothing ourselves, its silence says nothing.
            if late || self.unread_peers.contains(&link.outlet().id()) {
                link.pulse.progress(now);
            }
            link.observe(now);
            // One of ours whose loop goes on says so: what it has not done are handlers that wait, and a new
            // client goes there only where no other has less to do.
            let silent = if link.credits {
                link.pulse.without_report(now)
            } else {
                link.pulse.without_progress(now)
            };
            let limit = self.policy.stall_limits.stalled;
            if !limit.is_zero() && silent >= limit && link.pulse.stall() {
                let (business, clients) = (&link.key, link.clients.len());
                tracing::debug!(business, ?silent, clients, "business stalled, no new clients");
                self.counts.stalls.add();
            }
            link.probe(now);
        }
        for id in self.abandoned() {
            self.abandon(id);
        }
    }

    /// Returns the links whose clients are better off elsewhere.
    ///
    /// A business whose loop goes on reports each second: where its handlers wait for something, those of
    /// another one would, too, and what they have begun would be lost. A PHP one says nothing at all, nor
    /// does one of version 1 while its handlers wait.
    fn abandoned(&self) -> Vec<LinkId> {
        let limit = self.policy.stall_limits.abandoned;
        let is_silent = |id: &LinkId| {
            let link = self.links.get(*id).filter(|link| link.credits);
            link.is_some_and(|link| link.pulse.without_report(self.now) >= limit)
        };
        if limit.is_zero() {
            return Vec::new();
        }
        let (silent, others): (Vec<_>, Vec<_>) = self.links.ids().partition(is_silent);
        let takes = |id: &LinkId| {
            let link = self.links.get(*id);
            link.is_some_and(|link| link.takes_clients() && !link.pulse.is_stalled())
        };
        if others.iter().any(takes) { silent } else { Vec::new() }
    }

    /// Closes the link of a business that hangs: when it goes on it sees that the link has ended, and drops
    /// what it had not begun.
    fn abandon(&mut self, id: LinkId) {
        self.counts.abandoned_links += 1;
        self.give_up(id, "the business says nothing");
    }

    fn give_up(&mut self, id: LinkId, reason: &str) {
        let outlet = self.links.get(id).map(|link| std::rc::Rc::clone(link.outlet()));
        self.lose_link(id, reason);
        if let Some(outlet) = outlet {
            outlet.abort();
        }
    }

    /// Looks which machines with businesses answer.
    ///
    /// One in doubt gets nothing more: what it was sent before it may have begun, so that is lost with it, and
    /// what was not sent others get. One that is given up loses its link, whatever else it waits for.
    pub(super) fn look_for_machines(&mut self) {
        let Some(limits) = self.policy.reach else { return };
        let now = self.now;
        let look = |link: &mut Link| {
            let said = link.outlet().acknowledgement();
            (link.outlet().id(), link.reach.look(said, limits, now))
        };
        let reached: Vec<_> = self.links.iter_mut().map(look).collect();
        // First all doubts, so that no client moves to another link that is as bad.
        for &(id, reached) in &reached {
            self.rely_on(id, reached);
        }
        for (id, _) in reached.into_iter().filter(|(_, reached)| *reached == Reached::No) {
            self.counts.unreachable_links += 1;
            self.give_up(id, "the machine does not answer");
        }
    }

    /// Stops or begins to rely on the machine of a link, if that is a change.
    fn rely_on(&mut self, id: LinkId, reached: Reached) {
        let Some(link) = self.links.get_mut(id) else { return };
        let before = link.in_doubt();
        link.reached = reached;
        match (before, link.in_doubt()) {
            (false, true) => {
                tracing::debug!(business = link.key, "machine does not answer, nothing is sent");
                self.pause_clients(id);
            }
            (true, false) => {
                tracing::debug!(business = link.key, "machine answers again");
                link.flush();
                link.tell(self.now);
                self.resume_clients(id);
                self.release_held();
            }
            (false, false) | (true, true) => {}
        }
    }
}
