//! Mirror, of the neo protocol: every change of a channel as it happens, and all its records at the
//! start and periodically.
//!
//! What a client hears when changes were lost: the changes that were kept, and the refreshes that
//! are under way; UpdateOverflow; then what heals the loss, which the original leaves to the
//! periodic refresh: the removals that were lost, of records that are still gone, and a refresh.

mod queue;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_protocol::neo::requests::{Mirror, MirrorMessage};
use dht_protocol::neo::suspendable::Reaction;
use dht_protocol::neo::{Command, Control, Payload, RequestId, Suspendable};
use dht_storage::{Channel, Cursor, Event, Interest, Subscription};
use dht_types::Key;

use super::{NeoStream, Step};
use crate::context::Context;
use crate::latency::Kind;
use crate::session::OUTPUT_BYTES_HIGH;
use crate::streams::StreamEntry;
pub(crate) use queue::WAITING_MAX as MIRROR_CHANGES_MAX;

use queue::ChangeQueue;

/// Most changes that wait between two turns of the worker, in the subscription.
pub(crate) const MIRROR_EVENTS_MAX: usize = 1 << 20;

/// Most changes that one step sends.
const CHANGES_PER_STEP: usize = 256;

/// Most records that one step of a refresh looks at; the batch is mostly full before.
const REFRESH_RECORDS_PER_STEP: usize = 4096;

/// While changes keep coming, a refresh still gets a step after so many of them.
const CHANGES_PER_REFRESH_STEP: usize = 4096;

/// Most records that rounds of refreshes which wait for a paused client may amount to.
/// Source: spec `protocol-neo` 14.5, the size of the refresh queue.
const REFRESH_RECORDS_WAITING_MAX: u64 = 262_144;

/// Shortest time between two notices of lost changes.
const OVERFLOW_NOTICE_PERIOD: Duration = Duration::from_secs(1);

/// A Mirror that is under way.
pub(crate) struct MirrorStream {
    channel: Arc<Channel>,
    subscription: Subscription,
    state: Suspendable,
    changes: ChangeQueue,
    /// Reused for taking events out of the subscription.
    events: Vec<Event>,
    refresh: Refresh,
    /// The client was told that changes were lost: now it is told of the removals among them.
    heals: bool,
    /// Changes sent since the last step of the refresh.
    changes_since_refresh: usize,
    notice: OverflowNotice,
    /// What others see of it.
    entry: StreamEntry,
}

/// The records of the channel, as often as they are due.
struct Refresh {
    /// Where the round that is under way goes on.
    cursor: Option<Cursor>,
    /// Rounds that wait for it to end.
    rounds_waiting: u64,
    /// `None`: never by itself.
    period: Option<Duration>,
    next: Option<Instant>,
}

/// Whether the client has to be told that changes were lost.
#[derive(Default)]
struct OverflowNotice {
    due: bool,
    last: Option<Instant>,
    /// The time for which an alarm is set.
    alarm: Option<Instant>,
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &Mirror<'_>,
    out: &mut Vec<u8>,
) -> Option<NeoStream> {
    let Ok(channel) = cx.channel_or_create(request.channel) else {
        MirrorMessage::Error.write(id, out);
        return None;
    };
    let (mailbox, conn) = (Arc::clone(&cx.mailbox), cx.conn);
    let wake = Box::new(move || mailbox.wake_stream(conn, id.get()));
    let subscription = channel.subscribe(Interest::All, MIRROR_EVENTS_MAX, wake);
    MirrorMessage::Started.write(id, out);
    let period = request.periodic_refresh_s;
    let period = (period > 0).then(|| Duration::from_secs(period.into()));
    let next = period.map(|period| (cx.clock)() + period);
    if let Some(next) = next {
        cx.wake_at(next, id.get());
    }
    let mut refresh = Refresh { cursor: None, rounds_waiting: 0, period, next };
    if request.initial_refresh {
        refresh.add_round(&channel);
    }
    let kind = Kind::Neo(Command::Mirror);
    let entry = StreamEntry::new(cx, kind, channel.name().clone(), subscription.meter());
    Some(NeoStream::Mirror(Box::new(MirrorStream {
        channel,
        subscription,
        state: Suspendable::new(request.start_suspended),
        changes: ChangeQueue::default(),
        events: Vec::new(),
        refresh,
        heals: false,
        changes_since_refresh: 0,
        notice: OverflowNotice::default(),
        entry,
    })))
}

