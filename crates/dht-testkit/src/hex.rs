//! Golden bytes as people write them.

/// Bytes of a hex text; white space is ignored. Panics on anything else: it is for tests.
#[must_use]
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c:?} is no hex digit")) as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of hex digits");
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Hex text of bytes, lower case, no spaces.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
