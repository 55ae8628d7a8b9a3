//! What a client does about every message of a node, legal or not. Source: spec `protocol-neo` 6,
//! 14.3, 16.

use dht_testkit::{for_seeds, from_hex};
use dht_types::{HashRange, Key};

use super::id;
use crate::neo::client::{ClientError, Event, NotWaiting, Reply, TooManyRequests};
use crate::neo::frame::{FrameError, FrameKind, write_frame, write_message};
use crate::neo::requests::{
    Exists, ExistsReply, Get, GetAll, GetAllMessage, GetChannels, GetChannelsMessage, GetHashRange,
    GetReply, HashRangeUpdate, Mirror, MirrorMessage, NewValue, Put, PutReply, Remove,
    RemoveChannel, RemoveChannelReply, RemoveReply, Update, UpdateAction, UpdateMessage,
    UpdateReply,
};
use crate::neo::suspendable::ControlError;
use crate::neo::{Client, Command, Control, REQUESTS_ACTIVE_MAX, Request, RequestId, Supported};
use crate::wire::DecodeError;

const CHANNEL: &str = "test";
const KEY: Key = Key(0xdead);
const PUT: Put<'_> = Put { channel: CHANNEL, key: KEY, value: b"abc" };
const GET: Get<'_> = Get { channel: CHANNEL, key: KEY };
const GET_RECORD: Update<'_> =
    Update { channel: CHANNEL, key: KEY, action: UpdateAction::GetRecord };
const GET_ALL: GetAll<'_> = GetAll {
    start_suspended: false,
    channel: CHANNEL,
    continue_from: None,
    keys_only: false,
    filter: b"",
};
const MIRROR: Mirror<'_> = Mirror {
    start_suspended: false,
    channel: CHANNEL,
    initial_refresh: true,
    periodic_refresh_s: 360,
};

/// A client with one request, and what the client has sent since.
struct Lone {
    client: Client,
    id: RequestId,
    sent: Vec<u8>,
}

impl Lone {
    fn new<'a>(request: impl Into<Request<'a>>) -> Self {
        let mut client = Client::new();
        let id = client.start(request, &mut Vec::new()).expect("there is room");
        Self { client, id, sent: Vec::new() }
    }

    /// With `fd` and these payloads received.
    fn after<'a>(request: impl Into<Request<'a>>, payloads: &[&str]) -> Self {
        let mut lone = Self::new(request);
        assert_eq!(lone.receive("fd", |event| event.is_none()), Ok(true));
        for payload in payloads {
            lone.receive(payload, |event| assert!(event.is_some_and(|event| !event.is_last)))
                .expect("legal");
        }
        lone
    }

    /// Receives a payload; `look` sees what the client makes of it.
    fn receive<T>(
        &mut self,
        payload: &str,
        look: impl FnOnce(Option<Event<'_>>) -> T,
    ) -> Result<T, ClientError> {
        let mut message = Vec::new();
        write_message(&mut message, self.id, |w| w.bytes(&from_hex(payload)));
        let mut input = &message[..];
        let event = self.client.next(&mut input, &mut self.sent)?;
        assert!(input.is_empty());
        Ok(look(event))
    }

    /// The payload means just this.
    fn expect(&mut self, payload: &str, reply: Reply<'_>, is_last: bool) {
        let id = self.id;
        self.receive(payload, |event| assert_eq!(event, Some(Event { id, reply, is_last })))
            .unwrap_or_else(|error| panic!("{payload}: {error}"));
        assert_eq!(self.client.active_len(), usize::from(!is_last));
    }

    fn closes(&mut self, payload: &str) -> ClientError {
        self.receive(payload, |event| panic!("{payload}: {event:?}")).expect_err("it closes")
    }

    fn control(&mut self, control: Control) -> Result<(), ControlError> {
        self.client.control(self.id, control, &mut self.sent)
    }

    /// The last byte sent, if anything was since the last call.
    fn sent(&mut self) -> Option<u8> {
        let last = self.sent.last().copied();
        self.sent.clear();
        last
    }
}

