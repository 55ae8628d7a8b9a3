//! A neo connection on a plain socket: the bytes between it and the protocol's own client.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use dht_protocol::neo::client::Event;
use dht_protocol::neo::{Client, ClientHandshake};
use socket2::{Domain, Socket, Type};

use crate::Fault;

/// The client that [`dht_testkit::NodeProcess`] writes into the credentials.
const NAME: &str = "neotest";
/// Its key.
const KEY: [u8; 128] = [0; 128];

/// How long one receive waits; then whoever waits looks at the clock.
const RECEIVE_PATIENCE: Duration = Duration::from_millis(20);
/// How long a node may not take what it is sent.
const SEND_PATIENCE: Duration = Duration::from_secs(60);
/// How many times [`RECEIVE_PATIENCE`] a node may take to greet.
const GREETING_TRIES_MAX: usize = 3000;
/// Most bytes of one receive.
const RECEIVE_BYTES: usize = 64 * 1024;

/// See the module. Dropping it drops the connection, whatever is under way.
pub(crate) struct Link {
    stream: TcpStream,
    pub(crate) client: Client,
    input: Vec<u8>,
    /// Appended to by the client; [`Link::send`] sends it.
    pub(crate) out: Vec<u8>,
}

/// A TCP connection; with `receive_buffer_bytes`, the system keeps little for us, so that the node
/// feels how slow we are.
pub(crate) fn connect(
    address: SocketAddr,
    receive_buffer_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(RECEIVE_PATIENCE))?;
    stream.set_write_timeout(Some(SEND_PATIENCE))?;
    Ok(stream)
}

impl Link {
    /// Connects and introduces itself.
    pub(crate) fn connect(
        address: SocketAddr,
        receive_buffer_bytes: Option<usize>,
    ) -> Result<Self, Fault> {
        let stream = connect(address, receive_buffer_bytes)?;
        let (client, input) = (Client::new(), Vec::new());
        let mut link = Self { stream, client, input, out: Vec::new() };
        let mut handshake = ClientHandshake::new(&mut link.out);
        for _ in 0..GREETING_TRIES_MAX {
            link.send()?;
            link.receive(RECEIVE_BYTES)?;
            let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let mut rest = &link.input[..];
            let now = since_epoch.as_secs();
            let accepted = handshake.receive(&mut rest, now, NAME, &KEY, &mut link.out)?;
            let taken = link.input.len() - rest.len();
            link.input.drain(..taken);
            if accepted {
                return Ok(link);
            }
        }
        Err("the node does not greet".into())
    }

    /// Sends what the client has to say.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Receives once, waiting a moment at most. The end of the connection is an error: nobody but
    /// us may end it.
    fn receive(&mut self, bytes_max: usize) -> io::Result<()> {
        let mut bytes = [0; RECEIVE_BYTES];
        match self.stream.read(&mut bytes[..bytes_max.min(RECEIVE_BYTES)]) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the node ended a connection")),
            Ok(len) => {
                self.input.extend_from_slice(&bytes[..len]);
                Ok(())
            }
            Err(error) if is_timeout(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Receives at most so many bytes, hands on what has become whole, and sends the answers.
    /// Returns the number of events.
    pub(crate) fn turn(
        &mut self,
        bytes_max: usize,
        mut on: impl FnMut(&mut Client, &mut Vec<u8>, &Event<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        self.receive(bytes_max)?;
        let (mut rest, mut events) = (&self.input[..], 0);
        while let Some(event) = self.client.next(&mut rest, &mut self.out)? {
            on(&mut self.client, &mut self.out, &event)?;
            events += 1;
        }
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        self.send()?;
        Ok(events)
    }

    /// The same, with as many bytes as there are.
    pub(crate) fn full_turn(
        &mut self,
        on: impl FnMut(&mut Client, &mut Vec<u8>, &Event<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        self.turn(RECEIVE_BYTES, on)
    }
}

/// Whether a read has waited in vain.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
