//! A request that waits for its one answer: what it is, who waits, and what replies mean.

use std::{task::Waker, time::Duration};

use bytes::Bytes;
use dht_protocol::neo::{
    Command,
    client::Reply,
    requests::{
        ExistsReply, GetChannelsMessage, GetReply, PutReply, RemoveChannelReply, RemoveReply,
        UpdateReply,
    },
};
use tokio::time::Instant;

use crate::ErrorKind;

/// Most bytes of channel names that are collected of one node.
const CHANNELS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a request with a single answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done: Put, RemoveChannel, the second half of an Update.
    Done,
    /// Get.
    Value(Option<Bytes>),
    /// Exists, Remove.
    Flag(bool),
    /// The first half of an Update; it waits for [`Link::decide`].
    Record(Bytes),
    /// An Update found no record.
    NoRecord,
    /// Somebody else has changed the record.
    Conflict,
    /// GetChannels.
    Names(Vec<String>),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) command: Command,
    pub(super) begun: Instant,
    /// How long the node may take for each of its answers.
    pub(super) timeout: Option<Duration>,
    /// When it is given up.
    pub(super) deadline: Option<Instant>,
    /// Nobody waits any more, but the node has to be told to let go of the record.
    pub(super) release: bool,
    /// Where it begins in the bytes of this connection.
    pub(super) offset: u64,
    pub(super) wait: Wait,
    /// Names that have come in for a GetChannels.
    pub(super) names: Vec<String>,
    pub(super) names_bytes: usize,
}

#[derive(Debug)]
pub(super) enum Wait {
    /// For the node; who is to be woken.
    Node(Option<Waker>),
    /// For the future to take it.
    Taker(Result<Answer, ErrorKind>),
    /// For the application's decision about an Update.
    Decision,
    /// For nothing: the future is gone.
    Nobody,
}

impl Single {
    /// What a reply means; `None`: more will come.
    pub(super) fn answer(&mut self, reply: Reply<'_>) -> Option<Result<Answer, ErrorKind>> {
        Some(match reply {
            Reply::Get(GetReply::Got(value)) => {
                Ok(Answer::Value(Some(Bytes::copy_from_slice(value))))
            }
            Reply::Get(GetReply::NoRecord) => Ok(Answer::Value(None)),
            Reply::Put(PutReply::Put) => Ok(Answer::Done),
            Reply::Exists(ExistsReply::RecordExists) => Ok(Answer::Flag(true)),
            Reply::Exists(ExistsReply::NoRecord) => Ok(Answer::Flag(false)),
            Reply::Remove(RemoveReply::Removed) => Ok(Answer::Flag(true)),
            Reply::Remove(RemoveReply::NoRecord) => Ok(Answer::Flag(false)),
            Reply::RemoveChannel(RemoveChannelReply::ChannelRemoved) => Ok(Answer::Done),
            Reply::RemoveChannel(RemoveChannelReply::NotPermitted) => Err(ErrorKind::NotPermitted),
            Reply::Update(UpdateReply::RecordValue(value)) => {
                Ok(Answer::Record(Bytes::copy_from_slice(value)))
            }
            Reply::Update(UpdateReply::Ok) => Ok(Answer::Done),
            Reply::Update(UpdateReply::NoRecord) => Ok(Answer::NoRecord),
            Reply::Update(UpdateReply::UpdateConflict) => Ok(Answer::Conflict),
            Reply::GetChannels(GetChannelsMessage::ChannelName(name)) => {
                self.names_bytes += name.len() + size_of::<String>();
                if self.names_bytes <= CHANNELS_BYTES_MAX {
                    self.names.push(String::from_utf8_lossy(name).into_owned());
                }
                return None;
            }
            Reply::GetChannels(GetChannelsMessage::Finished)
                if self.names_bytes > CHANNELS_BYTES_MAX =>
            {
                Err(ErrorKind::Value("the list of channels is too long".into()))
            }
            Reply::GetChannels(GetChannelsMessage::Finished) => {
                Ok(Answer::Names(std::mem::take(&mut self.names)))
            }
            Reply::Get(GetReply::WrongNode)
            | Reply::Put(PutReply::WrongNode)
            | Reply::Exists(ExistsReply::WrongNode)
            | Reply::Remove(RemoveReply::WrongNode)
            | Reply::Update(UpdateReply::WrongNode) => Err(ErrorKind::WrongNode),
            Reply::Unsupported(_) => Err(ErrorKind::Unsupported),
            _ => Err(ErrorKind::NodeError),
        })
    }
}