#[test]
fn each_status_ends_its_request() {
    let status = |request: Request<'_>, replies: &[(&str, Reply<'_>)]| {
        for (payload, reply) in replies {
            Lone::after(request, &[]).expect(payload, *reply, true);
        }
        for unknown in ["00", "05", "ff"] {
            let value = u64::from(from_hex(unknown)[0]);
            Lone::after(request, &[]).expect(unknown, Reply::UnknownStatus(value), true);
        }
        for malformed in ["", "01 00", "01 01"] {
            let error = Lone::after(request, &[]).closes(malformed);
            assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
        }
    };
    status(
        PUT.into(),
        &[
            ("01", Reply::Put(PutReply::Put)),
            ("02", Reply::Put(PutReply::WrongNode)),
            ("03", Reply::Put(PutReply::Error)),
        ],
    );
    status(
        Exists { channel: CHANNEL, key: KEY }.into(),
        &[
            ("01", Reply::Exists(ExistsReply::RecordExists)),
            ("02", Reply::Exists(ExistsReply::NoRecord)),
            ("03", Reply::Exists(ExistsReply::WrongNode)),
            ("04", Reply::Exists(ExistsReply::Error)),
        ],
    );
    status(
        Remove { channel: CHANNEL, key: KEY }.into(),
        &[
            ("01", Reply::Remove(RemoveReply::NoRecord)),
            ("02", Reply::Remove(RemoveReply::Removed)),
            ("03", Reply::Remove(RemoveReply::WrongNode)),
            ("04", Reply::Remove(RemoveReply::Error)),
        ],
    );
    status(
        RemoveChannel { channel: CHANNEL }.into(),
        &[
            ("01", Reply::RemoveChannel(RemoveChannelReply::ChannelRemoved)),
            ("02", Reply::RemoveChannel(RemoveChannelReply::NotPermitted)),
            ("03", Reply::RemoveChannel(RemoveChannelReply::Error)),
        ],
    );
    status(
        GET.into(),
        &[
            ("01", Reply::Get(GetReply::NoRecord)),
            ("03", Reply::Get(GetReply::WrongNode)),
            ("04", Reply::Get(GetReply::Error)),
        ],
    );
}

#[test]
fn a_value_comes_in_a_message_of_its_own_and_may_be_empty() {
    for (payload, value) in
        [("03 00 00 00 00 00 00 00 61 62 63", &b"abc"[..]), ("00 00 00 00 00 00 00 00", b"")]
    {
        let mut lone = Lone::after(GET, &[]);
        assert_eq!(lone.receive("02", |event| event.is_none()), Ok(true));
        lone.expect(payload, Reply::Get(GetReply::Got(value)), true);
    }
    let mut lone = Lone::after(GET, &[]);
    lone.receive("02", |_| ()).expect("legal");
    assert!(matches!(lone.closes("03 00 00 00 00 00 00 00 61"), ClientError::Malformed { .. }));
}

#[test]
fn a_request_that_is_not_supported_is_over() {
    for (payload, supported) in [
        ("fe", Supported::NotThisVersion),
        ("ff", Supported::No),
        ("01", Supported::Other(1)),
        ("00", Supported::Other(0)),
    ] {
        for request in [Request::from(PUT), GET_ALL.into(), GET_RECORD.into(), GetHashRange.into()]
        {
            Lone::new(request).expect(payload, Reply::Unsupported(supported), true);
        }
    }
    assert!(matches!(Lone::new(PUT).closes("fd 01"), ClientError::Malformed { .. }));
    assert!(matches!(Lone::new(PUT).closes(""), ClientError::Malformed { .. }));
}

#[test]
fn messages_for_nobody_are_dropped() {
    let mut lone = Lone::after(PUT, &[]);
    lone.expect("01", Reply::Put(PutReply::Put), true);
    assert_eq!(lone.receive("01", |event| event.is_none()), Ok(true), "it has ended");
    let mut lone = Lone::after(GET, &[]);
    lone.client.forget(lone.id);
    assert_eq!(lone.receive("02", |event| event.is_none()), Ok(true), "it was forgotten");
    lone.id = id(77);
    assert_eq!(lone.receive("", |event| event.is_none()), Ok(true), "it never was");
    let mut zero = Vec::new();
    write_frame(&mut zero, FrameKind::Request, |w| w.u64(0));
    assert_eq!(lone.client.next(&mut &zero[..], &mut lone.sent), Ok(None));
}

#[test]
fn authentication_messages_and_bad_headers_close() {
    let mut late = Vec::new();
    write_frame(&mut late, FrameKind::Authentication, |w| w.u8(1));
    let mut client = Client::new();
    let outcome = client.next(&mut &late[..], &mut Vec::new());
    assert_eq!(outcome, Err(ClientError::Authentication));
    let outcome = client.next(&mut &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &mut Vec::new());
    assert_eq!(outcome, Err(FrameError::Parity.into()));
}

