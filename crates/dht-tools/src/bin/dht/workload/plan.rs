//! What the workload writes: keys, values and final states as functions of the seed.
//!
//! ```text
//! index in a channel   0 .......... base .......... added .......... end
//!                      put at first      added later     come and go
//! version at the end   one in 4: FINAL   0               removed
//!                      others: 0
//! value                version: u32 LE | random bytes, from (seed, channel, index, version)
//! ```
//!
//! Invariant: keys of one channel are all different, and a key leads back to its index.

use dht_types::{ChannelName, ChannelNameError, Key};

/// Which write of a record it is; the value carries it.
pub(super) type Version = u32;

/// The version that replaced records have at the end.
pub(super) const FINAL: Version = Version::MAX;

/// One record in so many is replaced over and over.
const REPLACED_ONE_IN: u64 = 4;
/// So many hundredths of the records are added while the channels are scanned.
const ADDED_PERCENT: u64 = 10;
/// So many hundredths of the records come and go meanwhile.
const TRANSIENT_PERCENT: u64 = 5;

/// Shortest and longest value in bytes.
const VALUE_BYTES: (u64, u64) = (20, 2000);

/// Bytes of a value that hold its version.
const VERSION_BYTES: usize = size_of::<Version>();

/// Everything that follows from the numbers on the command line.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    records: u64,
    channels: Vec<ChannelName>,
}

/// A record: number of the channel, and index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) channel: usize,
    pub(super) index: u64,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Put at first, never touched again.
    Stable,
    /// Put at first, then replaced over and over.
    Replaced,
    /// Added while the channels are scanned.
    Added,
    /// Put and removed while the channels are scanned; removed at the end.
    Transient,
}

impl Plan {
    pub(super) fn new(
        seed: u64,
        records: u64,
        channels: u64,
        prefix: &str,
    ) -> Result<Self, ChannelNameError> {
        let name = |number| format!("{prefix}{number}").parse();
        let channels = (0..channels).map(name).collect::<Result<_, _>>()?;
        Ok(Self { seed, records, channels })
    }

    pub(super) fn channels(&self) -> &[ChannelName] {
        &self.channels
    }

    pub(super) fn channel(&self, place: Place) -> &ChannelName {
        &self.channels[place.channel]
    }

    /// Records of a channel that are put at first.
    pub(super) fn base(&self, channel: usize) -> u64 {
        let channels = self.channels.len() as u64;
        let has_one_more = (channel as u64) < self.records % channels;
        self.records / channels + u64::from(has_one_more)
    }

    /// All records of a channel that are there at the end, or ever were.
    pub(super) fn end(&self, channel: usize) -> u64 {
        self.present(channel) + self.base(channel) * TRANSIENT_PERCENT / 100
    }

    /// Records of a channel that are there at the end.
    pub(super) fn present(&self, channel: usize) -> u64 {
        let base = self.base(channel);
        base + base * ADDED_PERCENT / 100
    }

    pub(super) fn fate(&self, place: Place) -> Fate {
        let base = self.base(place.channel);
        match place.index {
            index if index >= self.present(place.channel) => Fate::Transient,
            index if index >= base => Fate::Added,
            // By the key, which has no pattern: so every worker gets its share of them.
            _ if self.key(place).0.is_multiple_of(REPLACED_ONE_IN) => Fate::Replaced,
            _ => Fate::Stable,
        }
    }

    /// The version that a record has at the end; `None` if it is not there.
    pub(super) fn final_version(&self, place: Place) -> Option<Version> {
        match self.fate(place) {
            Fate::Stable | Fate::Added => Some(0),
            Fate::Replaced => Some(FINAL),
            Fate::Transient => None,
        }
    }

    /// The records that one of `workers` has to write, of all channels in turn: neighbours belong
    /// to different channels.
    pub(super) fn share(&self, worker: u64, workers: u64) -> impl Iterator<Item = Place> {
        let channels = self.channels.len();
        let longest = (0..channels).map(|channel| self.end(channel)).max().unwrap_or(0);
        let all = (worker..longest).step_by(usize::try_from(workers).unwrap_or(usize::MAX));
        all.flat_map(move |index| (0..channels).map(move |channel| Place { channel, index }))
            .filter(|place| place.index < self.end(place.channel))
    }

    pub(super) fn key(&self, place: Place) -> Key {
        Key(mix(place.index ^ self.salt(place.channel)))
    }

    /// The record that a key belongs to; `None` if the workload has no such key.
    pub(super) fn place(&self, channel: usize, key: Key) -> Option<Place> {
        let index = unmix(key.0) ^ self.salt(channel);
        (index < self.end(channel)).then_some(Place { channel, index })
    }

