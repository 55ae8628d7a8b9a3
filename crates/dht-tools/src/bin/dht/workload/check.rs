//! What was found against what must be there.

use std::sync::Mutex;

use dht_types::Key;

use super::plan::{Fate, Place, Plan, Version};

/// Differences that are described; the others are only counted.
const DESCRIBED_MAX: usize = 10;

/// Differences found so far, by all threads.
#[derive(Debug, Default)]
pub(super) struct Differences(Mutex<(u64, Vec<String>)>);

impl Differences {
    pub(super) fn add(&self, difference: String) {
        let mut found = self.0.lock().expect("nobody panics while holding it");
        found.0 += 1;
        if found.1.len() < DESCRIBED_MAX {
            found.1.push(difference);
        }
    }

    /// How many there are, and the first of them.
    pub(super) fn found(&self) -> (u64, Vec<String>) {
        self.0.lock().expect("nobody panics while holding it").clone()
    }
}

/// What a record may be when it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// As after the first phase: every record of that phase, in version 0.
    First,
    /// While others write: versions up to this one.
    Changing(Version),
    /// As at the end.
    Final,
}

impl Expected {
    /// Whether the record may be absent.
    pub(super) fn may_be_absent(self, plan: &Plan, place: Place) -> bool {
        match (self, plan.fate(place)) {
            (_, Fate::Transient) | (Self::First | Self::Changing(_), Fate::Added) => true,
            (Self::Final, Fate::Added) | (_, Fate::Stable | Fate::Replaced) => false,
        }
    }

    fn allows(self, plan: &Plan, place: Place, version: Version) -> bool {
        match (self, plan.fate(place)) {
            (Self::First, Fate::Stable | Fate::Replaced) => version == 0,
            (Self::First, Fate::Added | Fate::Transient) => false,
            (Self::Changing(_), Fate::Stable | Fate::Added) => version == 0,
            (Self::Changing(newest), Fate::Replaced | Fate::Transient) => version <= newest,
            (Self::Final, _) => plan.final_version(place) == Some(version),
        }
    }
}

/// Compares a record's value with what is expected. `scratch` is room to work in.
pub(super) fn check_value(
    plan: &Plan,
    place: Place,
    value: Option<&[u8]>,
    expected: Expected,
    scratch: &mut Vec<u8>,
) -> Result<(), String> {
    let record = || format!("{} in {}", plan.key(place), plan.channel(place));
    match value {
        None if expected.may_be_absent(plan, place) => Ok(()),
        None => Err(format!("{} is missing", record())),
        Some(value) => match plan.version_of(place, value, scratch) {
            None => Err(format!("{} has a value of {} bytes it never had", record(), value.len())),
            Some(version) if !expected.allows(plan, place, version) => {
                Err(format!("{} has version {version}, not expected now", record()))
            }
            Some(_) => Ok(()),
        },
    }
}

/// Checks the records of one scan of a channel: each value, and that each record comes just once.
#[derive(Debug)]
pub(super) struct ScanCheck<'a> {
    plan: &'a Plan,
    channel: usize,
    /// A bit for each index of the channel.
    seen: Vec<u64>,
    scratch: Vec<u8>,
}

impl<'a> ScanCheck<'a> {
    pub(super) fn new(plan: &'a Plan, channel: usize) -> Self {
        let words = usize::try_from(plan.end(channel).div_ceil(64)).expect("it fits the memory");
        Self { plan, channel, seen: vec![0; words], scratch: Vec::new() }
    }

    /// Checks a record that the scan returned.
    pub(super) fn record(
        &mut self,
        key: Key,
        value: &[u8],
        expected: Expected,
    ) -> Result<(), String> {
        let channel = || &self.plan.channels()[self.channel];
        let Some(place) = self.plan.place(self.channel, key) else {
            return Err(format!("{key} in {} was never put", channel()));
        };
        let (word, bit) = Self::bit(place);
        if self.seen[word] & bit != 0 {
            return Err(format!("{key} in {} came twice in one scan", channel()));
        }
        self.seen[word] |= bit;
        check_value(self.plan, place, Some(value), expected, &mut self.scratch)
    }

