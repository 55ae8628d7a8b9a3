//! LZO1X compression: bytes to bytes, nothing else.
//!
//! The batches of both protocols carry an LZO1X stream without any header, length or checksum
//! (protocol-legacy.md section 8, protocol-neo.md section 15). A stream is a row of instructions;
//! `d` is a bit of the distance, `l` of the length, `s` counts literals that follow at once:
//!
//! ```text
//! first byte 18..=255                  byte - 17 literals follow; only at the start of a stream
//! 0000llll                             l + 3 literals follow, if none stand right before
//! 0000ddss D                           2 bytes, distance (D << 2 | d) + 1, after 1..=3 literals
//! 0000ddss D                           3 bytes, distance (D << 2 | d) + 2049, after a literal run
//! 0001dlll ddddddss dddddddd           l + 2 bytes, distance d + 16384; d = 0 ends the stream
//! 001lllll ddddddss dddddddd           l + 2 bytes, distance d + 1
//! llldddss D  (64..=255)               l + 1 bytes, distance (D << 3 | d) + 1
//! ```
//!
//! Two bytes of `d` are little-endian; a `d` in the byte before them is the highest bit. Where `l`
//! has no bit set (but for the last form, which needs one), the length goes on: `l` then counts
//! as all ones, each byte 0 adds 255, and the first other byte adds itself and ends it. A match
//! may overlap what it writes: distance 1 repeats one byte. Every stream ends with `11 00 00`.
//!
//! Written from that format. The compressor's choices (what it looks for and where) are such that
//! small batches come out with the bytes of the original nodes; nobody relies on it.

mod compress;
mod decompress;

pub use compress::{Compressor, compressed_bytes_max, store, stored};
pub use decompress::{DecompressError, decompress};
