//! PHP's array: an ordered map whose keys are integers or strings.

use std::collections::HashMap;
use std::{iter, mem, slice, vec};

use super::{Key, Value};

/// From how many entries on an array that is no list gets an index. Sessions stay below it and
/// pay neither the memory nor the hashing; above it a scan for each decoded key is quadratic.
const SCAN_LIMIT: usize = 16;

/// An ordered map, as PHP's `array`.
///
/// Entries keep the order in which their keys came; overwriting a key keeps its place.
#[derive(Debug, Clone)]
pub struct Array {
    entries: Vec<(Key, Value)>,
    /// Invariant: true only if the keys are 0, 1, 2, … in this order.
    list: bool,
    /// Invariant: if present, it maps every key to its place; present whenever `list` is false and
    /// there are more than `SCAN_LIMIT` entries.
    #[expect(clippy::box_collection, reason = "most arrays have none; a map inline is 48 bytes")]
    index: Option<Box<HashMap<Key, usize>>>,
    /// The key the next `push` uses, never reused after a removal; negative when there is none.
    next: i64,
}

impl Array {
    /// Returns an empty array.
    pub fn new() -> Self {
        Self { entries: Vec::new(), list: true, index: None, next: 0 }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says whether the keys are 0, 1, 2, … in this order; an empty array is a list.
    pub fn is_list(&self) -> bool {
        self.list
    }

    /// Returns the value under `key`.
    pub fn get(&self, key: impl Into<Key>) -> Option<&Value> {
        let place = self.position(&key.into().normalised())?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Returns the value under `key` for changing.
    pub fn get_mut(&mut self, key: impl Into<Key>) -> Option<&mut Value> {
        let place = self.position(&key.into().normalised())?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Says whether there is an entry under `key`, even if it is null.
    pub fn contains_key(&self, key: impl Into<Key>) -> bool {
        self.position(&key.into().normalised()).is_some()
    }

    /// Sets the value under `key` and returns the one that was there.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into().normalised();
        let place = self.position(&key);
        if let Some((_, old)) = place.and_then(|place| self.entries.get_mut(place)) {
            return Some(mem::replace(old, value.into()));
        }
        self.append(key, value.into());
        None
    }

    /// Appends a value under the next free integer key, and returns that key.
    ///
    /// `None` means that the greatest integer has been used as a key, so that there is no next one
    /// and the value is dropped; PHP raises an error there.
    pub fn push(&mut self, value: impl Into<Value>) -> Option<i64> {
        let key = self.next;
        if key < 0 {
            return None;
        }
        self.append(Key::Int(key), value.into());
        Some(key)
    }

    /// Removes the entry under `key` and returns its value; the other keys stay as they are.
    pub fn remove(&mut self, key: impl Into<Key>) -> Option<Value> {
        let place = self.position(&key.into().normalised())?;
        let (_, value) = self.entries.remove(place);
        if place < self.entries.len() {
            self.list = false;
        }
        self.index = None;
        self.build_index();
        Some(value)
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> Iter<'_> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Returns the values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Merges `other` into the array as PHP's `array_replace_recursive` does.
    ///
    /// Where both hold an array under one key, the two are merged; otherwise the value of `other`
    /// wins. New keys go to the end.
    pub fn replace_recursive(&mut self, other: Self) {
        for (key, value) in other {
            match (self.get_mut(key.clone()), value) {
                (Some(Value::Array(old)), Value::Array(new)) => old.replace_recursive(new),
                (Some(old), new) => *old = new,
                (None, new) => self.append(key, new),
            }
        }
    }

    /// Returns the array under `key`, putting an empty one there if there is no array yet.
    pub(super) fn array_at(&mut self, key: Key) -> Option<&mut Self> {
        if !matches!(self.get(key.clone()), Some(Value::Array(_))) {
            self.insert(key.clone(), Self::new());
        }
        self.get_mut(key)?.as_array_mut()
    }

    fn position(&self, key: &Key) -> Option<usize> {
        if self.list {
            let place = usize::try_from(key.as_int()?).ok()?;
            return (place < self.entries.len()).then_some(place);
        }
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.entries.iter().position(|(known, _)| known == key),
        }
    }

    /// Appends an entry whose key is normalised and not there yet.
    fn append(&mut self, key: Key, value: Value) {
        let place = self.entries.len();
        if let Key::Int(number) = key {
            if self.next >= 0 && number >= self.next {
                self.next = number.checked_add(1).unwrap_or(-1);
            }
            self.list &= usize::try_from(number).is_ok_and(|number| number == place);
        } else {
            self.list = false;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), place);
        }
        self.entries.push((key, value));
        self.build_index();
    }

    fn build_index(&mut self) {
        if self.index.is_none() && !self.list && self.entries.len() > SCAN_LIMIT {
            let places = self.entries.iter().enumerate();
            self.index = Some(Box::new(places.map(|(n, (key, _))| (key.clone(), n)).collect()));
        }
    }
}

impl Default for Array {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal entries in the same order, as PHP's `===`.
impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Into<Key>, V: Into<Value>> FromIterator<(K, V)> for Array {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut array = Self::new();
        array.extend(entries);
        array
    }
}

/// Makes a list.
impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut array = Self::new();
        for value in values {
            array.push(value);
        }
        array
    }
}

impl<K: Into<Key>, V: Into<Value>> Extend<(K, V)> for Array {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Array {
    type Item = (Key, Value);
    type IntoIter = vec::IntoIter<(Key, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// The entries of an [`Array`] in order.
pub type Iter<'a> =
    iter::Map<slice::Iter<'a, (Key, Value)>, fn(&'a (Key, Value)) -> (&'a Key, &'a Value)>;

impl<'a> IntoIterator for &'a Array {
    type Item = (&'a Key, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_entries_than_are_scanned_have_an_index() {
        let entries = |count: usize| (0..count).map(|n| (format!("k{n}"), n.to_string()));
        for (count, indexed) in
            [(0, false), (SCAN_LIMIT, false), (SCAN_LIMIT + 1, true), (40, true)]
        {
            let array: Array = entries(count).collect();
            assert_eq!(array.index.is_some(), indexed, "{count} entries");
        }
        let mut array: Array = entries(SCAN_LIMIT + 3).collect();
        for (left, indexed) in [(SCAN_LIMIT + 2, true), (SCAN_LIMIT + 1, true), (SCAN_LIMIT, false)]
        {
            array.remove(format!("k{left}"));
            assert_eq!((array.len(), array.index.is_some()), (left, indexed));
        }
        // A list finds its entries by their place.
        let list: Array = (0..40).map(Value::Int).collect();
        assert!(list.index.is_none());
    }
}
