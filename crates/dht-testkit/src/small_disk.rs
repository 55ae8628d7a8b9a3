//! A file system that is soon full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in memory of a fixed size, in a folder of its own; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes at `folder`, which is made. That needs root: without, this says
    /// so and returns none, and the test that wants it is skipped.
    #[must_use]
    pub fn mount(folder: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("the test's own folder");
        let options = format!("size={bytes},mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "dht-test"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { folder: folder.to_owned() });
        }
        println!("skipped: a small file system cannot be mounted here (only root can)");
        None
    }

    /// Leaves so many bytes free, about: the rest is taken by one file.
    pub fn leave_free(&self, bytes: usize) {
        const CHUNK_BYTES: usize = 4096;
        self.empty();
        let mut file = File::create(self.ballast()).expect("our file system");
        while file.write_all(&[1; CHUNK_BYTES]).is_ok() {}
        let taken = file.metadata().expect("our file").len();
        file.set_len(taken.saturating_sub(bytes as u64)).expect("our file");
    }

    /// Takes whatever is free, and keeps what was taken before.
    pub fn fill(&self) {
        let ballast = File::options().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("our file system");
        // The last bytes one by one.
        for piece in [&[1; 4096][..], &[1]] {
            while ballast.write_all(piece).is_ok() {}
        }
    }

    /// All that the test has not taken itself is free again.
    pub fn empty(&self) {
        // It is not there the first time.
        let _ = std::fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, if a process that is being killed still has it open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.folder.display());
        }
    }
}
