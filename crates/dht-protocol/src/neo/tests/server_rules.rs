//! What a node does about every message that breaks a rule. Source: spec `protocol-neo` 6, 9, 17.

use dht_testkit::{for_seeds, from_hex, to_hex};
use dht_types::{HashRange, Key};

use super::id;
use super::node::Node;
use crate::neo::frame::{FrameError, FrameKind, write_frame, write_message};
use crate::neo::requests::{
    Exists, Get, GetAll, GetChannels, GetHashRange, Mirror, Put, Remove, RemoveChannel, Update,
    UpdateAction,
};
use crate::neo::{
    CloseReason, Command, Control, Event, Message, REQUESTS_ACTIVE_MAX, Refusal, Request,
    RequestId, RequestKind, Server,
};

const KEY: Key = Key(0xdead);

fn message(request: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, FrameKind::Request, |w| {
        w.u64(request);
        w.bytes(payload);
    });
    out
}

fn start<'a>(request: u64, what: impl Into<Request<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, id(request), |w| what.into().encode(w));
    out
}

/// Every command with a channel, on this one.
fn on_channel(channel: &str) -> Vec<Request<'_>> {
    let action = UpdateAction::GetRecord;
    vec![
        Put { channel, key: KEY, value: b"v" }.into(),
        Get { channel, key: KEY }.into(),
        Exists { channel, key: KEY }.into(),
        Remove { channel, key: KEY }.into(),
        RemoveChannel { channel }.into(),
        Update { channel, key: KEY, action }.into(),
        get_all(channel).into(),
        mirror(channel).into(),
    ]
}

fn get_all(channel: &str) -> GetAll<'_> {
    let (start_suspended, keys_only) = (false, false);
    GetAll { start_suspended, channel, continue_from: None, keys_only, filter: b"" }
}

fn mirror(channel: &str) -> Mirror<'_> {
    let (start_suspended, initial_refresh) = (false, false);
    Mirror { start_suspended, channel, initial_refresh, periodic_refresh_s: 0 }
}

/// What a node makes of these bytes, and the payloads that it sends.
fn receive(node: &mut Node, bytes: &[u8]) -> (Result<(), CloseReason>, Vec<String>) {
    let mut out = Vec::new();
    let outcome = node.receive(&mut &bytes[..], &mut out);
    (outcome, payloads(&out))
}

/// Payloads of messages, with their ids in front.
fn payloads(mut out: &[u8]) -> Vec<String> {
    let mut payloads = Vec::new();
    while let Some(frame) = crate::neo::frame::next_frame(&mut out).expect("our own") {
        payloads.push(format!("{} {}", frame.body[0], to_hex(&frame.body[8..])));
    }
    assert!(out.is_empty());
    payloads
}

fn closes(bytes: &[u8], reason: CloseReason) {
    let (outcome, sent) = receive(&mut Node::new(), bytes);
    assert_eq!(outcome, Err(reason));
    assert_eq!(sent, Vec::<String>::new());
}

#[test]
fn id_0_and_starts_without_code_and_version_close() {
    closes(&message(0, &[1, 0]), CloseReason::IdZero);
    closes(&message(0, &[]), CloseReason::IdZero);
    closes(&message(7, &[]), CloseReason::StartTooShort(id(7)));
    for code in 0..=255 {
        closes(&message(7, &[code]), CloseReason::StartTooShort(id(7)));
    }
}

#[test]
fn authentication_messages_and_bad_headers_close() {
    let mut late = Vec::new();
    write_frame(&mut late, FrameKind::Authentication, |w| w.u64(5));
    closes(&late, CloseReason::Authentication);
    closes(&[0; 10], FrameError::Kind(0).into());
    closes(b"GET / HTTP/1.1\r\n", FrameError::Parity.into());
    let huge = from_hex("01 ffffffffffffffff 01");
    let error = FrameError::TooLong { len: u64::MAX, max: 64 << 20 };
    closes(&huge, error.into());
}

#[test]
fn unknown_codes_and_versions_are_told_and_the_connection_stays() {
    let mut node = Node::new();
    for code in (0..=255).filter(|code| Command::from_code(*code).is_none()) {
        let answer = (Ok(()), vec!["9 ff".to_owned()]);
        assert_eq!(receive(&mut node, &message(9, &[code, 0, 1, 2, 3])), answer);
        assert_eq!(node.refusals.pop(), Some(Refusal::UnknownCode(code)));
    }
    for command in Command::ALL {
        for version in 1..=255 {
            let answer = (Ok(()), vec!["9 fe".to_owned()]);
            assert_eq!(receive(&mut node, &message(9, &[*command as u8, version])), answer);
            let refusal = Refusal::UnknownVersion { command: *command, version };
            assert_eq!(node.refusals.pop(), Some(refusal));
        }
    }
    assert_eq!(node.server.active_len(), 0);
}

