//! The first bytes of a segment.
//!
//! ```text
//! | "dhtlog 1": 8 | epoch: u64 | number: u64 | worker: u32 | 0: u32 | boot: u64
//! | number of the worker's segment before, or 0: u64 | its length: u64 | checksum: u64 |
//! ```
//!
//! All numbers are little-endian. The epoch belongs to every entry of the segment; it is 0 until
//! nodes replicate.

use twox_hash::XxHash3_64;

/// Bytes of the header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"dhtlog 1";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) worker: u32,
    pub(crate) boot: u64,
    /// Number and length of the segment that the worker wrote before; 0 and 0 if there is none.
    pub(crate) before: (u64, u64),
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.worker.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.boot.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.before.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.before.1.to_le_bytes());
        let checksum = XxHash3_64::oneshot(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header in these bytes; `None` if they are none.
    pub(crate) fn parse(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Self> {
        let u64_at = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes of sixty-four"))
        };
        let header = Self {
            epoch: u64_at(8),
            number: u64_at(16),
            worker: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")),
            boot: u64_at(32),
            before: (u64_at(40), u64_at(48)),
        };
        (header.to_bytes() == *bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_no_flipped_bit_is_overlooked() {
        let header =
            SegmentHeader { epoch: 0, number: 7, worker: 3, boot: 0xb007, before: (5, 4096) };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&flipped), None, "bit {bit}");
        }
    }
}
