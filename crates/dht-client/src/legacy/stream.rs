//! Answers that are streams, of all nodes at the same time: records, keys, changes.
//!
//! Each node has a connection of its own for it. A stream that is not polled is not read, and TCP
//! slows the node down: this protocol has no other way. A scan cannot go on where it was when its
//! connection is lost, so the node is given up; a Listen starts anew.
//! Source: spec `protocol-legacy` 13.6, `client` A.7 (ChannelMirror).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dht_protocol::{
    legacy::{
        ARRAY_BYTES_MAX, Command,
        batch::{self, BatchError},
        requests::{GetAll, GetAllFilter, GetAllKeys, KeyField, Listen, ListenItem},
    },
    wire::{DecodeError, Reader},
};
use dht_types::{ChannelName, Key};
use futures_core::stream::BoxStream;
use futures_util::{
    StreamExt as _,
    stream::{self, select_all},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    cluster::{Cluster, Node},
    conn::Conn,
};
use crate::{Error, ErrorKind, MirrorOptions, backoff::Backoff, stats::End, stream::StreamEvent};

/// All records or keys of a channel.
pub(crate) fn scan(
    cluster: &Arc<Cluster>,
    channel: &ChannelName,
    keys_only: bool,
    filter: Bytes,
) -> BoxStream<'static, StreamEvent> {
    let what = What { channel: channel.clone(), keys_only, filter };
    let nodes = cluster.nodes.iter().map(|node| {
        let scan = NodeScan::new(cluster, node, what.clone());
        stream::unfold(scan, async |mut scan| Some((scan.next().await?, scan))).boxed()
    });
    until_shut_down(cluster, select_all(nodes))
}

/// The changes of a channel, and its records now and then.
pub(crate) fn mirror(
    cluster: &Arc<Cluster>,
    channel: &ChannelName,
    options: MirrorOptions,
) -> BoxStream<'static, StreamEvent> {
    let mut streams = Vec::new();
    for node in &cluster.nodes {
        let signals = Arc::new(Signals::default());
        let listen = NodeListen {
            cluster: Arc::clone(cluster),
            node: Arc::clone(node),
            channel: channel.clone(),
            signals: Arc::clone(&signals),
            conn: None,
            counting: None,
            backoff: Backoff::default(),
            reported: false,
            lost: false,
        };
        streams.push(
            stream::unfold(listen, async |mut listen| Some((listen.next().await?, listen))).boxed(),
        );
        let refresh = NodeRefresh {
            cluster: Arc::clone(cluster),
            node: Arc::clone(node),
            channel: channel.clone(),
            options,
            signals,
            scan: None,
        };
        streams.push(
            stream::unfold(refresh, async |mut refresh| Some((refresh.next().await?, refresh)))
                .boxed(),
        );
    }
    let mut missing = cluster.nodes.len();
    let events = select_all(streams).filter_map(move |event| {
        // Told once, when the last node has begun or could not.
        let told = match event {
            StreamEvent::Started => {
                missing -= 1;
                (missing == 0).then_some(StreamEvent::Started)
            }
            event => Some(event),
        };
        std::future::ready(told)
    });
    until_shut_down(cluster, events)
}

fn until_shut_down(
    cluster: &Cluster,
    events: impl futures_core::Stream<Item = StreamEvent> + Send + 'static,
) -> BoxStream<'static, StreamEvent> {
    let mut shut_down = cluster.shut_down.subscribe();
    events.take_until(Box::pin(async move { drop(shut_down.wait_for(|over| *over).await) })).boxed()
}

/// No single wait for a node takes longer than a request may.
async fn within<T>(
    limit: Option<Duration>,
    wait: impl Future<Output = Result<T, ErrorKind>>,
) -> Result<T, ErrorKind> {
    match limit {
        None => wait.await,
        Some(limit) => {
            tokio::time::timeout(limit, wait).await.unwrap_or(Err(ErrorKind::TimedOut(limit)))
        }
    }
}

/// Another connection to a node, whose version is checked first.
async fn open(cluster: &Cluster, node: &Node) -> Result<Conn, ErrorKind> {
    cluster.check(node).await.map_err(|error| error.kind)?;
    node.pool.open().await
}

/// Counts the end of a stream; one that is dropped before counts as that.
#[derive(Debug)]
struct Counting {
    node: Arc<Node>,
    command: Command,
    begun: Instant,
    end: End,
}