#[test]
fn arguments_cut_short_are_met_with_fd_and_silence() {
    for request in on_channel("test") {
        let whole = start(9, request);
        for len in 2..whole.len() - 18 {
            let mut node = Node::new();
            let answer = (Ok(()), vec!["9 fd".to_owned()]);
            assert_eq!(receive(&mut node, &message(9, &whole[18..18 + len])), answer);
            let refused = matches!(node.refusals[..], [Refusal::Malformed { .. }]);
            assert!(refused, "{request:?} {len}");
            assert_eq!(node.server.active_len(), 0);
            let (outcome, sent) = receive(&mut node, &start(9, GetChannels));
            assert_eq!((outcome, sent), (Ok(()), vec!["9 fd".to_owned(), "9 03".to_owned()]));
        }
    }
}

#[test]
fn bad_channel_names_are_met_with_the_requests_own_error() {
    for name in ["", "a/b", "../../etc/passwd", "nul\0", "\u{e4}", &"c".repeat(300)] {
        let mut node = Node::new();
        for request in on_channel(name) {
            let status = request.command().error_status().expect("it has a channel");
            let answer = vec!["9 fd".to_owned(), format!("9 {status:02x}")];
            assert_eq!(receive(&mut node, &start(9, request)), (Ok(()), answer));
            let refused = matches!(node.refusals.pop(), Some(Refusal::ChannelName { .. }));
            assert!(refused, "{request:?}");
        }
        assert_eq!(node.server.active_len(), 0);
        assert!(node.channels.is_empty());
    }
}

#[test]
fn only_requests_that_wait_for_messages_become_active() {
    let mut server = Server::new();
    let mut requests = on_channel("test");
    requests.push(GetChannels.into());
    requests.push(GetHashRange.into());
    let unknown = UpdateAction::Unknown(3);
    requests.push(Update { channel: "test", key: KEY, action: unknown }.into());
    for (request, number) in requests.into_iter().zip(1..) {
        let (bytes, mut out) = (start(number, request), Vec::new());
        let ahead = server.look_ahead(&mut &bytes[..]);
        assert_eq!(ahead.is_some(), RequestKind::of(&request).is_none());
        assert!(ahead.is_none_or(|ahead| ahead == (id(number), request)));
        let event = server.next(&mut &bytes[..], &mut out).expect("legal").expect("whole");
        assert_eq!(event, Event::Start { id: id(number), request });
        assert_eq!(payloads(&out), [format!("{number} fd")]);
        let runs = event.kind();
        assert_eq!(server.active().find(|(active, _)| *active == id(number)).map(|a| a.1), runs);
        assert_eq!(server.look_ahead(&mut &bytes[..]).is_some(), runs.is_none());
        let kind = match request {
            Request::GetHashRange(_) => Some(RequestKind::GetHashRange),
            Request::GetAll(_) => Some(RequestKind::GetAll),
            Request::Mirror(_) => Some(RequestKind::Mirror),
            Request::MovePart(_) => Some(RequestKind::MovePart),
            Request::Update(update) if update.action == UpdateAction::GetRecord => {
                Some(RequestKind::Update)
            }
            _ => None,
        };
        assert_eq!(runs, kind, "{request:?}");
    }
    assert_eq!(server.active_len(), 4);
}

#[test]
fn one_request_more_than_the_limit_closes() {
    let (mut server, mut out) = (Server::new(), Vec::new());
    let mut next =
        |server: &mut Server, bytes: &[u8]| server.next(&mut &bytes[..], &mut out).map(|_| ());
    for number in 1..=REQUESTS_ACTIVE_MAX as u64 {
        assert_eq!(next(&mut server, &start(number, GetHashRange)), Ok(()));
    }
    let put = start(6000, Put { channel: "test", key: KEY, value: b"v" });
    assert_eq!(next(&mut server, &put), Err(CloseReason::TooManyRequests));
    assert_eq!(next(&mut server, &message(5000, &[1])), Ok(()), "it ends request 5000");
    assert_eq!(next(&mut server, &put), Ok(()));
    server.finish(id(17));
    assert_eq!(server.active_len(), REQUESTS_ACTIVE_MAX - 2);
    assert_eq!(next(&mut server, &start(17, mirror("test"))), Ok(()));
}

