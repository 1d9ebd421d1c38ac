//! `health`: one probe, for containers and scripts. The answer is the exit code, and a line.

use std::time::Duration;

use super::arguments::Health;
use super::{Failure, Outcome, cut_off, unanswered};
use crate::control::ExitCode;
use crate::control::client::Call;
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Request};
use crate::terminal::Printer;

/// How long the master may take: as a probe over HTTP.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn health(folder: &RuntimeFolder, how: &Health) -> Outcome {
    let holder = super::running(folder)?;
    let silent = |problem: &dyn std::fmt::Display| {
        let text = format!("not live: pid {} does not answer ({problem})", holder.pid);
        Failure::new(ExitCode::Failed, text)
    };
    let request = Request::Health { probe: how.probe() };
    let mut call =
        Call::new(folder, &request).map_err(|error| unanswered(folder, silent(&error)))?;
    call.answers_within(LIMIT)?;
    while let Some(answer) = call.next().map_err(|error| silent(&error))? {
        match answer {
            Answer::Done { code: ExitCode::Ok, text } => {
                Printer::data(&text);
                return Ok(ExitCode::Ok);
            }
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    Err(unanswered(folder, cut_off()))
}
