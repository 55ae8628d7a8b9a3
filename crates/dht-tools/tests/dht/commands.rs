//! Each command on one node.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    os::unix::net::UnixStream,
};

use dht_testkit::wait_for;

use crate::setup::{Bench, dht, finish};

pub(crate) fn a_record_goes_in_and_out_unchanged() {
    let bench = Bench::start();
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(bench.dht_with_input("put ch 0x2a -", &every_byte).exit, 0);
    assert_eq!(bench.dht("get ch 42").stdout, every_byte);
    assert_eq!(bench.dht("get ch 000000000000002a --raw").stdout, every_byte);
    let file = bench.dir.path().join("value");
    std::fs::write(&file, b"from a file").expect("our folder");
    assert_eq!(bench.dht(&format!("put ch 42 --file {}", file.display())).exit, 0);
    assert_eq!(bench.dht("get ch 42").text(), "from a file");
    assert_eq!(bench.dht("put ch 42 word").exit, 0);
    assert_eq!(bench.dht("get ch 42 --hex").text(), "000000000000002a\t776f7264\n");
    let json = "{\"key\":\"000000000000002a\",\"text\":\"word\",\"value\":\"d29yZA==\"}\n";
    assert_eq!(bench.dht("get ch 42 --json").text(), json);
    assert_eq!(bench.dht("exists ch 42").text(), "true\n");
    assert_eq!(bench.dht("remove ch 42").exit, 0);
    assert_eq!(bench.dht("remove ch 42").exit, 0, "that there was none is no error");
    let gone = bench.dht("exists ch 42");
    assert_eq!((gone.exit, gone.text()), (1, "false\n"));
    let quiet = bench.dht("exists -q ch 42");
    assert_eq!((quiet.exit, quiet.text()), (1, ""));
    let missing = bench.dht("get ch 42");
    assert_eq!((missing.exit, missing.text()), (1, ""));
    assert_eq!(missing.stderr, "dht: no record 000000000000002a in channel ch\n");
}

pub(crate) fn a_channel_can_be_looked_through() {
    let bench = Bench::start();
    assert_eq!(bench.dht("scan ch").lines(), [""; 0], "an unknown channel is empty");
    for (key, value) in [("1", "one"), ("2", "two\t2"), ("3", "a\nb")] {
        assert_eq!(bench.dht_with_input(&format!("put ch {key} -"), value.as_bytes()).exit, 0);
    }
    let [one, two, three] =
        ["0000000000000001\tone", "0000000000000002\ttwo\\t2", "0000000000000003\ta\\nb"];
    assert_eq!(bench.dht("scan ch").lines(), [one, two, three]);
    assert_eq!(bench.dht("scan ch --filter o").lines(), [one, two]);
    assert_eq!(bench.dht("scan ch --filter-hex 610a62").lines(), [three]);
    assert_eq!(bench.dht("scan ch --limit 2").lines().len(), 2);
    assert_eq!(bench.dht("scan ch --limit 0").lines().len(), 0);
    assert_eq!(bench.dht("scan ch --filter one --hex").lines(), ["0000000000000001\t6f6e65"]);
    let json = "{\"key\":\"0000000000000001\",\"text\":\"one\",\"value\":\"b25l\"}";
    assert_eq!(bench.dht("scan ch --filter one --json").lines(), [json]);
    let keys = ["0000000000000001", "0000000000000002", "0000000000000003"];
    assert_eq!(bench.dht("keys ch").lines(), keys);
    assert_eq!(bench.dht("keys ch --limit 1").lines().len(), 1);
}

