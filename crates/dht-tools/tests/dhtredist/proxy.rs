//! What lies between a node and all others, and breaks in the middle of a message.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use dht_testkit::free_port;

/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The ports of a node, as others see them: legacy, and neo 100 above. It ends with the process.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    net: Arc<Net>,
}

#[derive(Default)]
struct Net {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// So many bytes are passed on yet, in whatever connection and direction.
    left: Option<usize>,
    /// Then nothing gets through for a while; else all is cut at once.
    may_stall: bool,
    /// Both ends of what is open, by the number of the connection.
    open: Vec<(u64, TcpStream, TcpStream)>,
    connections: u64,
    cuts: u64,
}

impl State {
    /// How many of so many bytes may pass.
    fn pass(&mut self, len: usize) -> usize {
        let Some(left) = &mut self.left else { return len };
        let passes = len.min(*left);
        *left -= passes;
        passes
    }

    fn cut(&mut self) {
        self.left = None;
        self.cuts += 1;
        for (_, near, far) in self.open.drain(..) {
            // It may be over by now.
            let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
        }
    }
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics there")
    }

    /// What is to be done after so many bytes.
    fn prepare(&self, left: usize, may_stall: bool) {
        let mut state = self.lock();
        (state.left, state.may_stall) = (Some(left), may_stall);
    }

    /// Waits while nothing gets through; cuts if it is time.
    fn wait(&self) {
        let mut state = self.lock();
        if state.left == Some(0) && !state.may_stall {
            state.cut();
        }
        let is_stalled = |state: &mut State| state.left == Some(0);
        drop(self.changed.wait_while(state, is_stalled).expect("nothing panics there"));
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Proxy {
    pub(crate) fn start(node_port: u16) -> Self {
        let port = free_port();
        let net = Arc::<Net>::default();
        for more in [0, 100] {
            let listener = TcpListener::bind(at(port + more)).expect("both were free just now");
            let net = Arc::clone(&net);
            thread::spawn(move || {
                for near in listener.incoming().flatten() {
                    // Else it is closed, as by a node that does not run.
                    if let Ok(far) = TcpStream::connect(at(node_port + more)) {
                        relay(&net, &near, &far);
                    }
                }
            });
        }
        Self { port, net }
    }

    /// Cuts all connections after so many more bytes.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.net.prepare(bytes, false);
    }

    /// Passes on so many more bytes, and then nothing until [`Proxy::cut`].
    pub(crate) fn stall_after(&self, bytes: usize) {
        self.net.prepare(bytes, true);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.net.lock().left == Some(0)
    }

    /// Cuts all connections; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.net.lock().cut();
        self.net.changed.notify_all();
    }

    /// Cuts nothing more. Returns how often it has since the last time.
    pub(crate) fn heal(&self) -> u64 {
        let mut state = self.net.lock();
        state.left = None;
        std::mem::take(&mut state.cuts)
    }
}

/// Passes on what comes, both ways.
fn relay(net: &Arc<Net>, near: &TcpStream, far: &TcpStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("an open socket");
    for stream in [near, far] {
        stream.set_nodelay(true).expect("a TCP socket");
    }
    let mut state = net.lock();
    state.connections += 1;
    let number = state.connections;
    state.open.push((number, clone(near), clone(far)));
    drop(state);
    for (from, to) in [(clone(near), clone(far)), (clone(far), clone(near))] {
        let net = Arc::clone(net);
        thread::spawn(move || {
            pass_on(&net, &from, &to);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            net.lock().open.retain(|(other, ..)| *other != number);
        });
    }
}

/// Ends when either end is gone, or all is cut.
fn pass_on(net: &Net, mut from: &TcpStream, mut to: &TcpStream) {
    let mut bytes = vec![0; PIECE_BYTES];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let passes = net.lock().pass(len);
        let sent = to.write_all(&bytes[..passes]);
        net.wait();
        if sent.is_err() || passes < len {
            return;
        }
    }
}
