//! A client's byte stream, cut into requests.
//!
//! ```text
//!        +-> Code -> [Channel] -> [Key] -> [Tail] -> request, or 409 -+
//!        |    '----> [Takers] ------------------------> request ------+
//!        |              |           |        |                        |
//!        |              +---- Skip: an array that is not kept --------+
//!        +------------------------------------------------------------+
//! ```
//!
//! Channel and key are copied into the state as they arrive, so at most one array waits in the
//! caller's buffer: a tail within its limit. An array beyond its limit is thrown away while it
//! arrives. Invariant: the caller never has to hold more than `ARRAY_BYTES_MAX + 8` bytes,
//! or `MOVING_BYTES_MAX + 8` in a conversation between nodes.
//!
//! A request that is there as a whole is read without these steps, to the same end.

use dht_types::{CHANNEL_NAME_BYTES_MAX, ChannelName, Key, KeyError};

use super::requests::{Args, KeyField, TailKind, TakerList, Value};
use super::{ARRAY_BYTES_MAX, Command, MOVING_BYTES_MAX, Request, Status};
use crate::wire::Reader;

/// What a node accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest value of a Put, in bytes: `batch_size` - 32. Source: spec `protocol-legacy` 3.
    pub put_value_bytes_max: usize,
}

/// Why the connection has to be closed, without a word. Source: spec `protocol-legacy` 14.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Nobody knows how many argument bytes follow an unknown code.
    #[error("unknown command code {0}")]
    UnknownCommand(u32),
    /// An array over `ARRAY_BYTES_MAX`.
    #[error("array of {0} bytes; at most {ARRAY_BYTES_MAX} are accepted")]
    ArrayTooLong(u64),
    /// The key is not 16 hex digits.
    #[error("malformed key: {0}")]
    MalformedKey(KeyError),
    /// A batch that does not decompress, or has no records' shape.
    #[error("malformed batch: {0}")]
    MalformedBatch(super::batch::BatchError),
    /// A node in the list of a Redistribute that cannot be one, or too many of them.
    #[error("malformed list of nodes in a Redistribute")]
    MalformedTaker,
    /// A Redistribute cannot give a node the empty range.
    #[error("a Redistribute with the empty range")]
    EmptyRange,
    /// The nodes of a Redistribute cannot all get what the list says.
    #[error("a Redistribute with an empty range, an overlap or a node twice in its list")]
    ConflictingTakers,
    /// A message between nodes that is none.
    #[error("malformed message about a move: {0}")]
    MalformedMove(crate::wire::DecodeError),
}

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// More bytes, please; those that were not taken have to be offered again.
    Incomplete,
    /// A request, to be answered before the next one is asked for.
    Request(Request<'a>),
    /// A request that is answered with this status and nothing else.
    Refused(Command, Status),
    /// The connection is beyond repair.
    Close(CloseReason),
}

/// Reads the requests of one connection.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    stage: Stage,
    command: Command,
    channel: ChannelField,
    key: KeyField,
    takers: TakerList,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Code,
    Channel,
    Key,
    Tail,
    Takers,
    /// Throws away so many bytes, then goes on.
    Skip {
        left: u64,
        then: AfterSkip,
    },
}

#[derive(Debug, Clone, Copy)]
enum AfterSkip {
    Key,
    Tail,
    Finish { tail_bytes: u64 },
    Close { array_bytes: u64 },
}

/// A channel's name.
#[derive(Debug)]
struct ChannelField {
    /// The last one that was valid. Mostly the next one is the same, and is not checked again.
    name: String,
    /// Whether that is the name in this request, which has no valid one otherwise.
    is_valid: bool,
}

impl ChannelField {
    const fn new() -> Self {
        Self { name: String::new(), is_valid: false }
    }

    /// Whether this is the last valid name.
    fn is_same(&self, name: &[u8]) -> bool {
        name == self.name.as_bytes() && !name.is_empty()
    }

    /// A name that may not be valid, as text.
    fn text<'a>(&'a self, name: &'a [u8]) -> Option<&'a str> {
        if self.is_same(name) { Some(&self.name) } else { std::str::from_utf8(name).ok() }
    }

    fn receive(&mut self, name: &[u8]) {
        self.is_valid = true;
        if !self.is_same(name) {
            self.replace(name);
        }
    }

