//! Requests with one answer: which node is asked, in which order, and what several answers mean.
//!
//! While data moves a key has several nodes. A node that is not responsible any more refuses, and
//! has told who is; then the request goes there. Nothing else is ever repeated here.
//! Source: spec `protocol-neo` 10, 11.3, 16.3, `client` B.3.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dht_protocol::neo::{
    CLIENT_VALUE_BYTES_MAX, Command, Request,
    requests::{
        Exists, Get, GetChannels, NewValue, Put, Remove, RemoveChannel, Update, UpdateAction,
        UpdateMessage, fnv1a64,
    },
};
use dht_types::{ChannelName, Key};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    cluster::{Cluster, Covering, Node},
    link::Call,
    slot::Answer,
};
use crate::{Change, Error, ErrorKind, Outcomes, RequestName, Updated};

/// How often a request is sent again because the node refused it and told of other ranges.
const REROUTES_MAX: usize = 3;

/// How long a request may take; `None`: for ever.
pub(crate) type Timeout = Option<Duration>;

fn error(node: Option<&Node>, command: Command, kind: ErrorKind) -> Error {
    let node = node.map(|node| node.address.clone());
    Error { node, request: Some(RequestName::Neo(command)), kind }
}

/// Sends a request to a node and waits for its answer.
async fn ask<'a>(
    node: &Node,
    request: impl Into<Request<'a>>,
    timeout: Timeout,
) -> Result<Answer, Error> {
    let request = request.into();
    let command = request.command();
    let failed = |kind| error(Some(node), command, kind);
    let mut call = node.link.start(request, timeout).map_err(failed)?;
    (&mut call).await.map_err(failed)
}

/// What it means if a request goes wrong at a node after another one has done its part: it was not
/// done as a whole, but not for nothing either.
fn partly_done(error: Error) -> Error {
    let Error { node, request, kind } = error;
    let kind = match kind {
        ErrorKind::NotConnected
        | ErrorKind::TooManyRequests(_)
        | ErrorKind::QueueFull(_)
        | ErrorKind::ShutDown
        | ErrorKind::Disconnected { sent: false, .. } => {
            let reason = format!("{kind}; another node has done its part").into();
            ErrorKind::Disconnected { sent: true, reason }
        }
        kind => kind,
    };
    Error { node, request, kind }
}

/// What it means if an answer is not one of the request's.
fn misplaced(node: &Node, command: Command) -> Error {
    error(Some(node), command, ErrorKind::NodeError)
}

impl Cluster {
    /// Whether a request that was refused should be sent again: other ranges are known by now.
    fn has_moved<T>(&self, result: &Result<T, Error>, version: u64, reroutes: &mut usize) -> bool {
        let refused = matches!(result, Err(Error { kind: ErrorKind::WrongNode, .. }));
        *reroutes += usize::from(refused);
        refused && *reroutes <= REROUTES_MAX && self.version() != version
    }

    fn nodes_of(&self, key: Key, command: Command) -> Result<Covering, Error> {
        self.covering(key).map_err(|kind| error(None, command, kind))
    }

    pub(crate) async fn get(
        &self,
        channel: &ChannelName,
        key: Key,
        timeout: Timeout,
    ) -> Result<Option<Bytes>, Error> {
        let mut reroutes = 0;
        loop {
            let nodes = self.nodes_of(key, Command::Get)?;
            let result = find(&nodes, &Get { channel, key }.into(), timeout).await;
            let result = result.map(|found| match found {
                Some(Answer::Value(value)) => value,
                _ => None,
            });
            if !self.has_moved(&result, nodes.version, &mut reroutes) {
                return result;
            }
        }
    }

    pub(crate) async fn exists(
        &self,
        channel: &ChannelName,
        key: Key,
        timeout: Timeout,
    ) -> Result<bool, Error> {
        let mut reroutes = 0;
        loop {
            let nodes = self.nodes_of(key, Command::Exists)?;
            let result = find(&nodes, &Exists { channel, key }.into(), timeout).await;
            if !self.has_moved(&result, nodes.version, &mut reroutes) {
                return result.map(|found| found.is_some());
            }
        }
    }

