//! A table against a `BTreeMap`, with tags chosen to meet: a store's seed would spread them.
#![expect(clippy::cast_possible_truncation, reason = "tags are any 32 bits")]

use std::collections::BTreeMap;

use dht_testkit::{Rng, for_seeds};

use super::*;

type Model = BTreeMap<(u32, u32), Vec<u8>>;

const STEPS: u64 = if cfg!(miri) { 60 } else { 3_000 };

fn put(
    table: &mut Table,
    heap: &mut Heap,
    (tag, low): (u32, u32),
    value: &[u8],
) -> Result<(), Full> {
    match table.find(heap, tag, low) {
        Some((found, _)) => table.replace(heap, found, low, value),
        None => table.insert(heap, tag, low, value),
    }
}

fn get<'h>(table: &Table, heap: &'h Heap, (tag, low): (u32, u32)) -> Option<&'h [u8]> {
    table.find(heap, tag, low).map(|(_, value)| value)
}

/// All records from a place on, collected in chunks.
fn scan(table: &Table, heap: &Heap, from: (u32, u32), count: usize) -> Vec<(u32, u32)> {
    let (mut places, mut from) = (Vec::new(), Some(from));
    while let Some((tag, low)) = from {
        let chunk = table.chunk(heap, tag, low, count);
        assert!(chunk.next.is_none_or(|next| next > tag), "each step goes on");
        places.extend(chunk.records.iter().map(|&(tag, low, _)| (tag, low)));
        from = chunk.next.map(|tag| (tag, 0));
    }
    places
}

fn check(rng: &mut Rng, table: &Table, heap: &Heap, model: &Model) {
    for (&place, value) in model {
        assert_eq!(get(table, heap, place), Some(value.as_slice()), "{place:x?}");
    }
    assert_eq!(table.usage().records, model.len() as u64);
    let from = model.keys().nth(rng.within(0..model.len().max(1))).copied().unwrap_or((0, 0));
    let count = rng.within(1..40);
    let expected: Vec<_> = model.range(from..).map(|(&place, _)| place).collect();
    assert_eq!(scan(table, heap, from, count), expected);
}

/// Puts, removes and looks up places that `place` draws; returns what a table then holds.
fn exercise(rng: &mut Rng, place: impl Fn(&mut Rng) -> (u32, u32)) -> (Table, Heap, Model) {
    let mut heap = Heap::new();
    let mut table = Table::new(&mut heap).expect("there is memory");
    let mut model = Model::new();
    for _ in 0..STEPS {
        let place = place(rng);
        if rng.one_in(3) {
            let found = table.find(&heap, place.0, place.1).map(|(found, _)| found);
            assert_eq!(found.is_some(), model.remove(&place).is_some());
            found.into_iter().for_each(|found| table.remove(&mut heap, found));
        } else {
            let value = rng.bytes(0..30);
            put(&mut table, &mut heap, place, &value).expect("there is room");
            model.insert(place, value);
        }
    }
    check(rng, &table, &heap, &model);
    (table, heap, model)
}

/// Removes everything, and checks that nothing is kept.
fn empty(mut table: Table, mut heap: Heap, model: Model) {
    for (tag, low) in model.into_keys() {
        let (found, _) = table.find(&heap, tag, low).expect("it was put");
        table.remove(&mut heap, found);
    }
    table.free_index(&mut heap);
    assert_eq!((heap.in_use().slots, heap.mapped_bytes()), (0, 0));
    assert!(table.moved_max() <= ENTRIES_MOVED_MAX);
}

#[test]
fn equal_tags_are_told_apart_and_scanned_in_order() {
    for_seeds(if cfg!(miri) { 2 } else { 60 }, |rng| {
        let (tags, lows) = (*rng.pick(&[1, 2, 20, 300]), *rng.pick(&[3, 30, 500]));
        let middle = rng.next() as u32 / 2;
        let first = *rng.pick(&[0, middle, u32::MAX - (tags as u32 - 1)]);
        let place = |rng: &mut Rng| (first + rng.below(tags) as u32, rng.below(lows) as u32);
        let (table, heap, model) = exercise(rng, place);
        empty(table, heap, model);
    });
}

