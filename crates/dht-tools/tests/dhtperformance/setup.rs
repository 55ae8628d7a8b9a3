//! Nodes, and the program under test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use dht_testkit::{NodeProcess, NodeSettings};
use serde_json::Value;
use tempfile::TempDir;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Nodes, and a folder with their nodes files.
pub(crate) struct Bench {
    pub(crate) nodes: Vec<NodeProcess>,
    pub(crate) dir: TempDir,
}

impl Bench {
    /// One node with the whole hash space.
    pub(crate) fn start() -> Self {
        Self::start_with(&[("0x0000000000000000", "0xffffffffffffffff")])
    }

    /// A node for each range.
    pub(crate) fn start_with(ranges: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let this = std::env::current_exe().expect("the test program itself");
        let start = |(number, (min, max)): (usize, &(&str, &str))| {
            let folder = dir.path().join(number.to_string());
            std::fs::create_dir(&folder).expect("our folder");
            let settings = NodeSettings::default();
            let settings = settings.with("Server", "minval", min).with("Server", "maxval", max);
            NodeProcess::start(&this, &folder, &settings)
        };
        let nodes: Vec<_> = ranges.iter().enumerate().map(start).collect();
        let bench = Self { nodes, dir };
        let addresses = |add| {
            let lines = bench
                .nodes
                .iter()
                .map(|node: &NodeProcess| format!("127.0.0.1:{}\n", node.address().port() + add));
            lines.collect::<String>()
        };
        std::fs::write(bench.file("nodes"), addresses(0)).expect("our folder");
        std::fs::write(bench.file("neo"), addresses(100)).expect("our folder");
        for digit in ["0", "1"] {
            let line = format!("admin:{}\n", digit.repeat(256));
            std::fs::write(bench.file(&format!("admin.{digit}")), line).expect("our folder");
        }
        bench
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the program with the nodes' file; the words of `line` are separated by blanks.
    pub(crate) fn spawn(&self, line: &str) -> Child {
        spawn(&format!("-S {} {line}", self.file("nodes").display()))
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        finish(self.spawn(line))
    }

    /// The same over neo, as the client that may do everything.
    pub(crate) fn run_neo(&self, line: &str) -> Ran {
        let (nodes, auth) = (self.file("neo"), self.file("admin.0"));
        run(&format!("-S {} --auth {} {line}", nodes.display(), auth.display()))
    }

    /// The JSON of each cycle; standard output has nothing else.
    pub(crate) fn json(&self, line: &str) -> Vec<Value> {
        objects(&self.run(&format!("{line} --json -")))
    }
}

/// The lines of a run that went well.
pub(crate) fn objects(ran: &Ran) -> Vec<Value> {
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let objects = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    objects.collect()
}

/// A number within an object, without its fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no sign, not large")]
pub(crate) fn number(object: &Value, pointer: &str) -> u64 {
    let found = object.pointer(pointer).and_then(Value::as_f64);
    let found = found.unwrap_or_else(|| panic!("no number {pointer} in {object}"));
    found as u64
}

pub(crate) fn run(line: &str) -> Ran {
    finish(spawn(line))
}

fn spawn(line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_dhtperformance"))
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built it")
}

pub(crate) fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().expect("our child");
    Ran {
        exit: output.status.code().expect("it is not killed"),
        stdout: String::from_utf8(output.stdout).expect("every form is text"),
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}
