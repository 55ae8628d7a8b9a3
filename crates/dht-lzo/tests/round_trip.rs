//! What our compressor writes, our decompressor and `lzokay` read.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use dht_lzo::{Compressor, compressed_bytes_max, decompress, store, stored};
use dht_testkit::{Rng, for_seeds};

mod shapes;

/// Compresses behind some other bytes and checks the promises that need no other library.
fn compress(compressor: &mut Compressor, data: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    compressor.compress(data, &mut out);
    let stream = out.strip_prefix(b"before").expect("bytes before a stream are left alone");
    assert!(stream.len() <= compressed_bytes_max(data.len()));
    assert!(stream.ends_with(&[0x11, 0, 0]));
    stream.to_vec()
}

/// The stream of `data` is read by both decompressors.
fn check(compressor: &mut Compressor, data: &[u8]) {
    let stream = compress(compressor, data);
    let mut ours = vec![0xaa; data.len()];
    assert_eq!(decompress(&stream, &mut ours), Ok(()));
    assert_eq!(ours, data);
    let mut theirs = vec![0xaa; data.len()];
    assert_eq!(lzokay::decompress::decompress(&stream, &mut theirs), Ok(data.len()));
    assert_eq!(theirs, data);
}

#[test]
fn what_is_not_compressed_is_read_as_well() {
    let data = Rng::new(1).bytes(300_000..300_001);
    for len in (0..1_000).chain([65_535, 262_144, 300_000]) {
        let (data, mut stream) = (&data[..len], b"before".to_vec());
        store(data, &mut stream);
        let stream = stream.strip_prefix(b"before").expect("left alone");
        assert!(stream.len() <= len + len / 255 + 5, "{len}");
        let (mut ours, mut theirs) = (vec![0xaa; len], vec![0xaa; len]);
        assert_eq!(decompress(stream, &mut ours), Ok(()), "{len}");
        assert_eq!(lzokay::decompress::decompress(stream, &mut theirs), Ok(len));
        assert!(ours == data && theirs == data, "{len}");
        assert_eq!(stored(stream), (len > 238).then_some(data));
        assert!(stored(&stream[1..]).is_none(), "a length that is another");
    }
}

#[test]
fn every_short_length() {
    for_seeds(8, |rng| {
        let mut compressor = Compressor::new();
        for (_, shape) in shapes::ALL {
            let data = shape(rng, 300);
            for len in 0..=300 {
                check(&mut compressor, &data[..len]);
            }
        }
    });
}

#[test]
fn batches_of_every_shape() {
    for_seeds(10, |rng| {
        let mut compressor = Compressor::new();
        for (_, shape) in shapes::ALL {
            let len = rng.within(300..140_000);
            check(&mut compressor, &shape(rng, len));
        }
    });
}

#[test]
fn ten_mebibytes() {
    let mut rng = Rng::new(1);
    let mut compressor = Compressor::new();
    for shape in [shapes::random, shapes::structs] {
        check(&mut compressor, &shape(&mut rng, 10 << 20));
    }
    check(&mut compressor, &vec![0; 10 << 20]);
}

/// 19 literals take two bytes more than they are, and a match of four bytes saves only one.
#[test]
fn data_that_grows_most_stays_within_the_bound() {
    for_seeds(10, |rng| {
        // Zeros break up the first groups: after 32 literals the search would skip every other.
        let mut data = Vec::new();
        for _ in 0..200 {
            data.extend(rng.bytes(19..20));
            data.extend([0; 4]);
        }
        while data.len() < 60_000 {
            // Farther away than the two-byte instruction reaches.
            let group = data.len() / 23 - rng.within(100..150);
            data.extend(rng.bytes(19..20));
            let from = group * 23 + rng.within(5..15);
            data.extend_from_within(from..from + 4);
        }
        let mut compressor = Compressor::new();
        check(&mut compressor, &data);
        assert!(compress(&mut compressor, &data).len() > data.len() + data.len() / 100);
    });
}

/// `lzokay`'s compressor looks for the smallest stream and so uses instructions that ours never
/// writes: matches of two and three bytes, literal counts in other places.
#[test]
fn streams_of_another_compressor() {
    for_seeds(6, |rng| {
        for (_, shape) in shapes::ALL {
            let len = rng.within(1..70_000);
            let data = shape(rng, len);
            let stream = lzokay::compress::compress(&data).unwrap();
            let mut out = vec![0; len];
            assert_eq!(decompress(&stream, &mut out), Ok(()));
            assert_eq!(out, data);
        }
    });
}

#[test]
fn an_empty_input_is_the_end_marker_alone() {
    assert_eq!(compress(&mut Compressor::new(), b""), [0x11, 0, 0]);
    assert_eq!(decompress(&[0x11, 0, 0], &mut []), Ok(()));
}

#[test]
fn a_stream_does_not_depend_on_the_one_before() {
    for_seeds(20, |rng| {
        let (first, second) = (shapes::json(rng, 60_000), shapes::json(rng, 5_000));
        let mut used = Compressor::new();
        compress(&mut used, &first);
        assert_eq!(compress(&mut used, &second), compress(&mut Compressor::new(), &second));
    });
}
