//! Every request of the neo protocol. A request is a file here and a line in the table below.
//!
//! ```text
//! client -> node   code: u8, version: u8, arguments      the first message of an id
//! ```
//!
//! A file has the request's arguments as a struct ([`Arguments`]), the messages of both sides
//! ([`Payload`]; the numbering of statuses differs per request), and a test with the bytes of the
//! specification. Channel names are checked here, so that no one else needs to.

mod payload;

use dht_types::{ChannelNameError, Key};
pub use payload::Payload;
use payload::{message_end, statuses};

use crate::wire::{DecodeError, Reader, Writer};

macro_rules! requests {
    ($($code:literal v $version:literal => $name:ident $(<$life:lifetime>)? in $file:ident;)*) => {
        $(mod $file;)*
        $(pub use $file::*;)*

        /// A request's code, the first byte of its first message.
        /// Source: spec `protocol-neo` 8.1; 0 means nothing. From 11 on they are our own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Command {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name = $code,)*
        }

        impl Command {
            /// Every command, by code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The command of a code, if there is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
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

            /// The one version that is spoken.
            #[must_use]
            pub const fn version(self) -> u8 {
                match self { $(Self::$name => $version,)* }
            }

            /// The request's name as the stats and logs spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The status that stands for a failure of the node, if the request has one.
            #[must_use]
            pub const fn error_status(self) -> Option<u8> {
                Request::<'static>::error_status_of(self)
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

            const fn error_status_of(command: Command) -> Option<u8> {
                match command {
                    $(Command::$name => <$name $(<$life>)? as Arguments<'a>>::ERROR_STATUS,)*
                }
            }

            /// Reads the arguments of a request, to the end of the message. Inline, as are those of
            /// the single requests: it took a fifth of the time to hand the result on.
            #[inline(always)]
            pub fn decode(command: Command, r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
                match command { $(Command::$name => $name::decode(r).map(Self::$name),)* }
            }

            /// Appends the payload that starts the request: code, version, arguments.
            pub fn encode(&self, w: &mut Writer<'_>) {
                w.u8(self.command() as u8);
                w.u8(self.command().version());
                match self { $(Self::$name(request) => request.encode(w),)* }
            }
        }

        $(impl<'a> From<$name $(<$life>)?> for Request<'a> {
            fn from(request: $name $(<$life>)?) -> Self {
                Self::$name(request)
            }
        })*
    };
}

requests! {
    1 v 0 => GetHashRange in get_hash_range;
    2 v 0 => Put<'a> in put;
    3 v 0 => Get<'a> in get;
    4 v 0 => Mirror<'a> in mirror;
    5 v 0 => GetAll<'a> in get_all;
    6 v 0 => GetChannels in get_channels;
    7 v 0 => Exists<'a> in exists;
    8 v 0 => Remove<'a> in remove;
    9 v 0 => RemoveChannel<'a> in remove_channel;
    10 v 0 => Update<'a> in update;
    // Of our own, far from the next numbers of the protocol.
    211 v 0 => MovePart<'a> in move_part;
}

/// The arguments of one request: what follows its code and version.
pub trait Arguments<'a>: Sized {
    /// The status that stands for a failure of the node, if the request has one.
    const ERROR_STATUS: Option<u8>;

    /// Reads them. Whoever is strict about trailing bytes says so in its file.
    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError>;

    /// Appends them as a client sends them.
    fn encode(&self, w: &mut Writer<'_>);
}

/// Why a request's arguments were refused. The connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// Fields are missing, or there are too many.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The fields are there, but the channel cannot exist. (The original takes any name, and
    /// makes it part of a path.)
    #[error(transparent)]
    ChannelName(#[from] ChannelNameError),
}

/// The arguments of most requests. The name is judged last: a request that is cut short is
/// malformed, whatever its channel is called.
fn channel_and_key<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], Key), DecodeError> {
    Ok((array(r, "channel")?, key(r)?))
}

fn key(r: &mut Reader<'_>) -> Result<Key, DecodeError> {
    r.u64().map(Key)
}

/// An array within a message, which has passed its limit already.
fn array<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    r.array(field, super::frame::REPLY_BODY_BYTES_MAX)
}

