//! Mirror of a channel that is removed: the client always hears of it. Source: spec `protocol-neo`
//! 14.3, 14.5.

use dht_testkit::legacy;

use crate::mirror::{CHANGES, REFRESH, Told, told};
use crate::support::{CHANNEL, Client, Node, records, workers};
use crate::wire::{ACK, Mirror, RESUME, STOP, SUSPEND};

/// ChannelRemoved has to come next, and nothing behind it.
#[track_caller]
fn assert_removed(client: &mut Client, id: u64) {
    assert_eq!(told(client, id), Told::ChannelRemoved);
    client.assert_silent(id);
    client.send(id, ACK);
    client.assert_silent(id);
}

#[test]
fn a_mirror_that_runs_hears_of_it_and_not_of_each_record() {
    let node = Node::with(&workers(2));
    let mut admin = node.admin();
    let mut clients: Vec<Client> = (0..4).map(|_| node.client()).collect();
    admin.put_all(CHANNEL, &records(100, 10));
    let ids: Vec<u64> =
        clients.iter_mut().map(|client| client.start_stream(&CHANGES.encode())).collect();
    let own = admin.start_stream(&CHANGES.encode());
    admin.remove_channel(CHANNEL);
    for (client, id) in clients.iter_mut().zip(ids) {
        assert_removed(client, id);
    }
    assert_removed(&mut admin, own);
}

#[test]
fn a_mirror_that_is_suspended_hears_of_it_when_it_resumes() {
    let node = Node::start();
    let (mut client, mut admin) = (node.client(), node.admin());
    for suspended_from_start in [false, true] {
        let mirror = Mirror { suspended: suspended_from_start, ..REFRESH };
        let id = client.start_stream(&mirror.encode());
        client.control(id, SUSPEND);
        admin.put_all(CHANNEL, &records(100, 10));
        admin.remove_channel(CHANNEL);
        client.assert_silent(id);
        client.control(id, RESUME);
        // What was queued is not told any more: it all is gone.
        assert_removed(&mut client, id);
    }
}

#[test]
fn a_mirror_that_is_suspended_with_nothing_to_send_hears_of_it_at_once() {
    let node = Node::start();
    let (mut client, mut admin) = (node.client(), node.admin());
    for mirror in [CHANGES, REFRESH] {
        let id = client.start_stream(&Mirror { suspended: true, ..mirror }.encode());
        admin.remove_channel(CHANNEL);
        assert_removed(&mut client, id);
    }
}

#[test]
fn a_mirror_whose_client_does_not_read_hears_of_it_when_it_reads() {
    for (mirror, name) in [(CHANGES, "changes"), (REFRESH, "refresh")] {
        let node = Node::start();
        let (mut client, mut admin) = (node.client(), node.admin());
        // Far more than what sockets buffer.
        let all = records(1500, 16 * 1024);
        admin.put_all(CHANNEL, &all);
        let id = client.start_stream(&mirror.encode());
        if mirror.initial_refresh {
            client.settle();
        } else {
            admin.put_all(CHANNEL, &all);
        }
        admin.remove_channel(CHANNEL);
        admin.put(CHANNEL, 1, b"another channel of that name");
        let mut count = 0;
        loop {
            match told(&mut client, id) {
                Told::ChannelRemoved => break,
                Told::Changed(..) => count += 1,
                Told::Refreshed(records) => count += records.len(),
                other => panic!("{other:?}"),
            }
        }
        assert!(count < all.len(), "{name}: the output was blocked");
        client.assert_silent(id);
        client.send(id, ACK);
        client.assert_silent(id);
    }
}

#[test]
fn control_messages_that_were_under_way_are_ignored() {
    let node = Node::start();
    let (mut client, mut admin) = (node.client(), node.admin());
    for control in [SUSPEND, RESUME, STOP] {
        let id = client.start_stream(&CHANGES.encode());
        admin.remove_channel(CHANNEL);
        // Whichever is first: the removal has been answered, so it was done before this is read.
        client.send(id, control);
        match told_or_ack(&mut client, id) {
            None if control == STOP => client.assert_silent(id),
            None => assert_removed(&mut client, id),
            Some(told) => {
                assert_eq!(told, Told::ChannelRemoved);
                client.assert_silent(id);
                client.send(id, ACK);
                client.assert_silent(id);
            }
        }
    }
}

/// What is told next; `None`: an Ack.
fn told_or_ack(client: &mut Client, id: u64) -> Option<Told> {
    let payload = client.receive(id);
    (payload != ACK).then(|| Told::read(&payload))
}

#[test]
fn a_new_channel_of_that_name_is_another_one() {
    let node = Node::start();
    let (mut client, mut admin) = (node.client(), node.admin());
    let id = client.start_stream(&CHANGES.encode());
    admin.remove_channel(CHANNEL);
    admin.put(CHANNEL, 1, b"new");
    assert_removed(&mut client, id);
    client.send(id, &REFRESH.encode());
    assert_eq!((client.receive(id), client.receive(id)), (vec![0xfd], vec![5]));
    assert_eq!(told(&mut client, id), Told::Refreshed(vec![(1, b"new".to_vec())]));
    // The legacy protocol removes the same channels.
    let mut peer = node.connect();
    peer.send(&legacy::remove_channel(CHANNEL));
    assert_eq!(peer.receive(4), legacy::status::OK.to_le_bytes());
    assert_removed(&mut client, id);
}

#[test]
fn no_removal_is_missed_however_it_meets_changes() {
    let node = Node::with(&workers(2));
    let (mut client, mut admin) = (node.client(), node.admin());
    let all = records(50, 100);
    for round in 0..100 {
        let id = client.start_stream(&REFRESH.encode());
        let puts = admin.send_puts(CHANNEL, &all);
        if round % 2 == 0 {
            client.send(id, SUSPEND);
        }
        admin.receive_puts(puts);
        admin.remove_channel(CHANNEL);
        if round % 2 == 0 {
            client.send(id, RESUME);
        }
        while told_or_ack(&mut client, id) != Some(Told::ChannelRemoved) {}
        client.send(id, ACK);
    }
    client.settle();
}
