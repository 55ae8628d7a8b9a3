//! Writes the segments of one worker.
//!
//! ```text
//! put, remove, remove_channel    gather entries in the frame that is pending
//! write                          one write of that frame at the segment's end; a full segment
//!                                is closed, and the next write makes a new one
//! ```
//!
//! A write that fails changes nothing: the frame stays pending, and the next write puts it at the
//! same place. So a full disk costs nothing but time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dht_dump::{Disk, DiskError, SharedFile};
use dht_types::{ChannelName, Key};
use rustc_hash::FxHashMap;

use crate::entry::{Entry, PUT_OVERHEAD_BYTES};
use crate::frame::{FRAME_HEADER_BYTES, seal, seed};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::segment::{SegmentInfo, segment_path};

/// Capacity that an empty frame keeps, in bytes: a node writes one of 256 KiB at once, and a buffer
/// that grows doubles.
const FRAME_KEPT_BYTES: usize = 512 * 1024;

/// Where the workers of a node write.
pub struct LogPlace {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    boot: u64,
    next_number: AtomicU64,
}

/// See the module.
pub struct LogWriter {
    place: Arc<LogPlace>,
    worker: u32,
    segment_bytes_max: u64,
    segment: Segment,
    /// Room for the frame's header, and the entries that were not written yet; empty if there are
    /// none.
    frame: Vec<u8>,
}

/// The segment that is being filled.
#[derive(Default)]
struct Segment {
    /// None before the first write.
    file: Option<(u64, Arc<dyn SharedFile>)>,
    bytes: u64,
    /// What the segment calls each channel, by incarnation.
    channels: FxHashMap<u64, u32>,
    last_sequence: u64,
    /// See [`SegmentHeader::before`].
    before: (u64, u64),
}

/// What a write has done.
pub struct Written {
    /// The file, for whoever syncs it.
    pub file: Arc<dyn SharedFile>,
    /// The segment's number.
    pub segment: u64,
    /// Its length now.
    pub end: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// The file is new: its folder has to be synced, too.
    pub is_new: bool,
    /// The segment gets no more entries.
    pub closed: Option<SegmentInfo>,
}

