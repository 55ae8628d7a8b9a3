//! What was there before: dumps, and the log behind them, into the store. The node does not listen
//! before this is done.
//!
//! ```text
//! find the log; damaged? -> clear removed channels -> load dumps -> all there? -> replay -> begin
//! ```
//!
//! Nothing is changed on the disk before it is clear that nothing is lost, or that this is accepted;
//! but for dumps of channels whose removal was logged and acknowledged, which are moved away.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dht_dump::{Beside, Disk, DiskError, DumpReader, backup_path, dump_path};
use dht_storage::Store;
use dht_types::ChannelName;

use crate::config::DurabilityConfig;
use crate::context::Clock;
use crate::durability::{Keeper, Position, Recovery, RecoveryError, ReplayOptions};
use crate::persist::{self, Dumps, LoadError, LoadOptions, Positions};

/// Why the node cannot start with what is in its data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(
        "the dumps of these channels are missing, and the log has only what was changed since: {}. \
         Restore the files, or start with --accept-damaged to go on with what there is", .0.join(", ")
    )]
    Missing(Vec<String>),
}

/// How to restore.
pub(crate) struct RestoreOptions<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    /// See [`crate::durability::boot_id`].
    pub(crate) boot: u64,
    pub(crate) durability: &'a DurabilityConfig,
    pub(crate) load: LoadOptions,
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
}

/// Fills the store. Returns the keeper of the log, if this life has one.
pub(crate) fn restore(
    options: &RestoreOptions<'_>,
    store: &Store,
    dumps: &Dumps,
) -> Result<Option<Keeper>, RestoreError> {
    let RestoreOptions { disk, dir, boot, load, .. } = options;
    let recovery = Recovery::find(Arc::clone(disk), dir, *boot, load.accept_damaged)?;
    recovery.clear()?;
    persist::load_all(&**disk, dir, store, dumps, load)?;
    let missing: Vec<_> = recovery.missing(store).iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        if !load.accept_damaged {
            return Err(RestoreError::Missing(missing));
        }
        log::error!(
            "The dumps of these channels are missing: {}. This was accepted.",
            missing.join(", ")
        );
    }
    let positions = positions(&**disk, dir, store, dumps);
    let replay = ReplayOptions {
        hash_range: load.hash_range,
        out_of_range: load.out_of_range,
        threads: options.threads,
        clock: options.clock,
    };
    recovery.replay(store, &positions, &replay)?;
    Ok(recovery.begin(store, &positions, options.durability)?)
}

/// Where the log was when the dumps that were loaded began.
fn positions(
    disk: &dyn Disk,
    dir: &Path,
    store: &Store,
    dumps: &Dumps,
) -> BTreeMap<ChannelName, Position> {
    let of_file = |path: &Path| match DumpReader::open(disk, path).ok()?.beside() {
        Beside::Manifest(manifest) => Position::parse(manifest.log_position.as_ref()?),
        _ => None,
    };
    let mut positions = BTreeMap::new();
    for channel in store.channels() {
        let name = channel.name();
        let [latest, before] =
            [dump_path(dir, name), backup_path(dir, name)].map(|path| of_file(&path));
        let [of_dump, of_backup] =
            [latest, before].map(|position| position.map(|position| position.sequence));
        dumps.has_positions(name, Positions { latest: of_dump, before: of_backup });
        if let Some(position) = latest {
            positions.insert(name.clone(), position);
        }
    }
    positions
}
