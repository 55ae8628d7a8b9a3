//! Answers that are streams: records, keys, changes; each an iterator that ends with its stream.
//!
//! An error is the last item. `stop` ends a stream early and keeps the connection; a stream that is
//! just dropped closes it, since the rest is still on the way. Memory: one batch, packed and
//! unpacked. Source: spec `protocol-neo` 14, 15.

use dht_protocol::{
    neo::{
        Command, Control, Request, RequestId,
        batch::{self, BatchError},
        client::Reply,
        requests::{self, GetAll, GetAllMessage, MirrorMessage},
    },
    wire::Reader,
};
use dht_types::Key;

use super::{connection::Connection, link::failure};
use crate::{Error, ErrorKind};

/// A connection that a stream borrows: closed if it is dropped before the stream's end.
#[derive(Debug)]
struct Lease<'c> {
    connection: &'c mut Connection,
    command: Command,
    id: RequestId,
    over: bool,
}

impl<'c> Lease<'c> {
    /// Sends the request, and waits for its Started.
    fn start<'a>(
        connection: &'c mut Connection,
        request: impl Into<Request<'a>>,
    ) -> Result<Self, Error> {
        let request = request.into();
        let command = request.command();
        let id = connection.attempt(command, |link| {
            let id = link.start(request)?;
            link.event(id, |reply| match reply {
                Reply::GetAll(GetAllMessage::Started) | Reply::Mirror(MirrorMessage::Started) => {
                    Ok(id)
                }
                other => Err(failure(other)),
            })?
        })?;
        Ok(Self { connection, command, id, over: false })
    }

    /// Waits for the next event and has `read` look at it. After an error the stream is over.
    fn event<T>(
        &mut self,
        read: impl FnOnce(Reply<'_>) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        let id = self.id;
        let event = self.connection.attempt(self.command, |link| link.event(id, read)?);
        self.over |= event.is_err();
        event
    }

    /// An item that was read from a batch; a damaged one ends the stream and the connection.
    fn checked<T>(&mut self, item: Result<T, ErrorKind>) -> Result<T, Error> {
        let item = self.connection.attempt(self.command, |_| item);
        self.over |= item.is_err();
        item
    }

    /// Has the node stop, and reads what is still on the way.
    fn stop(&mut self) -> Result<(), Error> {
        if self.over {
            return Ok(());
        }
        let id = self.id;
        self.connection.attempt(self.command, |link| link.control(id, Control::Stop))?;
        while !self.over {
            self.over = self.event(|reply| Ok(is_end(reply)))?;
        }
        self.connection.attempt(self.command, |link| link.wait_for_ever(false))
    }
}

const fn is_end(reply: Reply<'_>) -> bool {
    matches!(
        reply,
        Reply::Controlled(Control::Stop)
            | Reply::GetAll(GetAllMessage::Finished)
            | Reply::Mirror(MirrorMessage::ChannelRemoved)
    )
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.connection.close();
        }
    }
}

/// The batch that is being read.
#[derive(Debug, Default)]
struct Unpacked {
    bytes: Vec<u8>,
    at: usize,
}

impl Unpacked {
    fn replace(&mut self, packed: &[u8]) -> Result<(), ErrorKind> {
        self.at = 0;
        self.bytes.clear();
        batch::decompress(packed, &mut self.bytes).map_err(ErrorKind::Batch)
    }

    /// The next item; `None` at the end of the batch.
    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'_>) -> Option<Result<T, BatchError>>,
    ) -> Option<Result<T, ErrorKind>> {
        let mut r = Reader::new(&self.bytes[self.at..]);
        let item = read(&mut r)?;
        self.at = self.bytes.len() - r.rest().len();
        Some(item.map_err(ErrorKind::Batch))
    }
}

/// The batches of a GetAll.
#[derive(Debug)]
struct Batches<'c> {
    lease: Lease<'c>,
    unpacked: Unpacked,
}

impl<'c> Batches<'c> {
    fn start(connection: &'c mut Connection, request: &GetAll<'_>) -> Result<Self, Error> {
        let lease = Lease::start(connection, *request)?;
        Ok(Self { lease, unpacked: Unpacked::default() })
    }

