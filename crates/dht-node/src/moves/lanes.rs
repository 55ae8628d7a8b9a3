//! The connections over which a giver sends records.
//!
//! ```text
//!              .-- lane 0 --> worker of the taker      also whatever is no record, and the claim
//! key -> lane  |-- lane 1 --> another worker
//!              '-- ...
//! ```
//!
//! A worker serves a connection, so over several of them several workers of the taker store at the
//! same time. All that is sent of a key goes over one of them, and there it is applied in order.
//! What is not about one key waits until all lanes are answered. So does the step to one lane,
//! which is made before the part is frozen: what is sent from then on is in order with the claim.

use std::time::Instant;

use dht_protocol::batch;
use dht_protocol::legacy::batch::Compressor;
use dht_protocol::legacy::requests::{MoveMessage, MoveReply, MoveToken};
use dht_types::Key;

use super::Stop;
use super::peer::{Peer, PeerError};
use super::way::{Way, WayFinder};

/// Lanes of a move: as many of the taker's workers can be busy with it.
const LANES: usize = 4;

/// Batches of a lane that are on their way before the giver waits for an answer.
const BATCHES_UNANSWERED_MAX: usize = 8;

/// See the module.
pub(super) struct Lanes<'a> {
    stop: &'a Stop,
    token: MoveToken,
    /// At least one.
    lanes: Vec<Lane>,
    way: WayFinder,
    compressor: Compressor,
}

struct Lane {
    peer: Peer,
    unanswered: usize,
}

/// Records that are to be sent, for each lane.
pub(super) struct Batches(Vec<Vec<u8>>);

impl Batches {
    /// For so many lanes.
    pub(super) fn new(lanes: usize) -> Self {
        Self(vec![Vec::new(); lanes])
    }

    /// That of a key.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of lanes")]
    pub(super) fn of(&mut self, key: Key) -> &mut Vec<u8> {
        // Multiplication by 2^64 divided by the golden ratio: the high bits depend on all of the
        // key. Scaled down to the number of lanes.
        let mixed = key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let lane = (u128::from(mixed) * self.0.len() as u128) >> u64::BITS;
        &mut self.0[lane as usize]
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.iter()
    }

    /// Bytes in all of them.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

impl<'a> Lanes<'a> {
    /// One lane, the main one.
    pub(super) fn new(stop: &'a Stop, token: MoveToken, main: Peer) -> Self {
        let lanes = vec![Lane { peer: main, unanswered: 0 }];
        Self { stop, token, lanes, way: WayFinder::new(), compressor: Compressor::new() }
    }

    /// Connects the others.
    pub(super) fn widen(&mut self) -> Result<(), PeerError> {
        while self.lanes.len() < LANES {
            let peer = Peer::connect(self.lanes[0].peer.address())?;
            self.lanes.push(Lane { peer, unanswered: 0 });
        }
        Ok(())
    }

    /// Goes on with the main lane alone, when all that was sent is stored.
    pub(super) fn narrow(&mut self) -> Result<(), PeerError> {
        self.collect()?;
        self.lanes.truncate(1);
        Ok(())
    }

    pub(super) const fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Sends records of a channel, at least an empty batch; the batches are empty afterwards. Waits
    /// for answers only if many are due.
    pub(super) fn send(
        &mut self,
        channel: &str,
        batches: &mut Batches,
        now: Instant,
    ) -> Result<(), PeerError> {
        let bytes = batches.bytes();
        let is_empty = bytes == 0;
        let way = self.way.next(bytes, now);
        for (lane, records) in self.lanes.iter_mut().zip(&mut batches.0) {
            if records.is_empty() && !is_empty {
                continue;
            }
            lane.peer.write_records(self.token, channel, |out| match way {
                Way::Stored => batch::store(records, out),
                Way::Compressed => batch::compress_if_worth(records, &mut self.compressor, out),
            });
            records.clear();
            records.shrink_to(1024 * 1024);
            lane.send()?;
            lane.collect(self.stop, BATCHES_UNANSWERED_MAX)?;
            if is_empty {
                break;
            }
        }
        Ok(())
    }

    /// Has the taker forget a channel. All that was sent before comes before, all that is sent
    /// afterwards comes afterwards.
    pub(super) fn drop_channel(&mut self, channel: &str) -> Result<(), PeerError> {
        self.collect()?;
        self.lanes[0].peer.write(&MoveMessage::DropChannel { token: self.token, channel });
        self.lanes[0].send()?;
        self.collect()
    }

    /// Waits until all is answered.
    fn collect(&mut self) -> Result<(), PeerError> {
        self.lanes.iter_mut().try_for_each(|lane| lane.collect(self.stop, 0))
    }

    /// Has the taker claim the part; there is one lane. It is not waited for the answers to what
    /// was sent before: a taker that refuses any of it refuses the claim, too. A refusal is that of
    /// the claim, and final; it says why in the words of the first.
    pub(super) fn claim(&mut self) -> Result<MoveReply, PeerError> {
        assert_eq!(self.lanes.len(), 1, "what is in another lane may come behind the claim");
        let Lane { peer, unanswered } = &mut self.lanes[0];
        peer.write(&MoveMessage::Claim { token: self.token });
        peer.send()?;
        let mut first = None;
        for _ in 0..std::mem::take(unanswered) {
            match peer.reply(self.stop) {
                Ok(_) => {}
                Err(refused @ PeerError::Refused(..)) => first = first.or(Some(refused)),
                Err(error) => return Err(error),
            }
        }
        match (peer.reply(self.stop), first) {
            (Err(PeerError::Refused(..)), Some(first)) => Err(first),
            (reply, _) => reply,
        }
    }
}

impl Lane {
    /// Sends a message that is written.
    fn send(&mut self) -> Result<(), PeerError> {
        self.peer.send()?;
        self.unanswered += 1;
        Ok(())
    }

    /// Waits until no more than so many answers are due.
    fn collect(&mut self, stop: &Stop, due: usize) -> Result<(), PeerError> {
        while self.unanswered > due {
            match self.peer.reply(stop)? {
                MoveReply::Done => self.unanswered -= 1,
                _ => return Err(PeerError::Unexpected(self.peer.address())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_over_the_lanes_and_stay_there() {
        for pattern in [|n| n, |n: u64| n << 40, |n: u64| n.reverse_bits()] {
            let mut batches = Batches::new(LANES);
            for number in 0..4000 {
                batches.of(Key(pattern(number))).push(0);
            }
            assert!(batches.0.iter().all(|batch| (500..2000).contains(&batch.len())));
            let lane = std::ptr::from_ref(batches.of(Key(77)));
            assert_eq!(lane, std::ptr::from_ref(batches.of(Key(77))));
        }
    }
}