impl LogPlace {
    /// A folder, which exists. `boot` tells this boot of the machine from others, 0 if that is
    /// unknown; `last_number` is the greatest number of a segment there.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, boot: u64, last_number: u64) -> Self {
        Self { disk, dir, boot, next_number: AtomicU64::new(last_number + 1) }
    }

    /// The disk it is on.
    #[must_use]
    pub const fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl LogWriter {
    /// Writes segments of about this length. Makes no file before the first write.
    #[must_use]
    pub fn new(place: Arc<LogPlace>, worker: u32, segment_bytes_max: u64) -> Self {
        Self { place, worker, segment_bytes_max, segment: Segment::default(), frame: Vec::new() }
    }

    /// Bytes that wait for the next write.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.frame.len()
    }

    /// A record was put.
    pub fn put(&mut self, channel: (u64, &ChannelName), sequence: u64, key: Key, value: &[u8]) {
        let channel = self.begin(channel, sequence);
        self.frame.reserve(PUT_OVERHEAD_BYTES + value.len());
        Entry::Put { channel, sequence, key: key.0, value }.encode(&mut self.frame);
    }

    /// A record was removed.
    pub fn remove(&mut self, channel: (u64, &ChannelName), sequence: u64, key: Key) {
        let channel = self.begin(channel, sequence);
        Entry::Remove { channel, sequence, key: key.0 }.encode(&mut self.frame);
    }

    /// A channel was removed: no change of it has a greater number.
    pub fn remove_channel(&mut self, channel: (u64, &ChannelName), sequence: u64) {
        let channel = self.begin(channel, sequence);
        Entry::RemoveChannel { channel, sequence }.encode(&mut self.frame);
    }

    /// Makes room for an entry; returns what the segment calls the channel.
    #[inline]
    fn begin(&mut self, (incarnation, name): (u64, &ChannelName), sequence: u64) -> u32 {
        if self.frame.is_empty() {
            self.frame.resize(FRAME_HEADER_BYTES, 0);
        }
        self.segment.last_sequence = self.segment.last_sequence.max(sequence);
        let known = self.segment.channels.len();
        *self.segment.channels.entry(incarnation).or_insert_with(|| {
            let channel = u32::try_from(known).expect("a segment has fewer entries");
            let name = name.as_bytes();
            Entry::Channel { channel, incarnation, name }.encode(&mut self.frame);
            channel
        })
    }

    /// Writes what is pending, in one write if the disk takes it; nothing if nothing is. `synced`:
    /// a segment's number, and up to which offset it survives a power cut.
    ///
    /// After an error all is pending still.
    pub fn write(&mut self, synced: (u64, u64)) -> Result<Option<Written>, DiskError> {
        if self.frame.is_empty() {
            return Ok(None);
        }
        let (number, file) = self.file()?;
        let is_new = self.segment.bytes == 0;
        let path = || segment_path(&self.place.dir, number, self.worker);
        let synced_to = if synced.0 == number { synced.1 } else { 0 };
        let pending = self.frame.len();
        let start = if is_new { SEGMENT_HEADER_BYTES as u64 } else { self.segment.bytes };
        seal(&mut self.frame, seed(number, start), self.place.boot, synced_to);
        let result = if is_new {
            let (worker, boot, before) = (self.worker, self.place.boot, self.segment.before);
            let header = SegmentHeader { epoch: 0, number, worker, boot, before };
            let bytes = [&header.to_bytes()[..], &self.frame].concat();
            write_all_at(&*file, &bytes, 0)
        } else {
            write_all_at(&*file, &self.frame, start)
        };
        if let Err(error) = result {
            self.frame.truncate(pending); // Without the padding: more entries may come.
            return Err(DiskError::new("write", &path())(error));
        }
        let end = start + self.frame.len() as u64;
        let bytes = end - self.segment.bytes;
        self.segment.bytes = end;
        self.frame.clear();
        self.frame.shrink_to(FRAME_KEPT_BYTES);
        let closed = (end >= self.segment_bytes_max).then(|| self.close()).flatten();
        Ok(Some(Written { file, segment: number, end, bytes, is_new, closed }))
    }

    /// Ends the segment, if it has any entries; the next write begins a new one.
    ///
    /// # Panics
    ///
    /// If entries are pending: they use the segment's numbers of channels.
    pub fn close(&mut self) -> Option<SegmentInfo> {
        assert!(self.frame.is_empty(), "what is pending belongs to this segment");
        let (number, _) = self.segment.file.as_ref()?;
        let info = SegmentInfo {
            path: segment_path(&self.place.dir, *number, self.worker),
            number: *number,
            worker: self.worker,
            last_sequence: self.segment.last_sequence,
            file_bytes: self.segment.bytes,
        };
        let before = (info.number, info.file_bytes);
        self.segment = Segment { before, ..Segment::default() };
        Some(info)
    }

    /// Ends the segment after a sync of it has failed: no later one vouches for it.
    pub fn abandon(&mut self) -> Option<SegmentInfo> {
        let info = self.close();
        self.segment.before = (0, 0);
        info
    }

    fn file(&mut self) -> Result<(u64, Arc<dyn SharedFile>), DiskError> {
        if let Some((number, file)) = &self.segment.file {
            return Ok((*number, Arc::clone(file)));
        }
        let number = self.place.next_number.fetch_add(1, Relaxed);
        let path = segment_path(&self.place.dir, number, self.worker);
        let file = self.place.disk.create(&path).map_err(DiskError::new("create", &path))?;
        self.segment.file = Some((number, Arc::clone(&file)));
        Ok((number, file))
    }
}

/// Writes all bytes, with as many writes as that takes; one, on a disk that is well.
fn write_all_at(file: &dyn SharedFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
