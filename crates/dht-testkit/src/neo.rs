//! The neo protocol written down a second time, straight from the specification: who tests a node
//! must not share an encoder with it. Nothing here is checked, so that a test may send what no
//! client would. Panics if the node does not greet as it should.
//!
//! ```text
//! frame := type: u8 | body length: u64 | parity: u8 | body      parity: XOR of the nine before it
//! body  := request id: u64 | payload                            of a request, type 1
//! start := code: u8 | version: u8 | argument ...                payload of the first message
//! array := length: u64 | bytes
//! ```
//!
//! Source: spec `protocol-neo` 3, 4, 7, 9-14.

use std::time::SystemTime;

use sha2::{Digest, Sha512};

use crate::Peer;

/// The type of a request's message.
pub const REQUEST: u8 = 1;
/// The type of the greeting's messages.
pub const AUTHENTICATION: u8 = 2;

/// "Supported": the first answer to every request that the node knows.
pub const SUPPORTED: u8 = 0xfd;
/// The code is known, the version is not.
pub const UNKNOWN_VERSION: u8 = 0xfe;
/// The code is unknown.
pub const UNKNOWN_CODE: u8 = 0xff;

/// A control message of GetAll and Mirror.
pub const SUSPEND: &[u8] = &[1];
/// See [`SUSPEND`].
pub const RESUME: &[u8] = &[2];
/// See [`SUSPEND`].
pub const STOP: &[u8] = &[3];
/// In both directions.
pub const ACK: &[u8] = &[4];

/// The key of all accounts that tests have.
pub const ZERO_KEY: [u8; 128] = [0; 128];

/// A header with the right parity, whatever it announces.
#[must_use]
pub fn header(kind: u8, body_bytes: u64) -> Vec<u8> {
    let mut header = vec![kind];
    header.extend_from_slice(&body_bytes.to_le_bytes());
    header.push(header.iter().fold(0, |parity, byte| parity ^ byte));
    header
}

/// A message of any type.
#[must_use]
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&header(kind, body.len() as u64), body].concat()
}

/// A message of a request.
#[must_use]
pub fn message(id: u64, payload: &[u8]) -> Vec<u8> {
    frame(REQUEST, &[&id.to_le_bytes(), payload].concat())
}

/// An array: its length, then its bytes.
#[must_use]
pub fn array(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// The first payload of a request of version 0.
fn start(code: u8, arguments: &[&[u8]]) -> Vec<u8> {
    [&[code, 0], &arguments.concat()[..]].concat()
}

fn of_record(code: u8, channel: &str, key: u64) -> Vec<u8> {
    start(code, &[&array(channel), &key.to_le_bytes()])
}

/// GetHashRange.
#[must_use]
pub fn get_hash_range() -> Vec<u8> {
    start(1, &[])
}

/// Put.
#[must_use]
pub fn put(channel: &str, key: u64, value: &[u8]) -> Vec<u8> {
    start(2, &[&array(channel), &key.to_le_bytes(), &array(value)])
}

/// Get.
#[must_use]
pub fn get(channel: &str, key: u64) -> Vec<u8> {
    of_record(3, channel, key)
}

/// GetChannels.
#[must_use]
pub fn get_channels() -> Vec<u8> {
    start(6, &[])
}

/// Exists.
#[must_use]
pub fn exists(channel: &str, key: u64) -> Vec<u8> {
    of_record(7, channel, key)
}

/// Remove.
#[must_use]
pub fn remove(channel: &str, key: u64) -> Vec<u8> {
    of_record(8, channel, key)
}

/// RemoveChannel.
#[must_use]
pub fn remove_channel(channel: &str) -> Vec<u8> {
    start(9, &[&array(channel)])
}

/// An Update of any type, without what follows the key.
#[must_use]
pub fn update(kind: u8, channel: &str, key: u64) -> Vec<u8> {
    start(10, &[&[kind], &array(channel), &key.to_le_bytes()])
}

/// The first half of an Update.
#[must_use]
pub fn update_get(channel: &str, key: u64) -> Vec<u8> {
    update(1, channel, key)
}

/// An Update that writes at once: the second node of a two-node Update gets it.
#[must_use]
pub fn update_at_once(channel: &str, key: u64, old: &[u8], new: &[u8]) -> Vec<u8> {
    [update(2, channel, key), fnv1a64(old).to_le_bytes().to_vec(), array(new)].concat()
}

/// The second half of an Update: UpdateRecord.
#[must_use]
pub fn update_record(old: &[u8], new: &[u8]) -> Vec<u8> {
    [&[2], &fnv1a64(old).to_le_bytes()[..], &array(new)].concat()
}

/// The second half of an Update: RemoveRecord.
pub const REMOVE_RECORD: &[u8] = &[3];
/// The second half of an Update: LeaveRecord.
pub const LEAVE_RECORD: &[u8] = &[4];

/// The start of a GetAll.
#[derive(Debug, Clone, Copy, Default)]
pub struct GetAll<'a> {
    /// Its name.
    pub channel: &'a str,
    /// Begin with a pause.
    pub suspended: bool,
    /// Begin behind this key.
    pub continue_from: Option<u64>,
    /// Without the values.
    pub keys_only: bool,
    /// Records that contain this; all, if it is empty.
    pub filter: &'a [u8],
}

