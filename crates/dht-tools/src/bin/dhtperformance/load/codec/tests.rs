//! Each protocol with bytes written by hand, in pieces of any size.

use std::path::Path;

use dht_testkit::{for_seeds, legacy};
use dht_types::Key;

use super::*;
use crate::load::Refusal;

const KEY: Key = Key(0x2a);
const HEX: &str = "000000000000002a";

fn codec(protocol: &Protocol, pipeline: usize) -> Box<dyn Codec> {
    protocol.codec(&"ch".parse().expect("a name"), pipeline)
}

fn sent(codec: &mut dyn Codec, slot: Slot, kind: Kind) -> Vec<u8> {
    let mut out = Vec::new();
    codec.send(slot, Op { kind, key: KEY }, b"value", &mut out);
    out
}

/// Hands over a stream in pieces; what came out of it.
fn replies(codec: &mut dyn Codec, stream: &[u8], piece: usize) -> Vec<(Slot, Outcome)> {
    let (mut waiting, mut found) = (Vec::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        waiting.extend_from_slice(bytes);
        let mut rest = &waiting[..];
        while let Some(reply) = codec.reply(&mut rest).expect("well formed") {
            found.push(reply);
        }
        let taken = waiting.len() - rest.len();
        waiting.drain(..taken);
    }
    assert!(waiting.is_empty(), "all was taken");
    found
}

#[test]
fn legacy_has_the_bytes_of_the_specification() {
    for (kind, request, answer, outcome) in [
        (Kind::Put, legacy::put("ch", KEY.0, b"value"), vec![200, 0, 0, 0], Outcome::Done),
        (Kind::Exists, legacy::exists("ch", KEY.0), vec![200, 0, 0, 0, 0], Outcome::Missing),
        (Kind::Remove, legacy::remove("ch", KEY.0), vec![200, 0, 0, 0], Outcome::Done),
        (
            Kind::Get,
            legacy::get("ch", KEY.0),
            [&[200, 0, 0, 0][..], &legacy::array(b"value")].concat(),
            Outcome::Done,
        ),
        (
            Kind::Get,
            legacy::get("ch", KEY.0),
            [&[200, 0, 0, 0][..], &legacy::array(b"")].concat(),
            Outcome::Missing,
        ),
        (
            Kind::Put,
            legacy::put("ch", KEY.0, b"value"),
            vec![0x97, 1, 0, 0],
            Outcome::Refused(Refusal::Legacy(dht_protocol::legacy::Status::OutOfMemory)),
        ),
    ] {
        for piece in [1, 5, 100] {
            let mut codec = codec(&Protocol::Legacy, 1);
            assert_eq!(sent(&mut *codec, 0, kind), request);
            assert_eq!(replies(&mut *codec, &answer, piece), [(0, outcome)]);
            assert_eq!(codec.reply(&mut &[200, 0, 0, 0][..]), Err(Broken::Unasked));
        }
    }
}

#[test]
fn resp_is_what_redis_reads_and_writes() {
    for piece in [1, 3, 1000] {
        let mut codec = codec(&Protocol::Resp, 8);
        let get = format!("*2\r\n$3\r\nGET\r\n$16\r\n{HEX}\r\n");
        assert_eq!(sent(&mut *codec, 5, Kind::Get), get.as_bytes());
        let set = format!("*3\r\n$3\r\nSET\r\n$16\r\n{HEX}\r\n$5\r\nvalue\r\n");
        assert_eq!(sent(&mut *codec, 1, Kind::Put), set.as_bytes());
        for (slot, kind) in [(2, Kind::Exists), (3, Kind::Remove), (4, Kind::Get), (0, Kind::Put)] {
            sent(&mut *codec, slot, kind);
        }
        let stream = b"$7\r\na\r\nb\r\nc\r\n+OK\r\n:1\r\n:0\r\n$-1\r\n-OOM no memory\r\n";
        let expected = [
            (5, Outcome::Done),
            (1, Outcome::Done),
            (2, Outcome::Done),
            (3, Outcome::Missing),
            (4, Outcome::Missing),
            (0, Outcome::Refused(Refusal::ServerError)),
        ];
        assert_eq!(replies(&mut *codec, stream, piece), expected);
    }
}

