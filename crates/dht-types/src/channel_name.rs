//! The name of a channel. It becomes part of file names, so the rule is strict.

use std::{fmt, ops::Deref, sync::Arc};

/// Longest channel name: with `.tcm.XXXXXX.dumping` behind it, the name of a dump in the making
/// still fits the 255 bytes that file systems allow. (The original accepts up to 10 MiB and then
/// never ends when it cannot write the dump.)
pub const CHANNEL_NAME_BYTES_MAX: usize = 255 - ".tcm.XXXXXX.dumping".len();

/// A valid channel name: 1 to [`CHANNEL_NAME_BYTES_MAX`] ASCII letters, digits, `_` or `-`.
/// Cheap to clone. Source: spec `protocol-legacy` 5.3.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// Nothing at all.
    #[error("a channel name must not be empty")]
    Empty,
    /// Longer than [`CHANNEL_NAME_BYTES_MAX`].
    #[error("a channel name has at most {CHANNEL_NAME_BYTES_MAX} bytes, not {0}")]
    TooLong(usize),
    /// A byte that is not allowed, and its offset.
    #[error(
        "a channel name has ASCII letters, digits, '_' and '-' only; byte {byte:#04x} at offset \
         {at} is none"
    )]
    Byte {
        /// The offending byte.
        byte: u8,
        /// Its offset in the name.
        at: usize,
    },
}

impl ChannelName {
    /// Checks a name without keeping it. Inline, as each neo request has a name.
    #[inline(always)]
    pub fn check(name: &[u8]) -> Result<&str, ChannelNameError> {
        let fits = (1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len());
        if fits
            && name.iter().fold(true, |all, byte| all & is_allowed(*byte))
            && let Ok(name) = std::str::from_utf8(name)
        {
            return Ok(name);
        }
        Err(Self::error(name))
    }

    /// What is wrong with a name.
    #[cold]
    fn error(name: &[u8]) -> ChannelNameError {
        match name.len() {
            0 => ChannelNameError::Empty,
            1..=CHANNEL_NAME_BYTES_MAX => {
                let bad = name.iter().position(|byte| !is_allowed(*byte));
                let at = bad.unwrap_or_default();
                ChannelNameError::Byte { byte: name[at], at }
            }
            len => ChannelNameError::TooLong(len),
        }
    }

    /// Checks a name and keeps it.
    pub fn new(name: &[u8]) -> Result<Self, ChannelNameError> {
        Self::check(name).map(|name| Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_allowed(byte: u8) -> bool {
    IS_ALLOWED[byte as usize]
}

/// Which bytes may stand in a name.
const IS_ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        byte += 1;
    }
    allowed
};

impl Deref for ChannelName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(name: &str) -> Result<Self, ChannelNameError> {
        Self::new(name.as_bytes())
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelName({})", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_letters_digits_underscore_and_dash() {
        for byte in 0..=255_u8 {
            let allowed = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            assert_eq!(ChannelName::new(&[b'a', byte]).is_ok(), allowed, "{byte}");
        }
        assert_eq!(ChannelName::check(b""), Err(ChannelNameError::Empty));
        assert_eq!(ChannelName::check(b"../x"), Err(ChannelNameError::Byte { byte: b'.', at: 0 }));
    }

    #[test]
    fn the_longest_name_leaves_room_for_the_temporary_suffix() {
        let longest = "c".repeat(CHANNEL_NAME_BYTES_MAX);
        let name: ChannelName = longest.parse().expect("as long as allowed");
        assert_eq!(format!("{name}.tcm.XXXXXX.dumping").len(), 255);
        let longer = "c".repeat(CHANNEL_NAME_BYTES_MAX + 1);
        assert_eq!(
            longer.parse::<ChannelName>(),
            Err(ChannelNameError::TooLong(CHANNEL_NAME_BYTES_MAX + 1))
        );
    }
}
