//! The line in the stats log. Source: spec `node` 8.4, `file-formats` 6.

use std::path::{Path, PathBuf};

use dht_testkit::{NodeProcess, NodeSettings, Peer, legacy, wait_for};

use crate::support::{Instance, at, exe, read, without_time};

/// What the original reports for an empty channel, and for a record on top of its value, in bytes.
const CHANNEL_BYTES: i64 = 525_376;
const RECORD_BYTES: i64 = 56;

const TIMING: [&str; 7] = [
    "mean_handled_time_micros",
    "handled_10_micros",
    "handled_100_micros",
    "handled_1_ms",
    "handled_10_ms",
    "handled_100_ms",
    "handled_over_100_ms",
];

/// One line: names and values, in order.
struct Line(Vec<(String, String)>);

impl Line {
    fn parse(line: &str) -> Self {
        let items = without_time(line, 3).split(' ').map(|item| {
            let (name, value) = item.rsplit_once(':').unwrap_or_else(|| panic!("{item:?}"));
            (name.to_owned(), value.to_owned())
        });
        Self(items.collect())
    }

    fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or_else(|| panic!("no {name}"), |(_, value)| value)
    }

    fn get(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("{name}:{}", self.text(name)))
    }
}

/// The stats log of a node that writes a line each second.
struct StatsLog(PathBuf);

impl StatsLog {
    fn start(instance: &Instance, settings: &NodeSettings) -> (NodeProcess, Self) {
        let settings = settings.clone().with("STATS", "interval", "1");
        // Nothing is asked of it before the test does: it would be counted.
        let node = NodeProcess::start(exe(), instance.path(), &settings);
        let path = at(&node, "log/stats.log");
        (node, Self(path))
    }

    /// All complete lines so far.
    fn lines(&self) -> Vec<Line> {
        let text = read(&self.0);
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(Line::parse)
            .collect()
    }

    /// Waits for a line that comes after now.
    fn next(&self) -> Line {
        let before = self.lines().len();
        wait_for("a line of stats", || self.lines().into_iter().nth(before))
    }

    /// The figure of a name in all lines together.
    fn sum(&self, name: &str) -> i64 {
        self.lines().iter().map(|line| line.get(name)).sum()
    }

    /// Waits until the lines count so much of something, and checks that later lines add nothing.
    fn adds_up(&self, name: &str, expected: i64) {
        wait_for(&format!("{name} to be counted"), || (self.sum(name) >= expected).then_some(()));
        assert_eq!(self.next().get(name), 0, "{name} starts again with each line");
        assert_eq!(self.sum(name), expected, "{name}");
    }
}

/// The names of a line without channels, in groups; a group in `may_miss` need not be there.
fn expected_names(may_miss: bool) -> Vec<String> {
    let mut names: Vec<String> = [
        "cpu_user cpu_system cpu_total vsz rss mem_percentage bytes_sent bytes_received",
        "handling_connections handling_connections_pcnt",
    ]
    .iter()
    .flat_map(|group| group.split(' '))
    .map(str::to_owned)
    .collect();
    let mut add = |name: String| names.push(name);
    if may_miss {
        add("handling_neo_connections".to_owned());
        add("handling_neo_connections_pcnt".to_owned());
    }
    for name in ["total_bytes", "total_records", "old_request_versions_in_use"] {
        add(name.to_owned());
    }
    let legacy =
        "Put Get Exists Remove Listen GetAll GetAllKeys GetAllFilter PutBatch Redistribute";
    for request in legacy.split(' ') {
        for field in ["max_active", "handled"].iter().chain(&TIMING) {
            add(format!("request/{request}/{field}"));
        }
    }
    if may_miss {
        for request in ["Put", "Get", "Exists", "Remove", "Update"] {
            for field in ["max_active", "handled"].iter().chain(&TIMING) {
                add(format!("neo_request/{request}/{field}"));
            }
        }
        for request in ["GetHashRange", "Mirror", "GetAll", "GetChannels", "RemoveChannel"] {
            add(format!("neo_request/{request}/max_active"));
            add(format!("neo_request/{request}/handled"));
        }
    }
    for action in ["written", "read", "forwarded", "iterated", "deleted"] {
        add(format!("action/{action}/records"));
        add(format!("action/{action}/bytes"));
    }
    for level in ["debug", "trace", "verbose", "info", "warn", "error", "fatal"] {
        add(format!("logged_{level}"));
    }
    names
}

/// Inside the groups of requests and channels the order of instances is unspecified: a name with
/// its instance cut out, and the groups as they follow each other.
fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(category, _)| category)
}

