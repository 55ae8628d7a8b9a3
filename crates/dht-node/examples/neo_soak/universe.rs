//! The records of the soak: few enough keys that they meet again, values that prove themselves.
//!
//! ```text
//! value := key: u64 | version: u64 | filler, a function of both: 0-63 bytes, seldom up to 4 KiB
//! ```
//!
//! So whoever sees a record can check each of its bytes, and need only keep its version.

use dht_testkit::Rng;
use dht_types::Key;

/// Which write of a key it was, from 1 on. [`ABSENT`] stands for "no record".
pub(crate) type Version = u64;

/// No record, or removed.
pub(crate) const ABSENT: Version = 0;

/// Of every so many keys one is never removed: any scan has to find it.
const STABLE_ONE_IN: usize = 8;
/// Most bytes of the filler of nearly all values.
const FILLER_BYTES: u64 = 64;
/// One value in so many is long.
const LONG_ONE_IN: u64 = 256;
/// Most bytes of the filler of a long value.
const LONG_FILLER_BYTES: u64 = 4096;
/// Spreads the keys over the whole range: odd, so no two indices meet.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Undoes [`SPREAD`].
const GATHER: u64 = inverse(SPREAD);

/// Keys by index, `0..len`, and the sentinel behind them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Universe {
    len: usize,
}

impl Universe {
    pub(crate) const fn new(len: usize) -> Self {
        Self { len }
    }

    /// How many keys the writers use.
    pub(crate) const fn len(self) -> usize {
        self.len
    }

    /// How many keys there are, with the sentinel.
    pub(crate) const fn len_with_sentinel(self) -> usize {
        self.len + 1
    }

    /// Written when all else is written: who has seen it has been told of everything.
    pub(crate) const fn sentinel(self) -> usize {
        self.len
    }

    /// Whether the record is there from the load on to the end.
    pub(crate) const fn is_stable(self, index: usize) -> bool {
        index.is_multiple_of(STABLE_ONE_IN) && index < self.len
    }

    pub(crate) const fn key(self, index: usize) -> Key {
        Key((index as u64).wrapping_mul(SPREAD))
    }

    /// The index of a key; `None` if nobody has written it.
    pub(crate) fn index(self, key: Key) -> Option<usize> {
        let index = usize::try_from(key.0.wrapping_mul(GATHER)).ok()?;
        (index < self.len_with_sentinel()).then_some(index)
    }

    /// The value of this version, in `out`.
    pub(crate) fn write_value(self, index: usize, version: Version, out: &mut Vec<u8>) {
        let key = self.key(index).0;
        out.clear();
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        let mut rng = Rng::new(key ^ version);
        let most = if rng.one_in(LONG_ONE_IN) { LONG_FILLER_BYTES } else { FILLER_BYTES };
        let len = out.len() + usize::try_from(rng.below(most)).expect("a few KiB");
        while out.len() < len {
            out.extend_from_slice(&rng.next().to_le_bytes());
        }
        out.truncate(len);
    }

    /// Index and version of a record; an error if any byte is not as it was written. `scratch` is
    /// reused from call to call.
    pub(crate) fn read_value(
        self,
        key: Key,
        value: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(usize, Version), String> {
        let index = self.index(key).ok_or_else(|| format!("nobody has written the key {key:?}"))?;
        let version = value.get(8..16).and_then(|bytes| bytes.try_into().ok());
        let version =
            version.map(u64::from_le_bytes).ok_or_else(|| format!("{key:?}: no value"))?;
        self.write_value(index, version, scratch);
        if scratch != value {
            return Err(format!("{key:?}: {} bytes that nobody has written", value.len()));
        }
        Ok((index, version))
    }
}

/// The number by which an odd one has to be multiplied, modulo 2^64, to get 1 (Newton's method:
/// each round doubles the bits that are right).
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut bits = 3;
    while bits < 64 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}
