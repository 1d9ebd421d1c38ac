//! What the business of a link was told of clients, and has not confirmed.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::clients::Presence;
use super::identity::Departed;

/// What a business was told of a client, and has not confirmed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Unconfirmed {
    /// It is here: what was known of it before, and its handshake.
    Start(Presence, #[serde(with = "crate::written")] Bytes),
    /// It is gone.
    End(Departed),
}

/// All that a business has not confirmed, in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct UnconfirmedWords {
    /// Starts and ends of clients, each with how many events are done when it has arrived. Bounded by the events
    /// that are under way.
    words: VecDeque<(u32, u32, Unconfirmed)>,
    /// The same of clients that it was given and that others were told of: that is no event, so the next one tells
    /// that it has arrived. Bounded by the clients and the events that are under way.
    adopted: VecDeque<(u32, u32)>,
}

impl UnconfirmedWords {
    pub(super) fn tell(&mut self, at: u32, id: u32, word: Unconfirmed) {
        self.words.push_back((at, id, word));
    }

    pub(super) fn adopt(&mut self, at: u32, id: u32) {
        self.adopted.push_back((at, id));
    }

    /// So many events are done; returns the clients of which it surely knows now that they are here.
    pub(super) fn confirm(&mut self, is_done: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut begun = Vec::new();
        while let Some((_, id, word)) = self.words.pop_front_if(|(at, ..)| is_done(*at)) {
            if matches!(word, Unconfirmed::Start(..)) {
                begun.push(id);
            }
        }
        while self.adopted.pop_front_if(|(at, _)| is_done(*at)).is_some() {}
        if self.words.is_empty() {
            self.words = VecDeque::new();
        }
        if self.adopted.is_empty() {
            self.adopted = VecDeque::new();
        }
        begun
    }

    /// Another business has heard that these clients are here: what was told as their first start was none.
    pub(super) fn begun_elsewhere(&mut self, ids: &BTreeSet<u32>) {
        for (_, id, word) in &mut self.words {
            if let Unconfirmed::Start(before @ Presence::None, _) = word
                && ids.contains(id)
            {
                *before = Presence::Told;
            }
        }
    }

    /// Returns the clients that it was told of and another one has heard of before.
    pub(super) fn told_before(&self) -> BTreeSet<u32> {
        let is_known = |word: &Unconfirmed| matches!(word, Unconfirmed::Start(Presence::Told, _));
        self.words.iter().filter(|(.., word)| is_known(word)).map(|(_, id, _)| *id).collect()
    }

    /// Returns those of the clients of which it was told that they are here.
    pub(super) fn announced(&self, of: &BTreeSet<u32>) -> impl Iterator<Item = u32> {
        let starts = self.words.iter().filter(|(.., word)| matches!(word, Unconfirmed::Start(..)));
        starts.map(|(_, id, _)| *id).filter(|id| of.contains(id))
    }

    /// Takes the starts and ends that it may not have heard, in order, and the clients of others of which it may
    /// not know.
    pub(super) fn take(&mut self) -> (Vec<(u32, Unconfirmed)>, BTreeSet<u32>) {
        let Self { words, adopted } = std::mem::take(self);
        let words = words.into_iter().map(|(_, id, word)| (id, word)).collect();
        (words, adopted.into_iter().map(|(_, id)| id).collect())
    }
}
