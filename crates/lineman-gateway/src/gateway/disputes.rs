//! Clients whose end may have been told by a business that was lost.
//!
//! A business whose link is lost cannot know whether its gateway is dead, so after a while it tells the
//! application the end of the gateway's clients; the gateway has given them to others meanwhile. It may as well
//! be dead itself, and have told nothing. So the clients that it had are in dispute until it is back and says
//! which it has kept, or is known to be dead. The end of a client in dispute is kept back, for a limited time:
//! told by another business, it might be told twice. [`super::settlement`] carries out what comes of it. It sends
//! nothing and reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lineman_wire::link::Packet;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::identity::Departed;
use super::links::LinkId;

/// How long a business may be away and still be asked which clients it has kept.
const MEMORY: Duration = Duration::from_hours(1);

/// How many lost businesses are remembered: one that crashes all the time is a new one each time.
const MOST: usize = 64;

/// The businesses that were lost, each with the clients that it had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Disputes {
    by_key: BTreeMap<String, Dispute>,
    /// The ends that are kept back. Invariant: each is in an awaited dispute.
    kept_back: BTreeMap<u32, KeptBack>,
}

/// What a business had when it was lost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LostClients {
    /// Those that are connected, and those whose end is kept back.
    pub(super) clients: BTreeSet<u32>,
    /// Those of them that it knew and may have heard are gone.
    pub(super) ends: BTreeSet<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Dispute {
    #[serde(with = "crate::written")]
    since: Instant,
    lost: LostClients,
    /// Clients that it had, and that another one has heard are here since: their end it may have told before.
    begun: BTreeSet<u32>,
    /// The business may be alive: ends are kept back for its answer.
    awaited: bool,
}

/// A client that is gone, of which no business was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptBack {
    pub(super) departed: Departed,
    /// The link whose business has the client, and does not know that it is gone.
    pub(super) owner: Option<LinkId>,
    /// Whether a business is known to have heard that it was here: if none has, its end is owed only if one says
    /// so.
    pub(super) heard: bool,
}

/// What a business's answer comes to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Their end was told, yet they may be connected.
    pub(super) returned: Vec<u32>,
    /// They are gone, and their end was told.
    pub(super) told: Vec<(u32, KeptBack)>,
    /// They are gone, and their end is owed.
    pub(super) owed: Vec<(u32, KeptBack)>,
}

impl Disputes {
    /// A business is lost that had these clients.
    pub(super) fn open(&mut self, key: &str, lost: LostClients, now: Instant) {
        if lost.clients.is_empty() {
            return;
        }
        let new = || {
            let (lost, begun) = (LostClients::default(), BTreeSet::new());
            Dispute { since: now, lost, begun, awaited: true }
        };
        let dispute = self.by_key.entry(key.to_owned()).or_insert_with(new);
        dispute.begun.retain(|id| !lost.clients.contains(id));
        dispute.lost.clients.extend(lost.clients);
        dispute.lost.ends.extend(lost.ends);
        (dispute.since, dispute.awaited) = (now, true);
    }

    /// Returns whether a business was lost and has not said yet what it has kept.
    pub(super) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns whether the end of a client may have been told already, or be told yet.
    pub(super) fn concern(&self, id: u32) -> bool {
        self.by_key.values().any(|dispute| dispute.awaited && dispute.lost.clients.contains(&id))
    }

    /// A client in dispute is gone.
    pub(super) fn keep_back(&mut self, id: u32, end: KeptBack) {
        self.kept_back.insert(id, end);
    }

    /// These events of a client that is gone have left on no link.
    pub(super) fn keep_unsent(&mut self, id: u32, unsent: Vec<Packet>) {
        if let Some(end) = self.kept_back.get_mut(&id) {
            end.departed.unsent.extend(unsent);
        }
    }

    /// Returns how many ends are kept back.
    pub(super) fn kept_back(&self) -> usize {
        self.kept_back.len()
    }

    /// Says whether an id is still in use, though its client is gone.
    pub(super) fn remember(&self, id: u32) -> bool {
        self.kept_back.contains_key(&id)
    }

    /// A business has heard that a client is here: what others have to say is of before. Returns its end, if that
    /// was kept back.
    pub(super) fn begin(&mut self, id: u32) -> Option<(u32, KeptBack)> {
        self.supersede(id);
        self.kept_back.remove(&id).map(|end| (id, end))
    }

    /// The client is announced after whatever others have told.
    fn supersede(&mut self, id: u32) {
        for dispute in self.by_key.values_mut() {
            if dispute.lost.clients.remove(&id) {
                dispute.begun.insert(id);
            }
        }
    }

