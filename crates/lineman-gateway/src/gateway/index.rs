//! Names and the clients that have them: the gateway's table of uids, and that of groups.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use lineman_wire::link::NameKey;
use rustc_hash::FxHashMap;

use super::ids::IdSet;
use super::roll::SharedRoll;

/// A uid or the name of a group, shared by the index and the clients.
///
/// It is text as it came: a PHP gateway makes `"42"` and `42` one key, and both come as `42`.
pub(super) type Label = Rc<[u8]>;

/// A name that a client has.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) name: Label,
    /// The client's place among those that have it.
    place: u32,
}

/// The clients of each name. Names without clients are not kept.
///
/// End users often choose these names, so the hasher is the standard library's, which cannot be
/// fed with collisions.
#[derive(Debug)]
pub(super) struct Index {
    entries: HashMap<Label, Named>,
    /// Where its names are written down for businesses, and under which keys.
    roll: SharedRoll,
    key: fn(&[u8]) -> NameKey,
    /// How many names there have been so far: gives the names an order.
    number: u64,
}

/// Which number each name has where an index is written down.
pub(super) struct NameNumbers(FxHashMap<*const u8, u32>);

/// The number of a name there, and a client's place among those that have it.
pub(super) type NamePlace = (u32, u32);

impl NameNumbers {
    /// Writes down that a client has a name.
    pub(super) fn save(&self, Membership { name, place }: &Membership) -> NamePlace {
        let number = self.0.get(&Rc::as_ptr(name).cast()).copied();
        // Every name that a client has is in the index.
        (number.unwrap_or(u32::MAX), *place)
    }
}

#[derive(Debug)]
struct Named {
    number: u64,
    ids: IdSet,
}

impl Index {
    /// Returns an index without names.
    pub(super) fn new(roll: &SharedRoll, key: fn(&[u8]) -> NameKey) -> Self {
        Self { entries: HashMap::new(), roll: SharedRoll::clone(roll), key, number: 0 }
    }

    /// Returns the names, oldest first, and the number that each has in this list: which clients have them the clients
    /// say themselves, each by this number and its place.
    pub(super) fn save(&self) -> (Vec<Bytes>, NameNumbers) {
        let Self { entries: _, roll: _, key: _, number: _ } = self;
        let names = self.names();
        let numbers = (0..).zip(&names).map(|(number, name)| (Rc::as_ptr(name).cast(), number));
        let numbers = NameNumbers(numbers.collect());
        (names.into_iter().map(|name| Bytes::copy_from_slice(name)).collect(), numbers)
    }

    /// Goes on with these names, which have no clients until [`Self::rejoin`].
    pub(super) fn restore(&mut self, names: Vec<Bytes>) -> Vec<Label> {
        let label = |name: Bytes| {
            let label = Label::from(&name[..]);
            let ids = IdSet::Many(BTreeMap::new());
            self.entries.insert(Rc::clone(&label), Named { number: self.number, ids });
            self.number += 1;
            self.roll.borrow_mut().add((self.key)(&name));
            label
        };
        names.into_iter().map(label).collect()
    }

    /// Puts a client where it was among those of a name; `None` if it says of no name that it has it.
    pub(super) fn rejoin(
        &mut self,
        names: &[Label],
        (number, place): NamePlace,
        id: u32,
    ) -> Option<Membership> {
        let name = names.get(usize::try_from(number).ok()?)?;
        self.entries.get_mut(name)?.ids.put(place, id);
        Some(Membership { name: Rc::clone(name), place })
    }

    /// Forgets names without clients: those that had them are not in this process.
    pub(super) fn forget_empty(&mut self) {
        let empty = |(_, named): &(&Label, &Named)| named.ids.is_empty();
        let names: Vec<_> = self.entries.iter().filter(empty).map(|(name, _)| name).collect();
        for name in names.into_iter().cloned().collect::<Vec<_>>() {
            self.dissolve(&name);
        }
    }

    /// Adds a client that has not got it under a name.
    pub(super) fn add(&mut self, name: &[u8], id: u32) -> Membership {
        if let Some((label, _)) = self.entries.get_key_value(name) {
            let label = Rc::clone(label);
            let place = self.entries.get_mut(name).map(|named| named.ids.insert(id));
            return Membership { name: label, place: place.unwrap_or(IdSet::FIRST) };
        }
        let label = Label::from(name);
        let named = Named { number: self.number, ids: IdSet::One(id) };
        self.number += 1;
        self.roll.borrow_mut().add((self.key)(name));
        self.entries.insert(Rc::clone(&label), named);
        Membership { name: label, place: IdSet::FIRST }
    }

    /// Takes a client from a name.
    pub(super) fn remove(&mut self, Membership { name, place }: &Membership) {
        if let Entry::Occupied(mut entry) = self.entries.entry(Rc::clone(name)) {
            entry.get_mut().ids.remove(*place);
            if entry.get().ids.is_empty() {
                entry.remove();
                self.roll.borrow_mut().remove((self.key)(name));
            }
        }
    }

    /// Puts a client behind the others of its name.
    pub(super) fn renew(&mut self, membership: &mut Membership, id: u32) {
        if let Some(named) = self.entries.get_mut(&membership.name) {
            named.ids.remove(membership.place);
            membership.place = named.ids.insert(id);
        }
    }

    /// Forgets a name and returns its clients.
    pub(super) fn dissolve(&mut self, name: &[u8]) -> Option<IdSet> {
        let named = self.entries.remove(name)?;
        self.roll.borrow_mut().remove((self.key)(name));
        Some(named.ids)
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&IdSet> {
        self.entries.get(name).map(|named| &named.ids)
    }

    /// Returns the clients of a name in the order in which they got it.
    pub(super) fn ids<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
        self.get(name).into_iter().flat_map(IdSet::iter)
    }

    /// Returns how many names there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the names, oldest first.
    pub(super) fn names(&self) -> Vec<&Label> {
        let mut names: Vec<_> = self.entries.iter().map(|(name, at)| (at.number, name)).collect();
        names.sort_unstable_by_key(|(number, _)| *number);
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// Says whether a uid or a group may have that name: PHP's `empty` must not hold for it.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_live_as_long_as_they_have_clients() {
        let roll = SharedRoll::default();
        let mut index = Index::new(&roll, NameKey::of_group);
        let mut first = index.add(b"lobby", 2);
        let second = index.add(b"lobby", 1);
        let attic = index.add(b"attic", 7);
        assert_eq!(index.names(), [&first.name, &attic.name]);
        assert_eq!(index.ids(b"lobby").collect::<Vec<_>>(), [2, 1]);
        index.renew(&mut first, 2);
        assert_eq!(index.ids(b"lobby").collect::<Vec<_>>(), [1, 2]);
        index.remove(&first);
        index.remove(&first);
        index.remove(&second);
        assert_eq!((index.len(), index.get(b"lobby")), (1, None));
        assert_eq!(index.dissolve(b"attic"), Some(IdSet::One(7)));
        assert_eq!(index.dissolve(b"attic"), None);
        let (lobby, attic) = (NameKey::of_group(b"lobby"), NameKey::of_group(b"attic"));
        let told = roll
            .borrow()
            .since(0)
            .iter()
            .map(|change| (change.key, change.held))
            .collect::<Vec<_>>();
        assert_eq!(told, [(lobby, true), (attic, true), (lobby, false), (attic, false)]);
    }

    #[test]
    fn empty_and_zero_are_no_names() {
        assert!(!is_name(b"") && !is_name(b"0"));
        assert!(is_name(b"00") && is_name(b"a"));
    }
}
