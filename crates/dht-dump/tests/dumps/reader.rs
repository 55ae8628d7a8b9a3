//! What the reader makes of bytes that the writer does not write.

use std::io::{self, Read};

use dht_dump::{Entry, TcmError, TcmField, TcmReader, verify_tcm};
use dht_testkit::{Rng, for_seeds, testdata};

use crate::golden::encode;

/// An entry that does not borrow.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Record(u64, Vec<u8>),
    BadKey(Vec<u8>, u64, u64),
}

/// All entries up to the end or the error.
fn read(input: impl Read, input_bytes: u64) -> (Vec<Owned>, Result<u64, TcmError>) {
    let mut entries = Vec::new();
    let mut reader = match TcmReader::new(input, input_bytes) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(Entry::Record { key, value })) => {
                entries.push(Owned::Record(key.0, value.to_vec()));
            }
            Ok(Some(Entry::BadKey { bytes, value_bytes, offset })) => {
                entries.push(Owned::BadKey(bytes.to_vec(), value_bytes, offset));
            }
            Ok(None) => {
                assert!(reader.next().unwrap().is_none(), "the end is the end");
                return (entries, Ok(reader.offset()));
            }
            Err(error) => {
                let again = reader.next().unwrap_err();
                assert_eq!(error.to_string(), again.to_string(), "asked again");
                return (entries, Err(error));
            }
        }
    }
}

fn read_bytes(bytes: &[u8]) -> (Vec<Owned>, Result<u64, TcmError>) {
    read(bytes, bytes.len() as u64)
}

/// A dump from (key field, value) pairs, well framed, whatever the keys are.
fn framed(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for field in records.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend((field.len() as u64).to_le_bytes());
        bytes.extend(*field);
    }
    bytes.extend([0; 8]);
    bytes
}

/// Gives out pieces of random lengths, with interruptions.
struct Pieces<'a>(&'a [u8], Rng);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.1.one_in(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let max = [1, 7, 64, into.len()][self.1.within(0..4)].min(into.len());
        self.0.read(&mut into[..max])
    }
}

#[test]
fn raw_keys_and_upper_case_keys_are_keys() {
    let bytes = framed(&[
        (&[0x0a, 0, 0, 0, 0, 0, 0, 0], b"raw"),
        (b"00000000DEADbeef", b"mixed"),
        (b"ffffffffffffffff", b""),
    ]);
    let (entries, end) = read_bytes(&bytes);
    assert_eq!(
        entries,
        [
            Owned::Record(0x0a, b"raw".to_vec()),
            Owned::Record(0xdead_beef, b"mixed".to_vec()),
            Owned::Record(u64::MAX, Vec::new()),
        ]
    );
    assert_eq!(end.unwrap(), bytes.len() as u64);
}

#[test]
fn a_bad_key_is_reported_and_the_next_record_is_read() {
    let long_value = vec![7; 3 << 20]; // Longer than the buffer: skipped in pieces.
    for bad in
        [&b"000000000000001"[..], b"00000000000000001", b"000000000000000g", b"x", &[b'0'; 5000]]
    {
        let good: (&[u8], &[u8]) = (b"0000000000000001", b"good");
        let bytes = framed(&[good, (bad, &long_value), good, (bad, b"")]);
        let (entries, end) = read_bytes(&bytes);
        let first_end = 8 + 32 + 4;
        let second_end = first_end + 16 + bad.len() as u64 + long_value.len() as u64 + 32 + 4;
        assert_eq!(
            entries,
            [
                Owned::Record(1, b"good".to_vec()),
                Owned::BadKey(bad.to_vec(), long_value.len() as u64, first_end),
                Owned::Record(1, b"good".to_vec()),
                Owned::BadKey(bad.to_vec(), 0, second_end),
            ]
        );
        assert_eq!(end.unwrap(), bytes.len() as u64);
    }
}

#[test]
fn any_version_but_zero_is_unsupported() {
    for version in [1, 2, 40, 1 << 32, u64::MAX] {
        let mut bytes = encode(&[(1, "value")]);
        bytes[..8].copy_from_slice(&version.to_le_bytes());
        let (_, end) = read_bytes(&bytes);
        assert!(matches!(end, Err(TcmError::Unsupported { version: v }) if v == version));
    }
    let error = TcmError::Unsupported { version: 1 };
    assert_eq!(error.to_string(), "Unsupported dump file format: 1");
}

#[test]
fn bytes_behind_the_end_marker_are_ignored() {
    let mut bytes = encode(&[(1, "value")]);
    let expected = read_bytes(&bytes).0;
    bytes.truncate(8 + 32 + 5 + 8); // No padding at all.
    assert_eq!(read_bytes(&bytes).0, expected);
    bytes.extend([0xff; 777]);
    let (entries, end) = read_bytes(&bytes);
    assert_eq!((entries, end.unwrap()), (expected, 53));
}

#[test]
fn every_cut_before_the_end_is_found_and_located() {
    let bytes = framed(&[
        (b"0000000000000001", b"one"),
        (b"bad key", b"its value"),
        (&[2, 0, 0, 0, 0, 0, 0, 0], b""),
        (b"0000000000000003", &[3; 100]),
    ]);
    let whole = read_bytes(&bytes).0;
    for cut in 0..bytes.len() {
        for input_bytes in [cut as u64, bytes.len() as u64, u64::MAX] {
            let (entries, end) = read(&bytes[..cut], input_bytes);
            assert_eq!(entries, whole[..entries.len()], "cut at {cut}");
            let Err(TcmError::Truncated { offset, wanted, available, .. }) = end else {
                panic!("cut at {cut}, said to have {input_bytes} bytes: {end:?}");
            };
            assert_eq!(offset + available, cut as u64);
            assert!(wanted > available && offset + wanted <= bytes.len() as u64);
        }
    }
}

