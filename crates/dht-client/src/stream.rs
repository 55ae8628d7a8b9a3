//! Answers that are streams: records, keys, changes of all nodes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use dht_types::Key;
use futures_core::{Stream, stream::BoxStream};

use crate::{Error, NodeAddress, client::Client, neo};

/// What the streams of both protocols are made of.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    Started,
    /// Of a scan, or of a refresh.
    Record(Key, Bytes),
    Key(Key),
    Changed(Key, Bytes),
    Deleted(Key),
    UpdatesLost(NodeAddress),
    ChannelRemoved(NodeAddress),
    /// The node's connection; it is being made anew.
    Lost(Error),
    Back(NodeAddress),
    /// The node takes no part any more.
    Failed(Error),
    Finished(NodeAddress),
}

/// Where events come from.
pub(crate) enum Source {
    Neo(neo::stream::Source),
    Legacy(BoxStream<'static, StreamEvent>),
}

impl Source {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        match self {
            Self::Neo(source) => source.poll_event(cx),
            Self::Legacy(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

/// How far a stream has come at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeProgress {
    /// Its connection was lost; it goes on when there is a new one.
    Away,
    /// It was away, and goes on.
    Running,
    /// It has sent all it has.
    Finished,
    /// It was given up; the stream had the error.
    Failed,
}

/// Something that happens while all records are read. [`Scan::events`] has all of it.
#[derive(Debug)]
pub enum ScanEvent<T> {
    /// A record or a key.
    Item(T),
    /// A connection was lost. The node goes on where it was as soon as there is a new one.
    NodeLost(Error),
    /// There is a new one.
    NodeBack(NodeAddress),
    /// The node was given up: it will bring no more.
    NodeFailed(Error),
    /// The node has sent all it has.
    NodeFinished(NodeAddress),
}

/// All records, or all keys, of a channel: of all nodes at the same time, in no order.
///
/// As a [`Stream`] it has the items, and an error for each node that was given up; the other nodes
/// go on. A node whose connection is lost goes on behind the last key it has sent as soon as there
/// is a new one, so that nothing comes twice (neo alone: the legacy protocol cannot). Nodes are
/// told to pause while items wait to be taken. Dropping it stops the request on all nodes.
///
/// The values of a batch share its memory (64 KiB): whoever keeps a few of them should copy them.
pub struct Scan<T> {
    source: Source,
    /// As long as there is a stream, the connections stay.
    _client: Client,
    read: fn(Key, Bytes) -> T,
    progress: Vec<(NodeAddress, NodeProgress)>,
}

/// The records of a channel. See [`Scan`].
pub type Records = Scan<(Key, Bytes)>;
/// The keys of a channel. See [`Scan`].
pub type Keys = Scan<Key>;

impl<T> fmt::Debug for Scan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl<T> Scan<T> {
    pub(crate) const fn new(source: Source, client: Client, read: fn(Key, Bytes) -> T) -> Self {
        Self { source, _client: client, read, progress: Vec::new() }
    }

    /// The nodes of which more is to be told than that they run.
    #[must_use]
    pub fn progress(&self) -> &[(NodeAddress, NodeProgress)] {
        &self.progress
    }

    /// The same with everything that happens to nodes.
    #[must_use]
    pub const fn events(self) -> ScanEvents<T> {
        ScanEvents(self)
    }

