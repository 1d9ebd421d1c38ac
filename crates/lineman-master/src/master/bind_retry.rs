//! A start after a master that was killed: its orphans may hold the addresses for a moment longer, and
//! the start waits for them instead of failing. It ends no process: orphans leave by themselves.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::event::{MasterEvent, SignalMeaning};
use crate::Error;
use crate::control::answers::Answers;
use crate::control::lock::Holder;
use crate::control::request::Answer;
use crate::error::chain;

/// How long orphans are waited for: one that cannot leave ends itself before that
/// (`process/orphaned.rs`).
const LIMIT: Duration = Duration::from_secs(8);

/// The pause between two attempts: not noticed by a person, and not a spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the addresses were not to be had.
#[derive(Debug)]
pub(crate) struct Unbound {
    /// The service that wants them, if it is a matter of one.
    pub(super) service: Option<String>,
    pub(super) error: Error,
}

impl From<Error> for Unbound {
    fn from(error: Error) -> Self {
        Self { service: None, error }
    }
}

impl fmt::Display for Unbound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(formatter, "{service}: ")?;
        }
        formatter.write_str(&chain(&self.error))
    }
}

/// Runs `bind` until the addresses are free, as long as there are orphans to wait for. A wish to stop
/// ends the wait.
pub(super) async fn bind_when_free<T>(
    left_by: Option<&Holder>,
    report: &Answers,
    events: &mut mpsc::Receiver<MasterEvent>,
    mut bind: impl FnMut() -> Result<T, Unbound>,
) -> Result<T, Unbound> {
    let end = Instant::now() + LIMIT;
    let mut told = false;
    loop {
        let (problem, left_by) = match (bind(), left_by) {
            (Err(error), Some(left_by)) if is_in_use(&error.error) && Instant::now() < end => {
                (error, left_by)
            }
            (result, _) => return result,
        };
        if !std::mem::replace(&mut told, true) {
            let pid = left_by.pid;
            let text =
                format!("{problem}: waiting for what pid {pid} left behind when it was killed");
            tracing::warn!("{text}");
            report.give(Answer::Note { text });
        }
        tokio::select! {
            () = sleep_until(end) => {}
            () = sleep(PAUSE) => {}
            () = stop_wished(events) => return Err(problem),
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

/// Resolves when a signal wants a stop; before there is a loop, nothing else can come that matters.
async fn stop_wished(events: &mut mpsc::Receiver<MasterEvent>) {
    while let Some(event) = events.recv().await {
        if matches!(event, MasterEvent::Signal(SignalMeaning::Stop | SignalMeaning::StopGracefully))
        {
            return;
        }
    }
}
