//! Every status of the requests that are about one record or one channel. Source: spec
//! `protocol-neo` 10, 12, 13.

use dht_testkit::{NodeSettings, from_hex};

use crate::support::{CHANNEL, Client, Node};
use crate::wire::{self, GetAll, Mirror, SUPPORTED};

/// A key of the upper half of the range: what counts is its bits in reverse.
const OURS: u64 = 1;
/// A key of the lower half.
const NOT_OURS: u64 = 2;

/// A node that owns the upper half.
fn node_of_a_half() -> Node {
    Node::with(&NodeSettings::default().with("Server", "minval", "0x8000000000000000"))
}

/// No channel can have these names.
fn bad_names() -> Vec<String> {
    let names = ["", " ", "a b", "a/b", "../etc/passwd", ".", "a.tcm", "na\u{ef}ve", "a\0", "a\n"];
    let mut names: Vec<_> = names.map(str::to_owned).into();
    names.push("x".repeat(64 * 1024));
    names
}

/// Every request that has a channel, and its status Error.
fn requests_of(channel: &str, key: u64) -> [(Vec<u8>, u8); 9] {
    [
        (wire::put(channel, key, b"value"), 3),
        (wire::get(channel, key), 4),
        (wire::exists(channel, key), 4),
        (wire::remove(channel, key), 4),
        (wire::update_get(channel, key), 10),
        (wire::update_at_once(channel, key, b"", b"new"), 10),
        (wire::remove_channel(channel), 3),
        (GetAll { channel, ..GetAll::default() }.encode(), 6),
        (Mirror { channel, ..Mirror::default() }.encode(), 6),
    ]
}

#[test]
fn a_record_is_put_found_replaced_and_removed() {
    let node = Node::start();
    let mut client = node.client();
    assert_eq!(client.ask(&wire::exists(CHANNEL, 7)), [2], "NoRecord");
    assert_eq!(client.ask(&wire::remove(CHANNEL, 7)), [1], "NoRecord");
    assert_eq!(client.get(CHANNEL, 7), None);
    assert_eq!(client.ask(&wire::put(CHANNEL, 7, b"one")), [1], "Put");
    assert_eq!(client.ask(&wire::exists(CHANNEL, 7)), [1], "RecordExists");
    assert_eq!(client.get(CHANNEL, 7).as_deref(), Some(&b"one"[..]));
    assert_eq!(client.ask(&wire::put(CHANNEL, 7, b"another")), [1]);
    assert_eq!(client.get(CHANNEL, 7).as_deref(), Some(&b"another"[..]));
    assert_eq!(client.get(CHANNEL, 8), None);
    assert_eq!(client.get("other", 7), None);
    assert_eq!(client.ask(&wire::remove(CHANNEL, 7)), [2], "Removed");
    assert_eq!(client.ask(&wire::remove(CHANNEL, 7)), [1]);
    assert_eq!(client.get(CHANNEL, 7), None);
}

#[test]
fn the_answer_to_a_get_has_the_bytes_of_the_specification() {
    let node = Node::start();
    let mut client = node.client();
    client.put("test", 0xdead, b"abc");
    client.peer.send(&from_hex(
        "01 1e 00 00 00 00 00 00 00 1f   03 00 00 00 00 00 00 00
         03 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
    ));
    client.peer.expect_hex(
        "01 09 00 00 00 00 00 00 00 08   03 00 00 00 00 00 00 00   fd
         01 09 00 00 00 00 00 00 00 08   03 00 00 00 00 00 00 00   02
         01 13 00 00 00 00 00 00 00 12   03 00 00 00 00 00 00 00
         03 00 00 00 00 00 00 00 61 62 63",
    );
}

#[test]
fn an_empty_value_is_a_value() {
    let node = Node::start();
    let mut client = node.client();
    client.put(CHANNEL, 1, b"");
    assert_eq!(client.get(CHANNEL, 1).as_deref(), Some(&b""[..]));
    assert_eq!(client.ask(&wire::exists(CHANNEL, 1)), [1]);
    assert_eq!(client.records(CHANNEL), [(1, vec![])].into());
    assert_eq!(client.ask(&wire::remove(CHANNEL, 1)), [2], "Removed");
    assert_eq!(client.get(CHANNEL, 1), None);
    client.put(CHANNEL, 1, b"long");
    client.put(CHANNEL, 1, b"");
    assert_eq!(client.get(CHANNEL, 1).as_deref(), Some(&b""[..]), "it replaces another");
}

#[test]
fn values_of_any_length_come_back() {
    let node = Node::start();
    let mut client = node.client();
    // The longest that an original client sends; beyond, up to what one message holds.
    let message_overhead = 8 + wire::put(CHANNEL, 0, b"").len();
    for value_bytes in [65_512, 65_513, 1 << 20, (64 << 20) - message_overhead] {
        let value: Vec<u8> = (0..=250).cycle().take(value_bytes).collect();
        client.put(CHANNEL, 1, &value);
        assert!(client.get(CHANNEL, 1) == Some(value), "{value_bytes} bytes");
    }
    assert_eq!(client.records(CHANNEL).len(), 1);
    client.remove(CHANNEL, 1);
}

