//! What a connection speaks. Both protocols look the same to the worker.

use std::time::Instant;

use dht_protocol::{legacy, neo};
use dht_types::Key;

use crate::alarms::Alarm;
use crate::context::Context;
use crate::legacy::LegacySession;
use crate::neo::{NeoCloseReason, NeoSession};
use crate::shared::{ConnectionCount, Shared};

/// A session pauses while so many bytes of its output wait to be sent. Its output is bounded by
/// this and one answer, or one step of a stream, more.
pub(crate) const OUTPUT_BYTES_HIGH: usize = 64 * 1024;

/// Most requests that are looked at before the first of them is executed.
pub(crate) const BATCH_REQUESTS: usize = 64;

/// From so many requests on it pays to fetch what they need into the cache first.
pub(crate) const TOGETHER_MIN: usize = 4;

/// Which protocol a socket was accepted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Legacy,
    Neo,
}

impl Protocol {
    /// The count of this protocol's connections.
    pub(crate) const fn connections(self, shared: &Shared) -> &ConnectionCount {
        match self {
            Self::Legacy => &shared.legacy_connections,
            Self::Neo => &shared.neo_connections,
        }
    }
}

/// How far a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing to do before bytes or an event arrive.
    Idle,
    /// A stream can go on, as soon as the others have had their turn and the output has room.
    Streaming,
    /// So can what was received already. Nothing more is received before.
    InputWaits,
}

/// Why a session closes its connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    #[error(transparent)]
    Legacy(#[from] legacy::CloseReason),
    #[error(transparent)]
    Neo(#[from] NeoCloseReason),
}

impl From<neo::CloseReason> for CloseReason {
    fn from(reason: neo::CloseReason) -> Self {
        Self::Neo(reason.into())
    }
}

/// One connection's conversation.
pub(crate) enum Session {
    Legacy(Box<LegacySession>),
    Neo(Box<NeoSession>),
}

impl Session {
    /// A session for a connection that was just accepted.
    pub(crate) fn new(protocol: Protocol, cx: &mut Context, now: Instant) -> Self {
        match protocol {
            Protocol::Legacy => {
                Self::Legacy(Box::new(LegacySession::new(cx.shared.settings.legacy_limits())))
            }
            Protocol::Neo => Self::Neo(Box::new(NeoSession::new(cx, now))),
        }
    }

    pub(crate) const fn protocol(&self) -> Protocol {
        match self {
            Self::Legacy(_) => Protocol::Legacy,
            Self::Neo(_) => Protocol::Neo,
        }
    }

    /// Whether bytes should be received now.
    pub(crate) const fn wants_input(&self) -> bool {
        match self {
            Self::Legacy(session) => session.wants_input(),
            Self::Neo(_) => true,
        }
    }

    /// The record that the request at the front of `input` is about, as far as that is known before
    /// it is executed.
    pub(crate) fn record_ahead<'a>(&'a self, input: &'a [u8]) -> Option<(&'a str, Key)> {
        match self {
            Self::Legacy(session) => session.record_ahead(input),
            Self::Neo(session) => session.record_ahead(input),
        }
    }

    /// Whether something may be gathering for the next flush of the Listens.
    pub(crate) const fn listens(&self) -> bool {
        match self {
            Self::Legacy(session) => session.listens(),
            Self::Neo(_) => false,
        }
    }

    /// Hands over what a Listen has gathered.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        if let Self::Legacy(session) = self {
            session.flush(out);
        }
    }

    /// Something has happened for one of the streams; the next [`Session::work`] steps it.
    pub(crate) fn wake(&mut self, stream: u64) {
        if let Self::Neo(session) = self {
            session.wake(stream);
        }
    }

    /// The node's hash range may have changed. Returns whether somebody wants to know.
    pub(crate) fn note_range_news(&mut self) -> bool {
        match self {
            Self::Legacy(_) => false,
            Self::Neo(session) => {
                session.note_range_news();
                true
            }
        }
    }

    /// Whether one of the streams waits for this alarm.
    pub(crate) fn awaits(&self, alarm: &Alarm) -> bool {
        match self {
            Self::Legacy(_) => false,
            Self::Neo(session) => session.awaits(alarm),
        }
    }

    /// There is no room for output: the streams take what would pile up elsewhere.
    pub(crate) fn gather(&mut self, cx: &Context) {
        match self {
            Self::Legacy(session) => session.gather(cx),
            Self::Neo(session) => session.gather(cx),
        }
    }

    /// Executes what `input` holds and takes it from there, and steps the streams, as long as `out`
    /// has room.
    pub(crate) fn work(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, CloseReason> {
        match self {
            Self::Legacy(session) => Ok(session.work(cx, input, out)?),
            Self::Neo(session) => Ok(session.work(cx, input, out)?),
        }
    }

    /// The connection is gone: its requests are over.
    pub(crate) fn close(&mut self, cx: &Context) {
        match self {
            Self::Legacy(session) => session.close(&cx.counters),
            Self::Neo(session) => session.close(&cx.counters),
        }
    }
}