#[test]
fn the_line_has_all_groups_in_the_originals_order() {
    let instance = Instance::new();
    let (node, log) = StatsLog::start(&instance, &NodeSettings::default());
    let line = log.next();
    assert!(node.stop().success());
    let mut names: Vec<&str> = line.0.iter().map(|(name, _)| name.as_str()).collect();
    let mut all = expected_names(true);
    // Groups follow each other as they do in the specification.
    let order = |names: &[&str]| -> Vec<String> {
        let mut groups: Vec<String> = names.iter().map(|name| group(name).to_owned()).collect();
        groups.dedup();
        groups
    };
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    let neo = |name: &str| name.contains("neo_");
    let groups = order(&names);
    let expected_groups: Vec<String> = order(&expected)
        .into_iter()
        .filter(|group| !neo(group) || groups.contains(group))
        .collect();
    assert_eq!(groups, expected_groups);
    // Of each request, the fields are in order and together.
    let fields_of = |names: &[&str], of: &str| -> Vec<String> {
        let begin = format!("{of}/");
        names.iter().filter_map(|name| name.strip_prefix(&begin)).map(str::to_owned).collect()
    };
    for request in expected.iter().filter_map(|name| name.strip_suffix("/max_active")) {
        let found = fields_of(&names, request);
        let is_missing_neo = neo(request) && found.is_empty();
        assert!(is_missing_neo || found == fields_of(&expected, request), "{request}: {found:?}");
    }
    // And nothing is there that is not expected, or missing but for the neo protocol.
    all.sort();
    names.sort_unstable();
    for name in &names {
        assert!(all.iter().any(|expected| expected == name), "{name}");
    }
    for name in expected_names(false) {
        assert!(names.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn every_figure_has_the_originals_form() {
    let instance = Instance::new();
    let (node, log) = StatsLog::start(&instance, &NodeSettings::default());
    let line = log.next();
    let text = read(&log.0);
    assert!(node.stop().success());
    for line in text.lines() {
        assert!(!line.ends_with(' ') && !line.contains("  "), "{line}");
    }
    for (name, value) in &line.0 {
        let is_float = name.starts_with("cpu_") || name == "mem_percentage";
        if name.ends_with("/mean_handled_time_micros") {
            assert_eq!(value, "-nan", "{name}: nothing was handled");
        } else if is_float {
            let (_, decimals) = value.split_once('.').expect("a float");
            assert!(decimals.len() == 2 && value.parse::<f64>().is_ok(), "{name}:{value}");
        } else {
            assert!(value.parse::<i64>().is_ok(), "{name}:{value}");
        }
    }
    assert!(line.get("vsz") > line.get("rss") && line.get("rss") > 0);
    assert_eq!((line.get("total_bytes"), line.get("handling_connections_pcnt")), (0, 0));
}

/// Sends a request and takes an answer of so many bytes.
fn exchange(peer: &mut Peer, request: &[u8], answer_bytes: usize) -> (i64, i64) {
    peer.send(request);
    assert_eq!(peer.receive(answer_bytes)[..4], legacy::status::OK.to_le_bytes());
    (i64::try_from(request.len()).unwrap(), i64::try_from(answer_bytes).unwrap())
}

#[test]
fn figures_count_what_happened_since_the_line_before() {
    let instance = Instance::new();
    let (node, log) = StatsLog::start(&instance, &NodeSettings::default());
    let mut peer = node.connect();
    let traffic = [
        exchange(&mut peer, &legacy::put("one", 1, b"12345"), 4),
        exchange(&mut peer, &legacy::put("one", 2, b"123"), 4),
        exchange(&mut peer, &legacy::put("two", 1, b"1"), 4),
        exchange(&mut peer, &legacy::get("one", 1), 4 + 8 + 5),
        exchange(&mut peer, &legacy::get("one", 9), 4 + 8),
        exchange(&mut peer, &legacy::exists("one", 1), 4 + 1),
        exchange(&mut peer, &legacy::remove("one", 2), 4),
        exchange(&mut peer, &legacy::get_version(), 4 + 8 + 8),
    ];
    let received = traffic.iter().map(|(request, _)| request).sum();
    let sent = traffic.iter().map(|(_, answer)| answer).sum();
    for (name, expected) in [
        ("bytes_received", received),
        ("bytes_sent", sent),
        ("request/Put/handled", 3),
        ("request/Get/handled", 2),
        ("request/Exists/handled", 1),
        ("request/Remove/handled", 1),
        ("action/written/records", 3),
        ("action/written/bytes", 9),
        ("action/read/records", 1),
        ("action/read/bytes", 5),
        ("action/deleted/records", 1),
        ("action/deleted/bytes", 3),
    ] {
        log.adds_up(name, expected);
    }
    for request in ["Put", "Get", "Exists", "Remove"] {
        let handled = log.sum(&format!("request/{request}/handled"));
        wait_for("each request to be in one bucket", || {
            let buckets = TIMING[1..].iter().map(|name| format!("request/{request}/{name}"));
            let timed: i64 = buckets.map(|bucket| log.sum(&bucket)).sum();
            assert!(timed <= handled, "{timed} of {handled}");
            (timed == handled).then_some(())
        });
        for line in log.lines() {
            let mean = line.text(&format!("request/{request}/mean_handled_time_micros"));
            let nothing = line.get(&format!("request/{request}/handled")) == 0;
            assert_eq!(mean == "-nan", nothing, "{mean}");
        }
    }
    let line = log.next();
    for (name, expected) in [
        ("total_records", 2),
        ("total_bytes", 2 * CHANNEL_BYTES + 2 * RECORD_BYTES + 6),
        ("channel/one/records", 1),
        ("channel/one/bytes", CHANNEL_BYTES + RECORD_BYTES + 5),
        ("channel/two/records", 1),
        ("channel/two/bytes", CHANNEL_BYTES + RECORD_BYTES + 1),
        ("request/Redistribute/handled", 0),
        ("request/Put/max_active", 0),
    ] {
        assert_eq!(line.get(name), expected, "{name}");
    }
    let names: Vec<&str> = line.0.iter().map(|(name, _)| name.as_str()).collect();
    let place = |name: &str| names.iter().position(|found| *found == name).unwrap();
    assert_eq!(place("channel/one/records"), place("channel/one/bytes") + 1);
    assert!(place("total_records") < place("channel/one/bytes"));
    assert!(place("channel/two/records") < place("old_request_versions_in_use"));
    assert!(node.stop().success());
}

#[test]
fn connections_and_running_requests_are_counted_while_they_last() {
    let instance = Instance::new();
    let settings = NodeSettings::default().with("Server", "connection_limit", "3");
    let (node, log) = StatsLog::start(&instance, &settings);
    // The one that looked whether the node listens is gone once there is none.
    wait_for("no connection", || (log.next().get("handling_connections") == 0).then_some(()));
    let mut listener = node.connect();
    exchange(&mut listener, &legacy::listen("ch"), 4);
    let mut other = node.connect();
    exchange(&mut other, &legacy::get_version(), 20);
    let line = log.next();
    assert_eq!(line.get("handling_connections"), 2);
    assert_eq!(line.get("handling_connections_pcnt"), 66, "truncated");
    let again = log.next();
    for line in [line, again] {
        assert_eq!(line.get("request/Listen/max_active"), 1, "still active");
        assert_eq!(line.get("request/Listen/handled"), 0);
    }
    exchange(&mut other, &legacy::put("ch", 5, b"1234"), 4);
    log.adds_up("action/forwarded/records", 1);
    log.adds_up("action/forwarded/bytes", 4);
    let mut third = node.connect();
    exchange(&mut third, &legacy::get_version(), 20);
    assert_eq!(node.connect().receive_to_end(), b"", "too many: closed at once");
    drop((listener, other, third));
    wait_for("no connection", || (log.next().get("handling_connections") == 0).then_some(()));
    log.adds_up("request/Listen/handled", 1);
    assert_eq!(log.next().get("request/Listen/max_active"), 0);
    assert!(node.stop().success());
}

#[test]
fn logged_events_are_counted_and_the_end_writes_no_line() {
    let instance = Instance::new();
    let (node, log) = StatsLog::start(&instance, &NodeSettings::default());
    log.next();
    // What was logged before the first line; nothing is logged afterwards.
    let root = read(&at(&node, "log/root.log"));
    let version = 1;
    let info = root.lines().filter(|line| line.contains(" Info [")).count() + version;
    assert_eq!(log.sum("logged_info"), i64::try_from(info).unwrap());
    assert_eq!(log.sum("logged_warn") + log.sum("logged_error") + log.sum("logged_fatal"), 0);
    let path: &Path = &log.0;
    let seconds = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(',').next().unwrap().to_owned()).collect()
    };
    assert!(node.stop().success());
    let all = seconds(&read(path));
    let mut unique = all.clone();
    unique.dedup();
    assert_eq!(all, unique, "one line a second, and none more");
}

/// The exact times are a matter of the unit tests; here, that the process asks for them.
#[test]
fn ticks_are_at_whole_multiples_on_the_wall_clock() {
    let instance = Instance::new();
    let (node, log) = StatsLog::start(&instance, &NodeSettings::default());
    // Each tick is late by what the machine needs, never by the phase of the start.
    wait_for("a line right after a whole second", || {
        let text = read(&log.0);
        let milliseconds = text.lines().filter_map(|line| line.get(20..23)?.parse::<u32>().ok());
        milliseconds.min().filter(|late| *late < 100)
    });
    assert!(node.stop().success());
}
