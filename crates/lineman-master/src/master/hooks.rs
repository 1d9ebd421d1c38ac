//! What a program wants to hear of in its master: exits of workers, reloads, the stop. A hook is a
//! closure of a moment; one that panics is logged and the master goes on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::exit::ExitReason;

/// A worker process that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerExit {
    /// Its slot: `service/index`.
    pub slot: String,
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub reason: ExitReason,
    /// How long it had run.
    pub uptime: Duration,
    /// Whether it had been told to leave, by a stop or a reload.
    pub asked: bool,
    /// How often in a row the slot's processes have ended by themselves, this one included, before
    /// any of them had been ready for ten seconds. Eight are a crash loop: the slot is `failed`, and
    /// gets its next process later and later, after 30 s at most.
    pub failures: u32,
}

type OnExit = Box<dyn Fn(&WorkerExit)>;
type OnEvent = Box<dyn Fn()>;

/// What the master calls at its events, as `App` sets it.
#[derive(Default)]
pub struct Hooks {
    /// A worker has ended.
    pub worker_exit: Option<OnExit>,
    /// A reload begins.
    pub reload: Option<OnEvent>,
    /// Every worker is gone and the master ends.
    pub stop: Option<OnEvent>,
}

impl Hooks {
    pub(super) fn exited(&self, exit: &WorkerExit) {
        if let Some(hook) = &self.worker_exit {
            guarded("on_worker_exit", || hook(exit));
        }
    }

    pub(super) fn reloading(&self) {
        if let Some(hook) = &self.reload {
            guarded("on_master_reload", hook);
        }
    }

    /// Every worker is gone and the master ends.
    pub(super) fn stopped(&self) {
        if let Some(hook) = &self.stop {
            guarded("on_master_stop", hook);
        }
    }
}

fn guarded(name: &str, hook: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(hook)).is_err() {
        tracing::error!(hook = name, "a hook panicked");
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hooks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_hook_that_panics_does_no_harm() {
        let called = Rc::new(Cell::new(0));
        let count = Rc::clone(&called);
        let stop: OnEvent = Box::new(move || {
            count.set(count.get() + 1);
            assert!(count.get() > 1, "the first call fails");
        });
        let hooks = Hooks { stop: Some(stop), ..Hooks::default() };
        hooks.stopped();
        hooks.stopped();
        assert_eq!(called.get(), 2);
    }
}
