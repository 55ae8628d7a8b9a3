//! What the manifest beside a dump finds, and what it never spoils.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use dht_dump::{
    Beside, Disk, DumpOptions, DumpReader, DumpWriter, LogPosition, Manifest, ManifestError,
    OsDisk, TcmError, quarantine,
};
use dht_types::Key;

use crate::{
    golden::encode,
    support::{
        DATA, WITH_BACKUP, backup, dump, generation, has_manifest, load, manifest, names,
        on_every_disk, tcm,
    },
};
use dht_dump::memory_disk::MemoryDisk;

fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(path).unwrap().content.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_manifest_tells_records_bytes_and_checksum_of_the_whole_file() {
    on_every_disk(|disk, dir| {
        let finished = dump(&disk, dir, &generation(1), WITH_BACKUP).unwrap();
        let found = Manifest::parse(&read(&*disk, &manifest(dir))).unwrap();
        assert_eq!((found.records, found.record_bytes), (20, finished.record_bytes));
        let bytes = read(&*disk, &tcm(dir));
        assert_eq!(found.file_bytes, bytes.len() as u64);
        assert_eq!(found.checksum, twox_hash::XxHash3_64::oneshot(&bytes));
        assert!(found.belongs_to(&disk.open(&tcm(dir)).unwrap()));
    });
}

/// The version, where another value would have the file skipped, and the padding included.
#[test]
fn every_flipped_bit_of_a_dump_is_found() {
    let memory = MemoryDisk::with_folder(DATA);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let path = tcm(Path::new(DATA));
    dump(&disk, Path::new(DATA), &vec![(1, b"value".to_vec()), (2, Vec::new())], WITH_BACKUP)
        .unwrap();
    for at in 0..read(&*disk, &path).len() {
        for bit in [0, 5, 7] {
            memory.flip_bit(&path, at, bit);
            let error = read_all(&*disk, &path).expect_err("damage");
            assert!(
                matches!(error, TcmError::DamagedBlock { offset: 0, bytes: 512, .. }),
                "byte {at}: {error}"
            );
            memory.flip_bit(&path, at, bit);
        }
    }
    read_all(&*disk, &path).unwrap();
}

/// The manifests of earlier builds have the checksum of the whole file only.
#[test]
fn every_flipped_bit_of_a_dump_of_an_earlier_build_is_found() {
    let memory = MemoryDisk::with_folder(DATA);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (dir, path) = (Path::new(DATA), tcm(Path::new(DATA)));
    dump(&disk, dir, &vec![(1, b"value".to_vec()), (2, Vec::new())], WITH_BACKUP).unwrap();
    let text = String::from_utf8(read(&*disk, &manifest(dir))).unwrap();
    let (lines, _) = text.split_at(text.find("blocks ").unwrap());
    let end = twox_hash::XxHash3_64::oneshot(lines.as_bytes());
    memory.place(&manifest(dir), format!("{lines}end {end:016x}\n").as_bytes());
    assert!(!Manifest::parse(&read(&*disk, &manifest(dir))).unwrap().is_checked_before_use());
    for at in 0..read(&*disk, &path).len() {
        memory.flip_bit(&path, at, 5);
        let error = read_all(&*disk, &path).expect_err("damage");
        assert!(
            matches!(error, TcmError::Checksum { .. } | TcmError::Truncated { .. }),
            "byte {at}: {error}"
        );
        memory.flip_bit(&path, at, 5);
    }
    read_all(&*disk, &path).unwrap();
}

#[test]
fn a_manifest_keeps_where_the_log_was() {
    on_every_disk(|disk, dir| {
        let mut writer =
            DumpWriter::create(&disk, dir, &"ch".parse().unwrap(), WITH_BACKUP).unwrap();
        writer.set_log_position(LogPosition::new("0:17 1:42").unwrap());
        writer.finish().unwrap();
        dump(&disk, dir, &generation(2), WITH_BACKUP).unwrap();
        let position = |path: &Path| {
            let reader = DumpReader::open(&*disk, path).unwrap();
            reader.manifest().unwrap().log_position.clone()
        };
        assert_eq!(position(&backup(dir)).unwrap().as_str(), "0:17 1:42");
        assert_eq!(position(&tcm(dir)), None);
    });
}

/// Reads and verifies, whatever the records are.
fn read_all(disk: &dyn Disk, path: &Path) -> Result<(), TcmError> {
    let mut reader = DumpReader::open(disk, path)?;
    while reader.next()?.is_some() {}
    reader.verify()
}

