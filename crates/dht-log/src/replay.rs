//! All segments as one sequence of changes.
//!
//! The changes of one worker stand in the order of their numbers, in its segments one after the
//! other. So the next change of all is the least of the workers' next ones. Several threads can
//! replay side by side: each takes a part of the keys, and reads everything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use dht_dump::{Disk, DiskError};
use dht_types::{ChannelName, Key};

use crate::entry::Entry;
use crate::reader::{Next, SegmentReader};
use crate::segment::SegmentInfo;
use crate::survey::Survey;

/// A change of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// Which of the channels that have had this name.
    pub incarnation: u64,
    /// Its number.
    pub sequence: u64,
    /// The record.
    pub key: Key,
    /// Its new value; none if it was removed.
    pub value: Option<&'a [u8]>,
}

/// The part of the keys that one of several threads takes.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// From 0.
    pub index: u64,
    /// How many parts there are.
    pub count: u64,
}

impl Part {
    /// All keys.
    pub const ALL: Self = Self { index: 0, count: 1 };

    const fn has(self, key: u64) -> bool {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.count == self.index
    }
}

/// Why replaying ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// A segment cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the changes were given to does not take one.
    #[error(transparent)]
    Refused(E),
}

/// Gives all changes above `floor` that are of use to `apply`, in an order in which those of one
/// record stand as they happened. Left out are those of removed channels.
pub fn replay<E>(
    disk: &dyn Disk,
    survey: &Survey,
    floor: u64,
    part: Part,
    mut apply: impl FnMut(&Change<'_>) -> Result<(), E>,
) -> Result<(), ReplayError<E>> {
    let mut segments: BTreeMap<u32, VecDeque<&SegmentInfo>> = BTreeMap::new();
    for segment in survey.segments.iter().filter(|segment| segment.last_sequence > floor) {
        segments.entry(segment.worker).or_default().push_back(segment);
    }
    let mut streams: Vec<Stream<'_>> = segments
        .into_values()
        .map(|segments| Stream { disk, survey, floor, part, segments, open: None })
        .collect();
    let mut heads = BinaryHeap::new();
    for (at, stream) in streams.iter_mut().enumerate() {
        heads.extend(stream.next()?.map(|sequence| Reverse((sequence, at))));
    }
    while let Some(Reverse((_, at))) = heads.pop() {
        let stream = &mut streams[at];
        let until = heads.peek().map_or(u64::MAX, |Reverse((sequence, _))| *sequence);
        loop {
            if let Some(change) = stream.change() {
                apply(&change).map_err(ReplayError::Refused)?;
            }
            match stream.next()? {
                None => break,
                Some(sequence) if sequence > until => {
                    heads.push(Reverse((sequence, at)));
                    break;
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// The changes of one worker.
struct Stream<'a> {
    disk: &'a dyn Disk,
    survey: &'a Survey,
    floor: u64,
    part: Part,
    segments: VecDeque<&'a SegmentInfo>,
    open: Option<Open>,
}

/// The segment that is being read.
struct Open {
    reader: SegmentReader,
    /// Behind this, there is nothing of use.
    end: u64,
    /// What it calls its channels; those that are of no use are left out.
    names: BTreeMap<u32, (u64, ChannelName)>,
    /// How far the frame was taken.
    taken: usize,
    /// The change that was found last.
    head: Option<Head>,
}

/// A change, with its value where it is in the frame.
struct Head {
    channel: u32,
    sequence: u64,
    key: u64,
    value: Option<std::ops::Range<usize>>,
}

impl Stream<'_> {
    /// Goes to the next change; returns its number.
    fn next(&mut self) -> Result<Option<u64>, DiskError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(sequence) = open.advance(self.survey, self.floor, self.part) {
                    return Ok(Some(sequence));
                }
                let path = &self.segments[0].path;
                if open.frame().map_err(DiskError::new("read", path))? {
                    continue;
                }
                self.open = None;
                self.segments.pop_front();
            }
            let Some(segment) = self.segments.front() else { return Ok(None) };
            if segment.file_bytes == 0 {
                self.segments.pop_front();
                continue;
            }
            let reader = SegmentReader::open(self.disk, &segment.path, segment.number);
            self.open = Some(Open {
                reader: reader.map_err(DiskError::new("read", &segment.path))?,
                end: segment.file_bytes,
                names: BTreeMap::new(),
                taken: usize::MAX,
                head: None,
            });
        }
    }

    /// The change that it stands at.
    fn change(&self) -> Option<Change<'_>> {
        let open = self.open.as_ref()?;
        let head = open.head.as_ref()?;
        let (incarnation, channel) = open.names.get(&head.channel)?;
        let value = head.value.clone().map(|range| &open.reader.body()[range]);
        let (sequence, key) = (head.sequence, Key(head.key));
        Some(Change { channel, incarnation: *incarnation, sequence, key, value })
    }
}

impl Open {
    /// Reads the next frame, past damages; `false` at the end.
    fn frame(&mut self) -> std::io::Result<bool> {
        self.taken = 0;
        loop {
            if self.reader.offset() >= self.end {
                return Ok(false);
            }
            match self.reader.next()? {
                Next::Frame { .. } => return Ok(true),
                Next::End => return Ok(false),
                Next::Torn | Next::Damaged if self.reader.resync()? => {}
                Next::Torn | Next::Damaged => return Ok(false),
            }
        }
    }

    /// Goes to the next change of the frame that is of use.
    fn advance(&mut self, survey: &Survey, floor: u64, part: Part) -> Option<u64> {
        self.head = None;
        let body = self.reader.body();
        let mut rest = body.get(self.taken..)?;
        while let Some(entry) = Entry::decode(&mut rest) {
            self.taken = body.len() - rest.len();
            let (channel, sequence, key, value) = match entry {
                Entry::Channel { channel, incarnation, name } => {
                    let name = ChannelName::new(name).ok();
                    let of_use = name.filter(|name| survey.wants(name, incarnation));
                    if let Some(name) = of_use {
                        self.names.insert(channel, (incarnation, name));
                    }
                    continue;
                }
                Entry::Put { channel, sequence, key, value } => {
                    (channel, sequence, key, Some(self.taken - value.len()..self.taken))
                }
                Entry::Remove { channel, sequence, key } => (channel, sequence, key, None),
                Entry::RemoveChannel { .. } => continue,
            };
            if sequence > floor && part.has(key) && self.names.contains_key(&channel) {
                self.head = Some(Head { channel, sequence, key, value });
                return Some(sequence);
            }
        }
        None
    }
}

impl Survey {
    /// Whether changes of this incarnation are of use.
    fn wants(&self, name: &ChannelName, incarnation: u64) -> bool {
        let fate = self.channels.get(name);
        fate.is_some_and(|fate| fate.incarnation == incarnation && !fate.is_removed)
    }
}
