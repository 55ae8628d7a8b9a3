//! Listen. Source: spec `protocol-legacy` 7.16.

use std::collections::BTreeSet;

use dht_testkit::legacy::{self, array, key, status};
use dht_testkit::{NodeSettings, Peer, wait_for};

use crate::support::{Client, Node, blob_of, workers};

/// The end of a stream: an empty key and an empty value.
const END: [u8; 16] = [0; 16];

/// A flush period that no test lives to see the end of.
const NEVER_MS: &str = "600000";

/// A connection that listens, and whose status has arrived.
fn listener(node: &Node, channel: &str) -> Peer {
    let mut peer = node.connect();
    assert_eq!(peer.ask(&legacy::listen(channel)), status::OK);
    peer
}

/// A changed record as a Listen tells it.
fn changed(record: u64, value: &[u8]) -> Vec<u8> {
    [key(record), array(value)].concat()
}

fn receive_changed(peer: &mut Peer) -> (u64, Vec<u8>) {
    let text = String::from_utf8(peer.receive_array()).expect("hex digits");
    (u64::from_str_radix(&text, 16).expect("hex digits"), peer.receive_array())
}

/// Sends requests in one segment, all of which succeed with a status alone.
fn all_ok(peer: &mut Peer, requests: &[Vec<u8>]) {
    peer.send(&requests.concat());
    for _ in requests {
        assert_eq!(peer.receive_u32(), status::OK);
    }
}

