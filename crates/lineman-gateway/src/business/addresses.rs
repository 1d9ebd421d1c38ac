//! Where gateways are, as far as this process has been told: by each register, and by the process before
//! it in its slot. No socket, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The most addresses of one list that are taken: far above any cluster, and each costs a connection.
pub(super) const MAX_LISTED: usize = 4096;

/// All that was told.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// How many registers there are.
    registers: usize,
    /// What each of those that have answered lists, by its number. What one listed counts while it is away.
    lists: BTreeMap<usize, BTreeSet<SocketAddr>>,
    /// What the process before knew: counts until each register has answered.
    former: BTreeSet<SocketAddr>,
}

impl AddressBook {
    pub(super) fn new(registers: usize) -> Self {
        Self { registers, ..Self::default() }
    }

    /// There are so many registers now.
    pub(super) fn expect(&mut self, registers: usize) {
        self.registers = registers;
    }

    /// A register is none any more: what it listed counts no longer.
    pub(super) fn forget(&mut self, register: usize) {
        self.lists.remove(&register);
    }

    /// A register has told all gateways it knows.
    pub(super) fn hear(&mut self, register: usize, list: impl IntoIterator<Item = SocketAddr>) {
        self.lists.insert(register, list.into_iter().take(MAX_LISTED).collect());
        if self.lists.len() >= self.registers {
            self.former.clear();
        }
    }

    /// The process before knew these.
    pub(super) fn take_over(&mut self, former: impl IntoIterator<Item = SocketAddr>) {
        self.former = former.into_iter().take(MAX_LISTED).collect();
    }

    /// Returns how many registers have answered.
    pub(super) fn heard(&self) -> usize {
        self.lists.len()
    }

    /// Returns whether it is known where gateways are, if there are any.
    pub(super) fn is_known(&self) -> bool {
        !self.lists.is_empty() || !self.former.is_empty()
    }

    /// Returns what those registers list of which `counts` says so.
    pub(super) fn listed_by(&self, counts: impl Fn(usize) -> bool) -> BTreeSet<SocketAddr> {
        let lists = self.lists.iter().filter(|(register, _)| counts(**register));
        lists.flat_map(|(_, list)| list).copied().collect()
    }

    /// Returns every address that any of them names.
    pub(super) fn listed(&self) -> BTreeSet<SocketAddr> {
        self.lists.values().flatten().chain(&self.former).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn listed(book: &AddressBook) -> Vec<u16> {
        book.listed().iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn what_one_register_lists_is_there_whatever_the_other_says() {
        let mut book = AddressBook::new(2);
        assert!(!book.is_known());
        book.hear(0, []);
        assert!(book.is_known(), "there are none is an answer");
        book.hear(1, [at(1), at(2)]);
        assert_eq!((listed(&book), book.heard()), (vec![1, 2], 2));
        book.hear(0, [at(2), at(3)]);
        assert_eq!(listed(&book), [1, 2, 3]);
        book.hear(1, []);
        assert_eq!(listed(&book), [2, 3], "a register takes back what it listed, and nothing else");
    }

    #[test]
    fn what_the_process_before_knew_counts_until_every_register_has_answered() {
        let mut book = AddressBook::new(2);
        book.take_over([]);
        assert!(!book.is_known(), "a process that knew nothing says nothing");
        book.take_over([at(1), at(2)]);
        assert!(book.is_known() && book.heard() == 0);
        book.hear(0, [at(3)]);
        book.hear(0, []);
        assert_eq!(listed(&book), [1, 2], "one register may be empty, as after its start");
        book.hear(1, [at(2)]);
        assert_eq!(listed(&book), [2]);
    }

    #[test]
    fn registers_come_and_go() {
        let mut book = AddressBook::new(1);
        book.take_over([at(9)]);
        book.expect(2);
        book.hear(0, [at(1)]);
        assert_eq!(listed(&book), [1, 9], "one more has not answered");
        book.hear(1, [at(1), at(2)]);
        assert_eq!(listed(&book), [1, 2]);
        book.forget(1);
        assert_eq!((listed(&book), book.heard()), (vec![1], 1));
    }

    #[test]
    fn a_list_has_an_end() {
        let mut book = AddressBook::new(1);
        book.hear(0, (0..=u16::MAX).map(at));
        assert_eq!(book.listed().len(), MAX_LISTED);
    }
}
