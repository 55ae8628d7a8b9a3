//! Requests that run on all nodes and bring a stream: GetAll, Mirror.
//!
//! ```text
//! Source   what an application polls; it unpacks batches
//!   Core     one part for each node, those included that turn up later
//!     Part     waits for a connection, or runs on one, or is over       <- driver: events
//!       Shared   the request; the queue of what has come in
//! ```
//!
//! Back-pressure is on the wire: a part with more than [`Limits::stream_bytes_high`] in the queue
//! is suspended, and resumed when it has a quarter of that left. A part whose connection is lost
//! waits for the next one; a GetAll then goes on behind the last key that came in.
//!
//! Lock order: link, part, queue. Source: spec `protocol-neo` 14, 16.5.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use dht_protocol::{
    neo::{
        self, Command, Control, Request, RequestId,
        batch::{self, BatchError},
        client::{Event, Reply},
        requests::{GetAll, GetAllMessage, Mirror, MirrorMessage},
    },
    wire::Reader,
};
use dht_types::{ChannelName, Key};
use tokio::time::{Instant, Sleep};

use super::cluster::Node;
use crate::{Error, ErrorKind, Limits, RequestName, stream::StreamEvent};

/// What the queue of a part may hold whatever its limits are: a node that sends more although it
/// was told to stop breaks the protocol.
const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that an item takes in the queue besides its value.
const ITEM_BYTES: usize = 64;

/// What is asked of every node.
#[derive(Debug, Clone)]
pub(crate) enum Spec {
    GetAll { channel: ChannelName, keys_only: bool, filter: Bytes },
    Mirror { channel: ChannelName, initial_refresh: bool, periodic_refresh_s: u32 },
}

impl Spec {
    pub(crate) const fn command(&self) -> Command {
        match self {
            Self::GetAll { .. } => Command::GetAll,
            Self::Mirror { .. } => Command::Mirror,
        }
    }
}

/// What has come in of a node.
#[derive(Debug)]
enum Item {
    /// Of a GetAll or of a refresh, compressed.
    Batch(Bytes),
    Changed(Key, Bytes),
    Deleted(Key),
    UpdatesLost,
    ChannelRemoved,
    Lost(ErrorKind),
    Back,
    Failed(ErrorKind),
    Finished,
}

impl Item {
    fn bytes(&self) -> usize {
        ITEM_BYTES
            + match self {
                Self::Batch(bytes) | Self::Changed(_, bytes) => bytes.len(),
                _ => 0,
            }
    }
}

