//! Reading a stream, whoever wrote it.
//!
//! Invariant: every read and write is checked against its slice. Copies go by whole chunks where
//! both slices have room for one and may write past what was asked for; those bytes are written
//! again before the end, for only a completely filled output is a success.

/// Why a stream was refused. The output then holds bytes of no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The stream ends within an instruction or without the end marker.
    #[error("the stream ends before its end marker")]
    Truncated,
    /// An instruction would write past the expected length.
    #[error("the stream holds more than the {expected} bytes that were announced")]
    TooLong {
        /// Length in bytes that the caller expected.
        expected: usize,
    },
    /// The end marker comes before the expected length is reached.
    #[error("the stream holds {actual} bytes; {expected} were announced")]
    TooShort {
        /// Length in bytes that the caller expected.
        expected: usize,
        /// Length in bytes up to the end marker.
        actual: usize,
    },
    /// A match refers to bytes before the start of the output.
    #[error("a match at byte {at} reaches back {distance} bytes")]
    LookBehind {
        /// Position in the output, in bytes.
        at: usize,
        /// How far the match reaches back, in bytes.
        distance: usize,
    },
    /// Something follows the end marker.
    #[error("{extra} bytes follow the end marker")]
    TrailingBytes {
        /// Number of bytes behind the end marker.
        extra: usize,
    },
}

/// A first byte above this is a literal run of `byte - FIRST_RUN_BASE`.
const FIRST_RUN_BASE: u8 = 17;
/// Bytes that one step of a fast copy moves.
const CHUNK: usize = 16;
/// Room that a fast match needs behind its end: widening the distance may overshoot by a chunk.
const MATCH_SLACK: usize = 2 * CHUNK;

/// What stands right before an instruction. It decides what an instruction below 16 means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A match without literals, or the start of the stream.
    Match,
    /// One to three literals.
    FewLiterals,
    /// A literal run of four and more.
    LiteralRun,
}

/// What an instruction asks to be repeated, and the `s` bits.
struct Match {
    distance: usize,
    length: usize,
    literals: usize,
}

/// Decompresses a whole LZO1X stream that must give exactly `out.len()` bytes. The caller bounds
/// that length before it makes the buffer; the stream can not make anything grow.
///
/// # Errors
///
/// Every mismatch is an error: a truncated stream, more or fewer bytes than `out` has, a distance
/// that reaches behind the start, bytes after the end marker. `out` then has no meaning.
pub fn decompress(stream: &[u8], out: &mut [u8]) -> Result<(), DecompressError> {
    let mut input = Input { bytes: stream, at: 0 };
    let mut output = Output { bytes: out, at: 0 };
    let mut before = first_literals(&mut input, &mut output)?;
    loop {
        let instruction = input.byte()?;
        let found = match instruction {
            0..=15 => match before {
                Before::Match => {
                    let length = input.length(instruction, 15)?.saturating_add(3);
                    output.copy_literals(&mut input, length)?;
                    before = Before::LiteralRun;
                    continue;
                }
                Before::FewLiterals => input.near_match(instruction, 1, 2)?,
                Before::LiteralRun => input.near_match(instruction, 2049, 3)?,
            },
            16..=31 => match input.far_match(instruction)? {
                Some(found) => found,
                None => break,
            },
            32..=63 => input.middle_match(instruction)?,
            64..=255 => input.short_match(instruction)?,
        };
        output.copy_match(found.distance, found.length)?;
        output.copy_few_literals(&mut input, found.literals)?;
        before = if found.literals == 0 { Before::Match } else { Before::FewLiterals };
    }
    check_ends(&input, &output)
}

/// The first byte alone may hold a literal run in a form of its own.
fn first_literals(
    input: &mut Input<'_>,
    output: &mut Output<'_>,
) -> Result<Before, DecompressError> {
    match input.bytes.first() {
        Some(&first) if first > FIRST_RUN_BASE => {
            input.at = 1;
            let length = usize::from(first - FIRST_RUN_BASE);
            output.copy_literals(input, length)?;
            Ok(if length < 4 { Before::FewLiterals } else { Before::LiteralRun })
        }
        _ => Ok(Before::Match),
    }
}

/// Both slices must be used up when the end marker has been read.
fn check_ends(input: &Input<'_>, output: &Output<'_>) -> Result<(), DecompressError> {
    let extra = input.bytes.len() - input.at;
    if extra > 0 {
        return Err(DecompressError::TrailingBytes { extra });
    }
    if output.at < output.bytes.len() {
        let (expected, actual) = (output.bytes.len(), output.at);
        return Err(DecompressError::TooShort { expected, actual });
    }
    Ok(())
}

