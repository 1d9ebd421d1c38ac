//! Reloads without a process: successors that fail, die or are slow; reloads that follow each other.

use super::*;
use crate::control::message::FromWorker;
use crate::master::notify::ShownState;
use crate::master::test_master::{GRACEFUL, Happens, Master, PLAIN, seconds, service};
use crate::service::Description;

#[test]
fn a_reload_replaces_one_slot_after_the_other_and_tells_each_step() {
    let stays = Description { reload: Reload::Keep, ..service("keeps", 1) };
    let mut master = Master::up(vec![service("echo", 2), stays]);
    let first = ["reloading", "reload keeps/0#1", "start echo/0#2"];
    assert_eq!(master.reload("cli", PLAIN, None), first);
    assert_eq!(master.machine.stage(), ShownState::Reloading);
    let stays = "keeps: stays, a reload does not replace it";
    assert_eq!(master.answered("cli"), [stays, "echo/0 Starting"]);
    assert_eq!(master.ready("echo/0#2"), ["drain echo/0#1 30s"]);
    assert_eq!(master.answered("cli"), ["echo/0 Ready"]);
    let actions =
        master.machine.said(master.key("echo/0#1"), FromWorker::Draining { left: 3 }, master.now);
    let [MasterAction::Answer(_, Answer::Progress(step))] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((step.left, step.remaining_ms), (Some(3), Some(30_250)));
    let leaving = FromWorker::Leaving { cut: 2, unfinished: 0 };
    assert!(master.machine.said(master.key("echo/0#1"), leaving, master.now).is_empty());
    let ended = ["exited echo/0: asked to leave", "start echo/1#2"];
    assert_eq!(master.ends("echo/0#1", 0), ended);
    assert_eq!(master.ready("echo/1#2"), ["drain echo/1#1 30s"]);
    assert_eq!(master.later(seconds(30)), [""; 0], "the worker itself is the first to know");
    assert_eq!(master.later(Duration::from_millis(250)), ["stop echo/1#1"]);
    assert_eq!(master.later(Duration::from_millis(2250)), ["kill echo/1#1"]);
    let killed = "exited echo/1: killed: did not leave in time";
    assert_eq!(master.ends("echo/1#1", 9), [killed]);
    assert_eq!(master.machine.stage(), ShownState::Up);
    let done =
        "Ok: reloaded: 2 processes replaced, 2 connections closed with 1001, 1 process killed";
    assert_eq!(master.told("cli"), [done]);
}

#[test]
fn a_successor_that_fails_leaves_the_old_process_and_says_why() {
    let cases: [(Happens, &str); 6] = [
        (
            ("it ends", |master| drop(master.ends("echo/0#2", 3 << 8))),
            "echo/0: the successor did not start: exit code 3; the old process goes on (pid 100)",
        ),
        (
            ("it says why", |master| {
                let message = FromWorker::Failed { reason: "no database".to_owned() };
                let nothing = master.machine.said(master.key("echo/0#2"), message, master.now);
                assert!(nothing.is_empty());
                master.ends("echo/0#2", 1 << 8);
            }),
            "echo/0: the successor failed to start: no database; the old process goes on (pid 100)",
        ),
        (
            ("it is slow", |master| {
                assert_eq!(master.later(seconds(10)), ["kill echo/0#2"]);
                master.ends("echo/0#2", 9);
            }),
            "echo/0: the successor did not start: killed: not ready within 10s; the old process goes \
             on (pid 100)",
        ),
        (
            ("the old one dies, then it", |master| {
                master.ends("echo/0#1", 11);
                master.ends("echo/0#2", 6);
            }),
            "echo/0: the successor did not start: signal 6 (SIGABRT); no process serves this slot",
        ),
        (
            ("the second one cannot be executed", |master| {
                master.broken = vec!["echo/1"];
                master.ready("echo/0#2");
                master.ends("echo/0#1", 0);
            }),
            "no program",
        ),
        (
            ("the second one dies", |master| {
                master.ready("echo/0#2");
                master.ends("echo/0#1", 0);
                master.ends("echo/1#2", 11);
            }),
            "echo/1: the successor did not start: signal 11 (SIGSEGV); the old process goes on (pid \
             101)",
        ),
    ];
    for ((case, happen), expected) in cases {
        let mut master = Master::up(vec![service("echo", 2)]);
        master.reload("cli", PLAIN, None);
        happen(&mut master);
        let rest = if master.done.iter().any(|done| done == "start echo/1#2") {
            ""
        } else {
            "; 1 more slot not reloaded"
        };
        let expected = format!("Failed: the reload failed: {expected}{rest}");
        assert_eq!(master.told("cli"), [expected], "{case}");
        master.broken.clear();
        master.check_rest_of_slots(case);
    }
}

