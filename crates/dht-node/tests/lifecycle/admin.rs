//! Metrics, health and the page, over HTTP. Source: docs/metrics.md.

use std::io::{Read, Write};
use std::net::TcpStream;

use dht_testkit::{NodeProcess, NodeSettings, legacy, wait_for};
use serde_json::Value;

use crate::support::{CommandPeer, Instance, at, put, read};

const LISTENS: &str = "a page to look at: http://";

/// A node with an admin port, and where that is.
pub(crate) struct AdminNode {
    pub(crate) node: NodeProcess,
    address: String,
}

impl AdminNode {
    pub(crate) fn start(instance: &Instance, settings: &NodeSettings) -> Self {
        let node = instance.node(&settings.clone().with("Admin", "port", "0"));
        let log = read(&at(&node, "log/root.log"));
        let (_, address) = log.split_once(LISTENS).expect("a line tells the address");
        let address = address.split('/').next().unwrap().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "loopback unless told otherwise: {address}");
        Self { node, address }
    }

    /// Status code and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.replace("Host: x", "Host: localhost").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        (status, body.to_owned())
    }

    pub(crate) fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        text
    }

    fn status(&self) -> Value {
        let (status, text) = self.get("/status.json");
        assert_eq!(status, 200);
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the metrics have a line: a worker counts an answer just after it has sent it.
    fn wait_for_line(&self, line: &str) {
        wait_for(line, || self.metrics().lines().any(|found| found == line).then_some(()));
    }
}

#[test]
fn metrics_count_requests_by_protocol_and_channels_by_name() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    let mut peer = admin.node.connect();
    for key in 0..3 {
        assert!(put(&mut peer, "fruits", key, b"apple"));
    }
    assert!(put(&mut peer, "other", 9, b"x"));
    for line in [
        "dhtnode_requests_total{protocol=\"legacy\",request=\"Put\"} 4",
        "dhtnode_request_duration_seconds_count{protocol=\"legacy\",request=\"Put\"} 4",
        "dhtnode_request_duration_seconds_bucket{protocol=\"legacy\",request=\"Put\",\
         le=\"+Inf\"} 4",
        "dhtnode_requests_total{protocol=\"neo\",request=\"Put\"} 0",
        "dhtnode_channel_records{channel=\"fruits\"} 3",
        "dhtnode_channel_value_bytes{channel=\"fruits\"} 15",
        "dhtnode_channel_records{channel=\"other\"} 1",
        "dhtnode_records 4",
        "dhtnode_channels_without_metrics 0",
        "dhtnode_action_records_total{action=\"written\"} 4",
        "dhtnode_dump_missing_channels 2",
        "dhtnode_ready 1",
        "dhtnode_healthy 1",
        "dhtnode_range_share 1",
    ] {
        admin.wait_for_line(line);
    }
    let text = admin.metrics();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let endings = ["_bucket", "_sum", "_count"];
        let family = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let is_told = |family| text.contains(&format!("# TYPE {family} "));
        assert!(is_told(name) || is_told(family), "{line}");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
    }
    let log = "dhtnode_changelog_position ";
    let position = text.lines().find_map(|line| line.strip_prefix(log)).expect("a position");
    assert!(position.parse::<f64>().unwrap() >= 4.0, "four changes were logged: {position}");
}

#[test]
fn the_number_of_channel_labels_is_bounded_and_the_largest_have_them() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("Admin", "metrics_channels", "2");
    let admin = AdminNode::start(&instance, &settings);
    let mut peer = admin.node.connect();
    for (channel, value) in [("small", "x"), ("large", "xxx"), ("medium", "xx")] {
        assert!(put(&mut peer, channel, 1, value.as_bytes()));
    }
    let text = admin.metrics();
    for (channel, is_there) in [("small", false), ("large", true), ("medium", true)] {
        let line = format!("dhtnode_channel_records{{channel=\"{channel}\"}} 1\n");
        assert_eq!(text.contains(&line), is_there, "{channel}");
    }
    assert!(text.contains("\ndhtnode_channels_without_metrics 1\n"));
}

#[test]
fn health_tells_what_the_command_socket_tells_and_ready_that_the_node_serves() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    assert!(put(&mut admin.node.connect(), "ch", 1, b"v"));
    assert_eq!(admin.get("/ready"), (200, "serving\n".to_owned()));
    let mut commands = CommandPeer::connect(&at(&admin.node, "dhtnode.socket"));
    commands.send("health\n");
    assert_eq!(admin.get("/health"), (200, commands.rest()));
    assert_eq!(admin.get("/nothing").0, 404);
    assert!(admin.node.stop().success());
}

