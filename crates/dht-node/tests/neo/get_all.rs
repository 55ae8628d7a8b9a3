//! GetAll: what it finds, and in what batches. Source: spec `protocol-neo` 14.1, 14.4, 15.1.

use dht_testkit::{Rng, from_hex};

use crate::support::{
    CHANNEL, Client, Node, Records, decompress, keys, pairs, records, unique, workers,
};
use crate::wire::{self, ACK, GetAll, RESUME, STOP, SUSPEND};

/// What a batch holds before compression, unless one record alone is longer.
const BATCH_BYTES: usize = 65_536;

const ALL: GetAll<'_> = GetAll {
    channel: CHANNEL,
    suspended: false,
    continue_from: None,
    keys_only: false,
    filter: b"",
};

#[test]
fn batches_have_the_bytes_of_the_specification() {
    let node = Node::start();
    let mut client = node.client();
    client.send(4, &ALL.encode());
    let started = "01 09 00 00 00 00 00 00 00 08   04 00 00 00 00 00 00 00   fd
                   01 09 00 00 00 00 00 00 00 08   04 00 00 00 00 00 00 00   05";
    let finished = "01 09 00 00 00 00 00 00 00 08   04 00 00 00 00 00 00 00   08";
    client.peer.expect_hex(started);
    client.peer.expect_hex(
        "01 1c 00 00 00 00 00 00 00 1d   04 00 00 00 00 00 00 00
         07  0b 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00  11 00 00",
    );
    client.peer.expect_hex(finished);
    client.send(4, ACK);
    client.assert_silent(4);
    client.put(CHANNEL, 0xdead, b"abc");
    client.send(4, &ALL.encode());
    client.peer.expect_hex(started);
    let record = "08 00 00 00 00 00 00 00 ad de 00 00 00 00 00 00 03 00 00 00 00 00 00 00 61 62 63";
    let batch = client.receive(4);
    assert_eq!((batch[0], decompress(&batch[1..])), (7, from_hex(record)));
    client.peer.expect_hex(finished);
}

#[test]
fn every_record_comes_once_in_batches_that_are_well_filled() {
    let node = Node::start();
    let mut client = node.client();
    let all = records(1000, 8192);
    client.put_all(CHANNEL, &all);
    assert!(client.records(CHANNEL) == all);
    let id = client.start_stream(&ALL.encode());
    let batches = client.batches_to_the_end(id);
    let (_, full) = batches.split_last().expect("many");
    let well = BATCH_BYTES - 8192 - 24..=BATCH_BYTES;
    assert!(full.iter().all(|batch| well.contains(&batch.len())), "each as full as it can be");
    assert!(batches.last().expect("one").len() <= BATCH_BYTES);
}

#[test]
fn keys_alone_and_values_that_contain_the_filter() {
    let node = Node::start();
    let mut client = node.client();
    let all: Records = (0..3000).map(|key| (key, format!("<{key}>").into_bytes())).collect();
    client.put_all(CHANNEL, &all);
    let select = |needle: &[u8]| -> Records {
        let matches = |value: &[u8]| value.windows(needle.len()).any(|part| part == needle);
        let chosen = all.iter().filter(|(_, value)| matches(value));
        chosen.map(|(key, value)| (*key, value.clone())).collect()
    };
    for filter in [&b"0"[..], b"<7>", b"99>", b"nowhere", b"a needle longer than any value"] {
        let expected = select(filter);
        let id = client.start_stream(&GetAll { filter, ..ALL }.encode());
        let batches = client.batches_to_the_end(id);
        assert_eq!(unique(batches.iter().flat_map(|batch| pairs(batch))), expected);

        let id = client.start_stream(&GetAll { filter, keys_only: true, ..ALL }.encode());
        let mut found: Vec<_> =
            client.batches_to_the_end(id).iter().flat_map(|b| keys(b)).collect();
        found.sort_unstable();
        assert_eq!(found, expected.into_keys().collect::<Vec<_>>());
    }
    let id = client.start_stream(&GetAll { keys_only: true, ..ALL }.encode());
    let batches = client.batches_to_the_end(id);
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 16 * all.len());
    assert!(batches.iter().all(|batch| batch.len() <= BATCH_BYTES));
}

