//! A node's side of the greeting.

use hmac::Mac;

use super::{
    AuthKey, CLIENT_NAME_BYTES_MAX, CLOCK_DIFFERENCE_S_MAX, MessageError, Nonce,
    UNAUTHENTICATED_BYTES_MAX, VERSION, mac, name_and_code, take_message, take_version,
    write_message,
};
use crate::wire::Reader;

/// Greets one client. Made when its connection is accepted.
#[derive(Debug)]
pub struct ServerHandshake {
    nonce: Nonce,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Version,
    Time,
    /// Waits for name and code; the client's clock and ours when it said so.
    Code {
        time: u64,
        now: u64,
    },
}

/// Why the connection has to be closed. What was appended to the output goes out first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerHandshakeError {
    /// More than [`UNAUTHENTICATED_BYTES_MAX`].
    #[error("{0} bytes before the end of the authentication")]
    TooMuch(usize),
    /// The client did not wait for our version. Nothing is sent.
    #[error("{0} bytes where the protocol version alone was expected")]
    VersionNotAlone(usize),
    /// Not [`VERSION`]. Ours is sent.
    #[error("the client has protocol version {0}, we have {VERSION}")]
    Version(u8),
    /// A message that breaks the rules. Nothing is sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The client was told that it is rejected, and not why.
    #[error("client {name:?} is rejected: {why}")]
    Rejected {
        /// The name as sent, at most [`CLIENT_NAME_BYTES_MAX`] bytes of it.
        name: String,
        /// For the log.
        why: Rejection,
    },
}

/// Why a client was rejected. Source: spec `protocol-neo` 4.2; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No name.
    #[error("its name is empty")]
    NoName,
    /// Longer than [`CLIENT_NAME_BYTES_MAX`].
    #[error("its name has {0} bytes")]
    NameTooLong(usize),
    /// Not among the credentials.
    #[error("its name is unknown")]
    UnknownName,
    /// Does not fit the original's time type.
    #[error("its clock says {0}")]
    TimeOutOfRange(u64),
    /// Zero.
    #[error("its clock is not set")]
    NoTime,
    /// More than [`CLOCK_DIFFERENCE_S_MAX`].
    #[error("its clock differs from ours by {0} s")]
    ClockDifference(u64),
    /// Another key than ours for this name.
    #[error("its key is wrong")]
    WrongKey,
}

impl ServerHandshake {
    /// Waits for the client's version. The nonce is random, and new for each connection.
    #[must_use]
    pub const fn new(nonce: Nonce) -> Self {
        Self { nonce, stage: Stage::Version }
    }

    /// Goes on with what has arrived; what was taken is gone from `input`. `now` is the time in
    /// seconds since 1970. `Some`: the client's name; it is accepted, and the rest of `input` is
    /// the first of its requests. `None`: more bytes, please.
    ///
    /// Whatever comes back, what was appended to `out` must be sent.
    pub fn receive<'k>(
        &mut self,
        input: &mut &[u8],
        now: u64,
        key_of: impl FnOnce(&str) -> Option<&'k AuthKey>,
        out: &mut Vec<u8>,
    ) -> Result<Option<String>, ServerHandshakeError> {
        if input.len() > UNAUTHENTICATED_BYTES_MAX {
            return Err(ServerHandshakeError::TooMuch(input.len()));
        }
        loop {
            match self.stage {
                Stage::Version => {
                    let version = take_version(input);
                    let version = version.map_err(ServerHandshakeError::VersionNotAlone)?;
                    let Some(version) = version else { return Ok(None) };
                    out.push(VERSION);
                    if version != VERSION {
                        return Err(ServerHandshakeError::Version(version));
                    }
                    self.stage = Stage::Time;
                }
                Stage::Time => {
                    let Some(time) = take_message(input, Reader::u64)? else { return Ok(None) };
                    write_message(out, |w| w.bytes(&self.nonce));
                    self.stage = Stage::Code { time, now };
                }
                Stage::Code { time, now } => {
                    let message = take_message(input, name_and_code)?;
                    let Some((name, code)) = message else { return Ok(None) };
                    let judged = judge(name, code, key_of, time, self.nonce, now);
                    write_message(out, |w| w.bool(judged.is_ok()));
                    return judged.map(Some).map_err(|why| {
                        let shown = &name[..name.len().min(CLIENT_NAME_BYTES_MAX)];
                        let name = String::from_utf8_lossy(shown).into_owned();
                        ServerHandshakeError::Rejected { name, why }
                    });
                }
            }
        }
    }
}

/// Decides. The code is computed for unknown names too, and compared in constant time, so that
/// neither the answer nor its delay says which part was wrong.
fn judge<'k>(
    name: &[u8],
    code: &[u8],
    key_of: impl FnOnce(&str) -> Option<&'k AuthKey>,
    time: u64,
    nonce: Nonce,
    now: u64,
) -> Result<String, Rejection> {
    const NOBODYS_KEY: AuthKey = [0; 128];
    let text = std::str::from_utf8(name).ok();
    let key = text.and_then(|name| if name.is_empty() { None } else { key_of(name) });
    let code_is_right = mac(key.unwrap_or(&NOBODYS_KEY), time, nonce).verify_slice(code).is_ok();
    if name.is_empty() {
        return Err(Rejection::NoName);
    }
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(Rejection::NameTooLong(name.len()));
    }
    let (Some(text), Some(_)) = (text, key) else { return Err(Rejection::UnknownName) };
    if i64::try_from(time).is_err() {
        return Err(Rejection::TimeOutOfRange(time));
    }
    if time == 0 {
        return Err(Rejection::NoTime);
    }
    let difference = time.abs_diff(now);
    if difference > CLOCK_DIFFERENCE_S_MAX {
        return Err(Rejection::ClockDifference(difference));
    }
    if code_is_right { Ok(text.to_owned()) } else { Err(Rejection::WrongKey) }
}
