//! What a start takes, and what stops it. Source: spec `node` 4, 5, 12.4.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use dht_testkit::{NodeSettings, free_port, golden_dump_names, legacy, testdata, wait_for};

use crate::support::{
    Instance, Program, at, credentials, exe, lines_of, log_lines, names, put, read, wait_for_line,
};

/// Number of CAP_IPC_LOCK in the capability sets of /proc.
const CAP_IPC_LOCK: u32 = 14;
/// A user without rights.
const NOBODY: u32 = 65_534;

#[test]
fn a_second_instance_is_refused_and_does_no_harm() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default().with("PidLock", "path", "etc/pid.lock"));
    let other_port = format!("Server.port={}", free_port());
    let ended = instance.run(&["-c", "etc/config.ini", "-O", &other_port]);
    assert_eq!(ended.code(), Some(1));
    let text = "Couldn't lock the pid lock file 'etc/pid.lock'. Probably another instance of the \
                application is running.";
    assert!(ended.stderr.starts_with(text), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("It is process {}.", node.pid())), "{}", ended.stderr);
    assert_eq!(instance.read("etc/pid.lock"), format!("{}\n", node.pid()), "unchanged");
    assert!(instance.exists("dhtnode.socket"), "the first one's sockets stay");
    assert!(put(&mut node.connect(), "ch", 1, b"served"), "the first one goes on");
    assert_eq!(read(&at(&node, "log/version.log")).lines().count(), 1, "the lock comes first");
    assert!(node.stop().success());
    assert!(!instance.exists("etc/pid.lock"));
}

#[test]
fn a_pid_file_that_a_crash_left_is_no_obstacle() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("PidLock", "path", "etc/pid.lock");
    let node = instance.node(&settings);
    let (left, mode) = (node.pid(), at(&node, "etc/pid.lock").metadata().unwrap());
    assert_eq!(mode.permissions().mode() & 0o777 & !0o644, 0, "mode 0644 without the umask");
    node.kill();
    assert_eq!(instance.read("etc/pid.lock"), format!("{left}\n"));
    assert!(instance.exists("dhtnode.socket"), "left as well");
    instance.write("etc/pid.lock", "a longer text than any pid has\n");
    let node = instance.node(&settings);
    assert_eq!(instance.read("etc/pid.lock"), format!("{}\n", node.pid()));
    wait_for_line(
        &at(&node, "log/root.log"),
        "Warn [dht_daemon.command_socket] - Deleted existing socket",
    );
    assert!(node.stop().success());
}

#[test]
fn a_taken_port_is_told_with_exit_code_1() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let others = ["Server.unix_socket_path=other", "Server.data_dir=other_data"];
    let ended = instance.run(&["-c", "etc/config.ini", "-O", others[0], "-O", others[1]]);
    assert_eq!(ended.code(), Some(1));
    let text = format!("[Server] address, port: cannot listen on {}: ", node.address());
    assert!(ended.stderr.starts_with(&text), "{}", ended.stderr);
    assert!(!instance.exists("other"));
    assert!(node.stop().success());
}

#[test]
fn two_nodes_do_not_share_a_data_directory() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let other_port = format!("Server.port={}", free_port());
    let ended = instance.run(&["-c", "etc/config.ini", "-O", &other_port]);
    assert_eq!(ended.code(), Some(1));
    let text = "[Server] data_dir: 'data' is in use by another node.";
    assert!(ended.stderr.starts_with(text), "{}", ended.stderr);
    assert!(instance.exists("dhtnode.socket"), "the first one's socket stays");
    node.kill();
    let node = instance.node(&NodeSettings::default());
    assert!(node.stop().success(), "a crash leaves no lock");
}

#[test]
fn a_start_without_a_config_file_keeps_everything_in_the_data_folder() {
    let instance = Instance::new();
    fs::remove_dir_all(instance.path().join("etc")).unwrap();
    let port = free_port();
    let mut program = instance.spawn(&["-O", &format!("Server.port={port}")]);
    assert!(program.listens(port));
    wait_for("the command socket", || instance.exists("data/dhtnode.socket").then_some(()));
    program.signal("INT");
    let ended = program.ended();
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    let starting = "Info [dhtnode.main] - Starting DHT node --------------------------------\n";
    assert!(ended.stdout.contains(starting), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("Listening on 127.0.0.1:{port}")), "{}", ended.stdout);
    assert_eq!(names(instance.path()), ["data"]);
    assert_eq!(names(&instance.path().join("data")), ["changes", "deleted"]);
}

