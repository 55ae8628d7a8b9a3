//! Folders and processes for these tests.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use dht_testkit::{NodeProcess, NodeSettings, Peer, legacy, wait_for};
use tempfile::TempDir;

/// The program.
pub(crate) fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dhtnode"))
}

/// A folder laid out as an instance of the original: `etc/credentials`, and what a test adds.
pub(crate) struct Instance(TempDir);

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Instance {
    /// With credentials for `admin`, but without a config file.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/credentials"), credentials(&["admin"])).unwrap();
        Self(dir)
    }

    /// With a config file.
    pub(crate) fn with_config(text: &str) -> Self {
        let instance = Self::new();
        instance.write("etc/config.ini", text);
        instance
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        read(&self.path().join(name))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path().join(name).symlink_metadata().is_ok()
    }

    /// Starts the program here.
    pub(crate) fn spawn(&self, args: &[&str]) -> Program {
        let mut command = Command::new(exe());
        command.args(args);
        Program::spawn(self.path(), command)
    }

    /// Runs the program here to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.spawn(args).ended()
    }

    /// A node on ports of its own, here, whose start is complete: it has answered a request.
    pub(crate) fn node(&self, settings: &NodeSettings) -> NodeProcess {
        let node = NodeProcess::start(exe(), self.path(), settings);
        let mut peer = node.connect();
        peer.send(&legacy::get_version());
        assert_eq!(peer.receive(20), legacy::version_answer());
        node
    }
}

/// A process of the program, or of another one that becomes it; killed when dropped.
pub(crate) struct Program {
    child: Child,
    outputs: TempDir,
}

impl Program {
    /// Starts `command` in `dir`.
    pub(crate) fn spawn(dir: &Path, mut command: Command) -> Self {
        // Files, unlike pipes, never make the process wait for us.
        let outputs = tempfile::tempdir().unwrap();
        let output = |name: &str| File::create(outputs.path().join(name)).unwrap();
        command.current_dir(dir).stdin(Stdio::null());
        command.stdout(output("stdout")).stderr(output("stderr"));
        Self { child: command.spawn().unwrap(), outputs }
    }

    /// Waits until it listens on a port; false if it ends instead.
    pub(crate) fn listens(&mut self, port: u16) -> bool {
        wait_for("the node to listen", || match self.child.try_wait().unwrap() {
            Some(_) => Some(false),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let status = wait_for("the process to end", || self.child.try_wait().unwrap());
        let output = |name: &str| read(&self.outputs.path().join(name));
        Ended { status, stdout: output("stdout"), stderr: output("stderr") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, or the test has failed and says why itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A credentials file with a key of zeros for each name.
pub(crate) fn credentials(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}:{}\n", "0".repeat(256))).collect()
}

/// A file's text.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a log in the `date` layout without their times: `Info [dhtnode.main] - ..`.
/// Panics where a line has no time, or one of another form.
pub(crate) fn log_lines(path: &Path) -> Vec<String> {
    read(path).lines().map(|line| without_time(line, 2).to_owned()).collect()
}

/// Waits until a log has a line, without its time.
pub(crate) fn wait_for_line(path: &Path, line: &str) {
    wait_for(&format!("{line} in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_inclusive('\n').any(|found| found.ends_with(&format!(" {line}\n"))).then_some(())
    });
}

/// Takes `YYYY-MM-DD HH:MM:SS,` and at least so many digits of milliseconds from a line.
pub(crate) fn without_time(line: &str, millisecond_digits_min: usize) -> &str {
    let shape = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
    };
    let (time, rest) = line.split_at_checked(20).unwrap_or_else(|| panic!("no time: {line:?}"));
    assert_eq!(shape(time), "0000-00-00 00:00:00,", "{line:?}");
    let (milliseconds, rest) = rest.split_once(' ').expect("a blank behind the time");
    let digits = milliseconds.len();
    assert!((millisecond_digits_min..=3).contains(&digits), "{line:?}");
    assert!(milliseconds.bytes().all(|byte| byte.is_ascii_digit()), "{line:?}");
    rest
}

/// The lines of a `date` log that one logger has written, without time and logger: `Info ..`.
pub(crate) fn lines_of(path: &Path, logger: &str) -> Vec<String> {
    let marker = format!(" [{logger}] - ");
    let lines = log_lines(path);
    lines
        .iter()
        .filter_map(|line| line.split_once(&marker))
        .map(|(l, m)| format!("{l} {m}"))
        .collect()
}

/// A connection to a command socket.
pub(crate) struct CommandPeer(UnixStream);

impl CommandPeer {
    pub(crate) fn connect(path: &Path) -> Self {
        Self(UnixStream::connect(path).unwrap())
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).unwrap();
    }

    /// Receives exactly this text.
    pub(crate) fn expect(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }

    /// Says that nothing more will be sent, and receives up to the end.
    pub(crate) fn rest(mut self) -> String {
        self.0.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

/// Puts a record and waits for the answer; false if the connection ends instead.
pub(crate) fn put(peer: &mut Peer, channel: &str, key: u64, value: &[u8]) -> bool {
    if peer.0.write_all(&legacy::put(channel, key, value)).is_err() {
        return false;
    }
    let mut status = [0; 4];
    match peer.0.read_exact(&mut status) {
        Ok(()) => assert_eq!(u32::from_le_bytes(status), legacy::status::OK),
        Err(_) => return false,
    }
    true
}

/// Key and value of each record in a dump file. Source: spec `file-formats` 1.1.
pub(crate) fn dumped(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes.len() % 512, 0, "padded");
    let mut rest = &bytes[..];
    let mut take = |len: usize| {
        let (taken, tail) = rest.split_at(len);
        rest = tail;
        taken.to_vec()
    };
    let number = |bytes: Vec<u8>| u64::from_le_bytes(bytes.try_into().unwrap());
    assert_eq!(number(take(8)), 0, "the version");
    let mut records = Vec::new();
    loop {
        match number(take(8)) {
            0 => return records,
            16 => {}
            len => panic!("a key of {len} bytes"),
        }
        let key = String::from_utf8(take(16)).unwrap();
        let len = usize::try_from(number(take(8))).unwrap();
        records.push((u64::from_str_radix(&key, 16).unwrap(), take(len)));
    }
}

/// Names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A path in a node's folder.
pub(crate) fn at(node: &NodeProcess, name: &str) -> PathBuf {
    node.dir().join(name)
}
