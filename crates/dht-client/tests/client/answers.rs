//! What a node may answer to each request, and what the application is told. Source: spec `client`
//! B.2.

use std::time::Duration;

use dht_client::{Change, Channel, Client, Error, ErrorKind, Fate, Limits, RequestName, Updated};
use dht_protocol::neo::{
    Command, Request, Supported,
    requests::{
        Exists, ExistsReply, GetChannels, NewValue, Remove, RemoveChannel, RemoveChannelReply,
        Update, UpdateAction, UpdateMessage, fnv1a64,
    },
};
use dht_test::{TestCluster, TestNode};
use futures_util::future::{BoxFuture, FutureExt as _};

use super::{
    peer::{Raw, exchange, first, id, messages, whole},
    script::{Peer, Step},
    scripted::{
        AsRaw as _, KEY, client_of, finish, get, limits, of, opening_at, put, record, within,
    },
};

/// A request with one answer, and the bytes with which a node refuses it.
struct Kind {
    request: Request<'static>,
    ask: for<'a> fn(&'a Channel) -> BoxFuture<'a, Result<(), Error>>,
    wrong_node: Option<u8>,
    error: u8,
}

const UPDATE: Update<'static> = Update { channel: "ch", key: KEY, action: UpdateAction::GetRecord };

/// Those for a key first.
fn kinds() -> [Kind; 7] {
    [
        Kind {
            request: get().into(),
            ask: |channel| async { channel.get(KEY).await.map(drop) }.boxed(),
            wrong_node: Some(3),
            error: 4,
        },
        Kind {
            request: put().into(),
            ask: |channel| async { channel.put(KEY, "v").await }.boxed(),
            wrong_node: Some(2),
            error: 3,
        },
        Kind {
            request: Exists { channel: "ch", key: KEY }.into(),
            ask: |channel| async { channel.exists(KEY).await.map(drop) }.boxed(),
            wrong_node: Some(3),
            error: 4,
        },
        Kind {
            request: Remove { channel: "ch", key: KEY }.into(),
            ask: |channel| async { channel.remove(KEY).await.map(drop) }.boxed(),
            wrong_node: Some(3),
            error: 4,
        },
        Kind {
            request: UPDATE.into(),
            ask: |channel| {
                async { channel.update(KEY, |_| Change::Remove).await.map(drop) }.boxed()
            },
            wrong_node: Some(9),
            error: 10,
        },
        Kind {
            request: RemoveChannel { channel: "ch" }.into(),
            ask: |channel| async { channel.remove_channel().await }.boxed(),
            wrong_node: None,
            error: 3,
        },
        Kind {
            request: GetChannels.into(),
            ask: |channel| async { channel.client().channels().await.map(drop) }.boxed(),
            wrong_node: None,
            error: 1,
        },
    ]
}

fn unsupported(request: u64, supported: Supported) -> Step {
    let mut out = Vec::new();
    supported.write(id(request), &mut out);
    Step::Answer(out, usize::MAX)
}

const CANNOT: [Supported; 3] = [Supported::No, Supported::NotThisVersion, Supported::Other(7)];

#[tokio::test]
async fn every_refusal_has_its_kind_names_node_and_request_and_keeps_the_connection() {
    for Kind { request, ask, wrong_node, error } in kinds() {
        let mut script = whole();
        let mut at = 2;
        let codes: Vec<u8> = wrong_node.into_iter().chain([error]).collect();
        for code in &codes {
            script.extend([first(at, request), of(at, &[&Raw(vec![*code])])]);
            at += 1;
        }
        for supported in CANNOT {
            script.extend([first(at, request), unsupported(at, supported)]);
            at += 1;
        }
        let exists = Exists { channel: "ch", key: KEY };
        script.extend(exchange(at, exists, &[&ExistsReply::RecordExists]));
        let peer = Peer::once([script, vec![Step::AwaitClose]].concat());
        let (client, channel) = client_of(&[&peer], limits()).await;
        let command = request.command();
        let failure = async || {
            let error = within(ask(&channel)).await.expect_err("refused");
            assert_eq!(error.node.as_ref(), Some(&peer.node), "{error}");
            assert_eq!(error.request, Some(RequestName::Neo(command)));
            assert!(!error.is_retry_safe(), "{error}");
            assert!(error.to_string().contains(command.name()), "{error}");
            error
        };
        if wrong_node.is_some() {
            let error = failure().await;
            assert!(matches!(error.kind, ErrorKind::WrongNode), "{error}");
            assert_eq!(error.fate(), Fate::NotDone);
        }
        let error = failure().await;
        assert!(matches!(error.kind, ErrorKind::NodeError), "{error}");
        let writes = !matches!(command, Command::Get | Command::Exists | Command::GetChannels);
        assert_eq!((error.fate(), error.may_have_written()), (Fate::Unknown, writes), "{error}");
        for _ in CANNOT {
            let error = failure().await;
            assert!(matches!(error.kind, ErrorKind::Unsupported), "{error}");
            assert_eq!(error.fate(), Fate::NotDone);
        }
        assert!(within(channel.exists(KEY)).await.expect("over the same connection"));
        assert_eq!(client.stats().connects, 1);
        drop((client, channel));
        finish(peer).await;
    }
}

