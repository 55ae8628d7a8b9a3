//! The figures of each stats line for a collectd, over the socket of its plugin `unixsock`.
//!
//! ```text
//! > PUTVAL "host/dhtnode-1/dhtnode_stats-channel.foo.records" interval=30 N:2
//! < 0 Success: 1 value has been dispatched.
//! ```
//!
//! A thread of its own does it, with a connection for each line: collectd may be slow, stopped or
//! started again at any time, and nobody else waits for it. What it does not take in time is left
//! out; the stats log has it.
//!
//! Source: spec `node` 3.3, `file-formats` 6, which leave identifiers open; `collectd-unixsock(5)`.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::StatsLine;
use crate::section::{ConfigError, Section};

/// Lines that wait while another is sent. More are left out.
const LINES_WAITING_MAX: usize = 1;
/// How long collectd may take for a connection, for reading a value, and for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer to a value.
const ANSWER_BYTES_MAX: u64 = 1024;
/// Longest name of a host, plugin or type in collectd.
const NAME_BYTES_MAX: usize = 127;

/// The keys of `[STATS]` that are for collectd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectdConfig {
    /// Its socket.
    pub socket: PathBuf,
    /// What all identifiers begin with: `host/plugin-instance/type-`.
    pub prefix: String,
}

impl CollectdConfig {
    /// Reads the keys; `app_name` is the name of the program. None: stats are not sent.
    pub(super) fn from_section(
        section: &mut Section<'_>,
        app_name: &str,
    ) -> Result<Option<Self>, ConfigError> {
        let socket = section.get::<PathBuf>("socket_path")?;
        let socket = socket.filter(|path| !path.as_os_str().is_empty());
        let mut name = |key, default: String| {
            let name = section.get::<String>(key)?.filter(|name| !name.is_empty());
            let name = name.unwrap_or(default);
            let is_bad = |c: char| c.is_control() || ['/', '"', '\\'].contains(&c);
            if socket.is_some() && (name.contains(is_bad) || name.len() > NAME_BYTES_MAX) {
                let hint =
                    format!("a name for collectd: at most {NAME_BYTES_MAX} bytes, without / \" \\");
                return Err(section.error(key, format!("'{name}' cannot be used"), hint));
            }
            Ok(name)
        };
        let node_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = name("hostname", node_name)?;
        let plugin = name("app_name", app_name.to_owned())?;
        let kind = name("default_type", format!("{plugin}_stats"))?;
        let instance = match name("app_instance", String::new())? {
            none if none.is_empty() => none,
            instance => format!("-{instance}"),
        };
        let prefix = format!("{host}/{plugin}{instance}/{kind}-");
        Ok(socket.map(|socket| Self { socket, prefix }))
    }
}

/// The way to the thread that sends. The thread ends after this is dropped.
#[derive(Debug)]
pub struct Collectd {
    lines: SyncSender<StatsLine>,
    /// The last line was left out, and the log has been told.
    is_behind: bool,
}

impl Collectd {
    /// Starts the thread. `interval_s` is the time between lines in seconds.
    pub fn start(config: CollectdConfig, interval_s: u32) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
        let sender = Sender { config, interval_s, state: State::Unknown };
        thread::Builder::new().name("collectd".to_owned()).spawn(|| sender.run(waiting))?;
        Ok(Self { lines, is_behind: false })
    }

    /// Has a line sent, or leaves it out if collectd is behind. Never waits.
    pub fn send(&mut self, line: StatsLine) {
        let is_left_out = self.lines.try_send(line).is_err();
        if is_left_out && !self.is_behind {
            log::warn!(
                "collectd has not taken the stats that were sent before: some are left out, and \
                 are in the stats log only. See what it is busy with"
            );
        }
        self.is_behind = is_left_out;
    }
}

/// What the thread has.
struct Sender {
    config: CollectdConfig,
    interval_s: u32,
    state: State,
}

/// How it went the last time: the log is told when that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Taken,
    Refused,
    Failed,
}