#[test]
fn keys_of_others_are_refused_and_touch_nothing() {
    let node = node_of_a_half();
    let mut client = node.client();
    for (request, wrong_node) in [
        (wire::put(CHANNEL, NOT_OURS, b"value"), 2),
        (wire::get(CHANNEL, NOT_OURS), 3),
        (wire::exists(CHANNEL, NOT_OURS), 3),
        (wire::remove(CHANNEL, NOT_OURS), 3),
        (wire::update_get(CHANNEL, NOT_OURS), 9),
        (wire::update_at_once(CHANNEL, NOT_OURS, b"", b"new"), 9),
        (wire::update(77, CHANNEL, NOT_OURS), 9),
    ] {
        let id = client.start_supported(&request);
        assert_eq!(client.receive(id), [wrong_node], "{request:02x?}");
        client.assert_silent(id);
    }
    assert!(client.channels().is_empty(), "nor is the channel made");
    client.put(CHANNEL, OURS, b"value");
    client.put(CHANNEL, u64::MAX, b"value");
    assert_eq!(client.get(CHANNEL, OURS).as_deref(), Some(&b"value"[..]));
}

#[test]
fn get_hash_range_tells_the_range_and_goes_on() {
    let node = node_of_a_half();
    let mut client = node.client();
    let id = client.start_supported(&wire::get_hash_range());
    let range = [0x8000_0000_0000_0000_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
    assert_eq!(client.receive(id), range);
    let second = client.start_supported(&[&wire::get_hash_range()[..], b"ignored"].concat());
    assert_eq!(client.receive(second), range);
    // It runs for ever; a message ends it without a word, and its id is free again.
    client.send(id, b"anything");
    client.assert_silent(id);
    client.send(id, &wire::get_hash_range());
    assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], range));
    client.send(second, b"");
    client.assert_silent(second);
}

#[test]
fn names_that_no_channel_can_have_are_answered_by_the_requests_error() {
    let node = Node::start();
    let mut client = node.admin();
    for channel in bad_names() {
        for (request, error) in requests_of(&channel, 1) {
            let id = client.start_supported(&request);
            assert_eq!(client.receive(id), [error], "{channel:.20?} {}", request[0]);
            // It is over: its id may start another.
            client.send(id, &wire::get_channels());
            assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![3]));
        }
    }
    let mut not_utf8 = wire::get("ab", 1);
    not_utf8[10] = 0xff;
    assert_eq!(client.ask(&not_utf8), [4]);
    for channel in ["a", "-", "_", "0", "Name_with-dash", &"x".repeat(200)] {
        client.put(channel, 1, b"value");
        client.remove_channel(channel);
    }
}

#[test]
fn looking_a_record_up_makes_the_channel_and_removing_the_channel_does_not() {
    let node = Node::start();
    let mut client = node.admin();
    let mut expected = Vec::new();
    for at in 0..requests_of(CHANNEL, 1).len() {
        let channel = format!("ch{at}");
        let (request, _) = &requests_of(&channel, 1)[at];
        client.ask(request);
        if *request != wire::remove_channel(&channel) {
            expected.push(channel);
        }
        assert_eq!(client.channels(), expected);
    }
}

#[test]
fn channels_are_listed_and_removed_by_the_admin_alone() {
    let node = Node::start();
    let (mut admin, mut client) = (node.admin(), node.client());
    assert!(client.channels().is_empty());
    for channel in ["one", "two", "three"] {
        client.put(channel, 1, b"value");
    }
    assert_eq!(admin.channels(), ["one", "three", "two"]);
    for channel in ["one", "unknown"] {
        assert_eq!(client.ask(&wire::remove_channel(channel)), [2], "NotPermitted");
    }
    assert_eq!(admin.channels(), ["one", "three", "two"]);
    admin.remove_channel("one");
    assert_eq!(client.channels(), ["three", "two"]);
    admin.remove_channel("one");
    admin.remove_channel("unknown");
    assert_eq!(client.channels(), ["three", "two"]);
    assert_eq!(client.get("one", 1), None);
    client.put("one", 2, b"anew");
    assert_eq!(client.records("one"), [(2, b"anew".to_vec())].into());
}

#[test]
fn writes_beyond_the_size_limit_are_errors_and_change_nothing() {
    let limited = NodeSettings::default().with("Options_Memory", "size_limit", "2000000");
    let node = Node::with(&limited);
    let mut client = node.client();
    let value = vec![7; 100_000];
    client.put(CHANNEL, 0, b"small");
    let fits = (1..40).find(|key| client.ask(&wire::put(CHANNEL, *key, &value)) == [3]);
    let full = fits.expect("there is a limit");
    assert!((10..20).contains(&full), "{full} records of 100,000 bytes");
    assert_eq!(client.get(CHANNEL, full), None);
    assert_update_refused(&mut client, &value);
    client.remove(CHANNEL, 1);
    client.put(CHANNEL, full, &value);
}

fn assert_update_refused(client: &mut Client, value: &[u8]) {
    let id = client.start_supported(&wire::update_get(CHANNEL, 0));
    let _ = client.receive(id);
    client.send(id, &wire::update_record(b"small", value));
    assert_eq!(client.receive(id), [10], "Error");
    assert_eq!(client.ask(&wire::update_at_once(CHANNEL, 0, b"small", value)), [10]);
    assert_eq!(client.get(CHANNEL, 0).as_deref(), Some(&b"small"[..]));
}
