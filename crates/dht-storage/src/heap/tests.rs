//! Slots, their memory, and what is left of it.

use dht_testkit::{Rng, for_seeds};

use super::*;

/// A slot, its length, and the byte that fills it.
type Filled = (SlotRef, usize, u8);

fn fill(heap: &mut Heap, rng: &mut Rng, slots: &mut Vec<Filled>, bytes: usize) {
    let Ok(slot) = heap.alloc_record(bytes) else { return };
    let byte = rng.next() as u8;
    heap.bytes_mut(slot)[..bytes].fill(byte);
    slots.push((slot, bytes, byte));
}

fn check_and_free(heap: &mut Heap, (slot, bytes, byte): Filled) {
    assert!(heap.bytes(slot)[..bytes].iter().all(|&other| other == byte), "overwritten");
    heap.free(slot);
}

#[test]
fn slots_do_not_overlap_and_all_memory_comes_back() {
    for_seeds(if cfg!(miri) { 1 } else { 20 }, |rng| {
        let (mut heap, mut slots) = (Heap::new(), Vec::new());
        let longest = if cfg!(miri) { 100 } else { *rng.pick(&[20, 700, 50_000]) };
        for _ in 0..if cfg!(miri) { 100 } else { 3_000 } {
            let bytes = rng.within(5..longest);
            if rng.below(5) < 3 || slots.is_empty() {
                fill(&mut heap, rng, &mut slots, bytes);
            } else {
                let at = rng.within(0..slots.len());
                check_and_free(&mut heap, slots.swap_remove(at));
            }
        }
        let in_use = heap.in_use();
        let wanted: usize = slots.iter().map(|&(_, bytes, _)| bytes).sum();
        assert!(in_use.record_bytes + in_use.large_bytes >= wanted as u64);
        slots.drain(..).for_each(|filled| check_and_free(&mut heap, filled));
        assert_eq!((heap.in_use(), heap.mapped_bytes()), (HeapUse::default(), 0));
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn a_full_heap_says_so_and_goes_on_when_something_was_freed() {
    let mut heap = Heap::with_regions(1);
    let mut slots = Vec::new();
    while let Ok(slot) = heap.alloc_record(30_000) {
        slots.push(slot);
    }
    assert_eq!(heap.mapped_bytes(), REGION_BYTES as u64);
    assert!(slots.len() * 30_720 > REGION_BYTES / 100 * 98, "only {} slots", slots.len());
    assert_eq!(heap.alloc_record(8), Err(Full));
    heap.alloc_record(100_000).expect("large records lie elsewhere");
    heap.free(slots.pop().expect("some"));
    heap.alloc_record(30_000).expect("the freed slot");
    assert_eq!(heap.alloc_record(30_000), Err(Full));
}

#[test]
fn freed_slots_are_used_before_fresh_memory() {
    let mut heap = Heap::new();
    let slots: Vec<_> = (0..1000).map(|_| heap.alloc_record(100).expect("memory")).collect();
    slots.iter().step_by(2).for_each(|&slot| heap.free(slot));
    let mut again: Vec<_> = (0..500).map(|_| heap.alloc_record(100).expect("memory").0).collect();
    again.sort_unstable();
    let mut freed: Vec<_> = slots.iter().step_by(2).map(|slot| slot.0).collect();
    freed.sort_unstable();
    assert_eq!(again, freed);
}
