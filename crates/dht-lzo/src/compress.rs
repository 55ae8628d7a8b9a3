//! Writing a stream: greedy, one pass, made for speed.
//!
//! ```text
//! data  | block of 48 KiB | block of 48 KiB | rest |
//!                 <--- match ---|         <- 20 ->    the last bytes of a block are not searched
//! ```
//!
//! A table remembers where each four bytes were last seen. It is cleared for each block, so that a
//! position in the block fits 16 bits, the table fits the first-level cache, and any distance fits
//! an instruction. Invariant: `literals` is where the bytes begin that are not yet in the stream.

use std::ops::Range;

/// Largest distance of a match plus one: positions of one block can always be reached.
const BLOCK_BYTES: usize = 48 * 1024;
/// Bytes at the end of a block where no match begins. Searching and comparing thus read whole
/// words without asking where the data ends.
const TAIL_BYTES: usize = 20;
/// Binary logarithm of the entries in the table.
const TABLE_BITS: u32 = 14;
/// The search takes a step more after each 2^5 bytes without a match.
const SKIP_SHIFT: u32 = 5;
/// Literals that the first instruction of a stream has at least: fewer have no place but in the
/// instruction before.
const FIRST_LITERALS_MIN: usize = 4;
/// Longest literal run in the first byte of a stream.
const FIRST_RUN_MAX: usize = 238;
/// What a copy in chunks may write past the length it was asked for.
const CHUNK: usize = 16;

/// Ends every stream.
const END_MARKER: [u8; 3] = [0x11, 0, 0];

/// Most bytes that the stream of `len` bytes can have.
///
/// The worst case is 19 literals, which take two bytes more, and a match of 4 bytes, which saves
/// one, over and over: 24 bytes for 23. The bound is that of liblzo2.
#[must_use]
pub const fn compressed_bytes_max(len: usize) -> usize {
    len + len / 16 + 64 + END_MARKER.len()
}

/// Appends a stream of `data` that is not compressed: one run of literals, longer by one byte in
/// 255. Writing and reading it cost little more than a copy each.
#[expect(clippy::cast_possible_truncation, reason = "at most 255 each")]
pub fn store(data: &[u8], out: &mut Vec<u8>) {
    match data.len() {
        0 => {}
        len @ 1..=FIRST_RUN_MAX => out.push(17 + len as u8),
        len => {
            // As `Writer::long_length` has it.
            let rest = len - 18;
            let zeros = (rest - 1) / 255;
            out.resize(out.len() + 1 + zeros, 0);
            out.push((rest - 255 * zeros) as u8);
        }
    }
    out.extend_from_slice(data);
    out.extend_from_slice(&END_MARKER);
}

/// What [`store`] has written, where it is; `None` for a stream of another form, or a short one.
#[must_use]
pub fn stored(stream: &[u8]) -> Option<&[u8]> {
    let rest = stream.strip_suffix(&END_MARKER)?.strip_prefix(&[0])?;
    let zeros = rest.iter().position(|byte| *byte != 0)?;
    let data = &rest[zeros + 1..];
    (data.len() == 18 + 255 * zeros + usize::from(rest[zeros])).then_some(data)
}

/// A compressor with its dictionary of 32 KiB, to be used again and again: one per worker. Streams
/// do not depend on what was compressed before.
#[derive(Debug, Clone)]
pub struct Compressor {
    /// Position in the block where a word of this hash was last seen. 0 is also "never".
    table: Box<[u16; 1 << TABLE_BITS]>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// A compressor with an empty dictionary. Only the output grows later.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Box::new([0; 1 << TABLE_BITS]) }
    }

    /// Appends the stream of `data` to `out`, at most [`compressed_bytes_max`] bytes.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + compressed_bytes_max(data.len()) + CHUNK, 0);
        let mut writer = Writer { bytes: &mut out[start..], at: 0 };
        let mut literals = 0;
        let mut block = 0..0;
        while data.len() - block.end > TAIL_BYTES {
            block = block.end..data.len().min(block.end + BLOCK_BYTES);
            literals = self.compress_block(data, block.clone(), literals, &mut writer);
        }
        writer.last_literals(&data[literals..]);
        writer.put(END_MARKER);
        let len = start + writer.at;
        out.truncate(len);
    }

    /// Searches one block. Takes and returns where the bytes begin that are not yet written.
    fn compress_block(
        &mut self,
        data: &[u8],
        block: Range<usize>,
        mut literals: usize,
        writer: &mut Writer<'_>,
    ) -> usize {
        let data = &data[..block.end];
        let search_end = block.end - TAIL_BYTES;
        // The start itself is what an empty entry of the table says; so the search begins behind.
        let mut at = block.start.max(literals + FIRST_LITERALS_MIN) + 1;
        let mut last_match_end = block.start;
        self.table.fill(0);
        while at < search_end {
            let word = u32_at(data, at);
            let candidate = block.start + self.replace(word, at - block.start);
            if u32_at(data, candidate) != word {
                at += 1 + ((at - last_match_end) >> SKIP_SHIFT);
                continue;
            }
            writer.literals(data, literals..at);
            let length = match_length(data, candidate, at, search_end);
            writer.repeat(at - candidate, length);
            at += length;
            literals = at;
            last_match_end = at;
        }
        literals
    }

    /// Notes that `word` stands at `position` of the block; returns where its hash was before.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a block has less than 2^16 bytes")]
    fn replace(&mut self, word: u32, position: usize) -> usize {
        // Multiplication by 2^32 divided by the golden ratio: the high bits depend on all bytes.
        let hash = word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS);
        let entry = &mut self.table[hash as usize];
        usize::from(std::mem::replace(entry, position as u16))
    }
}