pub(crate) fn a_node_tells_what_it_holds() {
    let bench = Bench::start();
    assert_eq!(bench.dht("channels").lines(), [""; 0]);
    for line in ["put b 1 x", "put a 1 x", "put a 2 x"] {
        assert_eq!(bench.dht(line).exit, 0);
    }
    assert_eq!(bench.dht("channels").text(), "a\nb\n");
    assert_eq!(bench.dht("channels --json").text(), "{\"channel\":\"a\"}\n{\"channel\":\"b\"}\n");
    let size = |line: &str| {
        let ran = bench.dht(line);
        let rows: Vec<serde_json::Value> =
            ran.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        rows.iter().map(|row| row["records"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(size("sizes --json"), [2, 1]);
    assert_eq!(size("sizes a --json"), [2]);
    assert_eq!(size("sizes unknown --json"), [0]);
    assert!(bench.dht("sizes").text().starts_with("CHANNEL  RECORDS"));
    let info = bench.dht("info --json");
    let info: serde_json::Value = serde_json::from_str(info.text()).expect("JSON");
    assert_eq!(info["node"], bench.address().to_string());
    assert_eq!(info["version"], "20110401");
    assert_eq!(info["range"]["max"], "ffffffffffffffff");
    assert_eq!((&info["records"], &info["channels"]), (&3.into(), &2.into()));
    assert!(bench.dht("info").text().contains("0x0000000000000000..0xffffffffffffffff"));
}

/// `top` asks so; it needs a terminal itself.
pub(crate) fn a_node_tells_its_requests_at_its_socket() {
    let bench = Bench::start();
    for line in ["put a 1 x", "get a 1", "get a 2"] {
        bench.dht(line);
    }
    assert_eq!(bench.neo("get a 1").exit, 0);
    let path = bench.dir.path().join("dhtnode.socket");
    let mut socket = UnixStream::connect(path).expect("a node listens");
    socket.write_all(b"requests\n").expect("it reads");
    socket.shutdown(Shutdown::Write).expect("open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("text");
    for line in ["legacy Put 1", "legacy Get 2", "neo Get 1"] {
        assert!(answer.lines().any(|told| told == line), "{line}:\n{answer}");
    }
    let top = bench.dht("top");
    assert_eq!(top.exit, 2);
    assert!(top.stderr.contains("needs a terminal"), "{}", top.stderr);
}

pub(crate) fn removing_a_channel_needs_a_yes() {
    let bench = Bench::start();
    assert_eq!(bench.dht("put ch 1 x").exit, 0);
    let unasked = bench.dht_with_input("remove-channel ch", b"y\n");
    assert_eq!(unasked.exit, 2, "a pipe is nobody who could confirm it");
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(bench.dht("channels").text(), "ch\n");
    assert_eq!(bench.dht("remove-channel ch --yes").exit, 0);
    assert_eq!(bench.dht("channels").text(), "");
}

pub(crate) fn a_listener_sees_what_is_put() {
    let bench = Bench::start();
    let two = bench.spawn("listen a --count 2");
    let all = bench.spawn("listen b --json");
    wait_for("both listeners: each creates its channel", || {
        (bench.dht("channels").text() == "a\nb\n").then_some(())
    });
    for line in ["put a 1 first", "put b 1 first", "put a 2 second", "put b 2 second"] {
        assert_eq!(bench.dht(line).exit, 0);
    }
    assert_eq!(finish(two, b"").lines(), ["0000000000000001\tfirst", "0000000000000002\tsecond"]);
    assert_eq!(bench.dht("remove-channel b --yes").exit, 0);
    let all = finish(all, b"");
    assert_eq!((all.exit, all.stderr.as_str()), (0, "dht: channel b was removed\n"));
    let keys = all.text().lines().map(|line| {
        let change: serde_json::Value = serde_json::from_str(line).expect("JSON");
        change["key"].as_str().expect("a key").to_owned()
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    assert_eq!(keys, ["0000000000000001", "0000000000000002"]);
}

pub(crate) fn exit_codes_tell_refusals_from_absence() {
    let bench = Bench::start();
    let too_big = bench.dht_with_input("put ch 1 -", &[b'x'; 70_000]);
    assert_eq!(too_big.exit, 3, "{}", too_big.stderr);
    assert!(too_big.stderr.contains(&format!("node {}: Put: refused", bench.address())));
    for line in ["put ch 1 -", "get a.b 1", "get ch 1x", "scan", "--timeout -1 info"] {
        assert_eq!(bench.dht(line).exit, 2, "{line}");
    }
    assert_eq!(dht(&["--nodes", "no/such/file"], "info").exit, 2);
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let nobody = dht(&["--node", &address], "get ch 1");
    assert_eq!(nobody.exit, 4);
    assert!(nobody.stderr.contains("start one with `dhtnode`"), "{}", nobody.stderr);
    assert!(nobody.stderr.contains(&address), "{}", nobody.stderr);
}

pub(crate) fn a_closed_pipe_ends_quietly() {
    let bench = Bench::start();
    let value = [b'x'; 60_000];
    for key in 0..20 {
        assert_eq!(bench.dht_with_input(&format!("put ch {key} -"), &value).exit, 0);
    }
    let mut scan = bench.spawn("scan ch");
    let mut first = [0; 17];
    let mut stdout = scan.stdout.take().expect("piped");
    stdout.read_exact(&mut first).expect("a megabyte is on the way");
    drop(stdout);
    let ran = finish(scan, b"");
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
}
