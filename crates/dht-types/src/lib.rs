//! The nouns that every other crate speaks of: [`Key`], [`HashRange`], [`ChannelName`].
//!
//! Nothing here knows a protocol, a store or a file.

mod channel_name;
mod hash_range;
mod key;

pub use channel_name::{CHANNEL_NAME_BYTES_MAX, ChannelName, ChannelNameError};
pub use hash_range::{HashRange, HashRangeError};
pub use key::{HexKey, Key, KeyError};