fn encode_channel_and_key(w: &mut Writer<'_>, channel: &str, key: Key) {
    w.array(channel.as_bytes());
    w.u64(key.0);
}

#[cfg(test)]
pub(crate) mod tests {
    use dht_testkit::{from_hex, to_hex};

    use super::*;

    /// Reads a request as [`super::super::Server`] does.
    fn decode(bytes: &[u8]) -> Result<Request<'_>, ArgumentsError> {
        let mut r = Reader::new(bytes);
        let command = Command::from_code(r.u8()?).expect("known");
        assert_eq!(r.u8()?, command.version());
        Request::decode(command, &mut r)
    }

    /// What a request does with bytes behind its arguments.
    #[derive(Clone, Copy, PartialEq)]
    pub(crate) enum Trailing {
        Refused,
        Ignored,
    }

    /// The request has just these bytes, is read from them, and from no proper prefix.
    pub(crate) fn check_request<'a>(request: impl Into<Request<'a>>, hex: &str, rule: Trailing) {
        let (request, mut bytes) = (request.into(), from_hex(hex));
        let mut encoded = Vec::new();
        request.encode(&mut Writer::new(&mut encoded));
        assert_eq!(to_hex(&encoded), to_hex(&bytes), "{request:?}");
        assert_eq!(decode(&bytes), Ok(request));
        for len in 2..bytes.len() {
            let cut = decode(&bytes[..len]);
            let missing = matches!(cut, Err(ArgumentsError::Malformed(_)));
            assert!(missing, "{len} bytes: {cut:?}");
        }
        bytes.push(0);
        match rule {
            Trailing::Ignored => assert_eq!(decode(&bytes), Ok(request)),
            Trailing::Refused => {
                let error = DecodeError::Malformed { field: "end of message" };
                assert_eq!(decode(&bytes), Err(error.into()));
            }
        }
    }

    /// The message has just these bytes, and neither fewer nor more are read as one.
    pub(crate) fn check_payload<'a, P>(payload: &P, bytes: &'a [u8])
    where
        P: Payload<'a> + PartialEq + std::fmt::Debug,
    {
        let mut encoded = Vec::new();
        payload.encode(&mut Writer::new(&mut encoded));
        assert_eq!(to_hex(&encoded), to_hex(bytes), "{payload:?}");
        assert_eq!(P::decode(bytes).as_ref(), Ok(payload));
        for len in 0..bytes.len() {
            assert!(P::decode(&bytes[..len]).is_err(), "{payload:?} from {len} bytes");
        }
    }

    #[test]
    fn commands_are_those_of_the_table_in_order() {
        let mut commands = Command::ALL.iter().enumerate();
        assert!(commands.all(|(at, command)| command.index() == at));
        let codes: Vec<u8> = Command::ALL.iter().map(|command| *command as u8).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 211]);
        for code in 0..=255 {
            assert_eq!(Command::from_code(code).is_some(), codes.contains(&code));
        }
    }

    #[test]
    fn error_statuses_are_those_of_the_specification() {
        let statuses: Vec<_> = Command::ALL.iter().map(|command| command.error_status()).collect();
        let [put, get, stream, update] = [3, 4, 6, 10].map(Some);
        let (exists, remove, remove_channel) = (get, get, put);
        let expected = [None, put, get, stream, stream, Some(1), exists, remove, remove_channel];
        assert_eq!(statuses[..9], expected);
        assert_eq!(statuses[9], update);
    }

    #[test]
    fn a_bad_channel_name_is_told_apart_from_bytes_that_are_missing() {
        let bad = from_hex("03 00  03 00 00 00 00 00 00 00 61 2f 62  ad de 00 00 00 00 00 00");
        let error = ChannelNameError::Byte { byte: b'/', at: 1 };
        assert_eq!(decode(&bad), Err(error.into()));
        assert!(matches!(decode(&bad[..20]), Err(ArgumentsError::Malformed(_))));
        let huge = from_hex("03 00  ff ff ff ff ff ff ff ff 61 2f 62");
        assert!(matches!(decode(&huge), Err(ArgumentsError::Malformed(_))));
    }
}
