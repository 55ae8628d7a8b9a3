//! The state machine against arguments of every length, cut at every byte.

use dht_testkit::for_seeds;

use super::*;
use crate::legacy::requests::{Get, GetChannels, Put, PutBatch, Remove};
use crate::wire::Writer;

const LIMITS: Limits = Limits { put_value_bytes_max: 100 };

/// What a server makes of `bytes` when they arrive in pieces; `Debug` text of each outcome.
fn outcomes(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Vec<String> {
    let mut server = Server::new(LIMITS);
    let (mut outcomes, mut pending, mut rest) = (Vec::new(), Vec::new(), bytes);
    loop {
        let mut input = &pending[..];
        let parsed = server.next(&mut input);
        let incomplete = parsed == Parsed::Incomplete;
        let closed = matches!(parsed, Parsed::Close(_));
        if !incomplete {
            outcomes.push(format!("{parsed:?}"));
        }
        let left = input.len();
        pending.drain(..pending.len() - left);
        if closed || incomplete && rest.is_empty() {
            return outcomes;
        }
        if incomplete {
            let (next, after) = rest.split_at(piece().clamp(1, rest.len()));
            pending.extend_from_slice(next);
            rest = after;
        }
    }
}

fn array(bytes: &mut Vec<u8>, content: &[u8]) {
    Writer::new(bytes).array(content);
}

#[test]
fn several_requests_cut_anywhere_are_read_alike() {
    let key = Key(0xdead);
    let mut bytes = Vec::new();
    for request in [
        Request::Put(Put { channel: "a", key, value: Value::Bytes(b"value") }),
        Request::GetChannels(GetChannels),
        Request::Get(Get { channel: "bc", key: key.into() }),
        Request::PutBatch(PutBatch { channel: "d", batch: &[7; 300] }),
        Request::Put(Put { channel: "e", key, value: Value::Bytes(&[9; 101]) }),
        Request::Remove(Remove { channel: "a b", key }),
        Request::Remove(Remove { channel: "a", key }),
    ] {
        request.encode(&mut Writer::new(&mut bytes));
    }
    let whole = outcomes(&bytes, || usize::MAX);
    assert_eq!(whole.len(), 7);
    assert!(whole[4].contains("TooLong(101)"), "{}", whole[4]);
    assert_eq!(whole[5], "Refused(Remove, BadChannelName)");
    assert_eq!(outcomes(&bytes, || 1), whole);
    for_seeds(50, |rng| {
        let mut rng = rng.clone();
        assert_eq!(outcomes(&bytes, || rng.within(1..40)), whole);
    });
}

#[test]
fn the_record_of_a_request_is_known_ahead_if_it_is_there() {
    let key = Key(0xdead);
    let encoded = |request: Request<'_>| {
        let mut bytes = Vec::new();
        request.encode(&mut Writer::new(&mut bytes));
        bytes
    };
    let mut server = Server::new(LIMITS);
    for request in [
        Request::Put(Put { channel: "ab", key, value: Value::Bytes(b"value") }),
        Request::Get(Get { channel: "ab", key: key.into() }),
        Request::Remove(Remove { channel: "ab", key }),
    ] {
        let bytes = encoded(request);
        assert_eq!(server.record_ahead(&bytes), Some(("ab", key)));
        // Code, two lengths, two characters, the key.
        for len in 0..4 + 8 + 2 + 8 + 16 {
            assert_eq!(server.record_ahead(&bytes[..len]), None, "{len} bytes");
        }
    }
    let batch = PutBatch { channel: "ab", batch: &[7; 30] };
    assert_eq!(server.record_ahead(&encoded(Request::GetChannels(GetChannels))), None);
    assert_eq!(server.record_ahead(&encoded(Request::PutBatch(batch))), None);
    // In the middle of a request the bytes mean something else.
    let bytes = encoded(Request::Remove(Remove { channel: "ab", key }));
    assert_eq!(server.next(&mut &bytes[..4]), Parsed::Incomplete);
    assert_eq!(server.record_ahead(&bytes), None);
}

#[test]
fn an_unknown_code_closes_and_needs_no_arguments() {
    for code in (0_u32..300).filter(|code| Command::from_code(*code).is_none()) {
        let expected = format!("Close(UnknownCommand({code}))");
        assert_eq!(outcomes(&code.to_le_bytes(), || 1), [expected]);
    }
}

