//! Stops without a process: the order of groups, limits that pass, a drain delay.

use super::*;
use crate::control::request::Probe;
use crate::master::event::SignalMeaning;
use crate::master::test_master::{GRACEFUL, Happens, Master, PLAIN, seconds, service};
use crate::service::Description;

/// Returns a master with a service in each group of a stop.
fn groups() -> Master {
    let group = |name, stop_order| Description { stop_order, ..service(name, 1) };
    Master::up(vec![
        group("core", StopOrder::Core),
        group("edge", StopOrder::Edge),
        group("middle", StopOrder::Middle),
    ])
}

#[test]
fn a_stop_goes_from_the_edge_to_the_core() {
    for (manner, word, limit) in [(PLAIN, "stop", ""), (GRACEFUL, "drain", " 30s")] {
        let mut master = groups();
        assert_eq!(master.stop("cli", manner, None), [format!("{word} edge/0#1{limit}")]);
        assert_eq!(master.ends("middle/0#1", 11), ["exited middle/0: signal 11 (SIGSEGV)"]);
        let next = ["exited edge/0: asked to leave".to_owned(), format!("{word} core/0#1{limit}")];
        assert_eq!(
            master.ends("edge/0#1", 0),
            next,
            "what has crashed meanwhile is not waited for"
        );
        let over = ["exited core/0: asked to leave", "stopped Ok"];
        assert_eq!(master.ends("core/0#1", 0), over);
        assert_eq!(master.told("cli"), ["Ok: stopped: 0 connections closed with 1001"]);
    }
}

#[test]
fn limits_of_a_stop_pass() {
    type Expected = &'static [&'static str];
    let closes: Expected = &["stop edge/0#1"];
    let cases: [(Happens, Duration, Expected); 6] = [
        (
            ("a drain", |master| drop(master.stop("cli", GRACEFUL, None))),
            Duration::from_millis(30_250),
            closes,
        ),
        (
            ("a drain with a limit", |master| drop(master.stop("cli", GRACEFUL, Some(3)))),
            seconds(3),
            closes,
        ),
        (
            ("a close", |master| drop(master.stop("cli", PLAIN, None))),
            Duration::from_millis(2250),
            &["kill edge/0#1"],
        ),
        (
            ("a limit that comes later", |master| {
                master.stop("cli", GRACEFUL, None);
                master.later(seconds(5));
                assert_eq!(master.stop("limit", GRACEFUL, Some(3)), ["drain edge/0#1 3s"]);
            }),
            seconds(3),
            closes,
        ),
        (
            ("a limit that is longer", |master| {
                master.stop("cli", GRACEFUL, Some(3));
                master.later(seconds(2));
                assert_eq!(master.stop("limit", GRACEFUL, Some(60)), ["drain edge/0#1 1m"]);
                assert_eq!(master.later(seconds(30)), [""; 0]);
            }),
            seconds(30),
            closes,
        ),
        (
            ("a stop at once meanwhile", |master| {
                master.stop("cli", GRACEFUL, None);
                assert_eq!(master.stop("hurry", PLAIN, None), ["stop edge/0#1"]);
            }),
            Duration::from_millis(2250),
            &["kill edge/0#1"],
        ),
    ];
    for ((case, happen), limit, expected) in cases {
        let mut master = groups();
        happen(&mut master);
        let one = Duration::from_nanos(1);
        assert_eq!(master.later(limit.checked_sub(one).unwrap()), [""; 0], "{case}");
        assert!(
            master.machine.deadline(master.now).is_some_and(|at| at <= master.now + one),
            "{case}"
        );
        assert_eq!(master.later(one), expected, "{case}");
    }
}

#[test]
fn a_second_sigint_kills_what_a_first_one_stops() {
    let mut master = groups();
    assert_eq!(master.signal(SignalMeaning::StopGracefully), ["drain edge/0#1 30s"]);
    assert_eq!(master.signal(SignalMeaning::Stop), ["stop edge/0#1"]);
    let mut killed = master.signal(SignalMeaning::Stop);
    killed.sort();
    assert_eq!(killed, ["kill core/0#1", "kill edge/0#1", "kill middle/0#1"]);
    master.settle();
    assert_eq!(master.done.last().unwrap(), "stopped Killed");
}

#[test]
fn what_serves_goes_on_serving_in_the_drain_delay() {
    let mut master = Master::up(vec![service("echo", 2)]);
    master.machine.slots.config.drain_delay = seconds(5);
    assert_eq!(master.stop("cli", GRACEFUL, None), [""; 0]);
    assert_eq!(master.told("cli"), ["not ready from now on; the drain begins in 5s"]);
    assert_eq!(
        master.machine.health(Probe::Ready),
        (ExitCode::Failed, "not ready: stopping".to_owned())
    );
    let crashed = ["exited echo/0: signal 11 (SIGSEGV)", "start echo/0#2"];
    assert_eq!(master.ends("echo/0#1", 11), crashed);
    master.ready("echo/0#2");
    let drains = ["drain echo/0#2 30s", "drain echo/1#1 30s"];
    assert_eq!(master.later(seconds(5)), drains);
    assert_eq!(master.ends("echo/0#2", 11), ["exited echo/0: signal 11 (SIGSEGV)"]);
    let told = "echo/0 (pid 102): ended before it had left: signal 11 (SIGSEGV)";
    assert_eq!(master.told("cli"), [told]);
}
