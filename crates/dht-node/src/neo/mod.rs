//! One connection of the neo protocol: first a greeting, then any number of requests at once.

mod batch;
mod open;

use std::time::Instant;

use dht_protocol::neo::auth::ServerHandshakeError;
use dht_protocol::neo::{self, ServerHandshake};
use dht_types::Key;

use crate::alarms::Alarm;
use crate::context::Context;
use crate::counters::Counters;
use crate::session::Progress;
pub(crate) use open::TIMED;

use open::Open;

/// The stream number under which a session is woken for itself.
const SESSION_STREAM: u64 = 0;

/// Why a neo connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NeoCloseReason {
    #[error(transparent)]
    Handshake(#[from] ServerHandshakeError),
    #[error("not authenticated in time")]
    HandshakeTimeout,
    #[error(transparent)]
    Protocol(#[from] neo::CloseReason),
}

/// See the module.
pub(crate) enum NeoSession {
    Greeting { handshake: ServerHandshake, give_up: Instant },
    Open(Box<Open>),
}

impl NeoSession {
    /// Waits for the client's version, and not for ever.
    pub(crate) fn new(cx: &mut Context, now: Instant) -> Self {
        let give_up = now + cx.shared.settings.neo_auth_timeout;
        cx.wake_at(give_up, SESSION_STREAM);
        Self::Greeting { handshake: ServerHandshake::new(nonce()), give_up }
    }

    pub(crate) fn wake(&mut self, stream: u64) {
        if let Self::Open(open) = self {
            open.wake(stream);
        }
    }

    /// The record that `input` is about, if it is one request of those that are answered at once.
    pub(crate) fn record_ahead<'a>(&self, input: &'a [u8]) -> Option<(&'a str, Key)> {
        match self {
            Self::Greeting { .. } => None,
            Self::Open(open) => open.record_ahead(input),
        }
    }

    /// Whether something waits for this alarm.
    pub(crate) fn awaits(&self, alarm: &Alarm) -> bool {
        match self {
            Self::Greeting { give_up, .. } => {
                alarm.stream == SESSION_STREAM && alarm.at == *give_up
            }
            Self::Open(open) => open.awaits(alarm),
        }
    }

    /// The node's hash range may have changed.
    pub(crate) fn note_range_news(&mut self) {
        if let Self::Open(open) = self {
            open.note_range_news();
        }
    }

    pub(crate) fn gather(&mut self, cx: &Context) {
        if let Self::Open(open) = self {
            open.gather(cx);
        }
    }

    pub(crate) fn work(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, NeoCloseReason> {
        if let Self::Greeting { handshake, give_up } = self {
            let credentials = cx.shared.credentials();
            let key_of = |name: &str| credentials.key(name);
            match handshake.receive(input, (cx.unix_time)(), key_of, out)? {
                Some(name) => *self = Self::Open(Box::new(Open::new(&name))),
                None if (cx.clock)() >= *give_up => return Err(NeoCloseReason::HandshakeTimeout),
                None => return Ok(Progress::Idle),
            }
        }
        match self {
            Self::Open(open) => Ok(open.work(cx, input, out)?),
            Self::Greeting { .. } => Ok(Progress::Idle),
        }
    }

    pub(crate) fn close(&mut self, counters: &Counters) {
        if let Self::Open(open) = self {
            open.close(counters);
        }
    }
}

/// Four bytes that nobody can guess, new for each connection.
fn nonce() -> neo::auth::Nonce {
    getrandom::u32().expect("the system has random numbers").to_le_bytes()
}
