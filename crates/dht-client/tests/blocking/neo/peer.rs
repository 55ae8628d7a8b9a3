//! What the tests of the neo client need beside the script: the greeting, and messages.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::SystemTime,
};

use dht_client::{ClientCredentials, blocking::neo::Connection};
use dht_protocol::neo::{
    Client, Payload, Request, RequestId, ServerHandshake, Supported,
    requests::{GetHashRange, ResponsibleRange},
};
use dht_types::{ChannelName, HashRange};

pub(crate) use crate::script::{Peer, Step, captured, patient};

/// The account of the original's tests.
pub(crate) fn admin() -> Arc<ClientCredentials> {
    Arc::new(ClientCredentials::new("admin", [0; 128]))
}

pub(crate) fn channel() -> ChannelName {
    "ch".parse().expect("a channel name")
}

impl Peer {
    /// A client that waits long enough for any machine, and has made the greeting.
    pub(crate) fn greeted(&self) -> Connection {
        Connection::connect(self.node.clone(), admin(), patient()).expect("the peer greets")
    }
}

/// The node's part of the greeting; the client must be `admin`.
pub(crate) fn greet(stream: &mut TcpStream) {
    let mut greeting = ServerHandshake::new([1, 2, 3, 4]);
    let (mut received, mut out, mut name) = (Vec::new(), Vec::new(), None);
    while name.is_none() {
        let mut bytes = [0; 100];
        let len = stream.read(&mut bytes).expect("the client sends");
        assert!(len > 0, "the client has left");
        received.extend_from_slice(&bytes[..len]);
        let mut input = &received[..];
        let key_of = |name: &str| (name == "admin").then_some(&[0; 128]);
        let judged = greeting.receive(&mut input, unix_time_s(), key_of, &mut out);
        received = input.to_vec();
        stream.write_all(&out).expect("the client is there");
        out.clear();
        match judged {
            Ok(accepted) => name = accepted,
            // The client has been told.
            Err(_) => return,
        }
    }
    assert_eq!(received, b"", "nothing is sent before the client is accepted");
}

#[expect(clippy::disallowed_methods, reason = "the client's clock is compared with it")]
fn unix_time_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// The greeting, and the GetHashRange with which a client begins; its id is 1.
pub(crate) fn opening(range: HashRange) -> Vec<Step> {
    let mut script = vec![Step::Do(greet)];
    script.extend(exchange(1, GetHashRange, &[&ResponsibleRange(range)]));
    script
}

/// The opening of a node that has everything.
pub(crate) fn whole() -> Vec<Step> {
    opening(HashRange::FULL)
}

/// A payload of any type.
pub(crate) trait Message {
    fn write_to(&self, id: RequestId, out: &mut Vec<u8>);
}

impl<T: for<'a> Payload<'a>> Message for T {
    fn write_to(&self, id: RequestId, out: &mut Vec<u8>) {
        self.write(id, out);
    }
}

/// A payload that borrows: its type has a lifetime, so it is wrapped.
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Message for Raw {
    fn write_to(&self, id: RequestId, out: &mut Vec<u8>) {
        dht_protocol::neo::frame::write_message(out, id, |w| w.bytes(&self.0));
    }
}

pub(crate) fn id(id: u64) -> RequestId {
    RequestId::new(id).expect("not 0")
}

/// The bytes of messages for a request.
pub(crate) fn messages(request: u64, messages: &[&dyn Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.write_to(id(request), &mut out));
    out
}

/// The first message of a client's request, whose id must be `request`.
pub(crate) fn first<'a>(request: u64, arguments: impl Into<Request<'a>>) -> Step {
    let (mut client, mut out) = (Client::new(), Vec::new());
    for _ in 1..request {
        client.start(GetHashRange, &mut out).expect("few");
    }
    out.clear();
    client.start(arguments, &mut out).expect("few");
    Step::Expect(out)
}

/// Expects a request, and answers `fd` and these messages.
pub(crate) fn exchange<'a>(
    request: u64,
    arguments: impl Into<Request<'a>>,
    answer: &[&dyn Message],
) -> Vec<Step> {
    let mut out = Vec::new();
    Supported::Yes.write(id(request), &mut out);
    out.extend(messages(request, answer));
    vec![first(request, arguments), Step::Answer(out, usize::MAX)]
}
