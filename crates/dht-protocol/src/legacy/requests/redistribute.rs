//! Redistribute: gives the node another hash range, and the records outside it to other nodes.
//!
//! ```text
//! client -> node   33, u64 min, u64 max,
//!                  { array address, u16 legacy port, u64 min, u64 max } for each taker,
//!                  an empty array
//! node -> client   status, when everything is done
//! ```

use dht_types::HashRange;

use super::{Answer, Args, Arguments, Command, Shape};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Most nodes that one request may list.
pub const TAKERS_MAX: usize = 4096;

/// Longest address of a node, in bytes.
const ADDRESS_BYTES_MAX: usize = 255;

/// Source: spec `protocol-legacy` 7.17. Answered by one status: 200 or 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redistribute<'a> {
    /// The node's range from now on, as it came: the request decides what an invalid one means.
    pub min: u64,
    /// See `min`.
    pub max: u64,
    /// Who takes over what the node has of their ranges.
    pub takers: &'a [Taker],
}

/// A node that takes records over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// Its address as it came: meant to be a dotted IPv4 address.
    pub address: String,
    /// Its legacy port.
    pub port: u16,
    /// Its range from now on.
    pub range: HashRange,
}

impl<'a> Arguments<'a> for Redistribute<'a> {
    const COMMAND: Command = Command::Redistribute;
    const SHAPE: Shape = Shape { takers: true, ..Shape::NONE };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        let TakerList { limits, takers } = args.takers;
        let (min, max) = limits.unwrap_or_default();
        Ok(Self { min, max, takers })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.u64(self.min);
        w.u64(self.max);
        for Taker { address, port, range } in self.takers {
            w.array(address.as_bytes());
            w.u16(*port);
            w.u64(range.min());
            w.u64(range.max());
        }
        w.array(&[]);
    }
}

impl Answer for Redistribute<'_> {
    type Answer = ();

    fn decode_answer(_: &mut Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// The arguments as far as they have arrived.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TakerList {
    limits: Option<(u64, u64)>,
    takers: Vec<Taker>,
}

impl TakerList {
    /// None of them.
    pub(in crate::legacy) const EMPTY: Self = Self { limits: None, takers: Vec::new() };

    /// Takes what is complete from the front of `input`; true at the end of the list.
    pub(in crate::legacy) fn receive(&mut self, input: &mut &[u8]) -> Result<bool, CloseReason> {
        let mut r = Reader::new(input);
        if self.limits.is_none() {
            let (Ok(min), Ok(max)) = (r.u64(), r.u64()) else { return Ok(false) };
            self.limits = Some((min, max));
            *input = r.rest();
        }
        loop {
            match taker(&mut r) {
                Ok(Some(taker)) if self.takers.len() < TAKERS_MAX => self.takers.push(taker),
                Ok(Some(_)) => return Err(CloseReason::MalformedTaker),
                Ok(None) => {
                    *input = r.rest();
                    return Ok(true);
                }
                Err(DecodeError::Truncated { .. }) => return Ok(false),
                Err(_) => return Err(CloseReason::MalformedTaker),
            }
            *input = r.rest();
        }
    }
}

/// One entry of the list; `None` is its end.
fn taker(r: &mut Reader<'_>) -> Result<Option<Taker>, DecodeError> {
    let address = r.array("address", ADDRESS_BYTES_MAX)?;
    if address.is_empty() {
        return Ok(None);
    }
    let address = String::from_utf8_lossy(address).into_owned();
    let (port, min, max) = (r.u16()?, r.u64()?, r.u64()?);
    let range =
        HashRange::new(min, max).map_err(|_| DecodeError::Malformed { field: "hash range" })?;
    Ok(Some(Taker { address, port, range }))
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::Request;
    use super::super::tests::check_request;
    use super::*;
    use crate::legacy::{Limits, Parsed, Server};

    const LOWER: &str = "21000000 0000000000000000 ffffffffffffff7f";

    #[test]
    fn redistribute_has_the_bytes_of_the_specification() {
        let (min, max) = (0, u64::MAX >> 1);
        check_request(
            &Request::Redistribute(Redistribute { min, max, takers: &[] }),
            &format!("{LOWER} 0000000000000000"),
        );
        let range = HashRange::new(1 << 63, u64::MAX).expect("valid");
        let takers = [Taker { address: "127.0.0.1".to_owned(), port: 10001, range }];
        check_request(
            &Request::Redistribute(Redistribute { min, max, takers: &takers }),
            &format!(
                "{LOWER} 0900000000000000 3132372e302e302e31 1127
                 0000000000000080 ffffffffffffffff 0000000000000000"
            ),
        );
    }

    #[test]
    fn a_taker_with_an_inverted_range_or_a_long_address_closes_the_connection() {
        for entry in
            ["0100000000000000 61 1127 0200000000000000 0100000000000000", "0001000000000000"]
        {
            let mut server = Server::new(Limits { put_value_bytes_max: 100 });
            let bytes = from_hex(&format!("{LOWER} {entry} 0000000000000000"));
            let parsed = server.next(&mut &bytes[..]);
            assert_eq!(parsed, Parsed::Close(CloseReason::MalformedTaker));
        }
    }
}
