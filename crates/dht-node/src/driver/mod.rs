//! Sockets: which are ready, bytes in, bytes out. No protocol.
//!
//! A driver belongs to one worker. The boundary is the four calls of [`MioDriver`]: `wait`,
//! `receive`, `send`, and `add`/`remove`. A second driver (io_uring) has to offer the same.

mod mio;

pub(crate) use self::mio::{MioDriver, RECEIVE_BYTES};

/// Number of a connection within its worker; reused after the connection is gone.
pub(crate) type ConnId = usize;

/// What the system says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Whose socket it is.
    pub(crate) conn: ConnId,
    /// Bytes, an end or an error can be received.
    pub(crate) input: bool,
    /// The peer sends nothing any more; behind the bytes that are there stands the end.
    pub(crate) ends: bool,
    /// There is room to send.
    pub(crate) output: bool,
}

/// The outcome of one receive.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// Bytes, and whether more may be waiting.
    Bytes(&'a [u8], bool),
    /// Nothing for now.
    Nothing,
    /// The peer has closed, or the connection broke.
    Closed,
}

/// The outcome of one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many bytes went out; if not all, the driver says when there is room again.
    Bytes(usize),
    /// The connection broke.
    Closed,
}