#[test]
fn channel_names_come_until_finished() {
    let mut lone = Lone::after(GetChannels, &[]);
    let name = GetChannelsMessage::ChannelName(b"ab");
    lone.expect("02 02 00 00 00 00 00 00 00 61 62", Reply::GetChannels(name), false);
    lone.expect("02 02 00 00 00 00 00 00 00 61 62", Reply::GetChannels(name), false);
    lone.expect("03", Reply::GetChannels(GetChannelsMessage::Finished), true);
    let mut lone = Lone::after(GetChannels, &[]);
    lone.expect("01", Reply::GetChannels(GetChannelsMessage::Error), true);
    assert!(matches!(Lone::after(GetChannels, &[]).closes("04"), ClientError::Malformed { .. }));
}

#[test]
fn hash_ranges_come_for_ever() {
    const FULL: &str = "0000000000000000 ffffffffffffffff";
    let mut lone = Lone::after(GetHashRange, &[]);
    lone.expect(&format!("{FULL} 00"), Reply::HashRange(HashRange::FULL), false);
    let empty = HashRangeUpdate::ChangeHashRange(HashRange::EMPTY);
    for _ in 0..3 {
        lone.expect("02 ffffffffffffffff 0000000000000000", Reply::HashRangeUpdate(empty), false);
    }
    let node = "127.0.0.1:10101".parse().expect("an address");
    let new_node = HashRangeUpdate::NewNode(node, HashRange::FULL);
    lone.expect(&format!("01 7f000001 2775 {FULL}"), Reply::HashRangeUpdate(new_node), false);
    assert!(matches!(lone.closes("03"), ClientError::Malformed { .. }));
}

#[test]
fn an_update_waits_for_the_application_once() {
    const RECORD: &str = "05 03 00 00 00 00 00 00 00 61 62 63";
    let record = UpdateReply::RecordValue(b"abc");
    let leave = UpdateMessage::LeaveRecord;
    let mut lone = Lone::after(GET_RECORD, &[]);
    let decide = |lone: &mut Lone, m| lone.client.update(lone.id, &m, &mut lone.sent);
    assert_eq!(decide(&mut lone, leave), Err(NotWaiting), "no record yet");
    lone.expect(RECORD, Reply::Update(record), false);
    let new = NewValue { original_hash: 1, value: b"x" };
    assert_eq!(decide(&mut lone, UpdateMessage::UpdateRecord(new)), Ok(()));
    assert_eq!(lone.sent(), Some(b'x'));
    assert_eq!(decide(&mut lone, leave), Err(NotWaiting), "decided already");
    lone.expect("06", Reply::Update(UpdateReply::Ok), true);

    for (payload, reply) in [
        ("07", Reply::Update(UpdateReply::NoRecord)),
        ("09", Reply::Update(UpdateReply::WrongNode)),
        ("0a", Reply::Update(UpdateReply::Error)),
        ("06", Reply::UnknownStatus(6)),
        ("08", Reply::UnknownStatus(8)),
        ("0b", Reply::UnknownStatus(11)),
    ] {
        Lone::after(GET_RECORD, &[]).expect(payload, reply, true);
    }
    for (payload, reply) in [
        ("08", Reply::Update(UpdateReply::UpdateConflict)),
        ("0a", Reply::Update(UpdateReply::Error)),
        (RECORD, Reply::UnknownStatus(5)),
    ] {
        let mut lone = Lone::after(GET_RECORD, &[RECORD]);
        assert_eq!(decide(&mut lone, UpdateMessage::RemoveRecord), Ok(()));
        assert_eq!(lone.sent(), Some(3));
        lone.expect(payload, reply, true);
        let action = UpdateAction::UpdateRecord(new);
        Lone::after(Update { action, ..GET_RECORD }, &[]).expect(payload, reply, true);
    }
    let mut lone = Lone::after(GET_RECORD, &[RECORD]);
    assert_eq!(lone.closes("06"), ClientError::Unexpected(Command::Update));
}

