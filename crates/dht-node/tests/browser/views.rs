//! Every view shows what the node says, on every device.

use dht_testkit::{NodeSettings, legacy, wait_for};

use crate::driver::{DESKTOP, Device, PHONE};
use crate::node::{Node, listen, put};
use crate::page::Page;

/// The views, by their links.
const VIEWS: [&str; 8] =
    ["traffic", "range", "channels", "dumps", "streams", "slow", "hot", "memory"];

/// A node about which every view has something to show.
fn node() -> Node {
    let settings = NodeSettings::default().with("Admin", "hot_key_sample", "1").with(
        "Admin",
        "slow_request_ms",
        "1000",
    );
    Node::start(&settings)
}

/// A Put whose first bytes come more than a second before its last.
fn put_slowly(node: &Node) {
    let received = || node.status()["totals"]["received_bytes"].as_u64().expect("a number");
    let before = received();
    let request = legacy::put("pears", 0xabc, b"late");
    let (first, rest) = request.split_at(10);
    let mut peer = node.process.connect();
    peer.send(first);
    wait_for("the first bytes to be received", || (received() == before + 10).then_some(()));
    let began = node.uptime();
    wait_for("more than a second to pass", || (node.uptime() >= began + 2).then_some(()));
    peer.send(rest);
    assert_eq!(peer.receive_u32(), legacy::status::OK);
}

fn every_view_agrees_with_the_node(device: Device) {
    let node = node();
    let mut peer = node.process.connect();
    put(&mut peer, "apples", 1234, b"red");
    put(&mut peer, "pears", 7, &[b'p'; 1024]);
    let listener = listen(&node, "pears");
    put_slowly(&node);
    let Some(page) = Page::open(&node, device) else { return };
    glance_and_traffic(&page);
    node_and_channels(&page, &node);
    dumps_streams_and_memory(&page, &node, &listener.0.local_addr().unwrap().to_string());
    slow_and_hot(&page);
    for view in VIEWS {
        click_through_to(&page, view);
    }
    page.check();
    find_and_sort(&page);
    metrics_and_back(&page);
    page.check();
}

fn glance_and_traffic(page: &Page<'_>) {
    for (name, value) in
        [("records", "1,242"), ("channels", "2"), ("connections", "2"), ("values", "10.6 KiB")]
    {
        page.expect_fact("#glance", name, value);
    }
    assert_eq!(page.text("#state"), "Healthy, serving");
    wait_for("all Puts", || {
        let rows = page.rows("#requests");
        let is_put = |row: &&Vec<String>| row[..2] == ["Put", "legacy"];
        let put = rows.iter().find(is_put)?;
        // Handled, and slow.
        (put[6..] == ["1,242", "1"]).then_some(())
    });
    page.expect_row("#requests", &["Listen", "legacy"]);
    for graph in ["graph-requests", "graph-bytes"] {
        let line = || page.attribute(&format!("#{graph} polyline"), "points");
        wait_for(graph, || (line().split(' ').count() >= 2).then_some(()));
        let told = page.attribute(&format!("#{graph}"), "aria-label");
        assert!(told.starts_with("Last "), "a graph says in words what it shows: {told}");
    }
}

fn node_and_channels(page: &Page<'_>, node: &Node) {
    let [legacy, neo] = [node.process.address(), node.process.neo_address()];
    page.expect_fact("#node", "legacy", &legacy.to_string());
    page.expect_fact("#node", "neo", &neo.to_string());
    page.expect_fact("#node", "share", "100.0 %");
    page.expect_fact("#node", "range", "0000000000000000 to ffffffffffffffff");
    let status = node.status();
    let workers = format!("{}, on {}", status["node"]["workers"], status["node"]["io"]);
    page.expect_fact("#node", "workers", &workers.replace('"', ""));
    assert_eq!(page.text("#where"), legacy.to_string());
    let told = page.attribute("#ring", "aria-label");
    assert!(told.contains("100.0 %"), "the ring says in words what it shows: {told}");
    page.expect_row("#channel-rows", &["apples", "1,234", "3.6 KiB", "0", "never", "–", "none"]);
    page.expect_row("#channel-rows", &["pears", "8", "7.0 KiB", "1", "never", "–", "none"]);
    assert_eq!(page.text("#channels-caption"), "2 of 2 channels");
}

