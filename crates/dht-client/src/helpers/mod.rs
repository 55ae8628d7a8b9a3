//! What many applications need on top of a client. Source: spec `client` A.6, A.7.

mod availability;
pub mod channel_file;
#[cfg(feature = "serde")]
mod json;
mod mirror_map;
mod overflow;

pub use availability::NodeAvailability;
pub use mirror_map::{DecodeErrors, MirrorMap};
pub use overflow::{Overflow, OverflowError, Stored, Waiting};
