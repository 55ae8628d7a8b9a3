//! Every kind of error: what it says, whether the request may have been done, and whether it makes
//! sense, and does no harm, to make it again.

use std::{io, time::Duration};

use dht_client::{AuthenticationError, Error, ErrorKind, Fate, Key, RequestName};
use dht_protocol::{
    batch::BatchError,
    legacy::{self, Status},
    neo,
    wire::DecodeError,
};

/// What follows from a kind: fate, whether to try again, whether the connection is over.
type Row = (ErrorKind, Fate, bool, bool);

const YES: bool = true;
const NO: bool = false;
const SECOND: Duration = Duration::from_secs(1);

fn rows() -> Vec<Row> {
    use Fate::{NotDone, Unknown};
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let reason = || "reset".into();
    let damaged = neo::frame::FrameError::Parity;
    vec![
        (ErrorKind::Connect(refused()), NotDone, YES, YES),
        (ErrorKind::ConnectTimedOut(SECOND), NotDone, YES, YES),
        (ErrorKind::TimedOut(SECOND), Unknown, YES, YES),
        (ErrorKind::Closed, Unknown, YES, YES),
        (ErrorKind::Io(refused()), Unknown, YES, YES),
        (ErrorKind::Status(Status::WrongNode), NotDone, NO, NO),
        (ErrorKind::Status(Status::BadChannelName), NotDone, NO, NO),
        (ErrorKind::Status(Status::OutOfMemory), NotDone, YES, NO),
        (ErrorKind::Status(Status::Error), Unknown, NO, YES),
        (ErrorKind::Authentication(AuthenticationError::Rejected), NotDone, NO, YES),
        (ErrorKind::WrongNode, NotDone, NO, NO),
        (ErrorKind::NodeError, Unknown, NO, NO),
        (ErrorKind::NotPermitted, NotDone, NO, NO),
        (ErrorKind::Unsupported, NotDone, NO, NO),
        (ErrorKind::ValueTooBig(65_513), NotDone, NO, NO),
        (ErrorKind::NeoProtocol(damaged.into()), Unknown, NO, YES),
        (ErrorKind::Protocol(DecodeError::Malformed { field: "key" }), Unknown, NO, YES),
        (ErrorKind::Batch(BatchError::Record), Unknown, NO, YES),
        (ErrorKind::Unasked(1), Unknown, NO, YES),
        (ErrorKind::Version("19990401".to_owned()), NotDone, NO, NO),
        (ErrorKind::NoNode(Key(1)), NotDone, YES, NO),
        (ErrorKind::EmptyValue, NotDone, NO, NO),
        (ErrorKind::EmptyFilter, NotDone, NO, NO),
        (ErrorKind::NotConnected, NotDone, YES, NO),
        (ErrorKind::Disconnected { sent: true, reason: reason() }, Unknown, YES, YES),
        (ErrorKind::Disconnected { sent: false, reason: reason() }, NotDone, YES, YES),
        (ErrorKind::TooManyRequests(5000), NotDone, YES, NO),
        (ErrorKind::QueueFull(32_768), NotDone, YES, NO),
        (ErrorKind::Conflict(101), NotDone, YES, NO),
        (ErrorKind::Away(SECOND), Unknown, YES, NO),
        (ErrorKind::ShutDown, NotDone, NO, NO),
        (ErrorKind::Value("no list".into()), NotDone, NO, NO),
        (ErrorKind::NotInProtocol("legacy"), NotDone, NO, NO),
    ]
}