#[test]
fn a_flipped_bit_on_a_real_disk_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    for direct in [false, true] {
        let options = DumpOptions { direct, keep_backup: true };
        let records = (0..30_000).map(|key| (key, vec![7; 100])).collect();
        dump(&disk, dir.path(), &records, options).unwrap();
        let path = tcm(dir.path());
        assert!(has_manifest(&OsDisk, &path));
        assert_eq!(load(&OsDisk, &path).unwrap(), records);

        // In the middle of a value. As a medium does it: the time of change stays.
        let file = File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(&[6], 8 + 20_000 * 132 + 82).unwrap();
        file.set_modified(modified).unwrap();
        let error = load(&OsDisk, &path).unwrap_err();
        let at = 8 + 20_000 * 132 + 82;
        assert!(
            matches!(error, TcmError::DamagedBlock { offset, bytes, .. }
                if (offset..offset + bytes).contains(&at)),
            "{error}"
        );
    }
}

/// An original node and dhtdump replace the dump alone, and an operator may restore an old one.
#[test]
fn a_dump_of_another_program_is_not_measured_by_our_manifest() {
    on_every_disk(|disk, dir| {
        dump(&disk, dir, &generation(1), WITH_BACKUP).unwrap();
        dump(&disk, dir, &generation(2), WITH_BACKUP).unwrap();
        assert!(has_manifest(&*disk, &tcm(dir)));

        let foreign = dir.join("foreign");
        let options = DumpOptions { direct: false, keep_backup: false };
        let mut writer = DumpWriter::create_file(&disk, &foreign, options).unwrap();
        // Of the same length.
        generation(3).iter().for_each(|(key, value)| writer.record(Key(*key), value).unwrap());
        writer.finish().unwrap();
        disk.rename(&foreign, &tcm(dir)).unwrap();
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(3));
        let reader = DumpReader::open(&*disk, &tcm(dir)).unwrap();
        assert!(matches!(reader.beside(), Beside::OfAnotherFile));

        disk.rename(&backup(dir), &tcm(dir)).unwrap();
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1));
        assert!(has_manifest(&*disk, &tcm(dir)), "it is the backup's, and that is its file");

        dump(&disk, dir, &generation(4), WITH_BACKUP).unwrap();
        assert!(has_manifest(&*disk, &tcm(dir)) && has_manifest(&*disk, &backup(dir)));
        assert_eq!(load(&*disk, &backup(dir)).unwrap(), generation(1));
    });
}

#[test]
fn a_dump_that_is_changed_or_copied_on_purpose_has_no_manifest_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = tcm(dir.path());
    dump(&disk, dir.path(), &generation(1), WITH_BACKUP).unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert!(!has_manifest(&OsDisk, &path));
    assert_eq!(load(&OsDisk, &path).unwrap(), generation(1));

    dump(&disk, dir.path(), &generation(2), WITH_BACKUP).unwrap();
    fs::write(&path, encode(&generation(3))).unwrap();
    assert!(!has_manifest(&OsDisk, &path));
    assert_eq!(load(&OsDisk, &path).unwrap(), generation(3));
}

#[test]
fn a_manifest_that_cannot_be_used_does_not_spoil_the_dump() {
    let memory = MemoryDisk::with_folder(DATA);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let dir = Path::new(DATA);
    dump(&disk, dir, &generation(1), WITH_BACKUP).unwrap();
    memory.flip_bit(&manifest(dir), 30, 0);
    let reader = DumpReader::open(&*disk, &tcm(dir)).unwrap();
    assert!(matches!(reader.beside(), Beside::Unusable(ManifestError::Malformed)));
    assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1));

    for bytes in [&b""[..], b"\0", &[b'x'; 10_000]] {
        memory.place(&manifest(dir), bytes);
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1));
    }
}

#[test]
fn a_damaged_dump_takes_its_manifest_along_when_it_is_set_aside() {
    on_every_disk(|disk, dir| {
        for number in 1..=2 {
            dump(&disk, dir, &generation(number), WITH_BACKUP).unwrap();
            let aside = quarantine(&*disk, dir, "ch.tcm".as_ref()).unwrap();
            assert_eq!(aside, dir.join(format!("ch.tcm.damaged-{number}")));
        }
        let expected =
            ["ch.tcm.damaged-1", "ch.tcm.damaged-2", "ch.tcm.manifest-1", "ch.tcm.manifest-2"];
        assert_eq!(names(&*disk, dir), expected);
        // Whoever moves both back has a verified dump.
        disk.rename(&dir.join("ch.tcm.damaged-1"), &tcm(dir)).unwrap();
        disk.rename(&dir.join("ch.tcm.manifest-1"), &manifest(dir)).unwrap();
        assert!(has_manifest(&*disk, &tcm(dir)));
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1));
    });
}
