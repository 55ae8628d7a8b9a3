//! The bytes of a dump file. Despite its suffix it is not a Tokyo Cabinet file.
//!
//! ```text
//! | version: u64 LE = 0 |
//! | key length: u64 LE = 16 | key: 16 hex digits | value length: u64 LE | value ... |   any number
//! | end marker: u64 LE = 0 | zero bytes up to the next multiple of 512 |
//! ```
//!
//! One file holds one channel, whose name is in the file name only. The records have no order and
//! no alignment. There is no checksum: damage shows only if it breaks the framing.
//!
//! Source: spec `file-formats` 1.

mod encoder;
mod reader;

pub use encoder::{TcmEncoder, TcmTotals};
pub use reader::{Entry, TcmError, TcmField, TcmReader, verify_tcm};

/// The only version of the format.
const VERSION: u64 = 0;
/// The length of every file is a multiple of this, in bytes.
pub const BLOCK_BYTES: usize = 512;
/// What a record takes in the file besides its value, in bytes: two lengths and the key.
pub const RECORD_OVERHEAD_BYTES: usize = 8 + 16 + 8;
