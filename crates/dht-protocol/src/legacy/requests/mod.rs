//! Every request of the legacy protocol. A request is a file here and a line in the table below.
//!
//! A file has the request's arguments as a struct ([`Arguments`]), the bytes of its answer (written
//! by the node through an associated function, read by the client through [`Answer`]), and a test
//! with the bytes of the specification.

mod shape;

pub use shape::{Args, KeyField, Shape, Tail, TailKind, Value};

use super::{CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

macro_rules! requests {
    ($($code:literal => $name:ident $(<$life:lifetime>)? in $module:ident;)*) => {
        $(mod $module;)*
        $(pub use $module::*;)*

        /// A command code, the first four bytes of a request.
        /// Source: spec `protocol-legacy` 4.1; 0 and the numbers in between mean nothing. Those
        /// from 1000 on are our own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Command {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name = $code,)*
        }

        impl Command {
            /// Every command, by code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The command of a code, if there is one.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its place in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                enum Index {
                    $($name,)*
                }
                match self { $(Self::$name => Index::$name as usize,)* }
            }

            /// The request's name as the stats and logs spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Which arguments follow the code.
            #[must_use]
            pub const fn shape(self) -> Shape {
                Request::<'static>::shape_of(self)
            }
        }

        /// A request whose arguments are complete and well formed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Request<'a> {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name $(<$life>)?),)*
        }

        impl<'a> Request<'a> {
            /// The request's command.
            #[must_use]
            pub const fn command(&self) -> Command {
                match self { $(Self::$name(_) => Command::$name,)* }
            }

            const fn shape_of(command: Command) -> Shape {
                match command {
                    $(Command::$name => <$name $(<$life>)? as Arguments<'a>>::SHAPE,)*
                }
            }

            pub(super) fn from_args(command: Command, args: Args<'a>) -> Result<Self, CloseReason> {
                match command { $(Command::$name => $name::from_args(args).map(Self::$name),)* }
            }

            /// Appends the request as a client sends it.
            pub fn encode(&self, w: &mut Writer<'_>) {
                match self { $(Self::$name(request) => encode(request, w),)* }
            }
        }
    };
}

requests! {
    1 => Put<'a> in put;
    7 => Get<'a> in get;
    11 => Exists<'a> in exists;
    12 => Remove<'a> in remove;
    17 => GetChannels in get_channels;
    18 => GetChannelSize<'a> in get_channel_size;
    19 => GetSize in get_size;
    20 => GetResponsibleRange in get_responsible_range;
    22 => RemoveChannel<'a> in remove_channel;
    23 => GetNumConnections in get_num_connections;
    24 => GetVersion in get_version;
    25 => Listen<'a> in listen;
    29 => GetAll<'a> in get_all;
    30 => GetAllKeys<'a> in get_all_keys;
    31 => GetAllFilter<'a> in get_all_filter;
    33 => Redistribute<'a> in redistribute;
    34 => PutBatch<'a> in put_batch;
    1000 => Forward<'a> in forward;
    1001 => MovePart<'a> in move_part;
}

