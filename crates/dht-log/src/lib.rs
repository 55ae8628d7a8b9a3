//! The log: every change between two dumps, so that a node that is killed loses nothing.
//!
//! ```text
//! <data_dir>/changes/
//!   0000000000000001-0.log    segment 1, of worker 0         header.rs   its first bytes
//!     | header | frame | frame | ...                         frame.rs    one write of a worker
//!                 '- entries                                 entry.rs    one change
//!   0000000000000002-1.log    segment 2, of worker 1
//!   checkpoint                what is in the dumps           checkpoint.rs
//!
//! LogWriter   writer.rs    one worker's: append, write once, begin a new segment
//! Survey      survey.rs    at start: what is there, is it sound, which channels were removed
//!   reader.rs                one segment, frame by frame, and past a damage
//! replay      replay.rs    all segments as one sequence of changes
//! ```
//!
//! Each worker has segments of its own, so nobody waits for another one. A number on each change
//! puts them in order again: the store gives it, so that of two changes of a record the later one
//! has the greater number. A removed channel has an **incarnation** of its own: changes of it are
//! told from those of the channel that took its name.
//!
//! Invariant: a change that was written, and is above the checkpoint's floor, is replayed or its
//! loss is reported with file and offset; a change that was not written whole never is.
//!
//! docs/log-format.md has the bytes.

mod checkpoint;
mod entry;
mod frame;
mod header;
mod reader;
mod replay;
mod segment;
mod survey;
mod writer;

pub use checkpoint::{Checkpoint, CheckpointError, RemovedChannel};
pub use replay::{Change, Part, ReplayError, replay};
pub use segment::{SegmentInfo, changes_dir, remove_segment};
pub use survey::{ChannelFate, Damage, DamageKind, Survey, SurveyError, Tail, survey};
pub use writer::{LogPlace, LogWriter, Written};
