//! `minval` and `maxval`: the hash range, in full-length hex.

use dht_daemon::{ConfigError, Section};
use dht_types::{HashRange, Key};

/// Reads both limits. A limit with too few digits is refused, since it is a typing error that would
/// move the node's range.
pub(super) fn read(section: &mut Section<'_>) -> Result<HashRange, ConfigError> {
    let min = limit(section, "minval", "Minimum")?;
    let max = limit(section, "maxval", "Maximum")?;
    HashRange::new(min, max).map_err(|error| {
        let hint = format!(
            "Server.minval {:#018x} is above Server.maxval {:#018x}; only the empty range, \
             0xffffffffffffffff to 0x0000000000000000, may be like that",
            error.min, error.max
        );
        section.error("minval", "Invalid hash range", hint)
    })
}

/// Reads 16 hex digits, with or without `0x`.
fn limit(
    section: &mut Section<'_>,
    key: &'static str,
    which: &'static str,
) -> Result<u64, ConfigError> {
    let text: String = section.required(key)?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    Key::from_hex(digits.as_bytes()).map(|Key(limit)| limit).map_err(|_| {
        let problem = format!(
            "{which} hash specified in config file is invalid -- a full-length hash is expected"
        );
        let hint = format!(
            "Server.{key}: found '{text}', allowed: 16 hex digits, such as 0x00000000000000ff"
        );
        section.error(key, problem, hint)
    })
}
