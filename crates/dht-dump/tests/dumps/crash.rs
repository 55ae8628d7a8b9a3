//! The power fails at every step; what was not synced may be there or not.

use std::{path::Path, sync::Arc};

use dht_dump::{Disk, FoundKind, move_to_deleted, quarantine, scan_dir};
use dht_testkit::for_seeds;

use crate::{
    golden::encode,
    support::{
        DATA, Records, WITH_BACKUP, backup, channel, dump, generation, has_manifest, load, names,
        tcm,
    },
};
use dht_dump::memory_disk::{Faults, MemoryDisk};

/// Runs `work` on a disk with a durable dump, lets the machine die before each call in turn, and
/// shows `check` the disk found afterwards, and whether `work` had succeeded. Many times, as each
/// crash may keep something else.
fn crash_at_every_call(
    work: impl Fn(&Arc<dyn Disk>) -> bool + std::panic::RefUnwindSafe,
    check: impl Fn(&MemoryDisk, bool) + std::panic::RefUnwindSafe,
) {
    for_seeds(100, |rng| {
        let with_manifest = rng.one_in(2);
        for dead_from_call in 0.. {
            let memory = MemoryDisk::with_folder(DATA);
            memory.place(&tcm(Path::new(DATA)), &encode(&generation(1)));
            memory.place(&Path::new(DATA).join("ch.tcm.backup"), &encode(&generation(0)));
            let disk: Arc<dyn Disk> = Arc::new(memory.clone());
            // With a manifest from the start; generation 1 becomes its own backup.
            if with_manifest {
                dump(&disk, Path::new(DATA), &generation(1), WITH_BACKUP).unwrap();
            }
            let dead_from_call = Some(dead_from_call);
            memory.set_faults(Faults { dead_from_call, ..Faults::default() });
            let succeeded = work(&disk);
            check(&memory.after_crash(&mut |n| rng.below(n)), succeeded);
            if succeeded {
                return; // It died after the last call.
            }
        }
    });
}

#[test]
fn a_crash_while_dumping_leaves_the_old_dump_or_the_new_one() {
    let dir = Path::new(DATA);
    crash_at_every_call(
        |disk| match dump(disk, dir, &generation(2), WITH_BACKUP) {
            Ok(finished) => finished.backup_error.is_none() && finished.manifest_error.is_none(),
            Err(_) => false,
        },
        |disk, succeeded| {
            // Loading verifies it by its manifest, if that belongs to it.
            let now = load(disk, &tcm(dir)).expect("a complete dump");
            assert!(!succeeded || has_manifest(disk, &tcm(dir)));
            let expected: &[Records] =
                if succeeded { &[generation(2)] } else { &[generation(1), generation(2)] };
            assert!(expected.contains(&now));
            assert!(!succeeded || load(disk, &backup(dir)).unwrap() == generation(1));
            for found in scan_dir(disk, dir).unwrap() {
                if matches!(found.kind, FoundKind::Backup(_)) {
                    let backup = load(disk, &dir.join(found.name)).expect("a complete backup");
                    assert!(backup == generation(0) || backup == generation(1));
                }
            }
        },
    );
}

#[test]
fn a_crash_while_a_channel_is_removed_loses_no_dump() {
    let dir = Path::new(DATA);
    let deleted = dir.join("deleted");
    crash_at_every_call(
        |disk| move_to_deleted(&**disk, dir, &channel("ch")).is_ok(),
        |disk, succeeded| {
            let (here, there) = (load(disk, &tcm(dir)), load(disk, &tcm(&deleted)));
            assert!(here.is_ok() != there.is_ok(), "in one of the two folders");
            assert_eq!(here.or(there).unwrap(), generation(1));
            if load(disk, &tcm(dir)).is_err() {
                assert!(disk.open(&backup(dir)).is_err(), "a backup without its dump");
            }
            if succeeded {
                assert_eq!(names(disk, dir), ["deleted"], "it cannot come back");
            }
        },
    );
}

#[test]
fn a_crash_while_a_dump_is_set_aside_loses_nothing() {
    let dir = Path::new(DATA);
    crash_at_every_call(
        |disk| quarantine(&**disk, dir, "ch.tcm".as_ref()).is_ok(),
        |disk, succeeded| {
            let (here, aside) = (load(disk, &tcm(dir)), load(disk, &dir.join("ch.tcm.damaged-1")));
            assert!(here.is_ok() != aside.is_ok());
            assert!(aside.is_ok() || !succeeded);
            assert_eq!(here.or(aside).unwrap(), generation(1));
        },
    );
}
