//! Memory: the growth of the resident set, each case in a process of its own.

use std::process::Command;

use dht_storage::{Notify, Store};
use dht_testkit::Rng;
use dht_types::Key;

use crate::{Map, channel, open, put};

/// Operations of the churn section.
const CHURN: usize = 10_000_000;
const MIB: f64 = 1_048_576.0;

pub(crate) fn memory(records: usize) {
    println!("\nresident bytes per record beyond 8 of key and the value, {records} records");
    println!("{:>8} {:>10} {:>10} {:>10} {:>8}", "value", "store", "worst", "hashbrown", "goal");
    for (bytes, goal) in [(16, 14), (100, 14), (1000, 24)] {
        let [ours, theirs] = ["store", "map"].map(|kind| {
            let resident = in_child(kind, bytes, records)[0];
            resident as f64 / records as f64 - 8.0 - bytes as f64
        });
        let worst = in_child("worst", bytes, records)[0] as f64 / 100.0;
        println!("{bytes:>8} {ours:>10.2} {worst:>10.2} {theirs:>10.2} {goal:>8}");
    }
    println!("worst: the most on the way, from {} records on", records / 20);
}

/// A store that was written and emptied at random, beside one that only ever held what is left; and
/// what its memory is spent on.
pub(crate) fn churn(records: usize) {
    println!(
        "\nresident MiB, {records} records, {CHURN} random puts of changing sizes and removes;\n\
         behind the line: its slots in use, its free slots and its index, and the other's index"
    );
    println!(
        "{:>6} {:>20} {:>8} {:>8} {:>6} {:>6} | {:>8} {:>8} {:>8} {:>8}",
        "value", "", "churned", "fresh", "ratio", "goal", "in use", "free", "index", "fresh"
    );
    for bytes in [16, 100, 1000] {
        for (name, goal, kinds) in [
            ("after them", "1.25", ["churned", "fresh"]),
            ("3 of 4 removed then", "", ["churned-sparse", "fresh-sparse"]),
        ] {
            let mib = |bytes: &u64| *bytes as f64 / MIB;
            let [ours, fresh] = kinds.map(|kind| {
                let numbers = in_child(kind, bytes, records);
                numbers.iter().map(mib).collect::<Vec<f64>>()
            });
            println!(
                "{bytes:>6} {name:>20} {:>8.1} {:>8.1} {:>6.2} {goal:>6} \
                 | {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                ours[0],
                fresh[0],
                ours[0] / fresh[0],
                ours[1],
                ours[2],
                ours[3],
                fresh[3]
            );
        }
    }
}

/// What a child prints of a store: resident bytes, and those of slots in use, free slots and index.
fn print_memory(resident: u64, store: &Store) {
    let memory = store.memory();
    let free = memory.touched - memory.records;
    println!("{resident} {} {free} {}", memory.records, memory.index);
}

/// Length of each record after all operations, `None` for those that are not there. Tells `f` of
/// each operation.
fn churned(
    bytes: usize,
    records: usize,
    is_sparse: bool,
    mut f: impl FnMut(u64, Option<usize>),
) -> Vec<Option<usize>> {
    let mut rng = Rng::new(8);
    let mut lens = vec![Some(bytes); records];
    let mut change = |lens: &mut Vec<_>, at: usize, len| {
        lens[at] = len;
        f(at as u64, len);
    };
    (0..records).for_each(|at| change(&mut lens, at, Some(bytes)));
    for _ in 0..CHURN {
        let len = (rng.below(5) > 0).then(|| rng.within(bytes / 2..bytes * 3 / 2));
        change(&mut lens, rng.within(0..records), len);
    }
    if is_sparse {
        (0..records).filter(|at| at % 4 > 0).for_each(|at| change(&mut lens, at, None));
    }
    lens
}

/// Runs one case in a process of its own, whose resident set nothing has touched before.
fn in_child(kind: &str, bytes: usize, records: usize) -> Vec<u64> {
    let program = std::env::current_exe().expect("the system knows the program's path");
    let args = [kind, &bytes.to_string(), &records.to_string()].map(str::to_owned);
    let output = Command::new(program).args(args).output().expect("a child can be started");
    let text = String::from_utf8(output.stdout).expect("it prints numbers");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.split_whitespace().map(|word| word.parse().expect("it prints numbers")).collect()
}

pub(crate) fn child(kind: &str, bytes: usize, records: usize) {
    let (value, mut rng) = (vec![7; bytes], Rng::new(1));
    let before = resident_bytes();
    match kind {
        "store" => {
            let (_store, channel) = open();
            (0..records).for_each(|_| put(&channel, rng.next(), &value));
            println!("{}", resident_bytes() - before);
        }
        "map" => {
            let mut map = Map::new();
            for _ in 0..records {
                map.insert(rng.next(), value.clone().into_boxed_slice());
            }
            println!("{}", resident_bytes() - before);
        }
        "worst" => {
            let (_store, channel) = open();
            let mut worst = 0_f64;
            for count in 1..=records {
                put(&channel, rng.next(), &value);
                if count >= records / 20 && count % (records / 200) == 0 {
                    let each = (resident_bytes() - before) as f64 / count as f64;
                    worst = worst.max(each - 8.0 - bytes as f64);
                }
            }
            println!("{:.0}", worst * 100.0);
        }
        "churned" | "churned-sparse" => {
            let (store, channel) = open();
            let value = vec![7; 2 * bytes];
            let lens = churned(bytes, records, kind == "churned-sparse", |key, len| match len {
                Some(len) => put(&channel, key, &value[..len]),
                None => _ = channel.remove(Key(key), Notify::No),
            });
            while store.reclaim(records) {}
            print_memory(resident_bytes() - before - size_of_val(&lens[..]) as u64, &store);
        }
        "fresh" | "fresh-sparse" => {
            let lens = churned(bytes, records, kind == "fresh-sparse", |_, _| {});
            let value = vec![7; 2 * bytes];
            let (store, channel) = open();
            for (key, len) in lens.iter().enumerate() {
                if let Some(len) = *len {
                    put(&channel, key as u64, &value[..len]);
                }
            }
            print_memory(resident_bytes() - before - size_of_val(&lens[..]) as u64, &store);
        }
        "small" => {
            let (store, _) = open();
            let channels: Vec<_> = (0..1000).map(|at| channel(&store, &format!("c{at}"))).collect();
            for channel in &channels {
                (0..10).for_each(|_| put(channel, rng.next(), &value));
            }
            println!("{}", (resident_bytes() - before) / 1000);
        }
        other => panic!("no such case: {other}"),
    }
}

/// The resident set, from the second field of `/proc/self/statm`, in pages of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.expect("the second field is a number") * 4096
}

pub(crate) fn small() {
    let bytes = in_child("small", 100, 10)[0];
    println!(
        "\na channel of ten 100-byte records, of 1000 such channels: {bytes} bytes (goal 8192)"
    );
}
