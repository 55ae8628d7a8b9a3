use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use dht_testkit::for_seeds;

use super::*;
use crate::args::tests::DEMO;
use crate::log::LogConfig;

/// The replies to `bytes`, given in pieces; a command is answered `<name|arguments>`.
fn replies(pieces: &[&[u8]]) -> String {
    let mut session = CommandSession::default();
    let mut dispatch = |name: &str, arguments: &str| format!("<{name}|{arguments}>");
    let bytes: Vec<u8> =
        pieces.iter().flat_map(|piece| session.receive(piece, &mut dispatch)).collect();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn a_line_is_a_word_and_arguments() {
    let cases = [
        ("list\n", "<list|>"),
        ("  reopen_files  a  b \r\n", "<reopen_files|a  b>"),
        ("\n  \n\r\n", ""),
        ("one\ntwo x\nthree", "<one|><two|x>"),
    ];
    for (text, expected) in cases {
        assert_eq!(replies(&[text.as_bytes()]), expected, "{text:?}");
    }
}

#[test]
fn lines_may_arrive_in_any_number_of_pieces() {
    for_seeds(100, |rng| {
        let text: &[u8] = b"update-credentials\n\nreopen_files log/root.log x\nlist\n";
        let (mut pieces, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rng.within(1..rest.len() + 1));
            pieces.push(piece);
            rest = tail;
        }
        assert_eq!(replies(&pieces), replies(&[text]));
    });
    assert_eq!(replies(&[b"l", b"i", b"s", b"t", b"\n"]), "<list|>");
}

#[test]
fn an_endless_line_is_answered_once_and_skipped() {
    let long = vec![b'x'; COMMAND_LINE_BYTES_MAX];
    assert_eq!(replies(&[&long, b"\n"]).len(), COMMAND_LINE_BYTES_MAX + 3, "just short enough");
    assert_eq!(replies(&[&long, b"y", &long, b"z\nlist\n"]), format!("{NOT_FOUND}<list|>"));
    assert_eq!(replies(&[&long, b"y\n"]), NOT_FOUND);
}

#[test]
fn unknown_words_are_not_found() {
    let mut count = 0;
    let mut commands = Commands::new().with("count", |arguments| {
        count += 1;
        format!("{count} {arguments}\n")
    });
    assert_eq!(commands.dispatch("count", "x"), "1 x\n");
    assert_eq!(commands.dispatch("count", ""), "2 \n");
    assert_eq!(commands.dispatch("Count", ""), "Command not found\n");
}

#[test]
fn standard_commands_answer_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(&LogConfig::default(), "demo").unwrap();
    let path = folder.path().join("a.log");
    logs.open_file(&path).unwrap();
    let path = path.to_str().unwrap();
    let mut commands = Commands::new().with_standard(&DEMO, &logs);
    let mut reopen = |arguments: &str| commands.dispatch("reopen_files", arguments);
    assert_eq!(reopen(""), "ERROR: missing name of the file to rotate.\n");
    assert_eq!(reopen(path), "ACK\n");
    assert_eq!(reopen(&format!("{path} x")), "ERROR: Could not rotate the file 'x'\n");
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::write(folder.path(), "in the way").unwrap();
    assert_eq!(reopen(path), format!("ERROR: Could not rotate the file '{path}'\n"));
    std::fs::remove_file(folder.path()).unwrap();
    assert_eq!(commands.dispatch("show_version", ""), "demo version 1.2.3\n");
}

#[test]
fn a_bound_socket_replaces_a_stale_one_and_vanishes_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "stale");
    let bound = CommandListener::bind("S.path", &path, None).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o775, "umask 002");
    let mut client = UnixStream::connect(&path).unwrap();
    let (mut server, _) = bound.listener().accept().unwrap();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert_eq!(bound.listener().accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(bound);
    assert!(!path.exists());
    let bound = CommandListener::bind("S.path", &path, Some(0o640)).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
    let second = CommandListener::bind("S.path", &path, None).unwrap();
    drop(bound);
    assert!(path.exists(), "another's socket stays");
    drop(second);
}

#[test]
fn a_file_of_any_kind_gives_way_to_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("demo.socket"), folder.path().join("target"));
    std::fs::write(&target, "stays").unwrap();
    let leftovers: [&dyn Fn(); 3] = [
        &|| std::fs::write(&path, "leftover").unwrap(),
        &|| std::os::unix::fs::symlink(&target, &path).unwrap(),
        &|| std::os::unix::fs::symlink("/nonexistent/target", &path).unwrap(),
    ];
    for leave in leftovers {
        leave();
        let bound = CommandListener::bind("S.path", &path, None).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(path.symlink_metadata().is_err(), "removed with its owner");
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "stays");
}

#[test]
fn impossible_paths_name_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let long = PathBuf::from("x".repeat(108));
    let error = CommandListener::bind("S.path", &long, None).unwrap_err().to_string();
    assert!(error.starts_with("S.path = xxx") && error.contains("shorter than 108 bytes"));
    let error = CommandListener::bind("S.path", folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("cannot remove what is in the place of the unix socket: "), "{error}");
    assert!(folder.path().is_dir());
    let missing = folder.path().join("no/such/folder");
    let error = CommandListener::bind("S.path", &missing, None).unwrap_err().to_string();
    assert!(error.contains("cannot bind the unix socket: No such file"), "{error}");
}

#[test]
fn the_socket_of_the_framework_is_off_by_default() {
    let config = |text: &str| {
        UnixSocketConfig::from_ini(&Ini::parse(text.as_bytes()).unwrap(), &mut Vec::new())
    };
    assert_eq!(config(""), Ok(UnixSocketConfig::default()));
    let found = config("[UNIX_SOCKET]\npath = x.socket\nmode = 0660").unwrap();
    assert_eq!(found, UnixSocketConfig { path: Some("x.socket".into()), mode: Some(0o660) });
    assert_eq!(config("[UNIX_SOCKET]\nmode = 0o600").unwrap().mode, Some(0o600));
    for mode in ["rw", "+660", "1777", "89"] {
        let error = config(&format!("[UNIX_SOCKET]\nmode = {mode}")).unwrap_err();
        assert_eq!(error.problem, format!("Invalid mode '{mode}' of the unix socket"));
    }
}
