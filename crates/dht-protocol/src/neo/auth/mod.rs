//! The greeting: both sides say their version, then the client proves that it has a key.
//!
//! ```text
//! client -> node   01                                    one raw byte each; who finds more than
//! node -> client   01                                    one in its buffer then closes
//! client -> node   u64 seconds since 1970                \
//! node -> client   4 random bytes                         | framed, type 2
//! client -> node   array name, 64 bytes code              |
//! node -> client   1 accepted, 0 rejected                /
//!
//! code = HMAC-SHA-512(key, time: 8 bytes | nonce: 4 bytes)
//! ```
//!
//! Neither side sends a step before it has the other's. Clock and nonce are arguments.
//! Invariant: from outside, no rejection looks different from any other.
//! Source: spec `protocol-neo` 2, 4.

mod client;
mod server;

pub use client::{ClientHandshake, ClientHandshakeError};
use hmac::{Hmac, KeyInit, Mac};
pub use server::{Rejection, ServerHandshake, ServerHandshakeError};
use sha2::Sha512;

use super::frame::{self, AUTH_BODY_BYTES_MAX, FrameError, FrameKind, Header};
use crate::wire::{DecodeError, Reader, Writer};

/// The only version there is.
pub const VERSION: u8 = 1;

/// Most bytes that may wait in a buffer before a client is accepted: far more than the greeting
/// needs, and little enough for thousands of strangers.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 64 * 1024;

/// Longest client name, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 100;

/// Largest difference between the clocks of client and node, in seconds.
pub const CLOCK_DIFFERENCE_S_MAX: u64 = 30 * 60;

/// A client's secret. Just the block size of the hash, so it is used as it is.
pub type AuthKey = [u8; 128];

/// What a node draws for each connection. It must not be guessable.
pub type Nonce = [u8; 4];

const CODE_BYTES: usize = 64;

/// The client's proof, not finished yet: for making it or checking it.
fn mac(key: &AuthKey, time: u64, nonce: Nonce) -> Hmac<Sha512> {
    let mut mac = Hmac::new_from_slice(key).expect("an HMAC takes keys of any length");
    mac.update(&time.to_le_bytes());
    mac.update(&nonce);
    mac
}

fn write_message(out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    frame::write_frame(out, FrameKind::Authentication, body);
}

/// What went wrong on the way to a message, on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A header that breaks the rules.
    #[error("bad message header: {0}")]
    Frame(#[from] FrameError),
    /// The time for these has not come.
    #[error("request message before the end of the authentication")]
    Request,
    /// Too short or too long.
    #[error("malformed authentication message: {0}")]
    Body(#[from] DecodeError),
}

/// Takes the peer's version from the front of `input`, where it must be alone. `None`: it has not
/// come. `Err`: how many bytes there were.
fn take_version(input: &mut &[u8]) -> Result<Option<u8>, usize> {
    match **input {
        [] => Ok(None),
        [version] => {
            *input = &[];
            Ok(Some(version))
        }
        _ => Err(input.len()),
    }
}

/// Takes the body of the next message, which must be one of authentication, and reads all of it.
/// `None`: it has not come as a whole.
fn take_message<'a, T>(
    input: &mut &'a [u8],
    fields: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, MessageError> {
    // Of a request's message the header is enough to refuse it: nobody waits for its body.
    let Some(header) = Header::peek(input, frame::REPLY_BODY_BYTES_MAX)? else { return Ok(None) };
    if header.kind == FrameKind::Request {
        return Err(MessageError::Request);
    }
    let Some(frame) = frame::next_frame(input)? else { return Ok(None) };
    let mut r = Reader::new(frame.body);
    let fields = fields(&mut r)?;
    if r.is_empty() {
        Ok(Some(fields))
    } else {
        Err(DecodeError::TooLong {
            field: "authentication message",
            len: frame.body.len() as u64,
            max: frame.body.len() - r.rest().len(),
        }
        .into())
    }
}

/// The client's name and code.
fn name_and_code<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    Ok((r.array("client name", AUTH_BODY_BYTES_MAX)?, r.bytes(CODE_BYTES)?))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
