//! What a worker relies on, for both drivers. Where the system refuses io_uring, one of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem;
use std::net::{Ipv4Addr, TcpListener};

use dht_testkit::for_seeds;

use super::*;

/// Waits that a test makes at most before it gives up: with [`TICK`], a minute.
const WAITS_MAX: usize = 60_000;
const TICK: Duration = Duration::from_millis(1);

fn drivers() -> impl Iterator<Item = (DriverKind, Driver, Waker)> {
    let kinds = match UringDriver::probe() {
        Ok(()) => vec![DriverKind::Epoll, DriverKind::Uring],
        Err(_) => vec![DriverKind::Epoll],
    };
    kinds.into_iter().map(|kind| {
        let (driver, waker) = Driver::new(kind).expect("the system lets us");
        (kind, driver, waker)
    })
}

/// A connection: the node's end, and the peer's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    let address = listener.local_addr().expect("bound");
    let peer = TcpStream::connect(address).expect("it listens");
    let (socket, _) = listener.accept().expect("it has connected");
    peer.set_nonblocking(true).expect("a socket");
    (socket, peer)
}

/// A driver with a worker's knowledge of its connections.
struct Bench {
    driver: Driver,
    ready: Vec<Ready>,
    /// By number of the connection.
    conns: Vec<Conn>,
}

#[derive(Default)]
struct Conn {
    readable: bool,
    ends: bool,
    writable: bool,
    received: Vec<u8>,
    closed: bool,
}

impl Bench {
    fn new(driver: Driver) -> Self {
        Self { driver, ready: Vec::new(), conns: Vec::new() }
    }

    fn add(&mut self) -> (ConnId, TcpStream) {
        let (socket, peer) = pair();
        let conn = self.conns.len();
        self.conns.push(Conn { writable: true, ..Conn::default() });
        self.driver.add(conn, socket).expect("a socket");
        (conn, peer)
    }

    fn wait(&mut self) {
        self.driver.wait(Some(TICK), &mut self.ready).expect("no system error");
        for Ready { conn, input, ends, output } in self.ready.drain(..) {
            let conn = &mut self.conns[conn];
            conn.readable |= input;
            conn.ends |= ends;
            conn.writable |= output;
        }
    }

    /// One receive, as a worker's turn makes it. Every other connection takes what comes at once;
    /// the others never do, so it all gathers in their input.
    fn receive(&mut self, number: ConnId) {
        let conn = &mut self.conns[number];
        if !conn.readable || conn.closed {
            return;
        }
        let keeps = !number.is_multiple_of(2);
        let mut input = if keeps { mem::take(&mut conn.received) } else { Vec::new() };
        let before = input.len();
        let peeked = self.driver.peek(number).filter(|_| before == 0).map(<[u8]>::to_vec);
        match self.driver.receive(number, &mut input) {
            Received::Bytes(bytes, more) => {
                assert!(!bytes.is_empty() && bytes.len() <= RECEIVE_BYTES);
                assert!(peeked.is_none_or(|peeked| peeked == bytes), "a promise");
                input.extend_from_slice(bytes);
                conn.readable = more || conn.ends;
            }
            Received::Appended(len, more) => {
                assert!(len > 0 && len <= before.clamp(RECEIVE_BYTES, RECEIVE_BYTES_MAX));
                assert_eq!(input.len(), before + len, "and nothing else has changed");
                assert!(peeked.is_none(), "a promise");
                conn.readable = more || conn.ends;
            }
            Received::Nothing => conn.readable = false,
            Received::Closed => conn.closed = true,
        }
        if keeps {
            conn.received = input;
        } else {
            conn.received.extend_from_slice(&input);
            self.driver.recycle(input);
        }
    }

    /// Sends what is left of `bytes`.
    fn send(&mut self, conn: ConnId, bytes: &mut &[u8]) {
        if bytes.is_empty() || !self.conns[conn].writable {
            return;
        }
        match self.driver.send(conn, bytes) {
            Sent::Bytes(sent) => {
                self.conns[conn].writable = sent == bytes.len();
                *bytes = &bytes[sent..];
            }
            Sent::Closed => panic!("the peer is there"),
        }
    }

    /// Waits and receives until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..WAITS_MAX {
            if done(self) {
                return;
            }
            self.wait();
            for conn in 0..self.conns.len() {
                self.receive(conn);
            }
        }
        panic!("waited too long for {what}");
    }
}

/// What a non-blocking peer can read now, appended; `false` at the end of the stream.
fn read_some(peer: &mut TcpStream, into: &mut Vec<u8>, most: usize) -> bool {
    let mut buffer = vec![0; most];
    match peer.read(&mut buffer) {
        Ok(0) => false,
        Ok(len) => {
            into.extend_from_slice(&buffer[..len]);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            true
        }
    }
}