/// A number for each kind: a new one does not compile here until it has one, and a row above.
const fn number(kind: &ErrorKind) -> usize {
    match kind {
        ErrorKind::Connect(_) => 0,
        ErrorKind::ConnectTimedOut(_) => 1,
        ErrorKind::TimedOut(_) => 2,
        ErrorKind::Closed => 3,
        ErrorKind::Io(_) => 4,
        ErrorKind::Status(_) => 5,
        ErrorKind::Authentication(_) => 6,
        ErrorKind::WrongNode => 7,
        ErrorKind::NodeError => 8,
        ErrorKind::NotPermitted => 9,
        ErrorKind::Unsupported => 10,
        ErrorKind::ValueTooBig(_) => 11,
        ErrorKind::NeoProtocol(_) => 12,
        ErrorKind::Protocol(_) => 13,
        ErrorKind::Batch(_) => 14,
        ErrorKind::Unasked(_) => 15,
        ErrorKind::Version(_) => 16,
        ErrorKind::NoNode(_) => 17,
        ErrorKind::EmptyValue => 18,
        ErrorKind::EmptyFilter => 19,
        ErrorKind::NotConnected => 20,
        ErrorKind::Disconnected { .. } => 21,
        ErrorKind::TooManyRequests(_) => 22,
        ErrorKind::QueueFull(_) => 23,
        ErrorKind::Conflict(_) => 24,
        ErrorKind::Away(_) => 25,
        ErrorKind::ShutDown => 26,
        ErrorKind::Value(_) => 27,
        ErrorKind::NotInProtocol(_) => 28,
    }
}

const KINDS: usize = 29;

#[test]
fn every_kind_has_a_row() {
    let mut seen = [false; KINDS];
    rows().iter().for_each(|(kind, ..)| seen[number(kind)] = true);
    assert_eq!(seen, [true; KINDS]);
}

fn requests() -> impl Iterator<Item = Option<RequestName>> {
    let neo = neo::Command::ALL.iter().map(|command| Some(RequestName::Neo(*command)));
    let legacy = legacy::Command::ALL.iter().map(|command| Some(RequestName::Legacy(*command)));
    neo.chain(legacy).chain([None])
}

const WRITES: [&str; 5] = ["Put", "Remove", "RemoveChannel", "PutBatch", "Update"];

#[test]
fn whether_a_write_may_have_happened_and_may_be_repeated_follows_from_kind_and_request() {
    for request in requests() {
        let name = request.map_or("none", RequestName::name);
        for (kind, fate, again, fatal) in rows() {
            let node = Some("192.0.2.1:10100".parse().expect("an address"));
            let error = Error { node, request, kind };
            assert_eq!(error.fate(), fate, "{error}");
            let writes = WRITES.contains(&name);
            let may_have_written = writes && fate == Fate::Unknown;
            assert_eq!(error.may_have_written(), may_have_written, "{error}");
            // Only an Update is not the same twice as once.
            let harm = name == "Update" && may_have_written;
            assert_eq!(error.is_retry_safe(), again && !harm, "{error}");
            assert_eq!(error.kind.is_fatal(), fatal, "{error}");
        }
    }
}

#[test]
fn the_text_names_the_node_the_request_and_the_cause() {
    let texts = [
        "cannot connect: connection refused",
        "cannot connect within 1s",
        "no answer for 1s",
        "the node closed the connection",
        "the connection broke: connection refused",
        "refused: ",
        "the node rejects the client: unknown name, wrong key, or clocks too far apart",
        "refused: the node is not responsible for the key",
        "the node failed to do it",
        "refused: only the client named admin may do this",
        "the node does not support the request",
        "a value of 65513 bytes; at most 65512 can be put",
        "malformed answer: bad message header",
        "malformed answer: ",
        "malformed batch: ",
        "the node sent 1 bytes that nobody asked for",
        "the node has API version \"19990401\", this client \"20110401\"",
        "no responsible node for key 0000000000000001",
        "cannot put an empty value",
        "filter not set: it needs at least one byte",
        "not connected",
        "the connection was lost",
        "5000 requests run already",
        "request queue full: 32768 bytes wait for the node",
        "others changed the record 101 times meanwhile",
        "the node was away for 1s",
        "the client was shut down",
        "cannot convert the value: no list",
        "the legacy protocol has no such request",
    ];
    for (kind, ..) in rows() {
        let text = texts[number(&kind)];
        let node = Some("192.0.2.1:10100".parse().expect("an address"));
        let request = Some(RequestName::Neo(neo::Command::Get));
        let error = Error { node, request, kind };
        let expected = format!("node 192.0.2.1:10100: Get: {text}");
        assert!(error.to_string().starts_with(&expected), "{error}, not {expected}");
    }
    let lost = |sent| ErrorKind::Disconnected { sent, reason: "reset".into() }.to_string();
    assert_eq!(lost(true), "the connection was lost: reset");
    assert_eq!(lost(false), "the connection was lost before the request was sent: reset");
}
