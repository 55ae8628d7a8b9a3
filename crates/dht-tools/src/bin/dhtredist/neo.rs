//! MovePart over the neo protocol: for who has credentials, and closes the legacy port to
//! strangers.

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::time::SystemTime;

use dht_client::ClientCredentials;
use dht_protocol::legacy::requests::{MoveProgress, MoveReply};
use dht_protocol::neo::ClientHandshake;
use dht_protocol::neo::client::{Client, Event, Reply};
use dht_protocol::neo::requests::{MovePart, MoveUpdate};
use dht_types::HashRange;

use crate::wire::open;

/// The neo port of a node is so far above its legacy port. Source: spec `protocol-neo` 1.
const NEO_PORT_OFFSET: u16 = 100;

/// Most bytes that wait for the rest of a message.
const INPUT_BYTES_MAX: usize = 1024 * 1024;

/// Starts a move at the node with this legacy address and follows it to its end.
pub(crate) fn move_part(
    credentials: &ClientCredentials,
    giver: SocketAddrV4,
    part: HashRange,
    taker: SocketAddrV4,
    mut tell: impl FnMut(&MoveProgress),
) -> Result<MoveReply, String> {
    let port = giver.port().saturating_add(NEO_PORT_OFFSET);
    let neo = SocketAddrV4::new(*giver.ip(), port);
    let mut stream = open(neo)?;
    let mut follow = || -> io::Result<MoveReply> {
        let mut input = greet(&mut stream, credentials)?;
        let (mut client, mut out) = (Client::new(), Vec::new());
        let address = taker.ip().to_string();
        let request = MovePart { part, address: &address, port: taker.port() };
        client.start(request, &mut out).map_err(io::Error::other)?;
        loop {
            stream.write_all(&out)?;
            out.clear();
            let mut rest = &input[..];
            let end = match client.next(&mut rest, &mut out).map_err(io::Error::other)? {
                None => {
                    let taken = input.len() - rest.len();
                    input.drain(..taken);
                    receive(&mut stream, &mut input)?;
                    continue;
                }
                Some(Event { reply: Reply::Move(MoveUpdate::Progress(progress)), .. }) => {
                    tell(&progress);
                    None
                }
                Some(Event { reply, .. }) => Some(end(reply)),
            };
            if let Some(end) = end {
                return Ok(end);
            }
            let taken = input.len() - rest.len();
            input.drain(..taken);
        }
    };
    follow().map_err(|error| format!("node {neo}: {error}"))
}

/// What ends a move.
fn end(reply: Reply<'_>) -> MoveReply {
    let refused = match reply {
        Reply::Move(MoveUpdate::Finished(progress)) => return MoveReply::Finished(progress),
        Reply::Move(MoveUpdate::Refused(why)) => why.to_owned(),
        Reply::Move(MoveUpdate::NotPermitted) => {
            "only the client named admin may have records moved".to_owned()
        }
        Reply::Unsupported(_) => "the node has another version of moving".to_owned(),
        other => format!("unexpected answer: {other:?}"),
    };
    MoveReply::Refused(refused)
}

fn receive(stream: &mut impl io::Read, input: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len if input.len() + len > INPUT_BYTES_MAX => Err(io::ErrorKind::OutOfMemory.into()),
        len => {
            input.extend_from_slice(&bytes[..len]);
            Ok(())
        }
    }
}

/// Plays the client's part of the greeting. Returns what came behind it.
fn greet(
    stream: &mut (impl io::Read + io::Write),
    credentials: &ClientCredentials,
) -> io::Result<Vec<u8>> {
    let (mut out, mut input) = (Vec::new(), Vec::new());
    let mut handshake = ClientHandshake::new(&mut out);
    loop {
        stream.write_all(&out)?;
        out.clear();
        receive(stream, &mut input)?;
        let mut rest = &input[..];
        let (name, key) = (credentials.name(), credentials.key());
        let accepted = handshake.receive(&mut rest, unix_time_s(), name, key, &mut out);
        let taken = input.len() - rest.len();
        input.drain(..taken);
        if accepted.map_err(io::Error::other)? {
            return Ok(input);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the greeting has the client's clock in it")]
fn unix_time_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
