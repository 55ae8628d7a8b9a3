//! Any bytes as a neo stream: messages or a reason to close, never a panic, and the same ones
//! however the bytes were cut on their way. What was taken apart is put together again.
#![no_main]

use dht_protocol::neo::frame::{FrameError, next_frame, write_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (whole, error) = frames(bytes, bytes.len().max(1));
    assert!(bytes.starts_with(&whole));
    assert_eq!(frames(bytes, 1), (whole, error));
});

/// The messages in `bytes` that arrive `piece` at a time, written again, and how they end.
fn frames(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<FrameError>) {
    let (mut written, mut pending) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        pending.extend_from_slice(piece);
        let mut input = &pending[..];
        loop {
            match next_frame(&mut input) {
                Ok(Some(frame)) => write_frame(&mut written, frame.kind, |w| w.bytes(frame.body)),
                Ok(None) => break,
                Err(error) => return (written, Some(error)),
            }
        }
        let left = input.len();
        pending.drain(..pending.len() - left);
    }
    (written, None)
}
