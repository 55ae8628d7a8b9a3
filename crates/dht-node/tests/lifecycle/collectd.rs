//! Stats for a collectd, which here is the test. Source: spec `node` 3.3, `file-formats` 6.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use dht_testkit::{NodeProcess, NodeSettings, wait_for};

use crate::support::{Instance, at, exe, put, read, wait_for_line};

const SOCKET: &str = "collectd.socket";

/// A node that sends stats each second to the socket in its folder.
fn start(instance: &Instance) -> NodeProcess {
    let settings = NodeSettings::default()
        .with("STATS", "interval", "1")
        .with("STATS", "socket_path", SOCKET)
        .with("STATS", "hostname", "host")
        .with("STATS", "app_instance", "7");
    NodeProcess::start(exe(), instance.path(), &settings)
}

/// Takes the values of one line, and returns the requests: all, unless the node has given up
/// waiting for us meanwhile.
fn take_line(listener: &UnixListener, answer: &str) -> Vec<String> {
    let (stream, _): (UnixStream, _) = listener.accept().unwrap();
    let mut requests = Vec::new();
    for request in BufReader::new(&stream).lines().map_while(Result::ok) {
        requests.push(request);
        if (&stream).write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
    requests
}

#[test]
fn collectd_gets_what_the_stats_log_gets() {
    let instance = Instance::new();
    let listener = UnixListener::bind(instance.path().join(SOCKET)).unwrap();
    let node = start(&instance);
    assert!(put(&mut node.connect(), "fruits", 1, b"apple"));
    let records = "PUTVAL \"host/dhtnode-7/dhtnode_stats-channel.fruits.records\" interval=1 N:1";
    let requests = wait_for("a line with the record", || {
        let requests = take_line(&listener, "0 Success: 1 value has been dispatched.\n");
        requests.iter().any(|request| request == records).then_some(requests)
    });
    let sent: Vec<&str> = requests
        .iter()
        .map(|request| request.strip_prefix("PUTVAL \"host/dhtnode-7/dhtnode_stats-").unwrap())
        .collect();
    let sent: Vec<(&str, &str)> =
        sent.iter().map(|rest| rest.split_once("\" interval=1 N:").expect("a value")).collect();
    let lines = read(&at(&node, "log/stats.log"));
    let is_the_same = |line: &str| {
        let items = line.split(' ').skip(2).map(|item| item.rsplit_once(':').expect("an item"));
        let items = items.map(|(name, value)| (name.replace('/', "."), value.replace("-nan", "U")));
        items.eq(sent.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    };
    assert!(lines.lines().any(is_the_same), "{sent:?} is none of\n{lines}");
    let taken = format!("collectd at {SOCKET} takes the stats: ");
    wait_for("a line that tells", || {
        read(&at(&node, "log/root.log")).contains(&taken).then_some(())
    });
}

#[test]
fn a_collectd_that_refuses_or_comes_late_is_told_of_once_and_disturbs_nothing() {
    let instance = Instance::new();
    let node = start(&instance);
    let log = at(&node, "log/root.log");
    let told = |text: &str| read(&log).matches(text).count();
    let failed = format!("cannot send stats to collectd at {SOCKET}: No such file or directory");
    let lines = || read(&at(&node, "log/stats.log")).lines().count();
    wait_for("the failure to be told", || (told(&failed) == 1).then_some(()));
    let before = lines();
    wait_for("more lines", || (lines() >= before + 3).then_some(()));
    assert_eq!(told(&failed), 1, "once");

    let listener = UnixListener::bind(instance.path().join(SOCKET)).unwrap();
    wait_for("the refusal to be told", || {
        let values = take_line(&listener, "-1 Type `dhtnode_stats' isn't defined.\n").len();
        let refused = format!(
            "Warn [dht_daemon.stats.collectd] - collectd at {SOCKET} refuses {values} of {values} \
             values of the stats, the first of them: \"PUTVAL \\\"host/dhtnode-7/dhtnode_stats-\
             cpu_user\\\" interval=1 N:"
        );
        read(&log).contains(&refused).then_some(())
    });

    // From here on nobody answers: the node serves, writes its stats and stops in time.
    let (_silent, _) = listener.accept().unwrap();
    let before = lines();
    wait_for("more lines", || (lines() >= before + 3).then_some(()));
    wait_for_line(
        &log,
        "Warn [dht_daemon.stats.collectd] - collectd has not taken the stats that were sent \
         before: some are left out, and are in the stats log only. See what it is busy with",
    );
    assert!(put(&mut node.connect(), "fruits", 1, b"apple"));
    assert!(node.stop().success());
}
