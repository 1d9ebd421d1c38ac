//! Handovers without a process: each thing that can happen to either side, before the commit and behind it.

use std::collections::BTreeMap;

use super::*;
use crate::control::message::FromWorker;
use crate::master::event::{SignalMeaning, Source};
use crate::master::lending::Reach;
use crate::master::test_master::{GRACEFUL, Happens, Master, PLAIN, seconds, service};
use crate::service::{Description, StopOrder};

/// Returns a master of `gate/0`, `gate/1`, whose connections move, and `mail/0`.
fn up() -> Master {
    let gate = Description { reload: Reload::HandOver, ..service("gate", 2) };
    let mail = Description { stop_order: StopOrder::Core, ..service("mail", 1) };
    let mut master = Master::up(vec![gate, mail]);
    for slot in ["gate/0", "gate/1"] {
        let slot = master.slot(slot);
        master.machine.slots[slot].listeners = vec![Reach::SameAddress];
    }
    master
}

/// Returns one in the middle of the handover of `gate/0`.
fn handing_over() -> Master {
    let mut master = up();
    assert_eq!(master.reload("first", PLAIN, Some("gate")), ["reloading", "start gate/0#2"]);
    assert_eq!(master.ready("gate/0#2"), ["hand over gate/0#1 to gate/0#2"]);
    master
}

fn report(moved: u64) -> FromWorker {
    let report = HandedOver {
        moved,
        left: BTreeMap::from([("a handler is at work".to_owned(), 2)]),
        pause: Duration::from_millis(12),
        ahead: Duration::from_millis(800),
        bytes: 1536,
    };
    FromWorker::HandedOver { report }
}

fn failed(reason: &str) -> FromWorker {
    FromWorker::HandoverFailed { reason: reason.to_owned() }
}

#[test]
fn the_old_process_serves_until_either_says_that_all_has_moved() {
    for successor_first in [true, false] {
        let mut master = handing_over();
        let slot = master.slot("gate/0");
        let serving = |master: &Master| master.machine.slots[slot].serving().map(|one| one.pid);
        assert_eq!(serving(&master), Some(100));
        assert_eq!(master.machine.slots[slot].workers[1].shown_state(), "taking-over");
        let mut done = Vec::new();
        if successor_first {
            done.extend(master.says("gate/0#2", FromWorker::TookOver));
            done.extend(master.says("gate/0#1", report(7)));
        } else {
            done.extend(master.says("gate/0#1", report(7)));
            done.extend(master.says("gate/0#2", FromWorker::TookOver));
        }
        assert_eq!(done, ["drain gate/0#1 30s"], "{successor_first}");
        assert_eq!(serving(&master), Some(103));
        let ended = ["exited gate/0: asked to leave", "start gate/1#2"];
        assert_eq!(master.ends("gate/0#1", 0), ended);
        master.ready("gate/1#2");
        master.says("gate/1#1", report(5));
        let leaving = FromWorker::Leaving { cut: 2, unfinished: 0 };
        master.says("gate/1#1", leaving);
        master.ends("gate/1#1", 0);
        let line = "7 connections moved, 2 left (a handler is at work: 2); paused for 12ms, copied ahead for 800ms, \
                    1.5K under way";
        let sum = "Ok: reloaded: 2 processes replaced, 12 connections moved, 4 left (a handler is at \
                   work: 4), longest pause 12ms, 0 connections closed with 1001, 2 connections with 1012";
        let told = master.told("first");
        assert_eq!(told[0], format!("gate/0: {line}"));
        assert_eq!(told.last().unwrap(), sum);
    }
}

