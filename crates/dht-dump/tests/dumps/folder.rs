//! What is found in the data folder, and where whole files go.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use dht_dump::{
    Disk, DiskFile, FoundKind, OsDisk, TcmError, move_to_deleted, open_dump, quarantine, scan_dir,
};
use dht_types::ChannelNameError;

use crate::support::{
    WITH_BACKUP, backup, channel, dump, generation, has_manifest, load, names, on_every_disk, tcm,
};

/// Puts a file of a name there, by the means of the trait alone.
fn place(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let (temporary, mut file): (_, Box<dyn DiskFile>) =
        disk.create_temporary(path.parent().unwrap(), "place", "", false).unwrap();
    if !bytes.is_empty() {
        assert_eq!(file.write(bytes).unwrap(), bytes.len());
    }
    disk.rename(&temporary, path).unwrap();
}

#[test]
fn every_entry_is_classified_and_they_come_by_name() {
    on_every_disk(|disk, dir| {
        for name in [
            "b.tcm",
            "a-1_Z.tcm",
            "a.tcm.Xy12zZ.dumping",
            "a.tcm.backup",
            "a.tcm.damaged-1",
            "a.tcm.manifest",
            "a.tcm.manifest-12",
            "a.tcm.manifest-",
            "a.manifest-1",
            "no suffix",
            "not a channel.tcm",
            ".tcm",
            ".backup",
            "x y.tcm.backup",
        ] {
            place(&*disk, &dir.join(name), &[0; 512]);
        }
        for name in ["empty.tcm", "empty.tcm.abcdef.dumping", "empty"] {
            place(&*disk, &dir.join(name), b"");
        }
        for name in ["deleted", "folder", "folder.tcm"] {
            disk.create_dir(&dir.join(name)).unwrap();
        }
        let found = scan_dir(&*disk, dir).unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|f| (f.name.into_string().unwrap(), f.file_bytes, f.kind))
            .collect();
        let expected = [
            (".backup", 512, FoundKind::NoSuffix),
            (".tcm", 512, FoundKind::InvalidName(ChannelNameError::Empty)),
            ("a-1_Z.tcm", 512, FoundKind::Dump(channel("a-1_Z"))),
            ("a.manifest-1", 512, FoundKind::NoSuffix),
            ("a.tcm.Xy12zZ.dumping", 512, FoundKind::Unfinished),
            ("a.tcm.backup", 512, FoundKind::Backup(channel("a"))),
            ("a.tcm.damaged-1", 512, FoundKind::NoSuffix),
            ("a.tcm.manifest-", 512, FoundKind::NoSuffix),
            ("b.tcm", 512, FoundKind::Dump(channel("b"))),
            ("empty", 0, FoundKind::Empty),
            ("empty.tcm", 0, FoundKind::Empty),
            ("empty.tcm.abcdef.dumping", 0, FoundKind::Empty),
            ("folder", 0, FoundKind::Subdirectory),
            ("folder.tcm", 0, FoundKind::Subdirectory),
            ("no suffix", 512, FoundKind::NoSuffix),
            (
                "not a channel.tcm",
                512,
                FoundKind::InvalidName(ChannelNameError::Byte { byte: b' ', at: 3 }),
            ),
            ("x y.tcm.backup", 512, FoundKind::NoSuffix),
        ];
        assert_eq!(found, expected.map(|(name, bytes, kind)| (name.to_owned(), bytes, kind)));
    });
}

#[test]
fn a_dump_behind_a_dangling_link_fails_instead_of_being_overlooked() {
    let dir = tempfile::tempdir().unwrap();
    symlink(dir.path().join("nothing"), dir.path().join("ch.tcm")).unwrap();
    let found = scan_dir(&OsDisk, dir.path()).unwrap();
    assert_eq!(found[0].kind, FoundKind::Dump(channel("ch")));
    let error = open_dump(&OsDisk, &tcm(dir.path())).err().unwrap();
    assert!(matches!(error, TcmError::Io { offset: 0, .. }), "{error}");
}

#[test]
fn links_are_followed_and_folders_are_no_dumps() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    dump(&disk, elsewhere.path(), &generation(1), WITH_BACKUP).unwrap();
    symlink(tcm(elsewhere.path()), tcm(dir.path())).unwrap();
    assert_eq!(scan_dir(&OsDisk, dir.path()).unwrap()[0].kind, FoundKind::Dump(channel("ch")));
    assert_eq!(load(&OsDisk, &tcm(dir.path())).unwrap(), generation(1));

    fs::create_dir(dir.path().join("folder.tcm")).unwrap();
    assert!(open_dump(&OsDisk, &dir.path().join("folder.tcm")).is_err());
    assert!(scan_dir(&OsDisk, &dir.path().join("missing")).is_err());
}

#[test]
fn a_removed_channel_leaves_nothing_that_could_be_loaded() {
    on_every_disk(|disk, dir| {
        let deleted = dir.join("deleted");
        for round in [0, 10] {
            dump(&disk, dir, &generation(round), WITH_BACKUP).unwrap();
            dump(&disk, dir, &generation(round + 1), WITH_BACKUP).unwrap();
            move_to_deleted(&*disk, dir, &channel("ch")).unwrap();
            assert_eq!(names(&*disk, dir), ["deleted"]);
            assert_eq!(scan_dir(&*disk, dir).unwrap(), []);
            assert_eq!(load(&*disk, &tcm(&deleted)).unwrap(), generation(round + 1));
            assert_eq!(load(&*disk, &backup(&deleted)).unwrap(), generation(round));
            assert!(has_manifest(&*disk, &tcm(&deleted)));
            assert!(has_manifest(&*disk, &backup(&deleted)));
        }
        move_to_deleted(&*disk, dir, &channel("ch")).expect("absent, as wanted");
        move_to_deleted(&*disk, dir, &channel("never-dumped")).expect("absent, as wanted");
        assert_eq!(names(&*disk, &deleted).len(), 4, "dump, backup, their manifests");
    });
}

#[test]
fn other_channels_stay_when_one_is_removed() {
    on_every_disk(|disk, dir| {
        for name in ["ch", "ch2", "c"] {
            place(&*disk, &dir.join(format!("{name}.tcm")), &[0; 512]);
        }
        move_to_deleted(&*disk, dir, &channel("ch")).unwrap();
        assert_eq!(names(&*disk, dir), ["c.tcm", "ch2.tcm", "deleted"]);
    });
}

#[test]
fn a_damaged_dump_is_set_aside_and_never_overwritten() {
    on_every_disk(|disk, dir| {
        for number in 1..=3 {
            place(&*disk, &tcm(dir), &[number; 600]);
            let aside = quarantine(&*disk, dir, "ch.tcm".as_ref()).unwrap();
            assert_eq!(aside, dir.join(format!("ch.tcm.damaged-{number}")));
        }
        assert_eq!(
            names(&*disk, dir),
            ["ch.tcm.damaged-1", "ch.tcm.damaged-2", "ch.tcm.damaged-3"]
        );
        for number in 1..=3 {
            let mut file = disk.open(&dir.join(format!("ch.tcm.damaged-{number}"))).unwrap();
            let mut bytes = Vec::new();
            file.content.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [number; 600]);
        }
        let kinds = scan_dir(&*disk, dir).unwrap().into_iter().map(|found| found.kind);
        assert!(kinds.into_iter().all(|kind| kind == FoundKind::NoSuffix));
        assert!(quarantine(&*disk, dir, "absent.tcm".as_ref()).is_err());
    });
}
