//! A disk that is full while dhtdump dumps, and has room again.

use std::path::Path;

use dht_dump::{Entry, OsDisk, open_dump};
use dht_testkit::{SmallDisk, wait_for};
use dht_types::Key;

use crate::setup::{Dump, channel, connect, names, start_node, temporary_folder};

const VALUE_BYTES: usize = 1000;
const RECORDS: u64 = 1000;
/// Room for two dumps and a half, and the backup is one.
const DISK_BYTES: u64 = 3_600_000;

/// The least first byte of the values of a whole dump. They are put all at once, but a dump is no
/// snapshot.
fn generation(out: &Path) -> u8 {
    let mut reader = open_dump(&OsDisk, &out.join("ch.tcm")).expect("a dump");
    let (mut records, mut generation) = (0, u8::MAX);
    while let Some(entry) = reader.next().expect("a whole dump") {
        let Entry::Record { value, .. } = entry else { panic!("{entry:?}") };
        generation = generation.min(value[0]);
        records += 1;
    }
    assert_eq!(records, RECORDS);
    generation
}

pub(crate) fn a_full_disk_loses_no_dump_and_is_recovered_from() {
    let dir = temporary_folder();
    let dump_dir = dir.path().join("dump");
    let out = dump_dir.join("out");
    let Some(disk) = SmallDisk::mount(&out, DISK_BYTES) else { return };
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    let mut fill = |generation: u8| {
        for key in 0..RECORDS {
            let value = [generation; VALUE_BYTES];
            client.put(&channel("ch"), Key(key), &value).expect("the node takes it");
        }
        client.put(&channel("small"), Key(1), &[generation]).expect("the node takes it");
    };
    fill(1);
    let more = "data_dir = out\nperiod_s = 1\nmin_wait_s = 1\nretry_wait_s = 1";
    let dump = Dump::start(&dump_dir, node.address(), more, &[]);
    wait_for("two dumps", || out.join("ch.tcm.backup").exists().then_some(()));

    for (number, free) in [(2, 0), (3, 5_000), (4, 500_000), (5, 1_030_000)] {
        disk.leave_free(free);
        fill(number);
        let failures = || dump.log().matches("Failed to dump channel to file 'out/ch.tcm'").count();
        let before = failures();
        wait_for("a failure", || (failures() > before + 1).then_some(()));
        assert!(dump.log().contains("No space left"), "{}", dump.log());
        assert!(generation(&out) < number, "the dump before");
        disk.empty();
        wait_for("a whole dump", || (generation(&out) == number).then_some(()));
    }
    assert!(dump.log().contains("Dump not completed successfully. Retrying in 1s"));
    assert!(names(&out).iter().any(|name| name == "small.tcm"), "the others are dumped");
    dump.signal("TERM");
    let mut dump = dump;
    assert_eq!(dump.wait().code(), Some(0));
    assert!(names(&out).iter().all(|name| !name.ends_with(".dumping")), "no litter");
}
