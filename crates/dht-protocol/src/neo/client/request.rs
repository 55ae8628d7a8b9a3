//! One request of a client, from its first message to its last.

use super::{ClientError, NotWaiting, Reply};
use crate::neo::requests::{
    GetAllMessage, GetChannelsMessage, GetReply, GetStatus, GotValue, HashRangeUpdate,
    MirrorMessage, MoveUpdate, ResponsibleRange, UpdateAction, UpdateReply,
};
use crate::neo::suspendable::SuspendableClient;
use crate::neo::{Command, Control, Payload, Request, Supported};
use crate::wire::{DecodeError, Reader};

/// A request that waits for messages.
#[derive(Debug)]
pub(super) struct Running {
    command: Command,
    stage: Stage,
    /// What comes behind `fd`.
    first: Stage,
}

/// What the next message has to be.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Supported,
    Put,
    Exists,
    Remove,
    RemoveChannel,
    GetStatus,
    /// Behind [`GetStatus::Got`].
    GotValue,
    GetChannels,
    HashRange,
    HashRangeUpdates,
    /// Of an Update: a record, or why there is none.
    UpdateRecord,
    /// Nothing: it is the application's turn.
    UpdateDecision,
    UpdateResult,
    GetAll(SuspendableClient),
    Mirror(SuspendableClient),
    MovePart,
}

/// What a message means to the application.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    pub(super) reply: Reply<'a>,
    pub(super) is_last: bool,
}

impl Arrived<'_> {
    /// Whether the node waits for an Ack of this.
    pub(super) const fn needs_ack(&self) -> bool {
        matches!(
            self.reply,
            Reply::GetAll(GetAllMessage::Finished) | Reply::Mirror(MirrorMessage::ChannelRemoved)
        )
    }
}

const fn more(reply: Reply<'_>) -> Arrived<'_> {
    Arrived { reply, is_last: false }
}

const fn last(reply: Reply<'_>) -> Arrived<'_> {
    Arrived { reply, is_last: true }
}

impl Running {
    pub(super) const fn new(request: &Request<'_>) -> Self {
        let first = match request {
            Request::GetHashRange(_) => Stage::HashRange,
            Request::Put(_) => Stage::Put,
            Request::Get(_) => Stage::GetStatus,
            Request::Mirror(_) => Stage::Mirror(SuspendableClient::new()),
            Request::GetAll(_) => Stage::GetAll(SuspendableClient::new()),
            Request::GetChannels(_) => Stage::GetChannels,
            Request::Exists(_) => Stage::Exists,
            Request::Remove(_) => Stage::Remove,
            Request::RemoveChannel(_) => Stage::RemoveChannel,
            Request::MovePart(_) => Stage::MovePart,
            Request::Update(update) => match update.action {
                UpdateAction::GetRecord => Stage::UpdateRecord,
                UpdateAction::UpdateRecord(_) | UpdateAction::Unknown(_) => Stage::UpdateResult,
            },
        };
        Self { command: request.command(), stage: Stage::Supported, first }
    }

    pub(super) const fn command(&self) -> Command {
        self.command
    }

    /// The state of a GetAll or Mirror.
    pub(super) const fn suspendable(&mut self) -> Option<&mut SuspendableClient> {
        let stage = match self.stage {
            Stage::Supported => &mut self.first,
            _ => &mut self.stage,
        };
        match stage {
            Stage::GetAll(stream) | Stage::Mirror(stream) => Some(stream),
            _ => None,
        }
    }

    /// The application's decision about an Update is on its way.
    pub(super) const fn decide_update(&mut self) -> Result<(), NotWaiting> {
        if !matches!(self.stage, Stage::UpdateDecision) {
            return Err(NotWaiting);
        }
        self.stage = Stage::UpdateResult;
        Ok(())
    }

    /// A message has arrived. `None`: nothing that the application waits for.
    pub(super) fn receive<'a>(
        &mut self,
        payload: &'a [u8],
    ) -> Result<Option<Arrived<'a>>, ClientError> {
        self.advance(payload).map_err(|refused| match refused {
            Refused::Malformed(error) => ClientError::Malformed { command: self.command, error },
            Refused::Unexpected => ClientError::Unexpected(self.command),
        })
    }

    fn advance<'a>(&mut self, payload: &'a [u8]) -> Result<Option<Arrived<'a>>, Refused> {
        Ok(Some(match &mut self.stage {
            Stage::Supported => return self.supported(payload),
            Stage::Put => result(Payload::decode(payload).map(Reply::Put))?,
            Stage::Exists => result(Payload::decode(payload).map(Reply::Exists))?,
            Stage::Remove => result(Payload::decode(payload).map(Reply::Remove))?,
            Stage::RemoveChannel => result(Payload::decode(payload).map(Reply::RemoveChannel))?,
            Stage::GetStatus => return self.get_status(payload),
            Stage::GotValue => last(Reply::Get(GetReply::Got(GotValue::decode(payload)?.0))),
            Stage::GetChannels => {
                let message = GetChannelsMessage::decode(payload)?;
                let is_last = !matches!(message, GetChannelsMessage::ChannelName(_));
                Arrived { reply: Reply::GetChannels(message), is_last }
            }
            Stage::HashRange => {
                let range = ResponsibleRange::decode(payload)?;
                self.stage = Stage::HashRangeUpdates;
                more(Reply::HashRange(range.0))
            }
            Stage::HashRangeUpdates => {
                more(Reply::HashRangeUpdate(HashRangeUpdate::decode(payload)?))
            }
            Stage::MovePart => {
                let update = MoveUpdate::decode(payload)?;
                let is_last = !matches!(update, MoveUpdate::Progress(_));
                Arrived { reply: Reply::Move(update), is_last }
            }
            Stage::UpdateRecord => self.update_record(payload)?,
            Stage::UpdateDecision => return Err(Refused::Unexpected),
            Stage::UpdateResult => update_result(payload)?,
            Stage::GetAll(stream) => {
                let message = GetAllMessage::decode(payload);
                stream_message(stream, message.map(|m| (get_all_turn(&m), Reply::GetAll(m))))?
            }
            Stage::Mirror(stream) => {
                let message = MirrorMessage::decode(payload);
                stream_message(stream, message.map(|m| (mirror_turn(&m), Reply::Mirror(m))))?
            }
        }))
    }

    fn supported<'a>(&mut self, payload: &'a [u8]) -> Result<Option<Arrived<'a>>, Refused> {
        let mut r = Reader::new(payload);
        let supported = Supported::from_code(r.u8()?);
        if !r.is_empty() {
            return Err(DecodeError::Malformed { field: "end of message" }.into());
        }
        if supported != Supported::Yes {
            return Ok(Some(last(Reply::Unsupported(supported))));
        }
        self.stage = self.first;
        Ok(None)
    }

    fn get_status<'a>(&mut self, payload: &'a [u8]) -> Result<Option<Arrived<'a>>, Refused> {
        let reply = match GetStatus::decode(payload) {
            Ok(GetStatus::Got) => {
                self.stage = Stage::GotValue;
                return Ok(None);
            }
            Ok(GetStatus::NoRecord) => Ok(GetReply::NoRecord),
            Ok(GetStatus::WrongNode) => Ok(GetReply::WrongNode),
            Ok(GetStatus::Error) => Ok(GetReply::Error),
            Err(error) => Err(error),
        };
        result(reply.map(Reply::Get)).map(Some)
    }

    fn update_record<'a>(&mut self, payload: &'a [u8]) -> Result<Arrived<'a>, Refused> {
        match UpdateReply::decode(payload) {
            Ok(reply @ UpdateReply::RecordValue(_)) => {
                self.stage = Stage::UpdateDecision;
                Ok(more(Reply::Update(reply)))
            }
            // Nothing was to be written yet.
            Ok(UpdateReply::Ok | UpdateReply::UpdateConflict) => Ok(misplaced(payload)),
            reply => result(reply.map(Reply::Update)),
        }
    }
}