    fn note(&mut self, node: &NodeAddress, progress: NodeProgress) {
        match self.progress.iter_mut().find(|(known, _)| known == node) {
            Some((_, known)) => *known = progress,
            None => self.progress.push((node.clone(), progress)),
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ScanEvent<T>>> {
        loop {
            let event = match ready!(self.source.poll_event(cx)) {
                None => return Poll::Ready(None),
                Some(StreamEvent::Record(key, value) | StreamEvent::Changed(key, value)) => {
                    ScanEvent::Item((self.read)(key, value))
                }
                Some(StreamEvent::Key(key)) => ScanEvent::Item((self.read)(key, Bytes::new())),
                Some(StreamEvent::Lost(error)) => ScanEvent::NodeLost(error),
                Some(StreamEvent::Back(node)) => ScanEvent::NodeBack(node),
                Some(StreamEvent::Failed(error)) => ScanEvent::NodeFailed(error),
                Some(StreamEvent::Finished(node)) => ScanEvent::NodeFinished(node),
                Some(
                    StreamEvent::Started
                    | StreamEvent::Deleted(_)
                    | StreamEvent::UpdatesLost(_)
                    | StreamEvent::ChannelRemoved(_),
                ) => continue,
            };
            match &event {
                ScanEvent::Item(_) => {}
                ScanEvent::NodeBack(node) => self.note(&node.clone(), NodeProgress::Running),
                ScanEvent::NodeFinished(node) => self.note(&node.clone(), NodeProgress::Finished),
                ScanEvent::NodeLost(error) | ScanEvent::NodeFailed(error) => {
                    let lost = matches!(event, ScanEvent::NodeLost(_));
                    let progress = if lost { NodeProgress::Away } else { NodeProgress::Failed };
                    if let Some(node) = error.node.clone() {
                        self.note(&node, progress);
                    }
                }
            }
            return Poll::Ready(Some(event));
        }
    }
}

impl<T> Stream for Scan<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let scan = self.get_mut();
        loop {
            return Poll::Ready(match ready!(scan.poll_event(cx)) {
                Some(ScanEvent::Item(item)) => Some(Ok(item)),
                Some(ScanEvent::NodeFailed(error)) => Some(Err(error)),
                Some(_) => continue,
                None => None,
            });
        }
    }
}

/// A [`Scan`] with everything that happens to nodes.
#[derive(Debug)]
pub struct ScanEvents<T>(Scan<T>);

impl<T> Stream for ScanEvents<T> {
    type Item = ScanEvent<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_event(cx)
    }
}

/// Something that a [`Mirror`] tells.
#[derive(Debug)]
pub enum MirrorEvent {
    /// Every node has begun, or is not connected. What is put from now on will be told; something
    /// may have been told before this.
    Started,
    /// A record was put; its value as it was when the node sent it.
    Updated(Key, Bytes),
    /// A record of a refresh.
    Refreshed(Key, Bytes),
    /// A record was removed.
    Deleted(Key),
    /// At least one change or deletion was lost, as the node's queue was full.
    UpdatesLost(NodeAddress),
    /// The channel was removed: this node tells nothing any more.
    ChannelRemoved(NodeAddress),
    /// A connection was lost, and with it what changes meanwhile: only a refresh covers that. The
    /// request starts anew as soon as there is a new connection.
    NodeLost(Error),
    /// There is a new one.
    NodeBack(NodeAddress),
    /// The node was given up: it will tell no more.
    NodeFailed(Error),
}

/// The changes of a channel as they come, of all nodes; for ever.
///
/// It ends when the channel was removed at all nodes, or all were given up. Nodes are told to pause
/// while events wait to be taken; they keep the changes meanwhile, up to a limit. Dropping it stops
/// the request on all nodes.
///
/// Refreshed values share the memory of their batch (64 KiB), as those of a [`Scan`] do.
pub struct Mirror {
    source: Source,
    /// As long as there is a stream, the connections stay.
    _client: Client,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mirror")
    }
}

impl Mirror {
    pub(crate) const fn new(source: Source, client: Client) -> Self {
        Self { source, _client: client }
    }
}

impl Stream for Mirror {
    type Item = MirrorEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mirror = self.get_mut();
        loop {
            return Poll::Ready(match ready!(mirror.source.poll_event(cx)) {
                None => None,
                Some(event) => Some(match event {
                    StreamEvent::Started => MirrorEvent::Started,
                    StreamEvent::Record(key, value) => MirrorEvent::Refreshed(key, value),
                    StreamEvent::Changed(key, value) => MirrorEvent::Updated(key, value),
                    StreamEvent::Deleted(key) => MirrorEvent::Deleted(key),
                    StreamEvent::UpdatesLost(node) => MirrorEvent::UpdatesLost(node),
                    StreamEvent::ChannelRemoved(node) => MirrorEvent::ChannelRemoved(node),
                    StreamEvent::Lost(error) => MirrorEvent::NodeLost(error),
                    StreamEvent::Back(node) => MirrorEvent::NodeBack(node),
                    StreamEvent::Failed(error) => MirrorEvent::NodeFailed(error),
                    StreamEvent::Key(_) | StreamEvent::Finished(_) => continue,
                }),
            });
        }
    }
}
