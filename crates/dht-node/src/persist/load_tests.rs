//! Every row of the specification's table of what is loaded (spec `node` 12.4).

use std::time::{Duration, Instant};

use dht_dump::{DumpOptions, DumpWriter, OsDisk};
use dht_storage::StoreOptions;
use dht_testkit::from_hex;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test's clock")]
fn clock() -> Instant {
    Instant::now()
}

fn options() -> LoadOptions {
    LoadOptions {
        hash_range: HashRange::FULL,
        foreign: Vec::new(),
        out_of_range: OutOfRange::Load,
        abort_after_all_out_of_range: 10_000,
        accept_damaged: false,
        clock,
    }
}

/// The upper half: odd keys.
fn odd() -> HashRange {
    HashRange::new(1 << 63, u64::MAX).unwrap()
}

struct Folder {
    dir: TempDir,
    store: Store,
    dumps: Dumps,
}

impl Folder {
    fn new() -> Self {
        let store = Store::new(StoreOptions { shard_bits: 2, seed: 1 });
        let dumps = Dumps::new(Duration::from_secs(600));
        Self { dir: tempfile::tempdir().unwrap(), store, dumps }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn dump(&self, channel: &str, records: &[(u64, &[u8])]) {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let options = DumpOptions { direct: false, keep_backup: false };
        let name = channel.parse().unwrap();
        let mut dump = DumpWriter::create(&disk, self.dir.path(), &name, options).unwrap();
        for (key, value) in records {
            dump.record(Key(*key), value).unwrap();
        }
        dump.finish().unwrap();
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn load(&self, options: &LoadOptions) -> Result<(), LoadError> {
        load_all(&OsDisk, self.dir.path(), &self.store, &self.dumps, options)
    }

    /// Records of a channel; `None` if there is no such channel.
    fn records(&self, channel: &str) -> Option<u64> {
        self.store.channel(channel).map(|channel| channel.usage().records)
    }
}

#[test]
fn every_dump_becomes_a_channel_and_an_empty_one_too() {
    let folder = Folder::new();
    folder.dump("one", &[(1, b"a"), (2, b"bc")]);
    folder.dump("none", &[]);
    folder.load(&options()).unwrap();
    assert_eq!((folder.records("one"), folder.records("none")), (Some(2), Some(0)));
    let channel = folder.store.channel("one").unwrap();
    assert_eq!(channel.get(Key(2), <[u8]>::to_vec), Some(b"bc".to_vec()));
}

#[test]
fn empty_records_of_others_are_discarded_and_records_of_any_size_are_loaded() {
    let folder = Folder::new();
    let large = vec![7; 3_000_000];
    folder.dump("ch", &[(1, b"a"), (2, b""), (3, &large)]);
    std::fs::remove_file(folder.path().join("ch.tcm.manifest")).unwrap();
    folder.load(&options()).unwrap();
    assert_eq!(folder.records("ch"), Some(2));
    let channel = folder.store.channel("ch").unwrap();
    assert_eq!(channel.get(Key(3), <[u8]>::to_vec), Some(large));
}

#[test]
fn empty_records_of_ours_are_loaded_for_somebody_was_told_that_they_are_stored() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"a"), (2, b"")]);
    folder.load(&options()).unwrap();
    let channel = folder.store.channel("ch").unwrap();
    assert_eq!(channel.get(Key(2), <[u8]>::to_vec), Some(Vec::new()));
}

#[test]
fn the_last_of_several_records_with_one_key_wins() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"first"), (1, b"last")]);
    folder.load(&options()).unwrap();
    let channel = folder.store.channel("ch").unwrap();
    assert_eq!(channel.get(Key(1), <[u8]>::to_vec), Some(b"last".to_vec()));
}

#[test]
fn raw_keys_are_keys_and_other_malformed_ones_are_left_out() {
    let folder = Folder::new();
    let record = |key: &[u8]| {
        let mut bytes = (key.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&from_hex("0300000000000000 666f6f"));
        bytes
    };
    let mut file = vec![0; 8];
    for key in
        [&b"000000000000000A"[..], b"00000000000000a", b"00000000000000000", b"000000000000000g"]
    {
        file.extend(record(key));
    }
    file.extend(record(&0xbb_u64.to_le_bytes()));
    file.extend_from_slice(&[0; 8]);
    folder.file("ch.tcm", &file);
    folder.load(&options()).unwrap();
    assert_eq!(folder.records("ch"), Some(2));
    let channel = folder.store.channel("ch").unwrap();
    assert!(channel.contains(Key(0xa)) && channel.contains(Key(0xbb)));
}