#[test]
fn no_record_is_skipped_for_its_size() {
    let node = Node::start();
    let mut client = node.client();
    let mut all = records(200, 1000);
    for (key, value_bytes) in [(1000, 65_512), (1001, 65_513), (1002, 300_000), (1003, 5 << 20)] {
        all.insert(key, records(1, value_bytes).remove(&0).expect("one"));
    }
    for (key, value) in &all {
        client.put(CHANNEL, *key, value);
    }
    assert!(client.records(CHANNEL) == all);
    let id = client.start_stream(&ALL.encode());
    for batch in client.batches_to_the_end(id) {
        assert!(batch.len() <= BATCH_BYTES || pairs(&batch).len() == 1, "a long record is alone");
    }
    let id = client.start_stream(&GetAll { keys_only: true, ..ALL }.encode());
    assert_eq!(client.batches_to_the_end(id).iter().flat_map(|batch| keys(batch)).count(), 204);
}

/// The next batch of a GetAll that is not at its end.
fn next_batch(client: &mut Client, id: u64) -> Vec<(u64, Vec<u8>)> {
    let payload = client.receive(id);
    assert_eq!(payload[0], 7, "RecordBatch");
    pairs(&decompress(&payload[1..]))
}

#[test]
fn a_scan_goes_on_behind_the_last_key_even_if_that_is_gone() {
    let node = Node::start();
    let mut client = node.client();
    for remove_last in [false, true] {
        let all = records(500, 2000);
        client.put_all(CHANNEL, &all);
        let (mut found, mut continue_from, mut rounds) = (Vec::new(), None, 0);
        loop {
            let id = client.start_stream(&GetAll { continue_from, ..ALL }.encode());
            let batch = next_batch(&mut client, id);
            Scan { id, found: Vec::new() }.control(&mut client, STOP);
            let Some((last, _)) = batch.last() else { break };
            continue_from = Some(*last);
            if remove_last {
                client.remove(CHANNEL, *last);
            }
            found.extend(batch);
            rounds += 1;
        }
        assert!(rounds > 10);
        assert!(unique(found) == all);
    }
}

#[test]
fn a_scan_may_be_continued_from_a_key_that_never_was() {
    let node = Node::start();
    let mut client = node.client();
    let all = records(100, 10);
    client.put_all(CHANNEL, &all);
    let mut after = |key| {
        let id = client.start_stream(&GetAll { continue_from: Some(key), ..ALL }.encode());
        unique(client.batches_to_the_end(id).iter().flat_map(|batch| pairs(batch)))
    };
    let counts: Vec<usize> = (1000..1100).map(|key| after(key).len()).collect();
    assert!(counts.iter().any(|count| *count > 60) && counts.iter().any(|count| *count < 40));
    // Of any two, one finds what is behind both.
    let (some, other) = (after(1000), after(1001));
    assert!(
        some.keys().all(|key| other.contains_key(key))
            || other.keys().all(|key| some.contains_key(key))
    );
}

/// A scan that is under way, and what it has found.
struct Scan {
    id: u64,
    found: Vec<(u64, Vec<u8>)>,
}

impl Scan {
    fn start(client: &mut Client) -> Self {
        let id = client.start_stream(&GetAll { suspended: true, ..ALL }.encode());
        client.assert_silent(id);
        Self { id, found: Vec::new() }
    }

    /// Sends a control message, and takes what was under way. `false`: that was the end, which has
    /// overtaken the message.
    fn control(&mut self, client: &mut Client, control: &[u8]) -> bool {
        client.send(self.id, control);
        loop {
            match client.receive(self.id)[..] {
                [4] => break,
                [7, ref batch @ ..] => self.found.extend(pairs(&decompress(batch))),
                [8] => {
                    client.send(self.id, ACK);
                    return false;
                }
                ref other => panic!("neither Ack nor RecordBatch nor Finished: {other:02x?}"),
            }
        }
        if control != RESUME {
            client.assert_silent(self.id);
        }
        true
    }

    /// Goes on for so many batches, and for what was under way when it heard to pause. `false`: it
    /// is at its end.
    fn go_on(&mut self, client: &mut Client, batches: usize) -> bool {
        assert!(self.control(client, RESUME));
        for _ in 0..batches {
            self.found.extend(next_batch(client, self.id));
        }
        self.control(client, SUSPEND)
    }

    /// Goes on to the end.
    fn finish(mut self, client: &mut Client) -> Records {
        client.send(self.id, RESUME);
        assert_eq!(client.receive(self.id), ACK);
        self.found.extend(client.batches_to_the_end(self.id).iter().flat_map(|b| pairs(b)));
        client.assert_silent(self.id);
        unique(self.found)
    }
}

/// Far more than what sockets buffer, so that a scan cannot be at its end before it hears of a
/// pause.
fn much() -> Records {
    records(2000, 8192)
}

