//! What is lost if a node starts without a dump that is damaged or missing: for people.

use std::fmt;

use dht_types::ChannelName;

use super::file::Loaded;

/// What a channel loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(super) channel: ChannelName,
    /// The path of the dump.
    pub(super) file: String,
    /// The path of the backup, if there is one.
    pub(super) backup: Option<String>,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) cause: Cause,
    pub(super) instead: Instead,
}

/// Why the dump is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Damaged {
        /// What is wrong, and at which offset.
        what: String,
        /// What can be read of it.
        dump: Content,
        /// Records in it and what they take in it, if a manifest tells.
        whole: Option<(u64, u64)>,
        file_bytes: u64,
        /// The damage may be anywhere in what was read.
        is_checksum: bool,
    },
    Missing,
}

/// What is loaded instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instead {
    /// The backup, and on top so many records of the dump that are surely right.
    Backup { backup: Content, on_top: u64 },
    /// What can be read of the dump.
    DamagedDump { backup_is_damaged: bool },
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    records: u64,
    /// Bytes of the file that were of use.
    bytes: u64,
    /// When it was written: seconds since 1970.
    unix_time: u64,
}

impl Content {
    pub(super) const fn of(loaded: &Loaded) -> Self {
        let Loaded { records, bytes, .. } = *loaded;
        Self { records, bytes, unix_time: loaded.known.unix_time }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, file, .. } = self;
        match &self.cause {
            Cause::Damaged { what, .. } => write!(f, "dump file '{file}' is damaged: {what}. ")?,
            Cause::Missing => write!(f, "dump file '{file}' is missing. ")?,
        }
        write!(f, "Without it, channel '{channel}' starts with ")?;
        match &self.instead {
            Instead::Backup { backup, on_top } => self.with_backup(f, backup, *on_top),
            Instead::DamagedDump { backup_is_damaged } => self.with_rest(f, *backup_is_damaged),
        }
    }
}

impl Loss {
    fn with_backup(
        &self,
        f: &mut fmt::Formatter<'_>,
        backup: &Content,
        on_top: u64,
    ) -> fmt::Result {
        let path = self.backup.as_deref().unwrap_or_default();
        write!(f, "its backup '{path}' of {} records, {} bytes", backup.records, backup.bytes)?;
        match &self.cause {
            Cause::Missing => {
                let age = self.now.saturating_sub(backup.unix_time);
                write!(
                    f,
                    ", written {age} s ago; all changes since then are lost (if the channel is "
                )?;
                write!(f, "not wanted, remove its backup as well)")
            }
            Cause::Damaged { dump, whole, .. } => {
                if on_top > 0 {
                    write!(f, ", and the {on_top} records of the dump before the damage")?;
                }
                let age = dump.unix_time.saturating_sub(backup.unix_time);
                write!(
                    f,
                    "; the other changes of the {age} s from the backup to the dump are lost"
                )?;
                match whole {
                    Some((records, bytes)) => {
                        write!(f, " (the dump had {records} records, {bytes} bytes)")
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn with_rest(&self, f: &mut fmt::Formatter<'_>, backup_is_damaged: bool) -> fmt::Result {
        match &self.cause {
            Cause::Missing => write!(f, "nothing")?,
            Cause::Damaged { is_checksum: true, dump, .. } => {
                write!(f, "all of its {} records, some of them wrong", dump.records)?;
            }
            Cause::Damaged { dump, whole, file_bytes, .. } => {
                write!(f, "the {} records before the damage; ", dump.records)?;
                match whole {
                    Some((records, bytes)) => {
                        let records = records.saturating_sub(dump.records);
                        // The version is no record.
                        let bytes = bytes.saturating_sub(dump.bytes.saturating_sub(8));
                        write!(f, "{records} records of {bytes} bytes are lost")?;
                    }
                    None => {
                        let rest = file_bytes.saturating_sub(dump.bytes);
                        write!(f, "what the {rest} bytes of the file behind them held is lost")?;
                    }
                }
            }
        }
        match (&self.backup, backup_is_damaged) {
            (Some(backup), true) => write!(f, "; its backup '{backup}' is damaged, too"),
            _ => write!(f, "; it has no backup"),
        }
    }
}
