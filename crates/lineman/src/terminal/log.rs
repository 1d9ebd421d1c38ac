//! Log lines on stderr: time, level, who, what. Started once by the master and once by each worker.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use crate::control::environment;

/// Starts the log of this process, which calls itself `who`: `master`, or a slot.
///
/// A program that has set up its own subscriber keeps it.
pub(crate) fn start(who: &str) {
    let wanted = std::env::var(environment::LOG.name).unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(Level::INFO.into());
    let no_color =
        std::env::var_os(environment::NO_COLOR.name).is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.parse_lossy(wanted))
        .with_writer(io::stderr)
        .with_ansi(!no_color && io::stderr().is_terminal())
        .event_format(Line { who: format!("{who}[{}]", std::process::id()) })
        .finish();
    // Refused when the program has its own, which is what it wants then.
    if tracing::subscriber::set_global_default(subscriber).is_err() {}
}

/// Formats one event as one line: `2026-03-01T12:00:00.123456Z INFO chat/0[712] ready generation=1`.
struct Line {
    who: String,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let level = *event.metadata().level();
        if writer.has_ansi_escapes() && level <= Level::WARN {
            let color = if level == Level::ERROR { 31 } else { 33 };
            write!(writer, " \x1b[{color}m{level}\x1b[0m {} ", self.who)?;
        } else {
            write!(writer, " {level} {} ", self.who)?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
