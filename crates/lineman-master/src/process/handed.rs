//! What the program's master has handed to this worker: a text, which is read before the program is built, and which
//! a reload may replace.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::rc::Rc;

use super::is_worker;
use crate::control::environment;
use crate::control::message::Handed;
use crate::os;
use crate::terminal::Printer;

thread_local! {
    static HANDED: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// Returns the text that the master has handed over last, on the thread that runs the worker; `None` in every other
/// process, and where the program hands nothing over.
pub fn handed_over() -> Option<Rc<str>> {
    let kept = HANDED.with_borrow(Clone::clone);
    kept.or_else(take)
}

/// Reads the text the process was started with.
fn take() -> Option<Rc<str>> {
    let number = std::env::var(environment::HANDED.name).ok().filter(|_| is_worker())?;
    let mut text = String::new();
    let descriptor = os::adopt(number.parse().ok()?).ok()?;
    if let Err(error) = File::from(descriptor).read_to_string(&mut text) {
        Printer::error(&format!("cannot read what the master has handed over: {error}"));
        return None;
    }
    replace(Handed(text));
    HANDED.with_borrow(Clone::clone)
}

/// Puts what a reload brings in its place.
pub(super) fn replace(handed: Handed) {
    HANDED.set(Some(handed.0.into()));
}
