//! What a program wants to hear of in its master: exits of workers, reloads, the stop. A hook is a
//! closure of a moment; one that panics is logged and the master goes on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
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

/// What a program hands to each of its workers: its settings, say, in the form that it reads there.
pub struct Handover {
    text: RefCell<Rc<str>>,
    /// Counts the texts there have been.
    version: Cell<u64>,
    again: Renew,
}

/// What is handed over from a reload on.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The text for workers.
    pub text: String,
    /// What is new in it, a line each, for the caller of the reload and the log.
    pub told: Vec<String>,
}

/// Returns what is handed over from now on.
type Renew = Box<dyn Fn() -> Result<Renewed, Vec<String>>>;

impl Handover {
    /// Returns one with the text of the first workers, and what makes the one of a reload, or refuses it.
    pub fn new(
        text: impl Into<Rc<str>>,
        again: impl Fn() -> Result<Renewed, Vec<String>> + 'static,
    ) -> Self {
        let (text, again) = (RefCell::new(text.into()), Box::new(again));
        Self { text, version: Cell::new(1), again }
    }

    /// Returns the text, and its number.
    pub(super) fn current(&self) -> (Rc<str>, u64) {
        (Rc::clone(&self.text.borrow()), self.version.get())
    }

    /// Has the text made anew, as a reload begins; returns what is told of it.
    ///
    /// # Errors
    /// Why the reload is refused, a line each; the text stays what it was.
    pub(super) fn renew(&self) -> Result<Vec<String>, Vec<String>> {
        let panicked = |_| Err(vec!["the program failed to read its settings again".to_owned()]);
        let renewed = catch_unwind(AssertUnwindSafe(&self.again)).unwrap_or_else(panicked)?;
        self.text.replace(renewed.text.into());
        self.version.set(self.version.get() + 1);
        Ok(renewed.told)
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.get();
        formatter.debug_struct("Handover").field("version", &version).finish_non_exhaustive()
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewed").field("told", &self.told).finish_non_exhaustive()
    }
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
    /// What workers are handed.
    pub handover: Option<Handover>,
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
