//! The client sends what the original's client sent, and understands what the original's node said.
//!
//! The greeting is played anew, as its nonce and time differ. A legacy client has its connections
//! made in another order than the original's; what goes over them is the same.

use dht_client::{Change, Channel, Client, Key, MirrorEvent, Removed, Updated};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{
    peer::greet,
    script::{Peer, Step, captured},
    scripted::{client_of, finish, limits, within},
};

/// Answers in pieces of at most so many bytes.
const PIECES: [usize; 3] = [1, 7, usize::MAX];

/// Plays what the neo client did, behind a greeting; `act` must make just the same requests.
async fn replay(file: &str, act: impl AsyncFn(&Client)) {
    for piece in PIECES {
        let mut steps = captured(file, "neo#1", piece);
        steps.splice(..6, [Step::Do(greet)]);
        steps.push(Step::AwaitClose);
        let peer = Peer::once(steps);
        let (client, _) = client_of(&[&peer], limits()).await;
        within(act(&client)).await;
        drop(client);
        finish(peer).await;
    }
}

fn channel(client: &Client, name: &str) -> Channel {
    client.channel(name).expect("a channel name")
}

#[tokio::test]
async fn neo_put_get_and_remove_channel() {
    replay("01_Neo_Put_followed_by_neo_Get.txt", async |client| {
        let channel = channel(client, "test_channel");
        let records = [(12_u64, "doo"), (10, "foo"), (11, "bar")];
        for (key, value) in records {
            channel.put(key, value).await.expect("stored");
        }
        for (key, value) in records {
            assert_eq!(channel.get(key).await.expect("read").expect("a record"), value);
        }
        channel.remove_channel().await.expect("removed");
    })
    .await;
    replay("03_Neo_Get_for_non_existent_entry.txt", async |client| {
        let channel = channel(client, "test_channel");
        assert_eq!(channel.get(10).await.expect("read"), None);
        channel.remove_channel().await.expect("removed");
    })
    .await;
}

#[tokio::test]
async fn neo_remove() {
    replay("02_Neo_Put_followed_by_neo_Remove_and_neo_Get.txt", async |client| {
        let channel = channel(client, "test_channel");
        channel.put(0, "test").await.expect("stored");
        assert_eq!(channel.remove(0).await.expect("answered"), Removed::Yes);
        assert_eq!(channel.get(0).await.expect("read"), None);
        channel.remove_channel().await.expect("removed");
    })
    .await;
}

#[tokio::test]
async fn neo_update() {
    replay("11_Neo_Update.txt", async |client| {
        let channel = channel(client, "test_channel");
        channel.put(0, "hello").await.expect("stored");
        let updated = channel.update(0, |value| [value, &b" world"[..]].concat()).await;
        assert_eq!(updated.expect("written"), Updated::Written);
        assert_eq!(channel.get(0).await.expect("read").expect("a record"), "hello world");
        channel.remove_channel().await.expect("removed");
    })
    .await;
    replay("10_Neo_Update_on_an_empty_channel.txt", async |client| {
        let channel = channel(client, "test_channel");
        let updated = channel.update(0, |_| -> Change { panic!("there is no record") }).await;
        assert_eq!(updated.expect("answered"), Updated::NoRecord);
        channel.remove_channel().await.expect("removed");
    })
    .await;
}

#[tokio::test]
async fn neo_get_channels() {
    replay("15_Neo_Puts_followed_by_neo_GetChannels.txt", async |client| {
        let names = ["channel1", "channel2", "channel3", "channel4"];
        for name in names {
            channel(client, name).put(0, "whatever").await.expect("stored");
        }
        assert_eq!(client.channels().await.expect("listed"), names);
        for name in names.into_iter().chain(["test_channel"]) {
            channel(client, name).remove_channel().await.expect("removed");
        }
    })
    .await;
}

#[tokio::test]
async fn neo_remove_channel_takes_the_records() {
    replay("13_Neo_Put_then_RemoveChannel.txt", async |client| {
        let channel = channel(client, "test_channel");
        channel.put(0, "hi").await.expect("stored");
        assert_eq!(channel.get(0).await.expect("read").expect("a record"), "hi");
        channel.remove_channel().await.expect("removed");
        assert_eq!(channel.get(0).await.expect("read"), None);
        channel.remove_channel().await.expect("removed");
    })
    .await;
}

/// The example program of the original: another client name.
#[tokio::test]
async fn the_sessions_of_the_originals_example_program() {
    replay("util_neotest_put.txt", async |client| {
        channel(client, "test").put(0, "hello").await.expect("stored");
    })
    .await;
    replay("util_neotest_get.txt", async |client| {
        let value = channel(client, "test").get(0).await.expect("read");
        assert_eq!(value.expect("a record"), "hello");
    })
    .await;
    replay("util_neotest_update.txt", async |client| {
        let updated = channel(client, "test").update(0, |value| [value, &b"X"[..]].concat()).await;
        assert_eq!(updated.expect("written"), Updated::Written);
    })
    .await;
}

fn handshake(file: &str, piece: usize) -> Vec<Step> {
    let both = ["legacy#1", "legacy#2"].map(|connection| captured(file, connection, piece));
    both.map(|steps| steps[..2].to_vec()).concat()
}

