//! What is known of a process and of a slot when it ends.

use super::*;

#[test]
fn a_process_that_the_watchdog_kills_has_been_ready_all_the_same() {
    let now = Instant::now();
    let key = WorkerKey { slot: SlotId(0), generation: 1 };
    let mut worker = SlotWorker::new(key, 7, now, Duration::from_secs(1));
    worker.state = WorkerState::Ready;
    worker.ready_at = Some(now);
    let since = worker.ready_at;
    let action = worker.kill(ExitReason::Stuck("a handler".to_owned()));
    assert!(matches!(action, MasterAction::Kill(killed) if killed == key));
    assert!(!worker.is_ready());
    assert!(since.is_some());
    assert_eq!(worker.ready_at, since, "its failures are forgiven by how long it served");
}

#[test]
fn what_was_asked_for_hides_no_crash() {
    let mut slot = Slot::new("echo", ServiceId(0), 0);
    let shown = |slot: &Slot| slot.last_exit.as_ref().map(|last| last.reason.to_string());
    slot.note_exit(ExitReason::Asked, Instant::now());
    assert_eq!(shown(&slot).unwrap(), "asked to leave");
    for (reason, expected) in [
        (ExitReason::Signal(9), "signal 9 (SIGKILL)"),
        (ExitReason::Asked, "signal 9 (SIGKILL)"),
        (ExitReason::Code(3), "exit code 3"),
    ] {
        slot.note_exit(reason, Instant::now());
        assert_eq!(shown(&slot).unwrap(), expected);
    }
}
