//! What tests with a peer that plays a script have in common.

use std::{future::Future, task::Poll, time::Duration};

use dht_client::{Channel, Client, Key, Limits};
use dht_protocol::neo::{
    Payload as _, Supported,
    requests::{Get, GetStatus, GotValue, Put, UpdateMessage},
};
use dht_test::TestNode;
use dht_types::HashRange;

use super::{
    peer::{Message, Raw, exchange, greet, id, messages},
    script::{Peer, Step},
};

pub(crate) const KEY: Key = Key(7);
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn limits() -> Limits {
    Limits { request_timeout: Some(LIMIT), connect_timeout: Some(LIMIT), ..Limits::default() }
}

pub(crate) async fn client_of(peers: &[&Peer], limits: Limits) -> (Client, Channel) {
    let client = Client::builder()
        .nodes(peers.iter().map(|peer| peer.node.to_string()))
        .credentials(TestNode::credentials())
        .limits(limits)
        .build()
        .expect("addresses");
    client.nodes_ready(peers.len(), LIMIT).await.expect("the peers greet");
    let channel = client.channel("ch").expect("a name");
    (client, channel)
}

pub(crate) fn get() -> Get<'static> {
    Get { channel: "ch", key: KEY }
}

pub(crate) fn put() -> Put<'static> {
    Put { channel: "ch", key: KEY, value: b"v" }
}

pub(crate) fn got(value: &[u8]) -> Vec<Raw> {
    let (mut status, mut body) = (Vec::new(), Vec::new());
    GetStatus::Got.encode(&mut dht_protocol::wire::Writer::new(&mut status));
    GotValue(value).encode(&mut dht_protocol::wire::Writer::new(&mut body));
    vec![Raw(status), Raw(body)]
}

pub(crate) fn of(request: u64, answer: &[&dyn Message]) -> Step {
    let mut out = Vec::new();
    Supported::Yes.write(id(request), &mut out);
    out.extend(messages(request, answer));
    Step::Answer(out, usize::MAX)
}

/// Waits for the peer's thread without holding up the client's task.
pub(crate) async fn finish(peer: Peer) {
    tokio::task::spawn_blocking(move || peer.finish()).await.expect("the script is played");
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("no test waits for ever")
}

/// Polls a future once.
pub(crate) async fn is_waiting<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// The opening of a later connection of the same client.
pub(crate) fn opening_at(request: u64) -> Vec<Step> {
    let mut script = vec![Step::Do(greet)];
    let range = dht_protocol::neo::requests::ResponsibleRange(HashRange::FULL);
    script.extend(exchange(request, dht_protocol::neo::requests::GetHashRange, &[&range]));
    script
}

pub(crate) fn record(value: &[u8]) -> Raw {
    let mut body = vec![5];
    body.extend((value.len() as u64).to_le_bytes());
    body.extend(value);
    Raw(body)
}

/// A message as bytes, for the lists of messages here.
pub(crate) trait AsRaw {
    fn raw(&self) -> Raw;
}

impl AsRaw for UpdateMessage<'_> {
    fn raw(&self) -> Raw {
        let mut body = Vec::new();
        self.encode(&mut dht_protocol::wire::Writer::new(&mut body));
        Raw(body)
    }
}

/// Waits until a condition holds; no test waits for ever.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited half a minute for {what}");
}
