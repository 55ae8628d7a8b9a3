//! The types that a value in a config file can have.

use std::path::PathBuf;

/// A type that the text of a config value can be read as.
pub trait ConfigValue: Sized {
    /// Reads the text; it is trimmed and not empty.
    fn from_config(text: &[u8]) -> Result<Self, ValueError>;
}

/// Why a text is no value of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueError {
    /// It has another form.
    Type {
        /// The type, in the original's words.
        name: &'static str,
        /// What the type's values look like.
        allowed: String,
    },
    /// It is a number, but too small or too great.
    Bounds {
        /// The type, in the original's words.
        name: &'static str,
        /// The bounds.
        allowed: String,
    },
}

const BOOL_WORDS: [(&[u8], bool); 10] = [
    (b"true", true),
    (b"false", false),
    (b"enabled", true),
    (b"disabled", false),
    (b"on", true),
    (b"off", false),
    (b"yes", true),
    (b"no", false),
    (b"1", true),
    (b"0", false),
];

impl ConfigValue for bool {
    fn from_config(text: &[u8]) -> Result<Self, ValueError> {
        let found = BOOL_WORDS.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| ValueError::Type {
            name: "bool",
            allowed: "true/false, enabled/disabled, on/off, yes/no, 1/0".to_owned(),
        })
    }
}

impl ConfigValue for String {
    fn from_config(text: &[u8]) -> Result<Self, ValueError> {
        Self::from_utf8(text.to_vec())
            .map_err(|_| ValueError::Type { name: "istring", allowed: "UTF-8 text".to_owned() })
    }
}

/// Any bytes but NUL, so that a path in an old encoding still works.
impl ConfigValue for PathBuf {
    fn from_config(text: &[u8]) -> Result<Self, ValueError> {
        use std::os::unix::ffi::OsStringExt;
        if text.contains(&0) {
            let allowed = "a path without NUL bytes".to_owned();
            return Err(ValueError::Type { name: "istring", allowed });
        }
        Ok(std::ffi::OsString::from_vec(text.to_vec()).into())
    }
}

impl ConfigValue for f64 {
    fn from_config(text: &[u8]) -> Result<Self, ValueError> {
        let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Self>().ok());
        // Rust also reads `inf` and `nan`; no setting means anything by them.
        parsed.filter(|value| value.is_finite()).ok_or_else(|| ValueError::Type {
            name: "double",
            allowed: "a decimal number, such as 1.1 or 11e-1".to_owned(),
        })
    }
}

/// Integers under the names that the original's messages give them.
macro_rules! integers {
    ($($type:ty => $name:literal),*) => {$(
        impl ConfigValue for $type {
            fn from_config(text: &[u8]) -> Result<Self, ValueError> {
                let allowed = format!("{} to {}", Self::MIN, Self::MAX);
                match integer(text) {
                    Some(value) => Self::try_from(value)
                        .map_err(|_| ValueError::Bounds { name: $name, allowed }),
                    None => Err(ValueError::Type {
                        name: $name,
                        allowed: format!("a whole number, {allowed}; 0x, 0b, 0o as prefix"),
                    }),
                }
            }
        }
    )*};
}
integers! { u16 => "ushort", u32 => "uint", u64 => "ulong", i32 => "int", usize => "ulong" }

/// `[+-][0x|0b|0o]digits`, saturated at the ends of `i128`, where it is out of every bound anyway.
fn integer(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest),
        _ => (10, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for &digit in digits {
        let digit = char::from(digit).to_digit(radix)?;
        value = value.saturating_mul(i128::from(radix)).saturating_add(i128::from(digit));
    }
    Some(if negative { -value } else { value })
}
