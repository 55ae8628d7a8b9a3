//! The commands; each takes what was asked for and writes what came of it.

mod channels;
mod follow;
mod instances;
mod listen;
mod mirror;
mod record;
mod ring;
mod scan;
mod update;
mod watch;

pub(crate) use channels::{channels, info, remove_channel, sizes};
pub(crate) use instances::{InstancesArgs, instances};
pub(crate) use listen::listen;
pub(crate) use mirror::mirror;
pub(crate) use record::{exists, get, put, remove};
pub(crate) use ring::ring;
pub(crate) use scan::{keys, scan};
pub(crate) use update::update;
pub(crate) use watch::{colors_allowed, watch};

use std::{io::Write as _, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{
    Output,
    args::Cli,
    failure::{Exit, Failure},
};

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell, out: &mut Output) -> Result<Exit, Failure> {
    // Into memory first: the generator panics if a write fails, and a pipe may be closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dht", &mut script);
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Writes `dht.1` and a page for each command into a folder.
pub(crate) fn man_pages(folder: &Path) -> Result<Exit, Failure> {
    clap_mangen::generate_to(Cli::command(), folder)?;
    Ok(Exit::Done)
}
