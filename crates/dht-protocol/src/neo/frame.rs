//! Framing: how a neo byte stream is cut into messages.
//!
//! ```text
//! | type: u8 | body length: u64 | parity: u8 | body ... |
//!   1 request: the body is | request id: u64 | payload ... |
//!   2 authentication
//! ```
//!
//! Above it: `auth`, `connection`, `client`. It sees bytes only and copies none of them.
//! Invariant: the ten header bytes XOR to zero, and nobody waits for a body before its length has
//! passed its limit. Source: spec `protocol-neo` 3.

use dht_lzo::compressed_bytes_max;

use super::RequestId;
use crate::wire::Writer;

/// Bytes before a body.
pub const HEADER_BYTES: usize = 10;

/// Longest request body that a node accepts. The original has no limit: it allocates what a peer
/// claims.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest request body that a client accepts: a record that a node took may come back in a batch
/// that compression made longer.
pub const REPLY_BODY_BYTES_MAX: usize = compressed_bytes_max(BODY_BYTES_MAX) + 64;

/// Longest authentication body.
pub const AUTH_BODY_BYTES_MAX: usize = 999;

/// Shortest request body: the id alone.
const REQUEST_BODY_BYTES_MIN: usize = RequestId::BYTES;

/// What a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A running request, or the start of one.
    Request = 1,
    /// The greeting.
    Authentication = 2,
}

/// Why a header was refused. It ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The ten header bytes do not XOR to zero.
    #[error("the header's parity is wrong")]
    Parity,
    /// Neither 1 nor 2.
    #[error("message type {0} is unknown")]
    Kind(u8),
    /// A request message without a whole id.
    #[error("a request message of {0} bytes has no room for an id")]
    TooShort(u64),
    /// Longer than its kind allows.
    #[error("a message of {len} bytes; at most {max} are accepted")]
    TooLong {
        /// The announced length.
        len: u64,
        /// The limit.
        max: usize,
    },
}

/// One whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it belongs to.
    pub kind: FrameKind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// A header that passed all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message belongs to.
    pub kind: FrameKind,
    /// Bytes that follow the header.
    pub body_bytes: usize,
}

impl Header {
    /// Reads the header at the front of `input`; `None` asks for more bytes. A request body may
    /// have `body_bytes_max` bytes.
    pub fn peek(input: &[u8], body_bytes_max: usize) -> Result<Option<Self>, FrameError> {
        let Some((&[kind, len @ .., parity_byte], _)) = input.split_first_chunk::<HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let len = u64::from_le_bytes(len);
        if parity(kind, len) != parity_byte {
            return Err(FrameError::Parity);
        }
        let within = |kind, min, max| match usize::try_from(len) {
            Ok(body_bytes) if body_bytes < min => Err(FrameError::TooShort(len)),
            Ok(body_bytes) if body_bytes <= max => Ok(Some(Self { kind, body_bytes })),
            _ => Err(FrameError::TooLong { len, max }),
        };
        match kind {
            1 => within(FrameKind::Request, REQUEST_BODY_BYTES_MIN, body_bytes_max),
            2 => within(FrameKind::Authentication, 0, AUTH_BODY_BYTES_MAX),
            _ => Err(FrameError::Kind(kind)),
        }
    }

    /// Bytes of the whole message. It cannot overflow: the body has passed its limit.
    #[must_use]
    pub const fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// XOR of the first nine header bytes.
const fn parity(kind: u8, len: u64) -> u8 {
    let len = len ^ len >> 32;
    let len = len ^ len >> 16;
    let [low, high, ..] = len.to_le_bytes();
    kind ^ low ^ high
}

/// Takes one whole message from the front of `input`, as a node reads it. `None` asks for more
/// bytes and takes none.
pub fn next_frame<'a>(input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
    next_frame_within(input, BODY_BYTES_MAX)
}

/// The same, with another limit for the bodies of requests.
pub fn next_frame_within<'a>(
    input: &mut &'a [u8],
    body_bytes_max: usize,
) -> Result<Option<Frame<'a>>, FrameError> {
    let Some(header) = Header::peek(input, body_bytes_max)? else { return Ok(None) };
    let Some((frame, rest)) = input.split_at_checked(header.frame_bytes()) else { return Ok(None) };
    *input = rest;
    Ok(Some(Frame { kind: header.kind, body: &frame[HEADER_BYTES..] }))
}

