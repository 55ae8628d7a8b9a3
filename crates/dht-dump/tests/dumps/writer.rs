//! How a dump comes into being, and what becomes of the one before.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use dht_dump::{Disk, DumpOptions, DumpWriter, OsDisk, quarantine};
use dht_types::Key;

use crate::{
    golden::encode,
    support::{
        DATA, WITH_BACKUP, backup, channel, dump, generation, has_manifest, load, names,
        on_every_disk, tcm,
    },
};
use dht_dump::memory_disk::{Faults, MemoryDisk};

#[test]
fn a_dump_has_its_name_only_when_it_is_finished() {
    on_every_disk(|disk, dir| {
        let mut writer = DumpWriter::create(&disk, dir, &channel("ch"), WITH_BACKUP).unwrap();
        writer.record(Key(1), b"value").unwrap();
        let [name] = &names(&*disk, dir)[..] else { panic!("one file") };
        let random = name.strip_prefix("ch.tcm.").and_then(|n| n.strip_suffix(".dumping"));
        assert_eq!(random.unwrap().len(), 6);
        assert!(random.unwrap().bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");

        let finished = writer.finish().unwrap();
        assert_eq!((finished.records, finished.record_bytes, finished.file_bytes), (1, 37, 512));
        assert!(finished.backup_error.is_none());
        assert!(finished.manifest_error.is_none());
        assert_eq!(names(&*disk, dir), ["ch.tcm", "ch.tcm.manifest"]);
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), [(1, b"value".to_vec())]);
    });
}

#[test]
fn an_unfinished_dump_stays_if_it_is_told_to() {
    on_every_disk(|disk, dir| {
        let mut writer = DumpWriter::create(&disk, dir, &channel("ch"), WITH_BACKUP).unwrap();
        writer.record(Key(1), b"value").unwrap();
        let path = writer.temporary_path().to_owned();
        assert_eq!(writer.leave_unfinished(), path);
        let [name] = &names(&*disk, dir)[..] else { panic!("one file") };
        assert_eq!(dir.join(name), path);
        assert!(load(&*disk, &path).is_err(), "it is not taken for a dump");
    });
}

#[test]
fn the_dump_before_is_kept_as_backup() {
    on_every_disk(|disk, dir| {
        for number in 0..4 {
            dump(&disk, dir, &generation(number), WITH_BACKUP).unwrap();
            assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(number));
            if number > 0 {
                assert_eq!(load(&*disk, &backup(dir)).unwrap(), generation(number - 1));
                assert!(has_manifest(&*disk, &backup(dir)));
                let expected =
                    ["ch.tcm", "ch.tcm.backup", "ch.tcm.manifest", "ch.tcm.manifest.old"];
                assert_eq!(names(&*disk, dir), expected);
            }
        }
        let without = DumpOptions { direct: false, keep_backup: false };
        dump(&disk, dir, &generation(9), without).unwrap();
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(9));
        assert_eq!(load(&*disk, &backup(dir)).unwrap(), generation(2), "nobody touched it");
    });
}

/// After a damaged dump was set aside, its backup is the last good copy.
#[test]
fn a_backup_stays_while_there_is_no_dump_to_take_its_place() {
    on_every_disk(|disk, dir| {
        dump(&disk, dir, &generation(0), WITH_BACKUP).unwrap();
        dump(&disk, dir, &generation(1), WITH_BACKUP).unwrap();
        quarantine(&*disk, dir, "ch.tcm".as_ref()).unwrap();
        let finished = dump(&disk, dir, &generation(2), WITH_BACKUP).unwrap();
        assert!(finished.backup_error.is_none());
        assert_eq!(load(&*disk, &backup(dir)).unwrap(), generation(0));
        assert!(has_manifest(&*disk, &backup(dir)));
        let expected = ["ch.tcm", "ch.tcm.backup", "ch.tcm.damaged-1", "ch.tcm.manifest"];
        let manifests = ["ch.tcm.manifest-1", "ch.tcm.manifest.old"];
        assert_eq!(names(&*disk, dir), [&expected[..], &manifests].concat());
    });
}

#[test]
fn an_unfinished_dump_leaves_nothing_behind() {
    on_every_disk(|disk, dir| {
        dump(&disk, dir, &generation(1), WITH_BACKUP).unwrap();
        let mut writer = DumpWriter::create(&disk, dir, &channel("ch"), WITH_BACKUP).unwrap();
        writer.record(Key(1), &vec![1; 3 << 20]).unwrap();
        drop(writer);
        assert_eq!(names(&*disk, dir), ["ch.tcm", "ch.tcm.manifest"]);
        let writer = DumpWriter::create(&disk, dir, &channel("ch"), WITH_BACKUP).unwrap();
        let completed = writer.complete().unwrap();
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1), "not before it is committed");
        drop(completed);
        assert_eq!(names(&*disk, dir), ["ch.tcm", "ch.tcm.manifest"]);
        assert_eq!(load(&*disk, &tcm(dir)).unwrap(), generation(1));
    });
}