/// What collectd did not want of a line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Refusals {
    count: usize,
    values: usize,
    /// The first value that was refused, and why.
    first: String,
}

impl Sender {
    fn run(mut self, lines: Receiver<StatsLine>) {
        for line in lines {
            let result = self.send(&line);
            self.tell(&result);
        }
    }

    fn tell(&mut self, result: &io::Result<Refusals>) {
        let state = match result {
            Ok(refusals) if refusals.count == 0 => State::Taken,
            Ok(_) => State::Refused,
            Err(_) => State::Failed,
        };
        if std::mem::replace(&mut self.state, state) == state {
            return;
        }
        let socket = self.config.socket.display();
        match result {
            Ok(Refusals { count: 0, values, .. }) => {
                log::info!("collectd at {socket} takes the stats: {values} values");
            }
            Ok(Refusals { count, values, first }) => log::warn!(
                "collectd at {socket} refuses {count} of {values} values of the stats, the first \
                 of them: {first}. Is the type of [STATS] default_type in its types.db?"
            ),
            Err(error) => log::warn!(
                "cannot send stats to collectd at {socket}: {error}. Tried again with each line; \
                 is its plugin unixsock loaded, and may this user connect?"
            ),
        }
    }

    /// Sends a line, one value after the other.
    fn send(&self, line: &StatsLine) -> io::Result<Refusals> {
        let stream = connect(&self.config.socket)?;
        let mut answers = BufReader::new(&stream);
        let mut refusals = Refusals::default();
        for request in line.items().map(|(name, value)| self.request(name, value)) {
            (&stream).write_all(request.as_bytes())?;
            let mut answer = String::new();
            answers.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
            refusals.values += 1;
            if !is_success(&answer)? {
                refusals.count += 1;
                if refusals.count == 1 {
                    refusals.first = format!("{:?}: {:?}", request.trim_end(), answer.trim_end());
                }
            }
        }
        Ok(refusals)
    }

    fn request(&self, name: &str, value: &str) -> String {
        let Self { config: CollectdConfig { prefix, .. }, interval_s, .. } = self;
        // A slash would begin another part of the identifier.
        let name = name.replace('/', ".");
        // collectd's word for no number.
        let value = if value.ends_with("nan") { "U" } else { value };
        format!("PUTVAL \"{prefix}{name}\" interval={interval_s} N:{value}\n")
    }
}

/// Whether an answer begins with 0. It does with a negative number if the value is refused.
fn is_success(answer: &str) -> io::Result<bool> {
    if answer.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let status = answer.split(' ').next().and_then(|status| status.trim_end().parse::<i64>().ok());
    match status {
        Some(status) if status <= 0 && answer.ends_with('\n') => Ok(status == 0),
        _ => Err(io::Error::new(ErrorKind::InvalidData, format!("it answers {answer:?}"))),
    }
}