#[test]
fn a_channel_that_cannot_be_dumped_is_told_everywhere() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("Dumps", "period_s", "1");
    // One channel has figures of its own: not the larger one, but the one in trouble.
    let settings = settings.with("Admin", "metrics_channels", "1");
    let admin = AdminNode::start(&instance, &settings.with("Dumps", "retry_s", "1"));
    // Where the dump has to go there is a folder, which no rename replaces.
    std::fs::create_dir_all(at(&admin.node, "data/ch.tcm/full")).unwrap();
    assert!(put(&mut admin.node.connect(), "large", 1, b"a longer value"));
    assert!(put(&mut admin.node.connect(), "ch", 1, b"v"));
    let (status, text) = wait_for("the health to be bad", || {
        Some(admin.get("/health")).filter(|(status, _)| *status == 503)
    });
    assert!(text.starts_with("degraded 1 failed, 0 stalled\n"), "{status}: {text}");
    assert!(text.contains("\nch never 0 0 "), "{text}");
    admin.wait_for_line("dhtnode_dump_failing_channels 1");
    admin.wait_for_line("dhtnode_channel_dump_failing{channel=\"ch\"} 1");
    admin.wait_for_line("dhtnode_healthy 0");
    let told = &admin.status()["channels"][0]["dump_error"];
    assert!(told.as_str().is_some_and(|error| error.contains("ch.tcm")), "{told}");
}

#[test]
fn a_slow_request_is_logged_and_remembered_with_its_key() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("Admin", "slow_request_ms", "500");
    let admin = AdminNode::start(&instance, &settings);
    let mut peer = admin.node.connect();
    let received = |admin: &AdminNode| {
        let bytes = &admin.status()["totals"]["received_bytes"];
        bytes.as_u64().expect("a number")
    };
    let before = received(&admin);
    let request = legacy::put("late", 0xabc, b"value");
    let (first, rest) = request.split_at(10);
    peer.0.write_all(first).unwrap();
    wait_for("the first bytes to be received", || (received(&admin) == before + 10).then_some(()));
    let uptime = |admin: &AdminNode| admin.status()["uptime_s"].as_u64().expect("a number");
    let began = uptime(&admin);
    wait_for("more than a second to pass", || (uptime(&admin) >= began + 2).then_some(()));
    peer.0.write_all(rest).unwrap();
    assert_eq!(peer.receive(4), legacy::status::OK.to_le_bytes());
    admin.wait_for_line("dhtnode_slow_requests_total{protocol=\"legacy\",request=\"Put\"} 1");
    let status = admin.status();
    let slow = &status["slow"]["last"][0];
    let expected = [("request", "Put"), ("channel", "late"), ("key", "0000000000000abc")];
    for (field, expected) in expected {
        assert_eq!(slow[field], expected, "{slow}");
    }
    assert!(slow["ms"].as_f64().unwrap() >= 1000.0, "{slow}");
    let log = read(&at(&admin.node, "log/root.log"));
    assert!(
        log.contains("Warn [dhtnode.request.Slow] - Slow: 1 legacy Put of 127.0.0.1:"),
        "{log}"
    );
    assert!(log.contains("the longest on channel 'late', key 0x0000000000000abc\n"), "{log}");
}

#[test]
fn the_status_names_hot_keys_and_streams() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("Admin", "hot_key_sample", "1");
    let admin = AdminNode::start(&instance, &settings);
    let mut listener = admin.node.connect();
    listener.send(&legacy::listen("ch"));
    assert_eq!(listener.receive(4), legacy::status::OK.to_le_bytes());
    let mut peer = admin.node.connect();
    for key in 0..20 {
        assert!(put(&mut peer, "ch", key % 2 * key, b"v"));
    }
    let status = admin.status();
    let hottest = &status["hot"]["keys"][0];
    assert_eq!(hottest["channel"], "ch");
    assert_eq!(hottest["key"], "0000000000000000", "every other Put: {}", status["hot"]);
    assert_eq!(status["hot"]["samples"], 20);
    let stream = &status["streams"]["slowest"][0];
    assert_eq!((&stream["request"], &stream["channel"]), (&"Listen".into(), &"ch".into()));
    assert_eq!(status["phase"], "serving");
    drop(listener);
    admin.wait_for_line("dhtnode_streams{protocol=\"legacy\",request=\"Listen\"} 0");
}

