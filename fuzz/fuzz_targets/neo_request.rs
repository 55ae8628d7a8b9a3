//! Any payloads as an open neo connection, to a node and to a client: never a panic, and the same
//! outcome however the bytes were cut on their way.
//!
//! ```text
//! input := (request id: u8, payload length: u8, payload) ...     framed here, so that the fuzzer
//!                                                                need not guess parities
//! ```
#![no_main]

use dht_protocol::neo::frame::{FrameKind, write_frame};
use dht_protocol::neo::{Client, Command, Event, Request, Server};
use dht_protocol::wire::{Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let stream = framed(bytes);
    let whole = stream.len().max(1);
    assert_eq!(node(&stream, 1), node(&stream, whole));
    assert_eq!(client(&stream, 1), client(&stream, whole));
});

fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [id, len, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        bytes = rest;
        write_frame(&mut stream, FrameKind::Request, |w| {
            w.u64(u64::from(*id));
            w.bytes(payload);
        });
    }
    stream
}

/// What a node makes of `stream` that arrives `piece` at a time, and what it sends.
fn node(stream: &[u8], piece: usize) -> (Vec<String>, Vec<u8>) {
    let mut server = Server::new();
    in_pieces(stream, piece, |input, out| {
        let event = server.next(input, out);
        if let Ok(Some(Event::Start { request, .. })) = &event {
            reads_back(request);
        }
        event
            .map(|event| event.map(|event| format!("{event:?}")))
            .map_err(|error| format!("{error}"))
    })
}

/// A request that was read is written, and read again, as the same.
fn reads_back(request: &Request<'_>) {
    let mut bytes = Vec::new();
    request.encode(&mut Writer::new(&mut bytes));
    let mut r = Reader::new(&bytes[2..]);
    assert_eq!(Request::decode(request.command(), &mut r).as_ref(), Ok(request));
}

/// The same for a client that waits for the answers of every request there is, ids 1 to 10.
fn client(stream: &[u8], piece: usize) -> (Vec<String>, Vec<u8>) {
    let mut client = Client::new();
    for command in Command::ALL {
        // Zeros are a long enough channel name, key and rest for every request but for its name.
        let mut arguments = vec![0; 64];
        let name_at = match command {
            Command::GetAll | Command::Mirror => 1,
            Command::Update => {
                arguments[0] = 1;
                1
            }
            _ => 0,
        };
        arguments[name_at] = 1;
        arguments[name_at + 8] = b'c';
        let len = match command {
            Command::GetAll => 1 + 9 + 1 + 8 + 1 + 8,
            Command::Mirror => 1 + 9 + 1 + 4,
            Command::Remove => 9 + 8,
            _ => arguments.len(),
        };
        let request = Request::decode(*command, &mut Reader::new(&arguments[..len]));
        client.start(request.expect("well formed"), &mut Vec::new()).expect("there is room");
    }
    in_pieces(stream, piece, |input, out| {
        let event = client.next(input, out);
        event
            .map(|event| event.map(|event| format!("{event:?}")))
            .map_err(|error| format!("{error}"))
    })
}

/// Gives `next` the bytes as they arrive. What it makes of them, and what it sends.
fn in_pieces(
    stream: &[u8],
    piece: usize,
    mut next: impl FnMut(&mut &[u8], &mut Vec<u8>) -> Result<Option<String>, String>,
) -> (Vec<String>, Vec<u8>) {
    let (mut outcomes, mut out, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        pending.extend_from_slice(piece);
        let mut input = &pending[..];
        loop {
            match next(&mut input, &mut out) {
                Ok(Some(outcome)) => outcomes.push(outcome),
                Ok(None) => break,
                Err(reason) => {
                    outcomes.push(reason);
                    return (outcomes, out);
                }
            }
        }
        let left = input.len();
        pending.drain(..pending.len() - left);
    }
    (outcomes, out)
}