/// How a handover can fail, and what is told then.
const FAILURES: [(Happens, &str); 9] = [
    (
        ("it is refused", |master| {
            assert_eq!(master.says("gate/0#1", failed("format 3")), ["kill gate/0#2"]);
            master.ends("gate/0#2", 9);
        }),
        "gate/0: not handed over: format 3; the old process goes on (pid 100)",
    ),
    (
        ("the successor dies, and then the old one says so", |master| {
            master.ends("gate/0#2", 9);
            master.says("gate/0#1", failed("end of stream"));
        }),
        "gate/0: the successor ended while it took over: signal 9 (SIGKILL); end of stream; the \
             old process goes on (pid 100)",
    ),
    (
        ("the successor fails", |master| {
            let reason = "did not take over: garbage".to_owned();
            master.says("gate/0#2", FromWorker::Failed { reason });
            master.ends("gate/0#2", 1 << 8);
            master.says("gate/0#1", failed("refused: garbage"));
        }),
        "gate/0: the successor ended while it took over: failed to start: did not take over: \
             garbage; refused: garbage; the old process goes on (pid 100)",
    ),
    (
        ("neither says anything", |master| {
            assert_eq!(master.later(HANDOVER), ["kill gate/0#2"]);
            master.ends("gate/0#2", 9);
            master.later(seconds(3));
        }),
        "gate/0: the successor ended while it took over: killed: took nothing over within 65s; what \
             has moved was not said; the old process goes on (pid 100)",
    ),
    (
        ("both die, the old one first", |master| {
            master.ends("gate/0#1", 11);
            master.ends("gate/0#2", 1 << 8);
        }),
        "gate/0: both processes ended, the successor: exit code 1; no process serves this slot",
    ),
    (
        ("both die, the successor first", |master| {
            master.ends("gate/0#2", 9);
            master.ends("gate/0#1", 11);
        }),
        "gate/0: the successor ended while it took over: signal 9 (SIGKILL), and the old one: \
             signal 11 (SIGSEGV)",
    ),
    (
        ("the successor dies behind the commit, and the old one has said it", |master| {
            master.ends("gate/0#2", 11);
            let done = master.says("gate/0#1", report(7));
            assert_eq!(done[..2], ["drain gate/0#1 30s", "start gate/0#3"]);
            assert_eq!(master.source, Some(Source::LastServed));
        }),
        "gate/0: the successor ended while it took over: signal 11 (SIGSEGV); all had moved to it",
    ),
    (
        ("the old one is not reached", |master| {
            let key = master.key("gate/0#1");
            let actions = master.machine.not_handed_over(key, "out of descriptors");
            master.carry_out(actions);
        }),
        "gate/0: not handed over: out of descriptors; the old process goes on (pid 100)",
    ),
    (
        ("the old one is killed by the watchdog", |master| {
            let silent = ExitReason::Silent(seconds(10));
            let key = master.key("gate/0#1");
            let kill = master.machine.slots.worker(key).map(|worker| worker.kill(silent));
            master.carry_out(kill);
            master.ends("gate/0#1", 9);
            master.ends("gate/0#2", 1 << 8);
        }),
        "gate/0: both processes ended, the successor: exit code 1; no process serves this slot",
    ),
];

#[test]
fn a_handover_that_fails_before_the_commit_leaves_the_old_process_and_says_why() {
    for ((case, happen), expected) in FAILURES {
        let mut master = handing_over();
        happen(&mut master);
        let expected = format!("Failed: the reload failed: {expected}; 1 more slot not reloaded");
        assert_eq!(master.told("first").last(), Some(&expected), "{case}");
        master.check_rest_of_slots(case);
    }
}

#[test]
fn a_successor_that_says_it_serves_though_the_old_one_died_is_the_process() {
    let mut master = handing_over();
    let ended = ["exited gate/0: signal 11 (SIGSEGV)", "lend gate/0:0 to gate/1#1"];
    assert_eq!(master.ends("gate/0#1", 11), ended);
    let serves = ["start gate/1#2", "return gate/0 from gate/1#1"];
    assert_eq!(master.says("gate/0#2", FromWorker::TookOver), serves);
    master.check_rest("after it");
}

#[test]
fn what_is_said_too_late_changes_nothing_but_a_slot_without_a_process() {
    let mut master = handing_over();
    master.says("gate/0#2", FromWorker::TookOver);
    assert_eq!(master.says("gate/0#1", failed("no")), [""; 0]);
    assert_eq!(master.says("gate/0#2", FromWorker::TookOver), [""; 0]);
    master.check_rest("after the commit");

    let mut master = handing_over();
    master.later(HANDOVER);
    master.ends("gate/0#2", 9);
    master.later(seconds(3));
    let done = master.says("gate/0#1", report(7));
    assert_eq!(done[..2], ["drain gate/0#1 30s", "start gate/0#3"], "it had given all away");
    master.check_rest("after the end of the reload");
}

#[test]
fn a_process_or_a_program_that_cannot_hand_over_is_left_alone() {
    let mut master = up();
    let key = master.key("gate/0#1");
    master.machine.slots.worker(key).unwrap().formats = None;
    assert_eq!(master.reload("old", PLAIN, Some("gate")), ["reloading"]);
    let failed = "Failed: the reload failed: gate/0 (pid 100) runs a program that cannot hand its \
                  connections over: `restart` replaces it; 1 more slot not reloaded";
    assert_eq!(master.told("old"), [failed]);
    master.check_rest_of_slots("an old process");

    let mut master = up();
    master.reload("new", PLAIN, Some("gate/0"));
    let (services, briefing) = (Vec::new(), None);
    let ready = FromWorker::Ready { services, briefing, formats: None, dormant: false };
    assert_eq!(master.says("gate/0#2", ready), ["kill gate/0#2"]);
    let failed = "Failed: the reload failed: gate/0: the new program does not take connections over; \
                  the old process goes on (pid 100)";
    assert_eq!(master.told("new"), [failed]);
    master.check_rest_of_slots("a program from before");
}