fn assert_next(listener: &mut Peer, expected: &[u8]) {
    assert_eq!(
        listener.receive(expected.len()).escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn a_bad_name_is_refused_and_the_connection_goes_on() {
    let node = Node::start();
    let mut peer = node.connect();
    assert_eq!(peer.ask(&legacy::listen("bad name")), status::BAD_CHANNEL_NAME);
    assert_eq!(peer.ask(&legacy::listen("ch")), status::OK);
    peer.assert_usable();
}

#[test]
fn a_listener_is_registered_before_its_status_is_sent() {
    let node = Node::with(&NodeSettings::default().with("Performance", "write_flush_ms", NEVER_MS));
    let (mut listening, mut peer) = (node.connect(), node.connect());
    listening.send(&legacy::listen("ch"));
    wait_for("the channel", || (peer.channels() == ["ch"]).then_some(()));
    // The status waits for a flush, and the next command brings one.
    assert_silent(&listening);
    listening.send(&legacy::get_version());
    let answers = [&status::OK.to_le_bytes()[..], &legacy::version_answer()].concat();
    assert_eq!(listening.receive(answers.len()), answers);
}

fn assert_silent(peer: &Peer) {
    peer.0.set_nonblocking(true).expect("a socket");
    let peeked = peer.0.peek(&mut [0]).expect_err("no byte may have come");
    assert_eq!(peeked.kind(), std::io::ErrorKind::WouldBlock);
    peer.0.set_nonblocking(false).expect("a socket");
}

#[test]
fn each_put_arrives() {
    let node = Node::with(&workers(2));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    peer.put("other", 1, b"not this channel");
    for record in 0..500 {
        let value = record.to_string();
        peer.put("ch", record, value.as_bytes());
        assert_next(&mut listening, &changed(record, value.as_bytes()));
    }
}

#[test]
fn what_changed_last_comes_first() {
    let node = Node::with(&workers(1));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    let put = |record, value: &[u8]| legacy::put("ch", record, value);
    all_ok(&mut peer, &[put(1, b"one"), put(2, b"two"), put(3, b"three")]);
    assert_next(
        &mut listening,
        &[changed(3, b"three"), changed(2, b"two"), changed(1, b"one")].concat(),
    );
    // A key that changed twice comes twice, with the newest value.
    all_ok(&mut peer, &[put(1, b"old"), put(2, b"two"), put(1, b"new")]);
    assert_next(
        &mut listening,
        &[changed(1, b"new"), changed(2, b"two"), changed(1, b"new")].concat(),
    );
    // A record that has vanished comes without a value.
    all_ok(&mut peer, &[put(1, b"one"), put(2, b"two"), legacy::remove("ch", 1)]);
    assert_next(&mut listening, &[changed(2, b"two"), changed(1, b"")].concat());
}

#[test]
fn batches_and_removals_are_not_told() {
    let node = Node::with(&workers(1));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    peer.put("ch", 1, b"one");
    assert_next(&mut listening, &changed(1, b"one"));
    let batch = legacy::put_batch("ch", &blob_of(&[(2, b"two"), (3, b"three")]));
    all_ok(&mut peer, &[batch, legacy::remove("ch", 1), legacy::remove("ch", 9)]);
    all_ok(&mut peer, &[legacy::put("ch", 4, b"four")]);
    assert_next(&mut listening, &changed(4, b"four"));
    all_ok(&mut peer, &[legacy::remove_channel("ch")]);
    assert_next(&mut listening, &END);
}

#[test]
fn a_refused_put_is_not_told() {
    let node = Node::with(&workers(1));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    assert_eq!(peer.ask(&legacy::put("ch", 1, b"")), status::EMPTY_VALUE);
    assert_eq!(peer.ask(&legacy::put("ch", 1, &[7; 65_504])), status::VALUE_TOO_BIG);
    peer.put("ch", 2, b"two");
    assert_next(&mut listening, &changed(2, b"two"));
}

#[test]
fn a_removed_channel_ends_the_stream_and_the_connection_goes_on() {
    let node = Node::with(&workers(1));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    for round in 0..20 {
        all_ok(&mut peer, &[legacy::put("ch", round, b"value")]);
        assert_next(&mut listening, &changed(round, b"value"));
        // What is pending when the channel goes comes without values.
        let put = |record| legacy::put("ch", record, b"value");
        all_ok(&mut peer, &[put(1), put(2), legacy::remove_channel("ch")]);
        assert_next(&mut listening, &[&changed(2, b"")[..], &changed(1, b""), &END].concat());
        listening.assert_usable();
        assert_eq!(listening.ask(&legacy::listen("ch")), status::OK);
    }
}

/// Workers that listen may look a value up before the channel is removed, or after it.
#[test]
fn no_value_is_told_behind_a_later_one() {
    let node = Node::with(&workers(4));
    let mut peer = node.connect();
    let mut listeners: Vec<_> = (0..3).map(|_| listener(&node, "ch")).collect();
    for round in 0..100_u64 {
        let (first, last) = ([&round.to_le_bytes()[..], b"1"].concat(), round.to_le_bytes());
        let requests = [
            legacy::put("ch", 1, &first),
            legacy::put("ch", 1, &last),
            legacy::remove_channel("ch"),
        ];
        all_ok(&mut peer, &requests);
        let states = [&first[..], &last[..], b""];
        for listening in &mut listeners {
            let mut state = 0;
            for _ in 0..2 {
                let (record, told) = receive_changed(listening);
                assert_eq!(record, 1);
                let later = states[state..].iter().position(|value| *value == told);
                state += later.expect("neither of another round, nor older than what was told");
            }
            assert_next(listening, &END);
            assert_eq!(listening.ask(&legacy::listen("ch")), status::OK);
        }
    }
}

#[test]
fn any_byte_ends_the_stream_and_begins_the_next_command() {
    // One worker sees the byte before it sees the Put that is sent later.
    let node = Node::with(&workers(1));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    peer.put("ch", 1, b"told");
    assert_next(&mut listening, &changed(1, b"told"));
    let version = legacy::get_version();
    listening.send(&version[..1]);
    peer.put("ch", 2, b"not told");
    listening.send(&version[1..]);
    assert_next(&mut listening, &legacy::version_answer());
    assert_eq!(listening.ask(&legacy::listen("ch")), status::OK);
    peer.put("ch", 3, b"told");
    assert_next(&mut listening, &changed(3, b"told"));
}

#[test]
fn a_command_right_behind_a_listen_ends_it() {
    let node = Node::start();
    let mut peer = node.connect();
    let pipeline = [legacy::listen("a"), legacy::listen("b"), legacy::put("a", 1, b"value")];
    all_ok(&mut peer, &pipeline);
    assert_eq!(peer.records("a").len(), 1);
    assert_eq!(peer.channels(), ["a", "b"]);
}

#[test]
fn listeners_that_hang_up_are_forgotten() {
    let node = Node::with(&workers(2));
    let mut peer = node.connect();
    let mut listeners: Vec<_> = (0..20).map(|_| listener(&node, "ch")).collect();
    peer.put("ch", 1, b"one");
    listeners.iter_mut().for_each(|listening| assert_next(listening, &changed(1, b"one")));
    for (number, listening) in listeners.drain(..10).enumerate() {
        if number % 2 == 0 {
            listening.0.shutdown(std::net::Shutdown::Write).expect("connected");
        }
        // Bytes of the next record may be on their way to a socket that is gone.
        peer.put("ch", 2, b"two");
    }
    node.wait_for_connections(&mut peer, 11);
    for listening in &mut listeners {
        (0..10).for_each(|_| assert_next(listening, &changed(2, b"two")));
    }
    peer.put("ch", 3, b"three");
    listeners.iter_mut().for_each(|listening| assert_next(listening, &changed(3, b"three")));
}

#[test]
fn a_listener_whose_sending_side_is_closed_has_hung_up() {
    let node = Node::start();
    let mut listening = listener(&node, "ch");
    listening.finish_sending();
    listening.assert_closed();
    node.connect().put("ch", 1, b"value");
}

#[test]
fn a_listener_that_reads_late_is_told_everything() {
    const RECORDS: u64 = 300;
    let node = Node::with(&workers(2));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    // More than the buffers between the two hold, so that the node has to wait for the reader.
    let value = vec![7; 60_000];
    for record in 0..RECORDS {
        peer.put("ch", record, &value);
        // Gives the node the time for a flush, so that most flushes have just one record.
        (0..80).for_each(|_| peer.assert_usable());
    }
    let mut missing: BTreeSet<u64> = (0..RECORDS).collect();
    while !missing.is_empty() {
        let (record, told) = receive_changed(&mut listening);
        assert!(told == value);
        assert!(missing.remove(&record), "{record} was put once");
    }
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::OK);
    assert_next(&mut listening, &END);
    listening.assert_usable();
}

#[test]
fn a_listener_that_does_not_read_loses_changes_over_the_bound_and_the_log_says_so() {
    /// Most changes that wait; twice that, as one batch may be under way and one may be gathering.
    const WAITING_MAX: usize = 2 * 32_768;
    let node = Node::with(&workers(2));
    let (mut listening, mut peer) = (listener(&node, "ch"), node.connect());
    let fill: Vec<_> = (0..300).map(|record| legacy::put("ch", record, &[7; 60_000])).collect();
    fill.iter().for_each(|put| assert_eq!(peer.ask(put), status::OK));
    let changes: Vec<_> = (1_000..81_000).map(|record| legacy::put("ch", record, b"v")).collect();
    changes.chunks(1_000).for_each(|some| all_ok(&mut peer, some));
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::OK);
    let mut told = 0;
    while !listening.receive_array().is_empty() {
        let _ = listening.receive_array();
        told += 1;
    }
    assert_eq!(listening.receive_array(), b"", "the end");
    listening.assert_usable();
    assert!((WAITING_MAX / 2..WAITING_MAX + fill.len()).contains(&told), "{told} were told");
    let dir = node.stop();
    let log = std::fs::read_to_string(dir.path().join("log/root.log")).expect("it has a log");
    assert!(log.contains("hash buffer reached maximum length"));
}

/// Several writers put records with values of so many bytes; a listener hears of each once.
fn writers_and_a_listener_agree(records: u64, value_bytes: usize) {
    let node = Node::with(&workers(4));
    let mut listening = listener(&node, "ch");
    const WRITERS: u64 = 4;
    let value_of = move |record: u64| record.to_le_bytes().repeat(value_bytes / 8);
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut peer = node.connect();
            std::thread::spawn(move || {
                for record in (0..records).map(|number| number * WRITERS + writer) {
                    peer.put("ch", record, &value_of(record));
                }
            })
        })
        .collect();
    let mut missing: BTreeSet<u64> = (0..WRITERS * records).collect();
    while !missing.is_empty() {
        let (record, value) = receive_changed(&mut listening);
        assert!(value == value_of(record));
        assert!(missing.remove(&record), "{record} was put once");
    }
    writing.into_iter().for_each(|writer| writer.join().expect("it does not fail"));
}

#[test]
fn a_listener_hears_of_many_small_records_from_many_writers() {
    writers_and_a_listener_agree(1_000, 8);
}

#[test]
fn a_listener_hears_of_many_large_records_from_many_writers() {
    writers_and_a_listener_agree(200, 20_000);
}