/// Appends a message to `out`; `body` writes its body in place.
pub fn write_frame(out: &mut Vec<u8>, kind: FrameKind, body: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    body(&mut Writer::new(out));
    let body_bytes = (out.len() - start - HEADER_BYTES) as u64;
    let header = &mut out[start..start + HEADER_BYTES];
    header[0] = kind as u8;
    header[1..9].copy_from_slice(&body_bytes.to_le_bytes());
    header[9] = parity(kind as u8, body_bytes);
}

/// Appends a message of a request to `out`; `payload` writes its payload in place.
pub fn write_message(out: &mut Vec<u8>, id: RequestId, payload: impl FnOnce(&mut Writer<'_>)) {
    write_frame(out, FrameKind::Request, |w| {
        id.encode(w);
        payload(w);
    });
}

/// Bytes of a message whose payload is one byte.
const BYTE_MESSAGE_BYTES: usize = HEADER_BYTES + RequestId::BYTES + 1;

/// Such a message, but for id and byte.
const BYTE_MESSAGE: [u8; BYTE_MESSAGE_BYTES] = {
    const LEN: u8 = 9;
    const KIND: u8 = FrameKind::Request as u8;
    const { assert!(LEN as usize == RequestId::BYTES + 1) };
    [KIND, LEN, 0, 0, 0, 0, 0, 0, 0, KIND ^ LEN, 0, 0, 0, 0, 0, 0, 0, 0, 0]
};

/// Appends a message of a request whose payload is one byte: most that a node sends are such.
pub fn write_byte(out: &mut Vec<u8>, id: RequestId, byte: u8) {
    let message = append(out, &BYTE_MESSAGE);
    message[HEADER_BYTES..][..RequestId::BYTES].copy_from_slice(&id.get().to_le_bytes());
    message[BYTE_MESSAGE_BYTES - 1] = byte;
}

/// Appends a message whose payload is one byte, and one whose payload is an array.
pub fn write_byte_and_array(out: &mut Vec<u8>, id: RequestId, byte: u8, array: &[u8]) {
    const HEAD_BYTES: usize = HEADER_BYTES + RequestId::BYTES + 8;
    const BLANK: [u8; BYTE_MESSAGE_BYTES + HEAD_BYTES] = {
        let mut blank = [0; BYTE_MESSAGE_BYTES + HEAD_BYTES];
        let (first, _) = blank.split_at_mut(BYTE_MESSAGE_BYTES);
        first.copy_from_slice(&BYTE_MESSAGE);
        blank[BYTE_MESSAGE_BYTES] = FrameKind::Request as u8;
        blank
    };
    let (id_bytes, len) = (id.get().to_le_bytes(), array.len() as u64);
    let body_bytes = (HEAD_BYTES - HEADER_BYTES) as u64 + len;
    let (first, second) = append(out, &BLANK).split_at_mut(BYTE_MESSAGE_BYTES);
    first[HEADER_BYTES..][..RequestId::BYTES].copy_from_slice(&id_bytes);
    first[BYTE_MESSAGE_BYTES - 1] = byte;
    second[1..9].copy_from_slice(&body_bytes.to_le_bytes());
    second[9] = parity(FrameKind::Request as u8, body_bytes);
    second[10..18].copy_from_slice(&id_bytes);
    second[18..].copy_from_slice(&len.to_le_bytes());
    out.extend_from_slice(array);
}

/// Appends a constant, to be patched in place: nothing waits for bytes that were just stored.
fn append<'a, const N: usize>(out: &'a mut Vec<u8>, bytes: &[u8; N]) -> &'a mut [u8; N] {
    out.extend_from_slice(bytes);
    out.last_chunk_mut().expect("just appended")
}

#[cfg(test)]
mod tests {
    use dht_testkit::{for_seeds, from_hex};

    use super::*;

    fn header(kind: u8, len: u64) -> Vec<u8> {
        let mut header = vec![kind];
        header.extend_from_slice(&len.to_le_bytes());
        header.push(header.iter().fold(0, |parity, byte| parity ^ byte));
        header
    }

