//! The clients of this gateway process: their connections, what is bound to them, and how to find them.
//!
//! It keeps the two indexes and the clients' own lists of names in step. It sends nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;

use bytes::Bytes;
use lineman_wire::link::NameKey;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::choices::PayloadType;
use super::client_session::ClientSession;
use super::heartbeat::Beat;
use super::ids::Counter;
use super::index::{Index, Label, Membership, NameNumbers, NamePlace};
use super::links::LinkId;
use super::outlet::Outlet;
use super::roll::{SavedRoll, SharedRoll};
use super::share::ClientShare;
use crate::entrance::Binding;

/// A client. Everything about it is plain data but the connection itself.
#[derive(Debug)]
pub(super) struct ConnectedClient<C> {
    pub(super) connection: C,
    pub(super) session: ClientSession,
    pub(super) uid: Option<Membership>,
    /// In the order of joining.
    pub(super) groups: Vec<Membership>,
    /// The business that gets its events. Invariant: if set, the link's own set has this client;
    /// if not, the client is held.
    pub(super) link: Option<LinkId>,
    pub(super) presence: Presence,
    /// What it is routed by, if that does not change.
    pub(super) route: Option<NonZeroU64>,
    pub(super) share: ClientShare,
    pub(super) beat: Beat,
    pub(super) spoken: PayloadType,
}

/// What was told of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Presence {
    /// No business was told that it is there.
    None,
    /// A business was told that it is there.
    Told,
    /// A business has told its end, and none yet that it is here.
    Undone,
}

/// All clients, by connection id, by connection, by uid and by group.
#[derive(Debug)]
pub(super) struct ConnectedClients<C> {
    pub(super) counter: Counter,
    /// Ordered, for answers list clients in the order in which they came, which is that of the ids from the
    /// counter's first one on. Boxed, for the nodes of the tree are half empty.
    by_id: BTreeMap<u32, Box<ConnectedClient<C>>>,
    by_connection: FxHashMap<u64, u32>,
    pub(super) uids: Index,
    pub(super) groups: Index,
    /// What businesses are told of both.
    pub(super) roll: SharedRoll,
}

/// All clients, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedClients {
    counter: Counter,
    #[serde(with = "crate::written")]
    uids: Vec<Bytes>,
    #[serde(with = "crate::written")]
    groups: Vec<Bytes>,
    roll: SavedRoll,
    clients: Vec<SavedClient>,
}

/// A client, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedClient {
    pub(super) id: u32,
    pub(super) connection: u64,
    pub(super) address: SocketAddr,
    pub(super) session: ClientSession,
    uid: Option<NamePlace>,
    groups: Vec<NamePlace>,
    pub(super) link: Option<LinkId>,
    pub(super) presence: Presence,
    route: Option<NonZeroU64>,
    share: ClientShare,
    beat: Beat,
    spoken: PayloadType,
}

impl<C: Outlet> ConnectedClient<C> {
    fn save(&self, id: u32, uids: &NameNumbers, groups: &NameNumbers) -> SavedClient {
        let Self {
            connection,
            session,
            uid,
            groups: member_of,
            link,
            presence,
            route,
            share,
            beat,
            spoken,
        } = self;
        SavedClient {
            id,
            connection: connection.id(),
            address: connection.peer(),
            session: session.clone(),
            uid: uid.as_ref().map(|uid| uids.save(uid)),
            groups: member_of.iter().map(|group| groups.save(group)).collect(),
            link: *link,
            presence: *presence,
            route: *route,
            share: share.clone(),
            beat: *beat,
            spoken: *spoken,
        }
    }
}

impl<C: Outlet> ConnectedClients<C> {
    /// Writes all of them down, in the order of their ids.
    pub(super) fn save(&self) -> SavedClients {
        let Self { counter, by_id, by_connection: _, uids, groups, roll } = self;
        let (uids, uid_numbers) = uids.save();
        let (groups, group_numbers) = groups.save();
        let clients = by_id.iter();
        let clients = clients.map(|(id, client)| client.save(*id, &uid_numbers, &group_numbers));
        let clients = clients.collect();
        SavedClients { counter: counter.clone(), uids, groups, roll: roll.borrow().save(), clients }
    }

    /// Returns the clients that were written down, with the connections that `find` has by number, and those that have
    /// none in this process.
    pub(super) fn restore(
        saved: SavedClients,
        mut find: impl FnMut(u64) -> Option<C>,
    ) -> (Self, Vec<SavedClient>) {
        let SavedClients { counter, uids, groups, roll, clients } = saved;
        let mut restored = Self::new(counter);
        let (uids, groups) = (restored.uids.restore(uids), restored.groups.restore(groups));
        restored.roll.borrow_mut().restore(roll);
        let mut left = Vec::new();
        for client in clients {
            match find(client.connection) {
                Some(connection) => restored.go_on_with(client, connection, &uids, &groups),
                None => left.push(client),
            }
        }
        restored.uids.forget_empty();
        restored.groups.forget_empty();
        (restored, left)
    }

