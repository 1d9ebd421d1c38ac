//! The machine as a whole: every event in every state comes to rest; starts, crashes, blocked workers.

use super::*;
use crate::master::event::Source;
use crate::master::lending::Reach;
use crate::master::test_master::{GRACEFUL, Happens, Master, PLAIN, seconds, service};
use crate::service::{Description, StopOrder};

/// What can happen to a master of `echo/0`, `echo/1` and `mail/0`, whatever it is doing.
const EVENTS: [Happens; 26] = [
    ("nothing", |_| {}),
    ("time passes", |master| drop(master.later(Duration::from_millis(1)))),
    ("whatever is slow is too slow", |master| drop(master.later(seconds(11)))),
    ("an hour passes", |master| drop(master.later(seconds(3601)))),
    ("echo/0#1 crashes", |master| drop(master.ends("echo/0#1", 11))),
    ("echo/0#1 ends", |master| drop(master.ends("echo/0#1", 0))),
    ("echo/0#2 fails", |master| drop(master.ends("echo/0#2", 1 << 8))),
    ("echo/0#2 is ready", |master| drop(master.ready("echo/0#2"))),
    ("echo/0#2 dies when it is ready", |master| {
        master.ready("echo/0#2");
        master.ends("echo/0#2", 9);
    }),
    ("echo/0#1 is silent, and answers later", |master| {
        master.silent(seconds(6));
        let key = master.key("echo/0#1");
        master.machine.answered(key);
        master.turn();
    }),
    ("all are silent", |master| {
        master.machine.slots.config.watchdog.restart = true;
        master.silent(seconds(12));
    }),
    ("echo/1#1 crashes", |master| drop(master.ends("echo/1#1", 11))),
    ("mail/0#1 crashes", |master| drop(master.ends("mail/0#1", 11))),
    ("mail/0#1 is not understood", |master| {
        let actions = master.machine.not_understood(master.key("mail/0#1"), "noise");
        master.carry_out(actions);
        master.turn();
    }),
    ("both of echo crash", |master| {
        master.ends("echo/0#1", 11);
        master.ends("echo/1#1", 11);
    }),
    ("a reload", |master| drop(master.reload("second", PLAIN, None))),
    ("a graceful reload", |master| drop(master.reload("second", GRACEFUL, None))),
    ("a reload of mail", |master| drop(master.reload("second", PLAIN, Some("mail")))),
    ("two reloads", |master| {
        master.reload("second", GRACEFUL, None);
        master.reload("third", PLAIN, Some("echo"));
    }),
    ("a reload and a stop", |master| {
        master.reload("second", PLAIN, None);
        master.stop("third", PLAIN, None);
    }),
    ("a stop", |master| drop(master.stop("second", PLAIN, None))),
    ("a graceful stop", |master| drop(master.stop("second", GRACEFUL, None))),
    ("a graceful stop with a limit", |master| drop(master.stop("second", GRACEFUL, Some(3)))),
    ("a graceful stop, then one at once", |master| {
        master.stop("second", GRACEFUL, None);
        master.stop("third", PLAIN, None);
    }),
    ("SIGINT twice", |master| {
        master.signal(SignalMeaning::Stop);
        master.signal(SignalMeaning::Stop);
    }),
    ("the program cannot be executed for a while", |master| {
        master.broken = vec!["echo/0", "echo/1", "mail/0"];
        master.ends("echo/0#1", 11);
        master.later(seconds(2));
        master.broken.clear();
    }),
];