impl MirrorStream {
    pub(super) fn control(&mut self, control: Control) -> Reaction {
        self.state.control(control)
    }

    pub(super) fn awaits(&self, at: Instant) -> bool {
        [self.refresh.next, self.notice.alarm].contains(&Some(at))
    }

    pub(super) fn step(&mut self, cx: &mut Context, id: RequestId, out: &mut Vec<u8>) -> Step {
        if self.state.is_ending() {
            return Step::Idle;
        }
        // Asked before the changes are taken: afterwards there may be more of them.
        let is_removed = self.subscription.is_finished();
        self.take_changes(cx);
        if is_removed {
            // Compat: a paused client for which something waits hears of it when it resumes.
            if self.state.is_running() || !self.has_more() {
                // What waits is not sent any more: it all is gone.
                MirrorMessage::ChannelRemoved.write(id, out);
                self.state.finished();
            }
            return Step::Idle;
        }
        self.look_at_the_clock(cx, id);
        if !self.state.is_running() {
            return Step::Idle;
        }
        self.send_changes(cx, id, out);
        self.entry.waits(self.changes.len(), cx.timing.turn_at);
        let refresh_is_due =
            self.changes.is_empty() || self.changes_since_refresh >= CHANGES_PER_REFRESH_STEP;
        if refresh_is_due && out.len() < OUTPUT_BYTES_HIGH {
            self.changes_since_refresh = 0;
            self.refresh.step(cx, &self.channel, id, out);
        }
        if !self.has_more() && self.notice.send(cx, id, out) {
            self.heals = self.changes.has_lost_removals();
            // Everything that waited is sent, so no earlier removal undoes what it tells.
            self.refresh.add_round(&self.channel);
        }
        if self.has_more() { Step::More } else { Step::Idle }
    }

    /// Whether anything waits for the client that may be sent now.
    fn has_more(&self) -> bool {
        !self.changes.is_empty() || self.heals || self.refresh.is_under_way()
    }

    /// Takes the changes over from the subscription, whose room is for one turn of the worker.
    pub(super) fn take_changes(&mut self, cx: &Context) {
        self.subscription.drain(&mut self.events);
        let peaks = &cx.counters.peaks;
        peaks.mirror_events.raise_to(self.events.len() as u64);
        let lost = self.changes.extend(self.events.drain(..)) + self.subscription.take_dropped();
        peaks.mirror_changes.raise_to(self.changes.len() as u64);
        self.entry.waits(self.changes.len(), cx.timing.turn_at);
        if lost > 0 {
            self.entry.dropped(lost);
            self.notice.due = true;
        }
    }

    /// Starts the periodic refresh when it is time.
    fn look_at_the_clock(&mut self, cx: &mut Context, id: RequestId) {
        let (Some(next), Some(period)) = (self.refresh.next, self.refresh.period) else { return };
        let now = (cx.clock)();
        if now < next {
            return;
        }
        // Times that were missed are not made up for.
        let missed = now.saturating_duration_since(next).as_secs() / period.as_secs().max(1);
        let next = next + period.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
        self.refresh.next = Some(next);
        cx.wake_at(next, id.get());
        let records_waiting = (self.refresh.rounds() + 1) * self.channel.usage().records;
        if self.refresh.rounds() == 0 || records_waiting <= REFRESH_RECORDS_WAITING_MAX {
            self.refresh.add_round(&self.channel);
        }
    }

