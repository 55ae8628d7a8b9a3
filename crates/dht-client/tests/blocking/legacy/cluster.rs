//! Several nodes: the handshake, and who is asked for which key.

use dht_client::{
    ErrorKind,
    blocking::{ClusterError, Warning, legacy::Cluster},
    ranges::RangeWarning,
};
use dht_protocol::legacy::requests::{
    GetChannelSize, GetNumConnections, GetResponsibleRange, GetSize, GetVersion,
};
use dht_test::TestCluster;
use dht_testkit::{from_hex, to_hex};
use dht_types::{ChannelName, HashRange, Key};

use super::peer::{Peer, Step, exchange, patient};

fn handshake(range: HashRange) -> Vec<Step> {
    let limits = [range.min(), range.max()].map(|limit| to_hex(&limit.to_le_bytes())).concat();
    [
        exchange("18000000", "c8000000 0800000000000000 3230313130343031"),
        exchange("14000000", &format!("c8000000 {limits}")),
    ]
    .concat()
}

fn range(min: u64, max: u64) -> HashRange {
    HashRange::new(min, max).expect("a range")
}

#[test]
fn a_key_goes_to_the_node_whose_range_has_its_bits_reversed() {
    let half = 1 << 63;
    let exists = |key: &str| format!("0b000000 0200000000000000 6368 1000000000000000 {key}");
    let lower = [
        handshake(range(0, half - 1)),
        exchange(&exists("30303030303030303030303030303032"), "c8000000 01").to_vec(),
        exchange("13000000", "99010000").to_vec(),
    ];
    let upper = [
        handshake(range(half, u64::MAX)),
        exchange(&exists("30303030303030303030303030303031"), "c8000000 00").to_vec(),
        exchange("13000000", "c8000000 0100000000000000 30 0100 0900000000000000 0800000000000000")
            .to_vec(),
    ];
    let peers = [Peer::once(lower.concat()), Peer::once(upper.concat())];
    let nodes = peers.each_ref().map(|peer| peer.node.clone());
    let mut cluster = Cluster::connect(&nodes, patient()).expect("both are there");
    assert!(cluster.warnings().is_empty());
    let channel = "ch".parse().expect("a channel name");
    assert!(cluster.exists(&channel, Key(2)).expect("answered"));
    assert!(!cluster.exists(&channel, Key(1)).expect("answered"));
    let sizes = cluster.call_all(&GetSize);
    assert_eq!([&sizes[0].0, &sizes[1].0], [&nodes[0], &nodes[1]]);
    assert!(sizes[0].1.is_err(), "the refusal of one node is its own");
    assert_eq!(sizes[1].1.as_ref().expect("answered").records, 9);
    peers.into_iter().for_each(Peer::finish);
}

#[test]
fn a_node_that_fails_is_left_out_with_a_warning() {
    let old = exchange("18000000", "c8000000 0800000000000000 3139393930343031").to_vec();
    let peers = [Peer::once(old), Peer::once(handshake(range(0, 9)))];
    let nodes = peers.each_ref().map(|peer| peer.node.clone());
    let mut cluster = Cluster::connect(&nodes, patient()).expect("one is there");
    let [Warning::Failed(failed), Warning::Ranges(gap)] = cluster.warnings() else {
        panic!("{:?}", cluster.warnings());
    };
    assert_eq!(failed.node.as_ref(), Some(&nodes[0]));
    assert!(matches!(&failed.kind, ErrorKind::Version(version) if version == "19990401"));
    assert_eq!(gap, &RangeWarning::GapAbove { node: nodes[1].clone(), above: 9 });
    assert_eq!(cluster.nodes().len(), 1);
    let error = cluster.node_for(Key(1)).map(drop).expect_err("its hash is above 9");
    assert!(matches!(error.kind, ErrorKind::NoNode(Key(1))));
    peers.into_iter().for_each(Peer::finish);
}

#[test]
fn no_node_at_all_is_an_error_and_so_is_one_given_twice() {
    assert!(matches!(Cluster::connect(&[], patient()), Err(ClusterError::NoNodes)));
    let peer = Peer::once(vec![Step::Expect(from_hex("18000000"))]);
    let twice = [peer.node.clone(), peer.node.clone()];
    assert!(matches!(Cluster::connect(&twice, patient()), Err(ClusterError::Duplicate(_))));
    let Err(ClusterError::Failed(errors)) = Cluster::connect(&twice[..1], patient()) else {
        panic!("the peer answers nothing");
    };
    assert!(matches!(errors[..], [dht_client::Error { kind: ErrorKind::Closed, .. }]));
    peer.finish();
}

#[test]
fn nodes_tell_their_versions_ranges_sizes_and_connections() {
    let nodes = TestCluster::start(2);
    let key = (0..).find(|key| std::ptr::eq(nodes.node_of(*key), &nodes.nodes()[1]));
    nodes.nodes()[1].put("ch", key.expect("half of them"), "value");
    let addresses: Vec<_> = nodes
        .nodes()
        .iter()
        .map(|node| node.legacy_address().parse().expect("an address"))
        .collect();
    let mut cluster = Cluster::connect(&addresses, patient()).expect("both are there");
    let channel: ChannelName = "ch".parse().expect("a channel name");
    for (node, version) in cluster.call_all(&GetVersion) {
        assert_eq!(version.expect("answered"), "20110401", "{node}");
    }
    for ((_, range), node) in cluster.call_all(&GetResponsibleRange).into_iter().zip(nodes.nodes())
    {
        assert_eq!(range.expect("answered"), node.hash_range());
    }
    let sizes = cluster.call_all(&GetSize).into_iter().map(|(_, size)| size.expect("answered"));
    assert_eq!(sizes.map(|size| size.records).collect::<Vec<_>>(), [0, 1]);
    let sizes = cluster.call_all(&GetChannelSize { channel: &channel });
    let sizes = sizes.into_iter().map(|(_, size)| size.expect("answered"));
    assert_eq!(sizes.map(|size| size.records).collect::<Vec<_>>(), [0, 1]);
    for (node, connections) in cluster.call_all(&GetNumConnections) {
        // Ours, and on the second node that of the helper which has put the record.
        assert!(connections.expect("answered").connections >= 1, "{node}");
    }
}
