//! `tcmcli` as a process, on the dumps that the original node wrote and on damaged ones.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use dht_dump::{Disk, DumpOptions, DumpWriter, OsDisk};
use dht_testkit::{golden_dump, golden_dump_names, testdata};
use dht_types::Key;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    exit: i32,
    stdout: String,
    stderr: String,
}

fn tcmcli(words: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcmcli"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built it");
    // A command that reads no input may be gone by now.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("our child");
    Ran {
        exit: output.status.code().expect("it is not killed"),
        stdout: String::from_utf8(output.stdout).expect("every form is text"),
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}

fn done(stdout: &str) -> Ran {
    Ran { exit: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

fn golden(name: &str) -> String {
    text(&testdata(&format!("tcm/{name}.tcm")))
}

fn text(path: &Path) -> String {
    path.to_str().expect("ASCII").to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("our folder");
    entries
        .map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII"))
        .collect()
}

/// A dump of one record, 1 -> "one", byte by byte.
fn dump_of_one() -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(16_u64.to_le_bytes());
    bytes.extend(b"0000000000000001");
    bytes.extend(3_u64.to_le_bytes());
    bytes.extend(b"one");
    bytes.resize(512, 0);
    bytes
}

#[test]
fn golden_dumps_go_through_both_forms_and_come_back_as_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for name in golden_dump_names() {
        for (read, write) in [("-r", "-w"), ("--read", "--write"), ("--to-json", "--from-json")] {
            let lines = tcmcli(&[read, &golden(&name)], b"");
            assert_eq!((lines.exit, lines.stderr.as_str()), (0, ""), "{name}");
            assert_eq!(lines.stdout.lines().count(), golden_dump(&name).len());
            let copy = dir.path().join(format!("{name}{write}"));
            assert_eq!(tcmcli(&[write, &text(&copy)], lines.stdout.as_bytes()), done(""));
            let original = std::fs::read(golden(&name)).unwrap();
            assert!(std::fs::read(&copy).unwrap() == original, "{name} {write}");
        }
    }
}

#[test]
fn the_lines_are_the_originals() {
    let expected = "0000000000000000:AA==\n\
                    ffffffffffffffff:////////////////////////////////////////////\n\
                    8000000000000000:aMOpbGxvIOS4lueVjAo=\n\
                    000000000000000a:YQ==\n";
    assert_eq!(tcmcli(&["-r", &golden("edges")], b""), done(expected));
    let json = "{\"key\":\"0123456789abcdef\",\"text\":\"hello\",\"value\":\"aGVsbG8=\"}\n";
    assert_eq!(tcmcli(&["--to-json", &golden("one")], b""), done(json));
    assert_eq!(tcmcli(&["-r", &golden("empty")], b""), done(""));
}

#[test]
fn the_last_line_counts_without_its_end_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tcm");
    let lines = b"0000000000000002:dHdv\n0000000000000001:b25l";
    assert_eq!(tcmcli(&["-w", &text(&path)], lines), done(""));
    let read = tcmcli(&["-r", &text(&path)], b"");
    assert_eq!(read, done("0000000000000002:dHdv\n0000000000000001:b25l\n"));
    assert_eq!(names(dir.path()), ["a.tcm"]);
}

#[test]
fn input_that_is_no_record_makes_no_dump() {
    const MESSAGE: &str =
        "Unexpected record format. Only key:value records are supported currently.";
    for line in ["0000000000000001:", ":b25l", "b25l", "", "0000000000000001:b25l\r"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tcm");
        let input = format!("0000000000000002:dHdv\n{line}\n0000000000000003:dHdv\n");
        let ran = tcmcli(&["-w", &text(&path)], input.as_bytes());
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{line:?}");
        let [name] = &names(dir.path())[..] else { panic!("the temporary file only") };
        assert!(name.starts_with("a.tcm") && name.ends_with(".dumping"), "{name}");
        assert_eq!(name.len(), "a.tcmXXXXXX.dumping".len());
        let unfinished = text(&dir.path().join(name));
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert_eq!(lines, [MESSAGE, &format!("It is line 2; {unfinished} is unfinished")]);
    }
}

