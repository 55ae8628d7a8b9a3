//! What one writer knows of its records.
//!
//! ```text
//! begin    a write is on its way: from now on its version may be found
//! settle   it was acknowledged: from now on nothing older may be found
//! ```
//!
//! The writes of a record are executed in the order in which they are sent, so after a crash there
//! is what was acknowledged last, or what any write behind that has made of it.

use std::collections::{HashMap, VecDeque};

use crate::records::{
    ABSENT, CHANNELS, Place, Size, Version, describe, describe_version, key, owner, value, version,
};

/// What a channel holds, by key.
pub(crate) type Records = HashMap<u64, Vec<u8>>;

/// See the module.
pub(crate) struct Oracle {
    pub(crate) writer: usize,
    /// As [`CHANNELS`].
    channels: Vec<ChannelState>,
    /// Writes so far.
    counter: u64,
}

#[derive(Default)]
struct ChannelState {
    keys: Vec<KeyState>,
    /// Writes to the channel so far, removals of it included.
    writes: u64,
    /// Nobody has written to it since its removal was acknowledged.
    is_gone: bool,
}

#[derive(Default, Clone)]
struct KeyState {
    /// What was acknowledged last.
    settled: Version,
    /// What is on its way, in the order of sending.
    under_way: VecDeque<Version>,
    /// An Update has asked for the record and not yet decided.
    is_locked: bool,
}

impl Oracle {
    pub(crate) fn new(writer: usize) -> Self {
        let state =
            |keys| ChannelState { keys: vec![KeyState::default(); keys], writes: 0, is_gone: true };
        let channels = CHANNELS.iter().map(|channel| state(channel.keys_of(writer))).collect();
        Self { writer, channels, counter: 0 }
    }

    /// How many keys there are in a channel.
    pub(crate) fn keys(&self, channel: usize) -> usize {
        self.channels[channel].keys.len()
    }

    pub(crate) fn key(&self, place: Place) -> u64 {
        key(self.writer, place.number)
    }

    pub(crate) fn value(&self, place: Place, version: Version) -> Vec<u8> {
        value(place.channel, self.key(place), version)
    }

    pub(crate) const fn next_version(&mut self, size: Size) -> Version {
        self.counter += 1;
        version(self.counter, size)
    }

    fn state(&mut self, place: Place) -> &mut KeyState {
        &mut self.channels[place.channel].keys[place.number]
    }

    /// What will be there when all that is under way is done.
    pub(crate) fn latest(&self, place: Place) -> Version {
        let state = &self.channels[place.channel].keys[place.number];
        state.under_way.back().copied().unwrap_or(state.settled)
    }

    /// What was acknowledged last, if nothing is under way.
    pub(crate) fn settled(&self, place: Place) -> Option<Version> {
        let state = &self.channels[place.channel].keys[place.number];
        state.under_way.is_empty().then_some(state.settled)
    }

    pub(crate) fn is_locked(&self, place: Place) -> bool {
        self.channels[place.channel].keys[place.number].is_locked
    }

    pub(crate) fn lock(&mut self, place: Place, is_locked: bool) {
        self.state(place).is_locked = is_locked;
    }

    /// See the module.
    pub(crate) fn begin(&mut self, place: Place, version: Version) {
        let channel = &mut self.channels[place.channel];
        channel.writes += 1;
        channel.is_gone = false;
        channel.keys[place.number].under_way.push_back(version);
    }

    /// See the module.
    pub(crate) fn settle(&mut self, place: Place, version: Version) {
        let state = self.state(place);
        let first = state.under_way.pop_front();
        assert_eq!(first, Some(version), "answers come in the order of requests");
        state.settled = version;
    }

    /// The channel is being removed. Returns the records that this removes, and the number of the
    /// removal.
    pub(crate) fn begin_removal(&mut self, channel: usize) -> (Vec<(Place, Version)>, u64) {
        let places = (0..self.keys(channel)).map(|number| Place { channel, number });
        let there: Vec<_> = places.filter(|place| self.latest(*place) != ABSENT).collect();
        let changes: Vec<_> = there.into_iter().map(|place| (place, ABSENT)).collect();
        for (place, version) in &changes {
            self.begin(*place, *version);
        }
        let state = &mut self.channels[channel];
        state.writes += 1;
        state.is_gone = false;
        (changes, state.writes)
    }

    /// The removal of the channel was acknowledged, after its records were settled.
    pub(crate) fn settle_removal(&mut self, channel: usize, number: u64) {
        let state = &mut self.channels[channel];
        state.is_gone = state.writes == number;
    }

    /// Compares its part of a channel with what was found there after a crash, and takes it out.
    /// Whatever was under way is decided by that.
    pub(crate) fn check(
        &mut self,
        channel: usize,
        mut found: Option<&mut Records>,
    ) -> Result<(), String> {
        let name = CHANNELS[channel].name;
        let is_own = CHANNELS[channel].owner == Some(self.writer);
        if is_own && found.is_some() && self.channels[channel].is_gone {
            return Err(format!("channel {name} was removed and is back"));
        }
        let mut differences = Vec::new();
        for number in 0..self.keys(channel) {
            let place = Place { channel, number };
            let key = self.key(place);
            let record = found.as_mut().and_then(|records| records.remove(&key));
            if let Err(difference) = self.check_record(place, record.as_deref()) {
                differences.push(difference);
            }
        }
        self.channels[channel].is_gone = found.is_none();
        if differences.is_empty() { Ok(()) } else { Err(summary(&differences)) }
    }

    fn check_record(&mut self, place: Place, found: Option<&[u8]>) -> Result<(), String> {
        let (writer, key) = (self.writer, self.key(place));
        let state = self.state(place);
        let may_be = |version: Version| match (version, found) {
            (ABSENT, found) => found.is_none(),
            (version, Some(found)) => value(place.channel, key, version) == found,
            (_, None) => false,
        };
        let versions = std::iter::once(&state.settled).chain(&state.under_way);
        let Some(version) = versions.copied().rfind(|version| may_be(*version)) else {
            let under_way: Vec<_> =
                state.under_way.iter().map(|version| describe_version(*version)).collect();
            return Err(format!(
                "channel {}, key {key:016x} (number {} of writer {writer}): expected {} or, from \
                 what was not acknowledged, one of {under_way:?}; found {}",
                CHANNELS[place.channel].name,
                place.number,
                describe_version(state.settled),
                describe(place.channel, found),
            ));
        };
        *state = KeyState { settled: version, ..KeyState::default() };
        Ok(())
    }
}

/// Records that no writer owns.
pub(crate) fn check_nothing_left(channel: &str, left: &Records) -> Result<(), String> {
    let left: Vec<_> = left
        .iter()
        .map(|(key, value)| {
            let (owner, bytes) = (owner(*key), value.len());
            format!("channel {channel}, key {key:016x} ({owner}): {bytes} bytes nobody wrote")
        })
        .collect();
    if left.is_empty() { Ok(()) } else { Err(summary(&left)) }
}

/// The first few, and how many there are.
fn summary(differences: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let shown = &differences[..differences.len().min(SHOWN_MAX)];
    format!("{} records differ:\n  {}", differences.len(), shown.join("\n  "))
}