#[test]
fn a_client_that_does_not_read_is_seen_to_lag() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    let mut listener = admin.node.connect();
    listener.send(&legacy::listen("ch"));
    assert_eq!(listener.receive(4), legacy::status::OK.to_le_bytes());
    let (mut peer, value) = (admin.node.connect(), [b'v'; 60_000]);
    let mut key = 0;
    // More than all buffers on the way take.
    let stream = wait_for("the stream to lag", || {
        for _ in 0..50 {
            key += 1;
            assert!(put(&mut peer, "ch", key, &value));
        }
        let stream = admin.status()["streams"]["slowest"][0].clone();
        (stream["lag_s"].as_f64()? > 0.0).then_some(stream)
    });
    assert!(stream["waiting"].as_u64().unwrap() > 0, "{stream}");
}

#[test]
fn the_page_and_all_that_it_loads_come_from_the_node() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    let (status, page) = admin.get("/");
    assert_eq!(status, 200);
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for link in page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            if link.starts_with('#') {
                continue; // A place on the page.
            }
            assert!(link.starts_with('/'), "{link} is not from here");
            assert_eq!(admin.get(link).0, 200, "{link}");
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "a style, a script and an icon");
}

/// The words of an expression or a legend: names of metrics, labels, functions.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c)).filter(|word| !word.is_empty())
}

/// The text of an operator's file of this project.
fn sample(name: &str) -> String {
    read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc").join(name))
}

/// Every metric that a text names, without what a histogram's parts have at their ends.
fn metrics_in(text: &str) -> Vec<&str> {
    let named = words(text)
        .filter(|word| ["dhtnode_", "process_"].iter().any(|start| word.starts_with(start)));
    named.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect()
}

#[test]
fn what_the_dashboard_and_the_alerts_look_at_is_there() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    assert!(put(&mut admin.node.connect(), "ch", 1, b"v"));
    let text = admin.metrics();
    let (dashboard, rules) = (sample("grafana-dashboard.json"), sample("prometheus-rules.yml"));
    let named = [metrics_in(&dashboard), metrics_in(&rules)].concat();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(text.contains(&format!("\n# TYPE {name} ")), "there is no {name}");
    }
}

#[test]
fn the_dashboard_has_a_place_and_labels_that_exist_for_all_that_it_shows() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    assert!(put(&mut admin.node.connect(), "ch", 1, b"v"));
    let text = admin.metrics();
    let dashboard: Value = serde_json::from_str(&sample("grafana-dashboard.json")).unwrap();
    let (mut numbers, mut places) = (Vec::new(), Vec::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        numbers.push(panel["id"].as_u64().expect("a number"));
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
        places.push((x..x + w, y..y + h));
        for target in panel["targets"].as_array().expect("what it shows") {
            let expression = target["expr"].as_str().expect("an expression");
            let metric = metrics_in(expression)[0];
            let is_of_it = |line: &&str| line.starts_with(metric);
            let samples: String = text.lines().filter(is_of_it).collect();
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            // Prometheus itself adds `instance`.
            for label in labels.filter(|label| *label != "instance") {
                assert!(samples.contains(&format!("{label}=\"")), "{metric} has no {label}");
            }
        }
    }
    for (at, (x, y)) in places.iter().enumerate() {
        for (other_x, other_y) in &places[..at] {
            let apart = |a: &std::ops::Range<u64>, b: &std::ops::Range<u64>| {
                a.end <= b.start || b.end <= a.start
            };
            assert!(apart(x, other_x) || apart(y, other_y), "two panels in one place: {places:?}");
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), places.len(), "each has a number of its own");
}

#[test]
fn without_a_port_nothing_listens_and_a_port_in_use_is_named() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    assert!(!read(&at(&node, "log/root.log")).contains(LISTENS));
    assert!(node.stop().success());

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = instance.run(&["-O", &format!("Admin.port={port}"), "-O", "Server.port=0"]);
    assert_eq!(ended.code(), Some(1));
    let expected = format!("[Admin] address, port: cannot listen on 127.0.0.1:{port}: ");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(&expected), "{said}");
}