#[test]
fn dumps_of_the_original_are_loaded_and_written_again() {
    let instance = Instance::new();
    fs::create_dir(instance.path().join("data")).unwrap();
    let dumps = golden_dump_names();
    for name in &dumps {
        let file = format!("tcm/{name}.tcm");
        fs::copy(testdata(&file), instance.path().join(format!("data/{name}.tcm"))).unwrap();
    }
    let node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    peer.send(&legacy::get_channels());
    assert_eq!(peer.receive_u32(), legacy::status::OK);
    let mut channels: Vec<String> = std::iter::from_fn(|| Some(peer.receive_array()))
        .take_while(|name| !name.is_empty())
        .map(|name| String::from_utf8(name).unwrap())
        .collect();
    channels.sort();
    let mut expected: Vec<String> = dumps.iter().map(|name| name.to_string()).collect();
    expected.sort();
    assert_eq!(channels, expected);
    let root = at(&node, "log/root.log");
    assert!(node.stop().success());
    let lines = lines_of(&root, "dhtnode.storage.DumpManager");
    for name in expected {
        for (line, behind) in [
            (format!("Info Loading channel '{name}' from disk"), ""),
            (format!("Trace Loaded channel '{name}' in "), "s"),
            (format!("Info Finished loading channel '{name}' from disk, took "), " in channel"),
            (format!("Info Dumping channel '{name}' to disk"), ""),
            (format!("Trace Dumped channel '{name}' in "), "s"),
            (format!("Info Finished dumping channel '{name}' to disk, took "), " in channel"),
        ] {
            let is_it = |found: &&String| found.starts_with(&line) && found.ends_with(behind);
            assert_eq!(lines.iter().filter(is_it).count(), 1, "{line}");
        }
    }
}

#[test]
fn a_truncated_dump_stops_the_start_and_is_not_touched() {
    let instance = Instance::with_config(&NodeSettings::default().config(free_port()));
    fs::create_dir(instance.path().join("data")).unwrap();
    let dump = fs::read(testdata("tcm/sizes.tcm")).unwrap();
    let path = instance.path().join("data/cut.tcm");
    fs::write(&path, &dump[..1000]).unwrap();
    let ended = instance.run(&["-c", "etc/config.ini"]);
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("dump file 'data/cut.tcm' is damaged: "), "{}", ended.stderr);
    let log = log_lines(&instance.path().join("log/root.log"));
    let last = format!("Fatal [dhtnode.main] - {}", ended.stderr.trim_end());
    assert_eq!(log.last(), Some(&last), "told once");
    assert_eq!(fs::read(&path).unwrap(), &dump[..1000]);
    assert!(!instance.exists("dhtnode.socket"));
}

#[test]
fn records_out_of_range_are_treated_as_configured() {
    let instance = Instance::new();
    let port = free_port();
    fs::create_dir(instance.path().join("data")).unwrap();
    fs::copy(testdata("tcm/one.tcm"), instance.path().join("data/one.tcm")).unwrap();
    let empty = NodeSettings::default().with("Server", "minval", "0xffffffffffffffff").with(
        "Server",
        "maxval",
        "0x0000000000000000",
    );
    let fatal = empty.clone().with("Options_Memory", "allow_out_of_range", "fatal");
    instance.write("etc/config.ini", &fatal.config(port));
    let ended = instance.run(&["-c", "etc/config.ini"]);
    assert_eq!(ended.code(), Some(1));
    let log = lines_of(&instance.path().join("log/root.log"), "dhtnode.storage.DumpManager");
    let begin = "Fatal Encountered out-of-range key in channel 'one': ";
    let rejected = |line: &String| line.starts_with(begin) && line.ends_with(" -- rejected");
    assert!(log.iter().any(rejected), "{log:?}");
    let node = instance.node(&empty);
    let log = lines_of(&at(&node, "log/root.log"), "dhtnode.storage.DumpManager");
    let begin = "Trace Encountered out-of-range key in channel 'one': ";
    let loaded = |line: &String| line.starts_with(begin) && line.ends_with(" -- loaded");
    assert!(log.iter().any(loaded), "{log:?}");
    assert!(log.contains(&"Warn Found 1 out-of-range keys (100%) in channel 'one'".to_owned()));
    assert!(node.stop().success());
}

/// Whether this process may lock memory without a limit.
fn may_lock_memory() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> CAP_IPC_LOCK & 1 == 1
}

#[test]
fn lock_memory_keeps_the_process_in_memory() {
    if !may_lock_memory() {
        eprintln!("skipped: this needs CAP_IPC_LOCK");
        return;
    }
    let instance = Instance::new();
    let node =
        instance.node(&NodeSettings::default().with("Options_Memory", "lock_memory", "true"));
    assert!(put(&mut node.connect(), "ch", 1, b"x"));
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
    assert_ne!(locked, "0 kB");
    assert!(node.stop().success());
}

#[test]
fn memory_that_cannot_be_locked_stops_the_start() {
    for (limit_kib, problem) in [("0", "errno=1, "), ("64", "errno=12, ")] {
        let settings = NodeSettings::default().with("Options_Memory", "lock_memory", "true");
        let instance = Instance::with_config(&settings.config(free_port()));
        instance.write("etc/credentials", &credentials(&["admin"]));
        // A folder and a program that a user without rights can use.
        let program = instance.path().join("dhtnode");
        fs::copy(exe(), &program).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -l $0 && exec ./dhtnode -c etc/config.ini", limit_kib]);
        if may_lock_memory() {
            for name in ["", "etc", "etc/config.ini", "etc/credentials", "dhtnode"] {
                chown(instance.path().join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let ended = Program::spawn(instance.path(), command).ended();
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        let begin = "Error when attempting to lock memory: ";
        assert!(ended.stderr.starts_with(begin), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!(" ({problem}'")), "{}", ended.stderr);
        let log = log_lines(&instance.path().join("log/root.log"));
        assert_eq!(log, [format!("Fatal [dhtnode.main] - {}", ended.stderr.trim_end())]);
        assert!(!instance.exists("data"), "nothing was loaded");
    }
}
