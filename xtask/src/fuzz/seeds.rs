//! First inputs for the fuzzers, made from `testdata/`: what real clients and nodes sent.
//!
//! ```text
//! testdata/captures/*.txt   SECONDS CONNECTION C>N|N>C LENGTH HEX    one chunk per line
//! testdata/tcm/*.tcm        dump files
//! fuzz/seeds/TARGET/*       written by hand
//! ```

use dht_testkit::from_hex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The stream end that every LZO1X stream has.
const LZO_END: [u8; 3] = [0x11, 0, 0];

/// A file name and its bytes.
type Seed = (String, Vec<u8>);

/// Writes the seeds of `target` to `fuzz/corpus/TARGET/`. Returns how many there are.
pub(super) fn write(root: &Path, target: &str) -> Result<usize, String> {
    let seeds = of(root, target)?;
    let folder = root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, bytes) in &seeds {
        let path = folder.join(format!("seed-{name}"));
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(seeds.len())
}

/// The seeds of `target`. One without a rule here has those in `fuzz/seeds/TARGET` only.
pub(super) fn of(root: &Path, target: &str) -> Result<Vec<Seed>, String> {
    let mut seeds = match target {
        "legacy_request" => from_captures(root, legacy_requests)?,
        "neo_frame" => from_captures(root, neo_streams)?,
        "neo_auth" => from_captures(root, neo_greetings)?,
        "neo_request" => from_captures(root, neo_payloads)?,
        "lzo_decode" => from_captures(root, lzo_streams)?,
        "tcm_read" => files(&root.join("testdata/tcm"), ".tcm")?,
        _ => Vec::new(),
    };
    let by_hand = root.join("fuzz/seeds").join(target);
    if by_hand.is_dir() {
        seeds.extend(files(&by_hand, "")?);
    }
    Ok(seeds)
}

/// The files of a folder whose names end with `ending`.
fn files(folder: &Path, ending: &str) -> Result<Vec<Seed>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) {
            seeds.push((name, fs::read(entry.path()).map_err(failed)?));
        }
    }
    Ok(seeds)
}

/// Numbers what `extract` finds in each capture.
fn from_captures(
    root: &Path,
    extract: fn(&[Chunk<'_>]) -> Vec<Vec<u8>>,
) -> Result<Vec<Seed>, String> {
    let mut seeds = Vec::new();
    for (name, text) in files(&root.join("testdata/captures"), ".txt")? {
        let text = String::from_utf8_lossy(&text).into_owned();
        let chunks: Vec<Chunk<'_>> = text.lines().filter_map(chunk).collect();
        let name = name.trim_end_matches(".txt");
        let found = extract(&chunks).into_iter().enumerate();
        seeds.extend(found.map(|(number, bytes)| (format!("{name}-{number}"), bytes)));
    }
    Ok(seeds)
}

/// Bytes that one side sent at once.
struct Chunk<'a> {
    connection: &'a str,
    from_client: bool,
    bytes: Vec<u8>,
}

/// Reads a line of a capture; `None` for those that open and close connections.
fn chunk(line: &str) -> Option<Chunk<'_>> {
    let mut fields = line.split_whitespace().skip(1);
    let connection = fields.next()?;
    let from_client = match fields.next()? {
        "C>N" => true,
        "N>C" => false,
        _ => return None,
    };
    Some(Chunk { connection, from_client, bytes: from_hex(fields.nth(1)?) })
}

/// What legacy clients sent: each chunk alone, and all of a connection in one piece.
fn legacy_requests(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut connections: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let sent = |chunk: &&Chunk<'_>| chunk.from_client && chunk.connection.starts_with("legacy");
    for chunk in chunks.iter().filter(sent) {
        requests.push(chunk.bytes.clone());
        connections.entry(chunk.connection).or_default().extend(&chunk.bytes);
    }
    requests.extend(connections.into_values());
    requests
}

/// All that either side of a neo connection sent, in one piece for each side, its version byte left
/// out.
fn neo_streams(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    neo_sides(chunks).into_iter().map(|side| side[1..].to_vec()).collect()
}

/// The version byte and the first messages of either side.
fn neo_greetings(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    const GREETING_BYTES_MAX: usize = 256;
    let sides = neo_sides(chunks).into_iter();
    sides
        .map(|mut side| {
            side.truncate(GREETING_BYTES_MAX);
            side
        })
        .collect()
}

/// The request messages of either side, in the shape that the target `neo_request` frames: id and
/// length as a byte each, then the payload.
fn neo_payloads(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    neo_sides(chunks).iter().map(|side| short_payloads(&side[1..])).collect()
}

fn neo_sides(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    let mut sides: BTreeMap<(&str, bool), Vec<u8>> = BTreeMap::new();
    for chunk in chunks.iter().filter(|chunk| chunk.connection.starts_with("neo")) {
        sides.entry((chunk.connection, chunk.from_client)).or_default().extend(&chunk.bytes);
    }
    sides.into_values().filter(|side| !side.is_empty()).collect()
}

/// `| type: u8 | length: u64 | parity: u8 | id: u64 | payload |` repeated; messages whose payload
/// is longer than a byte can tell are left out.
fn short_payloads(mut stream: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 10;
    const ID_BYTES: usize = 8;
    let mut short = Vec::new();
    while let Some((header, rest)) = stream.split_at_checked(HEADER_BYTES) {
        let length = header[1..9].try_into().map_or(0, u64::from_le_bytes);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((body, rest)) = rest.split_at_checked(length) else { return short };
        stream = rest;
        if let (1, Some((id, payload))) = (header[0], body.split_at_checked(ID_BYTES))
            && let Ok(length) = u8::try_from(payload.len())
        {
            short.extend([id[0], length]);
            short.extend(payload);
        }
    }
    short
}

/// The compressed streams in batches, found by shape: `| n: u64 | size: u64 | n - 8 bytes |`, where
/// the n - 8 bytes end as every stream does.
fn lzo_streams(chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for chunk in chunks {
        for at in 0..chunk.bytes.len() {
            streams.extend(lzo_stream(&chunk.bytes[at..]).map(<[u8]>::to_vec));
        }
    }
    streams
}

/// The stream of a batch that starts with the first of `bytes`.
fn lzo_stream(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    rest.get(..length)?.get(8..).filter(|stream| stream.ends_with(&LZO_END))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_bytes_are_taken_chunk_by_chunk_and_whole() {
        let capture = "0.1 legacy#1 OPEN\n0.2 legacy#1 C>N 2 0102\n0.3 legacy#1 N>C 1 ff\n\
                       0.4 neo#1 C>N 1 09\n0.5 legacy#1 C>N 1 03\n0.6 legacy#1 CLOSE";
        let chunks: Vec<_> = capture.lines().filter_map(chunk).collect();
        assert_eq!(legacy_requests(&chunks), [vec![1, 2], vec![3], vec![1, 2, 3]]);
    }

    #[test]
    fn streams_are_found_by_their_shape() {
        let batch = "c8000000 0c00000000000000 0300000000000000 14110000 0000000000000000";
        let bytes = from_hex(batch);
        let found = lzo_streams(&[Chunk { connection: "legacy#1", from_client: false, bytes }]);
        assert_eq!(found, [from_hex("14110000")]);
    }

    #[test]
    fn the_captures_hold_streams_from_both_sides() {
        let seeds = of(&crate::root(), "lzo_decode").unwrap();
        let has = |part: &str| seeds.iter().any(|(name, _)| name.starts_with(part));
        assert!(has("06_GetAll") && has("util_dhtredist") && has("util_dhtdump"));
    }
}