#[test]
fn any_message_ends_a_get_hash_range_without_a_word() {
    for payload in [&b""[..], &[1], &[1, 0], &[9; 100]] {
        let mut node = Node::new();
        receive(&mut node, &start(1, GetHashRange)).0.expect("legal");
        assert_eq!(receive(&mut node, &message(1, payload)), (Ok(()), vec![]));
        assert_eq!((node.abandoned.clone(), node.server.active_len()), (vec![id(1)], 0));
        let (outcome, sent) = receive(&mut node, &start(1, GetHashRange));
        assert_eq!((outcome, sent.len()), (Ok(()), 2), "the id is free again");
    }
}

#[test]
fn streams_close_on_unknown_messages_and_end_on_empty_ones() {
    for request in [Request::from(get_all("test")), mirror("test").into()] {
        let started = |node: &mut Node| {
            let answer = vec!["5 fd".to_owned(), "5 05".to_owned()];
            assert_eq!(receive(node, &start(5, request)), (Ok(()), answer));
        };
        for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
            let mut node = Node::new();
            started(&mut node);
            let reason = CloseReason::UnknownMessage { id: id(5), kind: kind.into() };
            assert_eq!(receive(&mut node, &message(5, &[kind])), (Err(reason), vec![]));
        }
        let mut node = Node::new();
        started(&mut node);
        assert_eq!(receive(&mut node, &message(5, &[])), (Ok(()), vec![]));
        assert_eq!(node.abandoned, [id(5)]);
        started(&mut node);
        assert_eq!(receive(&mut node, &message(5, &[1, 7, 7])), (Ok(()), vec!["5 04".to_owned()]));
        assert_eq!(
            receive(&mut node, &message(5, &[4])),
            (Err(CloseReason::EarlyAck(id(5))), vec![])
        );
    }
}

#[test]
fn a_control_message_behind_the_end_of_a_stream_closes() {
    let mut node = Node::new();
    receive(&mut node, &start(5, mirror("test"))).0.expect("legal");
    let (stop, late) = (message(5, &[Control::Stop as u8]), message(5, &[Control::Resume as u8]));
    let both = [stop, late.clone()].concat();
    let reason = CloseReason::StartTooShort(id(5));
    assert_eq!(receive(&mut node, &both), (Err(reason), vec!["5 04".to_owned()]));

    let mut node = Node::new();
    receive(&mut node, &start(5, get_all("test"))).0.expect("legal");
    let mut out = Vec::new();
    node.step(&mut out);
    assert_eq!(payloads(&out), ["5 070b000000000000000000000000000000110000", "5 08"]);
    for ignored in [Control::Suspend, Control::Resume, Control::Stop] {
        assert_eq!(receive(&mut node, &message(5, &[ignored as u8])), (Ok(()), vec![]));
    }
    let ack = message(5, &[Control::Ack as u8]);
    assert_eq!(receive(&mut node, &ack), (Ok(()), vec![]));
    assert_eq!(node.server.active_len(), 0);
    assert_eq!(receive(&mut node, &ack), (Err(reason), vec![]));
}

#[test]
fn a_stop_and_a_new_start_of_the_same_id_may_share_a_read() {
    let mut node = Node::new();
    receive(&mut node, &start(5, mirror("test"))).0.expect("legal");
    let both = [message(5, &[3]), start(5, GetChannels)].concat();
    let answer = ["5 04", "5 fd", "5 02040000000000000074657374", "5 03"].map(str::to_owned);
    assert_eq!(receive(&mut node, &both), (Ok(()), answer.to_vec()));
}

#[test]
fn an_update_closes_on_unknown_messages_and_ends_on_malformed_ones() {
    let update = Update { channel: "test", key: KEY, action: UpdateAction::GetRecord };
    let waiting = || {
        let mut node = Node::new();
        node.channel("test").insert(KEY, b"abc".to_vec());
        let answer = vec!["6 fd".to_owned(), "6 050300000000000000616263".to_owned()];
        assert_eq!(receive(&mut node, &start(6, update)), (Ok(()), answer));
        node
    };
    for kind in (0..=255).filter(|kind| !(2..=4).contains(kind)) {
        let reason = CloseReason::UnknownMessage { id: id(6), kind: kind.into() };
        assert_eq!(receive(&mut waiting(), &message(6, &[kind])), (Err(reason), vec![]));
    }
    let write = from_hex("02 4b574105 19a21fe7 0400000000000000 61626364");
    for len in 0..write.len() {
        let mut node = waiting();
        assert_eq!(receive(&mut node, &message(6, &write[..len])), (Ok(()), vec![]));
        assert_eq!((node.abandoned.clone(), node.server.active_len()), (vec![id(6)], 0));
    }
    let long = [&write[..], &[0]].concat();
    assert_eq!(receive(&mut waiting(), &message(6, &long)), (Ok(()), vec![]));
    let mut node = waiting();
    assert_eq!(receive(&mut node, &message(6, &write)), (Ok(()), vec!["6 06".to_owned()]));
    assert_eq!(node.channels["test"][&KEY], b"abcd");
    let late = receive(&mut node, &message(6, &[4]));
    assert_eq!(late, (Err(CloseReason::StartTooShort(id(6))), vec![]));
}

