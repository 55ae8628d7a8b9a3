//! What several threads may rely on, and what subscribers are told.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use dht_storage::{
    Change, Channel, Cursor, Event, Interest, Notify, PutError, Sequence, Store, StoreOptions,
    Subscription,
};
use dht_testkit::Rng;
use dht_types::Key;

const OPERATIONS: u64 = if cfg!(miri) { 60 } else { 30_000 };

/// The default options, but few shards for Miri: their memory is slow to make there.
fn options() -> StoreOptions {
    StoreOptions { shard_bits: if cfg!(miri) { 1 } else { 6 }, seed: 0 }
}

fn channel(store: &Store, name: &str) -> Arc<Channel> {
    store.channel_or_create(&name.parse().expect("a valid name")).expect("there is room")
}

fn put(channel: &Channel, key: u64, value: &[u8]) {
    channel.put(Key(key), value, Notify::IfPresent).expect("there is memory");
}

/// A subscription, and how often it was woken.
fn subscribe(
    channel: &Channel,
    interest: Interest,
    capacity: usize,
) -> (Subscription, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let wake = move || _ = counter.fetch_add(1, Ordering::Relaxed);
    (channel.subscribe(interest, capacity, Box::new(wake)), wakes)
}

fn drained(subscription: &Subscription) -> Vec<Event> {
    let mut events = Vec::new();
    subscription.drain(&mut events);
    events
}

/// Four threads put, remove and read keys of their own in the same channels and shards, while a
/// fifth scans: what each finds in the end is what it did, and the totals are exact.
#[test]
fn threads_do_not_disturb_each_other() {
    let store = Store::new(StoreOptions { shard_bits: 2, seed: 1 });
    let channels = ["a", "b"].map(|name| channel(&store, name));
    let work = |thread: u64| {
        let (mut rng, mut model) = (Rng::new(thread), BTreeMap::new());
        let mut sequence = Sequence::default();
        for _ in 0..OPERATIONS {
            let (at, key) = (rng.within(0..2), Key(rng.below(500) * 4 + thread));
            let old = model.get(&(at, key)).cloned();
            assert_eq!(channels[at].get(key, <[u8]>::to_vec), old);
            if rng.one_in(3) {
                assert_eq!(channels[at].remove(key, Notify::No), old.is_some());
                model.remove(&(at, key));
            } else if rng.one_in(2) {
                let value = rng.bytes(0..300);
                channels[at].put(key, &value, Notify::No).expect("there is memory");
                model.insert((at, key), value);
            } else {
                let values = [0, 1, 2].map(|_| rng.bytes(0..300));
                let keys = [key, Key(rng.below(500) * 4 + thread), key];
                let records = [0, 1, 2].map(|at| (keys[at], &values[at][..]));
                let together = channels[at].put_together(&records, &mut sequence, |_| {});
                together.expect("there is memory");
                model.extend(keys.map(|key| (at, key)).into_iter().zip(values));
            }
            let keys = [key, Key(rng.below(2_000)), Key(rng.below(2_000))];
            channels[at].get_many(&keys, |position, value| {
                if position == 0 {
                    let expected = model.get(&(at, key)).map(Vec::as_slice);
                    assert_eq!(value, expected);
                }
            });
        }
        model
    };
    let models = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            cursor = channels[0].scan(from, 10, |_, _| ControlFlow::Continue(()));
        }
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let (mut records, mut value_bytes) = (0, 0);
    for ((at, key), value) in models.into_iter().flatten() {
        assert_eq!(channels[at].get(key, <[u8]>::to_vec).as_deref(), Some(value.as_slice()));
        (records, value_bytes) = (records + 1, value_bytes + value.len() as u64);
    }
    assert_eq!((store.usage().records, store.usage().value_bytes), (records, value_bytes));
    assert_eq!(store.usage(), channels[0].usage() + channels[1].usage());
}

/// An update is one step: four threads count in the same records, and no increment is lost.
#[test]
fn updates_of_one_record_follow_each_other() {
    let store = Store::new(options());
    let channel = channel(&store, "counters");
    let increment = |key| {
        let read = |old: Option<&[u8]>| {
            old.map_or(0, |old| u64::from_le_bytes(old.try_into().expect("eight bytes")))
        };
        // Read, then put if nobody was faster: what the neo Update request does.
        loop {
            let seen = channel.get(key, |value| read(Some(value))).unwrap_or(0);
            let next = (seen + 1).to_le_bytes();
            let is_done = channel.update(key, Notify::No, |old| {
                if read(old) == seen { Change::Put(&next, true) } else { Change::Keep(false) }
            });
            if is_done.expect("there is memory") {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..OPERATIONS).for_each(|at| increment(Key(at % 3))));
        }
    });
    let count = |key| channel.get(Key(key), |value| value.to_vec()).expect("it was counted");
    let sum: u64 =
        (0..3).map(|key| u64::from_le_bytes(count(key).try_into().expect("eight bytes"))).sum();
    assert_eq!(sum, 4 * OPERATIONS);
}

