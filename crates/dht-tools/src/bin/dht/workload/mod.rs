//! workload: millions of records, every one of them checked.
//!
//! ```text
//! run      put > read back > scan while others write > final writes > check the final state
//!          (the node is stopped and started again by whoever tests it)
//! verify   check the final state, and read every record back
//! ```
//!
//! Nothing is remembered in between: key, value and final state of each record are functions of the
//! seed (see [`plan`]). So `verify` needs the same numbers that `run` had, and nothing else.

mod check;
mod crew;
mod phases;
mod plan;

use std::io::Write as _;

use clap::{Args, Subcommand};
use dht_client::Limits;
use dht_types::ChannelName;

use crate::{
    Output,
    failure::{Exit, Failure, say},
    session::{Access, Session},
};
use check::Differences;
use crew::Crew;
use plan::Plan;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dht workload run --records 2000000
  (stop the node, start it again)
  dht workload verify --records 2000000

Exit code 1: something differs; the first differences are printed.")]
pub(crate) struct WorkloadArgs {
    #[command(subcommand)]
    phase: Phase,
}

#[derive(Debug, Subcommand)]
enum Phase {
    /// Put, read back, scan while others write, and leave a known state
    #[command(after_help = "\
Example:
  dht workload run --records 2000000 --channels 5 --connections 50 --seed 1

Phases:
  put        every record
  get        every record, and compare
  scan       all channels with GetAll, while the same channels are written: a quarter of the
             records is replaced over and over, others are added, others come and go. In each
             scan each record of the first phase must appear just once, with its old or a newer
             value.
  settle     the last writes; from now on the state is known
  check      sizes and GetAll of all channels against that state")]
    Run {
        #[command(flatten)]
        shape: ShapeArgs,
        /// How often each channel is scanned while others write
        #[arg(long, value_name = "N", default_value_t = 3)]
        scans: u32,
        /// Remove the channels first, if they are there
        #[arg(long)]
        clear: bool,
    },
    /// Check, with the same numbers, that all that `run` left is there, and nothing else
    #[command(after_help = "\
Example:
  dht workload verify --records 2000000 --channels 5 --connections 50 --seed 1

Phases:
  check      sizes and GetAll of all channels against the state that `run` left
  get        every record, and compare; records that were removed must not be there")]
    Verify {
        #[command(flatten)]
        shape: ShapeArgs,
    },
}

/// The numbers that everything follows from.
#[derive(Debug, Clone, Args)]
struct ShapeArgs {
    /// Records that are put at first, over all channels; 15 % more come later
    #[arg(long, value_name = "N", default_value_t = 2_000_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,
    /// Channels
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    channels: u64,
    /// Connections that work at the same time; over neo, requests on one connection
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
    /// All keys and values follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Channels are named PREFIX0, PREFIX1, ...
    #[arg(long, value_name = "PREFIX", default_value = "workload")]
    prefix: ChannelName,
}

pub(crate) async fn run(
    access: &Access,
    args: &WorkloadArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let (Phase::Run { shape, .. } | Phase::Verify { shape }) = &args.phase;
    let connections = usize::try_from(shape.connections).unwrap_or(usize::MAX);
    let limits = Limits { legacy_connections_max: connections, ..access.limits() };
    let mut session = access.open_with(limits).await?;
    // A node that is left out would look like lost records.
    session.finish()?;
    let plan = Plan::new(shape.seed, shape.records, shape.channels, &shape.prefix)
        .map_err(|error| Failure::Usage(format!("--prefix: {error}")))?;
    let crew = Crew::new(session.client(), plan.channels(), shape.connections);
    let differences = Differences::default();
    let mut work = phases::Work { plan: &plan, crew: &crew, differences: &differences, out };
    match args.phase {
        Phase::Run { clear, scans, .. } => {
            prepare(&mut session, &plan, clear).await?;
            work.put().await?;
            work.get_first_values().await?;
            work.scan_while_writing(scans).await?;
            work.settle().await?;
            work.check().await?;
        }
        Phase::Verify { .. } => {
            work.check().await?;
            work.get_final_values().await?;
        }
    }
    conclude(&differences, out)
}

/// The channels must be empty: a record of somebody else would look like a fault of the node.
async fn prepare(session: &mut Session, plan: &Plan, clear: bool) -> Result<(), Failure> {
    for name in plan.channels() {
        let channel = session.channel(name);
        if clear {
            let outcomes = session.client().remove_channel(name).await;
            session.answers(outcomes);
            session.finish()?;
        }
        if channel.size().await?.records > 0 {
            let text = format!(
                "channel {name} has records already: add --clear to remove it, or choose \
                 another --prefix"
            );
            return Err(Failure::Usage(text));
        }
    }
    Ok(())
}

fn conclude(differences: &Differences, out: &mut Output) -> Result<Exit, Failure> {
    let (count, first) = differences.found();
    if count == 0 {
        writeln!(out, "no differences")?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    out.flush()?;
    say(&format!("dht: {count} differences; the first of them:"));
    first.iter().for_each(|difference| say(&format!("  {difference}")));
    Ok(Exit::No)
}
