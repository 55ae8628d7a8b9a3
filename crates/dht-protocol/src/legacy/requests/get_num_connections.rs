//! GetNumConnections: how many legacy connections are open, the asking one included.
//!
//! ```text
//! client -> node   23
//! node -> client   200, array address, u16 port, u64 count
//! ```

use super::{Answer, Args, Arguments, Command, Shape, decode_text};
use crate::legacy::{CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetNumConnections;

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumConnections {
    /// The node's bind address as configured.
    pub address: String,
    /// The node's legacy port.
    pub port: u16,
    /// Open legacy connections.
    pub connections: u64,
}

impl GetNumConnections {
    /// Appends the answer.
    pub fn reply(w: &mut Writer<'_>, address: &str, port: u16, connections: u64) {
        Status::Ok.encode(w);
        w.array(address.as_bytes());
        w.u16(port);
        w.u64(connections);
    }
}

impl Arguments<'_> for GetNumConnections {
    const COMMAND: Command = Command::GetNumConnections;
    const SHAPE: Shape = Shape::NONE;

    fn from_args(_: Args<'_>) -> Result<Self, CloseReason> {
        Ok(Self)
    }

    fn encode_args(&self, _: &mut Writer<'_>) {}
}

impl Answer for GetNumConnections {
    type Answer = NumConnections;

    fn decode_answer(r: &mut Reader<'_>) -> Result<NumConnections, DecodeError> {
        let address = decode_text(r, "address")?;
        Ok(NumConnections { address, port: r.u16()?, connections: r.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_num_connections_has_the_bytes_of_the_specification() {
        check_request(&Request::GetNumConnections(GetNumConnections), "17000000");
        check_answer::<GetNumConnections>(
            |w| GetNumConnections::reply(w, "127.0.0.1", 10_000, 2),
            "c8000000 0900000000000000 3132372e302e302e31 1027 0200000000000000",
            Ok(NumConnections { address: "127.0.0.1".to_owned(), port: 10_000, connections: 2 }),
        );
    }
}
