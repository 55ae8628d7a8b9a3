//! Requests that took long: one line in the log, and the last of them for the admin page.
//!
//! Which request of a turn took longest is noted as it ends; whether that was too long is known
//! when the answers are sent. So nothing is copied but the name of a channel, once or twice a turn,
//! and nothing at all while nobody watches.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrayvec::ArrayString;
use dht_types::Key;

use crate::context::UnixTime;
use crate::latency::Kind;

/// The log name of slow requests.
const SLOW_LOG: &str = "dhtnode.request.Slow";

/// Slow requests that are remembered.
const REMEMBERED_MAX: usize = 64;

/// A worker tells of one slow request in this time; the others are counted.
const TELL_PERIOD: Duration = Duration::from_millis(200);

/// Longest name of a channel that is noted; a valid one is not longer.
const NAME_BYTES_MAX: usize = dht_types::CHANNEL_NAME_BYTES_MAX;

/// The request of a turn that took longest to handle.
#[derive(Debug)]
pub(crate) struct Slowest {
    kind: Option<Kind>,
    took: Duration,
    channel: ArrayString<NAME_BYTES_MAX>,
    key: Option<Key>,
}

impl Slowest {
    const fn new() -> Self {
        Self { kind: None, took: Duration::ZERO, channel: ArrayString::new_const(), key: None }
    }

    pub(crate) const fn forget(&mut self) {
        self.kind = None;
        self.took = Duration::ZERO;
    }
}

/// A slow request that was told of.
#[derive(Debug, Clone)]
pub(crate) struct SlowRequest {
    /// Seconds since 1970.
    pub(crate) unix_time: u64,
    pub(crate) protocol: &'static str,
    pub(crate) request: &'static str,
    /// Of the one that took longest to handle of those that were answered together; empty if it is
    /// about none.
    pub(crate) channel: String,
    pub(crate) key: Option<Key>,
    pub(crate) peer: SocketAddr,
    /// From its first byte to its last.
    pub(crate) took: Duration,
    /// What of it the node was busy with that one request.
    pub(crate) handling: Duration,
    /// Requests of the kind that were answered together.
    pub(crate) count: u64,
}

/// The last slow requests of all workers.
#[derive(Debug, Default)]
pub(crate) struct SlowRequests(Mutex<VecDeque<SlowRequest>>);

impl SlowRequests {
    fn push(&self, request: SlowRequest) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == REMEMBERED_MAX {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    /// The last one first.
    pub(crate) fn last(&self) -> Vec<SlowRequest> {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().rev().cloned().collect()
    }
}

/// A worker's eye on slow requests.
#[derive(Debug)]
pub(crate) struct SlowWatch {
    /// A request is slow from here on; none: nobody watches.
    threshold: Option<Duration>,
    all: Arc<SlowRequests>,
    unix_time: UnixTime,
    slowest: Option<Box<Slowest>>,
    next_tell: Option<Instant>,
    untold: u64,
}

impl SlowWatch {
    pub(crate) fn new(
        threshold: Option<Duration>,
        all: Arc<SlowRequests>,
        unix_time: UnixTime,
    ) -> Self {
        Self { threshold, all, unix_time, slowest: None, next_tell: None, untold: 0 }
    }

    /// Whether somebody watches.
    pub(crate) const fn is_on(&self) -> bool {
        self.threshold.is_some()
    }

    #[inline]
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        self.threshold.is_some_and(|threshold| took >= threshold)
    }

    /// A request is over; it kept the worker busy for so long.
    #[inline]
    pub(crate) fn note(&mut self, kind: Kind, record: Option<(&str, Option<Key>)>, took: Duration) {
        if self.threshold.is_none() {
            return;
        }
        let slowest = self.slowest.get_or_insert_with(|| Box::new(Slowest::new()));
        if slowest.kind.is_some() && slowest.took >= took {
            return;
        }
        (slowest.kind, slowest.took) = (Some(kind), took);
        let (channel, key) = record.unwrap_or(("", None));
        slowest.channel.clear();
        // A name that is too long is refused, so nobody asks for it.
        let _ = slowest.channel.try_push_str(channel);
        slowest.key = key;
    }

    /// The turn of a connection is over: it keeps what was noted, if that took longer than what it
    /// has kept of turns before.
    pub(crate) fn hand_over(&mut self, kept: &mut Option<Box<Slowest>>) {
        let Some(own) = &mut self.slowest else { return };
        let Some(kind) = own.kind else { return };
        match kept {
            Some(kept) if kept.kind.is_some() && kept.took >= own.took => {}
            Some(kept) => std::mem::swap(kept, own),
            None => *kept = self.slowest.replace(Box::new(Slowest::new())),
        }
        debug_assert!(kept.as_ref().is_some_and(|kept| kept.kind.is_some()), "{kind:?} is kept");
        if let Some(own) = &mut self.slowest {
            own.forget();
        }
    }

    /// Tells of requests that were slow, unless the last time was a moment ago.
    pub(crate) fn tell(
        &mut self,
        kind: Kind,
        took: Duration,
        count: u64,
        slowest: Option<&Slowest>,
        peer: SocketAddr,
        now: Instant,
    ) {
        if self.next_tell.is_some_and(|at| now < at) {
            self.untold += count;
            return;
        }
        self.next_tell = Some(now + TELL_PERIOD);
        let slowest = slowest.filter(|slowest| slowest.kind == Some(kind));
        let request = SlowRequest {
            unix_time: (self.unix_time)(),
            protocol: kind.protocol(),
            request: kind.name(),
            channel: slowest.map_or_else(String::new, |slowest| slowest.channel.to_string()),
            key: slowest.and_then(|slowest| slowest.key),
            peer,
            took,
            handling: slowest.map_or(Duration::ZERO, |slowest| slowest.took),
            count,
        };
        self.log(&request);
        self.all.push(request);
    }

    fn log(&mut self, request: &SlowRequest) {
        let SlowRequest { protocol, request: name, channel, peer, count, .. } = request;
        let key = request.key.map_or_else(String::new, |key| format!(", key {:#018x}", key.0));
        let about = if channel.is_empty() {
            String::new()
        } else {
            format!(", the longest on channel '{channel}'{key}")
        };
        let untold = std::mem::take(&mut self.untold);
        let others = if untold > 0 {
            format!(" ({untold} more since the last line)")
        } else {
            String::new()
        };
        log::warn!(
            target: SLOW_LOG,
            "Slow: {count} {protocol} {name} of {peer} took {:.1} ms from the first byte to the \
             last, {:.1} ms of it in the handler{about}{others}",
            request.took.as_secs_f64() * 1e3,
            request.handling.as_secs_f64() * 1e3,
        );
    }
}