/// Length of the match of `at` with the earlier `from`, whose first four bytes are known to be
/// equal. It is compared word by word and ends at the latest with the word that reaches
/// `search_end`, so that it always stays within the data.
#[inline(always)]
fn match_length(data: &[u8], from: usize, at: usize, search_end: usize) -> usize {
    let mut length = 4;
    loop {
        let difference = u64_at(data, at + length) ^ u64_at(data, from + length);
        if difference != 0 {
            return length + (difference.trailing_zeros() / u8::BITS) as usize;
        }
        length += 8;
        if at + length >= search_end {
            return length;
        }
    }
}

#[inline(always)]
fn u32_at(data: &[u8], at: usize) -> u32 {
    let bytes = &data[at..at + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[inline(always)]
fn u64_at(data: &[u8], at: usize) -> u64 {
    let bytes = &data[at..at + 8];
    u64::from_le_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ])
}

/// The stream as far as it is written. `bytes` has room for the longest stream and a chunk.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }

    /// The literals before a match, if there are any.
    #[inline(always)]
    fn literals(&mut self, data: &[u8], range: Range<usize>) {
        let length = range.len();
        if length == 0 {
            return;
        }
        self.literals_head(length);
        // A move of fixed size is cheaper than one of few bytes, and what follows overwrites the
        // rest of it. The match and the tail lie behind the literals, so that there is enough.
        let source = if length <= CHUNK { range.start..range.start + CHUNK } else { range };
        self.bytes[self.at..self.at + source.len()].copy_from_slice(&data[source]);
        self.at += length;
    }

    /// The literals before the end marker. Only here the first byte of a stream may count them.
    #[expect(clippy::cast_possible_truncation, reason = "compared before")]
    fn last_literals(&mut self, literals: &[u8]) {
        if literals.is_empty() {
            return;
        }
        if self.at == 0 && literals.len() <= FIRST_RUN_MAX {
            self.put([17 + literals.len() as u8]);
        } else {
            self.literals_head(literals.len());
        }
        self.bytes[self.at..self.at + literals.len()].copy_from_slice(literals);
        self.at += literals.len();
    }

    /// Says that `length` literals follow. Up to three are told by the instruction before, in the
    /// low bits of its last byte but one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "compared before")]
    fn literals_head(&mut self, length: usize) {
        match length {
            0..=3 => self.bytes[self.at - 2] |= length as u8,
            4..=18 => self.put([length as u8 - 3]),
            _ => {
                self.put([0]);
                self.long_length(length - 18);
            }
        }
    }

    /// The instruction that repeats `length` bytes, four or more, from `distance` back.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "distances are below 2^16, and masked")]
    fn repeat(&mut self, distance: usize, length: usize) {
        if distance <= 2048 && length <= 8 {
            let distance = distance - 1;
            let first = (length - 1) << 5 | (distance & 7) << 2;
            self.put([first as u8, (distance >> 3) as u8]);
        } else if distance <= 16_384 {
            self.repeat_far(32, 33, length, distance - 1);
        } else {
            let distance = distance - 16_384;
            self.repeat_far(16 | (distance >> 14 << 3) as u8, 9, length, distance & 0x3fff);
        }
    }

    /// The two forms with a distance of 14 bits; `length_max` is what fits the first byte.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "compared before; 14 bits of distance")]
    fn repeat_far(&mut self, code: u8, length_max: usize, length: usize, distance: usize) {
        if length <= length_max {
            self.put([code | (length - 2) as u8]);
        } else {
            self.put([code]);
            self.long_length(length - length_max);
        }
        self.put(((distance << 2) as u16).to_le_bytes());
    }

    /// A length that does not fit its instruction: 255 for each byte 0, then 1..=255.
    #[expect(clippy::cast_possible_truncation, reason = "at most 255 are left")]
    fn long_length(&mut self, mut length: usize) {
        while length > 255 {
            self.put([0]);
            length -= 255;
        }
        self.put([length as u8]);
    }
}
