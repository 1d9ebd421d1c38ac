//! Tells the master about every panic, before anything else happens: the process may not survive it.

use std::panic;
use std::time::Duration;

use crate::control::frame::Outbox;
use crate::control::message::FromWorker;
use crate::terminal::log::panics::Panic;

/// How long a panicking thread waits for the kernel to take the message. The socket's buffer is
/// empty as a rule, so this is for a master that hangs.
const LIMIT: Duration = Duration::from_millis(100);

/// Installs the hook; panics also go to the log instead of std's words on stderr.
pub(super) fn report_to(outbox: Outbox<FromWorker>) {
    panic::set_hook(Box::new(move |info| {
        let panic = Panic::of(info);
        let Panic { message, location } = panic.clone();
        let told = outbox.send_last(&FromWorker::Panicked { message, location }, LIMIT);
        panic.log();
        if let Err(error) = told {
            tracing::debug!(%error, "the master was not told of the panic");
        }
    }));
}