    fn salt(&self, channel: usize) -> u64 {
        mix(self.seed.wrapping_add(mix(channel as u64 + 1)))
    }

    /// Replaces the content of `value` by the record's value of that version.
    pub(super) fn write_value(&self, place: Place, version: Version, value: &mut Vec<u8>) {
        let mut state = self.key(place).0 ^ mix(self.salt(place.channel) ^ u64::from(version));
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        };
        let (min, max) = VALUE_BYTES;
        let len = usize::try_from(min + random() % (max - min + 1)).expect("2000 at most");
        value.clear();
        value.extend_from_slice(&version.to_le_bytes());
        while value.len() < len {
            value.extend_from_slice(&random().to_le_bytes());
        }
        value.truncate(len);
    }

    /// The version of a value; `None` if the record never had such a value. `scratch` is room to
    /// work in.
    pub(super) fn version_of(
        &self,
        place: Place,
        value: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Option<Version> {
        let version = Version::from_le_bytes(*value.first_chunk::<VERSION_BYTES>()?);
        self.write_value(place, version, scratch);
        (scratch == value).then_some(version)
    }
}

/// A permutation of all 64-bit numbers that leaves no pattern (the finaliser of splitmix64).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The way back from [`mix`]: its steps in reverse, with the factors' inverses.
const fn unmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ (x >> 30) ^ (x >> 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dht_testkit::for_seeds;

    use super::*;

    fn plan(seed: u64, records: u64, channels: u64) -> Plan {
        Plan::new(seed, records, channels, "w").expect("a good prefix")
    }

    #[test]
    fn a_key_leads_back_to_its_record_and_no_other_key_to_any() {
        for_seeds(200, |rng| {
            let plan = plan(rng.next(), 1 + rng.below(1000), 1 + rng.below(5));
            let channel = rng.within(0..plan.channels().len());
            if let index @ 1.. = plan.end(channel) {
                let place = Place { channel, index: rng.below(index) };
                assert_eq!(plan.place(channel, plan.key(place)), Some(place));
                let beyond = Place { channel, index: index + rng.below(u64::MAX - index) };
                assert_eq!(plan.place(channel, plan.key(beyond)), None);
            }
        });
    }

    #[test]
    fn the_workers_shares_are_all_records_once() {
        for_seeds(30, |rng| {
            let plan = plan(rng.next(), 1 + rng.below(300), 1 + rng.below(7));
            let workers = 1 + rng.below(9);
            let mut seen = BTreeSet::new();
            for worker in 0..workers {
                for place in plan.share(worker, workers) {
                    assert!(seen.insert((place.channel, place.index)));
                }
            }
            let channels = 0..plan.channels().len();
            let all: u64 = channels.clone().map(|channel| plan.end(channel)).sum();
            assert_eq!(seen.len() as u64, all);
            assert_eq!(channels.map(|channel| plan.base(channel)).sum::<u64>(), plan.records);
        });
    }

    #[test]
    fn a_value_tells_its_version_and_any_change_is_noticed() {
        for_seeds(200, |rng| {
            let plan = plan(rng.next(), 1000, 3);
            let place = Place { channel: rng.within(0..3), index: rng.below(300) };
            let version = *rng.pick(&[0, 1, 2, FINAL]);
            let (mut value, mut scratch) = (Vec::new(), Vec::new());
            plan.write_value(place, version, &mut value);
            assert!((20..=2000).contains(&value.len()));
            assert_eq!(plan.version_of(place, &value, &mut scratch), Some(version));
            let other = Place { index: place.index + 1, ..place };
            assert_eq!(plan.version_of(other, &value, &mut scratch), None);
            let at = rng.within(0..value.len());
            value[at] ^= 1;
            assert_eq!(plan.version_of(place, &value, &mut scratch), None);
            value.truncate(rng.within(0..4));
            assert_eq!(plan.version_of(place, &value, &mut scratch), None);
        });
    }

    #[test]
    fn a_channel_has_records_of_every_fate() {
        let plan = plan(1, 1000, 5);
        let count = |fate| {
            let places = (0..plan.end(0)).map(|index| Place { channel: 0, index });
            places.filter(|place| plan.fate(*place) == fate).count()
        };
        assert_eq!(count(Fate::Stable) + count(Fate::Replaced), 200);
        assert!((30..70).contains(&count(Fate::Replaced)));
        assert_eq!([Fate::Added, Fate::Transient].map(count), [20, 10]);
        let present = (0..plan.end(0)).map(|index| Place { channel: 0, index });
        let present = present.filter(|place| plan.final_version(*place).is_some()).count();
        assert_eq!(present as u64, plan.present(0));
    }
}
