//! What the log holds, and whether it is sound: read once as a whole before anything is changed.
//!
//! A segment may end in bytes that are no whole frame. Whether a change is lost by that is decided
//! thus:
//!
//! ```text
//! written by this boot of the machine    the file's end cuts the worker's last frame off: it was
//!   (no power cut since)                 being written, nobody was answered: a tail, harmless.
//!                                        Anything else: damage
//! written by another boot                up to where a later frame says the segment was synced,
//!   (the power may have failed)          or up to its end if a later segment says so: damage.
//!                                        Behind that: a tail; level `disk` has answered nobody
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dht_dump::{Disk, DiskError};
use dht_types::ChannelName;
use rustc_hash::FxHashMap;

use crate::checkpoint::RemovedChannel;
use crate::entry::Entry;
use crate::reader::{Next, SegmentReader};
use crate::segment::{SegmentFile, SegmentInfo, list};

/// See the module.
#[derive(Debug, Default)]
pub struct Survey {
    /// All segments, by number, each up to where it is sound.
    pub segments: Vec<SegmentInfo>,
    /// The channels of which there are changes above the floor.
    pub channels: FxHashMap<ChannelName, ChannelFate>,
    /// The greatest number of a change, 0 if there is none.
    pub last_sequence: u64,
    /// The greatest incarnation of a channel, 0 if there is none.
    pub last_incarnation: u64,
    /// The greatest number of a segment, 0 if there is none.
    pub last_number: u64,
    /// Changes of records above the floor.
    pub changes: u64,
    /// What was being written when the writer was stopped.
    pub tails: Vec<Tail>,
    /// What is damaged. Replaying leaves it out.
    pub damages: Vec<Damage>,
}

/// What became of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelFate {
    /// The newest incarnation that the log knows; changes of older ones are of no use.
    pub incarnation: u64,
    /// It was removed.
    pub is_removed: bool,
}

/// The end of a segment that is no whole frame, and that nobody was promised to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The segment's file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// More than one interrupted write was cut off: the machine has lost what was not synced.
    pub by_power_cut: bool,
}

/// A part of a segment that is lost although it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log file '{}' is damaged at offset {offset}: {kind}", .path.display())]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// How many changes behind it in the file can be read nevertheless.
    pub changes_behind: u64,
}

/// What is wrong with a part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// Bytes are not those that were written.
    #[error("wrong checksum")]
    Checksum,
    /// The file has fewer bytes than were written.
    #[error("the file is cut short")]
    Cut,
}

/// Why there is no survey.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A file or the folder cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Reads all segments of a folder. `boot` is the present boot of the machine, 0 if unknown; changes
/// up to the `floor` are left out. Changes nothing on the disk.
pub fn survey(disk: &dyn Disk, dir: &Path, boot: u64, floor: u64) -> Result<Survey, SurveyError> {
    let files = list(disk, dir)?;
    let mut scans = Vec::new();
    for file in files {
        scans.push(scan(disk, &file, floor)?);
    }
    // What a later segment of the same worker says about the one before.
    let mut after: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
    for scan in &scans {
        if let Some((before, bytes)) = scan.before.filter(|(number, _)| *number > 0) {
            after.insert(before, (bytes, scan.synced_to > 0));
        }
    }
    let mut survey = Survey::default();
    for scan in scans {
        let after = after.get(&scan.file.number).copied();
        survey.take(scan, after, boot);
    }
    survey.channels.retain(|_, fate| fate.incarnation > 0);
    Ok(survey)
}

/// What one segment says.
struct Scan {
    file: SegmentFile,
    file_bytes: u64,
    /// The boot that wrote it, as far as any part of it tells.
    boot: Option<u64>,
    before: Option<(u64, u64)>,
    /// What was known to survive a power cut.
    synced_to: u64,
    /// Where the first bytes are that are no frame, and whether the file just ends there.
    bad: Option<(u64, bool)>,
    /// What stands before that, and behind it.
    sound: Content,
    behind: Content,
}

/// What some frames say.
#[derive(Default)]
struct Content {
    channels: FxHashMap<ChannelName, ChannelFate>,
    last_sequence: u64,
    last_incarnation: u64,
    changes: u64,
}

fn scan(disk: &dyn Disk, file: &SegmentFile, floor: u64) -> Result<Scan, DiskError> {
    let failed = |error| DiskError::new("read", &file.path)(error);
    let mut reader = SegmentReader::open(disk, &file.path, file.number).map_err(failed)?;
    let header = reader.header();
    let mut scan = Scan {
        file_bytes: reader.file_bytes(),
        boot: header.map(|header| header.boot),
        before: header.map(|header| header.before),
        synced_to: 0,
        // Without its header, a file is cut short or damaged from its first byte on.
        bad: header.is_none().then(|| (0, reader.offset() == 0)),
        sound: Content::default(),
        behind: Content::default(),
        file: file.clone(),
    };
    let mut names = Names::default();
    loop {
        match reader.next().map_err(failed)? {
            Next::Frame { boot, synced_to } => {
                scan.boot.get_or_insert(boot);
                scan.synced_to = scan.synced_to.max(synced_to);
                let is_sound = scan.bad.is_none();
                let content = if is_sound { &mut scan.sound } else { &mut scan.behind };
                content.read(reader.body(), &mut names, floor);
            }
            Next::End => break,
            stop @ (Next::Torn | Next::Damaged) => {
                scan.bad.get_or_insert((reader.offset(), stop == Next::Torn));
                if !reader.resync().map_err(failed)? {
                    break;
                }
            }
        }
    }
    // A whole frame behind the place where the file seemed to end: its length was damaged.
    if let Some((_, torn)) = &mut scan.bad
        && scan.behind.last_sequence > 0
    {
        *torn = false;
    }
    Ok(scan)
}

