//! `status -d`: the status again and again, on a terminal as a table that is drawn over itself, for
//! scripts as a line of JSON each time. It asks as `status` asks and signals no process.

mod sample;
mod columns;
mod keys;
mod view;
mod stage;

use std::time::{Duration, Instant};

use super::{Failure, Outcome, arguments, ask, cut_off, running};
use crate::control::ExitCode;
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Request};
use crate::terminal::{Printer, screen};
use sample::{Comparison, Sample};

/// How often the view looks by default.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs `status -d`.
pub(super) fn live(folder: &RuntimeFolder, how: &arguments::Status) -> Outcome {
    let interval = how.interval.unwrap_or(INTERVAL);
    if how.format.json {
        return print(folder, interval);
    }
    if screen::stdout().is_none() {
        let text = "status -d draws on a terminal and stdout is none: add --json for a line of JSON \
                    each time, or leave out -d";
        return Err(Failure::new(ExitCode::Usage, text));
    }
    running(folder)?;
    stage::play(folder, interval)
}

/// Prints a line each time until they are not read any more, or the master ends.
fn print(folder: &RuntimeFolder, interval: Duration) -> Outcome {
    let mut before = None;
    loop {
        let began = Instant::now();
        let last = look(folder)?;
        let line = Comparison::new(before.as_ref(), &last).json().map_err(std::io::Error::from)?;
        if !Printer::stream(&line) {
            return Ok(ExitCode::Ok);
        }
        before = Some(last);
        std::thread::sleep(interval.saturating_sub(began.elapsed()));
    }
}

/// Asks for the status.
fn look(folder: &RuntimeFolder) -> Result<Sample, Failure> {
    let mut call = ask(folder, &Request::Status)?;
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Status(status) => {
                return Ok(Sample { status: *status, taken: Instant::now() });
            }
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    Err(cut_off())
}
