//! The checkpoint: up to which number everything is in the dumps.
//!
//! ```text
//! dht-log-checkpoint 1
//! floor 4711                     changes up to this number are of no use
//! last_incarnation 17            channels made later have greater ones
//! clean no                       yes: the node was stopped in order, the dumps are everything
//! channel NAME 3                 a channel whose changes up to the floor are in its dumps only,
//!                                and its incarnation
//! removed NAME 2 4700            a channel that was removed, which the log perhaps does not tell:
//!                                its incarnation, and a number above those of its changes
//! end 0123456789abcdef           XXH3 of all bytes before this line
//! ```
//!
//! It is replaced as a whole, and on the disk, before the first segment goes whose changes it makes
//! useless.

use std::path::Path;

use dht_dump::{Disk, DiskError};
use dht_types::ChannelName;
use twox_hash::XxHash3_64;

/// Its name in the folder of the log.
const FILE_NAME: &str = "checkpoint";
const TITLE: &str = "dht-log-checkpoint 1";
/// Greatest length: what 65,536 channels of the longest names take.
const BYTES_MAX: u64 = 32 << 20;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Changes up to this number are of no use.
    pub floor: u64,
    /// The greatest incarnation of a channel when `channels` were looked up: a channel with one of
    /// these names and a greater incarnation is another one.
    pub last_incarnation: u64,
    /// The node was stopped in order.
    pub is_clean: bool,
    /// Channels of which a dump must be there, with their incarnations.
    pub channels: Vec<(ChannelName, u64)>,
    /// Channels that were removed while the log could not be told. Their dumps are of no use, nor
    /// are their changes; of these the log may have only the last ones.
    pub removed: Vec<RemovedChannel>,
}

/// A channel that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedChannel {
    /// Its name, which another one may have by now.
    pub name: ChannelName,
    /// Which of the channels that have had this name.
    pub incarnation: u64,
    /// All of its changes have smaller numbers.
    pub sequence: u64,
}

/// Why there is no checkpoint to be had.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes are not those that were written.
    #[error("log file '{file}' is damaged at offset {offset}: wrong checksum, or no checkpoint")]
    Damaged {
        /// The file.
        file: String,
        /// The begin of what the checksum covers.
        offset: u64,
    },
}

impl Checkpoint {
    /// Its bytes.
    fn to_text(&self) -> String {
        use std::fmt::Write;
        let Self { floor, last_incarnation, is_clean, channels, removed } = self;
        let clean = if *is_clean { "yes" } else { "no" };
        let mut text =
            format!("{TITLE}\nfloor {floor}\nlast_incarnation {last_incarnation}\nclean {clean}\n");
        for (channel, incarnation) in channels {
            writeln!(text, "channel {channel} {incarnation}").expect("a string takes everything");
        }
        for RemovedChannel { name, incarnation, sequence } in removed {
            writeln!(text, "removed {name} {incarnation} {sequence}")
                .expect("a string takes everything");
        }
        let end = XxHash3_64::oneshot(text.as_bytes());
        writeln!(text, "end {end:016x}").expect("a string takes everything");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let at = text.rfind("end ")?;
        let sum = XxHash3_64::oneshot(&text.as_bytes()[..at]);
        if text[at..] != format!("end {sum:016x}\n") {
            return None;
        }
        let mut lines = text[..at].lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let floor = field("floor")?.parse().ok()?;
        let last_incarnation = field("last_incarnation")?.parse().ok()?;
        let is_clean = field("clean")? == "yes";
        let (mut channels, mut removed) = (Vec::new(), Vec::new());
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let name = ChannelName::new(words.get(1)?.as_bytes()).ok()?;
            match words[..] {
                ["channel", _, incarnation] => channels.push((name, incarnation.parse().ok()?)),
                ["removed", _, incarnation, sequence] => removed.push(RemovedChannel {
                    name,
                    incarnation: incarnation.parse().ok()?,
                    sequence: sequence.parse().ok()?,
                }),
                _ => return None,
            }
        }
        Some(Self { floor, last_incarnation, is_clean, channels, removed })
    }

    /// Reads that of a folder; nothing if there is none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = dir.join(FILE_NAME);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(DiskError::new("read", &path))?,
        };
        let damaged = || CheckpointError::Damaged { file: path.display().to_string(), offset: 0 };
        let mut bytes = Vec::new();
        let mut content = std::io::Read::take(file.content, BYTES_MAX + 1);
        std::io::Read::read_to_end(&mut content, &mut bytes)
            .map_err(DiskError::new("read", &path))?;
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        Self::parse(&text).map(Some).ok_or_else(damaged)
    }

    /// Puts it into its place, and returns when it survives a crash. After an error the former one
    /// is in place, or this one.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let prefix = format!("{FILE_NAME}.");
        let created = disk.create_temporary(dir, &prefix, ".tmp", false);
        let (temporary, mut file) =
            created.map_err(DiskError::new("create a temporary file in", dir))?;
        let mut write = || {
            let text = self.to_text();
            dht_dump::write_all(&mut *file, text.as_bytes())
                .map_err(DiskError::new("write", &temporary))?;
            file.sync().map_err(DiskError::new("sync", &temporary))?;
            let path = dir.join(FILE_NAME);
            disk.rename(&temporary, &path).map_err(DiskError::new("rename to", &path))?;
            disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
        };
        let result: Result<(), DiskError> = write();
        if result.is_err() {
            // The reason is reported; what remains is only litter.
            let _ = disk.remove(&temporary);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_no_flipped_bit_is_overlooked() {
        let checkpoint = Checkpoint {
            floor: 4711,
            last_incarnation: 17,
            is_clean: false,
            channels: vec![("a".parse().unwrap(), 3), ("end".parse().unwrap(), 17)],
            removed: vec![RemovedChannel {
                name: "b".parse().unwrap(),
                incarnation: 2,
                sequence: 4700,
            }],
        };
        let text = checkpoint.to_text();
        assert_eq!(Checkpoint::parse(&text), Some(checkpoint));
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = String::from_utf8(flipped).ok().and_then(|text| Checkpoint::parse(&text));
            assert_eq!(parsed, None, "bit {bit}");
        }
    }
}
