//! Reads one segment, frame by frame; and finds the next whole frame behind a damage.

use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use dht_dump::Disk;

use crate::frame::{ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, seed};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// Bytes that are read at a time, at least.
const BUFFER_BYTES: usize = 256 * 1024;

/// See the module.
pub(crate) struct SegmentReader {
    content: Box<dyn Read + Send>,
    number: u64,
    /// Where the next frame begins.
    offset: u64,
    file_bytes: u64,
    /// Nothing, if the header is damaged.
    header: Option<SegmentHeader>,
    body: Vec<u8>,
}

/// What stands next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A whole frame; [`SegmentReader::body`] has its entries.
    Frame { boot: u64, synced_to: u64 },
    /// The end of the segment, behind a whole frame.
    End,
    /// The file ends before the frame does, or before its header does.
    Torn,
    /// All bytes are there, but they are no frame.
    Damaged,
}

impl SegmentReader {
    /// Opens a segment and reads its header.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, number: u64) -> io::Result<Self> {
        let file = disk.open(path)?;
        let content = BufReader::with_capacity(BUFFER_BYTES, file.content);
        let (content, file_bytes) = (Box::new(content), file.file_bytes);
        let mut reader =
            Self { content, number, offset: 0, file_bytes, header: None, body: Vec::new() };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if file_bytes >= SEGMENT_HEADER_BYTES as u64 {
            reader.content.read_exact(&mut bytes)?;
            reader.offset = SEGMENT_HEADER_BYTES as u64;
            let header = SegmentHeader::parse(&bytes);
            reader.header = header.filter(|header| header.number == number);
        }
        Ok(reader)
    }

    /// Its header; nothing if that is cut short or damaged.
    pub(crate) const fn header(&self) -> Option<SegmentHeader> {
        self.header
    }

    /// Where the next frame begins, or what could not be read does.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the file.
    pub(crate) const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The entries of the frame that was read last.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the next frame. After [`Next::Torn`] and [`Next::Damaged`] only
    /// [`SegmentReader::resync`] goes on.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let left = self.file_bytes - self.offset;
        self.body.clear(); // What is in it when a frame is not whole, `resync` looks at.
        if left == 0 {
            return Ok(Next::End);
        }
        if left < FRAME_HEADER_BYTES as u64 {
            return Ok(Next::Torn);
        }
        let (mut bytes, seed) = ([0; FRAME_HEADER_BYTES], seed(self.number, self.offset));
        self.content.read_exact(&mut bytes)?;
        let Some(header) = FrameHeader::parse(&bytes, seed) else {
            self.body.extend_from_slice(&bytes);
            return Ok(Next::Damaged);
        };
        if left < header.frame_bytes() {
            self.body.extend_from_slice(&bytes);
            return Ok(Next::Torn);
        }
        let length = usize::try_from(header.frame_bytes()).expect("a file in memory's reach");
        // Bounded by the file's length, which was just compared.
        self.body.resize(length - FRAME_HEADER_BYTES, 0);
        self.content.read_exact(&mut self.body)?;
        let body_bytes = header.body_bytes as usize;
        if !header.accepts(&self.body[..body_bytes], seed)
            || self.body[body_bytes..].iter().any(|byte| *byte != 0)
        {
            self.body.splice(..0, bytes);
            return Ok(Next::Damaged);
        }
        self.body.truncate(body_bytes);
        self.offset += header.frame_bytes();
        Ok(Next::Frame { boot: header.boot, synced_to: header.synced_to })
    }

    /// Looks for the next place where a frame's header stands; `false` if there is none up to the
    /// end of the file. Reads all of the file that is left into memory.
    pub(crate) fn resync(&mut self) -> io::Result<bool> {
        let mut rest = std::mem::take(&mut self.body);
        self.content.read_to_end(&mut rest)?;
        let found = (ALIGNMENT..rest.len()).step_by(ALIGNMENT).find(|at| {
            let bytes = rest.get(*at..*at + FRAME_HEADER_BYTES);
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            let seed = seed(self.number, self.offset + *at as u64);
            bytes.is_some_and(|bytes| FrameHeader::parse(bytes, seed).is_some())
        });
        let Some(at) = found else {
            self.offset = self.file_bytes;
            return Ok(false);
        };
        self.offset += at as u64;
        rest.drain(..at);
        self.content = Box::new(Cursor::new(rest));
        Ok(true)
    }
}
