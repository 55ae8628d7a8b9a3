//! What a taker remembers while givers send what they had of its new range.
//!
//! A Redistribute gives the taker its range first and the records later. What clients put meanwhile
//! must not be replaced by what is forwarded, so that never replaces anything. What they remove
//! must not come back, so removals are remembered here: under the lock of the record's shard, so
//! that no forwarded record can slip in between.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_types::{ChannelName, HashRange, Key};

/// Most removals that are remembered. Beyond, a record that is removed before it is forwarded comes
/// back; the log tells.
const REMOVALS_MAX: usize = 4 * 1024 * 1024;

/// Givers that have sent nothing for so long have nothing left. None tells its end.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug)]
pub(crate) struct Receiving {
    parts: Vec<HashRange>,
    gone: Mutex<Gone>,
}

#[derive(Debug)]
struct Gone {
    records: HashSet<(ChannelName, Key)>,
    channels: HashSet<ChannelName>,
    last_use: Instant,
    is_full: bool,
}

impl Receiving {
    /// Of these parts, nothing has come yet.
    pub(crate) fn new(parts: Vec<HashRange>, now: Instant) -> Self {
        let (records, channels) = Default::default();
        let gone = Gone { records, channels, last_use: now, is_full: false };
        Self { parts, gone: Mutex::new(gone) }
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.parts.iter().any(|part| part.contains(key))
    }

    fn lock(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has removed a record, or would have.
    pub(crate) fn removed(&self, channel: &ChannelName, key: Key) {
        let mut gone = self.lock();
        if gone.records.len() < REMOVALS_MAX {
            gone.records.insert((channel.clone(), key));
        } else if !std::mem::replace(&mut gone.is_full, true) {
            log::warn!(
                "More than {REMOVALS_MAX} records were removed while other nodes forward what they \
                 have: further ones may come back. Remove them again when dhtredist has finished."
            );
        }
    }

    /// A client has removed a channel.
    pub(crate) fn removed_channel(&self, channel: &ChannelName) {
        self.lock().channels.insert(channel.clone());
    }

    /// Whether a forwarded record was removed meanwhile.
    pub(crate) fn is_removed(&self, channel: &ChannelName, key: Key) -> bool {
        let gone = self.lock();
        gone.channels.contains(channel) || gone.records.contains(&(channel.clone(), key))
    }

    /// Records were forwarded. `false`: so late that nobody can be meant by it.
    pub(crate) fn touch(&self, now: Instant) -> bool {
        let mut gone = self.lock();
        let in_time = now.saturating_duration_since(gone.last_use) < IDLE_MAX;
        gone.last_use = now;
        in_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant has no other origin")]
    fn removals_are_remembered_until_givers_are_silent() {
        let now = Instant::now();
        let receiving = Receiving::new(vec![HashRange::FULL], now);
        let [ch, other]: [ChannelName; 2] =
            ["ch", "other"].map(|name| name.parse().expect("valid"));
        receiving.removed(&ch, Key(1));
        receiving.removed_channel(&other);
        assert!(receiving.is_removed(&ch, Key(1)) && !receiving.is_removed(&ch, Key(2)));
        assert!(receiving.is_removed(&other, Key(2)));
        assert!(receiving.touch(now + IDLE_MAX / 2), "each batch gives them more time");
        assert!(receiving.touch(now + IDLE_MAX));
        assert!(!receiving.touch(now + 3 * IDLE_MAX));
    }
}
