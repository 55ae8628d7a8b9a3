//! The whole content of a node, compared with what the writers know.

use std::collections::HashMap;

use dht_protocol::legacy::batch;
use dht_protocol::wire::Reader;
use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeProcess, Peer};

use crate::oracle::{Records, check_nothing_left};
use crate::records::CHANNELS;
use crate::writer::Writer;

/// Reads all channels and compares them. Returns the number of records.
pub(crate) fn verify(node: &NodeProcess, writers: &mut [Writer]) -> Result<u64, String> {
    let mut peer = node.connect();
    // Only channels that are there: asking for others would make them.
    let mut found = HashMap::new();
    for name in channels(&mut peer) {
        let records = scan(&mut peer, &name)?;
        found.insert(name, records);
    }
    let (mut differences, mut records) = (Vec::new(), 0);
    for (channel, plan) in CHANNELS.iter().enumerate() {
        let mut content = found.remove(plan.name);
        records += content.as_ref().map_or(0, |content| content.len() as u64);
        for writer in &mut *writers {
            differences.extend(writer.oracle.check(channel, content.as_mut()).err());
        }
        if let Some(left) = content {
            differences.extend(check_nothing_left(plan.name, &left).err());
        }
    }
    differences.extend(found.keys().map(|name| format!("nobody has written to channel {name}")));
    if differences.is_empty() { Ok(records) } else { Err(differences.join("\n")) }
}

fn channels(peer: &mut Peer) -> Vec<String> {
    peer.send(&legacy::get_channels());
    let names = receive_list(peer);
    names.into_iter().map(|name| String::from_utf8(name).expect("ASCII")).collect()
}

/// All records of a channel; none may come twice.
fn scan(peer: &mut Peer, channel: &str) -> Result<Records, String> {
    peer.send(&legacy::get_all(channel));
    let (mut records, mut raw) = (Records::new(), Vec::new());
    for batch in receive_list(peer) {
        batch::decompress(&batch, &mut raw).expect("a sound batch");
        let mut r = Reader::new(&raw);
        while let Some(record) = batch::next_record(&mut r) {
            let (key, value) = record.expect("a sound record");
            let key = key.parse().expect("a sound key").0;
            if records.insert(key, value.to_vec()).is_some() {
                return Err(format!("channel {channel}: key {key:016x} came twice"));
            }
        }
    }
    Ok(records)
}

/// The status, and arrays up to an empty one.
fn receive_list(peer: &mut Peer) -> Vec<Vec<u8>> {
    assert_eq!(peer.receive_u32(), status::OK);
    std::iter::repeat_with(|| peer.receive_array()).take_while(|item| !item.is_empty()).collect()
}
