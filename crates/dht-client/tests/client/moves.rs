//! Keys that have two nodes, as while data moves: who is asked, in which order, and what is told
//! if one of them fails. Source: spec `client` B.3.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use dht_client::{Channel, Client, ErrorKind, Fate, Limits, Removed, Updated};
use dht_protocol::neo::{
    Payload as _,
    requests::{
        Exists, ExistsReply, GetStatus, HashRangeUpdate, NewValue, PutReply, Remove, RemoveReply,
        Update, UpdateAction, UpdateMessage, fnv1a64,
    },
};
use dht_types::{HashRange, Key};

use super::{
    peer::{Raw, exchange, first, id, messages, opening, whole},
    script::{Peer, Step},
    scripted::{
        AsRaw as _, KEY, LIMIT, client_of, finish, get, got, limits, of, put, record, until, within,
    },
};

const EXISTS: Exists<'static> = Exists { channel: "ch", key: KEY };
const REMOVE: Remove<'static> = Remove { channel: "ch", key: KEY };

fn update(action: UpdateAction<'_>) -> Update<'_> {
    Update { channel: "ch", key: KEY, action }
}

/// A client of two nodes that both say they have all keys: the one that was learnt last is newest.
struct Pair {
    older: Peer,
    newest: Peer,
    client: Client,
    channel: Channel,
}

impl Pair {
    async fn of(older: Vec<Step>, newest: Vec<Step>, limits: Limits) -> Self {
        let older = Peer::once([whole(), older].concat());
        let newest = Peer::once([whole(), newest].concat());
        let (client, channel) = client_of(&[&older], limits).await;
        assert!(client.add_node(newest.node.clone()));
        client.nodes_ready(2, LIMIT).await.expect("both greet");
        assert_eq!(client.node_of(KEY), Some(newest.node.clone()));
        Self { older, newest, client, channel }
    }

    /// Every node was asked just what its script says.
    async fn finish(self) {
        let Self { older, newest, client, channel } = self;
        client.shut_down();
        drop((client, channel));
        finish(older).await;
        finish(newest).await;
    }

    /// The same, once the older node has heard all that its script has.
    async fn finish_older_first(self) {
        let Self { older, newest, client, channel } = self;
        finish(older).await;
        client.shut_down();
        drop((client, channel));
        finish(newest).await;
    }
}

fn then_close(script: Vec<Step>) -> Vec<Step> {
    [script, vec![Step::AwaitClose]].concat()
}

#[tokio::test]
async fn reads_go_from_the_newest_node_to_the_oldest_until_one_has_the_record() {
    let value = got(b"abc");
    let older = [
        exchange(2, get(), &[&value[0], &value[1]]),
        exchange(3, EXISTS, &[&ExistsReply::RecordExists]),
        exchange(4, get(), &[&GetStatus::NoRecord]),
    ];
    let newest = [
        exchange(2, get(), &[&GetStatus::NoRecord]),
        exchange(3, EXISTS, &[&ExistsReply::NoRecord]),
        exchange(4, get(), &[&GetStatus::NoRecord]),
        // What it has nobody else is asked for, nor if it cannot answer.
        exchange(5, get(), &[&value[0], &value[1]]),
        exchange(6, EXISTS, &[&ExistsReply::RecordExists]),
        exchange(7, get(), &[&GetStatus::Error]),
    ];
    let pair = Pair::of(then_close(older.concat()), then_close(newest.concat()), limits()).await;
    let channel = &pair.channel;
    assert_eq!(within(channel.get(KEY)).await.expect("an answer").expect("found"), "abc");
    assert!(within(channel.exists(KEY)).await.expect("an answer"));
    assert_eq!(within(channel.get(KEY)).await.expect("an answer"), None);
    assert_eq!(within(channel.get(KEY)).await.expect("an answer").expect("found"), "abc");
    assert!(within(channel.exists(KEY)).await.expect("an answer"));
    let error = within(channel.get(KEY)).await.expect_err("it failed");
    assert!(matches!(error.kind, ErrorKind::NodeError), "{error}");
    pair.finish().await;
}

/// Waits until the client has seen that the newest node is gone.
async fn newest_gone(pair: &Pair) {
    until("the newest node to be gone", || pair.client.stats().nodes_connected <= 1).await;
}

#[tokio::test]
async fn reads_pass_over_a_node_that_is_away_and_say_so_if_no_other_has_the_record() {
    let value = got(b"abc");
    let older = [
        exchange(2, get(), &[&GetStatus::NoRecord]),
        exchange(3, get(), &[&value[0], &value[1]]),
        exchange(4, get(), &[&GetStatus::NoRecord]),
        exchange(5, update(UpdateAction::GetRecord), &[&Raw(vec![7])]),
    ];
    let newest = exchange(2, get(), &[&GetStatus::NoRecord]);
    let pair = Pair::of(then_close(older.concat()), newest, limits()).await;
    let channel = &pair.channel;
    assert_eq!(within(channel.get(KEY)).await.expect("an answer"), None);
    newest_gone(&pair).await;
    assert_eq!(within(channel.get(KEY)).await.expect("an answer").expect("found"), "abc");
    let error = within(channel.get(KEY)).await.expect_err("it may be at the other one");
    assert!(matches!(error.kind, ErrorKind::NotConnected), "{error}");
    assert_eq!(error.node.as_ref(), Some(&pair.newest.node));
    // Not "no record": the original's client says that.
    let error = within(channel.update(KEY, |_| "x".to_owned())).await.expect_err("likewise");
    assert!(matches!(error.kind, ErrorKind::NotConnected), "{error}");
    assert_eq!(error.fate(), Fate::NotDone);
    // Writes do not pass over it; a removal does not even begin.
    for error in [
        within(channel.put(KEY, "v")).await.expect_err("away"),
        within(channel.remove(KEY)).await.expect_err("away"),
    ] {
        assert!(matches!(error.kind, ErrorKind::NotConnected), "{error}");
        assert_eq!(error.node.as_ref(), Some(&pair.newest.node));
        assert!(error.is_retry_safe() && !error.may_have_written());
    }
    pair.finish().await;
}

#[tokio::test]
async fn a_put_goes_to_the_newest_node_alone() {
    let newest = then_close(exchange(2, put(), &[&PutReply::Put]));
    let pair = Pair::of(vec![Step::AwaitClose], newest, limits()).await;
    within(pair.channel.put(KEY, "v")).await.expect("an answer");
    pair.finish().await;
}

#[tokio::test]
async fn a_removal_reaches_all_nodes_the_oldest_first_and_is_one_if_any_had_the_record() {
    use RemoveReply::{Error, NoRecord, Removed as Had};
    let removes = |replies: &[RemoveReply]| {
        let exchanges = replies.iter().zip(2..);
        then_close(exchanges.flat_map(|(reply, at)| exchange(at, REMOVE, &[reply])).collect())
    };
    let older = removes(&[Had, NoRecord, NoRecord, Error, Had]);
    let newest = removes(&[NoRecord, Had, NoRecord, Error]);
    let pair = Pair::of(older, newest, limits()).await;
    let channel = &pair.channel;
    for removed in [Removed::Yes, Removed::Yes, Removed::No] {
        assert_eq!(within(channel.remove(KEY)).await.expect("an answer"), removed);
    }
    let error = within(channel.remove(KEY)).await.expect_err("it failed");
    assert_eq!(error.node.as_ref(), Some(&pair.older.node), "the newest was not asked");
    let error = within(channel.remove(KEY)).await.expect_err("it failed");
    assert_eq!(error.node.as_ref(), Some(&pair.newest.node));
    assert!(error.may_have_written());
    pair.finish().await;
}

/// The newest hangs up as soon as the older one has removed the record.
#[tokio::test]
async fn a_removal_that_was_half_done_may_have_written() {
    let older = then_close(exchange(2, REMOVE, &[&RemoveReply::Removed]));
    let pair = Pair::of(older, vec![first(2, REMOVE)], limits()).await;
    let error = within(pair.channel.remove(KEY)).await.expect_err("the newest is gone");
    assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
    assert!(error.may_have_written() && error.is_retry_safe());
    pair.finish().await;
}

#[tokio::test]
async fn an_update_of_the_newest_asks_no_further_node() {
    let new = NewValue { original_hash: fnv1a64(b"abc"), value: b"abcd" };
    let newest = [
        exchange(2, update(UpdateAction::GetRecord), &[&record(b"abc")]),
        vec![
            Step::Expect(messages(2, &[&UpdateMessage::UpdateRecord(new).raw()])),
            Step::Answer(messages(2, &[&Raw(vec![6])]), usize::MAX),
        ],
    ];
    let pair = Pair::of(vec![Step::AwaitClose], then_close(newest.concat()), limits()).await;
    let updated = within(pair.channel.update(KEY, |value| [value, &b"d"[..]].concat())).await;
    assert_eq!(updated.expect("an answer"), Updated::Written);
    pair.finish().await;
}

/// The scripts of an update that reads from the older node: its part after the read, and the
/// newest's answer to the write.
fn moving(older: Vec<Step>, newest: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
    let new = NewValue { original_hash: fnv1a64(b"abc"), value: b"abcd" };
    let read = exchange(2, update(UpdateAction::GetRecord), &[&record(b"abc")]);
    let none = exchange(2, update(UpdateAction::GetRecord), &[&Raw(vec![7])]);
    let write = vec![first(3, update(UpdateAction::UpdateRecord(new)))];
    ([read, older].concat(), [none, write, newest].concat())
}

fn leaves() -> Vec<Step> {
    vec![
        Step::Expect(messages(2, &[&UpdateMessage::LeaveRecord.raw()])),
        Step::Answer(messages(2, &[&Raw(vec![6])]), usize::MAX),
    ]
}

#[tokio::test]
async fn an_update_that_the_newest_refuses_leaves_the_record_where_it_is() {
    for (code, update_retries_max) in [(8, 0), (10, 0)] {
        let (older, newest) = moving(leaves(), vec![of(3, &[&Raw(vec![code])]), Step::AwaitClose]);
        let pair = Pair::of(older, newest, Limits { update_retries_max, ..limits() }).await;
        let error = within(pair.channel.update(KEY, |value| [value, &b"d"[..]].concat())).await;
        let error = error.expect_err("refused");
        match code {
            8 => assert!(matches!(error.kind, ErrorKind::Conflict(1)), "{error}"),
            _ => assert!(matches!(error.kind, ErrorKind::NodeError), "{error}"),
        }
        assert_eq!(error.may_have_written(), code == 10, "{error}");
        pair.finish_older_first().await;
    }
}

#[tokio::test]
async fn an_update_whose_newest_node_is_silent_ends_in_time() {
    static WRITE_SEEN: AtomicBool = AtomicBool::new(false);
    let seen = Step::Do(|_| WRITE_SEEN.store(true, SeqCst));
    let (older, newest) = moving(leaves(), vec![seen, Step::AwaitClose]);
    let pair = Pair::of(older, newest, limits()).await;
    let channel = pair.channel.clone();
    let update = async move { channel.update(KEY, |value| [value, &b"d"[..]].concat()).await };
    let update = tokio::spawn(update);
    until("the write to be seen", || WRITE_SEEN.load(SeqCst)).await;
    // From now on only this clock brings it to its end.
    tokio::time::pause();
    tokio::time::advance(LIMIT).await;
    let error = update.await.expect("no panic").expect_err("no answer");
    tokio::time::resume();
    assert!(matches!(error.kind, ErrorKind::TimedOut(_)), "{error}");
    assert_eq!(error.node.as_ref(), Some(&pair.newest.node));
    assert!(error.may_have_written() && !error.is_retry_safe());
    pair.finish_older_first().await;
}

/// The older node hangs up instead of removing what is at the newest by then.
#[tokio::test]
async fn an_update_that_was_half_done_may_have_written() {
    let older = vec![Step::Expect(messages(2, &[&UpdateMessage::RemoveRecord.raw()]))];
    let (older, newest) = moving(older, vec![of(3, &[&Raw(vec![6])]), Step::AwaitClose]);
    let pair = Pair::of(older, newest, limits()).await;
    let error = within(pair.channel.update(KEY, |value| [value, &b"d"[..]].concat())).await;
    let error = error.expect_err("the older node is gone");
    assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
    assert_eq!(error.node.as_ref(), Some(&pair.older.node));
    assert!(error.may_have_written() && !error.is_retry_safe());
    pair.finish().await;
}

#[tokio::test]
async fn a_key_in_a_gap_has_no_node_until_one_tells_of_it() {
    let half = HashRange::new(0, (1 << 63) - 1).expect("a range");
    let all = {
        let mut out = Vec::new();
        HashRangeUpdate::ChangeHashRange(HashRange::FULL).write(id(1), &mut out);
        out
    };
    let peer = Peer::once(
        [
            opening(half),
            exchange(2, Exists { channel: "ch", key: Key(2) }, &[&ExistsReply::RecordExists]),
            vec![Step::Answer(all, usize::MAX)],
            exchange(3, put(), &[&PutReply::Put]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&peer], limits()).await;
    // Its lowest bit says that it lies above the middle.
    for error in [
        channel.get(KEY).await.expect_err("no node"),
        channel.put(KEY, "v").await.expect_err("no node"),
        channel.remove(KEY).await.expect_err("no node"),
        channel.update(KEY, |_| "x".to_owned()).await.expect_err("no node"),
    ] {
        assert!(matches!(error.kind, ErrorKind::NoNode(KEY)), "{error}");
        assert!(error.node.is_none() && error.request.is_some());
        assert!(error.is_retry_safe() && !error.may_have_written());
    }
    assert_eq!(client.check_ranges().warnings.len(), 1, "{}", client.check_ranges());
    assert!(within(channel.exists(2)).await.expect("an answer"));
    until("all ranges to be known", || client.check_ranges().is_complete()).await;
    within(channel.put(KEY, "v")).await.expect("it has all keys now");
    drop((client, channel));
    finish(peer).await;
}