    fn go_on_with(&mut self, saved: SavedClient, connection: C, uids: &[Label], groups: &[Label]) {
        let SavedClient {
            id,
            connection: number,
            address: _,
            session,
            uid,
            groups: member_of,
            link,
            presence,
            route,
            share,
            beat,
            spoken,
        } = saved;
        let client = ConnectedClient {
            connection,
            session,
            uid: uid.and_then(|uid| self.uids.rejoin(uids, uid, id)),
            groups: member_of
                .into_iter()
                .filter_map(|group| self.groups.rejoin(groups, group, id))
                .collect(),
            link,
            presence,
            route,
            share,
            beat,
            spoken,
        };
        self.by_id.insert(id, Box::new(client));
        self.by_connection.insert(number, id);
    }
}

impl<C> ConnectedClients<C> {
    pub(super) fn new(counter: Counter) -> Self {
        let roll = SharedRoll::default();
        Self {
            counter,
            by_id: BTreeMap::new(),
            by_connection: FxHashMap::default(),
            uids: Index::new(&roll, NameKey::of_uid),
            groups: Index::new(&roll, NameKey::of_group),
            roll,
        }
    }

    /// Adds the client of a connection, and returns its id: none of those `in_use` elsewhere.
    pub(super) fn insert(
        &mut self,
        connection_number: u64,
        connection: C,
        in_use: impl Fn(u32) -> bool,
    ) -> u32 {
        let id = self.counter.take(|id| self.by_id.contains_key(&id) || in_use(id));
        let client = ConnectedClient {
            connection,
            session: ClientSession::default(),
            uid: None,
            groups: Vec::new(),
            link: None,
            presence: Presence::None,
            route: None,
            share: ClientShare::default(),
            beat: Beat::default(),
            spoken: PayloadType::default(),
        };
        self.by_id.insert(id, Box::new(client));
        self.by_connection.insert(connection_number, id);
        id
    }

    /// Takes the client of a connection out, its uid and groups with it.
    pub(super) fn remove(
        &mut self,
        connection_number: u64,
    ) -> Option<(u32, Box<ConnectedClient<C>>)> {
        let id = self.by_connection.remove(&connection_number)?;
        let client = self.by_id.remove(&id)?;
        if let Some(uid) = &client.uid {
            self.uids.remove(uid);
        }
        for group in &client.groups {
            self.groups.remove(group);
        }
        Some((id, client))
    }

    /// Returns the id of a connection's client.
    pub(super) fn id_of(&self, connection_number: u64) -> Option<u32> {
        self.by_connection.get(&connection_number).copied()
    }

