//! Any bytes as a legacy client's connection: requests or a reason to close, never a panic, and the
//! same ones however the bytes were cut on their way.
#![no_main]

use dht_protocol::legacy::{Limits, Parsed, Server};
use libfuzzer_sys::fuzz_target;

/// Small, so that short inputs reach values that are too long.
const LIMITS: Limits = Limits { put_value_bytes_max: 256 };

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(outcomes(bytes, 1), outcomes(bytes, bytes.len().max(1)));
});

/// What a server makes of `bytes` that arrive `piece` at a time, as text.
fn outcomes(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut server = Server::new(LIMITS);
    let mut outcomes = Vec::new();
    let mut pending = Vec::new();
    for piece in bytes.chunks(piece) {
        pending.extend_from_slice(piece);
        loop {
            let mut input = &pending[..];
            let parsed = server.next(&mut input);
            let (incomplete, closed) =
                (parsed == Parsed::Incomplete, matches!(parsed, Parsed::Close(_)));
            if !incomplete {
                outcomes.push(format!("{parsed:?}"));
            }
            if closed {
                return outcomes;
            }
            let left = input.len();
            pending.drain(..pending.len() - left);
            if incomplete {
                break;
            }
        }
    }
    outcomes
}
