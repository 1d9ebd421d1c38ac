//! How an event becomes one line of the log: text for people, JSON for machines. No value can begin a
//! line of its own, whatever a peer sends.

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use crate::terminal::plain::escaped;

/// What stands before each further line of a value in text: a backtrace stays readable, and nothing
/// in a value looks like a line of the log.
const CONTINUED: &str = "\n    ";

/// The keys of a JSON line that are its own; a field of the same name is called `field.NAME`.
const OWN_KEYS: [&str; 4] = ["timestamp", "level", "target", "message"];

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `2026-03-01T12:00:00.123456Z INFO chat/0[712] ready generation=1`
    #[default]
    Text,
    /// One object a line: `timestamp` (RFC 3339, UTC), `level`, `target`, `slot`, `pid`, `message`,
    /// and the event's fields beside them. A line of the master that is about a worker has that
    /// one's `slot` and `pid`.
    Json,
}

impl Format {
    /// Returns its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// By hand: derived, the documentation of each form would stand in the help text.
impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// The process that writes.
#[derive(Debug, Clone)]
pub(super) struct LogSource {
    slot: String,
    pid: u32,
}

impl LogSource {
    /// Returns this process, under the name of its slot, or `master`.
    pub(super) fn this(slot: &str) -> Self {
        Self { slot: slot.to_owned(), pid: std::process::id() }
    }
}

impl fmt::Display for LogSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{}]", self.slot, self.pid)
    }
}

/// Formats one event as one line.
#[derive(Debug)]
pub(super) struct LogLine {
    source: LogSource,
    format: Format,
}

impl LogLine {
    /// Returns the format of what this process writes.
    pub(super) fn new(source: LogSource, format: Format) -> Self {
        Self { source, format }
    }

    /// Returns a line that is no event: what the log says about itself.
    pub(super) fn own(&self, message: &str) -> String {
        let level = Level::WARN;
        match self.format {
            Format::Text => format!("{} {level} {} {message}\n", now(), self.source),
            Format::Json => {
                let mut object = self.object(level, module_path!());
                object.put("message", message.into());
                object.line()
            }
        }
    }

    fn object(&self, level: Level, target: &str) -> JsonObject {
        let LogSource { slot, pid } = &self.source;
        let mut object = JsonObject::default();
        object.put("timestamp", now().into());
        object.put("level", level.as_str().into());
        object.put("target", target.into());
        object.put("slot", slot.as_str().into());
        object.put("pid", (*pid).into());
        object
    }
}

impl<S, N> FormatEvent<S, N> for LogLine
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
        let level = *event.metadata().level();
        if self.format == Format::Json {
            let object = self.object(level, event.metadata().target());
            let mut fields = JsonFields { object, of_master: self.source.slot == super::MASTER };
            event.record(&mut fields);
            return writer.write_str(&fields.object.line());
        }
        SystemTime.format_time(&mut writer)?;
        if writer.has_ansi_escapes() && level <= Level::WARN {
            let color = if level == Level::ERROR { 31 } else { 33 };
            write!(writer, " \x1b[{color}m{level}\x1b[0m {} ", self.source)?;
        } else {
            write!(writer, " {level} {} ", self.source)?;
        }
        let mut fields = String::new();
        context.field_format().format_fields(Writer::new(&mut fields), event)?;
        let mut parts = fields.trim_end().split(['\n', '\r']).filter(|part| !part.is_empty());
        // Values alone can hold them: the colour of the level is written by now.
        writer.write_str(&escaped(parts.next().unwrap_or_default()))?;
        for part in parts {
            write!(writer, "{CONTINUED}{}", escaped(part))?;
        }
        writeln!(writer)
    }
}

/// One line of JSON: its keys in the order in which they came, the time first.
#[derive(Debug, Default)]
struct JsonObject(Vec<(String, Value)>);

impl JsonObject {
    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// Sets a key, in its old place if there is one.
    fn put(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    fn line(&self) -> String {
        // Keys and values are text and numbers, which always can be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// The fields of an event, beside the keys that every line has.
struct JsonFields {
    object: JsonObject,
    of_master: bool,
}

impl JsonFields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // Code of users must not pass itself off as another process; the master tells of others.
        let taken = match name {
            "message" => self.object.has(name),
            "slot" | "pid" => !self.of_master,
            _ => OWN_KEYS.contains(&name),
        };
        let key = if taken { format!("field.{name}") } else { name.to_owned() };
        self.object.put(&key, value);
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // Infinities are no numbers of JSON.
        let number = serde_json::Number::from_f64(value);
        self.put(field, number.map_or_else(|| value.to_string().into(), Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, crate::error::chain(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    SystemTime.format_time(&mut Writer::new(&mut text)).unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(slot: &str, format: Format, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(LogLine::new(LogSource::this(slot), format))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR master[1] forged\r\nand more";

    #[test]
    fn a_value_begins_no_line_of_text() {
        let text = logged("echo/0", Format::Text, || tracing::info!(peer = %FORGED, "heard"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains(&format!(" INFO echo/0[{}] heard", std::process::id())));
        assert!(lines[1..].iter().all(|line| line.starts_with("    ")), "{text}");
    }

    #[test]
    fn a_value_moves_no_cursor() {
        let value = "\x1b[2J\u{9b}1m\x07\tx";
        let text = logged("echo/0", Format::Text, || tracing::info!(peer = %value, "heard"));
        assert!(text.ends_with("peer=\\u{1b}[2J\\u{9b}1m\\u{7}\tx\n"), "{text:?}");
    }

    #[test]
    fn an_event_is_one_object_on_one_line() {
        let text = logged("echo/0", Format::Json, || {
            tracing::warn!(peer = FORGED, count = 3, ratio = f64::NAN, level = 9, pid = 1, "heard");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["slot"], "echo/0");
        assert_eq!(object["pid"], std::process::id());
        assert_eq!(object["message"], "heard");
        assert_eq!(object["peer"], FORGED);
        assert_eq!(object["count"], 3);
        assert_eq!(object["ratio"], "NaN");
        assert_eq!(object["field.level"], 9);
        assert_eq!(object["field.pid"], 1);
        assert!(object["target"].as_str().unwrap().contains("format"), "{text}");
        assert!(object["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
    }

    #[test]
    fn a_line_of_the_master_names_the_process_it_is_about() {
        let log = || tracing::info!(slot = "echo/1", pid = 7_u32, "started");
        let object: Value = serde_json::from_str(&logged("master", Format::Json, log)).unwrap();
        assert_eq!((&object["slot"], &object["pid"]), (&"echo/1".into(), &7.into()));
    }
}
