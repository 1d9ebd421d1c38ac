//! Lending without a process: a slot that is down, its neighbours, and sockets that must not listen.

use super::*;
use crate::master::test_master::{Master, PLAIN, seconds, service};

/// Returns a master of three slots with these listeners each, the first of which has just crashed and
/// cannot be started for now.
fn first_is_down(listeners: &[Reach]) -> Master {
    let mut master = Master::up(vec![service("echo", 3)]);
    for id in master.machine.slots.ids() {
        master.machine.slots[id].listeners = listeners.to_vec();
    }
    master.broken = vec!["echo/0"];
    master.done.clear();
    master.seen = 0;
    master.ends("echo/0#1", 11);
    master
}

#[test]
fn the_listeners_of_a_slot_that_is_down_are_lent_and_taken_back() {
    let listeners = [Reach::SameAddress, Reach::OwnAddress, Reach::SameAddress];
    let mut master = first_is_down(&listeners);
    let lent = ["lend echo/0:0 to echo/1#1", "lend echo/0:2 to echo/1#1"];
    assert_eq!(master.done[2..], lent, "to the one behind it");
    assert_eq!(master.later(Duration::from_millis(1)), [""; 0], "once");
    master.broken.clear();
    let pause = master.machine.deadline(master.now).unwrap() - master.now;
    assert_eq!(master.later(pause), ["start echo/0#3"], "lent until it is ready");
    assert_eq!(master.ready("echo/0#3"), ["return echo/0 from echo/1#1"]);
    master.check_rest("after it");
}

#[test]
fn a_borrower_that_dies_is_followed_by_another() {
    let mut master = first_is_down(&[Reach::SameAddress]);
    master.broken = vec!["echo/0", "echo/1"];
    let dies = master.ends("echo/1#1", 9);
    let lent: Vec<_> = dies.iter().filter(|done| done.starts_with("lend")).collect();
    assert_eq!(lent, ["lend echo/0:0 to echo/2#1", "lend echo/1:0 to echo/2#1"]);
    master.broken.push("echo/2");
    let dies = master.ends("echo/2#1", 9);
    assert!(!dies.iter().any(|done| done.starts_with("lend")), "none is left: {dies:?}");
    master.broken.clear();
    master.check_rest("after it");
}

#[test]
fn a_borrower_that_leaves_in_a_reload_gives_back() {
    let mut master = first_is_down(&[Reach::SameAddress]);
    master.broken.clear();
    master.reload("cli", PLAIN, Some("echo/1"));
    let lent = ["drain echo/1#1 30s", "return echo/0 from echo/1#1", "lend echo/0:0 to echo/1#2"];
    assert_eq!(master.ready("echo/1#2"), lent);
    master.check_rest("after it");
}

#[test]
fn what_could_not_be_lent_is_tried_again() {
    let mut master = first_is_down(&[Reach::SameAddress]);
    master.lends = false;
    // The borrower leaves, and its successor is to have what it had.
    master.broken.clear();
    master.reload("cli", PLAIN, Some("echo/1"));
    let lend = "lend echo/0:0 to echo/1#2";
    assert_eq!(master.ready("echo/1#2").last().unwrap(), lend);
    for _ in 0..2 {
        assert_eq!(master.later(Duration::from_millis(1)), [lend]);
    }
    master.lends = true;
    assert_eq!(master.later(Duration::from_millis(1)), [lend]);
    assert_eq!(master.later(Duration::from_millis(1)), [""; 0]);
}

type Set = fn(&mut Master);

#[test]
fn where_no_process_will_accept_no_socket_listens() {
    let all = [Reach::AllSlots, Reach::SameAddress, Reach::SameAddressDatagrams, Reach::OwnAddress];
    let failed: Set = |master| set(master, &["echo/0"], Outlook::Failed(master.now + seconds(9)));
    let cases: [(&str, Set, bool, &[usize]); 7] = [
        ("failed, with neighbours", failed, true, &[2, 3]),
        ("failed, and lending fails", failed, false, &[1, 2, 3]),
        (
            "all failed",
            |master| {
                let until = master.now + seconds(9);
                set(master, &["echo/0", "echo/1", "echo/2"], Outlook::Failed(until));
            },
            true,
            &[0, 1, 2, 3],
        ),
        (
            "a short pause",
            |master| {
                let until = master.now + Duration::from_millis(999);
                set(master, &["echo/0"], Outlook::BackingOff(until));
            },
            true,
            &[],
        ),
        (
            "a long pause",
            |master| {
                let until = master.now + seconds(1);
                set(master, &["echo/0"], Outlook::BackingOff(until));
            },
            true,
            &[2],
        ),
        (
            "a long pause of all",
            |master| {
                let until = master.now + seconds(1);
                set(master, &["echo/0", "echo/1", "echo/2"], Outlook::BackingOff(until));
            },
            true,
            &[],
        ),
        ("it serves", |_| {}, true, &[]),
    ];
    for (case, set, lends, parked) in cases {
        let mut master = Master::up(vec![service("echo", 3)]);
        master.machine.slots.ids().for_each(|id| master.machine.slots[id].listeners = all.to_vec());
        master.lends = lends;
        set(&mut master);
        let mut done = master.turn();
        done.retain(|done| done.starts_with("park echo/0:"));
        done.sort();
        let expected: Vec<_> = parked.iter().map(|nth| format!("park echo/0:{nth}")).collect();
        assert_eq!(done, expected, "{case}");
    }
}

/// Takes the processes of these slots away.
fn set(master: &mut Master, slots: &[&str], outlook: Outlook) {
    for slot in slots {
        let slot = master.slot(slot);
        master.machine.slots[slot].workers.clear();
        master.machine.slots[slot].outlook = outlook;
    }
}
