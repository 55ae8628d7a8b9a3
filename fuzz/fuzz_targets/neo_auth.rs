//! Any bytes as a stranger's greeting, to a node and to a client: never a panic, never accepted by
//! the node, and the same outcome however the bytes were cut on their way.
#![no_main]

use dht_protocol::neo::{ClientHandshake, ServerHandshake};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_700_000_000;
/// Nobody's guess: neither zeros nor all the same.
const KEY: [u8; 128] = *b"0123456789abcdef0123456789ABCDEF1023456789abcdef1023456789ABCDEF\
                          2013456789abcdef2013456789ABCDEF3012456789abcdef3012456789ABCDEF";

fuzz_target!(|bytes: &[u8]| {
    let whole = bytes.len().max(1);
    assert_eq!(node(bytes, 1), node(bytes, whole));
    assert_eq!(client(bytes, 1), client(bytes, whole));
});

/// What a node says to `bytes` that arrive `piece` at a time, but for the first: it is the version.
fn node(bytes: &[u8], piece: usize) -> (Vec<u8>, String) {
    let mut handshake = ServerHandshake::new([1, 2, 3, 4]);
    greet(bytes, piece, |input, out| {
        let key_of = |name: &str| (name == "test").then_some(&KEY);
        let outcome = handshake.receive(input, NOW, key_of, out);
        assert!(!matches!(outcome, Ok(Some(_))), "no one has the key");
        outcome.err().map(|error| error.to_string())
    })
}

/// The same for a client.
fn client(bytes: &[u8], piece: usize) -> (Vec<u8>, String) {
    let mut handshake = ClientHandshake::new(&mut Vec::new());
    greet(bytes, piece, |input, out| match handshake.receive(input, NOW, "test", &KEY, out) {
        Ok(true) => Some("accepted".to_owned()),
        Ok(false) => None,
        Err(error) => Some(error.to_string()),
    })
}

/// What is sent, and how it ends.
fn greet(
    bytes: &[u8],
    piece: usize,
    mut receive: impl FnMut(&mut &[u8], &mut Vec<u8>) -> Option<String>,
) -> (Vec<u8>, String) {
    let (version, rest) = bytes.split_at(bytes.len().min(1));
    let (mut out, mut pending) = (Vec::new(), Vec::new());
    for piece in std::iter::once(version).chain(rest.chunks(piece)) {
        pending.extend_from_slice(piece);
        let mut input = &pending[..];
        if let Some(end) = receive(&mut input, &mut out) {
            return (out, end);
        }
        let left = input.len();
        pending.drain(..pending.len() - left);
    }
    (out, "more bytes, please".to_owned())
}
