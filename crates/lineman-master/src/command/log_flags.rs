//! Where the log goes: flags, environment and program, in this order, become one answer.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, size};
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::environment::{self, Variable};
use crate::control::folder::RuntimeFolder;
use crate::master::log_file::Wanted;
use crate::terminal::log::{self, Format};

/// Flags of `start` and `restart` about the log.
#[derive(Debug, Default, Args)]
pub struct LogFlags {
    /// The form of the log's lines [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<Format>,
    /// The log's file [default: stderr; with -d
    /// /var/log/NAME/NAME.log for root, else ~/.local/state/NAME/NAME.log]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// A file of this size becomes FILE.1, and a new one is begun; 0 is without limit [default: 100M]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    log_max_size: Option<u64>,
    /// The file of what the program prints [default: the log's file]
    #[arg(long, value_name = "FILE")]
    stdout_file: Option<PathBuf>,
}

/// What runs: a daemon has no terminal to log to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunMode {
    /// In the foreground.
    Terminal,
    /// In the background.
    Daemon,
}

impl LogFlags {
    /// Returns what they, the environment and the program ask for.
    pub(super) fn wanted(
        &self,
        config: &Config,
        folder: &RuntimeFolder,
        place: RunMode,
    ) -> Result<Wanted, Failure> {
        let usage = |problem| Failure::new(ExitCode::Usage, problem);
        log::filter().map_err(usage)?;
        let format = log::format_from_environment().map_err(usage)?;
        let file = |flag: Option<&Path>, variable, program: Option<&Path>| {
            let chosen = flag.map(Path::to_path_buf).or_else(|| value(variable));
            chosen.or_else(|| program.map(Path::to_path_buf)).map(absolute)
        };
        let log = file(self.log_file.as_deref(), environment::LOG_FILE, config.log_file.as_deref());
        let stdout = self.stdout_file.as_deref();
        let stdout = file(stdout, environment::STDOUT_FILE, config.stdout_file.as_deref());
        let max_size = std::env::var_os(environment::LOG_MAX_SIZE.name);
        // What is no text is no size either, and is refused as such.
        let max_size = max_size.map(|size| size.to_string_lossy().into_owned());
        let max_size = max_size.filter(|size| !size.is_empty()).map(|size| {
            size::parse(&size)
                .map_err(|problem| usage(format!("{}: {problem}", environment::LOG_MAX_SIZE.name)))
        });
        let max_size = self.log_max_size.or(max_size.transpose()?);
        Ok(Wanted {
            format: self.log_format.or(format).unwrap_or(config.log_format),
            max_size: max_size.unwrap_or(config.log_max_size),
            log: log.or_else(|| (place == RunMode::Daemon).then(|| folder.log())),
            stdout,
        })
    }
}

fn value(variable: Variable) -> Option<PathBuf> {
    std::env::var_os(variable.name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
