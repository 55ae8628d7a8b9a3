//! Answers that are streams: records, keys, changes; each an iterator that ends with its stream.
//!
//! An error is the last item. A stream that is dropped before its end closes its connection, since
//! the rest of the answer is still on the way. Memory: one batch, packed and unpacked.

use dht_protocol::{
    legacy::{
        ARRAY_BYTES_MAX, Command,
        batch::{self, BatchError},
        requests::{KeyField, ListenItem},
    },
    wire::{DecodeError, Reader},
};
use dht_types::Key;

use super::connection::Connection;
use crate::{Error, ErrorKind};

/// A connection that a stream borrows: closed if it is dropped before the stream's end.
#[derive(Debug)]
struct Lease<'c> {
    connection: &'c mut Connection,
    command: Command,
    over: bool,
}

impl Lease<'_> {
    /// Takes a step of the stream. After an error it is over.
    fn attempt<T>(
        &mut self,
        step: impl FnOnce(&mut Connection) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        let result = self.connection.attempt(self.command, step);
        self.over |= result.is_err();
        result
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.connection.close();
        }
    }
}

/// The batches of a GetAll, GetAllKeys or GetAllFilter; the current one unpacked.
#[derive(Debug)]
struct Batches<'c> {
    lease: Lease<'c>,
    unpacked: Vec<u8>,
    at: usize,
}

impl<'c> Batches<'c> {
    const fn new(connection: &'c mut Connection, command: Command) -> Self {
        let lease = Lease { connection, command, over: false };
        Self { lease, unpacked: Vec::new(), at: 0 }
    }

    /// The next item of the current batch, or else of the next one that has any.
    fn next<T>(
        &mut self,
        read: impl Fn(&mut Reader<'_>) -> Option<Result<T, ErrorKind>>,
    ) -> Option<Result<T, Error>> {
        while !self.lease.over {
            let mut r = Reader::new(&self.unpacked[self.at..]);
            if let Some(item) = read(&mut r) {
                self.at = self.unpacked.len() - r.rest().len();
                return Some(self.lease.attempt(|_| item));
            }
            if let Err(error) = self.receive_batch() {
                return Some(Err(error));
            }
        }
        None
    }

    /// Unpacks the next batch; at the end mark the stream is over.
    fn receive_batch(&mut self) -> Result<(), Error> {
        self.at = 0;
        let unpacked = &mut self.unpacked;
        unpacked.clear();
        let more = self.lease.attempt(|connection| {
            let unpack = |r: &mut Reader<'_>| {
                let packed = r.array("batch", ARRAY_BYTES_MAX)?;
                Ok(if packed.is_empty() { None } else { Some(batch::decompress(packed, unpacked)) })
            };
            connection.socket()?.receive(unpack)?.transpose().map_err(ErrorKind::Batch)
        })?;
        self.lease.over = more.is_none();
        Ok(())
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

/// The records of a channel, in the node's order.
#[derive(Debug)]
pub struct Records<'c>(Batches<'c>);

impl<'c> Records<'c> {
    pub(super) const fn new(connection: &'c mut Connection, command: Command) -> Self {
        Self(Batches::new(connection, command))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(Key, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|r| {
            let record = |(key, value): (_, &[u8])| Ok((parse_key(key)?, value.to_vec()));
            Some(read_item(batch::next_record(r)?, record))
        })
    }
}

/// The keys of a channel, in the node's order.
#[derive(Debug)]
pub struct Keys<'c>(Batches<'c>);

impl<'c> Keys<'c> {
    pub(super) const fn new(connection: &'c mut Connection) -> Self {
        Self(Batches::new(connection, Command::GetAllKeys))
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Key, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|r| Some(read_item(batch::next_key(r)?, parse_key)))
    }
}

fn read_item<A, B>(
    item: Result<A, BatchError>,
    parse: impl FnOnce(A) -> Result<B, ErrorKind>,
) -> Result<B, ErrorKind> {
    parse(item.map_err(ErrorKind::Batch)?)
}

/// A record that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: Key,
    /// Its value; `None` if the record was removed since.
    pub value: Option<Vec<u8>>,
}

/// The records that are put into a channel, as they come; waits for ever. It ends when the channel
/// is removed.
#[derive(Debug)]
pub struct Changes<'c>(Lease<'c>);

impl<'c> Changes<'c> {
    pub(super) const fn new(connection: &'c mut Connection) -> Self {
        Self(Lease { connection, command: Command::Listen, over: false })
    }

    fn receive(&mut self) -> Result<Option<Change>, Error> {
        self.0.attempt(|connection| {
            let socket = connection.socket()?;
            let item = socket.receive(|r| {
                Ok(match ListenItem::decode(r)? {
                    ListenItem::Finished => None,
                    ListenItem::Changed(key, value) => {
                        let value = Some(value.to_vec()).filter(|value| !value.is_empty());
                        Some(Change { key, value })
                    }
                })
            })?;
            if item.is_none() {
                socket.wait_for_ever(false)?;
            }
            Ok(item)
        })
    }
}

impl Iterator for Changes<'_> {
    type Item = Result<Change, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.over {
            return None;
        }
        let item = self.receive().transpose();
        self.0.over |= item.is_none();
        item
    }
}