/// The stream and how far it has been read. Invariant: `at <= bytes.len()`.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, DecompressError> {
        let byte = *self.bytes.get(self.at).ok_or(DecompressError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline(always)]
    fn u16(&mut self) -> Result<u16, DecompressError> {
        let pair = self.bytes.get(self.at..self.at + 2).ok_or(DecompressError::Truncated)?;
        self.at += 2;
        Ok(u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// The length bits of `instruction`; where they are 0 the length goes on in further bytes.
    #[inline(always)]
    fn length(&mut self, instruction: u8, mask: u8) -> Result<usize, DecompressError> {
        match instruction & mask {
            0 => self.long_length(usize::from(mask)),
            length => Ok(usize::from(length)),
        }
    }

    #[cold]
    fn long_length(&mut self, base: usize) -> Result<usize, DecompressError> {
        let mut length = base;
        loop {
            match self.byte()? {
                // Saturated it is longer than any output, and refused.
                0 => length = length.saturating_add(255),
                last => return Ok(length.saturating_add(usize::from(last))),
            }
        }
    }

    /// `0000ddss D`
    #[inline(always)]
    fn near_match(
        &mut self,
        instruction: u8,
        distance_min: usize,
        length: usize,
    ) -> Result<Match, DecompressError> {
        let high = usize::from(self.byte()?);
        let distance = (high << 2 | usize::from(instruction >> 2)) + distance_min;
        Ok(Match { distance, length, literals: usize::from(instruction & 3) })
    }

    /// `lllddss D` with `l >= 2`
    #[inline(always)]
    fn short_match(&mut self, instruction: u8) -> Result<Match, DecompressError> {
        let high = usize::from(self.byte()?);
        Ok(Match {
            distance: (high << 3 | usize::from(instruction >> 2 & 7)) + 1,
            length: usize::from(instruction >> 5) + 1,
            literals: usize::from(instruction & 3),
        })
    }

    /// `001lllll ddddddss dddddddd`
    #[inline(always)]
    fn middle_match(&mut self, instruction: u8) -> Result<Match, DecompressError> {
        let length = self.length(instruction, 31)?.saturating_add(2);
        let pair = usize::from(self.u16()?);
        Ok(Match { distance: (pair >> 2) + 1, length, literals: pair & 3 })
    }

    /// `0001dlll ddddddss dddddddd`, or `None` where this is the end marker.
    #[inline(always)]
    fn far_match(&mut self, instruction: u8) -> Result<Option<Match>, DecompressError> {
        let length = self.length(instruction, 7)?.saturating_add(2);
        let pair = usize::from(self.u16()?);
        let distance = usize::from(instruction & 8) << 11 | pair >> 2;
        // Compat: liblzo2 looks at the distance alone; length and literal bits are ignored.
        if distance == 0 {
            return Ok(None);
        }
        Ok(Some(Match { distance: distance + 16_384, length, literals: pair & 3 }))
    }
}

/// The output and how far it has been filled. Invariant: `at <= bytes.len()`.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    fn too_long(&self) -> DecompressError {
        DecompressError::TooLong { expected: self.bytes.len() }
    }

    /// Zero to three literals, the most frequent case: one move of four bytes and no branch on
    /// their number.
    #[inline(always)]
    fn copy_few_literals(
        &mut self,
        input: &mut Input<'_>,
        length: usize,
    ) -> Result<(), DecompressError> {
        let from = input.bytes.get(input.at..input.at + 4);
        let to = self.bytes.get_mut(self.at..self.at + 4);
        let (Some(from), Some(to)) = (from, to) else {
            return self.copy_literals(input, length);
        };
        to.copy_from_slice(from);
        input.at += length;
        self.at += length;
        Ok(())
    }

    #[inline(always)]
    fn copy_literals(
        &mut self,
        input: &mut Input<'_>,
        length: usize,
    ) -> Result<(), DecompressError> {
        if length <= CHUNK {
            let from = input.bytes.get(input.at..input.at + CHUNK);
            let to = self.bytes.get_mut(self.at..self.at + CHUNK);
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
                input.at += length;
                self.at += length;
                return Ok(());
            }
        }
        self.copy_many_literals(input, length)
    }

    fn copy_many_literals(
        &mut self,
        input: &mut Input<'_>,
        length: usize,
    ) -> Result<(), DecompressError> {
        let from = input.bytes[input.at..].get(..length).ok_or(DecompressError::Truncated)?;
        let Some(to) = self.bytes[self.at..].get_mut(..length) else {
            return Err(self.too_long());
        };
        to.copy_from_slice(from);
        input.at += length;
        self.at += length;
        Ok(())
    }

    /// Repeats `length` bytes from `distance` back, byte by byte in effect: the copy may read what
    /// it has just written.
    #[inline(always)]
    fn copy_match(&mut self, distance: usize, length: usize) -> Result<(), DecompressError> {
        let Some(from) = self.at.checked_sub(distance) else {
            return Err(DecompressError::LookBehind { at: self.at, distance });
        };
        let room = self.bytes.len() - self.at;
        if length.saturating_add(MATCH_SLACK) > room {
            return self.copy_match_at_the_end(from, length);
        }
        let end = self.at + length;
        let mut to = self.at;
        self.at = end;
        // A chunk that is copied over a distance below its own size is right in its first
        // `distance` bytes. With those the pattern is twice as long, and so is the distance.
        while to - from < CHUNK {
            self.bytes.copy_within(from..from + CHUNK, to);
            to += to - from;
        }
        let mut from = from;
        while to < end {
            self.bytes.copy_within(from..from + CHUNK, to);
            from += CHUNK;
            to += CHUNK;
        }
        Ok(())
    }

    /// The same near the end of the output, where no byte too many may be written.
    #[cold]
    fn copy_match_at_the_end(&mut self, from: usize, length: usize) -> Result<(), DecompressError> {
        if length > self.bytes.len() - self.at {
            return Err(self.too_long());
        }
        for from in from..from + length {
            self.bytes[self.at] = self.bytes[from];
            self.at += 1;
        }
        Ok(())
    }
}
