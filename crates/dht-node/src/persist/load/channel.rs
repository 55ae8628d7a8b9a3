//! Loads one channel: from its dump, or from what there is instead.
//!
//! ```text
//! dump whole?                                  -> Dump
//! backup whole, and the log has the rest?      -> Backup, nothing is lost
//! the log has all of the channel?              -> Nothing, nothing is lost
//! else, only if it is accepted:
//!   backup whole?                              -> Backup, and what is surely right of the dump
//!   no                                         -> DamagedDump: what can be read of it
//! ```

use std::path::Path;

use dht_dump::{DELETED_FOLDER, Disk, Found, TcmError};
use dht_storage::Store;
use dht_types::ChannelName;

use super::file::{FileLoad, Loaded};
use super::loss::{Cause, Content, Instead, Loss};
use super::{
    ChannelEnd, Job, LoadError, LoadOptions, LoadedChannel, LogView, Origin, tell_of_ignored,
};
use crate::persist::DUMP_LOG;
use crate::persist::dumps::{Dumps, GoodDump};
use crate::persist::progress::Progress;

/// What the loading of every channel has in common.
pub(super) struct ChannelLoad<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) store: &'a Store,
    pub(super) dumps: &'a Dumps,
    pub(super) options: &'a LoadOptions,
    pub(super) progress: &'a Progress,
    pub(super) log: LogView<'a>,
}

