//! The two command sockets. Source: spec `node` 9.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use dht_testkit::NodeSettings;

use crate::support::{CommandPeer, Instance, at, credentials, lines_of, put};

/// Sends all of it and takes what comes until the node closes.
fn ask(path: &Path, text: &str) -> String {
    let mut peer = CommandPeer::connect(path);
    peer.send(text);
    peer.rest()
}

#[test]
fn credentials_are_listed_and_read_again() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let path = at(&node, "dhtnode.socket");
    let listed = |names: &str| format!("Registered credentials:\n{names}");
    assert_eq!(ask(&path, "list-credentials\n"), listed("admin\nneotest\n"));

    instance.write("etc/credentials", &credentials(&["zoe", "adam"]));
    assert_eq!(ask(&path, "list-credentials\n"), listed("admin\nneotest\n"), "not read yet");
    assert_eq!(ask(&path, "update-credentials\n"), "Credentials updated.\n");
    assert_eq!(ask(&path, "list-credentials\n"), listed("adam\nzoe\n"));

    instance.write("etc/credentials", &format!("{}broken:12\n", credentials(&["new"])));
    let error = "Error updating credentials: Invalid key length 2 (should be 256) in registry file \
                 etc/credentials at line 2\n";
    assert_eq!(ask(&path, "update-credentials\n"), error);
    assert_eq!(ask(&path, "list-credentials\n"), listed("adam\nzoe\n"), "the old ones hold");
    fs::remove_file(at(&node, "etc/credentials")).unwrap();
    let error = ask(&path, "update-credentials\n");
    assert!(error.starts_with("Error updating credentials: ") && error.ends_with('\n'), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");

    instance.write("etc/credentials", "");
    assert_eq!(
        ask(&path, "update-credentials\nlist-credentials\n"),
        "Credentials updated.\n\
         Registered credentials:\n"
    );
    assert!(node.stop().success());
    assert!(!path.exists());
}

#[test]
fn a_connection_takes_any_number_of_lines_in_any_pieces() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let path = at(&node, "dhtnode.socket");
    let list = "Registered credentials:\nadmin\nneotest\n";
    let no_arguments = "Error: No command arguments expected\n";
    let not_found = "Command not found\n";
    for (text, reply) in [
        ("list-credentials x\n", no_arguments.to_owned()),
        ("update-credentials \t now \n", no_arguments.to_owned()),
        ("list-credentials \r\n", list.to_owned()),
        ("\n\n  \n", String::new()),
        ("LIST-CREDENTIALS\n", not_found.to_owned()),
        ("list-credential\n", not_found.to_owned()),
        ("show_version\nreopen_files log/root.log\n", not_found.repeat(2)),
        ("nonsense with arguments\nlist-credentials\n", format!("{not_found}{list}")),
        ("list-credentials", String::new()), // No line end, no command.
        ("\u{fc}\0\n", not_found.to_owned()),
    ] {
        assert_eq!(ask(&path, text), reply, "{text:?}");
    }
    // Each byte is a piece of its own: the node has read it before the next one is sent, because
    // it has answered another connection since.
    let mut peer = CommandPeer::connect(&path);
    for byte in ["l", "ist-", "cred", "entials", "\nupdate-", "credentials", "\n"] {
        peer.send(byte);
        assert_eq!(ask(&path, "x\n"), not_found);
    }
    peer.expect(&format!("{list}Credentials updated.\n"));
    peer.send("x\n"); // It is still open.
    peer.expect(not_found);
    assert_eq!(peer.rest(), "");
    assert!(node.stop().success());
}

#[test]
fn a_file_of_any_kind_at_the_path_gives_way() {
    let instance = Instance::new();
    let path = instance.path().join("dhtnode.socket");
    let leave: [&dyn Fn(); 3] = [
        &|| fs::write(&path, "a regular file").unwrap(),
        &|| std::os::unix::fs::symlink("etc/credentials", &path).unwrap(),
        &|| drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
    ];
    for (count, leave) in (1..).zip(leave) {
        leave();
        let node = instance.node(&NodeSettings::default());
        let metadata = path.symlink_metadata().unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.mode() & 0o777, 0o775, "umask 002");
        let warnings = lines_of(&at(&node, "log/root.log"), "dht_daemon.command_socket");
        assert_eq!(warnings, vec!["Warn Deleted existing socket"; count]);
        assert!(ask(&path, "list-credentials\n").starts_with("Registered credentials:\n"));
        assert!(node.stop().success());
        assert!(path.symlink_metadata().is_err(), "unlinked");
    }
    assert!(instance.read("etc/credentials").starts_with("admin:"), "the link's target stays");
    fs::create_dir(&path).unwrap();
    let ended = instance.run(&["-c", "etc/config.ini"]);
    assert_eq!(ended.code(), Some(1));
    let begin = "[Server] unix_socket_path = dhtnode.socket: cannot remove ";
    assert!(ended.stderr.starts_with(begin), "{}", ended.stderr);
}

#[test]
fn the_second_socket_rotates_logs_and_tells_the_version() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("UNIX_SOCKET", "path", "commands.socket").with(
        "UNIX_SOCKET",
        "mode",
        "0600",
    );
    let node = instance.node(&settings);
    let path = at(&node, "commands.socket");
    assert_eq!(path.symlink_metadata().unwrap().mode() & 0o777, 0o600);
    let version = format!("dhtnode version {}\n", env!("CARGO_PKG_VERSION"));
    let absolute = at(&node, "log/root.log");
    for name in ["root.log", "stats.log"] {
        fs::rename(at(&node, &format!("log/{name}")), at(&node, &format!("log/{name}.1"))).unwrap();
    }
    for (text, reply) in [
        ("show_version\n", version.as_str()),
        ("reopen_files\n", "ERROR: missing name of the file to rotate.\n"),
        ("reopen_files log/other.log\n", "ERROR: Could not rotate the file 'log/other.log'\n"),
        ("reopen_files log/stats.log x\n", "ERROR: Could not rotate the file 'x'\n"),
        (&format!("reopen_files {} log/stats.log\n", absolute.display()), "ACK\n"),
        ("list-credentials\n", "Command not found\n"),
    ] {
        assert_eq!(ask(&path, text), reply, "{text:?}");
    }
    assert!(instance.exists("log/root.log") && instance.exists("log/stats.log"));
    assert!(node.stop().success());
    assert!(!instance.exists("commands.socket"));
    let last = "Info Event loop exited".to_owned();
    assert_eq!(lines_of(&absolute, "dhtnode.main").last(), Some(&last), "goes to the new file");
}

#[test]
fn peers_that_vanish_or_never_read_do_no_harm() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let path = at(&node, "dhtnode.socket");
    let mut silent = CommandPeer::connect(&path);
    for _ in 0..20 {
        let mut peer = CommandPeer::connect(&path);
        peer.send(&"list-credentials\n".repeat(100));
        drop(peer); // Without reading: the node's writes fail.
    }
    silent.send("list-cred");
    assert_eq!(ask(&path, &"x".repeat(5000)), "Command not found\n", "a line has a limit");
    assert_eq!(ask(&path, "x\n"), "Command not found\n");
    assert!(put(&mut node.connect(), "ch", 1, b"x"));
    silent.send("entials\n");
    silent.expect("Registered credentials:\n");
    assert!(node.stop().success(), "open sessions do not keep it");
}