#[derive(Debug)]
struct Shared {
    spec: Spec,
    limits: Limits,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(Arc<Part>, Item)>,
    consumer: Option<Waker>,
    /// Nobody wants anything any more.
    stopping: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one node has to do with a stream.
#[derive(Debug)]
pub(crate) struct Part {
    node: Arc<Node>,
    shared: Arc<Shared>,
    state: Mutex<PartState>,
}

#[derive(Debug)]
struct PartState {
    phase: Phase,
    /// In the queue.
    queued_bytes: usize,
    /// The last batch that had anything in it: a new connection goes on behind its last key.
    last_batch: Option<Bytes>,
    /// Since when there has been no connection.
    away_since: Option<Instant>,
    /// The application was told that the node is lost.
    was_lost: bool,
    /// The application was told that the node takes no part any more, or will be.
    given_up: bool,
    /// It was told: what is still in the queue is nobody's.
    was_given_up: bool,
}

impl PartState {
    fn is_over(&self) -> bool {
        self.given_up || self.phase == Phase::Over
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running { id: RequestId, started: bool, suspended: bool, stopped: bool },
    Over,
}

impl Part {
    fn new(node: Arc<Node>, shared: Arc<Shared>) -> Self {
        let state = PartState {
            phase: Phase::Waiting,
            queued_bytes: 0,
            last_batch: None,
            away_since: Some(Instant::now()),
            was_lost: false,
            given_up: false,
            was_given_up: false,
        };
        Self { node, shared, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, PartState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self) -> Command {
        self.shared.spec.command()
    }

    /// A connection is there: has `start` send the request, unless it runs or is over.
    pub(crate) fn start(
        self: &Arc<Self>,
        start: impl FnOnce(&Request<'_>) -> Result<RequestId, ErrorKind>,
    ) -> Option<(RequestId, Command)> {
        let mut state = self.state();
        if state.phase != Phase::Waiting {
            return None;
        }
        if self.shared.queue().stopping || state.given_up {
            state.phase = Phase::Over;
            return None;
        }
        let suspended = state.queued_bytes > self.shared.limits.stream_bytes_high;
        let request = match &self.shared.spec {
            Spec::GetAll { channel, keys_only, filter } => Request::GetAll(GetAll {
                start_suspended: suspended,
                channel,
                continue_from: state.last_batch.as_ref().and_then(|b| last_key(b, *keys_only)),
                keys_only: *keys_only,
                filter,
            }),
            Spec::Mirror { channel, initial_refresh, periodic_refresh_s } => {
                Request::Mirror(Mirror {
                    start_suspended: suspended,
                    channel,
                    initial_refresh: *initial_refresh,
                    periodic_refresh_s: *periodic_refresh_s,
                })
            }
        };
        match start(&request) {
            Ok(id) => {
                state.phase = Phase::Running { id, started: false, suspended, stopped: false };
                Some((id, self.command()))
            }
            // The connection has gone meanwhile; there will be another one.
            Err(ErrorKind::NotConnected) => None,
            Err(kind) => {
                state.phase = Phase::Over;
                let waker = self.push(&mut state, Item::Failed(kind));
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                None
            }
        }
    }

    /// Appends an item; who is to be woken.
    fn push(self: &Arc<Self>, state: &mut PartState, item: Item) -> Option<Waker> {
        let mut queue = self.shared.queue();
        if queue.stopping {
            return None;
        }
        state.queued_bytes += item.bytes();
        queue.items.push_back((Arc::clone(self), item));
        queue.consumer.take()
    }

    /// Something has arrived.
    pub(crate) fn event(self: &Arc<Self>, event: &Event<'_>, wakers: &mut Vec<Waker>) {
        let mut state = self.state();
        if matches!(
            event.reply,
            Reply::GetAll(GetAllMessage::Started) | Reply::Mirror(MirrorMessage::Started)
        ) && let Phase::Running { started, .. } = &mut state.phase
        {
            *started = true;
        }
        if state.given_up {
            if event.is_last {
                state.phase = Phase::Over;
            }
            return;
        }
        let item = match event.reply {
            Reply::GetAll(GetAllMessage::Started) | Reply::Mirror(MirrorMessage::Started) => {
                state.away_since = None;
                // The consumer may wait for this as for any item.
                wakers.extend(self.shared.queue().consumer.take());
                if !std::mem::take(&mut state.was_lost) {
                    return;
                }
                Item::Back
            }
            Reply::Controlled(Control::Stop) => {
                state.phase = Phase::Over;
                return;
            }
            Reply::Controlled(_) => return,
            Reply::GetAll(GetAllMessage::RecordBatch(packed)) => {
                // The last batch may be empty: the length of its records comes first.
                if packed.iter().take(8).all(|byte| *byte == 0) {
                    return;
                }
                let packed = Bytes::copy_from_slice(packed);
                state.last_batch = Some(packed.clone());
                Item::Batch(packed)
            }
            Reply::GetAll(GetAllMessage::Finished) => Item::Finished,
            Reply::Mirror(MirrorMessage::RecordRefreshBatch(packed)) => {
                Item::Batch(Bytes::copy_from_slice(packed))
            }
            Reply::Mirror(MirrorMessage::RecordChanged(key, value)) => {
                Item::Changed(key, Bytes::copy_from_slice(value))
            }
            Reply::Mirror(MirrorMessage::RecordDeleted(key)) => Item::Deleted(key),
            Reply::Mirror(MirrorMessage::UpdateOverflow) => Item::UpdatesLost,
            Reply::Mirror(MirrorMessage::ChannelRemoved) => Item::ChannelRemoved,
            Reply::Unsupported(_) => Item::Failed(ErrorKind::Unsupported),
            _ => Item::Failed(ErrorKind::NodeError),
        };
        if event.is_last {
            state.phase = Phase::Over;
        }
        wakers.extend(self.push(&mut state, item));
        if state.queued_bytes > QUEUE_BYTES_MAX && !state.is_over() {
            state.given_up = true;
            let kind = ErrorKind::QueueFull(state.queued_bytes);
            wakers.extend(self.push(&mut state, Item::Failed(kind)));
        }
    }

    /// The connection has gone.
    pub(crate) fn lost(self: &Arc<Self>, reason: &Arc<str>, wakers: &mut Vec<Waker>) {
        let mut state = self.state();
        if state.phase == Phase::Over {
            return;
        }
        if self.shared.queue().stopping || state.given_up {
            state.phase = Phase::Over;
            return;
        }
        state.phase = Phase::Waiting;
        state.away_since = Some(Instant::now());
        if !std::mem::replace(&mut state.was_lost, true) {
            let kind = ErrorKind::Disconnected { sent: true, reason: Arc::clone(reason) };
            wakers.extend(self.push(&mut state, Item::Lost(kind)));
        }
    }

    /// Sends the control message that is due, unless one is on its way.
    pub(crate) fn pump(&self, client: &mut neo::Client, out: &mut Vec<u8>) {
        let mut state = self.state();
        let (queued, given_up) = (state.queued_bytes, state.given_up);
        let Phase::Running { id, suspended, stopped, .. } = &mut state.phase else { return };
        let high = self.shared.limits.stream_bytes_high;
        let stopping = given_up || self.shared.queue().stopping;
        let control = if stopping && !*stopped {
            Control::Stop
        } else if stopping || *stopped {
            return;
        } else if !*suspended && queued > high {
            Control::Suspend
        } else if *suspended && queued <= high / 4 {
            Control::Resume
        } else {
            return;
        };
        // Not started yet, or a message is on its way: its Ack calls again.
        if client.control(*id, control, out).is_ok() {
            *suspended = control == Control::Suspend;
            *stopped = control == Control::Stop;
        }
    }

    /// The application has taken so many bytes. `false`: it does not want them any more.
    fn taken(&self, bytes: usize) -> bool {
        let mut state = self.state();
        state.queued_bytes -= bytes;
        let low = self.shared.limits.stream_bytes_high / 4;
        let resume = matches!(state.phase, Phase::Running { suspended: true, .. })
            && state.queued_bytes <= low;
        let wanted = !state.was_given_up;
        drop(state);
        if resume {
            self.node.link.pump_stream(self);
        }
        wanted
    }

    /// Gives the node up.
    fn give_up(self: &Arc<Self>, kind: ErrorKind) -> StreamEvent {
        {
            let mut state = self.state();
            (state.given_up, state.was_given_up) = (true, true);
        }
        self.node.link.pump_stream(self);
        StreamEvent::Failed(self.error(kind))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        let (node, request) = (self.node.address.clone(), RequestName::Neo(self.command()));
        Error { node: Some(node), request: Some(request), kind }
    }
}

/// The last key of a batch; `None` if it is damaged, which the application will be told.
fn last_key(packed: &[u8], keys_only: bool) -> Option<Key> {
    let mut records = Vec::new();
    batch::decompress(packed, &mut records).ok()?;
    let (mut r, mut last) = (Reader::new(&records), None);
    if keys_only {
        while let Some(key) = batch::next_key(&mut r) {
            last = Some(key.ok()?);
        }
    } else {
        while let Some(record) = batch::next_record(&mut r) {
            last = Some(record.ok()?.0);
        }
    }
    last
}

/// A stream over all nodes.
#[derive(Debug)]
pub(crate) struct Core {
    shared: Arc<Shared>,
    parts: Mutex<Vec<Arc<Part>>>,
}

impl Core {
    pub(crate) fn new(spec: Spec, limits: Limits) -> Self {
        let queue = Mutex::new(Queue::default());
        Self { shared: Arc::new(Shared { spec, limits, queue }), parts: Mutex::default() }
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Arc<Part>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this node take part, if it does not yet, and starts it if it is connected.
    pub(crate) fn attach(&self, node: &Arc<Node>) {
        let part = {
            let mut parts = self.parts();
            if let Some(part) = parts.iter().find(|part| Arc::ptr_eq(&part.node, node)) {
                Arc::clone(part)
            } else {
                let part = Arc::new(Part::new(Arc::clone(node), Arc::clone(&self.shared)));
                parts.push(Arc::clone(&part));
                part
            }
        };
        node.link.start_stream(&part);
    }

    /// There will be no connections any more.
    pub(crate) fn shut_down(&self) {
        for part in self.parts().iter() {
            let mut state = part.state();
            if !state.is_over() {
                state.given_up = true;
                let waker = part.push(&mut state, Item::Failed(ErrorKind::ShutDown));
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Ends the request on all nodes.
    fn stop(&self) {
        let items = {
            let mut queue = self.shared.queue();
            queue.stopping = true;
            std::mem::take(&mut queue.items)
        };
        drop(items);
        for part in self.parts().iter() {
            part.node.link.pump_stream(part);
        }
    }
}

/// The application's end of a stream. Dropping it stops the request on all nodes.
#[derive(Debug)]
pub(crate) struct Source {
    core: Arc<Core>,
    unpacking: Option<Unpacking>,
    announced: bool,
    /// Wakes us when a node has been away for too long.
    patience: Option<Pin<Box<Sleep>>>,
    /// How long a node may be away; `None`: for ever.
    patience_limit: Option<std::time::Duration>,
}

#[derive(Debug)]
struct Unpacking {
    part: Arc<Part>,
    records: Bytes,
    at: usize,
}

impl Source {
    pub(crate) const fn new(core: Arc<Core>, patience: Option<std::time::Duration>) -> Self {
        Self { core, unpacking: None, announced: false, patience: None, patience_limit: patience }
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        loop {
            if let Some(event) = self.unpack() {
                return Poll::Ready(Some(event));
            }
            if !self.announced && self.has_started() {
                self.announced = true;
                return Poll::Ready(Some(StreamEvent::Started));
            }
            let Some((part, item)) = self.take(cx) else { break };
            if !part.taken(item.bytes()) {
                continue;
            }
            let node = || part.node.address.clone();
            return Poll::Ready(Some(match item {
                Item::Batch(packed) => match decompress(&packed) {
                    Ok(records) => {
                        self.unpacking = Some(Unpacking { part, records, at: 0 });
                        continue;
                    }
                    Err(error) => part.give_up(ErrorKind::Batch(error)),
                },
                Item::Changed(key, value) => StreamEvent::Changed(key, value),
                Item::Deleted(key) => StreamEvent::Deleted(key),
                Item::UpdatesLost => StreamEvent::UpdatesLost(node()),
                Item::ChannelRemoved => StreamEvent::ChannelRemoved(node()),
                Item::Lost(kind) => StreamEvent::Lost(part.error(kind)),
                Item::Back => StreamEvent::Back(node()),
                Item::Failed(kind) => StreamEvent::Failed(part.error(kind)),
                Item::Finished => StreamEvent::Finished(node()),
            }));
        }
        self.poll_patience(cx)
    }

    fn take(&self, cx: &Context<'_>) -> Option<(Arc<Part>, Item)> {
        let mut queue = self.core.shared.queue();
        let item = queue.items.pop_front();
        if item.is_none() {
            queue.consumer = Some(cx.waker().clone());
        }
        item
    }

    /// Whether every node has begun or is not connected.
    fn has_started(&self) -> bool {
        let starting =
            |part: &Arc<Part>| matches!(part.state().phase, Phase::Running { started: false, .. });
        !self.core.parts().iter().any(starting)
    }

    /// Nothing is in the queue: is that all, or is a node away for too long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        let parts = self.core.parts().clone();
        if parts.iter().all(|part| part.state().is_over()) {
            // Something may have been queued since we looked.
            let over = self.core.shared.queue().items.is_empty();
            return if over { Poll::Ready(None) } else { self.poll_event(cx) };
        }
        let Some(limit) = self.patience_limit else { return Poll::Pending };
        let waiting = |part: &Arc<Part>| {
            let state = part.state();
            (state.phase == Phase::Waiting && !state.given_up).then_some(state.away_since).flatten()
        };
        let first =
            parts.iter().filter_map(|part| Some((waiting(part)?, part))).min_by_key(|p| p.0);
        let Some((since, part)) = first else { return Poll::Pending };
        let Some(end) = since.checked_add(limit) else { return Poll::Pending };
        let mut sleep = Box::pin(tokio::time::sleep_until(end));
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(part.give_up(ErrorKind::Away(limit))));
        }
        self.patience = Some(sleep);
        Poll::Pending
    }

    /// The next record of the batch that is being read.
    fn unpack(&mut self) -> Option<StreamEvent> {
        let unpacking = self.unpacking.as_mut()?;
        let records = &unpacking.records;
        let mut r = Reader::new(&records[unpacking.at..]);
        let slice = |value: &[u8]| records.slice_ref(value);
        let event = match &self.core.shared.spec {
            Spec::GetAll { keys_only: true, .. } => {
                batch::next_key(&mut r).map(|key| key.map(StreamEvent::Key))
            }
            Spec::GetAll { .. } => batch::next_record(&mut r)
                .map(|record| record.map(|(key, value)| StreamEvent::Record(key, slice(value)))),
            Spec::Mirror { .. } => batch::next_refreshed(&mut r)
                .map(|record| record.map(|(key, value)| StreamEvent::Record(key, slice(value)))),
        };
        unpacking.at = records.len() - r.rest().len();
        match event {
            Some(Ok(event)) => Some(event),
            Some(Err(error)) => {
                let part = Arc::clone(&unpacking.part);
                self.unpacking = None;
                Some(part.give_up(ErrorKind::Batch(error)))
            }
            None => {
                self.unpacking = None;
                None
            }
        }
    }
}

fn decompress(packed: &[u8]) -> Result<Bytes, BatchError> {
    let mut records = Vec::new();
    batch::decompress(packed, &mut records)?;
    Ok(records.into())
}

impl Drop for Source {
    fn drop(&mut self) {
        self.core.stop();
    }
}
