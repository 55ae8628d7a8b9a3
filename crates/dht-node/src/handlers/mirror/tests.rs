//! What a client that does as it is told ends with.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use dht_protocol::neo::batch::{decompress, next_refreshed};
use dht_protocol::neo::client::{Client, Reply};
use dht_protocol::neo::credentials::Credentials;
use dht_protocol::neo::requests::{Mirror, MirrorMessage};
use dht_protocol::neo::{RequestId, Supported};
use dht_protocol::wire::Reader;
use dht_storage::{Notify, Store, StoreOptions};
use dht_testkit::for_seeds;
use dht_types::{HashRange, Key};

use super::{MirrorStream, NeoStream, Step, neo};
use crate::admission::CountQueries;
use crate::context::Context;
use crate::counters::Counters;
use crate::mailbox::Mailbox;
use crate::moves::{Journal, Moves};
use crate::persist::Dumps;
use crate::ranges::Ranges;
use crate::session::OUTPUT_BYTES_HIGH;
use crate::shared::{ConnectionCount, Settings, Shared};

const CHANNEL: &str = "mirrored";

#[expect(clippy::disallowed_methods, reason = "a context needs a clock")]
fn now() -> Instant {
    Instant::now()
}

fn context() -> Context {
    let settings = Settings {
        address: Ipv4Addr::LOCALHOST.to_string(),
        port: 0,
        neo_port: 0,
        data_dir: PathBuf::new(),
        batch_bytes_max: 65_535,
        bytes_max: 0,
        driver: crate::driver::DriverKind::Epoll,
        listen_flush_period: std::time::Duration::from_millis(1),
        neo_auth_timeout: std::time::Duration::from_secs(1),
        channel_base_bytes: 0,
        redist_memory_limit_multiplier: 1.1,
        times_requests: false,
        slow_request: None,
        hot_key_sample: 0,
    };
    let shared = Shared {
        dumps: Dumps::new(std::time::Duration::from_secs(600)),
        keeper: None,
        store: Store::new(StoreOptions { shard_bits: 4, seed: 7 }),
        ranges: Ranges::new(HashRange::FULL, Vec::new(), None, None),
        moves: Moves::new(Journal::default(), now),
        streams: Arc::default(),
        slow_requests: Arc::default(),
        settings,
        legacy_connections: ConnectionCount::new(0),
        neo_connections: ConnectionCount::new(0),
        count_queries: CountQueries::default(),
        credentials: RwLock::new(Arc::new(Credentials::default())),
    };
    let poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
    let mailbox = Arc::new(Mailbox::new(waker));
    Context::new(Arc::new(shared), Arc::new(Counters::default()), mailbox, None, now, || 0)
}

/// A Mirror and its client, with nothing in between.
struct Pair {
    cx: Context,
    stream: Box<MirrorStream>,
    client: Client,
    id: RequestId,
    out: Vec<u8>,
    known: BTreeMap<Key, Vec<u8>>,
}

impl Pair {
    fn new(mut cx: Context) -> Self {
        let mut client = Client::new();
        let request = Mirror {
            start_suspended: false,
            channel: CHANNEL,
            initial_refresh: true,
            periodic_refresh_s: 0,
        };
        let id = client.start(request, &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        Supported::Yes.write(id, &mut out);
        let Some(NeoStream::Mirror(stream)) = neo(&mut cx, id, &request, &mut out) else {
            panic!("a Mirror goes on");
        };
        Self { cx, stream, client, id, out, known: BTreeMap::new() }
    }

    /// One step of the node, and the client hears of it. `false`: the node has nothing to do.
    fn step(&mut self) -> bool {
        let step = self.stream.step(&mut self.cx, self.id, &mut self.out);
        assert!(self.out.len() < 3 * OUTPUT_BYTES_HIGH);
        self.listen();
        matches!(step, Step::More)
    }

    fn listen(&mut self) {
        let bytes = std::mem::take(&mut self.out);
        let mut rest = &bytes[..];
        while let Some(event) = self.client.next(&mut rest, &mut Vec::new()).unwrap() {
            match event.reply {
                Reply::Mirror(MirrorMessage::RecordChanged(key, value)) => {
                    self.known.insert(key, value.to_vec());
                }
                Reply::Mirror(MirrorMessage::RecordDeleted(key)) => {
                    self.known.remove(&key);
                }
                Reply::Mirror(MirrorMessage::RecordRefreshBatch(batch)) => {
                    let mut records = Vec::new();
                    decompress(batch, &mut records).unwrap();
                    let mut r = Reader::new(&records);
                    while let Some(record) = next_refreshed(&mut r) {
                        let (key, value) = record.unwrap();
                        self.known.insert(key, value.to_vec());
                    }
                }
                Reply::Mirror(MirrorMessage::Started | MirrorMessage::UpdateOverflow) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(rest.is_empty());
    }

    fn contents(&mut self) -> BTreeMap<Key, Vec<u8>> {
        let channel = self.cx.channel(CHANNEL).unwrap();
        let keys = (0..KEYS).map(Key);
        keys.filter_map(|key| Some((key, channel.get(key, <[u8]>::to_vec)?))).collect()
    }
}

const KEYS: u64 = 20_000;

/// Values are short, or empty: a step of the refresh ends before its batch is full.
#[test]
fn a_refresh_does_not_undo_what_changes_while_it_is_under_way() {
    for_seeds(10, |rng| {
        let mut cx = context();
        for key in 0..KEYS {
            cx.put(CHANNEL, Key(key), b"", Notify::Always).unwrap();
        }
        let mut pair = Pair::new(cx);
        for _ in 0..20 {
            pair.step();
            let channel = pair.cx.channel(CHANNEL).unwrap();
            for _ in 0..rng.below(200) {
                let key = Key(rng.below(KEYS));
                if rng.one_in(2) {
                    channel.remove(key, Notify::IfPresent);
                } else {
                    channel.put(key, &rng.bytes(0..3), Notify::Always).unwrap();
                }
            }
        }
        while pair.step() {}
        let contents = pair.contents();
        assert!(pair.known == contents);
    });
}
