//! Every stream that does not give exactly the announced bytes is refused, and never a panic.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use dht_lzo::{Compressor, DecompressError, decompress};
use dht_testkit::{for_seeds, from_hex};

mod shapes;

#[test]
fn each_reason() {
    use DecompressError::{LookBehind, TooLong, TooShort, TrailingBytes, Truncated};
    let cases = [
        ("", 0, Truncated),
        ("11 00", 0, Truncated),
        ("15 61 62 63 64", 4, Truncated),
        ("15 61 62 63", 4, Truncated),
        ("00 00 00", 600, Truncated),
        ("15 61 62 63 64 11 00 00", 3, TooLong { expected: 3 }),
        ("15 61 62 63 64 20 ff 00 00 11 00 00", 20, TooLong { expected: 20 }),
        ("15 61 62 63 64 11 00 00", 5, TooShort { expected: 5, actual: 4 }),
        ("11 00 00", 1, TooShort { expected: 1, actual: 0 }),
        ("11 04 00 11 00 00", 3, LookBehind { at: 0, distance: 16_385 }),
        ("15 61 62 63 64 50 00 11 00 00", 7, LookBehind { at: 4, distance: 5 }),
        ("15 61 62 63 64 00 00 11 00 00", 7, LookBehind { at: 4, distance: 2049 }),
        ("15 61 62 63 64 11 00 01 11 00 00", 7, LookBehind { at: 4, distance: 16_448 }),
        ("11 00 00 11", 0, TrailingBytes { extra: 1 }),
        ("15 61 62 63 64 11 00 00 00 00", 4, TrailingBytes { extra: 2 }),
    ];
    for (stream, len, reason) in cases {
        let found = decompress(&from_hex(stream), &mut vec![0; len]);
        assert_eq!(found, Err(reason), "{stream}");
    }
}

#[test]
fn every_prefix_and_every_other_length() {
    for_seeds(10, |rng| {
        for (_, shape) in shapes::ALL {
            let len = rng.within(1..1_000);
            let data = shape(rng, len);
            let mut stream = Vec::new();
            Compressor::new().compress(&data, &mut stream);
            let mut out = vec![0; len];
            for end in 0..stream.len() {
                assert_eq!(decompress(&stream[..end], &mut out), Err(DecompressError::Truncated));
            }
            for shorter in 0..len {
                let expected = DecompressError::TooLong { expected: shorter };
                assert_eq!(decompress(&stream, &mut out[..shorter]), Err(expected));
            }
            for longer in len + 1..len + 40 {
                let expected = DecompressError::TooShort { expected: longer, actual: len };
                assert_eq!(decompress(&stream, &mut vec![0; longer]), Err(expected));
            }
        }
    });
}

/// A length can not be driven past what the machine can count.
#[test]
fn a_length_of_many_zero_bytes() {
    let mut stream = vec![0; 1 << 20];
    stream.extend([1, 0x11, 0, 0]);
    assert_eq!(
        decompress(&stream, &mut [0; 100]),
        Err(DecompressError::Truncated),
        "the run is longer than the stream"
    );
}
