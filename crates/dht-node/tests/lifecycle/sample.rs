//! The original's sample config in the original's layout of an instance, unchanged but for the
//! port, which has to be free. Source: spec `node` 3.5, 7.

use dht_testkit::free_port;

use crate::support::{Instance, Program, log_lines, names, wait_for_line, without_time};

/// How often another port is tried when somebody else was faster.
pub(crate) const PORT_TRIES: usize = 20;

pub(crate) const SAMPLE: &str = "\
; Sample configuration for a DHT node.

[Server]

// Server address.
address = 0.0.0.0

; Listen port.
port = PORT

; Minimum and maximum hash.
minval = 0x0000000000000000
maxval = 0xffffffffffffffff

; Directory for dump files.
data_dir = data

connection_limit = 5000

unix_socket_path = dhtnode.socket


[Performance]
write_flush_ms = 250


[PidLock]
path = etc/pid.lock


[Options_Memory]

; 0 := no size limit
size_limit = 0

disable_direct_io = false

lock_memory = false

allow_out_of_range = load

bnum = 0

batch_size = 65535


[STATS]
file_name = log/stats.log


[LOG.Root]
console   = false
file      = log/root.log
level     = trace
propagate = true
;file_count    = 10
;max_file_size = 500000

;[LOG.ocean.util.Main.version]
;file = log/version.log
";

/// Starts the sample on a free port, with further words.
fn start(instance: &Instance, args: &[&str]) -> Program {
    for _ in 0..PORT_TRIES {
        let port = free_port();
        instance.write("etc/config.ini", &SAMPLE.replace("PORT", &port.to_string()));
        let mut program = instance.spawn(&[&["--config=etc/config.ini"], args].concat());
        if program.listens(port) {
            return program;
        }
        let stderr = program.ended().stderr;
        assert!(stderr.contains("cannot listen on"), "{stderr}");
    }
    panic!("no free port in {PORT_TRIES} tries");
}

#[test]
fn the_sample_runs_unchanged_and_writes_what_the_original_writes() {
    let instance = Instance::new();
    let program = start(&instance, &[]);
    wait_for_line(
        &instance.path().join("log/root.log"),
        "Info [dhtnode.main] - Starting event loop",
    );
    // The log folder was missing, and was made.
    assert_eq!(names(instance.path()), ["data", "dhtnode.socket", "etc", "log"]);
    assert_eq!(names(&instance.path().join("log")), ["root.log", "stats.log", "version.log"]);
    assert_eq!(names(&instance.path().join("etc")), ["config.ini", "credentials", "pid.lock"]);
    assert_eq!(names(&instance.path().join("data")), ["changes", "deleted"]);
    assert_eq!(instance.read("etc/pid.lock"), format!("{}\n", program.pid()));
    program.signal("TERM");
    let ended = program.ended();
    assert_eq!((ended.code(), ended.stdout, ended.stderr), (Some(0), String::new(), String::new()));
    assert_eq!(names(instance.path()), ["data", "etc", "log"], "the socket is gone");
    assert_eq!(names(&instance.path().join("etc")), ["config.ini", "credentials"]);

    let text = |line: &str| -> String {
        // Durations are not the same each time.
        let (text, took) = line.split_once(", took ").unwrap_or((line, ""));
        assert!(took.is_empty() || took.ends_with('s') && took[..took.len() - 1].contains('.'));
        text.to_owned()
    };
    let lines: Vec<String> =
        log_lines(&instance.path().join("log/root.log")).iter().map(|line| text(line)).collect();
    let expected = "\
Info [dhtnode.storage.MemoryStorageChannels] - Scanning data for memory files
Info [dhtnode.storage.MemoryStorageChannels] - Finished scanning data for memory files
Info [dhtnode.main] - Starting DHT node --------------------------------
Info [dhtnode.main] - Starting event loop
Info [dhtnode.main] - SIGINT handler. Shutting down.
Trace [dhtnode.main] - SIGINT handler: shutting down periodics
Trace [dhtnode.main] - SIGINT handler: shutting down periodics finished
Trace [dhtnode.main] - SIGINT handler: stopping node listener
Trace [dhtnode.main] - SIGINT handler: stopping node listener finished
Trace [dhtnode.main] - SIGINT handler: shutting down node
Info [dhtnode.storage.MemoryStorageChannels] - Closing memory channels
Info [dhtnode.storage.MemoryStorageChannels] - Finished closing memory channels
Trace [dhtnode.main] - SIGINT handler: shutting down node finished
Trace [dhtnode.main] - SIGINT handler: shutting down epoll
Trace [dhtnode.main] - SIGINT handler: shutting down epoll finished
Trace [dhtnode.main] - Finished SIGINT handler
Info [dhtnode.main] - Event loop exited";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn each_start_writes_one_version_line() {
    let instance = Instance::new();
    for starts in 1..=2 {
        let program = start(&instance, &["-O", "Performance.workers=1"]);
        program.signal("INT");
        assert_eq!(program.ended().code(), Some(0));
        let log = instance.read("log/version.log");
        assert_eq!(log.lines().count(), starts, "{log}");
        for line in log.lines() {
            let begin = format!(
                "Info [ocean.util.app.ext.VersionArgsExt] - dhtnode version {}, build_author=",
                env!("CARGO_PKG_VERSION")
            );
            let line = without_time(line, 2);
            assert!(line.starts_with(&begin) && line.contains(", compiler="), "{line}");
        }
    }
    assert!(!instance.read("log/root.log").contains("dhtnode version"), "Root has a file too");
}

#[test]
fn the_version_line_goes_where_the_config_says() {
    let instance = Instance::new();
    let program = start(&instance, &["-O", "LOG.ocean.util.app.ext.VersionArgsExt.file=v.log"]);
    program.signal("INT");
    assert_eq!(program.ended().code(), Some(0));
    assert!(instance.read("v.log").contains(" - dhtnode version "));
    assert!(!instance.exists("log/version.log"));
    let program = start(&instance, &["-O", "VERSION.default_version_log = off"]);
    program.signal("INT");
    assert_eq!(program.ended().code(), Some(0));
    assert!(!instance.exists("log/version.log"));
    assert!(instance.read("log/root.log").contains("VersionArgsExt] - dhtnode version "));
}

#[test]
fn the_shipped_sample_runs_too() {
    let instance = Instance::new();
    let shipped = crate::support::read(std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../etc/config.ini"
    )));
    instance.write("etc/config.ini", &shipped);
    for _ in 0..PORT_TRIES {
        let port = free_port();
        let words = ["-c", "etc/config.ini", "-O", &format!("Server.port={port}")];
        let mut program = instance.spawn(&words);
        if program.listens(port) {
            program.signal("QUIT");
            let ended = program.ended();
            assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
            return;
        }
        let stderr = program.ended().stderr;
        assert!(stderr.contains("cannot listen on"), "{stderr}");
    }
    panic!("no free port in {PORT_TRIES} tries");
}