fn write_some(peer: &mut TcpStream, bytes: &mut &[u8], most: usize) {
    match peer.write(&bytes[..bytes.len().min(most)]) {
        Ok(len) => *bytes = &bytes[len..],
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

#[test]
fn every_byte_arrives_in_order_in_both_directions() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        for_seeds_in(&mut bench, |bench, rng| {
            let conns: Vec<_> = (0..3).map(|_| bench.add()).collect();
            let up: Vec<_> = conns.iter().map(|_| rng.bytes(0..300_000)).collect();
            let down: Vec<_> = conns.iter().map(|_| rng.bytes(0..3_000_000)).collect();
            let mut to_write: Vec<&[u8]> = up.iter().map(Vec::as_slice).collect();
            let mut to_send: Vec<&[u8]> = down.iter().map(Vec::as_slice).collect();
            let mut got = vec![Vec::new(); conns.len()];
            let mut conns = conns;
            bench.until("all bytes", |bench| {
                for (at, (conn, peer)) in conns.iter_mut().enumerate() {
                    write_some(peer, &mut to_write[at], *rng.pick(&[1, 700, 9000, 100_000]));
                    bench.send(*conn, &mut to_send[at]);
                    assert!(read_some(peer, &mut got[at], *rng.pick(&[50, 4096, 200_000])));
                }
                conns.iter().enumerate().all(|(at, (conn, _))| {
                    let received = &bench.conns[*conn].received;
                    received.len() == up[at].len() && got[at].len() == down[at].len()
                })
            });
            for (at, (conn, _)) in conns.iter().enumerate() {
                assert!(bench.conns[*conn].received == up[at], "{kind:?}");
                assert!(got[at] == down[at], "{kind:?}");
                assert!(!bench.conns[*conn].closed);
            }
        });
    }
}

/// As [`for_seeds`], with something that cannot be made for each seed anew.
fn for_seeds_in(bench: &mut Bench, test: impl Fn(&mut Bench, &mut dht_testkit::Rng)) {
    let bench = std::sync::Mutex::new(std::panic::AssertUnwindSafe(bench));
    let test = std::panic::AssertUnwindSafe(test);
    for_seeds(4, |rng| test(&mut bench.lock().expect("no seed has failed"), rng));
}

#[test]
fn bytes_in_front_of_an_end_come_before_it() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let sent: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let (conn, mut peer) = bench.add();
        let mut rest = &sent[..];
        bench.until("the bytes", |_| {
            write_some(&mut peer, &mut rest, 50_000);
            rest.is_empty()
        });
        drop(peer);
        bench.until("the end", |bench| bench.conns[conn].closed);
        assert!(bench.conns[conn].received == sent, "{kind:?}");
        bench.driver.remove(conn);
        bench.wait();
        assert!(matches!(bench.driver.receive(conn, &mut Vec::new()), Received::Closed));
        assert_eq!(bench.driver.send(conn, b"x"), Sent::Closed);
    }
}

#[test]
fn what_was_taken_goes_out_before_a_connection_is_removed() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let (conn, mut peer) = bench.add();
        let output = vec![7; 9_000_000];
        let (mut rest, mut got) = (&output[..], Vec::new());
        // The peer reads slowly, and says that it will send nothing.
        peer.shutdown(std::net::Shutdown::Write).expect("connected");
        let mut removed = false;
        bench.until("all", |bench| {
            bench.send(conn, &mut rest);
            if !removed && rest.is_empty() && bench.driver.all_sent(conn) {
                bench.driver.remove(conn);
                removed = true;
            }
            !read_some(&mut peer, &mut got, 300_000)
        });
        assert!(got == output, "{kind:?}: {} of {}", got.len(), output.len());
    }
}

#[test]
fn a_peer_that_is_not_served_is_slowed_down_and_hinders_nobody() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        // More of them than there are buffers in a ring for.
        let mut greedy: Vec<_> = (0..8).map(|_| bench.add()).collect();
        let (quiet, mut other) = bench.add();
        let chunk = vec![1; 1 << 20];
        let (mut written, mut idle) = (0, 0);
        while idle < 20 {
            let before = written;
            for (_, peer) in &mut greedy {
                let mut rest = &chunk[..];
                write_some(peer, &mut rest, chunk.len());
                written += chunk.len() - rest.len();
            }
            idle = if written == before { idle + 1 } else { 0 };
            bench.wait();
            assert!(written < 400 << 20, "{kind:?}: nobody reads, and still it is taken");
        }
        let mut rest = &b"hello"[..];
        write_some(&mut other, &mut rest, 5);
        for _ in 0..WAITS_MAX {
            if !bench.conns[quiet].received.is_empty() {
                break;
            }
            bench.wait();
            bench.receive(quiet);
        }
        assert_eq!(bench.conns[quiet].received, b"hello", "{kind:?}");
        // Once they are served, all of it comes.
        bench.until("what has waited", |bench| {
            written
                == greedy.iter().map(|(conn, _)| bench.conns[*conn].received.len()).sum::<usize>()
        });
    }
}

