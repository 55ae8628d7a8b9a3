//! Listen: what is put into a channel, as it happens.

use std::net::SocketAddr;
use std::sync::Arc;

use dht_protocol::legacy::requests::{Listen, ListenItem};
use dht_protocol::legacy::{Command, Status};
use dht_storage::{Channel, Event, Interest, Subscription};
use dht_types::Key;

use super::{Outcome, Step, Stream};
use crate::context::{Context, writer};
use crate::latency::Kind;
use crate::streams::StreamEntry;

/// Most changed keys that wait for one Listen; beyond that changes are dropped, and logged.
/// Source: spec `protocol-legacy` 3.
pub(crate) const PENDING_KEYS_MAX: usize = 32_768;

/// What is gathered goes out ahead of its time when it reaches so many bytes.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// A legacy connection has one stream at most; it needs no number.
const LISTEN_STREAM: u64 = 0;

/// A Listen that is under way.
pub(crate) struct ListenStream {
    channel: Arc<Channel>,
    subscription: Subscription,
    /// Keys that changed, to be sent from the last to the first.
    pending: Vec<Key>,
    /// What waits for the next flush.
    held: Vec<u8>,
    /// Reused for taking events out of the subscription.
    events: Vec<Event>,
    peer: SocketAddr,
    /// What others see of it.
    entry: StreamEntry,
}

pub(super) fn legacy(cx: &mut Context, request: &Listen<'_>, out: &mut Vec<u8>) -> Outcome {
    let Ok(channel) = cx.channel_or_create(request.channel) else {
        Status::Error.encode(&mut writer(out));
        return Outcome::Done;
    };
    let (mailbox, conn) = (Arc::clone(&cx.mailbox), cx.conn);
    let wake = Box::new(move || mailbox.wake_stream(conn, LISTEN_STREAM));
    let subscription = channel.subscribe(Interest::Puts, PENDING_KEYS_MAX, wake);
    // Compat: the status waits for the first flush, as everything else does.
    let mut held = Vec::new();
    Status::Ok.encode(&mut writer(&mut held));
    let (pending, events, peer) = (Vec::new(), Vec::new(), cx.peer);
    let kind = Kind::Legacy(Command::Listen);
    let entry = StreamEntry::new(cx, kind, channel.name().clone(), subscription.meter());
    let stream = ListenStream { channel, subscription, pending, held, events, peer, entry };
    Outcome::Stream(Stream::Listen(Box::new(stream)))
}

impl ListenStream {
    /// Gathers what has changed. `peer_speaks`: the client has sent something, which ends the
    /// stream without an end mark.
    pub(crate) fn step(&mut self, cx: &Context, peer_speaks: bool, out: &mut Vec<u8>) -> Step {
        if peer_speaks {
            self.flush(out);
            return Step::Done;
        }
        let finished = self.subscription.is_finished();
        loop {
            // The rest of the last batch comes first, or a slow client's would grow without bound.
            // The last look finds nothing: what is left in a subscription wakes nobody again.
            if self.pending.is_empty() {
                self.take_events(cx);
            }
            let Some(key) = self.pending.pop() else { break };
            self.hold(cx, key);
            if self.held.len() >= HELD_BYTES_MAX {
                self.flush(out);
                self.entry.waits(self.pending.len(), cx.timing.turn_at);
                return Step::More;
            }
        }
        self.entry.waits(0, cx.timing.turn_at);
        if finished {
            ListenItem::Finished.encode(&mut writer(&mut self.held));
            self.flush(out);
            return Step::Done;
        }
        Step::Idle
    }

    /// There is no room for output: what waits in the subscription stays there.
    pub(crate) fn is_held_up(&self, cx: &Context) {
        self.entry.lags(cx.timing.turn_at);
    }

    /// Hands over what was gathered.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn take_events(&mut self, cx: &Context) {
        self.subscription.drain(&mut self.events);
        self.pending.extend(self.events.drain(..).map(|event| match event {
            Event::Put(key) | Event::Removed(key) => key,
        }));
        cx.counters.peaks.listen_keys.raise_to(self.pending.len() as u64);
        let dropped = self.subscription.take_dropped();
        if dropped > 0 {
            self.entry.dropped(dropped);
            log::warn!(
                target: "dhtnode.request.ListenRequest",
                "Listen request on channel '{}', client {}, hash buffer reached maximum length -- \
                 record discarded ({dropped} of them: the client reads too slowly)",
                self.channel.name(),
                self.peer
            );
        }
    }

    /// Adds a record with the value that it has now; none if it is gone.
    fn hold(&mut self, cx: &Context, key: Key) {
        let held = &mut self.held;
        let sent = self.channel.get(key, |value| {
            ListenItem::Changed(key, value).encode(&mut writer(held));
            value.len()
        });
        if sent.is_none() {
            ListenItem::Changed(key, &[]).encode(&mut writer(&mut self.held));
        }
        cx.counters.actions.forwarded.record(sent.unwrap_or(0));
    }
}
