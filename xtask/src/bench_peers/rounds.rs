//! The measurements: every load on every server, round after round.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::figures::{Figures, Sample};
use super::options::Options;
use super::servers::{Protocol, Server, Servers};
use super::walk;

/// Seconds before each measurement, in which it runs already.
const WARM_UP: &str = "0.2";

/// A load: how many connections, how many requests in flight on each, what they do.
#[derive(Debug, Clone, Copy)]
struct Load {
    connections: usize,
    pipeline: usize,
    command: &'static str,
}

impl Load {
    fn name(&self) -> String {
        format!("{}x{} {}", self.connections, self.pipeline, self.command)
    }
}

/// Connections, and requests in flight on each.
const SHAPES: [(usize, usize); 5] = [(50, 1), (50, 16), (50, 64), (1, 64), (1000, 1)];

const COMMANDS: [&str; 2] = ["get", "put"];
/// Connections that get records while all are walked.
const OTHERS: usize = 8;

/// Measures everything that is wanted.
pub(super) fn run(
    options: &Options,
    generator: &Generator<'_>,
    figures: &mut Figures,
) -> Result<(), String> {
    let servers = generator.servers;
    for server in &servers.all {
        println!("filling {} {}: {} records", server.name, server.version, options.keys);
        generator.fill(server)?;
    }
    let loads = loads(options);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for load in &loads {
            let mut turn: Vec<&Server> = servers.all.iter().filter(|s| takes(s, load)).collect();
            // Whoever comes first has no advantage of it.
            if round % 2 == 0 {
                turn.reverse();
            }
            for server in turn {
                let sample = generator.measure(server, load)?;
                println!("  {:14} {:16} {sample}", load.name(), server.name);
                figures.add(&load.name(), &server.name, sample);
            }
        }
    }
    Ok(())
}

fn takes(server: &Server, load: &Load) -> bool {
    load.pipeline == 1 || server.protocol.can_pipeline()
}

fn loads(options: &Options) -> Vec<Load> {
    let all = SHAPES.into_iter().flat_map(|(connections, pipeline)| {
        COMMANDS.map(|command| Load { connections, pipeline, command })
    });
    let all: Vec<Load> = all.collect();
    all.into_iter().filter(|load| wants(options, &load.name())).collect()
}

/// Whether the walk is to be measured, too.
pub(super) fn wants_walk(options: &Options) -> bool {
    wants(options, walk::NAME)
}

fn wants(options: &Options, name: &str) -> bool {
    let loads = SHAPES.into_iter().flat_map(|(connections, pipeline)| {
        COMMANDS.map(|command| Load { connections, pipeline, command }.name())
    });
    let names: Vec<String> = loads.chain([walk::NAME.to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    options.wants(name, &names)
}

/// How `dhtperformance` is called.
pub(super) struct Generator<'a> {
    pub(super) root: &'a Path,
    pub(super) options: &'a Options,
    pub(super) servers: &'a Servers,
}

impl Generator<'_> {
    fn command(&self, server: &Server) -> Command {
        let mut command = Command::new("taskset");
        command
            .args(["-c", &self.options.generator_core])
            .arg(self.root.join("target/release/dhtperformance"))
            .arg("--source")
            .arg(&server.nodes_file)
            .args(["--protocol", server.protocol.name(), "--mode", "closed"])
            .args(["--iterations", "1", "--json", "-"])
            .args(["--key-count", &self.options.keys.to_string()])
            .args(["--size", &self.options.size.to_string()]);
        if server.protocol == Protocol::Neo {
            command.arg("--auth").arg(&self.servers.credentials);
        }
        command
    }

    /// Puts every record once.
    fn fill(&self, server: &Server) -> Result<(), String> {
        let mut command = self.command(server);
        command.args(["--command", "put", "--connections", "50"]);
        command.args(["--number", &self.options.keys.to_string()]);
        if server.protocol.can_pipeline() {
            command.args(["--pipeline", "16"]);
        }
        let result = run_json(&mut command)?;
        if result["failed"] == 0 { Ok(()) } else { Err(format!("{}: {result}", server.name)) }
    }

    /// A few clients, for their p99: they do not fill a core.
    pub(super) fn others(&self, server: &Server) -> Result<Sample, String> {
        self.measure(server, &Load { connections: OTHERS, pipeline: 1, command: "get" })
    }

    fn measure(&self, server: &Server, load: &Load) -> Result<Sample, String> {
        let mut command = self.command(server);
        command
            .args(["--keys", "uniform", "--warm-up", WARM_UP])
            .args(["--duration", &self.options.seconds.to_string()])
            .args(["--command", load.command])
            .args(["--connections", &load.connections.to_string()])
            .args(["--pipeline", &load.pipeline.to_string()])
            .args(["--server-pid", &server.pid.to_string()]);
        let result = run_json(&mut command)?;
        let sample = Sample::read(&result, load.connections == 1);
        sample.ok_or_else(|| format!("{}, {}: {result}", server.name, load.name()))
    }
}

fn run_json(command: &mut Command) -> Result<Value, String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start taskset (util-linux): {error}"))?;
    if !output.status.success() {
        return Err(format!("the generator ended with {}: {command:?}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {command:?}"))
}