#[test]
fn every_cut_of_a_dump_of_the_original_is_found() {
    let bytes = std::fs::read(testdata("tcm/history.tcm")).unwrap();
    let content_bytes = 1908;
    for cut in 0..bytes.len() {
        let end = read_bytes(&bytes[..cut]).1;
        assert_eq!(end.is_ok(), cut >= content_bytes, "cut at {cut}: {end:?}");
    }
}

#[test]
fn a_length_that_lies_is_found_and_takes_no_memory() {
    for lie in [1 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
        for (at, field) in [(8, TcmField::Key), (32, TcmField::Value)] {
            let mut bytes = encode(&[(1, "value")]);
            bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            for input_bytes in [512, u64::MAX] {
                let end = read(&bytes[..], input_bytes).1.unwrap_err();
                let (offset, out_of_memory) = match end {
                    TcmError::Truncated { field: f, offset, wanted, .. } => {
                        assert_eq!((f, wanted), (field, lie));
                        (offset, false)
                    }
                    // Nothing says how long a stream is, so this one may be that long.
                    TcmError::Io { source, .. } => {
                        (at as u64 + 8, source.kind() == io::ErrorKind::OutOfMemory)
                    }
                    TcmError::Unsupported { .. }
                    | TcmError::DamagedBlock { .. }
                    | TcmError::Checksum { .. } => panic!("{end}"),
                };
                assert_eq!(offset, at as u64 + 8);
                assert!(!out_of_memory || input_bytes == u64::MAX && lie > u64::MAX - 8);
            }
        }
    }
}

#[test]
fn pieces_of_any_length_make_the_same_records() {
    for_seeds(30, |rng| {
        let records: Vec<(u64, Vec<u8>)> =
            (0..rng.within(0..200)).map(|_| (rng.next(), rng.bytes(0..300))).collect();
        let bytes = encode(&records);
        let pieces = Pieces(&bytes, rng.clone());
        let (entries, end) = read(pieces, bytes.len() as u64);
        let expected: Vec<Owned> = records.into_iter().map(|(k, v)| Owned::Record(k, v)).collect();
        assert_eq!(entries, expected);
        assert!(end.is_ok());
    });
}

#[test]
fn a_value_may_be_of_any_size() {
    const MIB: usize = 1 << 20;
    for value_bytes in [MIB - 40, MIB - 1, MIB, MIB + 1, 2 * MIB, 12 * MIB + 13] {
        let value: Vec<u8> = (0..=250).cycle().take(value_bytes).collect();
        let bytes = encode(&[(1, &value[..]), (2, b"behind"), (3, &value)]);
        for input_bytes in [bytes.len() as u64, u64::MAX] {
            let (entries, end) = read(&bytes[..], input_bytes);
            assert!(end.is_ok());
            assert!(entries[0] == Owned::Record(1, value.clone()), "{value_bytes}");
            assert!(entries[1] == Owned::Record(2, b"behind".to_vec()), "{value_bytes}");
            assert!(entries[2] == Owned::Record(3, value.clone()), "{value_bytes}");
        }
    }
}

#[test]
fn flipped_bits_make_other_records_or_an_error_but_no_panic() {
    let bytes = std::fs::read(testdata("tcm/history.tcm")).unwrap();
    for_seeds(2_000, |rng| {
        let mut bytes = bytes.clone();
        for _ in 0..rng.within(1..6) {
            let at = rng.within(0..bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        let (entries, end) = read_bytes(&bytes);
        assert!(entries.len() <= bytes.len() / 16);
        match end {
            Ok(content_bytes) => assert!(content_bytes <= bytes.len() as u64),
            Err(TcmError::Truncated { offset, wanted, available, .. }) => {
                assert_eq!(offset + available, bytes.len() as u64);
                assert!(wanted > available);
            }
            Err(TcmError::Unsupported { version }) => assert_ne!(version, 0),
            Err(
                TcmError::Io { .. } | TcmError::DamagedBlock { .. } | TcmError::Checksum { .. },
            ) => panic!("memory cannot fail"),
        }
    });
}

#[test]
fn arbitrary_bytes_are_an_error_or_records_but_no_panic() {
    for_seeds(2_000, |rng| {
        let mut bytes = vec![0; 8];
        for _ in 0..rng.within(0..30) {
            match rng.below(3) {
                0 => bytes.extend(rng.pick(&[0, 8, 16, 17, 1 << 31, u64::MAX]).to_le_bytes()),
                1 => bytes.extend(b"00000000deadbeef"),
                _ => bytes.extend(rng.bytes(0..20)),
            }
        }
        let known = verify_tcm(&bytes[..], bytes.len() as u64);
        let unknown = verify_tcm(&bytes[..], u64::MAX);
        assert_eq!(known.ok(), unknown.ok());
    });
}

#[test]
fn a_read_error_says_where() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let bytes = encode(&[(1, vec![1; 2000])]);
    let (_, end) = read(bytes[..1000].chain(Failing), bytes.len() as u64);
    assert_eq!(end.unwrap_err().to_string(), "cannot read at offset 1000: bad sector");
}