/// What a segment calls its channels.
#[derive(Default)]
struct Names(FxHashMap<u32, (u64, ChannelName)>);

impl Content {
    /// Reads the entries of a frame. Its checksum was right, so they are what was written.
    fn read(&mut self, mut body: &[u8], names: &mut Names, floor: u64) {
        while let Some(entry) = Entry::decode(&mut body) {
            let (channel, sequence, is_removal) = match entry {
                Entry::Channel { channel, incarnation, name } => {
                    self.last_incarnation = self.last_incarnation.max(incarnation);
                    if let Ok(name) = ChannelName::new(name) {
                        names.0.insert(channel, (incarnation, name));
                    }
                    continue;
                }
                Entry::Put { channel, sequence, .. } | Entry::Remove { channel, sequence, .. } => {
                    (channel, sequence, false)
                }
                Entry::RemoveChannel { channel, sequence } => (channel, sequence, true),
            };
            self.last_sequence = self.last_sequence.max(sequence);
            if sequence <= floor {
                continue;
            }
            self.changes += u64::from(!is_removal);
            if let Some((incarnation, name)) = names.0.get(&channel) {
                let fate = ChannelFate { incarnation: *incarnation, is_removed: is_removal };
                match self.channels.get_mut(name) {
                    Some(known) => known.join(fate),
                    None => drop(self.channels.insert(name.clone(), fate)),
                }
            }
        }
    }
}

impl ChannelFate {
    /// Learns what another part of the log says.
    fn join(&mut self, other: Self) {
        if other.incarnation > self.incarnation {
            *self = other;
        } else if other.incarnation == self.incarnation {
            self.is_removed |= other.is_removed;
        }
    }
}

impl Survey {
    fn take(&mut self, scan: Scan, after: Option<(u64, bool)>, boot: u64) {
        let Scan { file, file_bytes, synced_to, sound, behind, .. } = scan;
        let same_boot = boot != 0 && scan.boot == Some(boot);
        let (longer, synced_by_next) = after.unwrap_or_default();
        // A file that ends between two frames, but had more of them.
        let bad = scan.bad.or((longer > file_bytes).then_some((file_bytes, true)));
        let mut end = file_bytes;
        self.last_number = self.last_number.max(file.number);
        let changes_behind = behind.changes;
        let last_sequence = sound.last_sequence.max(behind.last_sequence);
        let mut take_behind = false;
        if let Some((offset, torn)) = bad {
            let promised = if same_boot {
                !torn || after.is_some()
            } else {
                synced_by_next || offset < synced_to
            };
            let path = file.path.clone();
            if promised {
                let kind = if torn { DamageKind::Cut } else { DamageKind::Checksum };
                self.damages.push(Damage { path, offset, kind, changes_behind });
                take_behind = true;
            } else {
                let (bytes, by_power_cut) = (file_bytes - offset, !torn || after.is_some());
                if bytes > 0 {
                    self.tails.push(Tail { path, offset, bytes, by_power_cut });
                }
                end = offset;
            }
        }
        self.add(sound);
        if take_behind {
            self.add(behind);
        }
        self.segments.push(SegmentInfo {
            path: file.path,
            number: file.number,
            worker: file.worker,
            last_sequence,
            file_bytes: end,
        });
    }

    fn add(&mut self, content: Content) {
        self.last_sequence = self.last_sequence.max(content.last_sequence);
        self.last_incarnation = self.last_incarnation.max(content.last_incarnation);
        self.changes += content.changes;
        for (name, fate) in content.channels {
            self.channels.entry(name).or_default().join(fate);
        }
    }

    /// Learns of a removal that the segments do not tell.
    pub fn removed(&mut self, channel: &RemovedChannel) {
        let fate = ChannelFate { incarnation: channel.incarnation, is_removed: true };
        self.channels.entry(channel.name.clone()).or_default().join(fate);
    }

    /// Sees to it that all of what was found, and is of use, survives a power cut from now on.
    pub fn sync(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        for segment in &self.segments {
            let path = &segment.path;
            disk.truncate(path, segment.file_bytes).map_err(DiskError::new("sync", path))?;
        }
        disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
    }

    /// Cuts the tails off, so that they are not met again. Call it before anything else is written
    /// to the folder.
    pub fn cut_tails(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        for tail in &self.tails {
            disk.truncate(&tail.path, tail.offset).map_err(DiskError::new("cut", &tail.path))?;
        }
        Ok(())
    }
}