/// What the original's node said on all connections of a legacy capture, in order: the handshake,
/// and the single requests behind it, over one connection; each stream over its own.
fn legacy_scripts(file: &str, piece: usize) -> Vec<Vec<Step>> {
    let mut scripts = vec![handshake(file, piece)];
    let [mut first, mut second] = ["legacy#1", "legacy#2"]
        .map(|connection| captured(file, connection, piece).into_iter().skip(2));
    // The original's client takes its connections in turn.
    while let Some(request) = first.next() {
        let mut exchange = vec![request, first.next().expect("an answer")];
        let Step::Expect(bytes) = &exchange[0] else { panic!("a request") };
        if bytes[0] == GET_ALL {
            scripts.extend([exchange, Vec::new()]);
        } else {
            scripts.last_mut().expect("the first one").append(&mut exchange);
        }
        std::mem::swap(&mut first, &mut second);
    }
    scripts.last_mut().expect("the first one").push(Step::AwaitClose);
    scripts
}

const GET_ALL: u8 = 0x1d;

async fn replay_legacy(scripts: Vec<Vec<Step>>, name: &str, act: impl AsyncFn(&Channel)) {
    let peer = Peer::start(scripts);
    let client = Client::builder().node(peer.node.to_string()).limits(limits()).connect().await;
    let client = client.expect("the original's node passes the handshake");
    let channel = channel(&client, name);
    within(act(&channel)).await;
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn legacy_put_get_and_remove_channel() {
    for piece in PIECES {
        let scripts = legacy_scripts("04_Put_followed_by_Get.txt", piece);
        replay_legacy(scripts, "test_channel", async |channel| {
            let records = [(12_u64, "doo"), (10, "foo"), (11, "bar")];
            for (key, value) in records {
                channel.put(key, value).await.expect("stored");
            }
            for (key, value) in records {
                assert_eq!(channel.get(key).await.expect("read").expect("a record"), value);
            }
            channel.remove_channel().await.expect("removed");
        })
        .await;
        let scripts = legacy_scripts("05_Get_for_non_existent_entry.txt", piece);
        replay_legacy(scripts, "test_channel", async |channel| {
            assert_eq!(channel.get(10).await.expect("read"), None);
            channel.remove_channel().await.expect("removed");
        })
        .await;
    }
}

#[tokio::test]
async fn legacy_get_all() {
    for piece in PIECES {
        let scripts = legacy_scripts("06_GetAll_for_predefined_data.txt", piece);
        replay_legacy(scripts, "test_channel", async |channel| {
            let records = [(0_u64, "record 0"), (1, "record 1"), (2, "record 2")];
            for at in [0, 2, 1] {
                let (key, value) = records[at];
                channel.put(key, value).await.expect("stored");
            }
            let found: Vec<_> = channel.get_all().try_collect().await.expect("all");
            assert_eq!(found, records.map(|(key, value)| (Key(key), value.into())));
            channel.remove_channel().await.expect("removed");
        })
        .await;
        let scripts = legacy_scripts("07_Removing_channel.txt", piece);
        replay_legacy(scripts, "test_channel", async |channel| {
            channel.put(1, "1").await.expect("stored");
            channel.remove_channel().await.expect("removed");
            let found: Vec<_> = channel.get_all().try_collect().await.expect("all");
            assert_eq!(found, []);
            channel.remove_channel().await.expect("removed");
        })
        .await;
    }
}

#[tokio::test]
async fn legacy_listen() {
    let listens = [
        ("08_Listen_stops_after_removing_channel.txt", (Key(0), "whatever")),
        ("09_Listen_gets_activated_by_Put.txt", (Key(5), "value")),
    ];
    for (file, second) in listens {
        for piece in PIECES {
            let listen = captured(file, "legacy#1", piece)[2..].to_vec();
            replay_legacy(vec![handshake(file, piece), listen], "test_channel", async |channel| {
                let mut changes = channel.listen();
                let mut found = Vec::new();
                while let Some(event) = changes.next().await {
                    match event {
                        MirrorEvent::Started | MirrorEvent::ChannelRemoved(_) => {}
                        MirrorEvent::Updated(key, value) => found.push((key, value)),
                        other => panic!("{other:?}"),
                    }
                }
                let expected = [(Key(0xdead), "dummy_value"), second];
                assert_eq!(found, expected.map(|(key, value)| (key, value.into())));
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_sessions_of_the_originals_benchmark() {
    for piece in PIECES {
        let script = |file| vec![captured(file, "legacy#1", piece)];
        replay_legacy(script("util_dhtperf_put.txt"), "perf", async |channel| {
            for key in 0..5_u64 {
                channel.put(key, [0xff; 32]).await.expect("stored");
            }
        })
        .await;
        replay_legacy(script("util_dhtperf_exists.txt"), "perf", async |channel| {
            for key in 0..5_u64 {
                assert!(channel.exists(key).await.expect("answered"));
            }
        })
        .await;
        replay_legacy(script("util_dhtperf_get.txt"), "perf", async |channel| {
            for key in 0..5_u64 {
                let value = channel.get(key).await.expect("read").expect("a record");
                assert_eq!(value, vec![0xff; 32]);
            }
        })
        .await;
    }
}