    /// At the end of the scan: the records that did not come but must have.
    pub(super) fn missing(&self, expected: Expected) -> impl Iterator<Item = String> {
        let all =
            (0..self.plan.end(self.channel)).map(|index| Place { channel: self.channel, index });
        let missing = all.filter(move |place| {
            let (word, bit) = Self::bit(*place);
            self.seen[word] & bit == 0 && !expected.may_be_absent(self.plan, *place)
        });
        missing.map(|place| {
            let (key, channel) = (self.plan.key(place), self.plan.channel(place));
            format!("{key} in {channel} did not come in a scan")
        })
    }

    fn bit(place: Place) -> (usize, u64) {
        (usize::try_from(place.index / 64).expect("below the end"), 1 << (place.index % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::plan::FINAL;

    const CHANNEL: usize = 0;

    fn plan() -> Plan {
        Plan::new(1, 100, 1, "w").expect("a good prefix")
    }

    /// A value of the first record with this fate.
    fn record(plan: &Plan, fate: Fate, version: Version) -> (Place, Vec<u8>) {
        let places = (0..plan.end(CHANNEL)).map(|index| Place { channel: CHANNEL, index });
        let place = places.into_iter().find(|place| plan.fate(*place) == fate).expect("one");
        let mut value = Vec::new();
        plan.write_value(place, version, &mut value);
        (place, value)
    }

    #[test]
    fn versions_are_allowed_as_the_phases_need_them() {
        let plan = plan();
        let verdict = |expected, fate, version| {
            let (place, value) = record(&plan, fate, version);
            check_value(&plan, place, Some(&value), expected, &mut Vec::new()).is_ok()
        };
        let changing = Expected::Changing(3);
        for (expected, fate, version, allowed) in [
            (Expected::First, Fate::Stable, 0, true),
            (Expected::First, Fate::Replaced, 1, false),
            (Expected::First, Fate::Added, 0, false),
            (changing, Fate::Replaced, 0, true),
            (changing, Fate::Replaced, 3, true),
            (changing, Fate::Replaced, 4, false),
            (changing, Fate::Stable, 1, false),
            (changing, Fate::Added, 0, true),
            (changing, Fate::Transient, 2, true),
            (Expected::Final, Fate::Replaced, FINAL, true),
            (Expected::Final, Fate::Replaced, 3, false),
            (Expected::Final, Fate::Added, 0, true),
            (Expected::Final, Fate::Transient, 2, false),
        ] {
            assert_eq!(verdict(expected, fate, version), allowed, "{expected:?} {fate:?}");
        }
    }

    #[test]
    fn absence_is_noticed_where_it_matters() {
        let plan = plan();
        let verdict = |expected, fate| {
            let (place, _) = record(&plan, fate, 0);
            check_value(&plan, place, None, expected, &mut Vec::new()).is_ok()
        };
        assert!(!verdict(Expected::First, Fate::Stable));
        assert!(!verdict(Expected::Changing(1), Fate::Replaced));
        assert!(verdict(Expected::Changing(1), Fate::Added));
        assert!(!verdict(Expected::Final, Fate::Added));
        assert!(verdict(Expected::Final, Fate::Transient));
    }

    #[test]
    fn a_scan_must_return_every_record_once_and_nothing_else() {
        let plan = plan();
        let mut check = ScanCheck::new(&plan, CHANNEL);
        let mut value = Vec::new();
        let skipped = 7;
        for index in (0..plan.present(CHANNEL)).filter(|index| *index != skipped) {
            let place = Place { channel: CHANNEL, index };
            let version = plan.final_version(place).expect("present");
            plan.write_value(place, version, &mut value);
            let key = plan.key(place);
            assert_eq!(check.record(key, &value, Expected::Final), Ok(()));
            let twice = check.record(key, &value, Expected::Final);
            assert!(twice.expect_err("twice").contains("twice"));
        }
        let stranger = plan.key(Place { channel: CHANNEL, index: plan.end(CHANNEL) });
        assert!(check.record(stranger, b"x", Expected::Final).is_err());
        let missing: Vec<_> = check.missing(Expected::Final).collect();
        let key = plan.key(Place { channel: CHANNEL, index: skipped });
        assert_eq!(missing, [format!("{key} in w0 did not come in a scan")]);
    }

    #[test]
    fn differences_are_all_counted_and_the_first_described() {
        let differences = Differences::default();
        (0..100).for_each(|number| differences.add(number.to_string()));
        let (count, first) = differences.found();
        assert_eq!((count, first.len(), first[9].as_str()), (100, DESCRIBED_MAX, "9"));
    }
}
