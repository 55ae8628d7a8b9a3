//! A taker that behaves as a node of the original: it knows PutBatch and GetVersion, and closes the
//! connection on what it does not know.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use dht_testkit::legacy;
use dht_types::HashRange;

use crate::support::{Node, OK, ask, lower_half, name, redistribute, small, unbatch, upper_half};

/// What a node of the original has stored.
type Stored = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

/// Serves until the process ends. The first `refusals` batches are answered by 404.
fn original(refusals: usize) -> (u16, Stored) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = listener.local_addr().expect("bound").port();
    let (stored, refusals) = (Stored::default(), Arc::new(Mutex::new(refusals)));
    let shared = Arc::clone(&stored);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (stored, refusals) = (Arc::clone(&shared), Arc::clone(&refusals));
            std::thread::spawn(move || serve(stream, &stored, &refusals));
        }
    });
    (port, stored)
}

fn array(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 8];
    stream.read_exact(&mut len).ok()?;
    let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(len)).ok()?];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn serve(mut stream: TcpStream, stored: &Stored, refusals: &Mutex<usize>) -> Option<()> {
    loop {
        let mut code = [0; 4];
        stream.read_exact(&mut code).ok()?;
        match u32::from_le_bytes(code) {
            24 => {
                let version = [&200_u32.to_le_bytes()[..], &8_u64.to_le_bytes(), b"20110401"];
                stream.write_all(&version.concat()).ok()?;
                continue;
            }
            34 => {}
            // It closes the connection, without a word.
            _ => return None,
        }
        let (_channel, blob) = (array(&mut stream)?, array(&mut stream)?);
        let mut left = refusals.lock().expect("nothing panics here");
        let records = unbatch(&blob);
        let status = if *left > 0 {
            *left -= 1;
            404_u32
        } else if records.iter().any(|(_, value)| value.is_empty()) {
            408
        } else {
            stored.lock().expect("nothing panics here").extend(records);
            200
        };
        drop(left);
        stream.write_all(&status.to_le_bytes()).ok()?;
    }
}

#[test]
fn a_node_of_the_original_gets_batches_and_is_asked_again() {
    let giver = Node::start(HashRange::FULL);
    let (mut client, ch) = (giver.client(), name("ch"));
    for key in 0..500 {
        client.put(&ch, dht_types::Key(key), &vec![7; 1 + 100 * small(key)]).expect("ours");
    }
    let (port, stored) = original(1);
    let range = upper_half();
    let taker =
        dht_protocol::legacy::requests::Taker { address: "127.0.0.1".to_owned(), port, range };
    assert_eq!(ask(&giver, &redistribute(lower_half(), &[taker])), OK);
    let stored = stored.lock().expect("nothing panics there");
    assert_eq!(stored.len(), 250);
    for (key, value) in stored.iter() {
        assert_eq!((key % 2, value.len()), (1, 1 + 100 * small(*key)));
    }
    assert_eq!(giver.records("ch").len(), 250);
    let log = giver.log();
    assert!(
        log.contains("(error occurred during iteration over channel, retrying in 2s)"),
        "{log}"
    );
    assert!(log.contains("Error while sending "), "{log}");
}

/// One that redistributes sends PutBatch: what a client put meanwhile stays.
#[test]
fn a_giver_of_the_original_replaces_nothing() {
    let taker = Node::start(HashRange::EMPTY);
    assert_eq!(ask(&taker, &redistribute(HashRange::FULL, &[])), OK);
    assert_eq!(ask(&taker, &legacy::put("ch", 1, b"new")), OK);
    let blob = crate::support::batch(&[(1, b"old"), (2, b"old")]);
    assert_eq!(ask(&taker, &legacy::put_batch("ch", &blob)), OK);
    let expected = BTreeMap::from([(1, b"new".to_vec()), (2, b"old".to_vec())]);
    assert_eq!(taker.records("ch"), expected);
}
