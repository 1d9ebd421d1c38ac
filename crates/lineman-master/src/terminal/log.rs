//! The log of this process: its filter, its form, and where its lines go. Started once by the master
//! and once by each worker; a program that has set up its own subscriber keeps that.

mod format;
mod sink;
mod stderr;
pub(crate) mod panics;
pub(crate) mod lines;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::control::environment::{self, Variable};
pub(crate) use crate::control::message::Streams;
pub use format::Format;
use format::{LogLine, LogSource};
use sink::Sink;
pub(crate) use sink::{adopt, pass_on, write_to};

/// What a library warns of that its peers can cause, a line for each frame they send: no disk is
/// theirs to fill. A filter of the user's comes behind it.
const QUIET: &str = "h2=error";

/// What the master calls itself in the log.
pub(crate) const MASTER: &str = "master";

/// Starts the log of this process, `name` is `master`, or a slot.
pub(crate) fn start(name: &str, format: Format) {
    let (filter, problem) = match filter() {
        Ok(filter) => (filter, None),
        Err(problem) => (filter_of("").unwrap_or_default(), Some(problem)),
    };
    let no_color =
        std::env::var_os(environment::NO_COLOR.name).is_some_and(|value| !value.is_empty());
    let source = LogSource::this(name);
    let sink = Sink::new(source.clone(), format);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!no_color && !sink.is_file() && io::stderr().is_terminal())
        .with_writer(sink)
        // Its own complaints go to `eprintln!`, which panics where stderr is what fails.
        .log_internal_errors(false)
        .event_format(LogLine::new(source, format))
        .finish();
    // Refused when the program has its own, which is what it wants then.
    tracing::subscriber::set_global_default(subscriber).unwrap_or_default();
    if let Some(problem) = problem {
        tracing::warn!(problem, "the log's filter is not used");
    }
}

/// Runs `look` and writes what it warns of to stderr, for a command that has no log.
pub(crate) fn with_warnings_on_stderr<R>(look: impl FnOnce() -> R) -> R {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, look)
}

/// Returns the filter that the environment asks for, or what is wrong with it.
pub(crate) fn filter() -> Result<EnvFilter, String> {
    let wanted = text_of(environment::LOG)?;
    filter_of(&wanted).map_err(|problem| format!("{}={wanted:?}: {problem}", environment::LOG.name))
}

/// Returns what a variable holds; nothing when it is not set.
fn text_of(variable: Variable) -> Result<String, String> {
    let value = std::env::var_os(variable.name).unwrap_or_default();
    let problem = |odd: OsString| {
        format!("{}={}: it is no text (UTF-8)", variable.name, odd.to_string_lossy().escape_debug())
    };
    value.into_string().map_err(problem)
}

fn filter_of(wanted: &str) -> Result<EnvFilter, String> {
    let wanted = match wanted.trim_matches([',', ' ']) {
        "" => Level::INFO.as_str(),
        wanted => wanted,
    };
    let filter = match wanted.parse() {
        // A filter of everything, or of nothing, is meant.
        Ok(LevelFilter::OFF | LevelFilter::DEBUG | LevelFilter::TRACE) => wanted.to_owned(),
        _ => format!("{QUIET},{wanted}"),
    };
    EnvFilter::builder().parse(filter).map_err(|error| {
        format!("{error} (a level, or levels of modules: `warn`, `info,lineman=debug`)")
    })
}

/// Returns the form that the environment asks for; `None` when it does not.
pub(crate) fn format_from_environment() -> Result<Option<Format>, String> {
    let name = environment::LOG_FORMAT.name;
    match text_of(environment::LOG_FORMAT)?.as_str() {
        "" => Ok(None),
        "text" => Ok(Some(Format::Text)),
        "json" => Ok(Some(Format::Json)),
        other => Err(format!("{name}={other:?}: it is `text` or `json`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_told() {
        assert_eq!(filter_of("").unwrap().to_string(), "h2=error,info");
        assert_eq!(filter_of("h2=warn,debug").unwrap().to_string(), "h2=warn,debug");
        assert!(filter_of("warn,lineman=debug").is_ok());
        let problem = filter_of("info,lineman=debugg").unwrap_err();
        assert!(problem.contains("lineman=debug"), "{problem}");
    }
}
