//! From an address to a connection that requests can use.

use std::{io, time::Duration};

use dht_protocol::neo::ClientHandshake;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{AuthenticationError, ClientCredentials, ErrorKind, NodeAddress};

/// Keep-alive of the original's client: first probe, interval in seconds, number of probes.
/// Source: spec `protocol-neo` 1, `protocol-legacy` 13.1.
const KEEPALIVE: (u64, u64, u32) = (5, 3, 3);

/// A socket with the options of the original's client.
pub(crate) async fn connect(
    node: &NodeAddress,
    timeout: Option<Duration>,
) -> Result<TcpStream, ErrorKind> {
    let connecting = TcpStream::connect((node.host.as_str(), node.port));
    let stream = match timeout {
        None => connecting.await,
        Some(limit) => tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| ErrorKind::ConnectTimedOut(limit))?,
    };
    let stream = stream.map_err(ErrorKind::Connect)?;
    configure(&stream).map_err(ErrorKind::Connect)?;
    Ok(stream)
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(idle))
        .with_interval(Duration::from_secs(interval))
        .with_retries(probes);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.set_nodelay(true)
}

/// Plays the client's part of the greeting to its end. Returns what came behind it.
pub(crate) async fn greet(
    stream: &mut TcpStream,
    credentials: &ClientCredentials,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, ErrorKind> {
    let playing = play_greeting(stream, credentials);
    match timeout {
        None => playing.await,
        Some(limit) => tokio::time::timeout(limit, playing)
            .await
            .unwrap_or(Err(ErrorKind::Authentication(AuthenticationError::TimedOut(limit)))),
    }
}

async fn play_greeting(
    stream: &mut TcpStream,
    credentials: &ClientCredentials,
) -> Result<Vec<u8>, ErrorKind> {
    let (mut out, mut received) = (Vec::new(), Vec::new());
    let mut handshake = ClientHandshake::new(&mut out);
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(broken)?;
            out.clear();
        }
        if stream.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err(ErrorKind::Authentication(AuthenticationError::Closed));
        }
        let mut input = received.as_slice();
        let (name, key) = (credentials.name(), credentials.key());
        let accepted = handshake
            .receive(&mut input, unix_time_s(), name, key, &mut out)
            .map_err(|error| ErrorKind::Authentication(error.into()))?;
        let taken = received.len() - input.len();
        received.drain(..taken);
        if accepted {
            return Ok(received);
        }
    }
}

fn broken(error: io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ErrorKind::Authentication(AuthenticationError::Closed)
        }
        _ => ErrorKind::Io(error),
    }
}

/// What our clock says. A clock before 1970 says 0, which the node rejects.
#[expect(clippy::disallowed_methods, reason = "the greeting has the client's clock in it")]
fn unix_time_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