#[test]
fn more_connections_than_buffers_are_all_served() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let mut conns: Vec<_> = (0..150).map(|_| bench.add()).collect();
        for round in 0..3_u8 {
            for (_, peer) in &mut conns {
                let mut rest = &[round][..];
                write_some(peer, &mut rest, 1);
            }
            // Everything has arrived before anything is received.
            bench.wait();
            bench.until("a byte of each", |bench| {
                conns.iter().all(|(conn, _)| bench.conns[*conn].received.len() > usize::from(round))
            });
        }
        for (conn, _) in &conns {
            assert_eq!(bench.conns[*conn].received, [0, 1, 2], "{kind:?}");
        }
    }
}

#[test]
fn numbers_are_used_again_and_nothing_of_the_old_connection_is_left() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let (conn, mut old) = bench.add();
        for round in 0..50_u8 {
            let mut rest = &[round; 10_000][..];
            write_some(&mut old, &mut rest, 10_000);
            if round % 2 == 0 {
                bench.wait();
            }
            let mut output = &[round; 10_000][..];
            bench.conns[conn].writable = true;
            bench.send(conn, &mut output);
            bench.driver.remove(conn);
            let (socket, mut peer) = pair();
            bench.driver.add(conn, socket).expect("a socket");
            bench.conns[conn] = Conn { writable: true, ..Conn::default() };
            let mut rest = &[100 + round][..];
            write_some(&mut peer, &mut rest, 1);
            bench.until("a byte", |bench| !bench.conns[conn].received.is_empty());
            assert_eq!(bench.conns[conn].received, [100 + round], "{kind:?}");
            assert!(!bench.conns[conn].closed);
            old = peer;
        }
    }
}

#[test]
fn a_reset_is_the_end_for_both_directions() {
    for (kind, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let (conn, mut peer) = bench.add();
        // Unread bytes at its close make the peer's system send a reset.
        let mut rest = &b"for nobody"[..];
        bench.send(conn, &mut rest);
        bench.until("the bytes", |bench| {
            bench.wait();
            peer.peek(&mut [0]).is_ok_and(|len| len > 0)
        });
        let mut rest = &b"x"[..];
        write_some(&mut peer, &mut rest, 1);
        drop(peer);
        bench.until("the end", |bench| bench.conns[conn].closed);
        let mut closed = false;
        for _ in 0..WAITS_MAX {
            closed = bench.driver.send(conn, b"y") == Sent::Closed;
            if closed {
                break;
            }
            bench.wait();
        }
        assert!(closed, "{kind:?}: sending fails, too");
        assert!(bench.driver.all_sent(conn));
        bench.driver.remove(conn);
    }
}

#[test]
fn a_waker_ends_a_wait_that_has_no_limit() {
    for (kind, mut driver, waker) in drivers() {
        for _ in 0..3 {
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake().expect("the driver is there"));
                let mut ready = Vec::new();
                driver.wait(None, &mut ready).expect("no system error");
                assert_eq!(ready, [], "{kind:?}");
            });
        }
        driver.wait(Some(Duration::ZERO), &mut Vec::new()).expect("no system error");
    }
}

#[test]
fn a_driver_may_be_dropped_in_the_middle_of_everything() {
    for (_, driver, _waker) in drivers() {
        let mut bench = Bench::new(driver);
        let mut peers: Vec<_> = (0..20).map(|_| bench.add()).collect();
        let output = vec![1; 4_000_000];
        for (conn, peer) in &mut peers {
            let mut rest = &output[..];
            write_some(peer, &mut rest, 100_000);
            let mut rest = &output[..];
            bench.send(*conn, &mut rest);
        }
        bench.wait();
        drop(bench);
        for (_, mut peer) in peers {
            let (mut got, mut waits) = (Vec::new(), 0);
            // The end, or a reset, since not all was read.
            while waits < WAITS_MAX && peer_is_open(&mut peer, &mut got) {
                std::thread::yield_now();
                waits += 1;
            }
            assert!(got.iter().all(|byte| *byte == 1));
        }
    }
}

fn peer_is_open(peer: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65_536];
    match peer.read(&mut buffer) {
        Ok(0) => false,
        Ok(len) => {
            into.extend_from_slice(&buffer[..len]);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
