//! Update: a record that was read, and what becomes of it.
//!
//! The node waits for our decision as long as the connection lives; so a record that is dropped
//! without one closes the connection. Source: spec `protocol-neo` 11.

use dht_protocol::neo::{
    Command, RequestId,
    client::Reply,
    requests::{NewValue, Update, UpdateAction, UpdateMessage, UpdateReply, fnv1a64},
};
use dht_types::{ChannelName, Key};

use super::{
    connection::{Connection, check_value},
    link::failure,
};
use crate::{Error, ErrorKind};

/// What becomes of a record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This value replaces it, if it is still as it was read, or gone.
    Write(Vec<u8>),
    /// It goes, even if somebody else changed it meanwhile: the protocol has no hash here.
    Remove,
    /// It stays as it is.
    Leave,
}

/// How an Update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum UpdateOutcome {
    /// What was decided is done.
    Done,
    /// There is no such record; nobody was asked what to do.
    NoRecord,
    /// Somebody else changed the record meanwhile: nothing was written.
    Conflict,
}

/// A record that was read, whose node waits for a decision.
#[derive(Debug)]
pub(super) struct PendingUpdate<'c> {
    connection: &'c mut Connection,
    id: RequestId,
    value: Vec<u8>,
    decided: bool,
}

impl<'c> PendingUpdate<'c> {
    /// Reads the record; `None` if there is none.
    pub(super) fn start(
        connection: &'c mut Connection,
        channel: &ChannelName,
        key: Key,
    ) -> Result<Option<Self>, Error> {
        let request = Update { channel, key, action: UpdateAction::GetRecord };
        let (id, value) = connection.attempt(Command::Update, |link| {
            let id = link.start(request)?;
            let value = link.event(id, |reply| match reply {
                Reply::Update(UpdateReply::RecordValue(value)) => Ok(Some(value.to_vec())),
                Reply::Update(UpdateReply::NoRecord) => Ok(None),
                other => Err(update_failure(other)),
            })??;
            Ok((id, value))
        })?;
        Ok(value.map(|value| Self { connection, id, value, decided: false }))
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// How the node will recognise that nobody has changed it.
    pub(super) fn hash(&self) -> u64 {
        fnv1a64(&self.value)
    }

    /// Replaces it, if it is still as it was read.
    pub(super) fn write(self, value: &[u8]) -> Result<UpdateOutcome, Error> {
        if let Err(kind) = check_value(value) {
            let error = self.connection.error(Command::Update, kind);
            self.leave()?;
            return Err(error);
        }
        let original_hash = self.hash();
        self.decide(&UpdateMessage::UpdateRecord(NewValue { original_hash, value }))
    }

    pub(super) fn remove(self) -> Result<(), Error> {
        self.decide(&UpdateMessage::RemoveRecord).map(drop)
    }

    pub(super) fn leave(self) -> Result<(), Error> {
        self.decide(&UpdateMessage::LeaveRecord).map(drop)
    }

    fn decide(mut self, message: &UpdateMessage<'_>) -> Result<UpdateOutcome, Error> {
        self.decided = true;
        let id = self.id;
        self.connection.attempt(Command::Update, |link| {
            link.update(id, message)?;
            link.event(id, outcome)?
        })
    }
}

impl Drop for PendingUpdate<'_> {
    fn drop(&mut self) {
        if !self.decided {
            self.connection.close();
        }
    }
}

/// Writes a record that was read from another node: the second node of a two-node Update.
pub(super) fn write_here(
    connection: &mut Connection,
    channel: &ChannelName,
    key: Key,
    new: NewValue<'_>,
) -> Result<UpdateOutcome, Error> {
    if let Err(kind) = check_value(new.value) {
        return Err(connection.error(Command::Update, kind));
    }
    let action = UpdateAction::UpdateRecord(new);
    connection.call(Update { channel, key, action }, outcome)
}

fn outcome(reply: Reply<'_>) -> Result<UpdateOutcome, ErrorKind> {
    match reply {
        Reply::Update(UpdateReply::Ok) => Ok(UpdateOutcome::Done),
        Reply::Update(UpdateReply::UpdateConflict) => Ok(UpdateOutcome::Conflict),
        other => Err(update_failure(other)),
    }
}

const fn update_failure(reply: Reply<'_>) -> ErrorKind {
    match reply {
        Reply::Update(UpdateReply::WrongNode) => ErrorKind::WrongNode,
        other => failure(other),
    }
}
