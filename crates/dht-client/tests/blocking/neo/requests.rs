//! Requests with a single answer: refusals, and what is not even sent.

use dht_client::{
    Error, ErrorKind, RequestName,
    blocking::neo::{Connection, Decision, UpdateOutcome},
};
use dht_protocol::neo::{
    CLIENT_VALUE_BYTES_MAX, Command, Payload as _,
    requests::{
        Exists, ExistsReply, Get, GetStatus, NewValue, Put, PutReply, Remove, RemoveChannel,
        RemoveChannelReply, RemoveReply, Update, UpdateAction, UpdateMessage, fnv1a64,
    },
};
use dht_testkit::for_seeds;
use dht_types::Key;

use super::peer::{Message, Peer, Raw, Step, channel, exchange, greet, id, messages, whole};

const KEY: Key = Key(7);

/// Plays one exchange behind the opening, and has `ask` make the request.
fn ask<T>(
    script: Vec<Step>,
    ask: impl FnOnce(&mut Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    let peer = Peer::once([whole(), script].concat());
    let answer = ask(&mut peer.greeted());
    peer.finish();
    answer
}

#[test]
fn every_refusal_has_its_kind_and_keeps_the_connection() {
    let channel = channel();
    let (get, put) =
        (Get { channel: &channel, key: KEY }, Put { channel: &channel, key: KEY, value: b"v" });
    let script = [
        whole(),
        exchange(2, get, &[&GetStatus::WrongNode]),
        exchange(3, put, &[&PutReply::WrongNode]),
        exchange(4, Exists { channel: &channel, key: KEY }, &[&ExistsReply::Error]),
        exchange(5, Remove { channel: &channel, key: KEY }, &[&RemoveReply::WrongNode]),
        exchange(6, RemoveChannel { channel: &channel }, &[&RemoveChannelReply::NotPermitted]),
        exchange(7, put, &[&Raw(vec![99])]),
        exchange(8, Exists { channel: &channel, key: KEY }, &[&ExistsReply::NoRecord]),
    ];
    let peer = Peer::once(script.concat());
    let mut node = peer.greeted();
    let failed = |result: Result<(), Error>| {
        let error = result.expect_err("refused");
        assert_eq!(error.node.as_ref(), Some(&peer.node));
        (error.request, error.kind)
    };
    let (request, kind) = failed(node.get(&channel, KEY).map(drop));
    assert!(matches!(kind, ErrorKind::WrongNode));
    assert_eq!(request, Some(RequestName::Neo(Command::Get)));
    assert!(matches!(failed(node.put(&channel, KEY, b"v")).1, ErrorKind::WrongNode));
    assert!(matches!(failed(node.exists(&channel, KEY).map(drop)).1, ErrorKind::NodeError));
    assert!(matches!(failed(node.remove(&channel, KEY).map(drop)).1, ErrorKind::WrongNode));
    assert!(matches!(failed(node.remove_channel(&channel)).1, ErrorKind::NotPermitted));
    assert!(matches!(failed(node.put(&channel, KEY, b"v")).1, ErrorKind::NodeError));
    assert!(!node.exists(&channel, KEY).expect("over the same connection"));
    peer.finish();
}

#[test]
fn values_that_cannot_be_put_are_not_even_sent() {
    let peer = Peer::once([whole(), vec![Step::AwaitClose]].concat());
    let mut node = peer.greeted();
    let error = node.put(&channel(), KEY, b"").expect_err("empty");
    assert!(matches!(error.kind, ErrorKind::EmptyValue));
    let too_big = vec![0; CLIENT_VALUE_BYTES_MAX + 1];
    let error = node.put(&channel(), KEY, &too_big).expect_err("too big");
    assert!(matches!(error.kind, ErrorKind::ValueTooBig(65_513)), "{error}");
    drop(node);
    peer.finish();
    let channel = channel();
    let largest = Put { channel: &channel, key: KEY, value: &too_big[1..] };
    let stored =
        ask(exchange(2, largest, &[&PutReply::Put]), |node| node.put(&channel, KEY, &too_big[1..]));
    stored.expect("65,512 bytes are fine");
}

/// An Update whose record is `old`, up to the client's decision and the node's answer to that.
fn update(old: &[u8], decision: &UpdateMessage<'_>, result: u8) -> Vec<Step> {
    let channel = channel();
    let mut record = vec![5];
    record.extend_from_slice(&(old.len() as u64).to_le_bytes());
    record.extend_from_slice(old);
    let request = Update { channel: &channel, key: KEY, action: UpdateAction::GetRecord };
    let mut script = exchange(2, request, &[&Raw(record)]);
    let mut expected = Vec::new();
    decision.write(id(2), &mut expected);
    script.push(Step::Expect(expected));
    script.push(Step::Answer(messages(2, &[&Raw(vec![result])]), usize::MAX));
    script
}

#[test]
fn an_update_writes_removes_or_leaves() {
    let new = NewValue { original_hash: fnv1a64(b"old"), value: b"new" };
    let write = || UpdateMessage::UpdateRecord(new);
    for (message, result, decision, outcome) in [
        (write(), 6, Decision::Write(b"new".to_vec()), UpdateOutcome::Done),
        (write(), 8, Decision::Write(b"new".to_vec()), UpdateOutcome::Conflict),
        (UpdateMessage::RemoveRecord, 6, Decision::Remove, UpdateOutcome::Done),
        (UpdateMessage::LeaveRecord, 6, Decision::Leave, UpdateOutcome::Done),
    ] {
        let found = ask(update(b"old", &message, result), |node| {
            node.update(&channel(), KEY, |value| {
                assert_eq!(value, b"old");
                decision
            })
        });
        assert_eq!(found.expect("answered"), outcome, "{message:?}");
    }
}

#[test]
fn a_value_that_cannot_be_written_leaves_the_record() {
    for value in [Vec::new(), vec![0; CLIENT_VALUE_BYTES_MAX + 1]] {
        let is_empty = value.is_empty();
        let error = ask(update(b"old", &UpdateMessage::LeaveRecord, 6), |node| {
            node.update(&channel(), KEY, |_| Decision::Write(value))
        });
        let kind = error.expect_err("refused").kind;
        match is_empty {
            true => assert!(matches!(kind, ErrorKind::EmptyValue)),
            false => assert!(matches!(kind, ErrorKind::ValueTooBig(_))),
        }
    }
}

#[test]
fn an_answer_that_breaks_off_or_breaks_the_rules_ends_the_connection() {
    let channel = channel();
    let get = Get { channel: &channel, key: KEY };
    let value = Raw([&3_u64.to_le_bytes()[..], b"abc"].concat());
    let script = exchange(2, get, &[&GetStatus::Got, &value]);
    let [request, Step::Answer(answer, _)] = &script[..] else { panic!("an exchange") };
    for len in 0..answer.len() {
        let cut = Step::Answer(answer[..len].to_vec(), usize::MAX);
        let error = ask(vec![request.clone(), cut], |node| node.get(&channel, KEY));
        assert!(matches!(error.expect_err("cut").kind, ErrorKind::Closed), "{len} bytes");
    }
    let mut bad_parity = answer.clone();
    bad_parity[9] ^= 1;
    let longer = [answer.as_slice(), &answer[38..]].concat();
    let misplaced = messages(2, &[&Raw(vec![0xfd, 0])]);
    for bytes in [bad_parity, misplaced] {
        let error =
            ask(vec![request.clone(), Step::Answer(bytes, 5)], |node| node.get(&channel, KEY));
        assert!(matches!(error.expect_err("bad").kind, ErrorKind::NeoProtocol(_)));
    }
    let late = ask(vec![request.clone(), Step::Answer(longer, 5)], |node| node.get(&channel, KEY));
    assert_eq!(late.expect("what nobody waits for is dropped"), Some(b"abc".to_vec()));
}

#[test]
fn nonsense_never_panics() {
    type Ask = fn(&mut Connection) -> Result<(), Error>;
    let asks: [Ask; 8] = [
        |node| node.get(&channel(), KEY).map(drop),
        |node| node.put(&channel(), KEY, b"v"),
        |node| node.remove(&channel(), KEY).map(drop),
        |node| node.update(&channel(), KEY, |_| Decision::Remove).map(drop),
        |node| node.get_channels().map(drop),
        |node| node.get_all(&channel(), Default::default())?.try_for_each(|item| item.map(drop)),
        |node| {
            node.get_all_keys(&channel(), Default::default())?.try_for_each(|item| item.map(drop))
        },
        |node| node.mirror(&channel(), Default::default())?.try_for_each(|item| item.map(drop)),
    ];
    for_seeds(50, |rng| {
        for ask in asks {
            let mut answer = messages(2, &[&Raw(vec![0xfd])]);
            for _ in 0..rng.within(0..5) {
                let payload = match rng.below(3) {
                    0 => vec![*rng.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])],
                    1 => [&[*rng.pick(&[5, 7, 9])][..], &9_u64.to_le_bytes(), &rng.bytes(9..10)]
                        .concat(),
                    _ => rng.bytes(0..40),
                };
                Raw(payload).write_to(id(1 + rng.below(3)), &mut answer);
            }
            if rng.one_in(3) {
                answer.extend(rng.bytes(0..30));
            }
            let peer =
                Peer::once([whole(), vec![Step::Answer(answer, rng.within(1..100))]].concat());
            // Whatever comes of it: an end, or an error.
            let _ = ask(&mut peer.greeted());
            peer.finish();
        }
    });
    // The greeting too.
    for_seeds(50, |rng| {
        let peer = Peer::once(vec![Step::Do(greet), Step::Answer(rng.bytes(0..60), 7)]);
        let (node, credentials) = (peer.node.clone(), super::peer::admin());
        let connected = Connection::connect(node, credentials, super::peer::patient());
        assert!(connected.is_err(), "random bytes have no parity, or are too few");
        peer.finish();
    });
}
