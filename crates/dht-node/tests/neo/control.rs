//! Control messages of GetAll and Mirror, in every state. Source: spec `protocol-neo` 14.3.

use crate::support::{CHANNEL, Client, Node};
use crate::wire::{self, ACK, GetAll, Mirror, RESUME, STOP, SUPPORTED, SUSPEND};

/// A GetAll and a Mirror that wait, running or suspended.
fn waiting_streams() -> [(Vec<u8>, &'static str); 3] {
    let mirror = Mirror { channel: CHANNEL, ..Mirror::default() };
    [
        (GetAll { channel: CHANNEL, suspended: true, ..GetAll::default() }.encode(), "GetAll"),
        (Mirror { suspended: true, ..mirror }.encode(), "suspended Mirror"),
        (mirror.encode(), "Mirror"),
    ]
}

/// A node with a record, which keeps a suspended GetAll waiting.
fn node() -> Node {
    let node = Node::start();
    node.client().put(CHANNEL, 1, b"value");
    node
}

#[test]
fn a_message_that_nobody_may_send_now_closes_the_connection() {
    let node = node();
    for (request, name) in waiting_streams() {
        for payload in [ACK, &[0], &[5], &[7, 1, 2], &[255]] {
            let mut client = node.client();
            let id = client.start_stream(&request);
            client.send(id, payload);
            let more = client.peer.receive_to_end();
            assert!(more.is_empty(), "{name} {payload:02x?}: {more:02x?}");
        }
    }
}

#[test]
fn an_empty_message_ends_the_request_without_a_word() {
    let node = node();
    let mut client = node.client();
    for (request, _) in waiting_streams() {
        let id = client.start_stream(&request);
        client.send(id, b"");
        client.assert_silent(id);
        client.put(CHANNEL, 2, b"nobody mirrors it");
        client.assert_silent(id);
        client.send(id, &wire::exists(CHANNEL, 1));
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![1]));
    }
}

#[test]
fn each_control_message_is_acknowledged_once_whatever_the_state() {
    let node = node();
    let mut client = node.client();
    for (request, _) in waiting_streams() {
        let id = client.start_stream(&request);
        for control in [SUSPEND, SUSPEND, &[1, 9, 9]] {
            client.control(id, control);
            client.assert_silent(id);
        }
        client.send(id, STOP);
        assert_eq!(client.receive(id), ACK);
        client.assert_silent(id);
    }
    let id = client.start_stream(&waiting_streams()[2].0);
    for control in [RESUME, RESUME, SUSPEND, RESUME] {
        client.control(id, control);
    }
    client.put(CHANNEL, 3, b"value");
    assert_eq!(client.receive(id)[0], 7, "it runs");
}

/// A message behind the end starts a request, and this one is no start.
fn assert_ended(client: &mut Client, id: u64) {
    client.send(id, RESUME);
    client.assert_closed();
}

#[test]
fn a_stopped_request_knows_no_more_messages() {
    let node = node();
    for (request, _) in waiting_streams() {
        let mut client = node.client();
        let id = client.start_stream(&request);
        client.control(id, STOP);
        assert_ended(&mut client, id);
    }
}

#[test]
fn behind_the_end_everything_but_the_ack_is_ignored() {
    let node = node();
    for is_mirror in [false, true] {
        let (mut admin, mut client) = (node.admin(), node.client());
        let id = if is_mirror {
            let id = client.start_stream(&Mirror { channel: "gone", ..Mirror::default() }.encode());
            admin.remove_channel("gone");
            assert_eq!(client.receive(id), [10], "ChannelRemoved");
            id
        } else {
            let request = GetAll { channel: CHANNEL, ..GetAll::default() };
            let id = client.start_stream(&request.encode());
            assert_eq!(client.receive(id)[0], 7);
            assert_eq!(client.receive(id), [8], "Finished");
            id
        };
        // They were under way when the end was told.
        for control in [SUSPEND, RESUME, STOP, SUSPEND] {
            client.send(id, control);
            client.assert_silent(id);
        }
        client.send(id, ACK);
        client.assert_silent(id);
        assert_ended(&mut client, id);
    }
}

#[test]
fn an_end_that_is_never_acknowledged_goes_with_the_connection() {
    let node = node();
    for _ in 0..3 {
        let mut client = node.client();
        let request = GetAll { channel: CHANNEL, ..GetAll::default() }.encode();
        let ids: Vec<u64> = (0..100).map(|_| client.start_stream(&request)).collect();
        for id in ids {
            assert_eq!((client.receive(id)[0], client.receive(id)), (7, vec![8]));
        }
    }
    node.client().settle();
}