#[test]
fn memcached_text_is_what_memcached_reads_and_writes() {
    for piece in [1, 3, 1000] {
        let mut codec = codec(&Protocol::Memcached, 8);
        assert_eq!(sent(&mut *codec, 0, Kind::Get), format!("get {HEX}\r\n").as_bytes());
        let set = format!("set {HEX} 0 0 5\r\nvalue\r\n");
        assert_eq!(sent(&mut *codec, 1, Kind::Put), set.as_bytes());
        assert_eq!(sent(&mut *codec, 2, Kind::Remove), format!("delete {HEX}\r\n").as_bytes());
        for slot in [3, 4, 5] {
            sent(&mut *codec, slot, Kind::Get);
        }
        let stream = format!(
            "VALUE {HEX} 0 5\r\nva\r\ne\r\nEND\r\nSTORED\r\nNOT_FOUND\r\nEND\r\n\
             SERVER_ERROR out of memory\r\nERROR\r\n"
        );
        let refused = Outcome::Refused(Refusal::ServerError);
        let expected = [
            (0, Outcome::Done),
            (1, Outcome::Done),
            (2, Outcome::Missing),
            (3, Outcome::Missing),
            (4, refused),
            (5, refused),
        ];
        assert_eq!(replies(&mut *codec, stream.as_bytes(), piece), expected);
    }
}

#[test]
fn garbage_breaks_the_connection_and_is_not_kept_without_bound() {
    for protocol in [Protocol::Resp, Protocol::Memcached] {
        let mut codec = codec(&protocol, 1);
        sent(&mut *codec, 0, Kind::Get);
        for garbage in [&b"what\r\n"[..], b"no end\n", &[b'x'; LINE_BYTES_MAX], b"$99999999999\r\n"]
        {
            assert!(codec.reply(&mut &garbage[..]).is_err(), "{}", garbage.escape_ascii());
        }
    }
    for_seeds(200, |rng| {
        for protocol in [Protocol::Legacy, Protocol::Resp, Protocol::Memcached, neo()] {
            let mut codec = codec(&protocol, 1);
            sent(&mut *codec, 0, Kind::Get);
            // Whatever comes of it: no panic.
            let _ = codec.reply(&mut &rng.bytes(0..60)[..]);
        }
    });
}

fn neo() -> Protocol {
    let line = format!("admin:{}", "0".repeat(256));
    let credentials = ClientCredentials::parse(line.as_bytes(), Path::new("test"));
    Protocol::Neo(credentials.expect("well formed").into())
}

#[test]
fn neo_replies_find_their_requests_in_any_order() {
    use dht_protocol::neo::{RequestId, frame::write_byte, requests::GetReply};
    let mut codec = codec(&neo(), 3);
    for (slot, kind) in [(0, Kind::Get), (1, Kind::Put), (2, Kind::Exists)] {
        let request = sent(&mut *codec, slot, kind);
        let id = (u64::from(slot) + 1) << 13 | u64::from(slot);
        assert_eq!(request[10..18], id.to_le_bytes(), "header, id, payload");
    }
    let id = |count: u64, slot: u64| RequestId::new(count << 13 | slot).expect("not 0");
    let mut stream = Vec::new();
    for (id, bytes) in [(id(3, 2), [0xfd, 2]), (id(2, 1), [0xfd, 1])] {
        write_byte(&mut stream, id, bytes[0]);
        write_byte(&mut stream, id, bytes[1]);
    }
    write_byte(&mut stream, id(1, 0), 0xfd);
    GetReply::Got(b"value").write(id(1, 0), &mut stream);
    let expected = [(2, Outcome::Missing), (1, Outcome::Done), (0, Outcome::Done)];
    assert_eq!(replies(&mut *codec, &stream, 7), expected);
    // A request that was given up: its reply is passed over, its slot serves the next.
    sent(&mut *codec, 0, Kind::Put);
    assert!(codec.forget(0));
    sent(&mut *codec, 0, Kind::Put);
    let mut stream = Vec::new();
    for id in [id(4, 0), id(5, 0)] {
        write_byte(&mut stream, id, 0xfd);
        write_byte(&mut stream, id, 1);
    }
    assert_eq!(replies(&mut *codec, &stream, 100), [(0, Outcome::Done)]);
}