    /// The next item of the current batch, or else of the next one that has any.
    fn next<T>(
        &mut self,
        read: impl Fn(&mut Reader<'_>) -> Option<Result<T, BatchError>>,
    ) -> Option<Result<T, Error>> {
        while !self.lease.over {
            if let Some(item) = self.unpacked.next(&read) {
                return Some(self.lease.checked(item));
            }
            let unpacked = &mut self.unpacked;
            let more = self.lease.event(|reply| match reply {
                Reply::GetAll(GetAllMessage::RecordBatch(packed)) => {
                    unpacked.replace(packed).map(|()| true)
                }
                Reply::GetAll(GetAllMessage::Finished) => Ok(false),
                other => Err(failure(other)),
            });
            match more {
                Ok(more) => self.lease.over = !more,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

/// The records of a channel, in the node's order.
#[derive(Debug)]
pub struct Records<'c>(Batches<'c>);

impl<'c> Records<'c> {
    pub(super) fn start(
        connection: &'c mut Connection,
        request: &GetAll<'_>,
    ) -> Result<Self, Error> {
        Batches::start(connection, request).map(Self)
    }

    /// Ends it early: the connection can go on at once.
    pub fn stop(mut self) -> Result<(), Error> {
        self.0.lease.stop()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(Key, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|r| Some(batch::next_record(r)?.map(|(key, value)| (key, value.to_vec()))))
    }
}

/// The keys of a channel, in the node's order.
#[derive(Debug)]
pub struct Keys<'c>(Batches<'c>);

impl<'c> Keys<'c> {
    pub(super) fn start(
        connection: &'c mut Connection,
        request: &GetAll<'_>,
    ) -> Result<Self, Error> {
        Batches::start(connection, request).map(Self)
    }

    /// Ends it early: the connection can go on at once.
    pub fn stop(mut self) -> Result<(), Error> {
        self.0.lease.stop()
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Key, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(batch::next_key)
    }
}

/// Something that a Mirror tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorEvent {
    /// A record was put; its value as it was when the node sent it.
    Updated(Key, Vec<u8>),
    /// A record of a refresh.
    Refreshed(Key, Vec<u8>),
    /// A record was removed.
    Deleted(Key),
    /// At least one change or deletion was lost: the node's queue was full.
    UpdatesLost,
    /// The channel was removed; nothing follows.
    ChannelRemoved,
}

/// The changes of a channel, as they come; waits for ever. It ends when the channel is removed.
#[derive(Debug)]
pub struct Mirror<'c> {
    lease: Lease<'c>,
    refreshed: Unpacked,
}

impl<'c> Mirror<'c> {
    pub(super) fn start(
        connection: &'c mut Connection,
        request: &requests::Mirror<'_>,
    ) -> Result<Self, Error> {
        let lease = Lease::start(connection, *request)?;
        lease.connection.attempt(Command::Mirror, |link| link.wait_for_ever(true))?;
        Ok(Self { lease, refreshed: Unpacked::default() })
    }

    /// Ends it early: the connection can go on at once.
    pub fn stop(mut self) -> Result<(), Error> {
        self.lease.stop()
    }

    /// The next event; `None`: a batch of refreshed records.
    fn receive(&mut self) -> Result<Option<MirrorEvent>, Error> {
        let refreshed = &mut self.refreshed;
        let event = self.lease.event(|reply| match reply {
            Reply::Mirror(MirrorMessage::RecordChanged(key, value)) => {
                Ok(Some(MirrorEvent::Updated(key, value.to_vec())))
            }
            Reply::Mirror(MirrorMessage::RecordDeleted(key)) => Ok(Some(MirrorEvent::Deleted(key))),
            Reply::Mirror(MirrorMessage::RecordRefreshBatch(packed)) => {
                refreshed.replace(packed).map(|()| None)
            }
            Reply::Mirror(MirrorMessage::UpdateOverflow) => Ok(Some(MirrorEvent::UpdatesLost)),
            Reply::Mirror(MirrorMessage::ChannelRemoved) => Ok(Some(MirrorEvent::ChannelRemoved)),
            other => Err(failure(other)),
        })?;
        if event == Some(MirrorEvent::ChannelRemoved) {
            self.lease.over = true;
            self.lease.connection.attempt(Command::Mirror, |link| link.wait_for_ever(false))?;
        }
        Ok(event)
    }
}

impl Iterator for Mirror<'_> {
    type Item = Result<MirrorEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.lease.over {
            let refreshed = self.refreshed.next(|r| {
                let record = batch::next_refreshed(r)?;
                Some(record.map(|(key, value)| MirrorEvent::Refreshed(key, value.to_vec())))
            });
            if let Some(event) = refreshed {
                return Some(self.lease.checked(event));
            }
            if let Some(event) = self.receive().transpose() {
                return Some(event);
            }
        }
        None
    }
}