/// Why a message was refused; the connection has to be closed.
#[derive(Debug)]
enum Refused {
    Malformed(DecodeError),
    Unexpected,
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// The end of a request. A status that means nothing is one too: the node has failed. Source: spec
/// `protocol-neo` 16.4.
fn result(reply: Result<Reply<'_>, DecodeError>) -> Result<Arrived<'_>, Refused> {
    match reply {
        Ok(reply) => Ok(last(reply)),
        Err(DecodeError::Unknown { value, .. }) => Ok(last(Reply::UnknownStatus(value))),
        Err(error) => Err(error.into()),
    }
}

/// A message of the request, but not in this place: as bad as one of an unknown type.
fn misplaced(payload: &[u8]) -> Arrived<'_> {
    last(Reply::UnknownStatus(payload.first().map_or(0, |kind| u64::from(*kind))))
}

fn update_result(payload: &[u8]) -> Result<Arrived<'_>, Refused> {
    match UpdateReply::decode(payload) {
        Ok(UpdateReply::RecordValue(_)) => Ok(misplaced(payload)),
        reply => result(reply.map(Reply::Update)),
    }
}

/// What a message means to the state of a GetAll or Mirror.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Ack,
    Started,
    /// In place of Started.
    Failed,
    Data,
    /// Finished, or ChannelRemoved.
    End,
}

const fn get_all_turn(message: &GetAllMessage<'_>) -> Turn {
    match message {
        GetAllMessage::Ack => Turn::Ack,
        GetAllMessage::Started => Turn::Started,
        GetAllMessage::Error => Turn::Failed,
        GetAllMessage::RecordBatch(_) => Turn::Data,
        GetAllMessage::Finished => Turn::End,
    }
}

const fn mirror_turn(message: &MirrorMessage<'_>) -> Turn {
    match message {
        MirrorMessage::Ack => Turn::Ack,
        MirrorMessage::Started => Turn::Started,
        MirrorMessage::Error => Turn::Failed,
        MirrorMessage::RecordChanged(..)
        | MirrorMessage::RecordDeleted(_)
        | MirrorMessage::RecordRefreshBatch(_)
        | MirrorMessage::UpdateOverflow => Turn::Data,
        MirrorMessage::ChannelRemoved => Turn::End,
    }
}

fn stream_message<'a>(
    stream: &mut SuspendableClient,
    message: Result<(Turn, Reply<'a>), DecodeError>,
) -> Result<Arrived<'a>, Refused> {
    // An unknown status in place of Started is a failure of the node; later it is beyond repair.
    if !stream.is_started() && matches!(message, Err(DecodeError::Unknown { .. })) {
        return result(message.map(|(_, reply)| reply));
    }
    let (turn, reply) = message?;
    match (turn, stream.is_started()) {
        (Turn::Started, false) => {
            stream.started();
            Ok(more(reply))
        }
        (Turn::Failed, false) => Ok(last(reply)),
        (Turn::Ack, true) => {
            let control = stream.ack().ok_or(Refused::Unexpected)?;
            let is_last = matches!(control, Control::Stop);
            Ok(Arrived { reply: Reply::Controlled(control), is_last })
        }
        (Turn::Data, true) => Ok(more(reply)),
        (Turn::End, true) => Ok(last(reply)),
        (Turn::Started | Turn::Failed, true) | (Turn::Ack | Turn::Data | Turn::End, false) => {
            Err(Refused::Unexpected)
        }
    }
}