    fn send_changes(&mut self, cx: &Context, id: RequestId, out: &mut Vec<u8>) {
        for _ in 0..CHANGES_PER_STEP {
            if out.len() >= OUTPUT_BYTES_HIGH {
                return;
            }
            let Some(change) = self.changes.pop() else {
                self.send_lost_removal(cx, id, out);
                continue;
            };
            self.changes_since_refresh += 1;
            match change {
                Event::Removed(key) => MirrorMessage::RecordDeleted(key).write(id, out),
                Event::Put(key) => send_record(cx, &self.channel, key, id, out),
            }
        }
    }

    /// Tells of one removal that was lost, if it is time for these. Of a record that is back, the
    /// refresh tells.
    fn send_lost_removal(&mut self, cx: &Context, id: RequestId, out: &mut Vec<u8>) {
        if !self.heals {
            return;
        }
        if let Some(key) = self.changes.pop_lost_removal()
            && (cx.view.hides(key) || !self.channel.contains(key))
        {
            MirrorMessage::RecordDeleted(key).write(id, out);
        }
        self.heals = self.changes.has_lost_removals();
    }
}

/// Sends a record with the value that it has now; nothing if it is gone.
fn send_record(cx: &Context, channel: &Channel, key: Key, id: RequestId, out: &mut Vec<u8>) {
    let sent = channel.get(key, |value| {
        MirrorMessage::RecordChanged(key, value).write(id, out);
        value.len()
    });
    if let Some(value_bytes) = sent {
        cx.counters.actions.forwarded.record(value_bytes);
    }
}

impl Refresh {
    const fn is_under_way(&self) -> bool {
        self.cursor.is_some()
    }

    /// Rounds that are under way or wait.
    const fn rounds(&self) -> u64 {
        self.rounds_waiting + self.is_under_way() as u64
    }

    /// One more round has to follow. There is nothing to tell of an empty channel.
    fn add_round(&mut self, channel: &Channel) {
        if self.is_under_way() {
            self.rounds_waiting += 1;
        } else if channel.usage().records > 0 {
            self.cursor = Some(Cursor::START);
        }
    }

    /// Fills and sends at most one batch. None is kept for the next step: changes that are sent in
    /// between would be undone by what it holds.
    fn step(&mut self, cx: &mut Context, channel: &Channel, id: RequestId, out: &mut Vec<u8>) {
        let Some(cursor) = self.cursor else { return };
        let (batch, forwarded) = (&mut cx.codec.refresh_batch, &cx.counters.actions.forwarded);
        let view = &cx.view;
        self.cursor = channel.scan(cursor, REFRESH_RECORDS_PER_STEP, |key, value| {
            if view.hides(key) {
                return ControlFlow::Continue(());
            }
            if !batch.add(key, value) {
                return ControlFlow::Break(());
            }
            forwarded.record(value.len());
            ControlFlow::Continue(())
        });
        if !batch.is_empty() {
            batch.write(id, &mut cx.codec.compressor, out);
        }
        if self.cursor.is_none() && self.rounds_waiting > 0 {
            self.rounds_waiting -= 1;
            self.cursor = Some(Cursor::START);
        }
    }
}

impl OverflowNotice {
    /// Tells the client, unless it was told a moment ago: then the next turn after that does.
    fn send(&mut self, cx: &mut Context, id: RequestId, out: &mut Vec<u8>) -> bool {
        if !self.due {
            return false;
        }
        let now = (cx.clock)();
        if let Some(again) = self.last.map(|last| last + OVERFLOW_NOTICE_PERIOD)
            && now < again
        {
            if self.alarm != Some(again) {
                self.alarm = Some(again);
                cx.wake_at(again, id.get());
            }
            return false;
        }
        MirrorMessage::UpdateOverflow.write(id, out);
        self.due = false;
        self.last = Some(now);
        true
    }
}