    /// No business is known to have heard that a client was here.
    pub(super) fn doubt(&mut self, id: u32) {
        if let Some(end) = self.kept_back.get_mut(&id) {
            end.heard = false;
        }
    }

    /// A link is no more: returns the clients that its business takes for connected, though they are gone.
    pub(super) fn disown(&mut self, link: LinkId) -> Vec<u32> {
        let of_link = self.kept_back.iter_mut().filter(|(_, end)| end.owner == Some(link));
        let orphan = |(&id, end): (&u32, &mut KeptBack)| {
            end.owner = None;
            id
        };
        of_link.map(orphan).collect()
    }

    /// A client is gone, and its end is told.
    pub(super) fn forget(&mut self, id: u32) {
        for dispute in self.by_key.values_mut() {
            dispute.lost.clients.remove(&id);
        }
    }

    /// A business is back: these of its clients it has kept, and of these it has told the end.
    pub(super) fn settle(&mut self, key: &str, kept: &[u32], ended: &[u32]) -> Settled {
        let dispute = self.by_key.remove(key);
        let (lost, begun) = dispute.map(|it| (it.lost, it.begun)).unwrap_or_default();
        let mut settled = Settled::default();
        for &id in ended {
            // What it told was before the start, perhaps: the end is still to be told by another one.
            if !(begun.contains(&id) && self.kept_back.contains_key(&id)) {
                self.end(id, &mut settled);
            }
        }
        for id in kept {
            if let Some(end) = self.kept_back.get_mut(id)
                && !std::mem::replace(&mut end.heard, true)
            {
                // One that was told of both may have heard neither.
                for dispute in self.by_key.values_mut() {
                    dispute.lost.ends.remove(id);
                }
            }
        }
        // It heard of these ends before it was lost, and told them.
        let kept: BTreeSet<u32> = kept.iter().copied().collect();
        for &id in lost.ends.difference(&kept) {
            if self.kept_back.contains_key(&id) {
                self.end(id, &mut settled);
            }
        }
        settled.owed = self.owed();
        settled
    }

    /// The end of a client was told: what others have to say of it is of before.
    fn end(&mut self, id: u32, settled: &mut Settled) {
        if let Some(kept_back) = self.kept_back.remove(&id) {
            self.forget(id);
            settled.told.push((id, kept_back));
        } else {
            self.supersede(id);
            settled.returned.push(id);
        }
    }

    /// Another process has the place of a business: the one that was lost is dead. Returns the ends that are
    /// owed.
    pub(super) fn replaced(&mut self, key: &str) -> Vec<(u32, KeptBack)> {
        for (lost, dispute) in &mut self.by_key {
            dispute.awaited &= lost == key || slot_of(lost) != slot_of(key);
        }
        self.owed()
    }

    /// Time has passed: returns the ends that are owed. `limit` is how long one is kept back.
    pub(super) fn expire(&mut self, limit: Duration, now: Instant) -> Vec<(u32, KeptBack)> {
        let age = |dispute: &Dispute| now.saturating_duration_since(dispute.since);
        let awaited = |disputes: &Self| disputes.by_key.values().filter(|d| d.awaited).count();
        let before = awaited(self);
        self.by_key.retain(|_, dispute| age(dispute) < MEMORY);
        while self.by_key.len() > MOST {
            let oldest = self.by_key.iter().min_by_key(|(_, dispute)| dispute.since);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_key.remove(&oldest);
        }
        for dispute in self.by_key.values_mut() {
            dispute.awaited &= age(dispute) < limit;
        }
        // Each second, so not for nothing: all ends would be compared with all disputes.
        if awaited(self) == before { Vec::new() } else { self.owed() }
    }

    /// Takes the ends that nothing keeps back any more.
    fn owed(&mut self) -> Vec<(u32, KeptBack)> {
        let free: Vec<u32> =
            self.kept_back.keys().copied().filter(|&id| !self.concern(id)).collect();
        let take = |id: u32| {
            self.forget(id);
            let end = self.kept_back.remove(&id)?;
            end.heard.then_some((id, end))
        };
        free.into_iter().filter_map(take).collect()
    }
}

