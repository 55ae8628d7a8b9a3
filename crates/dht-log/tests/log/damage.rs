//! A bit that flips is noticed, or does no harm.

use std::path::{Path, PathBuf};

use dht_dump::Disk;
use dht_dump::memory_disk::MemoryDisk;
use dht_testkit::{Rng, for_seeds};

use crate::world::{BOOT, DIR, Records, World, look, recover};

/// How many flips, by the environment: the long run has 100,000.
fn flips() -> u64 {
    std::env::var("BIT_FLIPS").map_or(3_000, |text| text.parse().unwrap())
}

fn world(rng: &mut Rng) -> World {
    let mut world = World::new(2, 1500);
    for _ in 0..80 {
        let worker = world.change(rng);
        if rng.one_in(2) {
            world.write(worker).unwrap();
            world.sync(worker).unwrap();
        }
    }
    world.write_all();
    world
}

fn flip(disk: &MemoryDisk, rng: &mut Rng) -> PathBuf {
    let files = disk.list(Path::new(DIR)).unwrap();
    let file = rng.pick(&files);
    let path = Path::new(DIR).join(&file.name);
    disk.flip_bit(
        &path,
        rng.within(0..usize::try_from(file.file_bytes).unwrap()),
        rng.within(0..8),
    );
    path
}

/// What a record may be, if the log is known to be damaged: any of its values.
fn is_torn(records: &Records, history: &[Records]) -> bool {
    records.iter().any(|(id, value)| !history.iter().any(|state| state.get(id) == Some(value)))
}

#[test]
fn a_flipped_bit_is_found_with_file_and_offset() {
    for_seeds(flips() / 50, |rng| {
        let world = world(rng);
        for _ in 0..50 {
            let disk = world.disk.after_kill();
            let path = flip(&disk, rng);
            let found = look(&disk, BOOT);
            assert_eq!(found.tails, [], "nobody has lost power");
            let [damage] = &found.damages[..] else { panic!("{:?}", found.damages) };
            assert_eq!(damage.path, path);
            assert!(damage.to_string().contains("is damaged at offset"));
        }
    });
}

/// After a power cut, the end of a segment may be anything; what was synced may not.
#[test]
fn a_flipped_bit_in_what_was_synced_is_found_after_a_power_cut_too() {
    for_seeds(flips() / 50, |rng| {
        let world = world(rng);
        for _ in 0..50 {
            let disk = world.disk.after_kill();
            flip(&disk, rng);
            let found = look(&disk, BOOT + 1);
            let told = found.tails.len() + found.damages.len();
            assert_eq!(told, 1, "{found:?}");
        }
    });
}

/// What can be read of a damaged log has values that were written.
#[test]
fn what_is_left_of_a_damaged_log_is_not_torn() {
    for_seeds(100, |rng| {
        let mut world = World::new(2, 1500);
        let mut history = vec![Records::new()];
        for _ in 0..80 {
            let worker = world.change(rng);
            world.write(worker).unwrap();
            history.push(world.records.clone());
        }
        for _ in 0..3 {
            flip(&world.disk, rng);
        }
        let found = look(&world.disk, BOOT);
        assert!(!found.damages.is_empty());
        assert!(!is_torn(&recover(&world.disk, &found, 1), &history));
    });
}
