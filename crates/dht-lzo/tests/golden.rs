//! Streams that the original programs sent: ours must read them, and for batches of this size
//! write the very same bytes.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use dht_lzo::{Compressor, decompress};
use dht_testkit::{from_hex, testdata};

/// The value that `dhtperformance` puts.
const ONES: &[u8] = &[0xff; 32];

/// Keys and values.
type Batch = &'static [(u64, &'static [u8])];

/// Reads a blob: `| uncompressed length: u64 LE | stream |`.
fn read_blob(blob: &[u8]) -> Vec<u8> {
    let (length, stream) = blob.split_first_chunk().expect("a length");
    let mut data = vec![0; usize::try_from(u64::from_le_bytes(*length)).unwrap()];
    decompress(stream, &mut data).unwrap();
    data
}

fn write_blob(data: &[u8]) -> Vec<u8> {
    let mut blob = (data.len() as u64).to_le_bytes().to_vec();
    Compressor::new().compress(data, &mut blob);
    blob
}

/// Takes a u64 length and as many bytes.
fn take_array<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let (array, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    *bytes = rest;
    array
}

/// The records of a legacy batch: key as 16 hex digits, value, both with a length.
fn legacy_records(mut batch: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    while !batch.is_empty() {
        let key = take_array(&mut batch);
        assert_eq!(key.len(), 16);
        let key = u64::from_str_radix(std::str::from_utf8(key).unwrap(), 16).unwrap();
        records.push((key, take_array(&mut batch).to_vec()));
    }
    records
}

/// What went over the wire in a capture, one entry for each `C>N` and `N>C` line.
fn messages(capture: &str) -> Vec<Vec<u8>> {
    let path = testdata("captures").join(capture);
    let text = std::fs::read_to_string(&path).unwrap();
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words.len() == 5).map(|words| from_hex(words[4])).collect()
}

/// The blobs of the replies to GetAll: a status, then blobs with a length, then an empty one.
fn get_all_blobs(capture: &str) -> Vec<Vec<u8>> {
    let messages = messages(capture);
    let replies = messages.windows(2).filter(|pair| pair[0].starts_with(&[0x1d, 0, 0, 0]));
    replies.flat_map(|pair| arrays(&pair[1][4..])).collect()
}

/// The blobs of the two PutBatch requests: a code, the channel, one blob.
fn put_batch_blobs(capture: &str) -> [Vec<u8>; 2] {
    let messages = messages(capture);
    let requests = messages.iter().filter(|message| message.starts_with(&[0x22, 0, 0, 0]));
    let blobs = requests.flat_map(|request| arrays(&request[4..]).into_iter().skip(1));
    blobs.collect::<Vec<_>>().try_into().expect("two requests")
}

/// All arrays of a message up to an empty one or the end.
fn arrays(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut arrays = Vec::new();
    while !bytes.is_empty() {
        match take_array(&mut bytes) {
            [] => break,
            array => arrays.push(array.to_vec()),
        }
    }
    arrays
}

#[test]
fn worked_examples_of_the_specification() {
    let legacy_record = [
        "10 00 00 00 00 00 00 00  30 30 30 30 30 30 30 30 30 30 30 30 64 65 61 64",
        "03 00 00 00 00 00 00 00  61 62 63",
    ];
    let examples = [
        (
            legacy_record.concat(),
            "06 10 00 00 00 00 00 00 00 30 29 00 00 0c 64 65
             61 64 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        ),
        (
            "08 00 00 00 00 00 00 00 ad de 00 00 00 00 00 00 03 00 00 00 00 00 00 00 61 62 63"
                .to_owned(),
            "2c 08 00 00 00 00 00 00 00 ad de 00 00 00 00 00 00
             03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        ),
        (
            "ad de 00 00 00 00 00 00  03 00 00 00 00 00 00 00  61 62 63".to_owned(),
            "24 ad de 00 00 00 00 00 00 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        ),
        (String::new(), "11 00 00"),
    ];
    for (data, stream) in examples {
        let (data, stream) = (from_hex(&data), from_hex(stream));
        let mut blob = (data.len() as u64).to_le_bytes().to_vec();
        blob.extend(&stream);
        assert_eq!(read_blob(&blob), data);
        assert_eq!(write_blob(&data), blob);
    }
}

#[test]
fn captured_get_all_replies() {
    let expected: [(&str, &[Batch]); 2] = [
        (
            "06_GetAll_for_predefined_data.txt",
            &[&[(0, b"record 0"), (1, b"record 1"), (2, b"record 2")]],
        ),
        (
            "util_dhtdump_oneshot.txt",
            &[
                &[(0, ONES), (1, ONES), (2, ONES), (3, ONES), (4, ONES)],
                &[(0, b"hello"), (1, b"hello"), (2, b"hello")],
            ],
        ),
    ];
    for (capture, batches) in expected {
        let blobs = get_all_blobs(capture);
        assert_eq!(blobs.len(), batches.len(), "{capture}");
        for (blob, records) in blobs.iter().zip(batches) {
            let data = read_blob(blob);
            let found = legacy_records(&data);
            let found: Vec<_> = found.iter().map(|(key, value)| (*key, &value[..])).collect();
            assert_eq!(&found, records, "{capture}");
            assert_eq!(&write_blob(&data), blob, "{capture}");
        }
    }
}

#[test]
fn captured_put_batches_of_a_redistribution() {
    let blobs = put_batch_blobs("util_dhtredist_exec.txt");
    let [large, small] = blobs.each_ref().map(|blob| legacy_records(&read_blob(blob)));

    assert_eq!(large.len(), 145);
    for (_, value) in large {
        let unit = &value[..32];
        assert!(value.chunks(32).all(|chunk| chunk == unit), "{value:x?}");
    }

    let names = small.iter().map(|(key, value)| (*key, String::from_utf8_lossy(value)));
    assert!(names.clone().all(|(key, value)| value == format!("rec{key}")));
    assert_eq!(names.map(|(key, _)| key).collect::<Vec<_>>(), [5, 7, 1, 9, 3]);
    assert_eq!(write_blob(&read_blob(&blobs[1])), blobs[1]);
}
