//! `[Log]` and `[Log.channel.NAME]`: how much of what was acknowledged survives what. Not in the
//! original, which keeps nothing but its last dumps.

use std::collections::BTreeMap;

use dht_daemon::ini::Ini;
use dht_daemon::{ConfigError, Section};
use dht_types::ChannelName;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing: after a crash there are the last dumps. As the original.
    Memory,
    /// The end of the process, however sudden: it was handed to the system before the answer.
    Os,
    /// The end of the machine's power: it was on the disk before the answer.
    Disk,
}

/// `[Log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityConfig {
    /// `durability`: that of channels that have no other one.
    pub level: Level,
    /// `[Log.channel.NAME] durability`
    pub channels: BTreeMap<ChannelName, Level>,
    /// `segment_mb`, in bytes: a worker's log file gets about so long, at least 1 MiB.
    pub segment_bytes: u64,
    /// `dump_after_mb`, in bytes: when the log has grown by so much since the last dumps, or by as
    /// much as there are data if that is more, the next dumps begin early. At least 1 MiB.
    pub dump_after_bytes: u64,
}

const SECTION: &str = "Log";
const CHANNEL_SECTION_PREFIX: &str = "Log.channel.";
const LEVELS: [(&str, Level); 3] =
    [("memory", Level::Memory), ("os", Level::Os), ("disk", Level::Disk)];
const MIB: u64 = 1 << 20;

impl Level {
    /// Its name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).expect("each level is listed").0
    }

    /// That with a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(LEVELS.iter().find(|(other, _)| *other == name)?.1)
    }
}

impl DurabilityConfig {
    pub(crate) fn from_ini(
        ini: &Ini,
        loose: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, SECTION);
        let segment_mb = section.or("segment_mb", 64_u32)?;
        let dump_after_mb = section.or("dump_after_mb", 1024_u32)?;
        let mut config = Self {
            level: section.one_of("durability", &LEVELS, Level::Os)?,
            channels: BTreeMap::new(),
            segment_bytes: u64::from(section.at_least("segment_mb", segment_mb, 1)?) * MIB,
            dump_after_bytes: u64::from(section.at_least("dump_after_mb", dump_after_mb, 1)?) * MIB,
        };
        warnings.extend(section.finish(loose)?);
        for name in ini.section_names().filter(|name| name.starts_with(CHANNEL_SECTION_PREFIX)) {
            let mut section = Section::new(ini, name);
            let level = section.one_of("durability", &LEVELS, config.level)?;
            let channel = &name[CHANNEL_SECTION_PREFIX.len()..];
            let channel = ChannelName::new(channel.as_bytes()).map_err(|error| {
                section.error("durability", format!("[{name}] names no channel"), error.to_string())
            })?;
            warnings.extend(section.finish(loose)?);
            config.channels.insert(channel, level);
        }
        Ok(config)
    }

    /// That of a channel.
    pub(crate) fn of(&self, channel: &str) -> Level {
        self.channels.get(channel).copied().unwrap_or(self.level)
    }

    /// The greatest of any channel.
    pub(crate) fn greatest(&self) -> Level {
        self.channels.values().copied().fold(self.level, Level::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DurabilityConfig, String> {
        let ini = Ini::parse(text.as_bytes()).unwrap();
        DurabilityConfig::from_ini(&ini, false, &mut Vec::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_channel_has_a_level() {
        let config = parse("").unwrap();
        assert_eq!((config.of("a"), config.greatest()), (Level::Os, Level::Os));
        assert_eq!((config.segment_bytes, config.dump_after_bytes), (64 << 20, 1 << 30));
        let text = "[Log]\ndurability = memory\nsegment_mb = 1\n\
                    [Log.channel.a]\ndurability = disk\n[Log.channel.b]\ndurability = os\n";
        let config = parse(text).unwrap();
        let levels = ["a", "b", "c"].map(|name| config.of(name));
        assert_eq!(levels, [Level::Disk, Level::Os, Level::Memory]);
        assert_eq!((config.greatest(), config.segment_bytes), (Level::Disk, 1 << 20));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("[Log]\ndurability = safe", "(memory, os, disk)"),
            ("[Log]\nsegment_mb = 0", "Log.segment_mb"),
            ("[Log]\nlevel = os", "Log.level"),
            ("[Log.channel.a.b]\ndurability = os", "[Log.channel.a.b] names no channel"),
            ("[Log.channel.a]\nlevel = os", "Log.channel.a.level"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
