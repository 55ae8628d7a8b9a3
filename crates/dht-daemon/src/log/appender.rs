//! Where lines go: console, file, system log.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Zoned;

use super::{Layout, Level, LogFile};

/// One event, ready to be laid out.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) time: &'a Zoned,
    pub(super) level: Level,
    pub(super) logger: &'a str,
    pub(super) message: &'a str,
}

impl Event<'_> {
    fn line(&self, layout: Layout) -> Vec<u8> {
        layout.line(self.time, self.level, self.logger, self.message)
    }
}

/// A place that lines go to.
#[derive(Debug)]
pub(super) enum Appender {
    Console(Layout),
    File(Arc<LogFile>, Layout),
    Syslog(Syslog),
}

/// Kinds of appender: of each, at most one takes an event on its way to Root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Console,
    File,
    Syslog,
}

impl Appender {
    pub(super) const fn class(&self) -> Class {
        match self {
            Self::Console(_) => Class::Console,
            Self::File(..) => Class::File,
            Self::Syslog(_) => Class::Syslog,
        }
    }

    pub(super) fn append(&self, event: Event<'_>) {
        match self {
            Self::Console(layout) => write_console(event.level, &event.line(*layout)),
            Self::File(file, layout) => file.append(&event.line(*layout)),
            Self::Syslog(syslog) => syslog.append(event),
        }
    }
}

/// Calls the function that it gets, somewhere in between.
pub type WriteWithin = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// What surrounds each write to the console.
static WITHIN: RwLock<Option<WriteWithin>> = RwLock::new(None);

/// Has each line written to the console by a call of `within`, or no longer so: for somebody who
/// draws a progress bar there, and takes it away meanwhile.
pub fn write_console_within(within: Option<WriteWithin>) {
    *WITHIN.write().unwrap_or_else(PoisonError::into_inner) = within;
}

fn write_console(level: Level, line: &[u8]) {
    let within = WITHIN.read().unwrap_or_else(PoisonError::into_inner);
    match &*within {
        Some(within) => within(&mut || write_console_now(level, line)),
        None => write_console_now(level, line),
    }
}

/// Warn and above to stderr, the rest to stdout. A closed console is no reason to fail.
fn write_console_now(level: Level, line: &[u8]) {
    let _ = if level >= Level::Warn {
        io::stderr().lock().write_all(line)
    } else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(line).and_then(|()| stdout.flush())
    };
}

/// The socket of the system log.
const SYSLOG_PATH: &str = "/dev/log";
/// Facility "user-level messages", shifted into its place.
const SYSLOG_FACILITY: u8 = 1 << 3;

/// Sends lines to the system log: one datagram each, in the form that `syslog(3)` uses.
#[derive(Debug)]
pub(super) struct Syslog {
    /// Not connected, so that a restart of the system log is no matter. None if there are no more
    /// descriptors.
    socket: Option<UnixDatagram>,
    path: PathBuf,
    /// `dhtnode[1234]`
    tag: String,
}

impl Syslog {
    pub(super) fn new(app_name: &str) -> Self {
        Self::at(SYSLOG_PATH.into(), app_name)
    }

    fn at(path: PathBuf, app_name: &str) -> Self {
        let socket = UnixDatagram::unbound().ok();
        // A system log that does not read must not stop the process.
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        Self { socket, path, tag: format!("{app_name}[{}]", std::process::id()) }
    }

    fn append(&self, event: Event<'_>) {
        // An event that the system log does not take is lost there, as with `syslog(3)`.
        let _ =
            self.socket.as_ref().map(|socket| socket.send_to(&self.datagram(event), &self.path));
    }

    /// `<priority>Aug 14 12:00:30 dhtnode[1234]: Info [logger] - message`
    fn datagram(&self, event: Event<'_>) -> Vec<u8> {
        let severity = match event.level {
            Level::Debug | Level::Trace | Level::Verbose => 7,
            Level::Info => 6,
            Level::Warn => 4,
            Level::Error => 3,
            Level::Fatal => 2,
        };
        let time = event.time.strftime("%b %e %H:%M:%S");
        let mut bytes =
            format!("<{}>{time} {}: ", SYSLOG_FACILITY | severity, self.tag).into_bytes();
        bytes.extend(event.line(Layout::Simple));
        bytes.pop(); // The line end: a datagram needs none.
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_log_gets_one_datagram_for_each_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let system = UnixDatagram::bind(&path).unwrap();
        let time = jiff::civil::date(2020, 8, 4).at(12, 0, 30, 0);
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let event =
            Event { time: &time, level: Level::Warn, logger: "a.b", message: "what is this" };
        let appender = Appender::Syslog(Syslog::at(path, "demo"));
        appender.append(event);
        let mut bytes = [0; 200];
        let count = system.recv(&mut bytes).unwrap();
        let expected =
            format!("<12>Aug  4 12:00:30 demo[{}]: Warn [a.b] - what is this", std::process::id());
        assert_eq!(String::from_utf8_lossy(&bytes[..count]), expected);
    }
}