    /// To the newest node alone.
    pub(crate) async fn put(
        &self,
        channel: &ChannelName,
        key: Key,
        value: &[u8],
        timeout: Timeout,
    ) -> Result<(), Error> {
        check_value(value).map_err(|kind| error(None, Command::Put, kind))?;
        let mut reroutes = 0;
        loop {
            let nodes = self.nodes_of(key, Command::Put)?;
            let put = Put { channel, key, value };
            let result = match ask(&nodes.newest, put, timeout).await {
                Ok(Answer::Done) => Ok(()),
                Ok(_) => Err(misplaced(&nodes.newest, Command::Put)),
                Err(error) => Err(error),
            };
            if !self.has_moved(&result, nodes.version, &mut reroutes) {
                return result;
            }
        }
    }

    /// All nodes that may have the record are asked, the oldest first, so that no old copy comes
    /// back; whether any of them had it.
    pub(crate) async fn remove(
        &self,
        channel: &ChannelName,
        key: Key,
        timeout: Timeout,
    ) -> Result<bool, Error> {
        let (mut reroutes, mut removed) = (0, false);
        loop {
            let nodes = self.nodes_of(key, Command::Remove)?;
            let mut result = Ok(removed);
            let away = |node: &&Arc<Node>| !node.link.is_open();
            // Nothing is removed here that would stay there.
            if let Some(node) = nodes.older.iter().chain([&nodes.newest]).find(away) {
                return Err(error(Some(node), Command::Remove, node.link.absence()));
            }
            for node in nodes.older.iter().rev().chain([&nodes.newest]) {
                match ask(node, Remove { channel, key }, timeout).await {
                    Ok(Answer::Flag(had)) => {
                        removed |= had;
                        result = Ok(removed);
                    }
                    Ok(_) => result = Err(misplaced(node, Command::Remove)),
                    Err(error) if removed => result = Err(partly_done(error)),
                    Err(error) => result = Err(error),
                }
                if result.is_err() {
                    break;
                }
            }
            if !self.has_moved(&result, nodes.version, &mut reroutes) {
                return result;
            }
        }
    }

    /// Reads a record, has `decide` look at it, and does what it says. `Conflict` is an outcome.
    pub(crate) async fn update(
        &self,
        channel: &ChannelName,
        key: Key,
        decide: &mut (dyn FnMut(&Bytes) -> Change + Send),
        timeout: Timeout,
    ) -> Result<UpdateOutcome, Error> {
        let mut reroutes = 0;
        loop {
            let nodes = self.nodes_of(key, Command::Update)?;
            let result = update_at(&nodes, channel, key, decide, timeout).await;
            if !self.has_moved(&result, nodes.version, &mut reroutes) {
                return result;
            }
        }
    }

    pub(crate) async fn remove_channel(
        &self,
        channel: &ChannelName,
        timeout: Timeout,
    ) -> Outcomes<()> {
        self.on_all(RemoveChannel { channel }, timeout, |answer| match answer {
            Answer::Done => Some(()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn channels(&self, timeout: Timeout) -> Outcomes<Vec<String>> {
        self.on_all(GetChannels, timeout, |answer| match answer {
            Answer::Names(names) => Some(names),
            _ => None,
        })
        .await
    }

    /// Asks all nodes at the same time. One whose connection is lost is asked again when it is
    /// back, as long as there is time.
    async fn on_all<'a, T>(
        &self,
        request: impl Into<Request<'a>>,
        timeout: Timeout,
        read: fn(Answer) -> Option<T>,
    ) -> Outcomes<T> {
        let (request, nodes) = (request.into(), self.nodes());
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let answers = nodes.iter().map(|node| self.until_answered(node, request, deadline));
        let answers = join_all(answers).await;
        let outcome = |(node, answer): (&Arc<Node>, Result<Answer, Error>)| {
            let result = answer
                .and_then(|answer| read(answer).ok_or_else(|| misplaced(node, request.command())));
            (node.address.clone(), result)
        };
        Outcomes::new(nodes.iter().zip(answers).map(outcome).collect())
    }

    async fn until_answered(
        &self,
        node: &Node,
        request: Request<'_>,
        deadline: Option<Instant>,
    ) -> Result<Answer, Error> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let left = deadline.map(|deadline| deadline - Instant::now());
            let result = ask(node, request, left).await;
            let lost = matches!(
                &result,
                Err(Error { kind: ErrorKind::NotConnected | ErrorKind::Disconnected { .. }, .. })
            );
            if !lost {
                return result;
            }
            let changed = changes.changed();
            let again = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, changed).await.is_ok(),
                None => changed.await.is_ok(),
            };
            if !again {
                return result;
            }
        }
    }
}