#[test]
fn a_slot_without_a_serving_process_gets_one_that_waits_for_nothing() {
    let mut master = up();
    master.silent(seconds(6));
    master.reload("first", PLAIN, Some("gate/0"));
    assert_eq!(master.ready("gate/0#2")[0], "drain gate/0#1 30s");
    master.check_rest("a stalled one");
}

#[test]
fn a_blocked_loop_is_no_reason_to_end_a_process_that_hands_over() {
    let mut master = handing_over();
    master.machine.slots.config.watchdog.restart = true;
    let (still, doing) = (seconds(1), "nothing".to_owned());
    let stuck = FromWorker::Stuck { still, doing };
    assert_eq!(master.says("gate/0#1", stuck.clone()), [""; 0]);
    assert_eq!(master.says("gate/1#1", stuck)[0], "kill gate/1#1");
    master.check_rest("after it");
}

/// What can happen while `gate/0` hands over, beside the two processes' own words.
const EVENTS: [Happens; 19] = [
    ("nothing", |_| {}),
    ("an hour passes", |master| drop(master.later(seconds(3601)))),
    ("the old one crashes", |master| drop(master.ends("gate/0#1", 11))),
    ("the old one ends", |master| drop(master.ends("gate/0#1", 0))),
    ("the successor crashes", |master| drop(master.ends("gate/0#2", 11))),
    ("the successor is ready", |master| drop(master.ready("gate/0#2"))),
    ("all has moved", |master| drop(master.says("gate/0#1", report(7)))),
    ("it took over", |master| drop(master.says("gate/0#2", FromWorker::TookOver))),
    ("it was not handed over", |master| drop(master.says("gate/0#1", failed("no")))),
    ("the neighbour crashes", |master| drop(master.ends("gate/1#1", 11))),
    ("the old one is not understood", |master| {
        let actions = master.machine.not_understood(master.key("gate/0#1"), "noise");
        master.carry_out(actions);
    }),
    ("the successor is not understood", |master| {
        let actions = master.machine.not_understood(master.key("gate/0#2"), "noise");
        master.carry_out(actions);
    }),
    ("all are silent", |master| {
        master.machine.slots.config.watchdog.restart = true;
        master.silent(seconds(12));
    }),
    ("a reload", |master| drop(master.reload("second", PLAIN, None))),
    ("a graceful reload of the slot", |master| {
        drop(master.reload("second", GRACEFUL, Some("gate/0")));
    }),
    ("a reload of mail", |master| drop(master.reload("second", PLAIN, Some("mail")))),
    ("a stop", |master| drop(master.stop("second", PLAIN, None))),
    ("a graceful stop", |master| drop(master.stop("second", GRACEFUL, None))),
    ("SIGINT twice", |master| {
        master.signal(SignalMeaning::Stop);
        master.signal(SignalMeaning::Stop);
    }),
];

/// How far a handover can be.
const STATES: [Happens; 8] = [
    ("it has not begun", |master| drop(master.reload("first", PLAIN, Some("gate")))),
    ("it is under way", |master| {
        master.reload("first", PLAIN, Some("gate"));
        master.ready("gate/0#2");
    }),
    ("a listener is lent to the old one", |master| {
        master.broken = vec!["gate/1"];
        master.ends("gate/1#1", 11);
        master.broken.clear();
        master.reload("first", PLAIN, Some("gate/0"));
        master.ready("gate/0#2");
    }),
    ("the successor has ended", |master| {
        master.reload("first", PLAIN, Some("gate"));
        master.ready("gate/0#2");
        master.ends("gate/0#2", 9);
    }),
    ("the old one has ended", |master| {
        master.reload("first", PLAIN, Some("gate"));
        master.ready("gate/0#2");
        master.ends("gate/0#1", 9);
    }),
    ("the old one has said the end", |master| {
        master.reload("first", PLAIN, Some("gate"));
        master.ready("gate/0#2");
        master.says("gate/0#1", report(7));
    }),
    ("it was given up, and the successor is still there", |master| {
        master.reload("first", PLAIN, Some("gate"));
        master.ready("gate/0#2");
        master.says("gate/0#1", failed("no"));
    }),
    ("the second slot's is under way", |master| {
        master.reload("first", PLAIN, None);
        for process in ["gate/0#2", "gate/1#2"] {
            master.ready(process);
            if process == "gate/0#2" {
                master.says("gate/0#1", report(7));
                master.ends("gate/0#1", 0);
            }
        }
    }),
];

#[test]
fn every_two_events_in_every_state_come_to_rest_and_every_caller_is_answered() {
    for (state, get_there) in STATES {
        for (event, happen) in EVENTS {
            for (second, then) in EVENTS {
                let mut master = up();
                get_there(&mut master);
                happen(&mut master);
                if !second.starts_with("a reload")
                    && !second.starts_with("a graceful")
                    && !second.starts_with("a stop")
                    && !master.stopped
                {
                    then(&mut master);
                }
                master.check_rest(&format!("{event}, then {second}, when {state}"));
            }
        }
    }
}