    #[cold]
    fn replace(&mut self, name: &[u8]) {
        match ChannelName::check(name) {
            Ok(name) => name.clone_into(&mut self.name),
            Err(_) => self.is_valid = false,
        }
    }
}

/// A step of the state machine: either more to do, or the last part is there.
enum Step<'a> {
    Go(Stage),
    Finish(Value<'a>),
    Incomplete,
    Close(CloseReason),
}

impl Server {
    /// Starts before the first command code.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::Code,
            command: Command::GetVersion,
            channel: ChannelField::new(),
            key: KeyField::Key(Key(0)),
            takers: TakerList::EMPTY,
        }
    }

    /// Whether the next byte is the first of a command code.
    #[must_use]
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.stage, Stage::Code)
    }

    /// Channel and key of the request at the front of `input`, if it has both and they are there.
    /// Nothing is taken and little is checked: a hint of what [`Server::next`] will tell.
    #[must_use]
    pub fn record_ahead<'a>(&'a self, input: &'a [u8]) -> Option<(&'a str, Key)> {
        if !self.is_between_requests() {
            return None;
        }
        let mut r = Reader::new(input);
        let shape = Command::from_code(r.u32().ok()?)?.shape();
        if !shape.channel || !shape.key {
            return None;
        }
        let channel = r.array("channel", CHANNEL_NAME_BYTES_MAX).ok()?;
        let key = r.array("key", Key::HEX_BYTES).ok()?;
        Some((self.channel.text(channel)?, Key::from_hex(key).ok()?))
    }

    /// Takes bytes from the front of `input` up to the end of one request.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Parsed<'a> {
        if self.is_between_requests()
            && let Some(tail) = self.whole(input)
        {
            return self.finish(tail);
        }
        loop {
            let step = match self.stage {
                Stage::Code => self.code(input),
                Stage::Channel => self.channel(input),
                Stage::Key => self.key(input),
                Stage::Tail => self.tail(input),
                Stage::Takers => self.takers(input),
                Stage::Skip { left, then } => skip(left, then, input),
            };
            match step {
                Step::Go(stage) => self.stage = stage,
                Step::Incomplete => return Parsed::Incomplete,
                Step::Close(reason) => return Parsed::Close(reason),
                Step::Finish(tail) => return self.finish(tail),
            }
        }
    }

    /// Mostly a request is there as a whole and no part of it is too long: it is taken at once,
    /// and its tail returned. Of any other nothing is taken.
    fn whole<'a>(&mut self, input: &mut &'a [u8]) -> Option<Value<'a>> {
        let mut r = Reader::new(input);
        let command = Command::from_code(r.u32().ok()?)?;
        let shape = command.shape();
        if shape.takers {
            return None;
        }
        let mut array = |max| r.array("argument", max).ok();
        let channel = if shape.channel { Some(array(CHANNEL_NAME_BYTES_MAX)?) } else { None };
        let key = if shape.key { Some(array(Key::HEX_BYTES)?) } else { None };
        let tail = match shape.tail {
            Some(kind) => array(self.tail_bytes_max(kind))?,
            None => &[],
        };
        *input = r.rest();
        self.command = command;
        if let Some(name) = channel {
            self.channel.receive(name);
        }
        if let Some(text) = key {
            self.key = key_field(text);
        }
        Some(Value::Bytes(tail))
    }

    /// The longest last array of a kind that is kept, in bytes.
    const fn tail_bytes_max(&self, kind: TailKind) -> usize {
        match kind {
            TailKind::Value => self.limits.put_value_bytes_max,
            TailKind::Array => ARRAY_BYTES_MAX,
            TailKind::Moving => MOVING_BYTES_MAX,
        }
    }

    fn code<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        let Some((code, rest)) = input.split_first_chunk() else { return Step::Incomplete };
        *input = rest;
        let code = u32::from_le_bytes(*code);
        match Command::from_code(code) {
            None => Step::Close(CloseReason::UnknownCommand(code)),
            Some(command) => {
                self.command = command;
                self.takers = TakerList::EMPTY;
                Step::Go(if command.shape().takers { Stage::Takers } else { Stage::Channel })
            }
        }
    }

    fn channel<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        if !self.command.shape().channel {
            return Step::Go(Stage::Key);
        }
        match array(input, CHANNEL_NAME_BYTES_MAX) {
            Array::Incomplete => Step::Incomplete,
            Array::Kept(name) => {
                self.channel.receive(name);
                Step::Go(Stage::Key)
            }
            Array::Skip(len) => {
                self.channel.is_valid = false;
                Step::Go(skip_array(len, AfterSkip::Key))
            }
        }
    }

    fn key<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        if !self.command.shape().key {
            return Step::Go(Stage::Tail);
        }
        match array(input, Key::HEX_BYTES) {
            Array::Incomplete => Step::Incomplete,
            Array::Kept(text) => {
                self.key = key_field(text);
                Step::Go(Stage::Tail)
            }
            Array::Skip(len) => {
                let len_seen = usize::try_from(len).unwrap_or(usize::MAX);
                self.key = KeyField::Malformed(KeyError::Length(len_seen));
                Step::Go(skip_array(len, AfterSkip::Tail))
            }
        }
    }

    fn tail<'a>(&self, input: &mut &'a [u8]) -> Step<'a> {
        let Some(kind) = self.command.shape().tail else {
            return Step::Finish(Value::Bytes(&[]));
        };
        match (array(input, self.tail_bytes_max(kind)), kind) {
            (Array::Incomplete, _) => Step::Incomplete,
            (Array::Kept(bytes), _) => Step::Finish(Value::Bytes(bytes)),
            (Array::Skip(len), TailKind::Value) => {
                Step::Go(Stage::Skip { left: len, then: AfterSkip::Finish { tail_bytes: len } })
            }
            (Array::Skip(len), TailKind::Array | TailKind::Moving) => {
                Step::Go(Stage::Skip { left: len, then: AfterSkip::Close { array_bytes: len } })
            }
        }
    }

    fn takers<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        match self.takers.receive(input) {
            Ok(true) => Step::Finish(Value::Bytes(&[])),
            Ok(false) => Step::Incomplete,
            Err(reason) => Step::Close(reason),
        }
    }

    /// All arguments are read; only now are they judged.
    fn finish<'a>(&'a mut self, tail: Value<'a>) -> Parsed<'a> {
        self.stage = Stage::Code;
        let mut args = Args { channel: "", key: self.key, tail, takers: &self.takers };
        if self.command.shape().channel {
            if !self.channel.is_valid {
                return Parsed::Refused(self.command, Status::BadChannelName);
            }
            args.channel = &self.channel.name;
        }
        match Request::from_args(self.command, args) {
            Ok(request) => Parsed::Request(request),
            Err(reason) => Parsed::Close(reason),
        }
    }
}

