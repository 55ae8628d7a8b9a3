//! What the original's client sent to the original's node, and what that answered.

use dht_client::blocking::neo::{Connection, Decision, UpdateOutcome};
use dht_types::{ChannelName, Key};

use super::peer::{Peer, Step, captured, greet};

/// Plays a captured session behind a greeting of our own, whole and in pieces; `act` must make just
/// the requests of the capture.
fn replay(file: &str, act: impl Fn(&mut Connection)) {
    for piece in [1, 7, usize::MAX] {
        let mut steps = captured(file, "neo#1", piece);
        steps.splice(..6, [Step::Do(greet)]);
        steps.push(Step::AwaitClose);
        let peer = Peer::once(steps);
        let mut node = peer.greeted();
        act(&mut node);
        drop(node);
        peer.finish();
    }
}

fn channel(name: &str) -> ChannelName {
    name.parse().expect("a channel name")
}

#[test]
fn put_and_get() {
    replay("01_Neo_Put_followed_by_neo_Get.txt", |node| {
        let channel = channel("test_channel");
        let records = [(12, b"doo"), (10, b"foo"), (11, b"bar")];
        for (key, value) in records {
            node.put(&channel, Key(key), value).expect("stored");
        }
        for (key, value) in records {
            let found = node.get(&channel, Key(key)).expect("read");
            assert_eq!(found.as_deref(), Some(&value[..]));
        }
        node.remove_channel(&channel).expect("removed");
    });
}

#[test]
fn remove() {
    replay("02_Neo_Put_followed_by_neo_Remove_and_neo_Get.txt", |node| {
        let channel = channel("test_channel");
        node.put(&channel, Key(0), b"test").expect("stored");
        assert!(node.remove(&channel, Key(0)).expect("removed"));
        assert_eq!(node.get(&channel, Key(0)).expect("read"), None);
        node.remove_channel(&channel).expect("removed");
    });
}

#[test]
fn update() {
    replay("11_Neo_Update.txt", |node| {
        let channel = channel("test_channel");
        node.put(&channel, Key(0), b"hello").expect("stored");
        let outcome = node.update(&channel, Key(0), |value| {
            assert_eq!(value, b"hello");
            Decision::Write(b"hello world".to_vec())
        });
        assert_eq!(outcome.expect("written"), UpdateOutcome::Done);
        let found = node.get(&channel, Key(0)).expect("read");
        assert_eq!(found.as_deref(), Some(&b"hello world"[..]));
        node.remove_channel(&channel).expect("removed");
    });
    replay("10_Neo_Update_on_an_empty_channel.txt", |node| {
        let channel = channel("test_channel");
        let outcome = node.update(&channel, Key(0), |_| panic!("there is no record"));
        assert_eq!(outcome.expect("asked"), UpdateOutcome::NoRecord);
        node.remove_channel(&channel).expect("removed");
    });
}

#[test]
fn get_channels() {
    replay("15_Neo_Puts_followed_by_neo_GetChannels.txt", |node| {
        let names = ["channel1", "channel2", "channel3", "channel4"];
        for name in names {
            node.put(&channel(name), Key(0), b"whatever").expect("stored");
        }
        assert_eq!(node.get_channels().expect("listed"), names);
        for name in names.into_iter().chain(["test_channel"]) {
            node.remove_channel(&channel(name)).expect("removed");
        }
    });
}
