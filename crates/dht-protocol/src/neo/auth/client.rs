//! A client's side of the greeting.

use hmac::Mac;

use super::{
    AuthKey, CLIENT_NAME_BYTES_MAX, MessageError, Nonce, UNAUTHENTICATED_BYTES_MAX, VERSION, mac,
    take_message, take_version, write_message,
};
use crate::wire::{DecodeError, Reader};

/// Introduces a client to one node. Made when the connection is there.
#[derive(Debug)]
pub struct ClientHandshake {
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Waits for the node's version.
    Version,
    /// Waits for the nonce; what the node was told about our clock.
    Nonce { time: u64 },
    /// Waits for the decision.
    Decision,
}

/// Why the connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientHandshakeError {
    /// More than [`UNAUTHENTICATED_BYTES_MAX`].
    #[error("{0} bytes before the end of the authentication")]
    TooMuch(usize),
    /// The node did not wait for our time.
    #[error("{0} bytes where the protocol version alone was expected")]
    VersionNotAlone(usize),
    /// Not [`VERSION`].
    #[error("the node has protocol version {0}, we have {VERSION}")]
    Version(u8),
    /// A message that breaks the rules.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Unknown name, wrong key, or clocks more than half an hour apart: the node does not say.
    #[error("the node rejects the client: unknown name, wrong key, or clocks too far apart")]
    Rejected,
}

impl ClientHandshake {
    /// Appends our version to `out` and waits for the node's.
    #[must_use]
    pub fn new(out: &mut Vec<u8>) -> Self {
        out.push(VERSION);
        Self { stage: Stage::Version }
    }

    /// Goes on with what has arrived; what was taken is gone from `input`. `now` is the time in
    /// seconds since 1970. `true`: we are accepted, and requests may be sent. `false`: more
    /// bytes, please. `name` and `key` are the same in every call.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        now: u64,
        name: &str,
        key: &AuthKey,
        out: &mut Vec<u8>,
    ) -> Result<bool, ClientHandshakeError> {
        if input.len() > UNAUTHENTICATED_BYTES_MAX {
            return Err(ClientHandshakeError::TooMuch(input.len()));
        }
        // No node would take it, and the message must not outgrow its limit.
        if name.len() > CLIENT_NAME_BYTES_MAX {
            return Err(ClientHandshakeError::Rejected);
        }
        loop {
            match self.stage {
                Stage::Version => {
                    let version = take_version(input);
                    let version = version.map_err(ClientHandshakeError::VersionNotAlone)?;
                    let Some(version) = version else { return Ok(false) };
                    if version != VERSION {
                        return Err(ClientHandshakeError::Version(version));
                    }
                    write_message(out, |w| w.u64(now));
                    self.stage = Stage::Nonce { time: now };
                }
                Stage::Nonce { time } => {
                    let Some(nonce) = take_message(input, nonce)? else { return Ok(false) };
                    let code = mac(key, time, nonce).finalize().into_bytes();
                    write_message(out, |w| {
                        w.array(name.as_bytes());
                        w.bytes(&code);
                    });
                    self.stage = Stage::Decision;
                }
                Stage::Decision => {
                    // Any byte but 0 accepts; nodes send 1.
                    return match take_message(input, Reader::bool)? {
                        None => Ok(false),
                        Some(true) => Ok(true),
                        Some(false) => Err(ClientHandshakeError::Rejected),
                    };
                }
            }
        }
    }
}

fn nonce(r: &mut Reader<'_>) -> Result<Nonce, DecodeError> {
    Ok(r.u32()?.to_le_bytes())
}
