//! Dump files: read, write, replace atomically. No store, no wire.
//!
//! ```text
//! tcm        the bytes of a dump: TcmEncoder, TcmReader. No files
//! writer     DumpWriter: a temporary file that becomes `<channel>.tcm` as a whole or not at all
//!   blocks     its buffer, and the checksum of what went through it
//! reader     DumpReader: a dump, verified by its manifest
//! manifest   the small file beside a dump that says what the dump must be
//! folder     what lies in a data folder, and the moves of whole files in it
//! disk       the boundary: Disk, DiskFile; OsDisk is the real one, MemoryDisk that of tests
//! ```
//!
//! The invariant of the crate: whatever fails, and whenever the power does, a channel that had a
//! complete `<channel>.tcm` still has one, the old or the new; and a dump that was cut short is
//! never taken for a complete one.
//!
//! Source: spec `file-formats` 1 and 2, `node` 12.

mod blocks;
mod disk;
mod folder;
mod manifest;
#[cfg(feature = "memory-disk")]
pub mod memory_disk;
mod os_disk;
mod reader;
mod tcm;
mod writer;

pub use blocks::write_all;
pub use disk::{DirEntry, Disk, DiskError, DiskFile, FileIdentity, FileKind, OpenFile, SharedFile};
pub use folder::{
    BACKUP_SUFFIX, CHANGES_FOLDER, DELETED_FOLDER, DUMP_SUFFIX, Found, FoundKind, MANIFEST_SUFFIX,
    UNFINISHED_SUFFIX, backup_path, dump_path, manifest_path, move_to_deleted, open_dump,
    quarantine, scan_dir,
};
pub use manifest::{LogPosition, Manifest, ManifestError};
pub use os_disk::OsDisk;
pub use reader::{Beside, DumpReader};
pub use tcm::{
    BLOCK_BYTES, Entry, RECORD_OVERHEAD_BYTES, TcmEncoder, TcmError, TcmField, TcmReader,
    TcmTotals, verify_tcm,
};
pub use writer::{CompletedDump, DumpOptions, DumpWriter, FinishedDump};