#[test]
fn random_tags_agree_with_a_btreemap() {
    for_seeds(if cfg!(miri) { 1 } else { 20 }, |rng| {
        let (table, heap, model) = exercise(rng, |rng| (rng.next() as u32, rng.next() as u32));
        empty(table, heap, model);
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn keys_that_all_meet_are_refused_at_a_bound_and_lost_never() {
    for tags in [1, 4_000] {
        let mut rng = Rng::new(tags);
        let mut heap = Heap::new();
        let mut table = Table::new(&mut heap).expect("there is memory");
        let mut model = Model::new();
        let mut refused = 0;
        while refused < 20 {
            // The first 20 bits are equal, so no split parts them.
            let place = (0xabcd_e000 | rng.below(tags) as u32, rng.next() as u32);
            match put(&mut table, &mut heap, place, b"v") {
                Ok(()) => drop(model.insert(place, b"v".to_vec())),
                Err(Full) => refused += 1,
            }
        }
        assert_eq!(model.len(), ENTRIES_MOVED_MAX);
        check(&mut rng, &table, &heap, &model);
        assert!(table.directory.len() <= 1 << DEPTH_MAX);
        empty(table, heap, model);
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn a_full_heap_refuses_records_and_keeps_the_others() {
    for_seeds(4, |rng| {
        let mut heap = Heap::with_regions(1);
        let mut table = Table::new(&mut heap).expect("there is memory");
        let mut model = Model::new();
        let mut refused = 0;
        while refused < 1_000 {
            let place = (rng.next() as u32, rng.next() as u32);
            let value = rng.bytes(0..200);
            let before = (heap.in_use(), table.usage());
            match put(&mut table, &mut heap, place, &value) {
                Ok(()) => drop(model.insert(place, value)),
                Err(Full) => {
                    refused += 1;
                    assert_eq!((heap.in_use(), table.usage()), before);
                }
            }
        }
        check(rng, &table, &heap, &model);
        empty(table, heap, model);
    });
}

/// The growth of a single shard; the benchmark `growth` goes on to 20 million records.
#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn no_operation_moves_more_than_the_bound() {
    let (mut heap, mut rng) = (Heap::new(), Rng::new(1));
    let mut table = Table::new(&mut heap).expect("there is memory");
    let mut places: Vec<_> = (0..400_000).map(|_| (rng.next() as u32, rng.next() as u32)).collect();
    for &(tag, low) in &places {
        table.insert(&mut heap, tag, low, b"v").expect("there is memory");
    }
    assert!(table.segments.len() > 100, "it was split often");
    assert!(table.moved_max() > 1_000 && table.moved_max() <= ENTRIES_MOVED_MAX);
    let per_record = table.index_bytes() as f64 / places.len() as f64;
    assert!(per_record < 11.7, "{per_record} bytes of index for each record");
    while let Some((tag, low)) = places.pop() {
        let (found, _) = table.find(&heap, tag, low).expect("it was put");
        table.remove(&mut heap, found);
    }
    assert!(table.moved_max() <= ENTRIES_MOVED_MAX);
}

/// Who removes what a scan finds leaves entries close together: no smaller segment may hold them,
/// and each removal would look for one.
#[test]
fn removals_in_the_order_of_a_scan_seldom_try_to_shrink() {
    let mut heap = Heap::new();
    let mut table = Table::new(&mut heap).expect("there is memory");
    let count: u32 = if cfg!(miri) { 500 } else { 50_000 };
    let tags = (0..count).map(|number| number * (u32::MAX / count));
    for tag in tags.clone() {
        table.insert(&mut heap, tag, 0, b"value").expect("there is memory");
    }
    let segments = table.segments.len();
    let mut tries = 0;
    for tag in tags {
        let (found, _) = table.find(&heap, tag, 0).expect("it is there");
        let at = found.segment;
        table.remove(&mut heap, found);
        tries += usize::from(table.segments[at].is_sparse());
    }
    assert_eq!(table.usage().records, 0);
    assert!(tries <= 16 * segments, "{tries} tries in {segments} segments");
}
