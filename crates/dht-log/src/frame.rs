//! Frames: what a worker writes at a time, whole or not at all.
//!
//! ```text
//! | body length: u32 | 0: u32 | boot: u64 | synced to: u64 | body's checksum: u64
//! | header's checksum: u64 | body ... | 0 to 7 zeros |
//! ```
//!
//! All numbers are little-endian; a frame takes a multiple of 8 bytes. The checksums are XXH3 with
//! the frame's place as seed, so that bytes of another place or another segment are no frame here.
//! `boot` tells which boot of the machine wrote it (see `survey`), `synced to` up to which offset
//! the segment was known to survive a power cut when this frame was made.

use twox_hash::XxHash3_64;

/// Bytes of a frame before its body.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// Frames take a multiple of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The header of a frame, without its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body_bytes: u32,
    pub(crate) boot: u64,
    pub(crate) synced_to: u64,
    pub(crate) body_checksum: u64,
}

/// Where a frame is: its segment's number, and its offset there. The seed of its checksums.
pub(crate) const fn seed(segment: u64, offset: u64) -> u64 {
    segment.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset
}

/// Completes a frame: `frame` has room for the header and then the body.
///
/// # Panics
///
/// With a body of 2^32 bytes or more: its writer bounds it.
pub(crate) fn seal(frame: &mut Vec<u8>, seed: u64, boot: u64, synced_to: u64) {
    let (head, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    let body_bytes = u32::try_from(body.len()).expect("bodies are bounded by their writer");
    let header = FrameHeader {
        body_bytes,
        boot,
        synced_to,
        body_checksum: XxHash3_64::oneshot_with_seed(seed, body),
    };
    head.copy_from_slice(&header.to_bytes(seed));
    frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
}

impl FrameHeader {
    fn to_bytes(self, seed: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.boot.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced_to.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = XxHash3_64::oneshot_with_seed(seed, &bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header in these bytes; `None` if they are none at this place.
    pub(crate) fn parse(bytes: &[u8; FRAME_HEADER_BYTES], seed: u64) -> Option<Self> {
        let u64_at = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes of forty"))
        };
        let header = Self {
            body_bytes: u32::from_le_bytes(bytes[..4].try_into().expect("four bytes of forty")),
            boot: u64_at(8),
            synced_to: u64_at(16),
            body_checksum: u64_at(24),
        };
        // By its bytes, so that the four that must be zero are looked at, too.
        (header.to_bytes(seed) == *bytes).then_some(header)
    }

    /// Whether this is its body.
    pub(crate) fn accepts(&self, body: &[u8], seed: u64) -> bool {
        XxHash3_64::oneshot_with_seed(seed, body) == self.body_checksum
    }

    /// What the whole frame takes, in bytes.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        let bytes = FRAME_HEADER_BYTES as u64 + self.body_bytes as u64;
        bytes.next_multiple_of(ALIGNMENT as u64)
    }
}
