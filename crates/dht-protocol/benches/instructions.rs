//! Instructions of decoding and encoding one message, for `cargo xtask instructions`: values of 100
//! bytes, one request behind the other in the input, as a pipeline brings them.

use std::hint::black_box;

use dht_protocol::{
    legacy, neo,
    neo::requests::{GetReply, PutReply},
    wire::Writer,
};
use dht_testkit::instructions::{Case, run};
use dht_types::Key;

const VALUE: [u8; 100] = [7; 100];

fn main() {
    run(&[
        Case { name: "legacy-decode-get", prepare: |count| legacy_decode(count, legacy_get) },
        Case { name: "legacy-decode-put", prepare: |count| legacy_decode(count, legacy_put) },
        Case { name: "legacy-encode-get", prepare: |count| encode(count, legacy_get) },
        Case { name: "legacy-encode-got", prepare: |count| encode(count, legacy_got) },
        Case { name: "neo-decode-get", prepare: |count| neo_decode(count, neo_get) },
        Case { name: "neo-decode-put", prepare: |count| neo_decode(count, neo_put) },
        Case { name: "neo-encode-get", prepare: |count| encode(count, neo_get) },
        Case { name: "neo-encode-got", prepare: |count| encode(count, neo_got) },
        Case { name: "neo-encode-stored", prepare: |count| encode(count, neo_stored) },
    ]);
}

/// Appends message number `u64`.
type Append = fn(u64, &mut Vec<u8>);

fn legacy_get(number: u64, out: &mut Vec<u8>) {
    let key = legacy::requests::KeyField::Key(Key(number));
    let request = legacy::requests::Get { channel: "bench", key };
    legacy::encode(&request, &mut Writer::new(out));
}

fn legacy_put(number: u64, out: &mut Vec<u8>) {
    let value = legacy::requests::Value::Bytes(&VALUE);
    let request = legacy::requests::Put { channel: "bench", key: Key(number), value };
    legacy::encode(&request, &mut Writer::new(out));
}

/// The value, of whose length the compiler does not know.
fn value() -> &'static [u8] {
    black_box(&VALUE)
}

fn legacy_got(_: u64, out: &mut Vec<u8>) {
    legacy::requests::Get::reply(&mut Writer::new(out), value());
}

fn neo_message(number: u64, out: &mut Vec<u8>, request: neo::Request<'_>) {
    neo::frame::write_message(out, id(number), |w| request.encode(w));
}

fn neo_get(number: u64, out: &mut Vec<u8>) {
    let request = neo::requests::Get { channel: "bench", key: Key(number) };
    neo_message(number, out, request.into());
}

fn neo_put(number: u64, out: &mut Vec<u8>) {
    let request = neo::requests::Put { channel: "bench", key: Key(number), value: &VALUE };
    neo_message(number, out, request.into());
}

fn neo_got(number: u64, out: &mut Vec<u8>) {
    neo::Supported::Yes.write(id(number), out);
    GetReply::Got(value()).write(id(number), out);
}

fn neo_stored(number: u64, out: &mut Vec<u8>) {
    neo::Supported::Yes.write(id(number), out);
    neo::Payload::write(&PutReply::Put, id(number), out);
}

fn id(number: u64) -> neo::RequestId {
    neo::RequestId::new(number + 1).expect("not 0")
}

/// Appends 64 messages at a time to an output that has room for them.
fn encode(count: u64, append: Append) -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(1 << 16);
    Box::new(move || {
        for number in 0..count {
            if number % 64 == 0 {
                out.clear();
            }
            append(number, &mut out);
        }
        black_box(&out);
    })
}

fn input(count: u64, append: Append) -> Vec<u8> {
    let mut input = Vec::new();
    (0..count).for_each(|number| append(number, &mut input));
    input
}

fn legacy_decode(count: u64, append: Append) -> Box<dyn FnMut()> {
    let input = input(count, append);
    Box::new(move || {
        let mut server = legacy::Server::new(legacy::Limits { put_value_bytes_max: 1 << 16 });
        let mut rest = input.as_slice();
        for _ in 0..count {
            let parsed = black_box(server.next(&mut rest));
            assert!(matches!(parsed, legacy::Parsed::Request(_)));
        }
    })
}

fn neo_decode(count: u64, append: Append) -> Box<dyn FnMut()> {
    let input = input(count, append);
    Box::new(move || {
        let server = neo::Server::new();
        let mut rest = input.as_slice();
        for _ in 0..count {
            assert!(black_box(server.look_ahead(&mut rest)).is_some());
        }
    })
}