#[test]
fn json_that_is_no_record_makes_no_dump_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(&dir.path().join("a.tcm"));
    let input = b"{\"key\":\"0000000000000001\",\"text\":\"one\"}\n{\"key\":1}\n";
    let ran = tcmcli(&["--from-json", &path], input);
    let stderr = "line 2: \"key\" must be a text of 16 hex digits\n";
    assert_eq!(ran, Ran { exit: 1, stdout: String::new(), stderr: stderr.to_owned() });
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn wrong_arguments_are_told_in_the_originals_words() {
    let dir = tempfile::tempdir().unwrap();
    let missing = text(&dir.path().join("a.tcm"));
    let there = golden("one");
    for (words, problem) in [
        (&[][..], "Either 'read' (-r) or 'write' (-w) must be specified."),
        (&["-r", &missing], "Specified file path does not exist."),
        (&["--to-json", &missing], "Specified file path does not exist."),
        (&["-w", &there], "Specified file path already exists."),
        (&["--from-json", &there], "Specified file path already exists."),
        (&["-r", &there, "-w", &missing], "argument 'read' conflicts with 'write'"),
        (&["-r"], "argument 'read' expects 1 parameter(s) but has 0"),
        (&["-c", "x"], "unexpected argument 'c'"),
    ] {
        let stderr = format!("{problem}\n\nType tcmcli -h for help\n");
        assert_eq!(tcmcli(words, b""), Ran { exit: 2, stdout: String::new(), stderr }, "{words:?}");
    }
    let version = format!("tcmcli version {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(tcmcli(&["--version"], b""), done(&version));
    assert!(tcmcli(&["-h"], b"").stdout.contains("\n  -w, --write       dump file to make"));
    assert_eq!(tcmcli(&["--build-info"], b"").exit, 0);
}

#[test]
fn raw_keys_are_printed_as_hex_and_bad_ones_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tcm");
    let mut bytes = vec![0; 8];
    for key in [&10_u64.to_le_bytes()[..], b"not sixteen digi", b"000000000000000B"] {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key);
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(b"foo");
    }
    bytes.resize(512, 0);
    std::fs::write(&path, bytes).unwrap();
    let ran = tcmcli(&["-r", &text(&path)], b"");
    assert_eq!(ran.stdout, "000000000000000a:Zm9v\n000000000000000b:Zm9v\n");
    let path = text(&path);
    let stderr = format!(
        "{path}: bad key in the record at offset 35\n\
         {path}: 1 records have no valid key and were left out\n"
    );
    assert_eq!((ran.exit, ran.stderr), (1, stderr));
    let check = tcmcli(&["--check", &path], b"");
    let line = "DAMAGED, 2 records, 70 bytes, 1 bad keys: the key of the record at offset 35 is \
                neither 16 hex digits nor 8 bytes";
    assert_eq!((check.exit, check.stdout), (1, format!("{path}: {line}\n")));
}

#[test]
fn golden_dumps_are_whole() {
    let files: Vec<String> = golden_dump_names().iter().map(|name| golden(name)).collect();
    let mut words = vec!["--check"];
    words.extend(files.iter().map(String::as_str));
    let mut expected = String::new();
    for name in golden_dump_names() {
        let records = golden_dump(&name);
        let bytes: usize = records.iter().map(|record| 32 + record.value_bytes).sum();
        let (file, count) = (golden(&name), records.len());
        writeln!(expected, "{file}: ok, {count} records, {bytes} bytes").unwrap();
    }
    assert_eq!(tcmcli(&words, b""), done(&expected));
}