impl GetAll<'_> {
    /// Its first payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        start(
            5,
            &[
                &[u8::from(self.suspended)],
                &array(self.channel),
                &[u8::from(self.continue_from.is_some())],
                &self.continue_from.unwrap_or(0).to_le_bytes(),
                &[u8::from(self.keys_only)],
                &array(self.filter),
            ],
        )
    }
}

/// The start of a Mirror.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mirror<'a> {
    /// Its name.
    pub channel: &'a str,
    /// Begin with a pause.
    pub suspended: bool,
    /// All records first.
    pub initial_refresh: bool,
    /// All records again after so many seconds; 0 is never.
    pub periodic_refresh_s: u32,
}

impl Mirror<'_> {
    /// Its first payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        start(
            4,
            &[
                &[u8::from(self.suspended)],
                &array(self.channel),
                &[u8::from(self.initial_refresh)],
                &self.periodic_refresh_s.to_le_bytes(),
            ],
        )
    }
}

/// What an Update compares. Source: 11.2.
#[must_use]
pub fn fnv1a64(value: &[u8]) -> u64 {
    value.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The client's proof: HMAC-SHA-512. A key has just the block size of the hash. Source: 4.1, and
/// RFC 2104.
#[must_use]
pub fn proof(key: &[u8; 128], time: u64, nonce: &[u8]) -> Vec<u8> {
    let inner = Sha512::new()
        .chain_update(key.map(|byte| byte ^ 0x36))
        .chain_update(time.to_le_bytes())
        .chain_update(nonce)
        .finalize();
    Sha512::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// The greeting's message with name and proof.
#[must_use]
pub fn name_and_proof(name: &[u8], proof: &[u8]) -> Vec<u8> {
    frame(AUTHENTICATION, &[&array(name), proof].concat())
}

/// Seconds since 1970.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is set").as_secs()
}

/// The greeting up to the client's last step. Returns the node's nonce.
#[must_use]
pub fn greet_until_nonce(peer: &mut Peer, time: u64) -> Vec<u8> {
    peer.send(&[1]);
    peer.expect_hex("01");
    peer.send(&frame(AUTHENTICATION, &time.to_le_bytes()));
    peer.expect_hex("02 04 00 00 00 00 00 00 00 06");
    peer.receive(4)
}

/// The whole greeting, which has to be accepted. The key is [`ZERO_KEY`].
pub fn greet(peer: &mut Peer, name: &str) {
    let time = unix_time();
    let nonce = greet_until_nonce(peer, time);
    peer.send(&name_and_proof(name.as_bytes(), &proof(&ZERO_KEY, time, &nonce)));
    peer.expect_hex("02 01 00 00 00 00 00 00 00 03   01");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_hex;

    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        let golden = "01 29 00 00 00 00 00 00 00 28   02 00 00 00 00 00 00 00
                      02 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00
                      03 00 00 00 00 00 00 00 61 62 63";
        assert_eq!(message(2, &put("test", 0xdead, b"abc")), from_hex(golden));
        let golden = "01 29 00 00 00 00 00 00 00 28   04 00 00 00 00 00 00 00
                      05 00  00  04 00 00 00 00 00 00 00 74 65 73 74  00  00 00 00 00 00 00 00 00
                      00  00 00 00 00 00 00 00 00";
        let request = GetAll { channel: "test", ..GetAll::default() };
        assert_eq!(message(4, &request.encode()), from_hex(golden));
        let golden = "01 1c 00 00 00 00 00 00 00 1d   05 00 00 00 00 00 00 00
                      04 00  00  04 00 00 00 00 00 00 00 74 65 73 74  01  68 01 00 00";
        let request = Mirror {
            channel: "test",
            initial_refresh: true,
            periodic_refresh_s: 360,
            ..Mirror::default()
        };
        assert_eq!(message(5, &request.encode()), from_hex(golden));
        let golden = "01 1d 00 00 00 00 00 00 00 1c   06 00 00 00 00 00 00 00
                      02  4b 57 41 05 19 a2 1f e7  04 00 00 00 00 00 00 00 61 62 63 64";
        assert_eq!(message(6, &update_record(b"abc", b"abcd")), from_hex(golden));
        let golden = "02 4c 00 00 00 00 00 00 00 4e   04 00 00 00 00 00 00 00  74 65 73 74
                      a6 e2 e7 e8 09 5c ba eb a6 b6 4b 39 a2 ff 66 f9
                      4c f8 3c 5b 77 6c db 14 12 63 55 10 ab 6d 32 39
                      27 48 88 cc d3 7f e4 08 01 3d 7b ed 73 d5 1b 3c
                      42 4d 4e d0 52 56 25 02 42 01 c7 f7 db d4 49 a1";
        let proof = proof(&ZERO_KEY, 1_700_000_000, &from_hex("0a 1b 2c 3d"));
        assert_eq!(name_and_proof(b"test", &proof), from_hex(golden));
    }
}
