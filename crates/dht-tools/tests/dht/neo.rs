//! The commands over neo, and that both protocols see the same.

use dht_testkit::{NodeSettings, wait_for};

use crate::setup::{Bench, Ran, dht, finish};

pub(crate) fn over_neo_a_record_goes_in_and_out_unchanged() {
    let bench = Bench::start();
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(bench.neo_with_input("put ch 42 -", &every_byte).exit, 0);
    assert_eq!(bench.neo("get ch 0x2a").stdout, every_byte);
    assert_eq!(bench.neo("put ch 42 word").exit, 0);
    assert_eq!(bench.neo("get ch 42 --hex").text(), "000000000000002a\t776f7264\n");
    assert_eq!(bench.neo("exists ch 42").text(), "true\n");
    assert_eq!(bench.neo("remove ch 42").exit, 0);
    assert_eq!(bench.neo("remove ch 42").exit, 0, "that there was none is no error");
    assert_eq!(bench.neo("exists -q ch 42").exit, 1);
    let missing = bench.neo("get ch 42");
    assert_eq!((missing.exit, missing.text()), (1, ""));
    let largest = vec![b'x'; 65_512];
    assert_eq!(bench.neo_with_input("put ch 1 -", &largest).exit, 0);
    assert_eq!(bench.neo("get ch 1").stdout, largest);
    let too_big = bench.neo_with_input("put ch 1 -", &[b'x'; 65_513]);
    assert_eq!(too_big.exit, 3);
    assert!(too_big.stderr.contains("a value of 65513 bytes"), "{}", too_big.stderr);
    assert_eq!(bench.neo_with_input("put ch 1 -", b"").exit, 2, "an empty value");
}

pub(crate) fn over_neo_a_channel_can_be_looked_through() {
    let bench = Bench::start();
    assert_eq!(bench.neo("scan ch").lines(), [""; 0], "an unknown channel is empty");
    for line in ["put ch 1 one", "put ch 2 two", "put other 3 three"] {
        assert_eq!(bench.neo(line).exit, 0);
    }
    let [one, two] = ["0000000000000001\tone", "0000000000000002\ttwo"];
    assert_eq!(bench.neo("scan ch").lines(), [one, two]);
    assert_eq!(bench.neo("scan ch --filter tw").lines(), [two]);
    assert_eq!(bench.neo("scan ch --limit 1").lines().len(), 1);
    assert_eq!(bench.neo("keys ch").lines(), ["0000000000000001", "0000000000000002"]);
    assert_eq!(bench.neo("keys ch --limit 1").lines().len(), 1);
    assert_eq!(bench.neo("channels").text(), "ch\nother\n");
    assert_eq!(bench.neo("remove-channel ch").exit, 2, "nobody is there to confirm it");
    assert_eq!(bench.neo("remove-channel ch --yes").exit, 0);
    assert_eq!(bench.neo("channels").text(), "other\n");
}

pub(crate) fn both_protocols_see_the_same_records() {
    let bench = Bench::start();
    let listener = bench.spawn("listen a --count 2");
    let neo_listener = bench.spawn_neo("listen b --count 2");
    let mirror = bench.spawn_neo("mirror c --no-refresh --limit 2");
    wait_for("all three: each creates its channel", || {
        (bench.dht("channels").text() == "a\nb\nc\n").then_some(())
    });
    for channel in ["a", "b", "c"] {
        assert_eq!(bench.dht(&format!("put {channel} 1 legacy")).exit, 0);
        assert_eq!(bench.neo(&format!("put {channel} 2 neo")).exit, 0);
    }
    let [one, two] = ["0000000000000001\tlegacy", "0000000000000002\tneo"];
    assert_eq!(bench.neo("get c 1").text(), "legacy");
    assert_eq!(bench.dht("get c 2").text(), "neo");
    assert_eq!(bench.neo("scan c").lines(), [one, two]);
    assert_eq!(bench.dht("scan c").lines(), [one, two]);
    assert_eq!(finish(listener, b"").lines(), [one, two]);
    assert_eq!(finish(neo_listener, b"").lines(), [one, two]);
    let updated = [one, two].map(|record| format!("updated\t{record}"));
    assert_eq!(finish(mirror, b"").lines(), updated);
    let refreshed = [one, two].map(|record| format!("refreshed\t{record}"));
    assert_eq!(bench.neo("mirror c --limit 2").lines(), refreshed);
    assert_eq!(bench.dht("remove c 2").exit, 0);
    assert_eq!(bench.neo("exists c 2").text(), "false\n");
}