#[test]
fn a_stream_starts_or_fails() {
    for request in [Request::from(GET_ALL), MIRROR.into()] {
        Lone::after(request, &["05"]);
        Lone::after(request, &[]).expect("0c", Reply::UnknownStatus(12), true);
        let is_error = |event: Option<Event<'_>>| {
            let event = event.expect("an event");
            assert!(matches!(
                event.reply,
                Reply::GetAll(GetAllMessage::Error) | Reply::Mirror(MirrorMessage::Error)
            ));
            event.is_last
        };
        assert_eq!(Lone::after(request, &[]).receive("06", is_error), Ok(true));
        let command = request.command();
        for early in ["04", "08", "0a", "0b"] {
            let error = Lone::after(request, &[]).receive(early, |event| event.is_some());
            let unknown = matches!(error, Ok(true)) && command == Command::GetAll;
            let bad =
                matches!(error, Err(ClientError::Unexpected(_) | ClientError::Malformed { .. }));
            assert!(unknown || bad, "{command:?} {early}");
        }
        for late in ["05", "06"] {
            let error = Lone::after(request, &["05"]).closes(late);
            assert_eq!(error, ClientError::Unexpected(command));
        }
        let unknown = DecodeError::Unknown { field: "message type", value: 12 };
        let error = ClientError::Malformed { command, error: unknown };
        assert_eq!(Lone::after(request, &["05"]).closes("0c"), error);
    }
}

#[test]
fn controls_go_one_at_a_time_and_stop_is_the_end() {
    for request in [Request::from(GET_ALL), MIRROR.into()] {
        let mut lone = Lone::new(request);
        assert_eq!(lone.control(Control::Suspend), Err(ControlError::NotStarted));
        let mut lone = Lone::after(request, &[]);
        assert_eq!(lone.control(Control::Suspend), Err(ControlError::NotStarted));
        let mut lone = Lone::after(request, &["05"]);
        assert_eq!(lone.control(Control::Ack), Err(ControlError::Ack));
        assert_eq!(lone.sent(), None);
        for control in [Control::Suspend, Control::Resume, Control::Stop] {
            assert_eq!(lone.control(control), Ok(()));
            assert_eq!(lone.sent(), Some(control as u8));
            assert_eq!(lone.control(Control::Stop), Err(ControlError::InProgress));
            assert_eq!(lone.sent(), None);
            lone.expect("04", Reply::Controlled(control), control == Control::Stop);
        }
        assert_eq!(lone.control(Control::Resume), Err(ControlError::NoRequest));
        assert_eq!(lone.receive("04", |event| event.is_none()), Ok(true), "dropped");
        let error = Lone::after(request, &["05"]).closes("04");
        assert_eq!(error, ClientError::Unexpected(request.command()), "an Ack of nothing");
    }
    let mut put = Lone::new(PUT);
    assert_eq!(put.control(Control::Stop), Err(ControlError::NoRequest));
}

#[test]
fn the_end_is_acknowledged_at_once_even_with_a_control_under_way() {
    for (request, end, reply) in [
        (Request::from(GET_ALL), "08", Reply::GetAll(GetAllMessage::Finished)),
        (MIRROR.into(), "0a", Reply::Mirror(MirrorMessage::ChannelRemoved)),
    ] {
        for control in [None, Some(Control::Suspend), Some(Control::Stop)] {
            let mut lone = Lone::after(request, &["05"]);
            if let Some(control) = control {
                assert_eq!(lone.control(control), Ok(()));
                assert_eq!(lone.sent(), Some(control as u8));
            }
            lone.expect(end, reply, true);
            assert_eq!(lone.sent(), Some(Control::Ack as u8));
        }
    }
}

#[test]
fn no_more_than_the_limit_are_started() {
    let (mut client, mut out) = (Client::new(), Vec::new());
    for number in 1..=REQUESTS_ACTIVE_MAX as u64 {
        assert_eq!(client.start(GET, &mut out), Ok(id(number)));
        out.clear();
    }
    assert_eq!(client.start(GET, &mut out), Err(TooManyRequests));
    assert!(out.is_empty());
    client.forget(id(1));
    assert_eq!(client.start(GET, &mut out), Ok(id(5001)), "no id is used twice");
}

#[test]
fn any_messages_end_in_replies_or_an_error() {
    for_seeds(500, |rng| {
        let (mut client, mut out) = (Client::new(), Vec::new());
        for request in [Request::from(PUT), GET.into(), GET_ALL.into(), MIRROR.into()] {
            client.start(request, &mut out).expect("there is room");
        }
        client.start(GET_RECORD, &mut out).expect("there is room");
        client.start(GetHashRange, &mut out).expect("there is room");
        client.start(GetChannels, &mut out).expect("there is room");
        for _ in 0..100 {
            let mut message = Vec::new();
            let payload = match rng.below(4) {
                0 => rng.bytes(0..40),
                1 => vec![0xfd],
                _ => vec![*rng.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])],
            };
            write_message(&mut message, id(1 + rng.below(8)), |w| w.bytes(&payload));
            if client.next(&mut &message[..], &mut out).is_err() {
                return;
            }
        }
    });
}
