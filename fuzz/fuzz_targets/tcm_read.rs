//! Any bytes as a dump file: an answer, never a panic, never more memory than there are bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = dht_dump::verify_tcm(bytes, bytes.len() as u64);
});