#[tokio::test]
async fn an_answer_of_which_half_came_is_a_lost_connection() {
    let answers = [vec![2], vec![1], vec![1], vec![2], vec![5, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]];
    for (Kind { request, ask, .. }, answer) in kinds().into_iter().zip(answers) {
        let Step::Answer(whole_answer, _) = of(2, &[&Raw(answer)]) else { panic!("an answer") };
        for len in (0..whole_answer.len()).step_by(9) {
            let cut = Step::Answer(whole_answer[..len].to_vec(), usize::MAX);
            let peer = Peer::once([whole(), vec![first(2, request), cut]].concat());
            let (client, channel) = client_of(&[&peer], limits()).await;
            let error = within(ask(&channel)).await.expect_err("cut off");
            assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
            assert_eq!(error.node.as_ref(), Some(&peer.node));
            assert_eq!(error.request, Some(RequestName::Neo(request.command())));
            let update = request.command() == Command::Update;
            assert_eq!(error.is_retry_safe(), !update, "sent twice is no harm, but for an Update");
            client.shut_down();
            finish(peer).await;
        }
    }
}

fn name_message(name: &str) -> Raw {
    let mut body = vec![2];
    body.extend((name.len() as u64).to_le_bytes());
    body.extend(name.bytes());
    Raw(body)
}

