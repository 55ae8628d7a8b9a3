//! A TCP peer that expects some bytes, answers some, and so on; and captured traffic as such.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use dht_client::{NodeAddress, blocking::Timeouts};
use dht_testkit::{from_hex, testdata, to_hex};

/// What the peer does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Waits for these bytes; panics if others come.
    Expect(Vec<u8>),
    /// Sends these bytes, in pieces of at most so many.
    Answer(Vec<u8>, usize),
    /// Waits until the client has closed the connection.
    AwaitClose,
    /// Something else.
    Do(fn(&mut TcpStream)),
}

/// A listening peer. It serves one connection after the other, each with its script.
pub(crate) struct Peer {
    pub(crate) node: NodeAddress,
    thread: JoinHandle<()>,
}

impl Peer {
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().expect("a client");
                play(stream, script);
            }
        });
        Self { node: NodeAddress { host: "127.0.0.1".to_owned(), port }, thread }
    }

    /// A peer for one connection.
    pub(crate) fn once(script: Vec<Step>) -> Self {
        Self::start(vec![script])
    }

    /// Waits until every script has been played to its end; panics if one went wrong.
    pub(crate) fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Time limits that no test reaches.
pub(crate) const fn patient() -> Timeouts {
    let limit = Some(Duration::from_secs(60));
    Timeouts { connect: limit, io: limit }
}

fn play(mut stream: TcpStream, script: Vec<Step>) {
    stream.set_nodelay(true).expect("a socket");
    for step in script {
        match step {
            Step::Expect(bytes) => {
                let mut received = vec![0; bytes.len()];
                stream.read_exact(&mut received).expect("the client sends so many bytes");
                assert_eq!(to_hex(&received), to_hex(&bytes));
            }
            // The client may have refused what came before, and be gone.
            Step::Answer(bytes, piece) => {
                let _ = bytes.chunks(piece).try_for_each(|piece| stream.write_all(piece));
            }
            Step::Do(act) => act(&mut stream),
            Step::AwaitClose => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                assert!(rest.is_empty(), "the client sent {}", to_hex(&rest));
            }
        }
    }
}

/// What the original node did on one connection of a capture, from the first request after the
/// handshake on; its answers come in pieces of at most `piece` bytes.
pub(crate) fn captured(file: &str, connection: &str, piece: usize) -> Vec<Step> {
    let path = testdata("captures").join(file);
    let capture = std::fs::read_to_string(path).expect("part of the project");
    let mut steps = Vec::new();
    for line in capture.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[1..] {
            [name, direction, _, hex] if name == connection => steps.push(match direction {
                "C>N" => Step::Expect(from_hex(hex)),
                _ => Step::Answer(from_hex(hex), piece),
            }),
            _ => {}
        }
    }
    assert!(steps.len() > 2, "nothing on {connection} in {file}");
    steps
}