fn key_field(text: &[u8]) -> KeyField {
    Key::from_hex(text).map_or_else(KeyField::Malformed, KeyField::Key)
}

enum Array<'a> {
    Incomplete,
    Kept(&'a [u8]),
    /// Longer than wanted; its length was taken from the input, its bytes were not.
    Skip(u64),
}

/// Takes a whole array of at most `max` bytes from the front of `input`, or nothing.
fn array<'a>(input: &mut &'a [u8], max: usize) -> Array<'a> {
    let Some((len, rest)) = input.split_first_chunk() else { return Array::Incomplete };
    let len = u64::from_le_bytes(*len);
    let Some(within) = usize::try_from(len).ok().filter(|len| *len <= max) else {
        *input = rest;
        return Array::Skip(len);
    };
    match rest.split_at_checked(within) {
        None => Array::Incomplete,
        Some((bytes, rest)) => {
            *input = rest;
            Array::Kept(bytes)
        }
    }
}

/// Throws away an array that is no channel or key, and closes behind one over the general limit.
fn skip_array(len: u64, then: AfterSkip) -> Stage {
    let closes = len > ARRAY_BYTES_MAX as u64;
    Stage::Skip {
        left: len,
        then: if closes { AfterSkip::Close { array_bytes: len } } else { then },
    }
}

fn skip<'a>(left: u64, then: AfterSkip, input: &mut &'a [u8]) -> Step<'a> {
    let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    *input = &input[taken..];
    let left = left - taken as u64;
    match then {
        _ if left > 0 && taken == 0 => Step::Incomplete,
        _ if left > 0 => Step::Go(Stage::Skip { left, then }),
        AfterSkip::Key => Step::Go(Stage::Key),
        AfterSkip::Tail => Step::Go(Stage::Tail),
        AfterSkip::Finish { tail_bytes } => Step::Finish(Value::TooLong(tail_bytes)),
        AfterSkip::Close { array_bytes } => Step::Close(CloseReason::ArrayTooLong(array_bytes)),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
