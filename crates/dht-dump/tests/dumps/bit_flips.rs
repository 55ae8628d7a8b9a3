//! Random single bits of dumps, backups and manifests are flipped, as a failing medium or memory
//! does. Either it is told where, or it does no harm; a value is never wrong.
//!
//! `BIT_FLIPS=100000 cargo test --release -p dht-dump --test dumps bit_flips` for more of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dht_dump::{Beside, Disk, DumpReader, Entry, TcmError, memory_disk::MemoryDisk};
use dht_testkit::Rng;

use crate::support::{DATA, Records, WITH_BACKUP, backup, dump, manifest, tcm};

/// Flips, if the environment does not tell another number.
const FLIPS: usize = 5000;
/// Each folder of dumps is used for so many of them.
const FLIPS_PER_FOLDER: usize = 50;

/// A dump and its backup, small or of several blocks.
struct Folder {
    memory: MemoryDisk,
    /// Content of the backup and of the dump.
    records: [Records; 2],
}

impl Folder {
    fn new(rng: &mut Rng) -> Self {
        let memory = MemoryDisk::with_folder(DATA);
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let value_bytes_max = if rng.one_in(20) { 200_000 } else { 300 };
        let records = [(); 2].map(|()| random_records(rng, value_bytes_max));
        for records in &records {
            dump(&disk, Path::new(DATA), records, WITH_BACKUP).unwrap();
        }
        Self { memory, records }
    }
}

fn random_records(rng: &mut Rng, value_bytes_max: usize) -> Records {
    let count = rng.below(30);
    (0..count).map(|_| (rng.next(), rng.bytes(0..value_bytes_max))).collect()
}

/// What reading a dump came to: the records before the end or the error.
fn read(disk: &dyn Disk, path: &Path) -> (Records, Result<(), TcmError>) {
    let mut records = Vec::new();
    let mut reader = match DumpReader::open(disk, path) {
        Ok(reader) => reader,
        Err(error) => return (records, Err(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(Entry::Record { key, value })) => records.push((key.0, value.to_vec())),
            Ok(Some(bad)) => panic!("{bad:?}"),
            Ok(None) => return (records, reader.verify()),
            Err(error) => return (records, Err(error)),
        }
    }
}

/// Where the flipped bit was told to be, if the dump is damaged by it.
fn check(folder: &Folder, path: &Path, expected: &Records, flipped: Option<usize>) {
    let (records, end) = read(&folder.memory, path);
    match (end, flipped) {
        (Ok(()), None) => assert_eq!(records, *expected),
        (Err(TcmError::DamagedBlock { offset, bytes, .. }), Some(at)) => {
            assert!((offset..offset + bytes).contains(&(at as u64)), "{at}: {offset}, {bytes}");
            assert_eq!(records, expected[..records.len()], "nothing wrong was handed out");
        }
        (end, flipped) => panic!("{}: {flipped:?}: {end:?}", path.display()),
    }
}

#[test]
fn no_flipped_bit_makes_a_value_wrong() {
    let flips = std::env::var("BIT_FLIPS").map_or(FLIPS, |number| number.parse().unwrap());
    let dir = Path::new(DATA);
    let files: [PathBuf; 4] =
        [tcm(dir), backup(dir), manifest(dir), dir.join("ch.tcm.manifest.old")];
    let (mut rng, mut folder) = (Rng::new(4), None);
    for flip in 0..flips {
        if flip % FLIPS_PER_FOLDER == 0 {
            folder = None;
        }
        let folder = folder.get_or_insert_with(|| Folder::new(&mut rng));
        let path = rng.pick(&files);
        let len = folder.memory.open(path).unwrap().file_bytes;
        let at = usize::try_from(rng.below(len)).unwrap();
        let bit = usize::try_from(rng.below(8)).unwrap();
        folder.memory.flip_bit(path, at, bit);

        for (dump, expected) in [(&files[1], &folder.records[0]), (&files[0], &folder.records[1])] {
            check(folder, dump, expected, (path == dump).then_some(at));
        }
        // A manifest that is damaged is told: the dump is loaded as one that has none.
        for (of, manifest) in [(&files[0], &files[2]), (&files[1], &files[3])] {
            if path == manifest {
                let reader = DumpReader::open(&folder.memory, of).unwrap();
                assert!(matches!(reader.beside(), Beside::Unusable(_)));
            }
        }
        folder.memory.flip_bit(path, at, bit);
    }
}
