//! A soak of the neo protocol: Mirrors, some of them slow or suspended, GetAll loops and writers on
//! one real node, connections dropped at random. See [`settings::USAGE`].
//!
//! ```text
//! load -> chaos: write, mirror, scan, drop -> settle: the sentinel is written, all Mirrors read
//!      -> compare each Mirror, a last GetAll and what the writers know; memory; queues
//! ```
//!
//! Checked on the way: each value byte by byte, no Mirror sees a record go back to an older
//! version or hears anything while it is suspended, no scan returns a key twice or leaves out one
//! that was there all the time, each Update finds what was written last, the node ends no
//! connection. It exits with 1 if a check fails, and names it.
#![allow(clippy::disallowed_methods, reason = "a program that measures asks the clock")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

mod get_all;
mod link;
mod mirror;
mod oracle;
mod report;
mod settings;
mod soak;
mod universe;
mod watch;
mod writer;

use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{Scope, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use dht_testkit::{NodeProcess, NodeSettings};

use mirror::{Kind, Mirror, Mirrored, Pulse};
use oracle::Oracle;
use report::Report;
use settings::Settings;
use soak::{Phase, Soak};
use universe::Universe;
use watch::Memory;
use writer::{Writer, Written, write_sentinel};

/// What went wrong, whatever it was: nobody here treats one fault differently from another.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Time after which memory should not grow any more.
const WARM_UP_S: u64 = 60;
/// How long the Mirrors may take to catch up.
const SETTLE_PATIENCE: Duration = Duration::from_secs(180);
/// Who has been told nothing for so long has been told everything.
const QUIET: Duration = Duration::from_secs(3);
/// The neo port is so far above the legacy one.
const NEO_PORT_OFFSET: u16 = 100;

fn main() -> ExitCode {
    let report = Settings::parse(std::env::args().skip(1)).and_then(|settings| run(&settings));
    match report {
        Ok(report) => {
            println!("{report}");
            if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fault) => {
            eprintln!("neo_soak: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<Report, Fault> {
    if !settings.dhtnode.exists() {
        let path = settings.dhtnode.display();
        return Err(format!("{path} does not exist\n\n{}", settings::USAGE).into());
    }
    let dir = tempfile::tempdir()?;
    let node_settings = NodeSettings::default().with("LOG.Root", "level", "warn");
    let node = NodeProcess::start(&settings.dhtnode, dir.path(), &node_settings);
    let (legacy, mut neo) = (node.address(), node.address());
    neo.set_port(legacy.port() + NEO_PORT_OFFSET);
    let universe = Universe::new(settings.keys);
    let soak = Soak::new((legacy, neo), universe, settings.seed, settings.seconds);
    let mut report = soak_node(settings, &soak, node.pid())?;
    let socket = dir.path().join("dhtnode.socket");
    report.queues = watch::queue_peaks(&socket)?;
    report.check_queues();
    let ended = node.stop();
    report.check(ended.success(), || format!("the node ended with {ended}"));
    Ok(report)
}

/// All threads, from the load to the comparison.
fn soak_node(settings: &Settings, soak: &Soak, pid: u32) -> Result<Report, Fault> {
    let writers = (0..settings.writers).map(|number| Writer::new(soak, number, settings.writers));
    let mut writers = writers.collect::<Result<Vec<_>, _>>()?;
    writers.iter_mut().try_for_each(Writer::load)?;
    let pulses: Vec<Pulse> = (0..settings.mirrors).map(|_| Pulse::default()).collect();
    scope(|threads| {
        let per_writer = settings.writes_per_second as f64 / settings.writers as f64;
        let began = Instant::now();
        let writers: Vec<_> = writers
            .into_iter()
            .map(|writer| threads.spawn(move || writer.run(per_writer)))
            .collect();
        let mirrors = spawn_mirrors(threads, settings, soak, &pulses);
        let scans: Vec<_> = (0..settings.get_alls)
            .map(|number| threads.spawn(move || get_all::run(soak, number)))
            .collect();
        let memory = threads.spawn(move || watch::memory(soak, pid));
        wait_while(Duration::from_secs(settings.seconds), || {
            // Whoever ends now has failed.
            !writers.iter().any(ScopedJoinHandle::is_finished)
                && !mirrors.iter().any(ScopedJoinHandle::is_finished)
                && !scans.iter().any(ScopedJoinHandle::is_finished)
        });
        soak.enter(Phase::Settle);
        let mut report = Report::new(settings, soak);
        report.seconds = began.elapsed().as_secs_f64();
        let written = writers.into_iter().map(ScopedJoinHandle::join);
        let written: Vec<(Oracle, Written)> = report.all(written);
        report.written = written.iter().map(|(_, written)| *written).collect();
        report.scans = report.all(scans.into_iter().map(ScopedJoinHandle::join));
        let memory: Option<Memory> = report.all([memory.join()].into_iter()).pop();
        if let Some(memory) = memory {
            let warm_up = WARM_UP_S.min(settings.seconds / 3);
            report.check_memory(memory.figures(warm_up as f64));
        }
        let settled = Instant::now();
        if let Err(fault) = write_sentinel(soak) {
            report.fail(fault.to_string());
        }
        let is_restless = || !pulses.iter().all(|pulse| is_quiet(soak, pulse));
        // A Mirror that failed will never be quiet; the others have their time all the same.
        wait_while(SETTLE_PATIENCE, is_restless);
        report.settle_seconds = settled.elapsed().as_secs_f64();
        let quiet = !is_restless();
        report.check(quiet, || format!("Mirrors are not quiet after {SETTLE_PATIENCE:?}"));
        let contents = get_all::contents(soak);
        soak.enter(Phase::Over);
        let mirrored: Vec<Mirrored> = report.all(mirrors.into_iter().map(ScopedJoinHandle::join));
        let oracles: Vec<Oracle> = written.into_iter().map(|(oracle, _)| oracle).collect();
        match contents {
            Ok(contents) => report.compare(soak, &oracles, &contents, &mirrored),
            Err(fault) => report.fail(format!("the last GetAll: {fault}")),
        }
        Ok(report)
    })
}

fn spawn_mirrors<'scope>(
    threads: &'scope Scope<'scope, '_>,
    settings: &Settings,
    soak: &'scope Soak,
    pulses: &'scope [Pulse],
) -> Vec<ScopedJoinHandle<'scope, Result<Mirrored, Fault>>> {
    let eager = settings.mirrors - settings.mirrors / 4;
    let spawn = |(number, pulse)| {
        let kind = match number {
            _ if number < eager => Kind::Eager,
            _ if number % 2 == 0 => Kind::Slow,
            _ => Kind::Pausing,
        };
        let mirror = Mirror::new(soak, pulse, number, kind);
        threads.spawn(move || mirror.run())
    };
    pulses.iter().enumerate().map(spawn).collect()
}

/// Whether a Mirror has been told everything.
fn is_quiet(soak: &Soak, pulse: &Pulse) -> bool {
    let told_at = Duration::from_millis(pulse.told_at_ms.load(SeqCst));
    pulse.has_sentinel.load(SeqCst) && soak.began.elapsed() >= told_at + QUIET
}

/// Waits for so long at most.
fn wait_while(longest: Duration, mut condition: impl FnMut() -> bool) {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let give_up = Instant::now() + longest;
    while Instant::now() < give_up && condition() {
        std::thread::sleep(LOOK_EVERY);
    }
}
