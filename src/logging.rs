//! Logs: lines for people or JSON objects for machines, on stderr, or on stdout where nothing else is written there.
//!
//! Only this program's own events are written; those of libraries may hold requests and with them secrets.

use crate::config::{Log, LogFormat, LogLevel};
use crate::progress;
use crate::text;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::OnceLock;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

const TIME: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

/// Starts logging; a second call changes nothing.
pub fn init(log: Log, output: LogOutput) {
    let level = match log.level {
        LogLevel::Trace => Level::TRACE,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let ours = filter::Targets::new().with_target(env!("CARGO_CRATE_NAME"), level).with_target("backup", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(output);
    let layer = match log.format {
        LogFormat::Text => layer.event_format(TextLines).boxed(),
        LogFormat::Json => layer.fmt_fields(JsonFields::new()).event_format(JsonLines).boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    let _ = FORMAT.set(log.format);
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// True where every line is an object for machines.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Where logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutput {
    /// Beside what a command prints.
    Stderr,
    /// Of a command that prints nothing.
    Stdout,
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = Box<dyn std::io::Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Stderr => Box::new(BesideBar),
            Self::Stdout => Box::new(std::io::stdout()),
        }
    }
}

/// The terminal's line of progress is out of the way while a line of the log is written.
struct BesideBar;

impl std::io::Write for BesideBar {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        progress::beside_bar(|| std::io::stderr().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        progress::beside_bar(|| std::io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// `time level message`: fields are for machines, and what people need of them stands in the message.
struct TextLines;

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        ChronoUtc::new(TIME.to_owned()).format_time(&mut writer)?;
        let mut message = LogMessage(String::new());
        event.record(&mut message);
        writeln!(writer, " {:5} {}", event.metadata().level().as_str(), text::one_line(&message.0))
    }
}

struct LogMessage(String);

impl Visit for LogMessage {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// One object a line: time, level and message, then the fields of the spans that the event is in, from the outermost on,
/// and its own; the innermost of one name counts. Spans write their fields as JSON.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let mut time = String::new();
        ChronoUtc::new(TIME.to_owned()).format_time(&mut Writer::new(&mut time))?;
        let mut fields = LogFields(Map::new());
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let written = extensions.get::<FormattedFields<N>>();
            let known = written.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
            fields.0.extend(known.unwrap_or_default());
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let level = event.metadata().level().as_str();
        write!(writer, "{{\"time\":{},\"level\":{},\"message\":{message}", Value::from(time), Value::from(level))?;
        for (name, value) in &fields.0 {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

/// Fields of an event as JSON.
struct LogFields(Map<String, Value>);

impl LogFields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for LogFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}