    pub(super) fn get(&self, id: u32) -> Option<&ConnectedClient<C>> {
        self.by_id.get(&id).map(|client| &**client)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut ConnectedClient<C>> {
        self.by_id.get_mut(&id).map(|client| &mut **client)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns all clients in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &ConnectedClient<C>)> {
        self.behind(0).filter_map(|(_, id)| Some((id, self.get(id)?)))
    }

    /// Returns the places of the clients in that order, and their ids: those that are behind `after`.
    pub(super) fn behind(&self, after: u32) -> impl Iterator<Item = (u32, u32)> {
        let ranges = self.counter.behind(after).into_iter().filter(|range| !range.is_empty());
        let ids = ranges.flat_map(|range| self.by_id.range(range)).map(|(&id, _)| id);
        ids.map(|id| (self.counter.place(id), id))
    }

    /// Sets what was bound to a client before it came.
    pub(super) fn apply(&mut self, id: u32, binding: &Binding) {
        if let Some(client) = self.get_mut(id) {
            client.session = binding.session.clone().into();
        }
        if let Some(uid) = &binding.uid {
            self.bind(id, uid);
        }
        for group in &binding.groups {
            self.join(id, group);
        }
    }

    /// Binds a uid in place of the one the client has; unknown clients are ignored. One that has it is the last
    /// of those with it from then on, as in `GatewayWorker`.
    pub(super) fn bind(&mut self, id: u32, uid: &[u8]) {
        let Some(client) = self.by_id.get_mut(&id) else { return };
        match &mut client.uid {
            Some(same) if *same.name == *uid => return self.uids.renew(same, id),
            Some(old) => self.uids.remove(old),
            None => {}
        }
        client.uid = Some(self.uids.add(uid, id));
    }

    pub(super) fn unbind(&mut self, id: u32) {
        if let Some(uid) = self.by_id.get_mut(&id).and_then(|client| client.uid.take()) {
            self.uids.remove(&uid);
        }
    }

    pub(super) fn join(&mut self, id: u32, group: &[u8]) {
        let Some(client) = self.by_id.get_mut(&id) else { return };
        if !client.groups.iter().any(|known| *known.name == *group) {
            client.groups.push(self.groups.add(group, id));
        }
    }

    pub(super) fn leave(&mut self, id: u32, group: &[u8]) {
        let Some(client) = self.by_id.get_mut(&id) else { return };
        if let Some(place) = client.groups.iter().position(|known| *known.name == *group) {
            self.groups.remove(&client.groups.remove(place));
        }
    }

    pub(super) fn ungroup(&mut self, group: &[u8]) {
        for id in self.groups.dissolve(group).iter().flat_map(super::ids::IdSet::iter) {
            if let Some(client) = self.by_id.get_mut(&id) {
                client.groups.retain(|known| *known.name != *group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> ConnectedClients<()> {
        let mut clients = ConnectedClients::new(Counter::starting_at(1));
        for connection in [11, 12, 13] {
            clients.insert(connection, (), |_| false);
        }
        clients
    }

    #[test]
    fn a_client_has_one_uid_and_a_uid_many_clients() {
        let mut clients = three();
        clients.bind(1, b"ada");
        clients.bind(2, b"ada");
        clients.bind(2, b"ada");
        clients.bind(1, b"bob");
        assert_eq!(clients.uids.ids(b"ada").collect::<Vec<_>>(), [2]);
        assert_eq!(clients.uids.ids(b"bob").collect::<Vec<_>>(), [1]);
        clients.unbind(1);
        clients.unbind(1);
        clients.bind(99, b"eve");
        assert_eq!(clients.uids.len(), 1);
    }

    /// `GatewayWorker`'s: of all clients as they came, of a uid or group as they got it.
    #[test]
    fn lists_are_in_the_order_of_joining() {
        let mut clients = ConnectedClients::new(Counter::starting_at(u32::MAX));
        let ids: Vec<u32> =
            (11..14).map(|connection| clients.insert(connection, (), |_| false)).collect();
        assert_eq!(ids, [u32::MAX, 1, 2]);
        let all =
            |clients: &ConnectedClients<()>| clients.iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(all(&clients), ids, "beyond the greatest number, too");
        let rest = |after| clients.behind(after).map(|(_, id)| id).collect::<Vec<_>>();
        let places: Vec<u32> = clients.behind(0).map(|(place, _)| place).collect();
        assert_eq!(
            places.iter().map(|place| rest(*place)).collect::<Vec<_>>(),
            [&ids[1..], &ids[2..], &[]]
        );
        for id in [2, u32::MAX, 1] {
            clients.bind(id, b"ada");
            clients.join(id, b"a");
        }
        clients.bind(2, b"ada");
        clients.join(2, b"a");
        assert_eq!(clients.uids.ids(b"ada").collect::<Vec<_>>(), [u32::MAX, 1, 2], "bound anew");
        assert_eq!(clients.groups.ids(b"a").collect::<Vec<_>>(), [2, u32::MAX, 1]);
        clients.leave(2, b"a");
        clients.join(2, b"a");
        assert_eq!(clients.groups.ids(b"a").collect::<Vec<_>>(), [u32::MAX, 1, 2]);
        assert_eq!(clients.roll.borrow().version(), 2, "no name was gone");
    }

    #[test]
    fn groups_and_members_agree() {
        let mut clients = three();
        for (id, group) in [(1, "a"), (1, "b"), (2, "a"), (1, "a"), (99, "a")] {
            clients.join(id, group.as_bytes());
        }
        assert_eq!(clients.get(1).expect("there").groups.len(), 2);
        clients.leave(1, b"a");
        clients.leave(1, b"a");
        assert_eq!(clients.groups.ids(b"a").collect::<Vec<_>>(), [2]);
        clients.ungroup(b"b");
        assert!(clients.get(1).expect("there").groups.is_empty());
        assert_eq!(clients.groups.len(), 1);
    }

    #[test]
    fn what_a_client_had_goes_with_it() {
        let mut clients = three();
        clients.bind(2, b"ada");
        clients.join(2, b"a");
        assert_eq!(clients.id_of(12), Some(2));
        assert_eq!(clients.remove(12).map(|(id, _)| id), Some(2));
        assert!(clients.remove(12).is_none());
        assert_eq!((clients.len(), clients.uids.len(), clients.groups.len()), (2, 0, 0));
    }
}
