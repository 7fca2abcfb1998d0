//! Logs: one line an event, to stderr.
//!
//! Under systemd a line starts with its priority (sd-daemon(3)) and has no time of its own. What a
//! server or a file says is escaped: no line break, no terminal sequence.
//!
//! Nobody waits for whoever reads: lines are left in a queue of bounded size, which a thread writes.
//! Those that found no room are counted, and the count is told in their place.

mod queue;

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogLevel;
use queue::Queue;

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);
static QUEUE: Queue = Queue::new();

/// How long the end of the daemon waits for whoever reads. A service manager waits for 90 s.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Starts logging. A second call only changes the level.
///
/// Lines are collected until [`write_out`] is called: its thread has the privileges that the caller
/// has then.
pub(crate) fn start(level: LogLevel) {
    set_level(level);
    let style = if std::env::var_os("JOURNAL_STREAM").is_some() {
        Style::Journal
    } else {
        Style::Plain { colour: io::stderr().is_terminal() }
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines { style })
        .with_writer(|| Line)
        .with_filter(Enabled);
    if tracing_subscriber::registry().with(lines).try_init().is_ok() {
        // The usual hook writes to stderr itself, and waits. What panics is noticed all the same.
        panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
}

/// Writes what was said, and what will be, on a thread of its own.
pub(crate) fn write_out() -> io::Result<()> {
    QUEUE.start(rustix::stdio::stderr())
}

/// Waits until all that was said is written, as long as somebody reads.
pub(crate) fn finish() {
    // Without a thread there is nobody to wait for, and nobody to tell.
    if write_out().is_ok() {
        QUEUE.wait(LAST_PATIENCE);
    }
}

/// Says something that is no event: a line of its own, after all others.
pub(crate) fn say(line: &str) {
    QUEUE.push(format!("{line}\n").as_bytes());
}

/// Changes what is logged from now on.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Where an event's line goes, which comes in one piece.
struct Line;

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        QUEUE.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets through what the level asks for.
struct Enabled;

impl Enabled {
    fn wants(level: Level) -> bool {
        let number = match level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        number as u8 <= LEVEL.load(Ordering::Relaxed)
    }
}

impl<S> Filter<S> for Enabled {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::wants(*metadata.level())
    }
}

#[derive(Debug, Clone, Copy)]
enum Style {
    /// For the journal, which adds the time and strips the priority.
    Journal,
    Plain {
        colour: bool,
    },
}

struct Lines {
    style: Style,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self.style {
            Style::Journal => write!(writer, "<{}>", priority(level))?,
            Style::Plain { colour } => {
                let now = api::Time::now();
                let (on, off) = if colour { (colour_of(level), "\x1b[0m") } else { ("", "") };
                write!(writer, "{now} {on}{level:5}{off} ")?;
            }
        }
        let mut line = String::new();
        context.field_format().format_fields(Writer::new(&mut line), event)?;
        for character in line.chars() {
            escape(character, &mut writer)?;
        }
        writeln!(writer)
    }
}

/// Priorities of syslog(3), as sd-daemon(3) has them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    }
}

/// Writes a character so that it cannot end the line, move the cursor or turn text around.
fn escape(character: char, to: &mut Writer<'_>) -> fmt::Result {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}') {
        write!(to, "{}", character.escape_unicode())
    } else {
        to.write_char(character)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, work: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Lines { style })
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hostile_strings_stay_on_their_line() {
        let hostile = "x\n<0>fake\x1b[2J\u{202e}\u{2028}";
        let line = logged(Style::Journal, || tracing::warn!("host name {hostile}"));
        assert_eq!(line, "<4>host name x\\u{a}<0>fake\\x1b[2J\\u{202e}\\u{2028}\n");
    }

    #[test]
    fn no_colour_without_a_terminal() {
        let line = logged(Style::Plain { colour: false }, || tracing::error!("oh"));
        assert!(line.ends_with("Z ERROR oh\n"), "{line}");
        assert!(!line.contains('\x1b'));
    }

    #[test]
    fn levels_are_ordered() {
        LEVEL.store(LogLevel::Warn as u8, Ordering::Relaxed);
        assert!(Enabled::wants(Level::ERROR) && Enabled::wants(Level::WARN));
        assert!(!Enabled::wants(Level::INFO) && !Enabled::wants(Level::TRACE));
    }
}
