//! What GetAll and Mirror share: pause, resume, stop, and an end that both sides have seen.
//!
//! ```text
//! node                        Suspend           client
//!           Resume  +---------+ Ack                 Starting --Started--> Running
//!             Ack   v         v                     Running: one control message at a time, then
//!             Running      Suspended                wait for its Ack
//!                |  |         |  |                  the Ack of Stop: over
//!     finished   |  +----+----+  | Stop: Ack        Finished, ChannelRemoved: send Ack, over
//!                v       v       v
//!              Ending --Ack--> over                 over: its id means nothing any more
//!              ignores the rest
//! ```
//!
//! Both machines say what is to be sent; nothing here writes. Anything not drawn closes the
//! connection. Source: spec `protocol-neo` 14.3.

use super::requests::Payload;
use super::{RequestId, frame};
use crate::wire::{DecodeError, Reader, Writer};

/// What a client sends while a GetAll or a Mirror runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Control {
    /// Pause.
    Suspend = 1,
    /// Go on.
    Resume = 2,
    /// End.
    Stop = 3,
    /// Finished or ChannelRemoved has arrived.
    Ack = 4,
}

/// The node's answer to a control message; a message type of both requests.
const ACK: u8 = 4;

impl Control {
    /// Every control message.
    pub const ALL: [Self; 4] = [Self::Suspend, Self::Resume, Self::Stop, Self::Ack];
}

impl Payload<'_> for Control {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(*self as u8);
    }

    /// Trailing bytes are ignored.
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        match Reader::new(payload).u8()? {
            1 => Ok(Self::Suspend),
            2 => Ok(Self::Resume),
            3 => Ok(Self::Stop),
            4 => Ok(Self::Ack),
            other => Err(DecodeError::Unknown { field: "message type", value: other.into() }),
        }
    }
}

/// A node's GetAll or Mirror, from its Started on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspendable {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Suspended,
    Ending,
}

/// What a node has to do about a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reaction {
    /// Send an Ack, then obey.
    Ack,
    /// Send an Ack and nothing else: the request is over.
    AckAndEnd,
    /// Send nothing: the request is over.
    End,
    /// Send nothing, change nothing.
    Ignore,
    /// Close the connection: no client may send this now.
    Close,
}

impl Reaction {
    /// Appends the Ack, if there is to be one.
    pub fn write(self, id: RequestId, out: &mut Vec<u8>) {
        if matches!(self, Self::Ack | Self::AckAndEnd) {
            frame::write_byte(out, id, ACK);
        }
    }

    /// Whether the connection has to be closed.
    #[must_use]
    pub const fn is_close(self) -> bool {
        matches!(self, Self::Close)
    }

    /// Whether the request is over.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::AckAndEnd | Self::End)
    }
}

impl Suspendable {
    /// A request that has just been started.
    #[must_use]
    pub const fn new(start_suspended: bool) -> Self {
        Self { state: if start_suspended { State::Suspended } else { State::Running } }
    }

    /// Whether records may be sent now: neither paused nor at the end.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether Finished or ChannelRemoved was sent, so that nothing may follow.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending)
    }

    /// A control message has arrived.
    pub const fn control(&mut self, control: Control) -> Reaction {
        match (self.state, control) {
            (State::Ending, Control::Ack) => Reaction::End,
            (State::Ending, _) => Reaction::Ignore,
            (_, Control::Ack) => Reaction::Close,
            (_, Control::Stop) => Reaction::AckAndEnd,
            (_, Control::Suspend) => {
                self.state = State::Suspended;
                Reaction::Ack
            }
            (_, Control::Resume) => {
                self.state = State::Running;
                Reaction::Ack
            }
        }
    }

    /// The caller has sent Finished or ChannelRemoved; it may while paused.
    pub const fn finished(&mut self) {
        self.state = State::Ending;
    }
}

/// A client's GetAll or Mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspendableClient {
    started: bool,
    /// Sent, and waiting for its Ack.
    pending: Option<Control>,
}

/// Why a client may not send a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Started has not arrived yet.
    #[error("the request has not started yet")]
    NotStarted,
    /// The Ack of the message before has not arrived yet.
    #[error("an earlier change is still in progress")]
    InProgress,
    /// Acks are sent by [`super::Client`] itself.
    #[error("an Ack answers an end, nothing else")]
    Ack,
    /// No such request runs, or it cannot be suspended.
    #[error("no such request")]
    NoRequest,
}

impl SuspendableClient {
    /// A request that is being started.
    #[must_use]
    pub const fn new() -> Self {
        Self { started: false, pending: None }
    }

    /// Whether Started has arrived.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.started
    }

    /// Started has arrived: control messages may be sent.
    pub const fn started(&mut self) {
        self.started = true;
    }

    /// The caller wants to send a control message; if this is `Ok` it must.
    pub const fn control(&mut self, control: Control) -> Result<(), ControlError> {
        match (control, self.pending) {
            (Control::Ack, _) => Err(ControlError::Ack),
            _ if !self.started => Err(ControlError::NotStarted),
            (_, Some(_)) => Err(ControlError::InProgress),
            (_, None) => {
                self.pending = Some(control);
                Ok(())
            }
        }
    }

    /// An Ack has arrived: for which message. After that of Stop the request is over. `None`: the
    /// node had no reason to send it.
    pub const fn ack(&mut self) -> Option<Control> {
        self.pending.take()
    }
}

