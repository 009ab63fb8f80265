//! Logs: lines for people or JSON objects for machines, on stderr, or on stdout where nothing else is written there.
//!
//! Only this program's own events are written; those of libraries may hold requests and with them secrets.

use crate::config::{Log, LogFormat, LogLevel};
use crate::progress;
use crate::text;
use std::fmt::Write as _;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
        LogFormat::Json => {
            layer.json().flatten_event(true).with_target(false).with_timer(ChronoUtc::new(TIME.to_owned())).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
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
