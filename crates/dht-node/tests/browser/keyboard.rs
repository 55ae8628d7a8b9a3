//! The page without a mouse.

use dht_testkit::{NodeSettings, wait_for};

use crate::driver::{DESKTOP, key};
use crate::node::{Node, put};
use crate::page::Page;

/// Most presses of Tab before the focus has to be at the end.
const STOPS_MAX: usize = 60;

#[test]
fn all_that_can_be_used_is_reached_in_order_and_is_seen_to_have_the_focus() {
    let node = Node::start(&NodeSettings::default());
    put(&mut node.process.connect(), "apples", 1, b"red");
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    let mut stops = Vec::new();
    loop {
        page.browser.press(key::TAB);
        let stop = page.focus();
        if stop == "BODY" {
            break;
        }
        let outline = "const { left } = document.activeElement.getBoundingClientRect();\
                       const { outlineStyle } = getComputedStyle(document.activeElement);\
                       return left >= 0 && outlineStyle === 'solid'";
        assert_eq!(page.browser.run(outline, &[]), true, "{stop} has the focus, but who sees it?");
        stops.push(stop);
        assert!(stops.len() < STOPS_MAX, "no way out: {stops:?}");
    }
    let expected =
        ["skip", "pause", "#traffic", "#memory", "/metrics", "scroll", "filter", "order"];
    let mut rest = stops.iter();
    for stop in expected {
        assert!(rest.any(|found| found == stop), "{stop} is not in its place: {stops:?}");
    }
    page.check();
}

#[test]
fn skipping_pausing_finding_and_sorting_need_no_mouse() {
    let node = Node::start(&NodeSettings::default());
    let mut peer = node.process.connect();
    put(&mut peer, "cherries", 3, b"red");
    put(&mut peer, "bananas", 2, b"a longer value");
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    page.browser.press(&format!("{}{}", key::TAB, key::ENTER));
    assert_eq!(page.focus(), "main", "the first link skips what is above the figures");

    page.browser.open(&format!("{}/#channels", node.origin));
    page.expect_row("#channel-rows", &["bananas"]);
    page.browser.run("document.getElementById('filter').focus()", &[]);
    page.browser.press("cherr");
    page.expect_row("#channel-rows", &["cherries"]);
    assert_eq!(page.text("#channels-caption"), "1 of 2 channels");
    page.browser.run("document.getElementById('filter').select()", &[]);
    page.browser.press("s");
    // To the list; its entry `records` begins so.
    page.browser.press(&format!("{}r", key::TAB));
    let names = || -> Vec<String> {
        page.rows("#channel-rows").into_iter().map(|row| row[0].clone()).collect()
    };
    wait_for("cherries, which has more records", || {
        (names() == ["cherries", "bananas"]).then_some(())
    });
    page.check();
}

#[test]
fn while_paused_nothing_changes() {
    let node = Node::start(&NodeSettings::default());
    let Some(page) = Page::open(&node, DESKTOP) else { return };
    page.browser.run("document.getElementById('pause').focus()", &[]);
    page.browser.press(key::SPACE);
    assert_eq!(page.attribute("#pause", "aria-pressed"), "true");
    assert_eq!(page.text("#pause"), "Go on");
    // A question that was under way is answered; then there is none for longer than it takes.
    let began = node.uptime();
    wait_for("a second", || (node.uptime() > began).then_some(()));
    let shown = page.text("#updated");
    put(&mut node.process.connect(), "apples", 5, b"red");
    let began = node.uptime();
    wait_for("two more questions' time", || (node.uptime() > began + 5).then_some(()));
    assert_eq!(page.text("#updated"), shown);
    assert_eq!(page.fact("#glance", "records").as_deref(), Some("0"));
    page.browser.press(key::ENTER);
    assert_eq!(page.text("#pause"), "Pause");
    page.expect_fact("#glance", "records", "5");
    page.check();
}
