//! What the page says when something is wrong.

use dht_testkit::{NodeSettings, wait_for};

use crate::driver::{DESKTOP, PHONE};
use crate::node::{Node, put};
use crate::page::Page;

#[test]
fn a_dump_that_fails_is_told_first_and_no_longer_when_it_was_mended() {
    let settings = NodeSettings::default().with("Dumps", "period_s", "1");
    let node = Node::start(&settings.with("Dumps", "retry_s", "1"));
    // Where the dump has to go there is a folder, which no rename replaces.
    let obstacle = node.path("data/broken.tcm/full");
    std::fs::create_dir_all(&obstacle).unwrap();
    let mut peer = node.process.connect();
    put(&mut peer, "broken", 1, b"v");
    put(&mut peer, "large", 50, &[b'v'; 1000]);
    let Some(page) = Page::open(&node, PHONE.dark()) else { return };
    wait_for("the trouble", || {
        page.text("#state").starts_with("Degraded: 1 failed, 0 stalled").then_some(())
    });
    assert_eq!(page.attribute("#state", "class"), "state bad");
    assert_eq!(page.attribute("#state", "role"), "status", "screen readers are told");
    assert!(page.browser.run("return document.title", &[]).as_str().unwrap().starts_with("⚠ "));
    assert_eq!(page.fact("#dump-facts", "state").as_deref(), Some("1 failed, 0 stalled"));
    let first = wait_for("the broken channel on top", || {
        page.rows("#channel-rows").first().filter(|row| row[0] == "broken").cloned()
    });
    let told = &node.status()["channels"][0]["dump_error"];
    assert_eq!(first[6], told.as_str().expect("an error"), "the words of the node");
    assert_eq!(page.attribute("#channel-rows tr", "class"), "bad-row");
    page.check();
    std::fs::remove_dir_all(node.path("data/broken.tcm")).unwrap();
    wait_for("the health to be good", || (page.text("#state") == "Healthy, serving").then_some(()));
    page.expect_row("#channel-rows", &["broken", "1"]);
    assert_eq!(page.attribute("#channel-rows tr", "class"), "");
    page.check();
}

#[test]
fn a_node_that_went_away_is_told() {
    let node = Node::start(&NodeSettings::default());
    put(&mut node.process.connect(), "apples", 3, b"red");
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    page.expect_fact("#glance", "records", "3");
    node.process.signal("KILL");
    wait_for("the end to be told", || {
        page.text("#state").starts_with("No answer from the node").then_some(())
    });
    assert_eq!(page.fact("#glance", "records").as_deref(), Some("3"), "the last that was known");
    assert_eq!(page.attribute("#state", "class"), "state bad");
}
