//! The records of the test: who owns which, and values that prove themselves.
//!
//! ```text
//! key     := spread(writer << 32 | number)         one to one, over the whole hash range
//! version := counter << 3 | size                   0: no record
//! value   := key | version | filler                a function of channel, key and version;
//!            filler alone, if it has less than 16 bytes
//! ```
//!
//! So whoever sees a value can check each of its bytes, and need only keep its version.

use std::fmt::Write;

use dht_testkit::Rng;

/// Threads that write.
pub(crate) const WRITERS: usize = 4;
/// Keys of a writer in a channel that all of them write to.
const SHARED_KEYS: usize = 200;
/// Keys in a channel of one writer.
const OWN_KEYS: usize = 80;
/// Keys of a channel that are written more often than the others.
pub(crate) const HOT_KEYS: usize = 8;

/// Spreads the keys over the whole range: odd, so no two meet.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Undoes [`SPREAD`].
const GATHER: u64 = inverse(SPREAD);

/// A channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) name: &'static str,
    /// Its section in the configuration.
    pub(crate) section: &'static str,
    /// Whether it is at level `disk` where the node is not.
    pub(crate) is_disk: bool,
    /// The only writer, which removes it as a whole now and then.
    pub(crate) owner: Option<usize>,
}

const fn channel(
    name: &'static str,
    section: &'static str,
    is_disk: bool,
    owner: Option<usize>,
) -> Channel {
    Channel { name, section, is_disk, owner }
}

/// All channels. Writers with even numbers write to none at level `disk`, so that their answers
/// wait for no sync.
pub(crate) const CHANNELS: [Channel; 12] = [
    channel("os-1", "Log.channel.os-1", false, None),
    channel("os-2", "Log.channel.os-2", false, None),
    channel("disk-1", "Log.channel.disk-1", true, None),
    channel("disk-2", "Log.channel.disk-2", true, None),
    channel("own-0-os-1", "Log.channel.own-0-os-1", false, Some(0)),
    channel("own-0-os-2", "Log.channel.own-0-os-2", false, Some(0)),
    channel("own-1-os", "Log.channel.own-1-os", false, Some(1)),
    channel("own-1-disk", "Log.channel.own-1-disk", true, Some(1)),
    channel("own-2-os-1", "Log.channel.own-2-os-1", false, Some(2)),
    channel("own-2-os-2", "Log.channel.own-2-os-2", false, Some(2)),
    channel("own-3-os", "Log.channel.own-3-os", false, Some(3)),
    channel("own-3-disk", "Log.channel.own-3-disk", true, Some(3)),
];

impl Channel {
    /// How many keys a writer has in it.
    pub(crate) fn keys_of(&self, writer: usize) -> usize {
        match self.owner {
            _ if self.is_disk && writer.is_multiple_of(2) => 0,
            None => SHARED_KEYS,
            Some(owner) if owner == writer => OWN_KEYS,
            Some(_) => 0,
        }
    }
}

/// A record's place: index of the channel, number of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) channel: usize,
    pub(crate) number: usize,
}

pub(crate) fn key(writer: usize, number: usize) -> u64 {
    ((writer as u64) << 32 | number as u64).wrapping_mul(SPREAD)
}

/// Whose key it is, and its number, if it is anybody's.
pub(crate) fn owner(key: u64) -> String {
    let place = key.wrapping_mul(GATHER);
    format!("number {} of writer {}", place & 0xffff_ffff, place >> 32)
}

/// Which write it was. [`ABSENT`] stands for "no record".
pub(crate) type Version = u64;

/// No record, or removed.
pub(crate) const ABSENT: Version = 0;

/// About how long a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Neo alone puts values of no bytes.
    Empty = 0,
    /// 1 to 31 bytes.
    Tiny = 1,
    /// 32 to 255 bytes.
    Small = 2,
    /// 1 to 4 KiB.
    Large = 3,
    /// 300,000 bytes: longer than what a legacy Put may bring.
    Huge = 4,
}

const SIZE_BITS: u32 = 3;

pub(crate) const fn version(counter: u64, size: Size) -> Version {
    counter << SIZE_BITS | size as u64
}

pub(crate) const fn is_huge(version: Version) -> bool {
    version & ((1 << SIZE_BITS) - 1) == Size::Huge as u64
}

/// The value of this version.
pub(crate) fn value(channel: usize, key: u64, version: Version) -> Vec<u8> {
    let mut rng = Rng::new(key ^ version.rotate_left(32) ^ channel as u64);
    let len = match version & ((1 << SIZE_BITS) - 1) {
        0 => 0,
        1 => rng.within(1..32),
        2 => rng.within(32..256),
        3 => rng.within(1024..4096),
        _ => 300_000,
    };
    let mut value = Vec::with_capacity(len + 8);
    if len >= 16 {
        value.extend_from_slice(&key.to_le_bytes());
        value.extend_from_slice(&version.to_le_bytes());
    }
    while value.len() < len {
        value.extend_from_slice(&rng.next().to_le_bytes());
    }
    value.truncate(len);
    value
}

/// What a value is, for people.
pub(crate) fn describe(channel: usize, found: Option<&[u8]>) -> String {
    let Some(bytes) = found else { return "no record".to_owned() };
    let mut text = format!("{} bytes", bytes.len());
    if let Some((head, _)) = bytes.split_first_chunk::<16>() {
        let (key, version) = head.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let (key, version) = (number(key), number(version));
        let whole = if value(channel, key, version) == bytes { "whole" } else { "TORN" };
        write!(text, ", {whole}, which say: key {key:016x}, {}", describe_version(version))
            .expect("a string takes everything");
    } else {
        write!(text, " {bytes:02x?}").expect("a string takes everything");
    }
    text
}

pub(crate) fn describe_version(version: Version) -> String {
    match version {
        ABSENT => "no record".to_owned(),
        version => format!("write {} (version {version:#x})", version >> SIZE_BITS),
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