#[test]
fn a_scan_pauses_and_goes_on() {
    let node = Node::start();
    let (mut client, all) = (node.client(), much());
    client.put_all(CHANNEL, &all);
    let mut pauses = 0;
    for batches in 0..5 {
        let mut scan = Scan::start(&mut client);
        client.control(scan.id, SUSPEND);
        let mut at_end = false;
        while !at_end {
            at_end = !scan.go_on(&mut client, batches);
            pauses += usize::from(!at_end);
            if scan.found.len() > all.len() / 2 {
                break;
            }
        }
        // Two control messages at once: the pause is called off, or never begins.
        let found = if at_end { unique(scan.found) } else { scan.finish(&mut client) };
        assert!(found == all);
    }
    assert!(pauses >= 5, "{pauses} pauses");
}

#[test]
fn a_pause_that_follows_at_once_leaves_no_gap() {
    let node = Node::start();
    let mut client = node.client();
    let all = records(500, 1000);
    client.put_all(CHANNEL, &all);
    let scan = Scan::start(&mut client);
    let both = [wire::message(scan.id, RESUME), wire::message(scan.id, SUSPEND)].concat();
    client.peer.send(&both);
    assert_eq!((client.receive(scan.id), client.receive(scan.id)), (ACK.to_vec(), ACK.to_vec()));
    client.assert_silent(scan.id);
    assert!(scan.finish(&mut client) == all);
}

#[test]
fn what_is_there_all_the_time_is_found_once_whatever_else_changes() {
    let node = Node::with(&workers(2));
    let (mut client, mut writer, stable) = (node.client(), node.client(), much());
    writer.put_all(CHANNEL, &stable);
    let mut rng = Rng::new(1);
    let mut fleeting: Vec<u64> = Vec::new();
    let mut scan = Scan::start(&mut client);
    let mut at_end = false;
    for _ in 0..4 {
        // The table grows and shrinks, and the scan may stand on any record of those.
        let mut fresh = || (rng.next() | 1 << 40, b"fleeting".to_vec());
        let fresh: Records = (0..3000).map(|_| fresh()).collect();
        writer.put_all(CHANNEL, &fresh);
        fleeting.drain(..).for_each(|key| writer.remove(CHANNEL, key));
        fleeting.extend(fresh.keys().take(200));
        at_end = at_end || !scan.go_on(&mut client, 2);
    }
    let mut found = if at_end { unique(scan.found) } else { scan.finish(&mut client) };
    found.retain(|key, _| *key < 1 << 40);
    assert!(found == stable);
}

#[test]
fn a_scan_can_be_stopped_anywhere() {
    let node = Node::start();
    node.client().put_all(CHANNEL, &much());
    for batches in [0, 1, 5] {
        let mut client = node.client();
        let id = client.start_stream(&ALL.encode());
        for _ in 0..batches {
            next_batch(&mut client, id);
        }
        assert!(Scan { id, found: Vec::new() }.control(&mut client, STOP));
        client.send(id, &wire::exists(CHANNEL, 1));
        assert_eq!((client.receive(id), client.receive(id)), (vec![0xfd], vec![1]), "id is free");
    }
    let mut client = node.client();
    let mut scan = Scan::start(&mut client);
    assert!(scan.control(&mut client, STOP));
    assert!(scan.found.is_empty());
}

#[test]
fn a_scan_without_another_record_ends_though_suspended() {
    let node = Node::start();
    let mut client = node.client();
    let suspended = GetAll { suspended: true, ..ALL };
    let id = client.start_stream(&suspended.encode());
    assert_eq!(client.batches_to_the_end(id), [b""]);
    client.put(CHANNEL, 1, b"value");
    let id = client.start_stream(&GetAll { filter: b"nowhere", ..suspended }.encode());
    assert_eq!(client.batches_to_the_end(id), [b""]);
    let id = client.start_stream(&GetAll { continue_from: Some(1), ..suspended }.encode());
    assert_eq!(client.batches_to_the_end(id), [b""]);
}

#[test]
fn a_scan_of_a_channel_that_is_removed_ends() {
    let node = Node::start();
    let mut client = node.admin();
    client.put_all(CHANNEL, &records(100, 100));
    let id = client.start_stream(&GetAll { suspended: true, ..ALL }.encode());
    client.remove_channel(CHANNEL);
    client.put(CHANNEL, 1, b"another channel of that name");
    client.send(id, RESUME);
    let mut end = client.receive(id);
    if end == ACK {
        end = client.receive(id);
    }
    assert_eq!((end[0], decompress(&end[1..])), (7, vec![]), "nothing of either channel");
    assert_eq!(client.receive(id), [8]);
    client.send(id, ACK);
    client.assert_silent(id);
}
