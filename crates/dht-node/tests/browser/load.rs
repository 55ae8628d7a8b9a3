//! The page of a node whose workers have all that they can do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dht_testkit::{NodeSettings, Peer, legacy, wait_for};

use crate::driver::{DESKTOP, Device, PHONE};
use crate::node::{HOT_KEY, Node, burst, listen};
use crate::page::Page;

/// Each has a [`burst`] of requests under way.
const CONNECTIONS: u64 = 8;

/// Keeps a node busy while `look` runs.
fn under_load(node: &Node, look: impl FnOnce(&AtomicU64)) {
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (is_over, answered) = (&is_over, &answered);
            scope.spawn(move || {
                let mut peer = node.process.connect();
                let channel = format!("channel-{number}");
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) || !burst(&mut peer, &channel, number) {
                        break;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let end = EndOf(&is_over);
        look(&answered);
        drop(end);
    });
}

/// Ends the load, also where a test has failed.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn handled(rows: &[Vec<String>], request: &str) -> u64 {
    let row = rows.iter().find(|row| row[..2] == [request, "legacy"]);
    row.and_then(|row| row[6].replace(',', "").parse().ok()).unwrap_or(0)
}

fn handled_by(node: &Node, request: &str) -> u64 {
    let status = node.status();
    let requests = status["requests"].as_array().expect("a list");
    let found = requests.iter().find(|found| found["request"] == request);
    found.and_then(|found| found["handled"].as_u64()).unwrap_or(0)
}

fn figures_keep_up(device: Device) -> Option<()> {
    let settings = NodeSettings::default()
        .with("Admin", "hot_key_sample", "16")
        .with("Admin", "slow_request_ms", "1")
        .with("Dumps", "period_s", "2");
    let node = Node::start(&settings);
    std::fs::create_dir_all(node.path("data/broken.tcm/full")).unwrap();
    let mut peer = node.process.connect();
    send(&mut peer, &legacy::put("broken", 1, b"v"));
    // Now: the thread that dumps has less priority than whatever keeps the node busy.
    wait_for("the dump that fails", || (node.status()["dumps"]["failing"] == 1).then_some(()));
    // Some of a thousand channels have little in them.
    for number in 0..992_usize {
        let request = legacy::put(&format!("little-{number:03}"), 1, &vec![b'v'; number + 1]);
        send(&mut peer, &request);
    }
    let slow_listener = listen(&node, "channel-1");
    let page = Page::open(&node, device)?;
    under_load(&node, |answered| {
        for request in ["Put", "Get"] {
            // Between what the node said before and what it says after lies what is shown.
            let before = handled_by(&node, request).max(1);
            let shown = wait_for("newer figures", || {
                Some(handled(&page.rows("#requests"), request)).filter(|shown| *shown >= before)
            });
            assert!(shown <= handled_by(&node, request), "{request}");
        }
        assert!(answered.load(Ordering::Relaxed) > 0, "the load is answered");
        page.expect_fact("#glance", "channels", "1,001");
        wait_for("the trouble", || {
            page.text("#state").starts_with("Degraded: 1 failed").then_some(())
        });
        for graph in ["graph-requests", "graph-latency", "graph-bytes"] {
            let points = || page.attribute(&format!("#{graph} polyline"), "points");
            wait_for(graph, || (points().split(' ').count() >= 4).then_some(()));
        }
        wait_for("requests per second", || {
            let shown = page.fact("#glance", "requests per s")?.replace(',', "");
            (shown.parse::<f64>().ok()? > 0.0).then_some(())
        });
        page.expect_row("#hot-rows", &[&format!("{HOT_KEY:016x}")]);
        page.expect_row("#stream-rows", &[&slow_listener.0.local_addr().unwrap().to_string()]);
        assert!(page.rows("#channel-rows").len() <= 200, "the table is bounded");
        page.check();
        let name = if device.is_phone { "phone.png" } else { "busy.png" };
        let name = if device.is_dark { "dark.png" } else { name };
        page.picture(name, "html", if device.is_phone { 1500 } else { 1750 });
    });
    Some(())
}

fn send(peer: &mut Peer, request: &[u8]) {
    peer.send(request);
    assert_eq!(peer.receive_u32(), legacy::status::OK);
}

#[test]
fn the_figures_keep_up_with_a_node_under_load_on_a_desktop() {
    let _ = figures_keep_up(DESKTOP);
}

#[test]
fn the_figures_keep_up_with_a_node_under_load_in_the_dark() {
    let _ = figures_keep_up(DESKTOP.dark());
}

#[test]
fn the_figures_keep_up_with_a_node_under_load_on_a_phone() {
    let _ = figures_keep_up(PHONE);
}
