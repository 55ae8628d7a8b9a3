//! The bytes of the original, both ways.

use dht_dump::{Entry, TcmEncoder, TcmReader, TcmTotals, verify_tcm};
use dht_testkit::{from_hex, golden_dump, golden_dump_names, testdata, to_hex};
use dht_types::Key;
use sha2::{Digest, Sha256};

/// Encodes records; checks the totals against the bytes.
pub(crate) fn encode<V: AsRef<[u8]>>(records: &[(u64, V)]) -> Vec<u8> {
    let mut encoder = TcmEncoder::new(Vec::new()).unwrap();
    for (key, value) in records {
        encoder.record(Key(*key), value.as_ref()).unwrap();
    }
    let (bytes, totals) = encoder.finish().unwrap();
    assert_eq!(totals.file_bytes(), bytes.len() as u64);
    assert_eq!(totals, verify_tcm(&bytes[..], bytes.len() as u64).unwrap());
    bytes
}

#[test]
fn dumps_of_the_original_have_the_records_of_their_listing() {
    let names = golden_dump_names();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let bytes = std::fs::read(testdata(&format!("tcm/{name}.tcm"))).unwrap();
        let mut expected = golden_dump(&name).into_iter();
        let mut reader = TcmReader::new(&bytes[..], bytes.len() as u64).unwrap();
        while let Some(entry) = reader.next().unwrap() {
            let Entry::Record { key, value } = entry else { panic!("{name}: {entry:?}") };
            let listed = expected.next().unwrap();
            assert_eq!((key.0, value.len()), (listed.key, listed.value_bytes), "{name}");
            assert_eq!(to_hex(&Sha256::digest(value)), listed.sha256, "{name} {key}");
            assert!(listed.value.is_none_or(|listed| listed == value), "{name} {key}");
        }
        assert_eq!(expected.next(), None, "{name}");
    }
}

#[test]
fn dumps_of_the_original_are_written_again_byte_for_byte() {
    for name in golden_dump_names() {
        let bytes = std::fs::read(testdata(&format!("tcm/{name}.tcm"))).unwrap();
        let mut records = Vec::new();
        let mut reader = TcmReader::new(&bytes[..], bytes.len() as u64).unwrap();
        while let Some(Entry::Record { key, value }) = reader.next().unwrap() {
            records.push((key.0, value.to_vec()));
        }
        assert!(encode(&records) == bytes, "{name}");
    }
}

#[test]
fn the_worked_example_of_the_specification_is_met() {
    let mut example = from_hex(
        "00 00 00 00 00 00 00 00 10 00 00 00 00 00 00 00
         30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 61
         03 00 00 00 00 00 00 00 66 6f 6f 10 00 00 00 00
         00 00 00 31 32 33 34 35 36 37 38 31 32 33 34 35
         36 37 38 04 00 00 00 00 00 00 00 01 02 03 04 00
         00 00 00 00 00 00 00",
    );
    assert_eq!(example.len(), 87);
    example.resize(512, 0);
    let records: [(u64, &[u8]); 2] = [(0x0a, b"foo"), (0x1234_5678_1234_5678, &[1, 2, 3, 4])];
    assert_eq!(to_hex(&encode(&records)), to_hex(&example));
}

#[test]
fn an_empty_channel_is_one_block_of_zeros() {
    assert_eq!(encode::<&[u8]>(&[]), [0; 512]);
}

/// `content = 8 + sum of (32 + value) + 8`, rounded up to whole blocks of 512.
#[test]
fn file_lengths_follow_the_formula() {
    for (value_bytes, file_bytes) in [(0, 512), (464, 512), (465, 1024), (976, 1024), (977, 1536)] {
        let bytes = encode(&[(1, vec![7; value_bytes])]);
        assert_eq!(bytes.len(), file_bytes, "{value_bytes}");
        let totals = TcmTotals { records: 1, record_bytes: 32 + value_bytes as u64 };
        assert_eq!(verify_tcm(&bytes[..], u64::MAX).unwrap(), totals);
    }
}