/// Asks the nodes of a key for its record, newest first; the first answer that says there is one.
/// An error ends the search, but for a node that is not connected: the others are asked, and only
/// if none has the record this is an error.
async fn find(
    nodes: &Covering,
    request: &Request<'_>,
    timeout: Timeout,
) -> Result<Option<Answer>, Error> {
    let mut away = None;
    for node in [&nodes.newest].into_iter().chain(&nodes.older) {
        match ask(node, *request, timeout).await {
            Ok(found @ (Answer::Value(Some(_)) | Answer::Flag(true))) => return Ok(Some(found)),
            Ok(Answer::Value(None) | Answer::Flag(false)) => {}
            Ok(_) => return Err(misplaced(node, request.command())),
            Err(error) if matches!(error.kind, ErrorKind::NotConnected) => away = Some(error),
            Err(error) => return Err(error),
        }
    }
    away.map_or(Ok(None), Err)
}

/// What may be put. Source: spec `protocol-neo` 10.1, 18.
fn check_value(value: &[u8]) -> Result<(), ErrorKind> {
    match value.len() {
        0 => Err(ErrorKind::EmptyValue),
        len if len > CLIENT_VALUE_BYTES_MAX => Err(ErrorKind::ValueTooBig(len)),
        _ => Ok(()),
    }
}

/// How one attempt at an Update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpdateOutcome {
    Done(Updated),
    /// Somebody else has changed the record meanwhile.
    Conflict,
}

async fn update_at(
    nodes: &Covering,
    channel: &ChannelName,
    key: Key,
    decide: &mut (dyn FnMut(&Bytes) -> Change + Send),
    timeout: Timeout,
) -> Result<UpdateOutcome, Error> {
    let mut away = None;
    for node in [&nodes.newest].into_iter().chain(&nodes.older) {
        let failed = |kind| error(Some(node), Command::Update, kind);
        let first = Update { channel, key, action: UpdateAction::GetRecord };
        let started = node.link.start(first, timeout).map_err(failed);
        let mut call = match started {
            Ok(call) => call,
            Err(error) if matches!(error.kind, ErrorKind::NotConnected) => {
                away = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let value = match (&mut call).await.map_err(failed)? {
            Answer::Record(value) => value,
            Answer::NoRecord => continue,
            _ => return Err(misplaced(node, Command::Update)),
        };
        let (message, updated) = match decide(&value) {
            Change::Write(new) => {
                check_value(&new).map_err(failed)?;
                let original_hash = fnv1a64(&value);
                if !Arc::ptr_eq(node, &nodes.newest) {
                    let moved = Moved { older: node, call, original_hash, value: &new };
                    return move_record(&nodes.newest, moved, channel, key, timeout).await;
                }
                call.decide(&UpdateMessage::UpdateRecord(NewValue { original_hash, value: &new }));
                return finish(node, &mut call, Updated::Written).await;
            }
            Change::Remove => (UpdateMessage::RemoveRecord, Updated::Removed),
            Change::Keep => (UpdateMessage::LeaveRecord, Updated::Kept),
        };
        call.decide(&message);
        return finish(node, &mut call, updated).await;
    }
    away.map_or(Ok(UpdateOutcome::Done(Updated::NoRecord)), Err)
}

/// A record that an older node has, which waits for a decision.
struct Moved<'a> {
    older: &'a Node,
    call: Call,
    original_hash: u64,
    value: &'a Bytes,
}

/// Writes a record that an older node has to the newest, and then removes it where it was.
async fn move_record(
    newest: &Node,
    moved: Moved<'_>,
    channel: &ChannelName,
    key: Key,
    timeout: Timeout,
) -> Result<UpdateOutcome, Error> {
    let Moved { older, mut call, original_hash, value } = moved;
    let action = UpdateAction::UpdateRecord(NewValue { original_hash, value });
    // If this fails, the older node is told to leave the record when `call` is dropped.
    match ask(newest, Update { channel, key, action }, timeout).await? {
        Answer::Done => {}
        Answer::Conflict => return Ok(UpdateOutcome::Conflict),
        _ => return Err(misplaced(newest, Command::Update)),
    }
    call.decide(&UpdateMessage::RemoveRecord);
    finish(older, &mut call, Updated::Written).await.map_err(partly_done)
}

async fn finish(node: &Node, call: &mut Call, updated: Updated) -> Result<UpdateOutcome, Error> {
    match call.await.map_err(|kind| error(Some(node), Command::Update, kind))? {
        Answer::Done => Ok(UpdateOutcome::Done(updated)),
        Answer::Conflict => Ok(UpdateOutcome::Conflict),
        _ => Err(misplaced(node, Command::Update)),
    }
}