impl Counting {
    fn start(node: &Arc<Node>, command: Command) -> Self {
        node.pool.count(command, |counts| counts.started += 1);
        Self { node: Arc::clone(node), command, begun: Instant::now(), end: End::Dropped }
    }

    fn end(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.node.pool.count(self.command, |counts| counts.end(self.end, took));
    }
}

/// What a scan asks for.
#[derive(Debug, Clone)]
struct What {
    channel: ChannelName,
    keys_only: bool,
    filter: Bytes,
}

impl What {
    const fn command(&self) -> Command {
        match (self.keys_only, self.filter.is_empty()) {
            (true, _) => Command::GetAllKeys,
            (false, true) => Command::GetAll,
            (false, false) => Command::GetAllFilter,
        }
    }
}

/// The scan of one node.
#[derive(Debug)]
struct NodeScan {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    what: What,
    conn: Option<Conn>,
    counting: Option<Counting>,
    records: Bytes,
    at: usize,
    over: bool,
}

impl NodeScan {
    fn new(cluster: &Arc<Cluster>, node: &Arc<Node>, what: What) -> Self {
        let (cluster, node) = (Arc::clone(cluster), Arc::clone(node));
        let (conn, counting, records) = (None, None, Bytes::new());
        Self { cluster, node, what, conn, counting, records, at: 0, over: false }
    }

