//! The power fails: what was synced is there.

use dht_dump::memory_disk::Faults;
use dht_testkit::{Rng, for_seeds};

use crate::world::{BOOT, Records, World, look, recover};

/// Another boot of the machine: the power was gone.
const LATER_BOOT: u64 = BOOT + 1;

/// Of each record: its value after the last change that was synced, and what it was changed to
/// later.
#[derive(Default)]
struct Allowed {
    synced: Records,
    later: Vec<Records>,
}

#[test]
fn what_was_synced_survives_a_power_cut() {
    for_seeds(3_000, |rng| {
        let mut world = World::new(2, 1 << rng.within(8..12));
        let mut allowed = Allowed::default();
        let dead_from_call = Some(rng.within(0..80));
        world.disk.set_faults(Faults { dead_from_call, ..Faults::default() });
        while run(&mut world, &mut allowed, rng).is_ok() {}
        let disk = world.disk.after_crash(&mut |n| rng.below(n));
        let found = look(&disk, LATER_BOOT);
        assert_eq!(found.damages, []);
        let records = recover(&disk, &found, 1);
        check(&records, &allowed);

        // The next start finds the same, and so it is after a second power cut right then.
        found.cut_tails(&disk).unwrap();
        let disk = disk.after_crash(&mut |n| rng.below(n));
        let again = look(&disk, LATER_BOOT + 1);
        assert_eq!((again.tails.len(), again.damages.len()), (0, 0));
        assert_eq!(recover(&disk, &again, 1), records);
    });
}

/// Some changes, then all of them written and synced, as group commit does it.
fn run(world: &mut World, allowed: &mut Allowed, rng: &mut Rng) -> Result<(), ()> {
    for _ in 0..rng.within(1..5) {
        world.change(rng);
        allowed.later.push(world.records.clone());
    }
    for worker in 0..world.writers.len() {
        world.write(worker).map_err(|_| ())?;
    }
    for worker in 0..world.writers.len() {
        world.sync(worker).map_err(|_| ())?;
    }
    allowed.synced = world.records.clone();
    allowed.later.clear();
    Ok(())
}

fn check(records: &Records, allowed: &Allowed) {
    let all = allowed.later.iter().chain([&allowed.synced]);
    let ids: std::collections::BTreeSet<_> =
        all.clone().chain([records]).flat_map(|records| records.keys()).collect();
    for id in ids {
        let value = records.get(id);
        assert!(all.clone().any(|state| state.get(id) == value), "{id:?} has become {value:?}");
    }
}
