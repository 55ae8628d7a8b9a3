//! `dhtperformance`: how long requests take, and how many of them nodes serve. See
//! `dhtperformance --help`.
//!
//! ```text
//! options     what the command line knows         settings  what it asks for, checked
//! > session     handshake: which node has which part of the hash space
//! > load        the load generator: requests out, how long each took
//! > progress    a line while it runs               usage     CPU time of the server and our own
//! < report      the cycle's result: text, JSON, histogram, plot
//! ```
//!
//! Without options that the original does not have it does what the original does: batches in lock
//! step over the legacy protocol. Source: spec `tools` 3.

mod load;
mod options;
mod progress;
mod report;
mod session;
mod settings;
mod usage;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use dht_daemon::args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    load::{Clock, Engine},
    options::APP,
    progress::Progress,
    report::{Report, Reports},
    settings::Settings,
    usage::Usage,
};

fn main() -> ExitCode {
    let options = args::parse_tool_or_exit(&APP);
    let settings = match Settings::from_options(&options) {
        Ok(settings) => settings,
        Err(error) => args::refuse(&APP, &error),
    };
    raise_descriptor_limit();
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // A closed stderr is no reason to crash; the exit code still tells.
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("Client error during handshake: {0}")]
    Handshake(String),
    #[error(transparent)]
    Nodes(#[from] dht_client::NodesFileError),
    #[error(transparent)]
    Usage(#[from] usage::UsageError),
    #[error("cannot write {path}: {error}")]
    File { path: String, error: io::Error },
    #[error("the system refuses: {0}")]
    System(io::Error),
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

fn run(settings: &Settings) -> Result<(), Failure> {
    let clock = Clock::start();
    let mut reports = Reports::create(settings)?;
    reports.connecting().map_err(Failure::Output)?;
    let plan = session::plan(settings)?;
    let open =
        |plan| Engine::start(plan, clock).map_err(|error| Failure::Handshake(error.to_string()));
    reports.introduce().map_err(Failure::Output)?;
    if settings.fill {
        let (filled, _) = open(session::filling(settings, &plan))?
            .cycle(Some(plan.keys.count()), None, |_| ())
            .map_err(Failure::System)?;
        reports.filled(&filled.total()).map_err(Failure::Output)?;
    }
    let mut progress = Progress::new(settings, &plan, clock);
    let mut engine = open(plan.clone())?;
    if let Some(warm_up) = settings.warm_up {
        engine.cycle(None, Some(warm_up), |_| ()).map_err(Failure::System)?;
    }
    let mut iteration = 0;
    while settings.iterations == 0 || iteration < settings.iterations {
        iteration += 1;
        let before = Usage::now(settings.server_pid)?;
        let watch = |live: &[_]| progress.show(live);
        let cycle = engine.cycle(plan.requests, plan.duration, watch);
        let (tally, took) = cycle.map_err(Failure::System)?;
        let usage = Usage::now(settings.server_pid)?.since(&before);
        progress.clear();
        reports.cycle(&Report { plan: &plan, iteration, tally, took, usage })?;
    }
    Ok(())
}

/// As many open files as this user may have: each connection is one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it is refused, connecting will tell.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