/// Unlike `UnixStream::connect`, this gives up on a listener that does not accept.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ini::Ini;
    use std::os::unix::net::UnixListener;

    fn config(text: &str) -> Result<Option<CollectdConfig>, ConfigError> {
        let ini = Ini::parse(format!("[STATS]\n{text}").as_bytes()).expect("short");
        CollectdConfig::from_section(&mut Section::new(&ini, "STATS"), "demo")
    }

    fn line() -> StatsLine {
        let mut line = StatsLine::new();
        line.item("cpu_user", 1.2).item("mean", f64::NAN).nested("channel", "foo", "bytes", 7_u32);
        line
    }

    fn sender(folder: &tempfile::TempDir) -> Sender {
        let socket = folder.path().join("socket");
        let config = CollectdConfig { socket, prefix: "h/demo-1/t-".to_owned() };
        Sender { config, interval_s: 30, state: State::Unknown }
    }

    /// Answers each request of one connection in turn; returns the requests.
    fn serve(listener: &UnixListener, answers: &[&str]) -> Vec<String> {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        let mut requests = Vec::new();
        for answer in answers {
            requests.push(lines.next().expect("a request").unwrap());
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
        requests
    }

    /// What `send` returns while these answers are given, and the requests.
    fn send(answers: &[&str]) -> (io::Result<Refusals>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let sender = sender(&folder);
        let listener = UnixListener::bind(&sender.config.socket).unwrap();
        thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, answers));
            let result = sender.send(&line());
            (result, server.join().unwrap())
        })
    }

    #[test]
    fn keys_have_defaults_and_make_identifiers() {
        assert_eq!(config("hostname = a/b").unwrap(), None, "without a socket nothing is sent");
        assert_eq!(config("socket_path =").unwrap(), None);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let found = config("socket_path = /run/c").unwrap().expect("there is a socket");
        let expected = (Path::new("/run/c"), format!("{host}/demo/demo_stats-"));
        assert_eq!((&*found.socket, found.prefix), expected);
        let all = "socket_path = s\nhostname = h\napp_name = a\napp_instance = i";
        assert_eq!(config(all).unwrap().expect("a socket").prefix, "h/a-i/a_stats-");
        let all = format!("{all}\ndefault_type = gauge");
        assert_eq!(config(&all).unwrap().expect("a socket").prefix, "h/a-i/gauge-");
        for bad in ["hostname = a/b", "app_instance = a\"b", &format!("app_name = {:128}x", 'x')] {
            let error = config(&format!("socket_path = s\n{bad}")).unwrap_err();
            assert!(error.problem.ends_with("cannot be used"), "{error}");
        }
    }

    #[test]
    fn every_item_is_a_value() {
        let (result, requests) = send(&["0 Success: 1 value has been dispatched.\n"; 3]);
        assert_eq!(result.unwrap(), Refusals { values: 3, ..Refusals::default() });
        let expected = [
            "PUTVAL \"h/demo-1/t-cpu_user\" interval=30 N:1.20",
            "PUTVAL \"h/demo-1/t-mean\" interval=30 N:U",
            "PUTVAL \"h/demo-1/t-channel.foo.bytes\" interval=30 N:7",
        ];
        assert_eq!(requests, expected);
    }

    #[test]
    fn a_refusal_does_not_stop_the_others() {
        let (result, requests) = send(&["0 ok\n", "-1 Type `t' isn't defined.\n", "0 ok\n"]);
        let refusals = result.unwrap();
        assert_eq!((refusals.count, refusals.values, requests.len()), (1, 3, 3));
        let expected = "\"PUTVAL \\\"h/demo-1/t-mean\\\" interval=30 N:U\": \"-1 Type `t' isn't";
        assert!(refusals.first.starts_with(expected), "{}", refusals.first);
    }

    #[test]
    fn what_is_no_collectd_is_given_up() {
        let error = send(&["HTTP/1.1 400 Bad Request\r\n"]).0.unwrap_err();
        assert!(error.to_string().contains("it answers \"HTTP/1.1 400"), "{error}");
        assert_eq!(send(&["0 ok\n", ""]).0.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let endless = "0".repeat(2 * usize::try_from(ANSWER_BYTES_MAX).unwrap());
        assert_eq!(send(&[&endless]).0.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut sender = sender(&folder);
        let result = sender.send(&line());
        assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        sender.tell(&result);
        assert_eq!(sender.state, State::Failed);
        sender.tell(&Ok(Refusals::default()));
        assert_eq!(sender.state, State::Taken);
    }

    #[test]
    fn nobody_waits_for_a_collectd_that_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let sender = sender(&folder);
        let listener = UnixListener::bind(&sender.config.socket).unwrap();
        let mut collectd = Collectd::start(sender.config, 30).unwrap();
        for _ in 0..100 {
            collectd.send(line());
        }
        assert!(collectd.is_behind);
        // The thread is still with the first line; its connection proves that there is one.
        drop(listener.accept().unwrap());
    }
}