impl ChannelLoad<'_> {
    /// Loads a channel, with so many threads.
    pub(super) fn run(&self, job: &Job, threads: usize) -> Result<ChannelEnd, LoadError> {
        let Job { channel: name, dump, backup } = job;
        let Some(dump) = dump else { return self.without_dump(job, threads) };
        let loaded = self.file(name, dump, threads)?;
        match &loaded.damage {
            None => {
                if let Some(backup) = backup {
                    tell_of_ignored(&backup.name.to_string_lossy(), self.dir.display());
                }
                self.is_good(name, &loaded, dump);
                let log_position = loaded.known.log_position();
                let (name, origin) = (name.clone(), Origin::Dump);
                let channel = LoadedChannel { name, origin, log_position, loss: None };
                Ok(ChannelEnd::Loaded { channel, damaged: None })
            }
            Some(TcmError::Unsupported { version }) => {
                log::warn!(
                    target: DUMP_LOG,
                    "{}: Dump file with unsupported version ({version}) found while scanning \
                     directory '{}'. Ignoring file.",
                    dump.name.to_string_lossy(),
                    self.dir.display()
                );
                Ok(ChannelEnd::NotThere)
            }
            Some(_) => self.instead_of(job, Some(&loaded), threads),
        }
    }

    /// There is a backup only. If the channel was removed, that is as it should be.
    fn without_dump(&self, job: &Job, threads: usize) -> Result<ChannelEnd, LoadError> {
        let Some(backup) = &job.backup else { return Ok(ChannelEnd::NotThere) };
        let deleted = dht_dump::dump_path(&self.dir.join(DELETED_FOLDER), &job.channel);
        let modified =
            |path: &Path| self.disk.open(path).ok().map(|file| file.identity.modified_ns);
        let backup_modified = modified(&self.dir.join(&backup.name));
        if modified(&deleted) >= backup_modified && backup_modified.is_some() {
            tell_of_ignored(&backup.name.to_string_lossy(), self.dir.display());
            return Ok(ChannelEnd::NotThere);
        }
        self.instead_of(job, None, threads)
    }

    /// The dump is damaged, or missing.
    fn instead_of(
        &self,
        job: &Job,
        dump: Option<&Loaded>,
        threads: usize,
    ) -> Result<ChannelEnd, LoadError> {
        let name = &job.channel;
        let covered = |loaded: &Loaded| {
            let position = loaded.known.log_position();
            (self.log.holds)(name, position.as_ref())
        };
        let backup = match &job.backup {
            Some(found) => {
                self.store.remove_channel(name);
                Some(self.file(name, found, threads)?).filter(|loaded| loaded.damage.is_none())
            }
            None => None,
        };
        let (origin, loss) = match &backup {
            Some(backup) if covered(backup) => (Origin::Backup, None),
            _ if (self.log.holds)(name, None) => {
                self.store.remove_channel(name);
                self.create(name)?;
                (Origin::Nothing, None)
            }
            Some(backup) => {
                let on_top = match (dump, &job.dump) {
                    (Some(dump), Some(found)) if dump.known.is_checked() => {
                        self.file(name, found, threads)?.records
                    }
                    _ => 0,
                };
                let instead = Instead::Backup { backup: Content::of(backup), on_top };
                (Origin::Backup, Some(self.loss(job, dump, instead)))
            }
            None => {
                if let (Some(_), Some(found)) = (&job.backup, &job.dump) {
                    // What a damaged backup has left of itself.
                    self.store.remove_channel(name);
                    self.file(name, found, threads)?;
                }
                self.create(name)?;
                let instead = Instead::DamagedDump { backup_is_damaged: job.backup.is_some() };
                (Origin::DamagedDump, Some(self.loss(job, dump, instead)))
            }
        };
        if let Some(loss) = loss.as_ref()
            && !self.options.accept_damaged
        {
            return Ok(ChannelEnd::Refused(loss.clone()));
        }
        if let (Some(backup), Some(found), Origin::Backup) = (&backup, &job.backup, origin) {
            self.is_good(name, backup, found);
        }
        let log_position = match origin {
            Origin::Backup => backup.as_ref().and_then(|backup| backup.known.log_position()),
            Origin::Dump | Origin::DamagedDump | Origin::Nothing => None,
        };
        tell(job, dump, origin, loss.as_ref());
        let channel = LoadedChannel { name: name.clone(), origin, log_position, loss };
        let damaged = job.dump.as_ref().map(|found| found.name.clone());
        Ok(ChannelEnd::Loaded { channel, damaged })
    }

    fn create(&self, name: &ChannelName) -> Result<(), LoadError> {
        let created = self.store.channel_or_create(name).map(drop);
        created.map_err(|_| LoadError::TooManyChannels(name.clone()))
    }

    fn loss(&self, job: &Job, dump: Option<&Loaded>, instead: Instead) -> Loss {
        let path = |found: &Found| self.dir.join(&found.name).display().to_string();
        let missing = dht_dump::dump_path(self.dir, &job.channel).display().to_string();
        let cause = match (dump, &job.dump) {
            (Some(dump), Some(found)) => Cause::Damaged {
                what: dump.damage.as_ref().map(ToString::to_string).unwrap_or_default(),
                dump: Content::of(dump),
                whole: dump.known.manifest.as_ref().map(|m| (m.records, m.record_bytes)),
                file_bytes: found.file_bytes,
                is_checksum: matches!(dump.damage, Some(TcmError::Checksum { .. })),
            },
            _ => Cause::Missing,
        };
        Loss {
            channel: job.channel.clone(),
            file: job.dump.as_ref().map_or(missing, path),
            backup: job.backup.as_ref().map(path),
            now: (self.options.unix_time)(),
            cause,
            instead,
        }
    }

    /// Loads a file and tells of it, as far as it goes.
    fn file(&self, name: &ChannelName, found: &Found, threads: usize) -> Result<Loaded, LoadError> {
        let clock = self.options.clock;
        let began = clock();
        log::info!(target: DUMP_LOG, "Loading channel '{name}' from disk");
        let is_ours = (self.log.knows)(name);
        let load = FileLoad::new(self.store, name, self.options, self.progress, threads);
        let loaded =
            load.of_ours(is_ours).run(self.disk, &self.dir.join(&found.name), found.file_bytes)?;
        if loaded.damage.is_some() {
            return Ok(loaded);
        }
        let took = clock().saturating_duration_since(began).as_secs_f64();
        log::trace!(target: DUMP_LOG, "Loaded channel '{name}' in {took:.2}s");
        let records = self.store.channel(name).map_or(0, |channel| channel.usage().records);
        log::info!(
            target: DUMP_LOG,
            "Finished loading channel '{name}' from disk, took {took:.2}s, read {} bytes (file \
             size including padding is {} bytes), {records} records in channel",
            loaded.bytes,
            found.file_bytes
        );
        Ok(loaded)
    }

    fn is_good(&self, name: &ChannelName, loaded: &Loaded, found: &Found) {
        let (unix_time, records) = (loaded.known.unix_time, loaded.records);
        self.dumps.is_good(name, GoodDump { unix_time, records, file_bytes: found.file_bytes });
    }
}

/// Tells the log that a channel does not come from its dump.
fn tell(job: &Job, dump: Option<&Loaded>, origin: Origin, loss: Option<&Loss>) {
    match loss {
        Some(loss) => log::error!(target: DUMP_LOG, "{loss}. This was accepted."),
        None => {
            let damage = dump.and_then(|dump| dump.damage.as_ref());
            let why = damage.map_or("it is missing".to_owned(), ToString::to_string);
            let source = match origin {
                Origin::Backup => "the backup and the log",
                Origin::Dump | Origin::DamagedDump | Origin::Nothing => "the log",
            };
            log::error!(
                target: DUMP_LOG,
                "The dump of channel '{}' cannot be used: {why}. The channel comes from {source}; \
                 nothing is lost.",
                job.channel
            );
        }
    }
}
