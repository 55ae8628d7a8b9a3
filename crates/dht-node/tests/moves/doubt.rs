//! A taker that says one thing and another: as after a power cut that took its claim back.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use dht_protocol::legacy::requests::{MoveMessage, MoveReply, Taker};
use dht_protocol::legacy::{Limits, Parsed, Request, Server, Status};
use dht_protocol::wire::Writer;
use dht_testkit::wait_for;
use dht_types::{HashRange, Key};

use crate::support::{Mover, Node, lower_half, name, start_move, upper_half};

/// What a taker does when it is asked whose the part is: answers, or is gone (`None`).
type Answers = Mutex<Receiver<Option<MoveReply>>>;

/// Takes all that comes, and claims it. How it goes on is said by who holds the other end.
fn taker() -> (u16, Sender<Option<MoveReply>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = listener.local_addr().expect("bound").port();
    let (answers_tx, answers) = mpsc::channel();
    let answers = Arc::new(Mutex::new(answers));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || serve(stream, &answers));
        }
    });
    (port, answers_tx)
}

fn serve(mut stream: TcpStream, answers: &Answers) -> Option<()> {
    let mut server = Server::new(Limits { put_value_bytes_max: 65_504 });
    let (mut input, mut bytes) = (Vec::new(), [0; 65_536]);
    loop {
        let (mut rest, mut out) = (&input[..], Vec::new());
        let parsed = server.next(&mut rest);
        let reply = match parsed {
            Parsed::Incomplete => None,
            Parsed::Request(Request::MovePart(request)) => {
                Some(match MoveMessage::decode(request.message).expect("a sound message") {
                    MoveMessage::Claim { .. } => MoveReply::Claimed(upper_half()),
                    MoveMessage::Cancel { .. } => {
                        answers.lock().expect("nothing panics with it").recv().ok()??
                    }
                    _ => MoveReply::Done,
                })
            }
            _ => panic!("no giver says that"),
        };
        let taken = input.len() - rest.len();
        input.drain(..taken);
        match reply {
            Some(reply) => {
                Status::Ok.encode(&mut Writer::new(&mut out));
                reply.encode_array(&mut Writer::new(&mut out));
                stream.write_all(&out).ok()?;
            }
            None => match stream.read(&mut bytes).ok()? {
                0 => return None,
                len => input.extend_from_slice(&bytes[..len]),
            },
        }
    }
}

/// A giver whose part was claimed, and the taker's next answers.
fn claimed() -> (Node, Mover, Sender<Option<MoveReply>>) {
    let giver = Node::start(HashRange::FULL);
    for key in 0..100 {
        giver.client().put(&name("ch"), Key(key), b"value").expect("ours");
    }
    let (port, answers) = taker();
    let to = Taker { address: "127.0.0.1".to_owned(), port, range: upper_half() };
    let mut mover = Mover::connect(&giver);
    mover.send(&start_move(upper_half(), &to));
    wait_for("the part to be claimed", || (giver.range() == lower_half()).then_some(()));
    (giver, mover, answers)
}

fn end_of(mover: &mut Mover) -> MoveReply {
    loop {
        match mover.reply() {
            MoveReply::Progress(_) => {}
            end => return end,
        }
    }
}

#[test]
fn a_part_that_the_taker_lost_with_its_power_is_taken_back() {
    let (giver, mut mover, answers) = claimed();
    let (ch, mut neo) = (name("ch"), giver.neo());
    assert!(neo.get(&ch, Key(1)).is_err(), "the taker's for now");
    answers.send(None).expect("it listens");
    assert!(giver.client().put(&ch, Key(1), b"x").is_err(), "still the taker's");
    assert!(giver.config().contains("maxval = 0xffffffffffffffff\n"), "not forgotten yet");
    answers.send(Some(MoveReply::NotClaimed)).expect("it listens");
    let end = end_of(&mut mover);
    assert!(matches!(end, MoveReply::Refused(_)), "{end:?}");
    let expected = BTreeMap::from_iter((0..100).map(|key| (key, b"value".to_vec())));
    assert_eq!((giver.range(), giver.records("ch")), (HashRange::FULL, expected.clone()));
    giver.client().put(&ch, Key(1), b"value").expect("ours again");
    let giver = giver.crash_and_restart();
    assert_eq!((giver.range(), giver.records("ch")), (HashRange::FULL, expected));
}

#[test]
fn nothing_is_removed_before_the_taker_has_synced_its_range() {
    let (giver, _mover, answers) = claimed();
    let unsure = MoveReply::Refused("not on the disk yet".to_owned());
    answers.send(Some(unsure)).expect("it listens");
    answers.send(None).expect("it listens");
    wait_for("the giver to tell", || {
        giver.log().contains("nothing of it is removed").then_some(())
    });
    // Its range and records are as they were on the disk.
    let giver = giver.crash_and_restart();
    assert!(giver.client().put(&name("ch"), Key(1), b"x").is_err(), "the taker has to say");
    assert_eq!(giver.range(), HashRange::FULL);
    // The first may go to the giver that is no more.
    for _ in 0..2 {
        answers.send(Some(MoveReply::Claimed(upper_half()))).expect("it listens");
    }
    wait_for("the giver to let go", || (giver.range() == lower_half()).then_some(()));
    wait_for("the rest to be removed", || (giver.records("ch").len() == 50).then_some(()));
}