/// What a master of `echo/0`, `echo/1` and `mail/0` can be doing.
const STATES: [Happens; 17] = [
    ("up", |_| {}),
    ("a slot is down", |master| {
        master.broken = vec!["echo/0"];
        master.ends("echo/0#1", 11);
        master.broken.clear();
    }),
    ("a slot has failed", |master| {
        for generation in 1..=8 {
            master.ends(&format!("echo/0#{generation}"), 11);
            if generation < 8 {
                master.later(seconds(4));
            }
        }
    }),
    ("all are stalled", |master| master.silent(seconds(6))),
    ("a successor starts", |master| drop(master.reload("first", PLAIN, None))),
    ("a successor starts, alone", |master| drop(master.reload("first", PLAIN, Some("echo/0")))),
    ("an old process drains", |master| {
        master.reload("first", PLAIN, Some("echo/0"));
        master.ready("echo/0#2");
    }),
    ("an old process drains for an hour", |master| {
        master.reload("first", GRACEFUL, None);
        master.ready("echo/0#2");
    }),
    ("an old process closes", |master| {
        master.reload("first", PLAIN, None);
        master.ready("echo/0#2");
        master.later(seconds(31));
    }),
    ("the second slot's successor starts", |master| {
        master.reload("first", PLAIN, Some("echo"));
        master.ready("echo/0#2");
        master.ends("echo/0#1", 0);
    }),
    ("another reload waits", |master| {
        master.reload("first", GRACEFUL, None);
        master.reload("waits", GRACEFUL, Some("echo"));
    }),
    ("two reloads side by side", |master| {
        master.reload("first", PLAIN, Some("echo"));
        master.reload("waits", PLAIN, Some("mail"));
    }),
    ("a drain delay", |master| {
        master.machine.slots.config.drain_delay = seconds(5);
        master.stop("first", GRACEFUL, None);
    }),
    ("the first group drains", |master| drop(master.stop("first", GRACEFUL, None))),
    ("the first group drains, with a limit", |master| {
        drop(master.stop("first", GRACEFUL, Some(20)));
    }),
    ("the first group closes", |master| drop(master.stop("first", PLAIN, None))),
    ("the second group closes", |master| {
        master.stop("first", PLAIN, None);
        master.ends("echo/0#1", 0);
        master.ends("echo/1#1", 0);
    }),
];

#[test]
fn every_event_in_every_state_comes_to_rest_and_every_caller_is_answered() {
    for (state, get_there) in STATES {
        for (event, happen) in EVENTS {
            let mail = Description { stop_order: StopOrder::Core, ..service("mail", 1) };
            let mut master = Master::up(vec![service("echo", 2), mail]);
            for slot in ["echo/0", "echo/1"] {
                let slot = master.slot(slot);
                master.machine.slots[slot].listeners = vec![Reach::SameAddress];
            }
            get_there(&mut master);
            happen(&mut master);
            master.check_rest(&format!("{event}, when {state}"));
        }
    }
}

#[test]
fn a_start_is_up_when_every_slot_is_ready() {
    let mut master = Master::new(vec![service("echo", 2)]);
    assert_eq!(master.begin(), ["start echo/0#1", "start echo/1#1"]);
    assert_eq!(master.machine.stage(), ShownState::Starting);
    assert_eq!(
        master.machine.health(Probe::Ready),
        (ExitCode::Failed, "not ready: starting".to_owned())
    );
    assert_eq!(master.ready("echo/1#1"), [""; 0]);
    assert_eq!(master.told("start"), [""; 0]);
    assert_eq!(master.ready("echo/0#1"), [""; 0]);
    assert_eq!(master.told("start"), ["Ok: up"]);
    let ready = "ready: 1/1 services ready, 2/2 processes".to_owned();
    assert_eq!(master.machine.health(Probe::Ready), (ExitCode::Ok, ready));
}

