//! Which arguments a request has. All requests are made of the same three parts, in this order:
//!
//! ```text
//! [ channel: array ] [ key: array of 16 hex digits ] [ tail: array ]
//! ```
//!
//! Redistribute alone has others: see [`TakerList`].

use dht_types::{Key, KeyError};

use super::TakerList;
use crate::legacy::CloseReason;
use crate::wire::Writer;

/// Which of the parts follow a command's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// A channel's name follows.
    pub channel: bool,
    /// A key follows.
    pub key: bool,
    /// A last array follows.
    pub tail: Option<TailKind>,
    /// Instead of all those, the arguments of a Redistribute follow.
    pub takers: bool,
}

impl Shape {
    /// No arguments at all.
    pub const NONE: Self = Self { channel: false, key: false, tail: None, takers: false };
    /// A channel.
    pub const CHANNEL: Self = Self { channel: true, ..Self::NONE };
    /// A channel and a key.
    pub const KEY: Self = Self { key: true, ..Self::CHANNEL };
}

/// What happens to a last array that is longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailKind {
    /// A Put's value: read and thrown away; the request goes on without it.
    Value,
    /// Any other array: read and thrown away, then the connection is closed.
    Array,
    /// The same with room for the largest record that a node may hold: between nodes of ours.
    Moving,
}

/// A key as it came: the request decides what a malformed one means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyField {
    /// A well-formed key.
    Key(Key),
    /// Not 16 hex digits.
    Malformed(KeyError),
}

impl KeyField {
    /// The key, or the reason to close the connection.
    pub const fn parse(self) -> Result<Key, CloseReason> {
        match self {
            Self::Key(key) => Ok(key),
            Self::Malformed(error) => Err(CloseReason::MalformedKey(error)),
        }
    }

    pub(in crate::legacy) fn encode(self, w: &mut Writer<'_>) {
        match self {
            Self::Key(key) => w.array(&key.to_hex()),
            // A client of ours has no malformed key to send; an empty array is one.
            Self::Malformed(_) => w.array(&[]),
        }
    }
}

impl From<Key> for KeyField {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}

/// A Put's value as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// The value's bytes.
    Bytes(&'a [u8]),
    /// It was longer than the node accepts, and is gone; its length in bytes.
    TooLong(u64),
}

/// The last array of a request.
pub type Tail<'a> = Value<'a>;

/// The arguments of a request, as many as its [`Shape`] asks for; the rest are empty.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The key.
    pub key: KeyField,
    /// The last array.
    pub tail: Tail<'a>,
    /// The arguments of a Redistribute.
    pub takers: &'a TakerList,
}

impl<'a> Args<'a> {
    /// The last array of a request that cannot go on without it.
    pub(super) fn array(self) -> Result<&'a [u8], CloseReason> {
        match self.tail {
            Value::Bytes(bytes) => Ok(bytes),
            Value::TooLong(len) => Err(CloseReason::ArrayTooLong(len)),
        }
    }
}
