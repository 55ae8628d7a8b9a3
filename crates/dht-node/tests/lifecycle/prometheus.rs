//! What monitoring makes of a node: Prometheus' own `promtool` reads the metrics and the alert
//! rules.
//!
//! Where the machine has no `promtool` (Debian: `prometheus`) its tests say so and pass, unless
//! `DHT_REQUIRE_PROMTOOL=1` asks for it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use dht_testkit::{NodeSettings, legacy};

use crate::admin::AdminNode;
use crate::support::{Instance, put};

/// How often the metrics are read under load.
const SCRAPES: usize = 20;
/// Clients that write meanwhile, each to a channel of its own.
const WRITERS: usize = 4;

/// A file of `etc/` in the sources.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc").join(name)
}

/// Runs `promtool check` on an input. It must find nothing at all, not even bad style.
fn check(what: &str, file: Option<&Path>, input: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", what]).args(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let required = std::env::var("DHT_REQUIRE_PROMTOOL").is_ok_and(|it| it == "1");
            assert!(!required, "DHT_REQUIRE_PROMTOOL=1, but: {error}");
            // Not `eprintln`, whose lines are kept from the user where a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: promtool not found");
            return;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let [out, errors] = [ended.stdout, ended.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(ended.status.success(), "{}: {out}{errors}\nof:\n{input}", ended.status);
    assert!(errors.trim().is_empty(), "{errors}\nof:\n{input}");
}

#[test]
fn promtool_accepts_the_metrics_of_a_node_under_load() {
    let instance = Instance::new();
    let admin = AdminNode::start(&instance, &NodeSettings::default());
    let mut listener = admin.node.connect();
    listener.send(&legacy::listen("channel-0"));
    assert_eq!(listener.receive(4), legacy::status::OK.to_le_bytes());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (mut peer, stop) = (admin.node.connect(), &stop);
            let channel = format!("channel-{writer}");
            scope.spawn(move || {
                for key in (0..1000).cycle() {
                    if stop.load(Relaxed) {
                        break;
                    }
                    assert!(put(&mut peer, &channel, key, b"value"));
                }
            });
        }
        for _ in 0..SCRAPES {
            check("metrics", None, &admin.metrics());
        }
        stop.store(true, Relaxed);
    });
    assert!(admin.metrics().contains("dhtnode_channel_records{channel=\"channel-3\"}"));
}

#[test]
fn promtool_accepts_the_alert_rules() {
    check("rules", Some(&sample("prometheus-rules.yml")), "");
}