#[test]
fn reloads_that_wait_are_merged_and_the_longest_limit_counts() {
    let mut master = Master::up(vec![service("echo", 2)]);
    master.reload("first", PLAIN, None);
    assert_eq!(master.reload("second", PLAIN, None), [""; 0]);
    assert_eq!(master.reload("third", GRACEFUL, Some("echo/1")), [""; 0]);
    assert_eq!(master.told("second"), ["a reload is under way; another one follows"]);
    assert_eq!(master.told("third"), ["a reload is under way; this one joins the next"]);
    master.ready("echo/0#2");
    master.ends("echo/0#1", 0);
    master.ready("echo/1#2");
    let next = ["exited echo/1: asked to leave", "reloading", "start echo/0#3"];
    assert_eq!(master.ends("echo/1#1", 0), next);
    assert!(master.told("first")[0].starts_with("Ok: reloaded: 2 processes replaced"));
    assert_eq!(master.ready("echo/0#3"), ["drain echo/0#2 1h"], "one of them was graceful");
    master.ends("echo/0#2", 0);
    master.ready("echo/1#3");
    master.ends("echo/1#2", 0);
    for caller in ["second", "third"] {
        let told = master.told(caller);
        assert_eq!(told, ["Ok: reloaded: 2 processes replaced, 0 connections closed with 1001"]);
    }
}

#[test]
fn a_reload_that_waits_shortens_the_drain_before_it() {
    let mut master = Master::up(vec![service("echo", 1), service("mail", 1)]);
    master.reload("first", GRACEFUL, Some("echo"));
    assert_eq!(master.ready("echo/0#2"), ["drain echo/0#1 1h"]);
    master.later(seconds(100));
    assert_eq!(master.reload("other", PLAIN, Some("mail")), ["reloading", "start mail/0#2"]);
    assert_eq!(master.told("first"), [""; 0], "it is at other slots");
    assert_eq!(master.reload("second", PLAIN, Some("echo")), ["drain echo/0#1 30s"]);
    let hurried = "hurried by another reload: connections get 30s at most from now on";
    assert_eq!(master.told("first"), [hurried]);
    assert_eq!(master.reload("third", GRACEFUL, Some("echo")), [""; 0], "an hour is no hurry");
    master.check_rest("after it");
}

#[test]
fn a_reload_during_a_start_follows_it() {
    let mut master = Master::new(vec![service("echo", 1)]);
    master.begin();
    assert_eq!(master.reload("cli", PLAIN, None), [""; 0]);
    assert_eq!(master.told("cli"), ["the program is starting; this reload follows"]);
    assert_eq!(master.ready("echo/0#1"), ["reloading", "start echo/0#2"]);
    assert_eq!(master.told("start"), ["Ok: up"]);
    assert_eq!(master.ready("echo/0#2"), ["drain echo/0#1 30s"]);
    master.ends("echo/0#1", 0);
    assert_eq!(
        master.told("cli"),
        ["Ok: reloaded: 1 process replaced, 0 connections closed with 1001"]
    );
}

#[test]
fn a_stop_in_the_middle_of_a_reload_ends_both() {
    let mut master = Master::up(vec![service("echo", 2)]);
    master.reload("first", GRACEFUL, None);
    master.reload("second", GRACEFUL, None);
    master.ready("echo/0#2");
    let stopping = ["stop echo/0#2", "stop echo/0#1", "stop echo/1#1"];
    assert_eq!(master.stop("stop", PLAIN, None), stopping);
    for caller in ["first", "second"] {
        let told = master.told(caller);
        let given_up = "Failed: the reload was given up: the program stops";
        assert_eq!(told.last().map(String::as_str), Some(given_up), "{caller}: {told:?}");
    }
    assert_eq!(master.reload("third", PLAIN, None), [""; 0]);
    assert_eq!(master.told("third"), ["Failed: cannot reload: the program is stopping"]);
    master.settle();
    assert_eq!(master.told("stop"), ["Ok: stopped: 0 connections closed with 1001"]);
    assert!(master.stopped);
}

#[test]
fn nothing_to_reload_is_no_fault_unless_it_was_named() {
    let mut master = Master::up(vec![Description { reload: Reload::Keep, ..service("keeps", 1) }]);
    assert_eq!(master.reload("all", PLAIN, None), ["reloading", "reload keeps/0#1"]);
    assert_eq!(
        master.told("all").last().unwrap(),
        "Ok: reloaded: no process was replaced, every service stays"
    );
    master.reload("named", PLAIN, Some("keeps"));
    let failed = "Failed: nothing was replaced: `restart` does that";
    assert_eq!(master.told("named").last().unwrap(), failed);
}
