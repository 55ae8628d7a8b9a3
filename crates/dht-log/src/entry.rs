//! Entries: what a frame holds.
//!
//! ```text
//! 1 Channel        | 1: u8 | channel: u32 | incarnation: u64 | name length: u16 | name |
//! 2 Put            | 2: u8 | channel: u32 | sequence: u64 | key: u64 | length: u32 | value |
//! 3 Remove         | 3: u8 | channel: u32 | sequence: u64 | key: u64 |
//! 4 RemoveChannel  | 4: u8 | channel: u32 | sequence: u64 |
//! ```
//!
//! All numbers are little-endian. `channel` is a number that its segment gives to a channel, by an
//! entry Channel before the first other one that uses it. Entries stand one behind the other.

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// From here on, this segment calls a channel by a number.
    Channel { channel: u32, incarnation: u64, name: &'a [u8] },
    /// A record was put.
    Put { channel: u32, sequence: u64, key: u64, value: &'a [u8] },
    /// A record was removed.
    Remove { channel: u32, sequence: u64, key: u64 },
    /// A channel was removed with all its records: no change of it has a greater number.
    RemoveChannel { channel: u32, sequence: u64 },
}

const CHANNEL: u8 = 1;
const PUT: u8 = 2;
const REMOVE: u8 = 3;
const REMOVE_CHANNEL: u8 = 4;

/// Bytes of a Put besides its value.
pub(crate) const PUT_OVERHEAD_BYTES: usize = 1 + 4 + 8 + 8 + 4;

impl<'a> Entry<'a> {
    /// Appends its bytes.
    ///
    /// # Panics
    ///
    /// With a value of 2^32 bytes or a name of 2^16: no store holds either.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Channel { channel, incarnation, name } => {
                let length = u16::try_from(name.len()).expect("names have at most 255 bytes");
                out.push(CHANNEL);
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&incarnation.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(name);
            }
            Self::Put { channel, sequence, key, value } => {
                let length = u32::try_from(value.len()).expect("values have at most 2^31 bytes");
                let mut head = [0; PUT_OVERHEAD_BYTES];
                head[0] = PUT;
                head[1..5].copy_from_slice(&channel.to_le_bytes());
                head[5..13].copy_from_slice(&sequence.to_le_bytes());
                head[13..21].copy_from_slice(&key.to_le_bytes());
                head[21..25].copy_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&head);
                out.extend_from_slice(value);
            }
            Self::Remove { channel, sequence, key } => {
                out.push(REMOVE);
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&key.to_le_bytes());
            }
            Self::RemoveChannel { channel, sequence } => {
                out.push(REMOVE_CHANNEL);
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
            }
        }
    }

    /// Takes an entry from the front of `bytes`; `None` if there is no whole one.
    pub(crate) fn decode(bytes: &mut &'a [u8]) -> Option<Self> {
        let kind = take(bytes, 1)?[0];
        let channel = take_u32(bytes)?;
        Some(match kind {
            CHANNEL => {
                let incarnation = take_u64(bytes)?;
                let length = u16::from_le_bytes(take(bytes, 2)?.try_into().ok()?);
                Self::Channel { channel, incarnation, name: take(bytes, length.into())? }
            }
            PUT => {
                let (sequence, key) = (take_u64(bytes)?, take_u64(bytes)?);
                let length = usize::try_from(take_u32(bytes)?).ok()?;
                Self::Put { channel, sequence, key, value: take(bytes, length)? }
            }
            REMOVE => Self::Remove { channel, sequence: take_u64(bytes)?, key: take_u64(bytes)? },
            REMOVE_CHANNEL => Self::RemoveChannel { channel, sequence: take_u64(bytes)? },
            _ => return None,
        })
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_these_bytes_and_no_proper_prefix_is_one() {
        let entries = [
            (
                Entry::Channel { channel: 1, incarnation: 0x0203, name: b"ch" },
                "01 01000000 0302000000000000 0200 6368",
            ),
            (
                Entry::Put { channel: 1, sequence: 5, key: 0xa, value: b"foo" },
                "02 01000000 0500000000000000 0a00000000000000 03000000 666f6f",
            ),
            (
                Entry::Remove { channel: 1, sequence: 6, key: 0xa },
                "03 01000000 0600000000000000 0a00000000000000",
            ),
            (Entry::RemoveChannel { channel: 1, sequence: 7 }, "04 01000000 0700000000000000"),
        ];
        for (entry, hex) in entries {
            let (expected, mut bytes) = (dht_testkit::from_hex(&hex.replace(" ", "")), Vec::new());
            entry.encode(&mut bytes);
            assert_eq!(bytes, expected);
            let mut rest = &bytes[..];
            assert_eq!(Entry::decode(&mut rest), Some(entry));
            assert!(rest.is_empty());
            for len in 0..bytes.len() {
                assert_eq!(Entry::decode(&mut &bytes[..len]), None);
            }
        }
        assert_eq!(Entry::decode(&mut &[9; 64][..]), None, "an unknown kind");
    }
}
