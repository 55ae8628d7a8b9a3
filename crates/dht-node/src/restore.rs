//! What was there before: dumps, and the log behind them, into the store. The node does not listen
//! before this is done.
//!
//! ```text
//! find the log; damaged? -> clear removed channels -> load dumps -> all there? -> replay -> begin
//! ```
//!
//! Nothing is changed on the disk before it is clear that nothing is lost, or that this is
//! accepted; but for dumps of channels whose removal was logged, which are moved away.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dht_dump::{Disk, DiskError, LogPosition, backup_path};
use dht_storage::Store;
use dht_types::ChannelName;

use crate::config::DurabilityConfig;
use crate::durability::{
    Keeper, Position, Recovery, RecoveryError, ReplayOptions, position_of_dump,
};
use crate::persist::{
    self, Dumps, LoadError, LoadOptions, LoadedChannel, LogView, Origin, Positions,
};

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
         Restore the files, or start with --accept-damaged to go on with what there is",
        .0.join(", ")
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
    let holds = |name: &ChannelName, position: Option<&LogPosition>| recovery.holds(name, position);
    let log = LogView { holds: &holds, knows: &|name| recovery.knows(name) };
    let loaded = persist::load_all(&**disk, dir, store, dumps, load, log)?;
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
    let positions = positions(&**disk, dir, &loaded, dumps);
    let replay = ReplayOptions {
        hash_range: load.hash_range,
        foreign: load.foreign.clone(),
        out_of_range: load.out_of_range,
        threads: load.threads,
        clock: load.clock,
    };
    recovery.replay(store, &positions, &replay)?;
    let keeper = recovery.begin(store, &positions, options.durability)?;
    let is_poor =
        |channel: &LoadedChannel| channel.loss.is_some() || channel.origin != Origin::Dump;
    if let Some(keeper) = &keeper
        && loaded.iter().any(is_poor)
    {
        keeper.request_round(); // There is no good dump of it.
    }
    Ok(keeper)
}

/// Where the log was when the dumps that were loaded began.
fn positions(
    disk: &dyn Disk,
    dir: &Path,
    loaded: &[LoadedChannel],
    dumps: &Dumps,
) -> BTreeMap<ChannelName, Position> {
    let mut positions = BTreeMap::new();
    for channel in loaded {
        let name = &channel.name;
        let position = channel.log_position.as_ref().and_then(Position::parse);
        let sequence = |position: Position| position.sequence;
        let (latest, before) = match channel.origin {
            Origin::Dump => (position, position_of_dump(disk, &backup_path(dir, name)).flatten()),
            // The next dump keeps it as what there is to fall back to.
            Origin::Backup => (position, position),
            Origin::DamagedDump | Origin::Nothing => (None, None),
        };
        let [latest, before] = [latest, before].map(|position| position.map(sequence));
        dumps.has_positions(name, Positions { latest, before });
        if let Some(position) = position {
            positions.insert(name.clone(), position);
        }
    }
    positions
}
