//! What is written comes back, whoever wrote it, in whatever segments.

use std::path::Path;
use std::sync::Arc;

use dht_dump::Disk;
use dht_dump::memory_disk::{Faults, MemoryDisk};
use dht_log::{LogPlace, LogWriter, Part, replay, survey};
use dht_testkit::{for_seeds, from_hex};
use dht_types::Key;

use crate::world::{BOOT, DIR, World, look, recover};

#[test]
fn what_is_written_comes_back() {
    for_seeds(100, |rng| {
        let workers = u32::try_from(rng.within(1..5)).unwrap();
        let mut world = World::new(workers, 1 << rng.within(8..14));
        for _ in 0..rng.within(1..400) {
            let worker = world.change(rng);
            if rng.one_in(3) {
                world.write(worker).unwrap();
            }
        }
        world.write_all();
        let found = look(&world.disk, BOOT);
        assert_eq!((found.tails.len(), found.damages.len()), (0, 0));
        for parts in [1, 3] {
            assert_eq!(recover(&world.disk, &found, parts), world.records);
        }
    });
}

/// Each life of a node goes on with the numbers of the one before.
#[test]
fn several_lives_are_one_log() {
    for_seeds(50, |rng| {
        let mut world = World::new(2, 1024);
        for _ in 0..4 {
            for _ in 0..rng.within(0..100) {
                let worker = world.change(rng);
                world.write(worker).unwrap();
            }
            let found = look(&world.disk, BOOT);
            assert_eq!(recover(&world.disk, &found, 2), world.records);
            let workers = u32::try_from(rng.within(1..4)).unwrap();
            world = World::on(world.disk.clone(), workers, 1024, BOOT, &found);
        }
    });
}

/// A node that is killed in the middle of a write has answered nobody about it.
#[test]
fn a_write_that_was_cut_off_is_a_tail() {
    for_seeds(100, |rng| {
        let mut world = World::new(1, 1 << 20);
        for _ in 0..rng.within(0..50) {
            world.change(rng);
            world.write(0).unwrap();
        }
        let before = world.records.clone();
        world.change(rng);
        if world.writers[0].log.pending_bytes() == 0 {
            return;
        }
        let room = rng.within(1..40);
        let used: u64 = world.disk.list(Path::new(DIR)).unwrap().iter().map(|e| e.file_bytes).sum();
        let capacity_bytes = Some(usize::try_from(used).unwrap() + room);
        world.disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
        assert!(world.write(0).is_err(), "a frame has 40 bytes before its first entry");
        let disk = world.disk.after_kill();
        let found = look(&disk, BOOT);
        assert_eq!((found.tails.len(), found.damages.len()), (1, 0));
        assert_eq!(recover(&disk, &found, 1), before);
        found.cut_tails(&disk).unwrap();
        let again = look(&disk, BOOT);
        assert_eq!((again.tails.len(), again.damages.len()), (0, 0));
        assert_eq!(recover(&disk, &again, 1), before);
    });
}

/// A full disk costs time, nothing else.
#[test]
fn a_write_that_failed_is_done_again_at_the_same_place() {
    for_seeds(100, |rng| {
        let mut world = World::new(2, 2048);
        for _ in 0..100 {
            let worker = world.change(rng);
            if rng.one_in(3) {
                let failing_call = Some(rng.within(0..3));
                let fails_after_work = rng.one_in(2);
                let short_write_bytes = rng.one_in(2).then(|| rng.within(1..100));
                let faults = Faults {
                    failing_call,
                    fails_after_work,
                    short_write_bytes,
                    ..Faults::default()
                };
                world.disk.set_faults(faults);
                let _ = world.write(worker);
                world.disk.set_faults(Faults::default());
            }
            if rng.one_in(2) {
                world.write(worker).unwrap();
            }
        }
        world.write_all();
        let found = look(&world.disk, BOOT);
        assert_eq!((found.tails.len(), found.damages.len()), (0, 0));
        assert_eq!(recover(&world.disk, &found, 1), world.records);
    });
}

#[test]
fn changes_up_to_the_floor_are_left_out() {
    let disk = MemoryDisk::with_folder(DIR);
    let place = LogPlace::new(Arc::new(disk.clone()), DIR.into(), BOOT, 0);
    let (mut log, name) = (LogWriter::new(Arc::new(place), 0, 1 << 20), "ch".parse().unwrap());
    for sequence in 1..=5 {
        log.put((1, &name), sequence, Key(sequence), b"v");
    }
    log.remove_channel((1, &name), 6);
    log.put((2, &name), 7, Key(9), b"w");
    log.write((0, 0)).unwrap();
    let keys = |floor| {
        let found = survey(&disk, Path::new(DIR), BOOT, floor).unwrap();
        let mut keys = Vec::new();
        replay(&disk, &found, floor, Part::ALL, |change| {
            keys.push((change.incarnation, change.key.0));
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        keys
    };
    assert_eq!(keys(0), [(2, 9)]);
    assert_eq!(keys(6), [(2, 9)]);
    assert_eq!(keys(7), []);
}

/// The bytes of docs/log-format.md.
#[test]
fn a_segment_has_these_bytes() {
    let disk = MemoryDisk::with_folder(DIR);
    let place = LogPlace::new(Arc::new(disk.clone()), DIR.into(), 0x1122, 0);
    let (mut log, name) = (LogWriter::new(Arc::new(place), 3, 1 << 20), "ch".parse().unwrap());
    log.put((7, &name), 5, Key(10), b"foo");
    let written = log.write((0, 0)).unwrap().unwrap();
    written.file.sync().unwrap();
    let mut bytes = Vec::new();
    let path = Path::new(DIR).join("0000000000000001-3.log");
    std::io::Read::read_to_end(&mut disk.open(&path).unwrap().content, &mut bytes).unwrap();
    let expected = include_str!("../../../../testdata/log/one-put.hex");
    let expected: String = expected.lines().map(|line| line.split('|').next().unwrap()).collect();
    assert_eq!(
        dht_testkit::to_hex(&bytes),
        dht_testkit::to_hex(&from_hex(&expected.replace(' ', "")))
    );
}
