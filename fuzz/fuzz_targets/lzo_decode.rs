//! Any bytes as a compressed stream: an answer, never a panic, and one that does not depend on the
//! room there was or on what it held before.
#![no_main]

use dht_lzo::{DecompressError, decompress};
use libfuzzer_sys::fuzz_target;

/// Longest output in bytes; longer ones show nothing new, and make the fuzzer slow.
const OUTPUT_BYTES_MAX: usize = 96 * 1024;

fuzz_target!(|stream: &[u8]| {
    let mut large = vec![0; OUTPUT_BYTES_MAX];
    // Only this error says that the stream is whole, and for which length.
    let Err(DecompressError::TooShort { actual, .. }) = decompress(stream, &mut large) else {
        return;
    };
    let mut exact = vec![0xff; actual];
    assert_eq!(decompress(stream, &mut exact), Ok(()));
    assert_eq!(exact, large[..actual]);
});
