//! Reading and writing fields: the only code that slices a peer's bytes.
//!
//! All integers are little-endian, without padding. An array is its length in bytes as a `u64`,
//! then the bytes. Source: spec `protocol-legacy` 2, `protocol-neo` 7.

/// Why a peer's bytes were refused. It ends a request or a connection, never the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a field. For a stream that still grows: wait for more.
    #[error("message ends {missing} bytes short")]
    Truncated {
        /// At least so many bytes are missing.
        missing: usize,
    },
    /// An array announces more bytes than are accepted.
    #[error("{field} has {len} bytes; at most {max} are accepted")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// The announced length.
        len: u64,
        /// The limit.
        max: usize,
    },
    /// A field has a value that it cannot have.
    #[error("{field} is malformed")]
    Malformed {
        /// The field's name.
        field: &'static str,
    },
    /// A number that stands for nothing: a status, a message type.
    #[error("{field} {value} is unknown")]
    Unknown {
        /// The field's name.
        field: &'static str,
        /// What was found.
        value: u64,
    },
}

/// A cursor over received bytes. A failed read leaves it where it was.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first of `bytes` on.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { missing: len - self.rest.len() }),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.bytes(N)?.try_into().expect("just as many were asked for"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.fixed().map(u8::from_le_bytes)
    }

    /// A bool: any byte but 0 is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// An array of at most `max` bytes.
    pub fn array(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let len = ahead.u64()?;
        let within = usize::try_from(len).ok().filter(|len| *len <= max);
        let bytes = ahead.bytes(within.ok_or(DecodeError::TooLong { field, len, max })?)?;
        *self = ahead;
        Ok(bytes)
    }
}

/// Fields in the order written, at the end of a buffer that the caller owns.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The buffer itself, for encoders that append to it.
    #[must_use]
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A length in bytes or a count.
    pub fn len(&mut self, len: usize) {
        self.u64(len as u64);
    }

    /// An array: its length, then its bytes.
    pub fn array(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_as_written_and_every_prefix_is_truncated() {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.u8(7);
        w.bool(true);
        w.u16(0x0102);
        w.u32(0x0304_0506);
        w.u64(0x0708_090a_0b0c_0d0e);
        w.array(b"abc");
        let read = |bytes| {
            let mut r = Reader::new(bytes);
            let fields = (r.u8()?, r.bool()?, r.u16()?, r.u32()?, r.u64()?, r.array("a", 3)?);
            Ok::<_, DecodeError>((fields, r.is_empty()))
        };
        let fields = (7, true, 0x0102, 0x0304_0506, 0x0708_090a_0b0c_0d0e, &b"abc"[..]);
        assert_eq!(read(&bytes), Ok((fields, true)));
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).expect_err("too short");
            assert!(matches!(error, DecodeError::Truncated { missing } if missing > 0));
        }
    }

    #[test]
    fn an_array_over_its_limit_is_refused_before_it_is_read() {
        let announced = u64::MAX.to_le_bytes();
        let mut r = Reader::new(&announced);
        let error = DecodeError::TooLong { field: "value", len: u64::MAX, max: 9 };
        assert_eq!(r.array("value", 9), Err(error));
        assert_eq!(r.rest().len(), 8, "a failed read leaves the reader where it was");
    }
}