pub(crate) fn sizes_and_info_ask_the_legacy_port() {
    let bench = Bench::start();
    assert_eq!(bench.neo("put ch 1 x").exit, 0);
    assert!(bench.neo("sizes ch --json").text().contains("\"records\":1"));
    let info = bench.neo("info --json");
    let info: serde_json::Value = serde_json::from_str(info.text()).expect("JSON");
    assert_eq!(info["node"], bench.address().to_string());
    let low = dht(&["--auth", &bench.credentials("admin", "0"), "--node", "h:100"], "info");
    assert_eq!(low.exit, 2);
    assert!(low.stderr.contains("ports are neo ports"), "{}", low.stderr);
}

pub(crate) fn a_mirror_tells_puts_removals_and_the_end() {
    let bench = Bench::start();
    assert_eq!(bench.dht("put ch 1 one").exit, 0);
    let mut mirror = bench.spawn_neo("mirror ch --json");
    let mut stdout = std::io::BufReader::new(mirror.stdout.take().expect("piped"));
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("text");
        line
    };
    // The refresh has come, so the mirror is told of whatever happens from now on.
    let one = "\"key\":\"0000000000000001\",\"text\":\"one\",\"value\":\"b25l\"}\n";
    assert_eq!(line(), format!("{{\"event\":\"refreshed\",{one}"));
    assert_eq!(bench.neo("put ch 1 one").exit, 0);
    assert_eq!(line(), format!("{{\"event\":\"updated\",{one}"));
    assert_eq!(bench.dht("remove ch 1").exit, 0);
    assert_eq!(line(), "{\"event\":\"deleted\",\"key\":\"0000000000000001\"}\n");
    assert_eq!(bench.dht("remove-channel ch --yes").exit, 0);
    let node = bench.neo_address();
    assert_eq!(line(), format!("{{\"event\":\"channel-removed\",\"node\":\"{node}\"}}\n"));
    assert_eq!(mirror.wait().expect("our child").code(), Some(0));
}

pub(crate) fn an_update_is_refused_if_the_record_is_another() {
    let bench = Bench::start();
    assert_eq!(bench.neo("update ch 1 x").exit, 1, "there is none");
    assert_eq!(bench.neo("put ch 1 old").exit, 0);
    assert_eq!(bench.neo("update ch 1 new --expect old").exit, 0);
    let unexpected = bench.neo("update ch 1 newer --expect old");
    assert_eq!(unexpected.exit, 6, "{}", unexpected.stderr);
    assert_eq!(bench.neo("get ch 1").text(), "new");
    assert_eq!(finish(bench.spawn_update(&["ch", "1", "--exec", "tr a-z A-Z"]), b"").exit, 0);
    assert_eq!(bench.neo("get ch 1").text(), "NEW");
    let failed = finish(bench.spawn_update(&["ch", "1", "--exec", "echo x; exit 1"]), b"");
    assert_eq!((failed.exit, bench.neo("get ch 1").text()), (2, "NEW"), "{}", failed.stderr);
    assert_eq!(bench.neo_with_input("update ch 1 -", b"from stdin").exit, 0);
    assert_eq!(bench.dht("get ch 1").text(), "from stdin");
    // Somebody else changes the record, over the other protocol, while the command is at work.
    let meddle =
        format!("cat; {} --node {} put ch 1 meddled", env!("CARGO_BIN_EXE_dht"), bench.address());
    let conflict =
        finish(bench.spawn_update(&["ch", "1", "--exec", &meddle, "--retries", "2"]), b"");
    assert_eq!(conflict.exit, 0, "the second time it is as it was read");
    let arguments = ["ch", "1", "--exec", &format!("{meddle}$$"), "--retries", "2"];
    let conflict = finish(bench.spawn_update(&arguments), b"");
    assert_eq!(conflict.exit, 6, "{}", conflict.stderr);
    assert!(conflict.stderr.contains("tries: 3"), "{}", conflict.stderr);
    assert!(bench.neo("get ch 1").text().starts_with("meddled"));
    assert_eq!(bench.neo("update ch 1 --remove").exit, 0);
    assert_eq!(bench.neo("exists ch 1").exit, 1);
}

