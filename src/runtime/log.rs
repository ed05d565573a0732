//! The log, in Redis's layout: `PID:M 21 Nov 2026 06:30:00.123 * message`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log_format};

use crate::config::{Config, LogLevel};

/// The least important level that is written; CONFIG SET loglevel changes it.
static LEVEL: AtomicU8 = AtomicU8::new(LEVEL_NOTICE);
const LEVEL_DEBUG: u8 = 0;
const LEVEL_VERBOSE: u8 = 1;
const LEVEL_NOTICE: u8 = 2;
const LEVEL_WARNING: u8 = 3;
const LEVEL_NOTHING: u8 = 4;

/// Lets messages of this level and above through.
pub fn set_level(level: LogLevel) {
    let number = match level {
        LogLevel::Debug => LEVEL_DEBUG,
        LogLevel::Verbose => LEVEL_VERBOSE,
        LogLevel::Notice => LEVEL_NOTICE,
        LogLevel::Warning => LEVEL_WARNING,
        LogLevel::Nothing => LEVEL_NOTHING,
    };
    LEVEL.store(number, Ordering::Relaxed);
}

/// Opens the log: stdout, or `logfile`.
///
/// # Errors
/// One line when the file cannot be opened.
pub fn open(config: &Config) -> Result<(), String> {
    set_level(config.loglevel);
    if config.logfile.is_empty() {
        let layer = log_format::layer().event_format(Line).with_writer(std::io::stdout).with_filter(ByLevel);
        tracing_subscriber::registry().with(layer).init();
        return Ok(());
    }
    let file = OpenOptions::new().append(true).create(true).open(&config.logfile);
    let file = file.map_err(|error| format!("Can't open the log file: {}: {error}", config.logfile))?;
    let layer = log_format::layer().event_format(Line).with_writer(Mutex::new(file)).with_filter(ByLevel);
    tracing_subscriber::registry().with(layer).init();
    Ok(())
}

struct ByLevel;

impl<S> Filter<S> for ByLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let number = match *metadata.level() {
            Level::ERROR | Level::WARN => LEVEL_WARNING,
            Level::INFO => LEVEL_NOTICE,
            Level::DEBUG => LEVEL_VERBOSE,
            Level::TRACE => LEVEL_DEBUG,
        };
        // Libraries speak only of what goes wrong.
        let ours = metadata.target().starts_with("slotcore");
        number >= LEVEL.load(Ordering::Relaxed) && (ours || number >= LEVEL_WARNING)
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let sign = match *event.metadata().level() {
            Level::ERROR | Level::WARN => '#',
            Level::INFO => '*',
            Level::DEBUG => '-',
            Level::TRACE => '.',
        };
        write!(writer, "{}:M {} {sign} ", std::process::id(), Timestamp::now())?;
        cx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Local time as Redis prints it.
struct Timestamp {
    calendar: libc::tm,
    millis: u32,
}

impl Timestamp {
    fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs() as libc::time_t;
        // SAFETY: all-zero is a valid tm, and localtime_r writes only to it.
        let calendar = unsafe {
            let mut calendar: libc::tm = std::mem::zeroed();
            libc::localtime_r(&seconds, &mut calendar);
            calendar
        };
        Timestamp { calendar, millis: since.subsec_millis() }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let tm = &self.calendar;
        let month = MONTHS.get(tm.tm_mon as usize).unwrap_or(&"???");
        let (year, day) = (tm.tm_year + 1900, tm.tm_mday);
        write!(f, "{day:02} {month} {year} {:02}:{:02}:{:02}.{:03}", tm.tm_hour, tm.tm_min, tm.tm_sec, self.millis)
    }
}

/// A failure before there is a log: one line on stderr.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
