//! export, import and watch.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
};

use crate::{
    cluster::{nodes_file, two_nodes},
    setup::{Bench, dht, finish, spawn},
};

pub(crate) fn a_channel_goes_into_a_file_and_back() {
    let bench = Bench::start();
    let binary: Vec<u8> = (0..=255).collect();
    for key in 0..5 {
        assert_eq!(bench.neo(&format!("put a {key} v{key}")).exit, 0);
    }
    assert_eq!(bench.neo_with_input("put a 5 -", &binary).exit, 0);
    let all = bench.dht("scan a --json");
    let file = |name: &str| bench.dir.path().join(name).display().to_string();
    let [json, tcm] = [file("a.jsonl"), file("a.tcm")];
    for (number, target) in [&json, &tcm].into_iter().enumerate() {
        let exported = bench.neo(&format!("export a {target}"));
        assert_eq!((exported.exit, exported.text()), (0, ""), "{}", exported.stderr);
        assert!(exported.stderr.contains("6 records of channel a"), "{}", exported.stderr);
        let again = bench.dht(&format!("export a {target}"));
        assert_eq!(again.exit, 2, "a file that is there stays");
        assert_eq!(bench.dht(&format!("export a {target} --force")).exit, 0);
        // By one protocol each.
        let import = format!("import copy{number} {target}");
        let imported = if number == 0 { bench.neo(&import) } else { bench.dht(&import) };
        assert_eq!(imported.exit, 0, "{}", imported.stderr);
        assert!(imported.stderr.contains("6 records were put"), "{}", imported.stderr);
        assert_eq!(bench.dht(&format!("scan copy{number} --json")).lines(), all.lines());
    }
    let piped = bench.neo("export a -");
    assert_eq!(piped.lines(), all.lines(), "what scan --json writes");
    assert_eq!(bench.neo_with_input("import piped -", &piped.stdout).exit, 0);
    assert_eq!(bench.dht("scan piped --json").lines(), all.lines());
    let left = std::fs::read_dir(bench.dir.path()).expect("our folder");
    let names = left.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let temporary = |name: &String| name.contains("export-") || name.contains("dumping");
    assert_eq!(names.filter(temporary).count(), 0, "nothing temporary is left");
}

pub(crate) fn nothing_of_a_damaged_file_is_put_and_bad_records_are_left_out() {
    let bench = Bench::start();
    let file = bench.dir.path().join("records");
    let import = |options: &str| bench.neo(&format!("import ch {} {options}", file.display()));
    let line = |key: u64, text: &str| format!("{{\"key\":\"{key:016x}\",\"text\":\"{text}\"}}\n");
    std::fs::write(&file, format!("{}no json\n", line(1, "a"))).expect("our folder");
    let damaged = import("");
    assert_eq!(damaged.exit, 2, "{}", damaged.stderr);
    assert!(damaged.stderr.contains("line 2: not JSON"), "{}", damaged.stderr);
    assert_eq!(bench.dht("exists ch 1").exit, 1);
    let records = [line(1, "a"), line(2, ""), line(3, &"x".repeat(65_513)), line(4, "d")];
    std::fs::write(&file, records.concat()).expect("our folder");
    let refused = bench.dir.path().join("refused");
    let partly = import(&format!("--refused {}", refused.display()));
    assert_eq!(partly.exit, 3, "{}", partly.stderr);
    for told in ["record 2, key 0000000000000002", "record 3, key", "2 records were refused"] {
        assert!(partly.stderr.contains(told), "{}", partly.stderr);
    }
    assert_eq!(bench.dht("keys ch").lines(), ["0000000000000001", "0000000000000004"]);
    let kept = std::fs::read_to_string(&refused).expect("written");
    assert_eq!(kept.lines().count(), 2);
    assert!(kept.starts_with("{\"key\":\"0000000000000002\""), "{kept}");
    assert_eq!(bench.dht("remove-channel ch --yes").exit, 0);
    let skipped = import("--skip 3");
    assert_eq!((skipped.exit, bench.dht("keys ch").lines().len()), (0, 1), "{}", skipped.stderr);
}