#[test]
fn an_update_that_starts_with_an_unknown_type_closes_only_within_the_range() {
    let start = start(6, Update { channel: "test", key: KEY, action: UpdateAction::Unknown(77) });
    let mut node = Node::new();
    node.range = HashRange::EMPTY;
    let answer = vec!["6 fd".to_owned(), "6 09".to_owned()];
    assert_eq!(receive(&mut node, &start), (Ok(()), answer));
    let reason = CloseReason::UnknownMessage { id: id(6), kind: 77 };
    assert_eq!(receive(&mut Node::new(), &start), (Err(reason), vec!["6 fd".to_owned()]));
}

#[test]
fn a_pipeline_is_looked_at_as_a_whole_and_borrows_from_the_read() {
    let values: Vec<[u8; 8]> = (0..64_u64).map(u64::to_le_bytes).collect();
    let mut read = Vec::new();
    for (value, number) in values.iter().zip(2..) {
        read.extend(start(number, Put { channel: "test", key: KEY, value }));
    }
    let (server, mut input) = (Server::new(), &read[..]);
    let requests: Vec<_> = std::iter::from_fn(|| server.look_ahead(&mut input)).collect();
    assert_eq!((requests.len(), input.len()), (64, 0));
    for ((_, request), expected) in requests.iter().zip(&values) {
        let Request::Put(put) = request else { panic!("{request:?}") };
        assert_eq!(put.value, expected);
        assert!(read.as_ptr_range().contains(&put.value.as_ptr()), "no copy");
    }
}

/// Ids and kinds agree whatever arrives, and nothing is ever kept beyond the limit.
#[test]
fn any_messages_are_answered_refused_or_close() {
    for_seeds(300, |rng| {
        let mut node = Node::new();
        for _ in 0..50 {
            let mut payload = match rng.below(4) {
                0 => rng.bytes(0..30),
                1 => start(1, *rng.pick(&on_channel("test")))[18..].to_vec(),
                2 => vec![*rng.pick(&[0, 1, 2, 3, 4])],
                _ => vec![*rng.pick(Command::ALL) as u8, 0],
            };
            if rng.one_in(8) && !payload.is_empty() {
                let at = rng.within(0..payload.len());
                payload[at] ^= 1 << rng.below(8);
            }
            let (outcome, _) = receive(&mut node, &message(1 + rng.below(4), &payload));
            if outcome.is_err() {
                return;
            }
            let mut out = Vec::new();
            node.step(&mut out);
            assert!(node.server.active_len() <= 4);
        }
    });
}

#[test]
fn any_bytes_end_in_an_error_or_a_request_for_more() {
    for_seeds(500, |rng| {
        let mut bytes: Vec<u8> = (1..4)
            .flat_map(|number| start(number, *rng.clone().pick(&on_channel("test"))))
            .collect();
        for _ in 0..rng.below(4) {
            let at = rng.within(0..bytes.len());
            bytes[at] = *rng.pick(&rng.clone().next().to_le_bytes());
        }
        let mut server = Server::new();
        let (mut input, mut out) = (&bytes[..], Vec::new());
        while let Ok(Some(event)) = server.next(&mut input, &mut out) {
            if let Event::Message { id, message: Message::Control(_) | Message::Update(_) } = event
            {
                assert!(server.active().any(|(active, _)| active == id));
            }
        }
        assert!(out.len() <= 3 * 38);
    });
}

#[test]
fn ids_are_any_64_bits_but_zero() {
    for number in [1, u64::MAX] {
        let mut node = Node::new();
        receive(&mut node, &start(number, GetHashRange)).0.expect("legal");
        assert!(node.server.active().eq([(id(number), RequestKind::GetHashRange)]));
    }
    assert_eq!(RequestId::new(0), None);
}