fn dumps_streams_and_memory(page: &Page<'_>, node: &Node, listener: &str) {
    page.expect_fact("#dump-facts", "state", "ok");
    page.expect_fact("#dump-facts", "written", "0");
    let changes = node.status()["changelog"]["position"].to_string();
    assert_eq!(changes, "1242", "one for each Put");
    page.expect_fact("#log-facts", "position", "1,242");
    page.expect_row("#stream-rows", &[listener, "legacy Listen", "pears"]);
    let memory = node.status()["memory"].as_array().expect("a list").len();
    assert_eq!(page.rows("#memory-rows").len(), memory);
    for queue in node.status()["totals"]["queues"].as_array().expect("a list") {
        let name = queue[0].as_str().expect("a name").replace('_', " ");
        let rows = page.rows("#queue-rows");
        let row = rows.iter().find(|row| row[0] == name).expect("a row for each queue");
        assert_eq!(row[2].replace(',', ""), queue[2].to_string(), "the bound of {name}");
    }
}

fn slow_and_hot(page: &Page<'_>) {
    let rows = page.rows("#slow-rows");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][3..6], ["legacy Put", "pears", "0000000000000abc"]);
    let caption = page.text("#slow-caption");
    assert!(caption.contains("took 1.0 s or more"), "{caption}");
    let caption = page.text("#hot-caption");
    assert!(caption.starts_with("One in 1 requests is looked at: 1,242 in the"), "{caption}");
}

/// The link of a view leads to it: its heading is on the screen, and nothing covers it.
fn click_through_to(page: &Page<'_>, view: &str) {
    page.browser.click(&format!("nav a[href='#{view}']"));
    let script = "const heading = document.querySelector(`#${arguments[0]} h2`);\
                  const { left, top, height } = heading.getBoundingClientRect();\
                  const there = document.elementFromPoint(left + 5, top + height / 2);\
                  return location.hash === `#${arguments[0]}` && there === heading";
    wait_for(view, || (page.browser.run(script, &[view]) == true).then_some(()));
}

fn find_and_sort(page: &Page<'_>) {
    let names = || -> Vec<String> {
        page.rows("#channel-rows").into_iter().map(|row| row[0].clone()).collect()
    };
    assert_eq!(names(), ["pears", "apples"], "by bytes, unless told otherwise");
    page.browser.click("nav a[href='#channels']");
    page.browser.run(
        "const order = document.getElementById('order'); order.value = arguments[0];\
         order.dispatchEvent(new Event('input'))",
        &["records"],
    );
    assert_eq!(names(), ["apples", "pears"]);
    page.browser.click("#filter");
    page.browser.press("EAR");
    assert_eq!(names(), ["pears"]);
    page.browser.press("x");
    assert_eq!(names(), ["No channel has such a name."]);
}

fn metrics_and_back(page: &Page<'_>) {
    page.browser.click("nav a[href='/metrics']");
    wait_for("the metrics", || page.text("body").contains("dhtnode_records 1242").then_some(()));
    page.browser.run("history.back()", &[]);
    wait_for("the page again", || page.fact("#glance", "records").filter(|it| it == "1,242"));
}

#[test]
fn every_view_agrees_with_the_node_on_a_desktop() {
    every_view_agrees_with_the_node(DESKTOP);
}

#[test]
fn every_view_agrees_with_the_node_on_a_desktop_in_the_dark() {
    every_view_agrees_with_the_node(DESKTOP.dark());
}

#[test]
fn every_view_agrees_with_the_node_on_a_phone() {
    every_view_agrees_with_the_node(PHONE);
}

#[test]
fn every_view_agrees_with_the_node_on_a_phone_in_the_dark() {
    every_view_agrees_with_the_node(PHONE.dark());
}

#[test]
fn an_empty_node_says_so_in_every_view() {
    let node = Node::start(&NodeSettings::default().with("Log", "durability", "memory"));
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    page.expect_row("#channel-rows", &["No channels yet: the first Put makes one."]);
    for (body, said) in [
        ("#stream-rows", "Nobody listens to changes."),
        ("#slow-rows", "None."),
        ("#hot-rows", "No key stands out."),
    ] {
        assert_eq!(page.rows(body), [[said]]);
    }
    page.expect_fact("#glance", "records", "0");
    page.expect_fact("#log-facts", "log of changes", "off: level memory");
    page.check();
    page.picture("empty.png", "html", 1500);
}
