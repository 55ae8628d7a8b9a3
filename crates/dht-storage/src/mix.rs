//! Where a key lives: shard, tag and low bits, all cut from one mixed value.
//!
//! ```text
//! mixed = mix(key ^ seed)       | shard: s bits | tag: 32 bits | low: 32 - s bits |
//! ```
//!
//! Applications choose keys badly (consecutive numbers, high bits all zero), so the key is mixed.
//! The mix is a bijection: shard, tag and low together *are* the key, and an index that knows its
//! shard and holds the tag need not store it. The order of the mixed values is the scan order.
//!
//! The seed differs from store to store. Without it, loading a dump (which was written in the scan
//! order of another store) would fill one end of every segment first; and a peer could choose keys
//! that meet in one place.
#![expect(
    clippy::cast_possible_truncation,
    reason = "cutting a number into bit fields is the point"
)]

use dht_types::Key;

/// Most bits of the shard number: 1024 shards.
pub(crate) const SHARD_BITS_MAX: u32 = 10;

/// The bijection between keys and places, for one store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mixer {
    seed: u64,
    shard_bits: u32,
}

/// A key, mixed and cut in three. The derived order is the scan order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) shard: usize,
    pub(crate) tag: u32,
    pub(crate) low: u32,
}

impl Mixer {
    pub(crate) fn new(seed: u64, shard_bits: u32) -> Self {
        assert!(shard_bits <= SHARD_BITS_MAX, "at most {SHARD_BITS_MAX} shard bits");
        Self { seed, shard_bits }
    }

    pub(crate) const fn shards(self) -> usize {
        1 << self.shard_bits
    }

    pub(crate) const fn mixed(self, key: Key) -> u64 {
        mix(key.0 ^ self.seed)
    }

    pub(crate) const fn place(self, key: Key) -> Place {
        self.cut(self.mixed(key))
    }

    /// Cuts a mixed value. Shifting in two steps, because shifting 64 places at once is undefined.
    pub(crate) const fn cut(self, mixed: u64) -> Place {
        Place {
            shard: ((mixed >> 1) >> (63 - self.shard_bits)) as usize,
            tag: ((mixed << self.shard_bits) >> 32) as u32,
            low: mixed as u32 & (u32::MAX >> self.shard_bits),
        }
    }

    /// The mixed value of a place: [`Mixer::cut`] backwards.
    pub(crate) const fn join(self, place: Place) -> u64 {
        ((place.shard as u64) << (63 - self.shard_bits)) << 1
            | (place.tag as u64) << (32 - self.shard_bits)
            | place.low as u64
    }

    pub(crate) const fn key(self, place: Place) -> Key {
        Key(unmix(self.join(place)) ^ self.seed)
    }
}

/// The finaliser of MurmurHash3: every bit of `x` reaches every bit of the result.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// [`mix`] backwards: a shift by 33 of 64 bits undoes itself, an odd factor has an inverse.
const fn unmix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0x9cb4_b2f8_1293_37db);
    x = (x ^ x >> 33).wrapping_mul(0x4f74_430c_22a5_4005);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use dht_testkit::Rng;

    use super::*;

    #[test]
    fn a_place_is_its_key_for_any_number_of_shards() {
        let mut rng = Rng::new(1);
        for shard_bits in 0..=SHARD_BITS_MAX {
            let mixer = Mixer::new(rng.next(), shard_bits);
            for key in (0..1000).map(|_| Key(rng.next())).chain([0, 1, u64::MAX].map(Key)) {
                let place = mixer.place(key);
                assert!(place.shard < mixer.shards());
                assert_eq!(mixer.join(place), mixer.mixed(key));
                assert_eq!(mixer.key(place), key);
            }
        }
    }

    #[test]
    fn places_sort_like_mixed_values() {
        let (mut rng, mixer) = (Rng::new(2), Mixer::new(3, 6));
        for _ in 0..1000 {
            let (a, b) = (rng.next(), rng.next());
            assert_eq!(mixer.cut(a).cmp(&mixer.cut(b)), a.cmp(&b));
        }
    }
}
