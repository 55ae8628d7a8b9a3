//! Requests of the legacy protocol, written down a second time, straight from the specification:
//! who tests a node must not share an encoder with it. Nothing here is checked, so that a test may
//! send what no client would.
//!
//! ```text
//! request := code: u32 | argument ...       array := length: u64 | bytes
//! ```
//!
//! Source: spec `protocol-legacy` 2, 4, 7.

/// What a node answers. Source: 4.2.
pub mod status {
    /// Done; the answer follows.
    pub const OK: u32 = 200;
    /// The key is outside the node's hash range.
    pub const WRONG_NODE: u32 = 404;
    /// The node's size limit would be exceeded.
    pub const OUT_OF_MEMORY: u32 = 407;
    /// A record without a value.
    pub const EMPTY_VALUE: u32 = 408;
    /// No channel can have this name.
    pub const BAD_CHANNEL_NAME: u32 = 409;
    /// The value is longer than a Put may bring.
    pub const VALUE_TOO_BIG: u32 = 410;
    /// The node could not do it.
    pub const ERROR: u32 = 500;
}

/// The greatest length of an array other than a Put's value, in bytes. Source: 3.
pub const ARRAY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// An array: its length, then its bytes.
#[must_use]
pub fn array(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// A key: an array of 16 hex digits.
#[must_use]
pub fn key(key: u64) -> Vec<u8> {
    array(format!("{key:016x}").as_bytes())
}

/// A command code and its arguments, whatever they are.
#[must_use]
pub fn request(code: u32, arguments: &[&[u8]]) -> Vec<u8> {
    [&code.to_le_bytes(), &arguments.concat()[..]].concat()
}

fn of_channel(code: u32, channel: &str) -> Vec<u8> {
    request(code, &[&array(channel.as_bytes())])
}

fn of_record(code: u32, channel: &str, record: u64) -> Vec<u8> {
    request(code, &[&array(channel.as_bytes()), &key(record)])
}

/// Put. Source: 7.9.
#[must_use]
pub fn put(channel: &str, record: u64, value: &[u8]) -> Vec<u8> {
    request(1, &[&array(channel.as_bytes()), &key(record), &array(value)])
}

/// Get. Source: 7.8.
#[must_use]
pub fn get(channel: &str, record: u64) -> Vec<u8> {
    of_record(7, channel, record)
}

/// Exists. Source: 7.7.
#[must_use]
pub fn exists(channel: &str, record: u64) -> Vec<u8> {
    of_record(11, channel, record)
}

/// Remove. Source: 7.11.
#[must_use]
pub fn remove(channel: &str, record: u64) -> Vec<u8> {
    of_record(12, channel, record)
}

/// GetChannels. Source: 7.4.
#[must_use]
pub fn get_channels() -> Vec<u8> {
    request(17, &[])
}

/// GetChannelSize. Source: 7.6.
#[must_use]
pub fn get_channel_size(channel: &str) -> Vec<u8> {
    of_channel(18, channel)
}

/// GetSize. Source: 7.5.
#[must_use]
pub fn get_size() -> Vec<u8> {
    request(19, &[])
}

/// GetResponsibleRange. Source: 7.2.
#[must_use]
pub fn get_responsible_range() -> Vec<u8> {
    request(20, &[])
}

/// RemoveChannel. Source: 7.12.
#[must_use]
pub fn remove_channel(channel: &str) -> Vec<u8> {
    of_channel(22, channel)
}

/// GetNumConnections. Source: 7.3.
#[must_use]
pub fn get_num_connections() -> Vec<u8> {
    request(23, &[])
}

/// GetVersion. Source: 7.1.
#[must_use]
pub fn get_version() -> Vec<u8> {
    request(24, &[])
}

/// The answer to GetVersion.
#[must_use]
pub fn version_answer() -> Vec<u8> {
    [&status::OK.to_le_bytes(), &array(b"20110401")[..]].concat()
}

/// Listen. Source: 7.16.
#[must_use]
pub fn listen(channel: &str) -> Vec<u8> {
    of_channel(25, channel)
}

/// GetAll. Source: 7.13.
#[must_use]
pub fn get_all(channel: &str) -> Vec<u8> {
    of_channel(29, channel)
}

/// GetAllKeys. Source: 7.14.
#[must_use]
pub fn get_all_keys(channel: &str) -> Vec<u8> {
    of_channel(30, channel)
}

/// GetAllFilter. Source: 7.15.
#[must_use]
pub fn get_all_filter(channel: &str, filter: &[u8]) -> Vec<u8> {
    request(31, &[&array(channel.as_bytes()), &array(filter)])
}

/// PutBatch. Source: 7.10.
#[must_use]
pub fn put_batch(channel: &str, blob: &[u8]) -> Vec<u8> {
    request(34, &[&array(channel.as_bytes()), &array(blob)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_hex;

    #[test]
    fn requests_have_the_bytes_of_the_specification() {
        let put_hex = "01 00 00 00  04 00 00 00 00 00 00 00  74 65 73 74
                       10 00 00 00 00 00 00 00  30 30 30 30 30 30 30 30
                                                30 30 30 30 64 65 61 64
                       03 00 00 00 00 00 00 00  61 62 63";
        assert_eq!(put("test", 0xdead, b"abc"), from_hex(put_hex));
        assert_eq!(get_all("perf"), from_hex("1d000000040000000000000070657266"));
        assert_eq!(get_version(), from_hex("18000000"));
    }
}