#[test]
fn a_program_is_not_ready_when_every_process_of_a_service_says_so() {
    let says = |master: &mut Master, name: &str, unfit: Option<&str>| {
        let unfit = unfit.map(str::to_owned);
        let condition = Complaints { remarks: vec!["links 1 of 2".to_owned()], unfit };
        let key = master.key(name);
        master.machine.note_condition(key, &condition);
    };
    let mut master = Master::up(vec![service("echo", 2), service("mail", 1)]);
    says(&mut master, "echo/0#1", Some("no business\nfor 30 s"));
    let (code, text) = master.machine.health(Probe::Ready);
    let remark = "\necho/0: links 1 of 2";
    assert_eq!(code, ExitCode::Ok, "its neighbour serves");
    assert_eq!(text, format!("ready: 2/2 services ready, 3/3 processes{remark}"));
    says(&mut master, "echo/1#1", Some("none either"));
    let (code, text) = master.machine.health(Probe::Ready);
    let remarks = format!("{remark}\necho/1: links 1 of 2");
    assert_eq!((code, text.ends_with(&remarks)), (ExitCode::Failed, true), "{text}");
    assert!(text.starts_with("not ready: echo/0: no business"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    says(&mut master, "echo/1#1", None);
    assert_eq!(master.machine.health(Probe::Ready).0, ExitCode::Ok);
    assert_eq!(master.machine.health(Probe::Live), (ExitCode::Ok, "live".to_owned()));
    // A successor has said nothing yet.
    master.ends("echo/1#1", 9);
    master.ready("echo/1#2");
    says(&mut master, "echo/0#1", Some("still none"));
    assert_eq!(master.machine.health(Probe::Ready).0, ExitCode::Ok);
}

#[test]
fn a_start_that_fails_tears_down_what_has_started() {
    let cases: [(Happens, &[&str]); 4] = [
        (
            ("a slot's process ends", |master| drop(master.ends("echo/1#1", 3 << 8))),
            &[
                "exited echo/1: exit code 3",
                "stop echo/0#1",
                "exited echo/0: asked to leave",
                "stopped Failed echo/1: exit code 3",
            ],
        ),
        (
            ("one is slow", |master| {
                master.ready("echo/0#1");
                master.later(seconds(10));
                master.ends("echo/1#1", 9);
            }),
            &[
                "kill echo/1#1",
                "exited echo/1: killed: not ready within 10s",
                "stop echo/0#1",
                "exited echo/0: asked to leave",
                "stopped Failed echo/1: killed: not ready within 10s",
            ],
        ),
        (
            ("a stop is quicker", |master| drop(master.stop("stop", GRACEFUL, None))),
            &[
                "stop echo/0#1",
                "stop echo/1#1",
                "exited echo/0: asked to leave",
                "exited echo/1: asked to leave",
                "stopped Failed stopped before everything was up",
            ],
        ),
        (
            ("a signal is quicker", |master| drop(master.signal(SignalMeaning::StopGracefully))),
            &[
                "stop echo/0#1",
                "stop echo/1#1",
                "exited echo/0: asked to leave",
                "exited echo/1: asked to leave",
                "stopped Failed stopped before everything was up",
            ],
        ),
    ];
    for ((case, happen), expected) in cases {
        let mut master = Master::new(vec![service("echo", 2)]);
        master.begin();
        assert_eq!(master.record(happen), expected, "{case}");
    }
    let mut master = Master::new(vec![service("echo", 3)]);
    master.broken = vec!["echo/1"];
    let tried = ["start echo/0#1", "start echo/1#1", "stop echo/0#1"];
    assert_eq!(master.begin(), tried, "nothing is started behind what cannot be");
    assert_eq!(master.ends("echo/0#1", 0).last().unwrap(), "stopped Failed no program");
}

/// Crashes this process of `echo/0`; returns whether it was followed at once, and the pause if not.
fn crash(master: &mut Master, generation: u32) -> (bool, u128) {
    let crashed = master.ends(&format!("echo/0#{generation}"), 11);
    let pause = master.machine.deadline(master.now).map(|end| end - master.now);
    (crashed.len() == 2, pause.map_or(0, |pause| pause.as_millis()))
}

#[test]
fn crashes_are_answered_later_and_later_without_end_and_a_reload_tries_at_once() {
    let mut master = Master::up(vec![service("echo", 1)]);
    assert!(crash(&mut master, 1).0, "at once");
    assert_eq!(master.source, Some(Source::LastServed));
    let pauses = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000];
    let (slot, wait) = (master.slot("echo/0"), |pause| Duration::from_millis(pause));
    for (generation, pause) in (2..).zip(pauses.into_iter().chain([30_000; 100])) {
        assert_eq!(crash(&mut master, generation), (false, u128::from(pause)));
        let outlook = master.machine.slots[slot].outlook;
        let until = master.now + wait(pause);
        let is_loop = generation >= 8;
        let expected = if is_loop { Outlook::Failed(until) } else { Outlook::BackingOff(until) };
        assert_eq!(outlook, expected, "after {generation}");
        let missing = "not ready: echo has no ready process".to_owned();
        assert_eq!(master.machine.health(Probe::Ready), (ExitCode::Failed, missing));
        let next = format!("start echo/0#{}", generation + 1);
        assert_eq!(master.later(wait(pause)), [next]);
    }
    assert_eq!(master.machine.slots[slot].restarts, 111);
    assert!(master.machine.slots.condition().ends_with("failed: 1 slot"), "an attempt is none");
    crash(&mut master, 112);
    assert_eq!(master.reload("cli", PLAIN, None), ["reloading", "start echo/0#113"]);
    assert_eq!(master.source, Some(Source::Path), "a reload looks what is there now");
    assert_eq!(crash(&mut master, 113), (false, 1000), "it has failed for a person who watches");
    master.check_rest("after it");
}

#[test]
fn a_process_that_gets_ready_is_started_again_sooner_and_forgiven_when_it_is_healthy() {
    let mut master = Master::up(vec![service("echo", 1)]);
    for generation in 1..20 {
        crash(&mut master, generation);
        master.later(seconds(5));
        master.ready(&format!("echo/0#{}", generation + 1));
    }
    let failures = |master: &Master| {
        let slot = &master.machine.slots[master.slot("echo/0")];
        (slot.failures(master.now), slot.has_failed())
    };
    assert_eq!(failures(&master), (19, false), "it serves");
    master.later(seconds(10));
    assert_eq!(failures(&master), (0, false));
    assert!(crash(&mut master, 20).0, "as the first one");
    assert_eq!(failures(&master), (1, false));
}

#[test]
fn a_program_that_wishes_gives_up_and_says_so_with_its_code() {
    let mut master = Master::up(vec![service("echo", 1), service("mail", 1)]);
    master.machine.slots.config.give_up_after = 3;
    for generation in 1..3 {
        crash(&mut master, generation);
        master.later(seconds(5));
    }
    assert_eq!(
        master.ends("echo/0#3", 11),
        ["exited echo/0: signal 11 (SIGSEGV)", "stop mail/0#1"]
    );
    let end = master.ends("mail/0#1", 0);
    let reason = "gave up: echo/0 ended 3 times in a row: signal 11 (SIGSEGV)";
    assert_eq!(end.last().unwrap(), &format!("stopped GaveUp {reason}"));
    master.check_rest("after it");
}

#[test]
fn a_blocked_worker_is_killed_where_the_program_wishes() {
    for restart in [false, true] {
        let mut master = Master::up(vec![service("echo", 1)]);
        master.machine.slots.config.watchdog.restart = restart;
        let stuck = FromWorker::Stuck { still: seconds(5), doing: "on_message".to_owned() };
        let actions = master.machine.said(master.key("echo/0#1"), stuck, master.now);
        assert_eq!(actions.len(), usize::from(restart), "{actions:?}");
        master.carry_out(actions);
        master.turn();
        if restart {
            let end = master.ends("echo/0#1", 9);
            assert_eq!(
                end,
                ["exited echo/0: killed: its loop was blocked by on_message", "start echo/0#2"]
            );
        }
        master.check_rest("after it");
    }
}
