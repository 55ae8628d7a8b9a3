//! Listen: every record that is put into a channel from now on.
//!
//! ```text
//! client -> node   25, array channel
//! node -> client   200, (key, array value) for each change, ...
//!                  empty array, empty array     once the channel is removed
//! ```
//!
//! A record that vanished before it was sent has an empty value. Any byte from the client ends the
//! request, without an end mark.

use dht_types::Key;

use super::{Args, Arguments, Command, KeyField, Shape};
use crate::legacy::{ARRAY_BYTES_MAX, CloseReason};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.16. Answered by 409, 500, or 200 and a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

/// A piece of the stream as a client reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenItem<'a> {
    /// A record was put; the value is empty if it was removed since.
    Changed(Key, &'a [u8]),
    /// The channel was removed: the stream is over.
    Finished,
}

impl<'a> ListenItem<'a> {
    /// Appends a piece of the stream.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Changed(key, value) => {
                KeyField::Key(*key).encode(w);
                w.array(value);
            }
            Self::Finished => {
                w.array(&[]);
                w.array(&[]);
            }
        }
    }

    /// Reads a piece of the stream. [`DecodeError::Truncated`] asks for more bytes.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ahead = *r;
        let key = ahead.array("key", Key::HEX_BYTES)?;
        let value = ahead.array("value", ARRAY_BYTES_MAX)?;
        *r = ahead;
        if key.is_empty() {
            return Ok(Self::Finished);
        }
        let key = Key::from_hex(key).map_err(|_| DecodeError::Malformed { field: "key" })?;
        Ok(Self::Changed(key, value))
    }
}

impl<'a> Arguments<'a> for Listen<'a> {
    const COMMAND: Command = Command::Listen;
    const SHAPE: Shape = Shape::CHANNEL;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::Request;
    use super::super::tests::check_request;
    use super::*;

    #[test]
    fn listen_has_the_bytes_of_the_original() {
        let request = Request::Listen(Listen { channel: "test_channel" });
        check_request(&request, "190000000c00000000000000746573745f6368616e6e656c");
        for (item, hex) in [
            (
                ListenItem::Changed(Key(0xdead), b"dummy_value"),
                "100000000000000030303030303030303030303064656164
                 0b0000000000000064756d6d795f76616c7565",
            ),
            (
                ListenItem::Changed(Key(5), b""),
                "1000000000000000303030303030303030303030303030350000000000000000",
            ),
            (ListenItem::Finished, "00000000000000000000000000000000"),
        ] {
            let bytes = from_hex(hex);
            let mut written = Vec::new();
            item.encode(&mut Writer::new(&mut written));
            assert_eq!(written, bytes);
            assert_eq!(ListenItem::decode(&mut Reader::new(&bytes)), Ok(item));
            for len in 0..bytes.len() {
                let cut = ListenItem::decode(&mut Reader::new(&bytes[..len]));
                assert!(matches!(cut, Err(DecodeError::Truncated { .. })), "{len} bytes");
            }
        }
    }
}
