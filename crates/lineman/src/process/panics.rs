//! Tells the master about every panic, before anything else happens: the process may not survive it.

use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use crate::control::frame::Outbox;
use crate::control::message::FromWorker;

/// How long a panicking thread waits for the kernel to take the message. The socket's buffer is
/// empty as a rule, so this is for a master that hangs.
const LIMIT: Duration = Duration::from_millis(100);

/// The most bytes of a panic's message that go to the master.
const MESSAGE_LIMIT: usize = 2000;

/// Installs the hook; panics also go to the log, with this module's one line instead of std's.
pub(super) fn report_to(outbox: Outbox<FromWorker>) {
    panic::set_hook(Box::new(move |info| {
        let (message, location) = (message(info), location(info));
        let panicked =
            FromWorker::Panicked { message: message.clone(), location: location.clone() };
        let told = outbox.send_last(&panicked, LIMIT);
        tracing::error!(message, location, "panicked");
        if let Err(error) = told {
            tracing::debug!(%error, "the master was not told of the panic");
        }
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            tracing::error!("{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("a value that is no text");
    let end = text.floor_char_boundary(MESSAGE_LIMIT);
    text[..end].to_owned()
}

fn location(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}