    fn id(id: u64) -> RequestId {
        RequestId::new(id).expect("not 0")
    }

    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        let bytes = from_hex(
            "01 0a 00 00 00 00 00 00 00 0b   01 00 00 00 00 00 00 00   01 00
             01 09 00 00 00 00 00 00 00 08   01 00 00 00 00 00 00 00   fd",
        );
        let mut out = Vec::new();
        write_message(&mut out, id(1), |w| w.bytes(&[1, 0]));
        write_byte(&mut out, id(1), 0xfd);
        assert_eq!(out, bytes);
        let mut input = &bytes[..];
        let frame = |body| Ok(Some(Frame { kind: FrameKind::Request, body }));
        assert_eq!(next_frame(&mut input), frame(&bytes[10..20]));
        assert_eq!(next_frame(&mut input), frame(&bytes[30..39]));
        assert_eq!(next_frame(&mut input), Ok(None));
    }

    #[test]
    fn a_byte_alone_is_framed_like_any_payload() {
        for (request, byte) in [(1, 0), (0x0102_0304_0506_0708, 0xff), (u64::MAX, 7)] {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            write_byte(&mut short, id(request), byte);
            write_message(&mut long, id(request), |w| w.u8(byte));
            assert_eq!(short, long);
        }
    }

    #[test]
    fn a_byte_and_an_array_are_framed_like_any_payloads() {
        for array in [&[][..], b"abc", &[7; 300], &[1; 70_000]] {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            let request = id(0x0102_0304_0506_0708);
            write_byte_and_array(&mut short, request, 2, array);
            write_message(&mut long, request, |w| w.u8(2));
            write_message(&mut long, request, |w| w.array(array));
            assert_eq!(short, long);
        }
    }

    #[test]
    fn headers_are_judged_in_the_order_of_the_specification() {
        let judge = |header: &[u8]| Header::peek(header, BODY_BYTES_MAX);
        let ok = |kind, body_bytes| Ok(Some(Header { kind, body_bytes }));
        for len in 0..8 {
            assert_eq!(judge(&header(1, len)), Err(FrameError::TooShort(len)));
        }
        assert_eq!(judge(&header(1, 8)), ok(FrameKind::Request, 8));
        assert_eq!(judge(&header(1, BODY_BYTES_MAX as u64)), ok(FrameKind::Request, 64 << 20));
        for len in [BODY_BYTES_MAX as u64 + 1, 1 << 62, u64::MAX - 9, u64::MAX] {
            let error = FrameError::TooLong { len, max: BODY_BYTES_MAX };
            assert_eq!(judge(&header(1, len)), Err(error));
        }
        assert_eq!(judge(&header(2, 0)), ok(FrameKind::Authentication, 0));
        assert_eq!(judge(&header(2, 999)), ok(FrameKind::Authentication, 999));
        let error = FrameError::TooLong { len: 1000, max: 999 };
        assert_eq!(judge(&header(2, 1000)), Err(error));
        for kind in [0, 3, 255] {
            assert_eq!(judge(&header(kind, 8)), Err(FrameError::Kind(kind)));
        }
        for at in 0..10 {
            let mut damaged = header(0, u64::MAX);
            damaged[at] ^= 1;
            assert_eq!(judge(&damaged), Err(FrameError::Parity), "byte {at}");
        }
    }

    #[test]
    fn a_message_is_taken_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, id(7), |w| w.array(b"some value"));
        for len in 0..bytes.len() {
            let mut input = &bytes[..len];
            assert_eq!(next_frame(&mut input), Ok(None));
            assert_eq!(input.len(), len);
        }
    }

    #[test]
    fn any_bytes_end_in_an_error_or_a_request_for_more() {
        for_seeds(500, |rng| {
            let mut bytes = rng.bytes(0..100);
            if rng.one_in(2) {
                let mut good = header(*rng.pick(&[1, 2]), rng.below(40));
                good.append(&mut bytes);
                bytes = good;
            }
            let (mut input, mut taken) = (&bytes[..], 0);
            while let Ok(Some(frame)) = next_frame(&mut input) {
                taken += HEADER_BYTES + frame.body.len();
            }
            assert_eq!(taken + input.len(), bytes.len());
        });
    }
}