#[test]
fn every_cut_is_found_and_what_stands_before_it_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tcm");
    let whole = dump_of_one();
    for len in [0, 1, 8, 15, 30, 40, 42, 43, 50] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let check = tcmcli(&["--check", &text(&path)], b"");
        let records = usize::from(len >= 43);
        let begin =
            format!("{}: DAMAGED, {records} records, {} bytes", path.display(), records * 35);
        assert!(check.exit == 1 && check.stdout.starts_with(&begin), "{len}: {check:?}");
        assert!(check.stdout.contains("truncated or damaged: the "), "{len}: {check:?}");
        let read = tcmcli(&["-r", &text(&path)], b"");
        assert_eq!(read.exit, 1);
        assert_eq!(read.stdout, "0000000000000001:b25l\n".repeat(records));
        assert!(read.stderr.contains(" at offset "), "{}", read.stderr);
    }
}

#[test]
fn an_end_marker_in_the_middle_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tcm");
    let mut one = dump_of_one();
    one[8] = 0; // The key's length.
    for (bytes, content) in [
        (one.clone(), 8),
        ([dump_of_one(), vec![0; 512]].concat(), 43),
        (dump_of_one()[..511].to_vec(), 43),
        ([&dump_of_one()[..511], b"x"].concat(), 43),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let check = tcmcli(&["--check", &text(&path)], b"");
        let rest = bytes.len() - content - 8;
        let problem = format!(
            ": the end marker at offset {content} is followed by {rest} bytes that are no padding\n"
        );
        assert!(check.exit == 1 && check.stdout.ends_with(&problem), "{check:?}");
    }
}

#[test]
fn what_a_node_takes_as_it_is_counts_as_whole_but_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(&dir.path().join("a.tcm"));
    let record = |key: u64, text: &str| format!("{{\"key\":\"{key:016x}\",\"text\":\"{text}\"}}\n");
    let lines = [(1, "a"), (2, ""), (1, "b"), (1, "c")].map(|(key, text)| record(key, text));
    assert_eq!(tcmcli(&["--from-json", &path], lines.concat().as_bytes()), done(""));
    let line = format!("{path}: ok, 4 records, 131 bytes, 2 duplicate keys, 1 empty values\n");
    assert_eq!(tcmcli(&["--check", &path], b""), done(&line));
    assert_eq!(tcmcli(&["--check", &path, "no/such/file"], b"").exit, 1);
}

/// A manifest finds what the format cannot tell.
#[test]
fn a_manifest_finds_every_changed_byte() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let options = DumpOptions { direct: false, keep_backup: true };
    for value in [b"old", b"new"] {
        let mut dump =
            DumpWriter::create(&disk, dir.path(), &"ch".parse().unwrap(), options).unwrap();
        dump.record(Key(1), value).unwrap();
        dump.finish().unwrap();
    }
    let dump = text(&dir.path().join("ch.tcm"));
    let backup = format!("{dump}.backup");
    let whole = "ok, 1 records, 35 bytes, with its manifest";
    let both = format!("{dump}: {whole}\n{backup}: {whole}\n");
    assert_eq!(tcmcli(&["--check", &dump, &backup], b""), done(&both));

    // As a medium changes it: the time of change stays.
    let file = std::fs::File::options().write(true).open(&dump).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"w", 41).unwrap();
    file.set_modified(modified).unwrap();
    let check = tcmcli(&["--check", &dump, &backup], b"");
    let damaged = format!(
        "{dump}: DAMAGED, 0 records, 0 bytes, with its manifest: the dump is damaged in the 512 \
         bytes from offset 0 on: "
    );
    assert!(check.exit == 1 && check.stdout.starts_with(&damaged), "{check:?}");
    assert!(check.stdout.ends_with(&format!("{backup}: {whole}\n")), "{check:?}");

    std::fs::copy(&backup, &dump).unwrap();
    let check = tcmcli(&["--check", &dump], b"");
    let copy = "ok, 1 records, 35 bytes, the manifest beside it is of another file";
    assert_eq!(check, done(&format!("{dump}: {copy}\n")));
    std::fs::write(format!("{dump}.manifest"), "x\n").unwrap();
    let check = tcmcli(&["--check", &dump], b"");
    assert!(check.exit == 0 && check.stdout.contains(", the manifest beside it is of no use: "));
}