/// The arguments of one request: which there are, and their bytes.
pub trait Arguments<'a>: Sized {
    /// The request's code.
    const COMMAND: Command;
    /// Which arguments follow the code.
    const SHAPE: Shape;

    /// Takes the arguments that [`Self::SHAPE`] asked for.
    fn from_args(args: Args<'a>) -> Result<Self, CloseReason>;

    /// Appends the arguments as a client sends them.
    fn encode_args(&self, w: &mut Writer<'_>);
}

/// The answer of a request that has a single one: what follows status 200.
pub trait Answer {
    /// What the client gets.
    type Answer;

    /// Reads what follows status 200. [`DecodeError::Truncated`] asks for more bytes.
    fn decode_answer(r: &mut Reader<'_>) -> Result<Self::Answer, DecodeError>;
}

/// Appends a whole request: code and arguments.
pub fn encode<'a, R: Arguments<'a>>(request: &R, w: &mut Writer<'_>) {
    w.u32(R::COMMAND as u32);
    request.encode_args(w);
}

/// Reads a whole answer: `Ok(Err(status))` if the node refused.
pub fn decode<R: Answer>(r: &mut Reader<'_>) -> Result<Result<R::Answer, Status>, DecodeError> {
    match Status::decode(r)? {
        Status::Ok => R::decode_answer(r).map(Ok),
        refused => Ok(Err(refused)),
    }
}

/// How much one node holds, in all or in one channel: the answer of GetSize and GetChannelSize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSize {
    /// The node's bind address as configured.
    pub address: String,
    /// The node's legacy port.
    pub port: u16,
    /// Number of records.
    pub records: u64,
    /// The node's estimate of their memory in bytes.
    pub bytes: u64,
}

impl NodeSize {
    /// Appends status 200 and the four fields.
    pub fn reply(w: &mut Writer<'_>, address: &str, port: u16, records: u64, bytes: u64) {
        Status::Ok.encode(w);
        w.array(address.as_bytes());
        w.u16(port);
        w.u64(records);
        w.u64(bytes);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let address = decode_text(r, "address")?;
        Ok(Self { address, port: r.u16()?, records: r.u64()?, bytes: r.u64()? })
    }
}

/// Longest text that a client reads: an address, a version, a channel's name; in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

fn decode_text(r: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let text = r.array(field, TEXT_BYTES_MAX)?;
    String::from_utf8(text.to_vec()).map_err(|_| DecodeError::Malformed { field })
}

#[cfg(test)]
pub(crate) mod tests {
    use dht_testkit::from_hex;

    use super::*;
    use crate::legacy::server::{Limits, Parsed, Server};

    /// The request has just these bytes, the server reads it from them, and from no proper prefix.
    pub(crate) fn check_request(request: &Request<'_>, hex: &str) {
        let bytes = from_hex(hex);
        let mut encoded = Vec::new();
        request.encode(&mut Writer::new(&mut encoded));
        assert_eq!(encoded, bytes, "{request:?}");
        let limits = Limits { put_value_bytes_max: 65_504 };
        let (mut server, mut input) = (Server::new(limits), &bytes[..]);
        assert_eq!(server.next(&mut input), Parsed::Request(*request));
        assert!(input.is_empty());
        for len in 0..bytes.len() {
            let mut server = Server::new(limits);
            assert_eq!(server.next(&mut &bytes[..len]), Parsed::Incomplete, "{len} bytes");
        }
    }

    /// The answer has just these bytes, and no proper prefix of them is an answer.
    pub(crate) fn check_answer<R: Answer>(
        write: impl Fn(&mut Writer<'_>),
        hex: &str,
        answer: Result<R::Answer, Status>,
    ) where
        R::Answer: PartialEq + std::fmt::Debug,
    {
        let bytes = from_hex(hex);
        let mut written = Vec::new();
        write(&mut Writer::new(&mut written));
        assert_eq!(written, bytes);
        let mut r = Reader::new(&bytes);
        assert_eq!(decode::<R>(&mut r), Ok(answer));
        assert!(r.is_empty());
        for len in 0..bytes.len() {
            let cut = decode::<R>(&mut Reader::new(&bytes[..len]));
            assert!(matches!(cut, Err(DecodeError::Truncated { .. })), "{len} bytes");
        }
    }

    #[test]
    fn commands_are_those_of_the_table_in_order() {
        let mut commands = Command::ALL.iter().enumerate();
        assert!(commands.all(|(at, command)| command.index() == at));
        let codes: Vec<u32> = Command::ALL.iter().map(|command| *command as u32).collect();
        assert_eq!(
            codes,
            [1, 7, 11, 12, 17, 18, 19, 20, 22, 23, 24, 25, 29, 30, 31, 33, 34, 1000, 1001]
        );
        for code in 0..1100 {
            assert_eq!(Command::from_code(code).is_some(), codes.contains(&code));
        }
    }
}
