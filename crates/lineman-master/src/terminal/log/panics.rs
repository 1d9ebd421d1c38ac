//! What a panic hook puts into the log: message, place, and a backtrace of bounded size. Used by the
//! hooks of `master` and `process`.

use std::backtrace::Backtrace;
use std::ffi::OsStr;
use std::panic::{self, PanicHookInfo};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The most bytes of a panic's message.
const MESSAGE_LIMIT: usize = 2000;

/// The most bytes of a backtrace: some 100 frames with their places.
const BACKTRACE_LIMIT: usize = 16 * 1024;

/// How often a backtrace is taken. Finding the names takes milliseconds, and a peer that has found a
/// message that panics can send it all day.
const BACKTRACE_EVERY: Duration = Duration::from_secs(1);

/// A panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// What it said.
    pub(crate) message: String,
    /// File, line and column.
    pub(crate) location: String,
}

impl Panic {
    /// Returns what the hook was told.
    pub(crate) fn of(info: &PanicHookInfo<'_>) -> Self {
        let text = info.payload_as_str().unwrap_or("a value that is no text");
        let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        Self { message: cut(text, MESSAGE_LIMIT).to_owned(), location }
    }

    /// Logs it, with the backtrace of the caller if `RUST_BACKTRACE` asks for one.
    pub(crate) fn log(&self) {
        let Self { message: panic, location } = self;
        let backtrace = backtrace().map(tracing::field::display);
        tracing::error!(panic, location, backtrace, "panicked");
    }
}

/// Logs every panic of this process, instead of std's words on stderr.
pub(crate) fn log_all() {
    panic::set_hook(Box::new(|info| Panic::of(info).log()));
}

fn backtrace() -> Option<String> {
    if !is_wanted(std::env::var_os("RUST_BACKTRACE").as_deref()) || !is_due() {
        return None;
    }
    let text = Backtrace::force_capture().to_string();
    let kept = cut(&text, BACKTRACE_LIMIT);
    let more = if kept.len() < text.len() { "\n(the rest is left out)" } else { "" };
    Some(format!("\n{kept}{more}"))
}

/// As std's own hook has it: the names of the first trace cost a serving process 0.18 s and 127 MB that
/// it never gives back, so nothing is traced unasked.
fn is_wanted(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| value != "0")
}

fn is_due() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    // A second thread that panics at the same moment goes without.
    let Ok(mut last) = LAST.try_lock() else { return false };
    let due = last.is_none_or(|last| now.duration_since(last) >= BACKTRACE_EVERY);
    if due {
        *last = Some(now);
    }
    due
}

fn cut(text: &str, limit: usize) -> &str {
    let end = text.floor_char_boundary(limit);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_taken_only_when_it_is_asked_for() {
        for (value, wanted) in
            [(None, false), (Some("0"), false), (Some("1"), true), (Some("full"), true)]
        {
            assert_eq!(is_wanted(value.map(OsStr::new)), wanted, "{value:?}");
        }
    }
}