#[test]
fn a_channel_name_of_any_length_is_read_before_it_is_refused() {
    for len in [0, 1, CHANNEL_NAME_BYTES_MAX, CHANNEL_NAME_BYTES_MAX + 1, ARRAY_BYTES_MAX] {
        let mut bytes = vec![22, 0, 0, 0];
        array(&mut bytes, &vec![b'c'; len]);
        bytes.extend_from_slice(&[17, 0, 0, 0]);
        let outcomes = outcomes(&bytes, || 4096);
        let accepted = (1..=CHANNEL_NAME_BYTES_MAX).contains(&len);
        assert_eq!(outcomes[0].starts_with("Request(RemoveChannel("), accepted, "{len}");
        assert_eq!(outcomes[0] == "Refused(RemoveChannel, BadChannelName)", !accepted, "{len}");
        assert_eq!(outcomes[1], "Request(GetChannels(GetChannels))");
    }
}

#[test]
fn an_array_over_ten_mebibytes_is_swallowed_and_then_closes() {
    let len = ARRAY_BYTES_MAX as u64 + 1;
    let mut channel = vec![22, 0, 0, 0];
    channel.extend_from_slice(&len.to_le_bytes());
    let mut filter = vec![31, 0, 0, 0];
    array(&mut filter, b"ch");
    filter.extend_from_slice(&len.to_le_bytes());
    for head in [channel, filter] {
        let mut server = Server::new(LIMITS);
        assert_eq!(server.next(&mut &head[..]), Parsed::Incomplete);
        let mut left = ARRAY_BYTES_MAX;
        while left > 0 {
            let piece = vec![b'x'; left.min(65_536)];
            let mut input = &piece[..];
            assert_eq!(server.next(&mut input), Parsed::Incomplete);
            assert!(input.is_empty(), "what is thrown away must not pile up");
            left -= piece.len();
        }
        let closed = Parsed::Close(CloseReason::ArrayTooLong(len));
        assert_eq!(server.next(&mut &b"x"[..]), closed);
    }
}

#[test]
fn an_absurd_length_is_swallowed_for_ever() {
    let mut server = Server::new(LIMITS);
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend_from_slice(&(1_u64 << 63).to_le_bytes());
    assert_eq!(server.next(&mut &bytes[..]), Parsed::Incomplete);
    for _ in 0..100 {
        let mut input = &[0; 65_536][..];
        assert_eq!(server.next(&mut input), Parsed::Incomplete);
        assert!(input.is_empty());
    }
}

#[test]
fn a_malformed_key_closes_writes_but_leaves_reads_to_the_node() {
    for text in [&b""[..], b"00000000000000g0", b"0x00000000000000", &[b'0'; 17], &[b'0'; 5000]] {
        for code in [1_u8, 7, 11, 12] {
            let mut bytes = vec![code, 0, 0, 0];
            array(&mut bytes, b"ch");
            array(&mut bytes, text);
            array(&mut bytes, b"v"); // Put's value; for the others an excess that is not reached.
            let outcome = &outcomes(&bytes, || 7)[0];
            let expected =
                if code == 7 || code == 11 { "Malformed(" } else { "Close(MalformedKey(" };
            assert!(outcome.contains(expected), "{code} {text:?}: {outcome}");
        }
    }
}

#[test]
fn a_bad_channel_name_wins_over_a_malformed_key() {
    let mut bytes = vec![12, 0, 0, 0];
    array(&mut bytes, b"no good");
    array(&mut bytes, b"no key");
    assert_eq!(outcomes(&bytes, || 3), ["Refused(Remove, BadChannelName)"]);
}

#[test]
fn any_bytes_are_read_alike_whole_and_in_pieces() {
    for_seeds(300, |rng| {
        let mut bytes = rng.bytes(0..200);
        if let Some(first) = bytes.first_chunk_mut() {
            *first = (*rng.pick(Command::ALL) as u32).to_le_bytes();
        }
        for at in (4..bytes.len()).filter(|at| at % 3 != 0) {
            bytes[at] = 0; // Lengths are mostly small.
        }
        assert_eq!(outcomes(&bytes, || 5), outcomes(&bytes, || usize::MAX));
    });
}
