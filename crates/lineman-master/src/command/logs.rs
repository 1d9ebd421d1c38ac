//! `logs`: the end of the program's log, and with `-f` what is written from then on, also when the
//! file is moved away meanwhile. It asks the master for nothing: the lock's file says where the log is.

mod tail;
mod follow;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::log_flags::{LogFlags, RunMode};
use super::{Failure, Outcome};
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::client;
use crate::control::folder::RuntimeFolder;
use crate::program::Program;
use crate::terminal::log::MASTER;
use crate::terminal::log::lines::Chooser;

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many lines of the end
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: usize,
    /// Only lines about this service (`echo`), slot (`echo/0`), or `master`
    service: Option<String>,
}

/// Runs `logs`.
pub(super) fn logs(folder: &RuntimeFolder, program: &dyn Program, how: &Logs) -> Outcome {
    let path = find(folder, program.config())?;
    let failed = |error: io::Error| {
        Failure::new(ExitCode::Failed, format!("cannot read {}: {error}", path.display()))
    };
    let mut file = File::open(&path).map_err(failed)?;
    if let Some(wanted) = &how.service {
        check_name(wanted, program)?;
    }
    let chooser = Chooser::new(how.service.clone());
    let end = tail::read(&mut file, how.lines, &chooser).map_err(failed)?;
    // Not before: the log may tell of more slots than there are now.
    if let Some(wanted) = how.service.as_ref().filter(|_| end.is_empty()) {
        check_slot(wanted, program)?;
    }
    if how.follow {
        follow::follow(&path, file, end)?;
    } else {
        print(&end.all());
    }
    Ok(ExitCode::Ok)
}

/// A name that no line can have would be shown as silence.
fn check_name(wanted: &str, program: &dyn Program) -> Result<(), Failure> {
    let service = wanted.split_once('/').map_or(wanted, |(service, _)| service);
    let mut known = vec![MASTER.to_owned()];
    known.extend(program.descriptions().into_iter().map(|service| service.name));
    if known.iter().any(|name| name == service) { Ok(()) } else { Err(unknown(wanted, &known)) }
}

/// As [`check_name`], for the number of a slot.
fn check_slot(wanted: &str, program: &dyn Program) -> Result<(), Failure> {
    let Some((service, _)) = wanted.split_once('/') else { return Ok(()) };
    let services = program.descriptions().into_iter();
    let count = services.filter(|known| known.name == service).map(|known| known.count).sum();
    let mut known: Vec<String> = (0..count).map(|index| format!("{service}/{index}")).collect();
    if service == MASTER {
        known.push(MASTER.to_owned());
    }
    if known.iter().any(|slot| slot == wanted) { Ok(()) } else { Err(unknown(wanted, &known)) }
}

fn unknown(wanted: &str, known: &[String]) -> Failure {
    let text = format!("no service or slot {wanted:?}; there are: {}", known.join(", "));
    Failure::new(ExitCode::Failed, text)
}

/// Prints lines. Returns whether they are read: a reader that is gone is no error, but the end.
fn print(lines: &[u8]) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines).and_then(|()| stdout.flush()).is_ok()
}

/// Returns where the log is: what runs says it, and what does not has it where it would begin.
fn find(folder: &RuntimeFolder, config: &Config) -> Result<PathBuf, Failure> {
    if let Some(holder) = client::running(folder)? {
        return holder.log.map(|log| log.0).ok_or_else(|| no_file(holder.pid));
    }
    let wanted = LogFlags::default().wanted(config, folder, RunMode::Daemon)?;
    let path = wanted.log.unwrap_or_else(|| folder.log());
    if path.exists() {
        return Ok(path);
    }
    if let Some(roots) = super::roots(folder) {
        return Err(roots);
    }
    let text = format!(
        "not running, and there is no {}; if it was started with --log-file, LINEMAN_LOG_FILE \
         names that here",
        path.display()
    );
    Err(Failure::new(ExitCode::NotRunning, text))
}

fn no_file(pid: u32) -> Failure {
    let stderr = std::fs::read_link(format!("/proc/{pid}/fd/2"));
    let place = stderr.map_or_else(|_| String::new(), |path| format!(" ({})", path.display()));
    let text = format!(
        "there is no file: pid {pid} logs to its stderr{place}; `start --log-file FILE` makes one"
    );
    Failure::new(ExitCode::Failed, text)
}