impl Default for SuspendableClient {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn control_messages_have_the_codes_of_the_specification() {
        for (control, code) in Control::ALL.into_iter().zip(1..) {
            assert_eq!(Control::decode(&[code]), Ok(control));
            assert_eq!(Control::decode(&[code, 9, 9]), Ok(control));
        }
        for code in [0, 5, 255] {
            assert!(matches!(Control::decode(&[code]), Err(DecodeError::Unknown { .. })));
        }
        assert!(matches!(Control::decode(&[]), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn a_node_reacts_to_every_message_in_every_state() {
        let running = Suspendable::new(false);
        let suspended = Suspendable::new(true);
        let mut ending = running;
        ending.finished();
        for (before, control, reaction, after) in [
            (running, Control::Suspend, Reaction::Ack, suspended),
            (running, Control::Resume, Reaction::Ack, running),
            (running, Control::Stop, Reaction::AckAndEnd, running),
            (running, Control::Ack, Reaction::Close, running),
            (suspended, Control::Suspend, Reaction::Ack, suspended),
            (suspended, Control::Resume, Reaction::Ack, running),
            (suspended, Control::Stop, Reaction::AckAndEnd, suspended),
            (suspended, Control::Ack, Reaction::Close, suspended),
            (ending, Control::Suspend, Reaction::Ignore, ending),
            (ending, Control::Resume, Reaction::Ignore, ending),
            (ending, Control::Stop, Reaction::Ignore, ending),
            (ending, Control::Ack, Reaction::End, ending),
        ] {
            let mut request = before;
            assert_eq!(request.control(control), reaction, "{before:?} {control:?}");
            assert_eq!(request, after, "{before:?} {control:?}");
            let mut out = Vec::new();
            reaction.write(RequestId::new(9).expect("not 0"), &mut out);
            let acked = matches!(reaction, Reaction::Ack | Reaction::AckAndEnd);
            assert_eq!(out.last().copied(), acked.then_some(4));
        }
        assert!(running.is_running() && !suspended.is_running() && !ending.is_running());
        assert!(ending.is_ending() && !suspended.is_ending());
    }

    #[test]
    fn a_client_sends_one_control_message_at_a_time_and_none_before_started() {
        let mut request = SuspendableClient::new();
        assert_eq!(request.control(Control::Stop), Err(ControlError::NotStarted));
        assert_eq!(request.ack(), None);
        request.started();
        assert_eq!(request.control(Control::Ack), Err(ControlError::Ack));
        assert_eq!(request.control(Control::Suspend), Ok(()));
        assert_eq!(request.control(Control::Resume), Err(ControlError::InProgress));
        assert_eq!(request.ack(), Some(Control::Suspend));
        assert_eq!(request.ack(), None);
        assert_eq!(request.control(Control::Stop), Ok(()));
        assert_eq!(request.ack(), Some(Control::Stop));
    }

    /// Both machines, with messages under way in both directions, whatever the order.
    #[test]
    fn no_interleaving_of_the_two_machines_leaves_either_in_doubt() {
        #[derive(Debug, Clone, Copy, PartialEq)]
        enum ToClient {
            Ack,
            Finished,
        }
        for_seeds(2000, |rng| {
            let mut node = Some(Suspendable::new(rng.one_in(2)));
            let mut client = Some(SuspendableClient { started: true, pending: None });
            let (mut to_node, mut to_client) = (Vec::<Control>::new(), Vec::<ToClient>::new());
            for _ in 0..200 {
                match rng.below(8) {
                    0 if node.is_some_and(|node| !node.is_ending()) && rng.one_in(4) => {
                        node.as_mut().expect("just seen").finished();
                        to_client.push(ToClient::Finished);
                    }
                    1 | 2 => {
                        let control = *rng.pick(&Control::ALL[..3]);
                        if client.as_mut().is_some_and(|client| client.control(control).is_ok()) {
                            to_node.push(control);
                        }
                    }
                    3..=5 if !to_node.is_empty() => {
                        let control = to_node.remove(0);
                        // A message behind the end would start a request, and close.
                        let request = node.as_mut().expect("nothing follows the end");
                        let reaction = request.control(control);
                        assert_ne!(reaction, Reaction::Close);
                        if matches!(reaction, Reaction::Ack | Reaction::AckAndEnd) {
                            to_client.push(ToClient::Ack);
                        }
                        if reaction.is_end() {
                            node = None;
                        }
                    }
                    6.. if !to_client.is_empty() => {
                        let request = client.as_mut().expect("nothing follows the end");
                        match to_client.remove(0) {
                            ToClient::Ack => {
                                let acked = request.ack().expect("there is one to be acked");
                                client = client.filter(|_| acked != Control::Stop);
                            }
                            ToClient::Finished => {
                                to_node.push(Control::Ack);
                                client = None;
                            }
                        }
                    }
                    _ => {}
                }
                assert!(client.is_some() || node.is_none() || !to_node.is_empty());
            }
        });
    }
}