pub(crate) fn no_update_is_lost_between_several_at_once() {
    const AT_ONCE: usize = 4;
    const EACH: usize = 5;
    let bench = Bench::start();
    assert_eq!(bench.neo("put ch 1 0").exit, 0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let arguments = ["ch", "1", "--exec", "expr $(cat) + 1", "--retries", "1000"];
                    let ran = finish(bench.spawn_update(&arguments), b"");
                    assert_eq!(ran.exit, 0, "{}", ran.stderr);
                }
            });
        }
    });
    assert_eq!(bench.neo("get ch 1").text().trim(), (AT_ONCE * EACH).to_string());
}

pub(crate) fn strangers_are_rejected_and_not_all_is_permitted() {
    let bench = Bench::start();
    let run = |auth: &str, line: &str| -> Ran {
        dht(&["--auth", auth, "--node", &bench.neo_address()], line)
    };
    for (name, digit) in [("admin", "1"), ("nobody", "0")] {
        let rejected = run(&bench.credentials(name, digit), "get ch 1");
        assert_eq!(rejected.exit, 3, "{}", rejected.stderr);
        assert!(rejected.stderr.contains("rejects the client"), "{}", rejected.stderr);
        assert!(rejected.stderr.contains("etc/credentials"), "{}", rejected.stderr);
    }
    let other = bench.credentials("neotest", "0");
    assert_eq!(run(&other, "put ch 1 x").exit, 0);
    let refused = run(&other, "remove-channel ch --yes");
    assert_eq!(refused.exit, 3);
    assert!(refused.stderr.contains("only the client named admin"), "{}", refused.stderr);
    assert_eq!(run(&other, "get ch 1").text(), "x");
    let missing = run("no/such/file", "get ch 1");
    assert_eq!(missing.exit, 2);
    assert!(missing.stderr.contains("cannot read credentials file"), "{}", missing.stderr);
    let several = bench.dir.path().join("etc/credentials");
    let several = run(several.to_str().expect("ASCII"), "get ch 1");
    assert_eq!(several.exit, 2);
    assert!(several.stderr.contains("has 2 entries"), "{}", several.stderr);
    let without = bench.dht("update ch 1 x");
    assert_eq!(without.exit, 2);
    assert!(without.stderr.contains("needs --auth FILE"), "{}", without.stderr);
}

pub(crate) fn each_key_goes_to_its_neo_node() {
    let half = |min, max| {
        let settings = NodeSettings::default();
        Bench::start_with(&settings.with("Server", "minval", min).with("Server", "maxval", max))
    };
    let lower = half("0x0000000000000000", "0x7fffffffffffffff");
    let upper = half("0x8000000000000000", "0xffffffffffffffff");
    let nodes = lower.dir.path().join("nodes");
    let lines = format!("{}\n{}\n", lower.neo_address(), upper.neo_address());
    std::fs::write(&nodes, lines).expect("our folder");
    let auth = lower.credentials("admin", "0");
    let nodes = nodes.to_str().expect("ASCII");
    let on_all = |line: &str| dht(&["--auth", &auth, "--nodes", nodes], line);
    for key in 0..10 {
        assert_eq!(on_all(&format!("put ch {key} v{key}")).exit, 0);
    }
    assert_eq!(on_all("get ch 7").text(), "v7");
    assert_eq!(lower.neo("keys ch").lines().len(), 5, "the lowest bit decides");
    assert_eq!(on_all("scan ch").lines().len(), 10);
    assert_eq!(on_all("mirror ch --limit 10").lines().len(), 10);
    assert_eq!(on_all("channels").text(), "ch\n");
    assert!(on_all("sizes ch --json").text().contains("\"records\":10"));
    assert_eq!(on_all("update ch 7 v --expect v7").exit, 0);
    let wrong = lower.neo("put ch 1 x");
    assert_eq!(wrong.exit, 3);
    assert!(wrong.stderr.contains("--nodes FILE"), "{}", wrong.stderr);
    assert_eq!(on_all("remove-channel ch --yes").exit, 0);
    assert_eq!(upper.neo("channels").text(), "");
}
