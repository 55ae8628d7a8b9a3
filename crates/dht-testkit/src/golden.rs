//! The files in `testdata/`: bytes that the original programs wrote.

use std::path::PathBuf;

/// Path of a file or folder below `testdata/`.
#[must_use]
pub fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata")).join(name)
}

/// Names of the channels that `testdata/tcm` holds dumps of.
#[must_use]
pub fn golden_dump_names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(testdata("tcm"))
        .expect("testdata/tcm is part of the project")
        .filter_map(|entry| {
            let name = entry.expect("readable").file_name().into_string().expect("ASCII");
            name.strip_suffix(".tcm").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// One record of a golden dump as `LISTING.txt` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenRecord {
    /// The key.
    pub key: u64,
    /// Length of the value in bytes.
    pub value_bytes: usize,
    /// SHA-256 of the value as hex.
    pub sha256: String,
    /// The value itself where the listing has it (short ones).
    pub value: Option<Vec<u8>>,
}

/// The records of `testdata/tcm/NAME.tcm` in file order, as `LISTING.txt` describes them.
#[must_use]
pub fn golden_dump(name: &str) -> Vec<GoldenRecord> {
    let listing =
        std::fs::read_to_string(testdata("tcm/LISTING.txt")).expect("part of the project");
    let head = format!("{name}.tcm:");
    let mut lines = listing.lines().skip_while(|line| !line.starts_with(&head));
    assert!(lines.next().is_some(), "{name} is not in LISTING.txt");
    lines.take_while(|line| line.starts_with("  ")).map(golden_record).collect()
}

/// Reads `  KEY len=N sha256=X [hex=Y]`.
fn golden_record(line: &str) -> GoldenRecord {
    let mut fields = line.split_whitespace();
    let key = fields.next().expect("a key");
    let mut record = GoldenRecord {
        key: u64::from_str_radix(key, 16).expect("a hex key"),
        value_bytes: 0,
        sha256: String::new(),
        value: None,
    };
    for field in fields {
        match field.split_once('=').expect("name=value") {
            ("len", len) => record.value_bytes = len.parse().expect("a length"),
            ("sha256", sha) => record.sha256 = sha.to_owned(),
            ("hex", hex) => record.value = Some(crate::from_hex(hex)),
            other => panic!("unknown field {other:?} in LISTING.txt"),
        }
    }
    record
}