/// Sizes around the buffer's, past the page cache where the disk can do so.
#[test]
fn files_have_the_bytes_of_the_format_whatever_the_sizes() {
    const MIB: usize = 1 << 20;
    on_every_disk(|disk, dir| {
        for direct in [false, true] {
            for sizes in [&[][..], &[0, 1], &[MIB - 56, 3], &[MIB, MIB + 1], &[11 * MIB + 5, 100]] {
                let records = (0..).zip(sizes.iter().map(|size| vec![0x5a; *size])).collect();
                let options = DumpOptions { direct, keep_backup: false };
                let finished = dump(&disk, dir, &records, options).unwrap();
                assert_eq!(finished.records, sizes.len() as u64);

                let mut bytes = Vec::new();
                disk.open(&tcm(dir)).unwrap().content.read_to_end(&mut bytes).unwrap();
                assert!(bytes == encode(&records), "direct {direct}, {sizes:?}");
                assert_eq!(finished.file_bytes, bytes.len() as u64);
            }
        }
    });
}

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    let disk = MemoryDisk::with_folder(DATA);
    for short_write_bytes in [1, 7, 511, 513] {
        let faults = Faults { short_write_bytes: Some(short_write_bytes), ..Faults::default() };
        disk.set_faults(faults);
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        dump(&disk, Path::new(DATA), &generation(3), WITH_BACKUP).unwrap();
        assert_eq!(load(&*disk, &tcm(Path::new(DATA))).unwrap(), generation(3));
    }
}

#[test]
fn a_file_of_any_name_is_made_the_same_way() {
    on_every_disk(|disk, dir| {
        let options = DumpOptions { direct: false, keep_backup: false };
        let target = dir.join("export of today");
        let mut writer = DumpWriter::create_file(&disk, &target, options).unwrap();
        let [name] = &names(&*disk, dir)[..] else { panic!("one file") };
        assert_eq!(name.len(), "export of todayXXXXXX.dumping".len(), "{name}");
        writer.record(Key(7), b"x").unwrap();
        writer.finish().unwrap();
        assert_eq!(names(&*disk, dir), ["export of today"]);
        assert_eq!(load(&*disk, &target).unwrap(), [(7, b"x".to_vec())]);
        assert!(DumpWriter::create_file(&disk, Path::new("/"), options).is_err());
    });
}

#[test]
fn a_missing_folder_is_an_error_that_names_it() {
    on_every_disk(|disk, dir| {
        let missing = dir.join("missing");
        let error = dump(&disk, &missing, &generation(0), WITH_BACKUP).unwrap_err();
        assert_eq!(error.path, missing);
        assert!(error.to_string().contains("missing"), "{error}");
    });
}

#[test]
fn only_the_owner_may_read_a_dump() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    for direct in [false, true] {
        let options = DumpOptions { direct, keep_backup: false };
        dump(&disk, dir.path(), &generation(0), options).unwrap();
        let mode = tcm(dir.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// A full buffer, its neighbours, and a few blocks: the last write is of another length each time.
#[test]
fn direct_io_leaves_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let buffer = 1 << 20;
    for value_bytes in [0, 1, 512, 4096, buffer - 48, buffer - 47, buffer, 3 * buffer + 700] {
        let records = vec![(7, vec![9; value_bytes])];
        let [buffered, direct] = [false, true].map(|direct| {
            let options = DumpOptions { direct, keep_backup: false };
            dump(&disk, dir.path(), &records, options).unwrap();
            std::fs::read(tcm(dir.path())).unwrap()
        });
        assert!(buffered == direct, "{value_bytes} bytes");
        assert_eq!(buffered, encode(&records));
    }
}

#[test]
fn a_file_system_that_refuses_direct_io_is_told() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::with_folder(DATA));
    for direct in [true, false] {
        let options = DumpOptions { direct, keep_backup: false };
        let finished = dump(&disk, Path::new(DATA), &generation(1), options).unwrap();
        assert_eq!(finished.direct_was_refused, direct);
        assert_eq!(load(&*disk, &tcm(Path::new(DATA))).unwrap(), generation(1));
    }
}
