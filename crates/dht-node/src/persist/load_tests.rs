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
        threads: 2,
        clock,
        unix_time: || 10_000,
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
        let options = DumpOptions { direct: false, keep_backup: true };
        let name = channel.parse().unwrap();
        let mut dump = DumpWriter::create(&disk, self.dir.path(), &name, options).unwrap();
        dump.set_log_position(LogPosition::new(&records.len().to_string()).unwrap());
        for (key, value) in records {
            dump.record(Key(*key), value).unwrap();
        }
        dump.finish().unwrap();
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn load(&self, options: &LoadOptions) -> Result<Vec<LoadedChannel>, LoadError> {
        self.load_with_log(options, LogView { holds: &|_, _| false, knows: &|_| false })
    }

    fn load_with_log(
        &self,
        options: &LoadOptions,
        log: LogView<'_>,
    ) -> Result<Vec<LoadedChannel>, LoadError> {
        load_all(&OsDisk, self.dir.path(), &self.store, &self.dumps, options, log)
    }

    /// The content of a channel.
    fn content(&self, channel: &str) -> Vec<(u64, Vec<u8>)> {
        let channel = self.store.channel(channel).unwrap();
        let mut records = Vec::new();
        channel.scan(dht_storage::Cursor::START, usize::MAX, |key, value| {
            records.push((key.0, value.to_vec()));
            std::ops::ControlFlow::Continue(())
        });
        records.sort_unstable();
        records
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

/// As a crash leaves it that came between the renames of the dump and of its manifest.
#[test]
fn empty_records_of_ours_are_loaded_even_if_the_manifest_is_missing() {
    let folder = Folder::new();
    folder.dump("ch", &[(1, b"a"), (2, b"")]);
    std::fs::remove_file(folder.path().join("ch.tcm.manifest")).unwrap();
    let log = LogView { holds: &|_, _| false, knows: &|name| name.as_str() == "ch" };
    folder.load_with_log(&options(), log).unwrap();
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
    folder.file("removed.tcm.backup", b"of a channel that the original removed");
    folder.file("no channel.tcm", &[0; 512]);
    folder.file("notes.txt", b"hello");
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::create_dir(folder.path().join("deleted")).unwrap();
    folder.file("deleted/removed.tcm", b"its last dump");
    folder.load(&options()).unwrap();
    let names: Vec<String> =
        folder.store.channels().iter().map(|channel| channel.name().to_string()).collect();
    // Nothing is known of the records of another version: there is no such channel.
    assert_eq!(names, ["good"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 11);
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
        assert!(error.contains("in the 512 bytes from offset 0 on"), "{error}");

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
    let health = folder.dumps.health(&folder.store, None, clock(), 2_500);
    assert_eq!(health, "ok\nch 1500 2 512 none\nof-another-program 500 1 512 none\n");
}

const OLD: &[(u64, &[u8])] = &[(1, b"old"), (2, b"old"), (3, b"old")];
const NEW: &[(u64, &[u8])] = &[(1, b"new"), (2, b"new"), (4, b"new"), (5, b"new")];

fn owned(records: &[(u64, &[u8])]) -> Vec<(u64, Vec<u8>)> {
    records.iter().map(|(key, value)| (*key, value.to_vec())).collect()
}

/// A dump of [`NEW`], damaged, with a backup of [`OLD`].
fn damaged_with_backup() -> Folder {
    let folder = Folder::new();
    folder.dump("ch", OLD);
    folder.dump("ch", NEW);
    flip_bit(&folder.path().join("ch.tcm"), 45);
    folder
}

#[test]
fn a_damaged_dump_is_replaced_by_its_backup_if_the_log_has_the_rest() {
    let folder = damaged_with_backup();
    let asked = std::sync::Mutex::new(Vec::new());
    let log_holds = |_: &ChannelName, position: Option<&LogPosition>| {
        asked.lock().unwrap().push(position.cloned());
        true
    };
    let loaded =
        folder.load_with_log(&options(), LogView { holds: &log_holds, knows: &|_| true }).unwrap();
    assert_eq!(asked.into_inner().unwrap(), [LogPosition::new("3")]);
    let [channel] = &loaded[..] else { panic!("{loaded:?}") };
    assert_eq!((channel.origin, channel.name.as_str()), (Origin::Backup, "ch"));
    assert_eq!((&channel.log_position, &channel.loss), (&LogPosition::new("3"), &None));
    assert_eq!(folder.content("ch"), owned(OLD));
    // Or the next dump would make the damaged one the backup.
    assert!(folder.path().join("ch.tcm.damaged-1").exists());
    assert!(folder.path().join("ch.tcm.backup").exists() && !folder.path().join("ch.tcm").exists());
    assert!(folder.dumps.health(&folder.store, None, clock(), 0).contains("\nch 0 3 512 none"));
}

#[test]
fn a_missing_dump_is_replaced_by_its_backup_if_the_log_has_the_rest() {
    let folder = damaged_with_backup();
    std::fs::remove_file(folder.path().join("ch.tcm")).unwrap();
    let loaded = folder
        .load_with_log(&options(), LogView { holds: &|_, from| from.is_some(), knows: &|_| true })
        .unwrap();
    assert_eq!((loaded[0].origin, folder.content("ch")), (Origin::Backup, owned(OLD)));
}

#[test]
fn a_channel_that_the_log_has_from_its_begin_needs_no_dump() {
    let folder = damaged_with_backup();
    let loaded = folder
        .load_with_log(&options(), LogView { holds: &|_, from| from.is_none(), knows: &|_| true })
        .unwrap();
    assert_eq!((loaded[0].origin, &loaded[0].log_position), (Origin::Nothing, &None));
    assert_eq!(folder.content("ch"), []);
}

#[test]
fn all_that_would_be_lost_is_told_and_nothing_is_changed() {
    let folder = damaged_with_backup();
    folder.dump("alone", NEW);
    let alone = folder.path().join("alone.tcm");
    flip_bit(&alone, 500);
    folder.file("cut.tcm", &[0; 12]);
    folder.dump("lost", OLD);
    folder.dump("lost", NEW);
    std::fs::remove_file(folder.path().join("lost.tcm")).unwrap();
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let error = folder.load(&options()).unwrap_err().to_string();
    for part in [
        "alone.tcm' is damaged: the dump is damaged in the 512 bytes from offset 0 on",
        "channel 'alone' starts with the 0 records before the damage; 4 records of 140 bytes are \
         lost; it has no backup",
        "ch.tcm' is damaged",
        "of 3 records, 121 bytes; the other changes of the",
        "(the dump had 4 records, 140 bytes)",
        "cut.tcm' is damaged: the dump is truncated or damaged: the key length at offset 8",
        "what the 12 bytes of the file behind them held is lost; it has no backup",
        "lost.tcm' is missing",
        "all changes since then are lost (if the channel is not wanted, remove its backup",
        "Nothing was changed.",
        "--accept-damaged",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(names(), before);
    let loaded = folder.load(&LoadOptions { accept_damaged: true, ..options() }).unwrap();
    let origins: Vec<_> =
        loaded.iter().map(|loaded| (loaded.name.as_str(), loaded.origin)).collect();
    for expected in [
        ("alone", Origin::DamagedDump),
        ("ch", Origin::Backup),
        ("cut", Origin::DamagedDump),
        ("lost", Origin::Backup),
    ] {
        assert!(origins.contains(&expected), "{origins:?}");
    }
    assert!(loaded.iter().all(|loaded| loaded.loss.is_some()));
    assert_eq!((folder.content("ch"), folder.content("lost")), (owned(OLD), owned(OLD)));
    assert_eq!((folder.content("alone"), folder.content("cut")), (vec![], vec![]));
}

/// Records of whole blocks are surely right, and newer than those of the backup.
#[test]
fn what_is_surely_right_of_a_damaged_dump_goes_on_top_of_the_backup() {
    let folder = Folder::new();
    let large = vec![b'n'; 100_000];
    let old: Vec<_> = (0..30).map(|key| (key, &b"old"[..])).collect();
    let new: Vec<_> = (0..30).map(|key| (key, &large[..])).collect();
    folder.dump("ch", &old);
    folder.dump("ch", &new);
    flip_bit(&folder.path().join("ch.tcm"), 2_500_000);
    folder.load(&LoadOptions { accept_damaged: true, ..options() }).unwrap();
    let whole = 2 * (1 << 20) / 100_032;
    for (key, value) in folder.content("ch") {
        assert_eq!(value, if key < whole { &large[..] } else { b"old" }, "{key}");
    }
    assert_eq!(folder.records("ch"), Some(30));
}

#[test]
fn a_damaged_backup_is_of_no_use() {
    let folder = damaged_with_backup();
    flip_bit(&folder.path().join("ch.tcm.backup"), 100);
    let error = folder
        .load_with_log(&options(), LogView { holds: &|_, from| from.is_some(), knows: &|_| true })
        .unwrap_err();
    assert!(error.to_string().contains("ch.tcm.backup' is damaged, too"), "{error}");
}

/// Large ones with several threads each, small ones beside each other.
#[test]
fn many_channels_of_any_size_are_loaded_as_they_were_dumped() {
    for threads in [1, 2, 5] {
        let folder = Folder::new();
        let value = vec![3; 1000];
        let mut expected = Vec::new();
        for channel in 0..20 {
            let count = if channel < 2 { 9_000 } else { channel * 10 };
            let records: Vec<_> = (0..count).map(|key| (key, &value[..])).collect();
            let name = format!("ch{channel}");
            folder.dump(&name, &records);
            expected.push((name, count));
        }
        let loaded = folder.load(&LoadOptions { threads, ..options() }).unwrap();
        assert_eq!(loaded.len(), 20);
        for (name, count) in expected {
            assert_eq!(folder.records(&name), Some(count), "{name}, {threads} threads");
        }
    }
}
