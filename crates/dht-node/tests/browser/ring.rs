//! The page of a node that knows the admin ports of others.

use dht_testkit::{NodeSettings, free_port, legacy, wait_for};

use crate::driver::{DESKTOP, Device, PHONE};
use crate::node::Node;
use crate::page::Page;

const LOWER: (&str, &str) = ("0x0000000000000000", "0x7fffffffffffffff");
const UPPER: (&str, &str) = ("0x8000000000000000", "0xffffffffffffffff");

fn with_range(settings: &NodeSettings, (min, max): (&str, &str)) -> NodeSettings {
    settings.clone().with("Server", "minval", min).with("Server", "maxval", max)
}

/// Two nodes that have the whole ring, and the port of a third that is not there.
fn ring() -> (Node, Node, u16) {
    let ports = [free_port(), free_port(), free_port()];
    let peers = ports.map(|port| format!("127.0.0.1:{port}")).join(", ");
    let settings = NodeSettings::default().with("Admin", "peers", &peers);
    let lower = Node::start_at(ports[0], &with_range(&settings, LOWER));
    let upper = Node::start_at(ports[1], &with_range(&settings, UPPER));
    for node in [&lower, &upper] {
        let mut peer = node.process.connect();
        for key in 0..100 {
            peer.send(&legacy::put("apples", key, b"red"));
            assert!([legacy::status::OK, legacy::status::WRONG_NODE].contains(&peer.receive_u32()));
        }
    }
    (lower, upper, ports[2])
}

fn all_nodes_are_shown(device: Device) {
    let (lower, upper, silent) = ring();
    let Some(page) = Page::open(&lower, device) else { return };
    let host = |node: &Node| node.origin.strip_prefix("http://").unwrap().to_owned();
    let own = format!("{} (this one)", host(&lower));
    let [below, above] =
        [&lower, &upper].map(|node| node.status()["totals"]["records"].to_string());
    assert_ne!(below, "0");
    let range = "0000000000000000 to 7fffffffffffffff";
    page.expect_row("#node-rows", &[&own, "Healthy, serving", range, "50.0 %", &below]);
    let range = "8000000000000000 to ffffffffffffffff";
    page.expect_row("#node-rows", &[&host(&upper), "Healthy, serving", range, "50.0 %", &above]);
    let missing = format!("127.0.0.1:{silent}");
    wait_for("the third's silence", || {
        let rows = page.rows("#node-rows");
        let row = rows.iter().find(|row| row[0] == missing)?;
        row[1].starts_with("No answer: ").then_some(())
    });
    wait_for("the cover of the ring", || {
        let told = "All of the hash space has a node; 1 of 3 nodes did not answer";
        (page.text("#coverage") == told).then_some(())
    });
    let told = page.attribute("#ring", "aria-label");
    assert!(told.contains(&format!("{} has 50.0 %", host(&upper))), "{told}");
    let (name, height) = if device.is_phone { ("ring-phone.png", 900) } else { ("ring.png", 560) };
    page.picture(name, "#range", height);
    // The browser itself tells of the one that is not there, and asks nobody else.
    let console = page.browser.console();
    assert!(console.iter().all(|line| line.contains(&missing)), "{console:?}");
    let origins = [&lower.origin, &upper.origin, &format!("http://{missing}")];
    for url in page.browser.requested() {
        assert!(origins.iter().any(|origin| url.starts_with(&format!("{origin}/"))), "{url}");
    }
    upper.process.signal("KILL");
    wait_for("the gap", || {
        let told = "50.0 % of the hash space has no node that answers; 2 of 3 nodes did not answer";
        (page.text("#coverage") == told).then_some(())
    });
}

#[test]
fn all_nodes_of_the_ring_are_shown_with_those_that_are_silent() {
    all_nodes_are_shown(DESKTOP);
}

#[test]
fn all_nodes_of_the_ring_are_shown_on_a_phone_in_the_dark() {
    all_nodes_are_shown(PHONE.dark());
}

#[test]
fn a_peer_leads_to_its_own_page() {
    let (lower, upper, _) = ring();
    let Some(page) = Page::open(&lower, DESKTOP) else { return };
    let link = format!("#node-rows a[href='{}/']", upper.origin);
    wait_for("the link", || page.texts(&link).first().cloned());
    page.browser.click(&link);
    let own = upper.process.address().to_string();
    wait_for("the other's page", || (page.texts("#where") == [own.as_str()]).then_some(()));
}

#[test]
fn a_node_does_not_answer_the_page_of_one_that_it_does_not_know() {
    let stranger = Node::start(&NodeSettings::default());
    let known = stranger.origin.strip_prefix("http://").unwrap();
    let settings = NodeSettings::default().with("Admin", "peers", known);
    let node = Node::start(&settings);
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    wait_for("the refusal", || {
        let rows = page.rows("#node-rows");
        let row = rows.iter().find(|row| row[0] == known)?;
        row[1].starts_with("No answer: ").then_some(())
    });
    let console = page.browser.console();
    assert!(console.iter().any(|line| line.contains("CORS")), "{console:?}");
}