/// A node that goes away stops an import, which says where to go on; an export without it is none.
pub(crate) fn a_missing_node_spoils_no_transfer() {
    let [lower, upper] = two_nodes();
    let nodes = nodes_file(&lower);
    let nodes = nodes.to_str().expect("ASCII");
    let line = |key: u64| format!("{{\"key\":\"{key:016x}\",\"text\":\"v\"}}\n");
    let file = lower.dir.path().join("records");
    std::fs::write(&file, (0..100).map(line).collect::<String>()).expect("our folder");
    let import = format!("import ch {}", file.display());
    let run = |line: &str| dht(&["--timeout", "2", "--nodes", nodes], line);
    let imported = run(&import);
    assert_eq!(imported.exit, 0, "{}", imported.stderr);
    assert!(imported.stderr.contains("100 records were put"), "{}", imported.stderr);
    let target = lower.dir.path().join("out.jsonl");
    let export = format!("export ch {}", target.display());
    // It listens on standard input, so that the node goes while it runs.
    let mut piped = spawn(&["--timeout", "2", "--nodes", nodes], "import other -");
    let mut stdin = piped.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, line(0).as_bytes()).expect("it reads");
    dht_testkit::wait_for("the first record", || {
        (lower.dht("exists other 0").exit == 0).then_some(())
    });
    assert!(upper.node.stop().success());
    for key in 1..100 {
        // It stops reading when it has failed.
        let _ = std::io::Write::write_all(&mut stdin, line(key).as_bytes());
    }
    drop(stdin);
    let output = piped.wait_with_output().expect("our child");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("the first 1 records are stored"), "{stderr}");
    assert!(stderr.contains("--skip 1 goes on"), "{stderr}");
    let missing = run(&import);
    assert_eq!(missing.exit, 4, "{}", missing.stderr);
    let unwhole = run(&export);
    assert_eq!(unwhole.exit, 4, "{}", unwhole.stderr);
    assert!(!Path::new(&target).exists());
    let partial = run(&format!("{export} --partial"));
    assert_eq!(partial.exit, 4, "{}", partial.stderr);
    let written = std::fs::read_to_string(&target).expect("--partial writes it");
    assert_eq!(written.lines().count(), 50);
}

pub(crate) fn a_watcher_sees_plain_lines_in_a_pipe() {
    let bench = Bench::start();
    assert_eq!(bench.dht("put ch 1 one").exit, 0);
    let mut watch = bench.spawn_neo("watch ch --all");
    let mut stdout = BufReader::new(watch.stdout.take().expect("piped"));
    let mut line = || {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        // Without the time.
        line.split_off(10)
    };
    let mut first = [line(), line()];
    first.sort();
    assert_eq!(first, ["record    0000000000000001  one\n", "watching  channel ch\n"]);
    assert_eq!(bench.neo("put ch 2 two").exit, 0);
    assert_eq!(line(), "put       0000000000000002  two\n");
    assert_eq!(bench.neo("remove ch 1").exit, 0);
    assert_eq!(line(), "removed   0000000000000001\n");
    assert_eq!(bench.dht("remove-channel ch --yes").exit, 0);
    assert_eq!(
        line(),
        format!("end       node {}: the channel was removed\n", bench.neo_address())
    );
    assert_eq!(finish(watch, b"").exit, 0);
}

/// A node that dies is told, and the rest of the cluster is followed; when it is back, it is too.
pub(crate) fn a_follower_survives_a_node() {
    let node = dht_test::TestNode::start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    node.write_config_files(dir.path()).expect("our folder");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (auth, nodes) = (file("dht.credentials"), file("dht.neo.nodes"));
    let mut mirror = spawn(&["--auth", &auth, "--nodes", &nodes], "mirror ch");
    let mut stdout = BufReader::new(mirror.stdout.take().expect("piped"));
    let mut kind = || {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        line.split('\t').next().unwrap_or_default().to_owned()
    };
    dht_testkit::wait_for("the mirror: it creates its channel", || {
        node.channels().contains(&"ch".to_owned()).then_some(())
    });
    node.put("ch", 1, "one");
    assert_eq!(kind(), "updated");
    node.lose();
    assert_eq!(kind(), "node-lost");
    node.come_back();
    let mut next = [kind(), kind()];
    next.sort();
    assert_eq!(next, ["node-back", "refreshed"]);
    node.reset();
    assert_eq!(kind(), "channel-removed");
    let ran = finish(mirror, b"");
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}