#[test]
fn files_that_are_no_dumps_are_left_alone() {
    let folder = Folder::new();
    folder.dump("good", &[(1, b"a")]);
    folder.file("empty.tcm", b"");
    folder.file("old.tcm", &from_hex("0100000000000000 0000000000000000"));
    folder.file("x.tcm.AbCdEf.dumping", b"unfinished");
    folder.file("good.tcm.backup", b"anything");
    folder.file("no channel.tcm", &[0; 512]);
    folder.file("notes.txt", b"hello");
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::create_dir(folder.path().join("deleted")).unwrap();
    folder.load(&options()).unwrap();
    let names: Vec<String> =
        folder.store.channels().iter().map(|channel| channel.name().to_string()).collect();
    // Nothing is known of the records of another version: there is no such channel.
    assert_eq!(names, ["good"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 10);
}

#[test]
fn records_out_of_range_are_loaded_left_out_or_fatal_as_configured() {
    let records: &[(u64, &[u8])] = &[(1, b"in"), (2, b"out"), (3, b"in")];
    for (out_of_range, expected) in
        [(OutOfRange::Load, Some(3)), (OutOfRange::Ignore, Some(2)), (OutOfRange::Fatal, None)]
    {
        let folder = Folder::new();
        folder.dump("ch", records);
        let loaded = folder.load(&LoadOptions { hash_range: odd(), out_of_range, ..options() });
        match expected {
            Some(records) => {
                loaded.unwrap();
                assert_eq!(folder.records("ch"), Some(records));
            }
            None => assert!(matches!(loaded, Err(LoadError::OutOfRange { key: Key(2), .. }))),
        }
    }
}

#[test]
fn a_channel_all_out_of_range_is_given_up_after_the_limit() {
    let records: Vec<(u64, &[u8])> = (0..11).map(|i| (2 * i, &b"v"[..])).collect();
    for (limit, count, refused) in [(10, 10, false), (10, 11, true), (0, 11, false)] {
        let folder = Folder::new();
        folder.dump("ch", &records[..count]);
        let loaded = folder.load(&LoadOptions {
            hash_range: odd(),
            abort_after_all_out_of_range: limit,
            ..options()
        });
        assert_eq!(matches!(loaded, Err(LoadError::AllOutOfRange { .. })), refused, "{limit}");
        assert!(refused || loaded.is_ok());
    }
    let folder = Folder::new();
    let mut with_one_inside = records;
    with_one_inside.insert(0, (1, b"in range"));
    folder.dump("ch", &with_one_inside);
    let options = LoadOptions { hash_range: odd(), abort_after_all_out_of_range: 10, ..options() };
    folder.load(&options).unwrap();
}

#[test]
fn a_truncated_dump_stops_the_start_and_stays_as_it_is() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"a"), (2, b"b")]);
    let path = folder.path().join("ch.tcm");
    let whole = std::fs::read(&path).unwrap();
    folder.file("ch.tcm", &whole[..60]);
    let error = folder.load(&options()).unwrap_err().to_string();
    assert!(error.contains("ch.tcm") && error.contains("offset 49"), "file and offset: {error}");
    assert_eq!(std::fs::read(&path).unwrap(), &whole[..60]);
}

#[test]
fn a_truncated_dump_is_kept_under_another_name_if_accepted() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"a"), (2, b"b")]);
    let whole = std::fs::read(folder.path().join("ch.tcm")).unwrap();
    folder.file("ch.tcm", &whole[..60]);
    folder.load(&LoadOptions { accept_damaged: true, ..options() }).unwrap();
    assert_eq!(folder.records("ch"), Some(1));
    assert!(!folder.path().join("ch.tcm").exists());
    assert_eq!(std::fs::read(folder.path().join("ch.tcm.damaged-1")).unwrap(), &whole[..60]);
}

/// Flips a bit as a failing medium does: the time of change stays.
fn flip_bit(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_flipped_bit_in_a_dump_with_a_manifest_stops_the_start() {
    // In the version, where the file would be skipped otherwise; in a value; in the padding.
    for at in [0, 40, 500] {
        let folder = Folder::new();
        folder.dump("ch", &[(1, b"a"), (2, b"b")]);
        let path = folder.path().join("ch.tcm");
        flip_bit(&path, at);
        let error = folder.load(&options()).unwrap_err().to_string();
        assert!(error.contains("ch.tcm") && error.contains("checksum"), "byte {at}: {error}");

        folder.load(&LoadOptions { accept_damaged: true, ..options() }).unwrap();
        assert!(folder.path().join("ch.tcm.damaged-1").exists());
        assert!(folder.path().join("ch.tcm.manifest-1").exists());
        assert!(!path.exists());
    }
}

#[test]
fn health_tells_from_the_start_how_old_the_dumps_are() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"a"), (2, b"b")]);
    folder.dump("of-another-program", &[(3, b"c")]);
    std::fs::remove_file(folder.path().join("of-another-program.tcm.manifest")).unwrap();
    for (name, modified) in [("ch", 1_000), ("of-another-program", 2_000)] {
        let path = folder.path().join(format!("{name}.tcm"));
        let modified = std::time::UNIX_EPOCH + Duration::from_secs(modified);
        std::fs::File::open(path).unwrap().set_modified(modified).unwrap();
    }
    folder.load(&options()).unwrap();
    let health = folder.dumps.health(&folder.store, clock(), 2_500);
    assert_eq!(health, "ok\nch 1500 2 512 none\nof-another-program 500 1 512 none\n");
}
