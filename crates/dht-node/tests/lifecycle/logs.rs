//! What is written to the log files while a node runs, and their rotation. Source: spec `node` 8,
//! 10.

use std::fs;

use dht_testkit::{NodeProcess, NodeSettings, wait_for};

use crate::support::{Instance, at, lines_of, log_lines, put, wait_for_line};

const STARTED: &str = "Info [dhtnode.main] - Starting event loop";

fn rename(node: &NodeProcess, name: &str) {
    fs::rename(at(node, name), at(node, &format!("{name}.1"))).unwrap();
}

#[test]
fn sighup_reopens_every_log_and_leaves_the_config_alone() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default().with("STATS", "interval", "1").with(
        "LOG.dhtnode.storage",
        "file",
        "log/storage.log",
    ));
    let files = ["root.log", "stats.log", "version.log", "storage.log"].map(|n| format!("log/{n}"));
    for file in &files {
        rename(&node, file);
    }
    instance.write("etc/config.ini", "nonsense");
    node.signal("HUP");
    wait_for("all files to be there again", || {
        files.iter().all(|file| at(&node, file).exists()).then_some(())
    });
    wait_for("a line of stats", || {
        (!fs::read_to_string(at(&node, "log/stats.log")).unwrap().is_empty()).then_some(())
    });
    assert!(put(&mut node.connect(), "ch", 1, b"x"), "it goes on");
    let [root, storage] = [at(&node, "log/root.log"), at(&node, "log/storage.log")];
    let [old_root, old_storage] = [at(&node, "log/root.log.1"), at(&node, "log/storage.log.1")];
    assert!(node.stop().success());
    assert_eq!(log_lines(&old_root).last().map(String::as_str), Some(STARTED));
    let first = "Info [dhtnode.main] - SIGINT handler. Shutting down.";
    assert_eq!(log_lines(&root).first().map(String::as_str), Some(first));
    assert_eq!(log_lines(&old_storage).len(), 2, "scanning");
    assert!(log_lines(&storage).iter().any(|line| line.contains("Dumping channel 'ch'")));
}

/// What the levels are for: an operator leaves `trace` on, as the sample does.
#[test]
fn requests_leave_no_trace_in_the_log() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let before = log_lines(&at(&node, "log/root.log"));
    let mut peer = node.connect();
    for key in 0..500 {
        assert!(put(&mut peer, "ch", key, b"value"));
    }
    for _ in 0..20 {
        assert!(put(&mut node.connect(), "ch", 1, b"value"), "connections neither");
    }
    assert_eq!(log_lines(&at(&node, "log/root.log")), before);
    assert!(node.stop().success());
}

#[test]
fn the_level_decides_what_is_written() {
    for (level, expected) in [
        ("info", &["Info Starting event loop", "Info Event loop exited"][..]),
        ("warn", &[]),
        ("off", &[]),
    ] {
        let instance = Instance::new();
        let node = instance.node(&NodeSettings::default().with("LOG.Root", "level", level));
        let root = at(&node, "log/root.log");
        assert!(node.stop().success());
        let lines = lines_of(&root, "dhtnode.main");
        for line in expected {
            assert!(lines.iter().any(|found| found == line), "{lines:?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("Trace")), "{lines:?}");
        assert!(!expected.is_empty() || lines.is_empty(), "{lines:?}");
    }
}

#[test]
fn the_console_gets_warnings_on_stderr_and_the_rest_on_stdout() {
    let instance = Instance::new();
    instance.write("dhtnode.socket", "left by somebody");
    let settings = NodeSettings::default().with("LOG.Root", "console", "true");
    let port = dht_testkit::free_port();
    instance.write("etc/config.ini", &settings.config(port));
    let mut program = instance.spawn(&["-c", "etc/config.ini"]);
    assert!(program.listens(port));
    wait_for_line(&instance.path().join("log/root.log"), STARTED);
    program.signal("TERM");
    let ended = program.ended();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stderr, "Warn [dht_daemon.command_socket] - Deleted existing socket\n");
    let begin = "Info [ocean.util.app.ext.VersionArgsExt] - dhtnode version ";
    assert!(ended.stdout.starts_with(begin), "it climbs to Root's console: {}", ended.stdout);
    assert!(ended.stdout.ends_with("Info [dhtnode.main] - Event loop exited\n"));
}