/// The place of a business, whichever process has it: all but the last part of its key.
fn slot_of(key: &str) -> &str {
    key.rsplit_once(':').map_or(key, |(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(10);

    fn departed() -> Departed {
        let (address, session) = (([127, 0, 0, 1], 4).into(), bytes::Bytes::new());
        Departed { address, session: session.into(), unsent: Vec::new() }
    }

    fn ids(ends: &[(u32, KeptBack)]) -> Vec<u32> {
        ends.iter().map(|(id, _)| *id).collect()
    }

    struct Test {
        disputes: Disputes,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            Self { disputes: Disputes::default(), now: Instant::now() }
        }

        fn lose(&mut self, key: &str, clients: &[u32]) {
            let lost =
                LostClients { clients: clients.iter().copied().collect(), ..Default::default() };
            self.disputes.open(key, lost, self.now);
        }

        fn end(&mut self, id: u32) {
            assert!(self.disputes.concern(id));
            self.end_heard(id, true);
        }

        fn end_heard(&mut self, id: u32, heard: bool) {
            let end = KeptBack { departed: departed(), owner: Some(9), heard };
            self.disputes.keep_back(id, end);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whose_end_was_told_has_returned_or_needs_none() {
        let mut test = Test::new();
        test.lose("10.0.0.2:b:0:1", &[1, 2, 3, 4]);
        test.end(2);
        test.end(4);
        assert!(!test.disputes.concern(5));
        let settled = test.disputes.settle("10.0.0.2:b:0:1", &[3, 4, 77], &[1, 2]);
        assert_eq!((settled.returned, ids(&settled.told)), (vec![1], vec![2]));
        assert_eq!(ids(&settled.owed), [4]);
        assert!(!test.disputes.concern(3) && !test.disputes.remember(4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_for_every_business_that_may_have_told_it() {
        let mut test = Test::new();
        test.lose("h:b:0:1", &[1, 2]);
        test.lose("h:b:1:1", &[1, 2]);
        test.end(1);
        test.end(2);
        let settled = test.disputes.settle("h:b:0:1", &[1], &[2]);
        assert_eq!((ids(&settled.told), settled.owed.len()), (vec![2], 0));
        assert_eq!(ids(&test.disputes.settle("h:b:1:1", &[1], &[]).owed), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_owed_when_the_business_is_dead_or_away_for_too_long() {
        let mut test = Test::new();
        test.lose("h:b:0:1", &[1, 2]);
        test.end(1);
        for not_its_place in ["h:b:1:2", "h:b:0:1"] {
            assert!(test.disputes.replaced(not_its_place).is_empty());
        }
        assert_eq!(ids(&test.disputes.replaced("h:b:0:2")), [1]);
        assert!(!test.disputes.concern(2), "its end is told at once");

        test.lose("h:b:0:2", &[3, 4]);
        test.end(3);
        test.now += LIMIT.saturating_sub(Duration::from_secs(1));
        assert!(test.disputes.expire(LIMIT, test.now).is_empty());
        test.now += Duration::from_secs(1);
        assert_eq!(ids(&test.disputes.expire(LIMIT, test.now)), [3]);
        test.now += MEMORY;
        test.disputes.expire(LIMIT, test.now);
        assert!(test.disputes.by_key.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_crashes_all_the_time_is_remembered_within_bounds() {
        let mut test = Test::new();
        for process in 0..100 {
            test.now += Duration::from_secs(1);
            test.lose(&format!("h:b:0:{process}"), &[1]);
        }
        test.disputes.expire(LIMIT, test.now);
        assert_eq!(test.disputes.by_key.len(), MOST);
        assert!(!test.disputes.has("h:b:0:35") && test.disputes.has("h:b:0:36"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_lost_owner_had_is_its_to_tell_as_well() {
        let mut test = Test::new();
        test.lose("h:b:0:1", &[1, 2]);
        test.end(1);
        assert_eq!(test.disputes.disown(8), Vec::<u32>::new());
        assert_eq!(test.disputes.disown(9), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_was_not_confirmed_the_business_says_whether_it_has_heard() {
        let mut test = Test::new();
        let lost = || LostClients { clients: [1, 2, 3].into(), ends: [1, 2].into() };
        // 3 is gone as well, but that was not sent; of 2 and 3 it may not have heard that they were here.
        test.disputes.open("h:b:0:1", lost(), test.now);
        test.end(1);
        test.end_heard(2, false);
        test.end_heard(3, false);
        let settled = test.disputes.settle("h:b:0:1", &[2], &[]);
        assert_eq!((ids(&settled.told), ids(&settled.owed)), (vec![1], vec![2]));
        assert_eq!(test.disputes.kept_back(), 0, "of 3 it has never heard");

        test.disputes.open("h:b:0:1", lost(), test.now);
        test.end_heard(3, false);
        assert!(test.disputes.replaced("h:b:0:2").is_empty(), "it never heard of it, and is dead");
        assert_eq!(test.disputes.kept_back(), 0);
    }
}
