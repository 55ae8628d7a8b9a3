//! RemoveChannel: deletes a channel and all its records. For the client named `admin` only.
//!
//! ```text
//! client -> node   09 00, array channel     trailing bytes are ignored
//! node -> client   fd, then a status
//! ```

use dht_types::ChannelName;

use super::{Arguments, ArgumentsError, Reader, Writer, array, statuses};

/// The one client that may remove channels. Source: spec `protocol-neo` 5.2, 12.2.
pub const ADMIN_NAME: &str = "admin";

/// Source: spec `protocol-neo` 12.2. Answered by one [`RemoveChannelReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveChannel<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

statuses! {
    /// The answer of a RemoveChannel.
    pub enum RemoveChannelReply {
        /// It is gone, or never was.
        ChannelRemoved = 1,
        /// The client is not [`ADMIN_NAME`]. (The original forgets to send this.)
        NotPermitted = 2,
        /// The node could not do it.
        Error = 3,
    }
}

impl<'a> Arguments<'a> for RemoveChannel<'a> {
    const ERROR_STATUS: Option<u8> = Some(RemoveChannelReply::Error.code());

    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        Ok(Self { channel: ChannelName::check(array(r, "channel")?)? })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn remove_channel_has_the_bytes_of_the_original() {
        check_request(
            RemoveChannel { channel: "test_channel" },
            "0900 0c00000000000000 746573745f6368616e6e656c",
            Trailing::Ignored,
        );
        for (status, code) in RemoveChannelReply::ALL.iter().zip([1, 2, 3]) {
            check_payload(status, &[code]);
        }
    }
}