#[tokio::test]
async fn requests_to_all_nodes_are_made_again_where_the_connection_was_lost() {
    let (a, b) = (name_message("a"), name_message("b"));
    let finished = Raw(vec![3]);
    let peer = Peer::start(vec![
        [whole(), vec![first(2, GetChannels), of(2, &[&a])]].concat(),
        [
            opening_at(3),
            exchange(4, GetChannels, &[&a, &b, &finished]),
            vec![first(5, RemoveChannel { channel: "ch" })],
        ]
        .concat(),
        [
            opening_at(6),
            exchange(7, RemoveChannel { channel: "ch" }, &[&RemoveChannelReply::ChannelRemoved]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    ]);
    let (client, channel) = client_of(&[&peer], limits()).await;
    let names = within(client.channels_by_node()).await.all().expect("the second time");
    assert_eq!(names, [["a", "b"]], "nothing is left of the first time");
    within(channel.remove_channel()).await.expect("the second time");
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn requests_to_all_nodes_tell_what_became_of_each() {
    let remove = RemoveChannel { channel: "ch" };
    let replies = [RemoveChannelReply::NotPermitted, RemoveChannelReply::ChannelRemoved];
    let peers = replies.map(|reply| {
        Peer::once([whole(), exchange(2, remove, &[&reply]), vec![Step::AwaitClose]].concat())
    });
    let (client, channel) = client_of(&[&peers[0], &peers[1]], limits()).await;
    let outcomes = within(client.remove_channel(channel.name())).await;
    let nodes: Vec<_> = outcomes.nodes().iter().map(|(node, _)| node).collect();
    assert_eq!(nodes, [&peers[0].node, &peers[1].node]);
    assert_eq!(outcomes.answers().count(), 1);
    let errors: Vec<_> = outcomes.errors().collect();
    let [Error { node, kind: ErrorKind::NotPermitted, .. }] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(node.as_ref(), Some(&peers[0].node));
    drop((client, channel));
    for peer in peers {
        finish(peer).await;
    }
}

#[tokio::test]
async fn a_node_that_is_away_has_its_outcome_and_the_others_theirs() {
    let cluster = TestCluster::start(2);
    let [first, second] = cluster.nodes() else { panic!("two nodes") };
    let key = (0..).find(|key| std::ptr::eq(cluster.node_of(*key), first)).expect("half of them");
    first.put("here", key, "v");
    let limit = Duration::from_millis(100);
    let neo = Client::builder()
        .nodes([first.neo_address(), second.neo_address()])
        .credentials(TestNode::credentials());
    let legacy = Client::builder().nodes([first.legacy_address(), second.legacy_address()]);
    for builder in [neo, legacy] {
        second.come_back();
        let limits = Limits { request_timeout: Some(limit), ..Limits::default() };
        let client = builder.limits(limits).connect().await.expect("both are there");
        second.lose();
        // The first may need more than the limit now and then.
        let outcomes = loop {
            let outcomes = client.channels_by_node().await;
            if outcomes.answers().count() == 1 {
                break outcomes;
            }
        };
        assert_eq!(outcomes.nodes()[0].1.as_ref().expect("it is there"), &["here"]);
        let error = outcomes.nodes()[1].1.as_ref().expect_err("it is away");
        assert!(error.is_retry_safe() && !error.may_have_written(), "{error}");
        assert_eq!(error.node.as_ref(), Some(&outcomes.nodes()[1].0));
        assert!(client.channels().await.is_err(), "not all is known");
    }
}

fn decided(request: u64, message: &UpdateMessage<'_>, result: u8) -> [Step; 2] {
    [
        Step::Expect(messages(request, &[&message.raw()])),
        Step::Answer(messages(request, &[&Raw(vec![result])]), usize::MAX),
    ]
}

#[tokio::test]
async fn every_way_through_an_update_comes_to_its_end() {
    let new = || NewValue { original_hash: fnv1a64(b"old"), value: b"new" };
    let old = || of_record(2);
    fn of_record(at: u64) -> [Step; 2] {
        [first(at, UPDATE), of(at, &[&record(b"old")])]
    }
    type Outcome = fn(Result<Updated, Error>) -> bool;
    let write = || Change::from("new".to_owned());
    let ways: [(Vec<Step>, Change, Outcome); 7] = [
        (vec![first(2, UPDATE), of(2, &[&Raw(vec![7])])], write(), |result| {
            matches!(result, Ok(Updated::NoRecord))
        }),
        ([old(), decided(2, &UpdateMessage::UpdateRecord(new()), 6)].concat(), write(), |result| {
            matches!(result, Ok(Updated::Written))
        }),
        ([old(), decided(2, &UpdateMessage::RemoveRecord, 6)].concat(), Change::Remove, |result| {
            matches!(result, Ok(Updated::Removed))
        }),
        ([old(), decided(2, &UpdateMessage::LeaveRecord, 6)].concat(), Change::Keep, |result| {
            matches!(result, Ok(Updated::Kept))
        }),
        // An empty value is no record: it is left as it is.
        (
            [old(), decided(2, &UpdateMessage::LeaveRecord, 6)].concat(),
            Change::from(Vec::new()),
            |result| matches!(result, Err(Error { kind: ErrorKind::EmptyValue, .. })),
        ),
        (
            [old(), decided(2, &UpdateMessage::UpdateRecord(new()), 10)].concat(),
            write(),
            |result| {
                let error = result.expect_err("it failed");
                matches!(error.kind, ErrorKind::NodeError) && error.may_have_written()
            },
        ),
        // Three conflicts are as many as the limits below allow.
        (
            [2, 3, 4]
                .map(|at| {
                    [of_record(at), decided(at, &UpdateMessage::UpdateRecord(new()), 8)].concat()
                })
                .concat(),
            write(),
            |result| {
                let error = result.expect_err("others were faster");
                matches!(error.kind, ErrorKind::Conflict(3))
                    && error.is_retry_safe()
                    && !error.may_have_written()
            },
        ),
    ];
    for (number, (script, change, holds)) in ways.into_iter().enumerate() {
        let peer = Peer::once([whole(), script].concat());
        let limits = Limits { update_retries_max: 2, ..limits() };
        let (client, channel) = client_of(&[&peer], limits).await;
        let updated = within(channel.update(KEY, |value| {
            assert_eq!(value, "old");
            change.clone()
        }))
        .await;
        assert!(holds(updated), "way {number}");
        // A record that is not wanted is let go behind our back: the peer waits for that.
        finish(peer).await;
        drop((client, channel));
    }
}
