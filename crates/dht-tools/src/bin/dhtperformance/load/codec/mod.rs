//! Protocols: a request to bytes, bytes to an outcome. No sockets, no time.

mod legacy;
mod memcached;
mod neo;
mod resp;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dht_client::ClientCredentials;
use dht_protocol::{
    neo::{auth::ClientHandshakeError, frame::FrameError},
    wire::DecodeError,
};
use dht_types::ChannelName;

use super::{Kind, Op, Outcome};

/// What the servers speak.
#[derive(Debug, Clone)]
pub(crate) enum Protocol {
    Legacy,
    Neo(Arc<ClientCredentials>),
    /// Of redis and valkey. Channels do not exist there.
    Resp,
    /// The text protocol of memcached. Nor there.
    Memcached,
}

impl Protocol {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Neo(_) => "neo",
            Self::Resp => "resp",
            Self::Memcached => "memcached",
        }
    }

    /// Requests that one connection can carry at once.
    pub(crate) const fn pipeline_max(&self) -> usize {
        match self {
            Self::Legacy => 1,
            Self::Neo(_) => neo::PIPELINE_MAX,
            Self::Resp | Self::Memcached => 10_000,
        }
    }

    pub(crate) const fn can(&self, kind: Kind) -> bool {
        !matches!((self, kind), (Self::Memcached, Kind::Exists))
    }

    /// For a new connection. `pipeline` requests will be in flight at most.
    pub(super) fn codec(&self, channel: &ChannelName, pipeline: usize) -> Box<dyn Codec> {
        match self {
            Self::Legacy => Box::new(legacy::Legacy::new(channel.clone())),
            Self::Neo(credentials) => {
                Box::new(neo::Neo::new(channel.clone(), Arc::clone(credentials), pipeline))
            }
            Self::Resp => Box::new(resp::Resp::default()),
            Self::Memcached => Box::new(memcached::Memcached::default()),
        }
    }
}

/// Which of a connection's requests: below the pipeline's depth.
pub(crate) type Slot = u32;

/// One connection's state.
pub(crate) trait Codec: Send + std::fmt::Debug {
    /// Plays the client's part of a greeting; `true` when requests may be sent. Called when the
    /// connection is there, and with what arrives. `unix_s` is the time in seconds since 1970.
    fn greet(
        &mut self,
        _input: &mut &[u8],
        _unix_s: u64,
        _out: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        Ok(true)
    }

    /// Appends a request. Its slot is free.
    fn send(&mut self, slot: Slot, op: Op, value: &[u8], out: &mut Vec<u8>);

    /// Takes bytes from the front of `input` up to the end of some request; `None` asks for more.
    fn reply(&mut self, input: &mut &[u8]) -> Result<Option<(Slot, Outcome)>, Broken>;

    /// Nobody waits for this request any more. `false`: then the connection must be closed, as
    /// replies come in order.
    fn forget(&mut self, slot: Slot) -> bool;
}

/// Why a connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the reply cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the reply cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("authentication failed: {0}")]
    Greeting(#[from] ClientHandshakeError),
    #[error("the reply cannot be read: it begins with {0:?}")]
    Text(String),
    #[error("a reply that nobody waits for")]
    Unasked,
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(std::io::ErrorKind),
    #[error("cannot connect: {0}")]
    Connect(std::io::ErrorKind),
    #[error("another request over this connection timed out")]
    OtherTimedOut,
}

/// The first bytes of a text that is none.
fn garbled(input: &[u8]) -> Broken {
    Broken::Text(String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned())
}

/// Longest line of a text protocol that is waited for, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Longest value that is waited for, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The line at the front of `input`, without its end, and how long it is with that.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Broken> {
    match input.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && input[end - 1] == b'\r' => Ok(Some((&input[..end - 1], end + 1))),
        None if input.len() < LINE_BYTES_MAX => Ok(None),
        _ => Err(garbled(input)),
    }
}

/// A length in decimal digits.
fn length(text: &[u8]) -> Result<usize, Broken> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|len| *len <= VALUE_BYTES_MAX).ok_or_else(|| garbled(text))
}

/// Appends a number in decimal digits.
fn push_number(out: &mut Vec<u8>, number: usize) {
    use std::io::Write as _;
    write!(out, "{number}").expect("memory takes it");
}