/// Channels come and go under writers that keep their handles: whatever was put through an old
/// handle is refused or goes with its channel.
#[test]
fn a_channel_removed_under_its_writers_leaves_nothing_behind() {
    let store = Store::new(StoreOptions { shard_bits: 2, seed: 3 });
    thread::scope(|scope| {
        for thread in 0..3 {
            let store = &store;
            scope.spawn(move || {
                let mut handle = channel(store, "c");
                for at in 0..OPERATIONS {
                    let keys = [at, at + 1, at].map(|at| Key(at * 3 + thread));
                    let put = if at % 2 == 0 {
                        handle.put(keys[0], &[7; 50], Notify::No).map(|_| ())
                    } else {
                        let records = keys.map(|key| (key, &[7; 50][..]));
                        handle.put_together(&records, &mut Sequence::default(), |_| {})
                    };
                    match put {
                        Ok(()) => {}
                        Err(PutError::Closed) => handle = channel(store, "c"),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..OPERATIONS / 100 {
                store.remove_channel("c");
                store.reclaim(100);
            }
        });
    });
    store.remove_channel("c");
    while store.reclaim(1_000) {}
    assert_eq!(store.usage().records, 0);
    assert_eq!(store.memory(), Default::default());
}

#[test]
fn subscribers_are_told_what_they_asked_for_in_order() {
    let store = Store::new(options());
    let channel = channel(&store, "c");
    let (all, _) = subscribe(&channel, Interest::All, 100);
    let (puts, _) = subscribe(&channel, Interest::Puts, 100);
    let (every, _) = subscribe(&channel, Interest::Every, 100);
    assert_eq!(channel.subscribers(), 3);
    put(&channel, 1, b"a");
    put(&channel, 2, b"b");
    put(&channel, 1, b"c");
    channel.put(Key(3), b"silent", Notify::No).expect("there is memory");
    assert!(channel.remove(Key(3), Notify::No));
    assert!(channel.remove(Key(1), Notify::IfPresent));
    assert!(!channel.remove(Key(1), Notify::IfPresent));
    assert!(!channel.remove(Key(1), Notify::Always));
    let keep = channel.update(Key(2), Notify::Always, |_| Change::Keep(()));
    let remove = channel.update(Key(2), Notify::IfPresent, |_| Change::Remove(()));
    assert_eq!((keep, remove), (Ok(()), Ok(())));

    let put_events = [1, 2, 1].map(|key| Event::Put(Key(key)));
    let removed_events = [1, 1, 2].map(|key| Event::Removed(Key(key)));
    assert_eq!(drained(&all), [&put_events[..], &removed_events].concat());
    assert_eq!(drained(&puts), put_events);
    let silent_events = [Event::Put(Key(3)), Event::Removed(Key(3))];
    assert_eq!(drained(&every), [&put_events[..], &silent_events, &removed_events].concat());
    drop(all);
    assert_eq!(channel.subscribers(), 2);
}

#[test]
fn a_subscriber_is_woken_once_for_each_batch_and_told_what_it_lost() {
    let store = Store::new(options());
    let channel = channel(&store, "c");
    let (subscription, wakes) = subscribe(&channel, Interest::All, 3);
    (0..5).for_each(|key| put(&channel, key, b"v"));
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert_eq!(drained(&subscription), [0, 1, 2].map(|key| Event::Put(Key(key))));
    assert_eq!((subscription.take_dropped(), subscription.take_dropped()), (2, 0));
    put(&channel, 9, b"v");
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
    assert_eq!(drained(&subscription), [Event::Put(Key(9))]);
}

#[test]
fn removing_a_channel_finishes_its_subscriptions() {
    let store = Store::new(options());
    let channel = channel(&store, "c");
    let (subscription, wakes) = subscribe(&channel, Interest::All, 10);
    put(&channel, 1, b"v");
    assert!(!subscription.is_finished());
    store.remove_channel("c");
    assert!(subscription.is_finished());
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
    assert_eq!(drained(&subscription), [Event::Put(Key(1))], "what is pending stays readable");
    let (late, _) = subscribe(&channel, Interest::All, 10);
    assert!(late.is_finished() && channel.subscribers() == 0);
}

/// `wake` is called without a lock, so it may read the very record that changed.
#[test]
fn a_wake_may_use_the_store() {
    let store = Store::new(options());
    let channel = channel(&store, "c");
    let (seen, reader) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&channel));
    let sink = Arc::clone(&seen);
    let wake = move || sink.lock().expect("no panic").push(reader.get(Key(1), <[u8]>::to_vec));
    let subscription = channel.subscribe(Interest::All, 10, Box::new(wake));
    put(&channel, 1, b"v");
    drop(subscription);
    put(&channel, 1, b"w");
    assert_eq!(*seen.lock().expect("no panic"), [Some(b"v".to_vec())]);
}

/// The deterministic form of "a channel of ten records costs at most 8 KiB".
#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn small_channels_are_cheap() {
    let store = Store::new(options());
    let mut rng = Rng::new(1);
    for at in 0..1_000 {
        let channel = channel(&store, &format!("c{at}"));
        (0..10).for_each(|_| put(&channel, rng.next(), &[7; 100]));
    }
    let memory = store.memory();
    let bytes = memory.records + memory.index + memory.large + memory.tables;
    // Beside this: eight bytes in each shard's list of tables, twice that while it grows.
    assert!(bytes / 1_000 + 64 * 16 < 8 * 1024, "{} bytes for each channel", bytes / 1_000);
}