    async fn next(&mut self) -> Option<StreamEvent> {
        while !self.over {
            match self.step().await {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(kind) => {
                    self.over = true;
                    self.end(if matches!(kind, ErrorKind::Status(_)) {
                        End::Answered
                    } else {
                        End::Lost
                    });
                    let command = self.what.command();
                    return Some(StreamEvent::Failed(self.node.pool.error(command, kind)));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<StreamEvent>, ErrorKind> {
        if let Some(event) = self.unpack() {
            return event.map(Some);
        }
        if self.conn.is_none() {
            let mut conn = open(&self.cluster, &self.node).await?;
            self.counting = Some(Counting::start(&self.node, self.what.command()));
            within(self.cluster.limits.request_timeout, self.start(&mut conn)).await?;
            self.conn = Some(conn);
        }
        let Some(conn) = &mut self.conn else { return Ok(None) };
        let read = |r: &mut Reader<'_>| r.array("batch", ARRAY_BYTES_MAX).map(<[u8]>::to_vec);
        let packed = within(self.cluster.limits.request_timeout, conn.receive(read)).await?;
        self.node.pool.count_bytes(conn);
        if packed.is_empty() {
            self.over = true;
            self.end(End::Answered);
            return Ok(Some(StreamEvent::Finished(self.node.pool.address.clone())));
        }
        let mut records = Vec::new();
        batch::decompress(&packed, &mut records).map_err(ErrorKind::Batch)?;
        (self.records, self.at) = (records.into(), 0);
        Ok(None)
    }

    fn end(&mut self, end: End) {
        if let Some(counting) = self.counting.take() {
            counting.end(end);
        }
    }

    async fn start(&self, conn: &mut Conn) -> Result<(), ErrorKind> {
        let channel = self.what.channel.as_str();
        match self.what.command() {
            Command::GetAllKeys => conn.start(&GetAllKeys { channel }).await,
            Command::GetAll => conn.start(&GetAll { channel }).await,
            _ => conn.start(&GetAllFilter { channel, filter: &self.what.filter }).await,
        }
    }

    /// The next record of the batch that is being read.
    fn unpack(&mut self) -> Option<Result<StreamEvent, ErrorKind>> {
        let mut r = Reader::new(&self.records[self.at..]);
        let event = if self.what.keys_only {
            batch::next_key(&mut r)?.map_err(ErrorKind::Batch).and_then(parse_key).map(|key| {
                // A filter of keys alone is not in the protocol; nobody asks for it.
                StreamEvent::Key(key)
            })
        } else {
            let record: Result<(KeyField, &[u8]), BatchError> = batch::next_record(&mut r)?;
            record.map_err(ErrorKind::Batch).and_then(|(key, value)| {
                Ok(StreamEvent::Record(parse_key(key)?, self.records.slice_ref(value)))
            })
        };
        self.at = self.records.len() - r.rest().len();
        Some(event)
    }
}

fn parse_key(field: KeyField) -> Result<Key, ErrorKind> {
    match field {
        KeyField::Key(key) => Ok(key),
        KeyField::Malformed(_) => {
            Err(ErrorKind::Protocol(DecodeError::Malformed { field: "key of a record" }))
        }
    }
}

/// What a Listen tells the refreshes of the same node.
#[derive(Debug, Default)]
struct Signals {
    /// The Listen runs (again): what was put before is only in a refresh.
    started: Notify,
    over: AtomicBool,
}

/// The Listen of one node.
#[derive(Debug)]
struct NodeListen {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    channel: ChannelName,
    signals: Arc<Signals>,
    conn: Option<Conn>,
    counting: Option<Counting>,
    backoff: Backoff,
    /// The first attempt has ended, well or not.
    reported: bool,
    lost: bool,
}

impl NodeListen {
    async fn next(&mut self) -> Option<StreamEvent> {
        if self.signals.over.load(Relaxed) {
            return None;
        }
        loop {
            let Some(conn) = &mut self.conn else {
                if let Some(event) = self.connect().await {
                    return Some(event);
                }
                continue;
            };
            let item = conn
                .receive(|r| {
                    Ok(match ListenItem::decode(r)? {
                        ListenItem::Finished => None,
                        ListenItem::Changed(key, value) => {
                            Some((key, Bytes::copy_from_slice(value)))
                        }
                    })
                })
                .await;
            self.node.pool.count_bytes(conn);
            return Some(match item {
                Ok(Some((key, value))) if value.is_empty() => StreamEvent::Deleted(key),
                Ok(Some((key, value))) => StreamEvent::Changed(key, value),
                Ok(None) => {
                    self.end(End::Answered);
                    self.signals.over.store(true, Relaxed);
                    self.signals.started.notify_one();
                    StreamEvent::ChannelRemoved(self.node.pool.address.clone())
                }
                Err(kind) => {
                    self.conn = None;
                    self.end(End::Lost);
                    self.lost = true;
                    StreamEvent::Lost(self.error(kind))
                }
            });
        }
    }

    fn error(&self, kind: ErrorKind) -> Error {
        self.node.pool.error(Command::Listen, kind)
    }

    fn end(&mut self, end: End) {
        if let Some(counting) = self.counting.take() {
            counting.end(end);
        }
    }

    /// One attempt. `None`: nothing to be told.
    async fn connect(&mut self) -> Option<StreamEvent> {
        let listen = async {
            let mut conn = open(&self.cluster, &self.node).await?;
            let counting = Counting::start(&self.node, Command::Listen);
            let channel = self.channel.as_str();
            within(self.cluster.limits.request_timeout, conn.start(&Listen { channel })).await?;
            Ok::<_, ErrorKind>((conn, counting))
        };
        let result = listen.await;
        let first = !std::mem::replace(&mut self.reported, true);
        match result {
            Ok((conn, counting)) => {
                (self.conn, self.counting) = (Some(conn), Some(counting));
                self.backoff.reset();
                self.signals.started.notify_one();
                if std::mem::take(&mut self.lost) {
                    return Some(StreamEvent::Back(self.node.pool.address.clone()));
                }
            }
            Err(_) => {
                self.lost = true;
                if !first {
                    tokio::time::sleep(self.backoff.next()).await;
                }
            }
        }
        first.then_some(StreamEvent::Started)
    }
}

/// The refreshes of one node.
#[derive(Debug)]
struct NodeRefresh {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    channel: ChannelName,
    options: MirrorOptions,
    signals: Arc<Signals>,
    scan: Option<NodeScan>,
}

impl NodeRefresh {
    async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if self.signals.over.load(Relaxed) {
                return None;
            }
            if let Some(scan) = &mut self.scan {
                match scan.next().await {
                    Some(record @ StreamEvent::Record(..)) => return Some(record),
                    // The Listen tells of lost connections, and starts another refresh then.
                    Some(_) => continue,
                    None => self.scan = None,
                }
            }
            if !self.wait().await {
                return None;
            }
            let (channel, filter) = (self.channel.clone(), Bytes::new());
            let what = What { channel, keys_only: false, filter };
            self.scan = Some(NodeScan::new(&self.cluster, &self.node, what));
        }
    }

    /// Waits for the next refresh. `false`: there will be none.
    async fn wait(&self) -> bool {
        let MirrorOptions { initial_refresh, periodic_refresh } = self.options;
        loop {
            let started = self.signals.started.notified();
            if periodic_refresh.is_zero() {
                if !initial_refresh {
                    return false;
                }
                started.await;
                return true;
            }
            match tokio::time::timeout(periodic_refresh, started).await {
                Err(_) => return true,
                Ok(()) if initial_refresh => return true,
                Ok(()) => {}
            }
        }
    }
}
