//! `dhtredist`: gives the nodes of a DHT new hash ranges and has them move their records.
//!
//! ```text
//! main.rs       command line, exit codes          division.rs  a range in even or weighted parts
//! console.rs    what is printed, in which colour  target.rs    which node gets which range
//! nodes.rs      who the nodes are                 check.rs     what is wrong with a plan
//! run.rs        from the nodes file to the end    route.rs     the single moves that lead there
//! original.rs   Redistribute, to all at once      moves.rs     MovePart, step by step
//! wire.rs       a node about its moves            saved.rs     a plan that was begun
//! neo.rs        the same over neo
//! ```
//!
//! Source: spec `tools` 2.

mod check;
mod console;
mod division;
mod moves;
mod neo;
mod nodes;
mod original;
mod route;
mod run;
mod saved;
mod target;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use dht_client::NodeAddress;
use dht_daemon::args::{self, ArgsError, Options};
use dht_daemon::{App, OptionSpec};

use crate::console::Console;
use crate::target::Strategy;

const fn option(
    long: &'static str,
    short: Option<char>,
    params: usize,
    help: &'static str,
) -> OptionSpec {
    let params_min = if params == 0 { 0 } else { 1 };
    OptionSpec { params_min, params_max: params, ..OptionSpec::flag(long, short, help) }
}

/// What the command line knows.
static APP: App = App {
    name: "dhtredist",
    description: "dhtredist: redistributes the records of a DHT.",
    long_description: "To add nodes: start them with the empty hash range (minval = \
                       0xffffffffffffffff, maxval = 0x0000000000000000), write a nodes file with \
                       all nodes, old and new (one 'address:port' a line, legacy ports), and run \
                       dhtredist -S FILE. It tells what it would do. With -x it does it.\n\
                       Started again with the same file after an abort, it goes on where it was.",
    version: env!("CARGO_PKG_VERSION"),
    config_required: false,
    options: &[
        option("src", Some('S'), 1, "nodes file with all nodes, also new and leaving ones"),
        option("ranges", Some('r'), 1, "print so many even ranges of the hash space and exit"),
        option("execute", Some('x'), 0, "really do it; without this, only tell"),
        option(
            "strategy",
            Some('s'),
            1,
            "extend: even ranges for all nodes (default); subdivide: each server keeps what it has",
        ),
        option("remove", None, 1024, "nodes (address:port) that give all away"),
        OptionSpec {
            params_min: 2,
            ..option("move", None, 2, "a node and an empty one, which gets all that the first has")
        },
        option(
            "weights",
            None,
            1024,
            "shares other than 1, as address:port=2.5: so much more than others the node gets",
        ),
        option("auth", None, 1, "credentials file of the client admin: start moves over neo"),
        option("force", None, 0, "go on although the plan has faults that can be lived with"),
        option("original", None, 0, "use Redistribute, as with nodes of the original"),
        option("new-plan", None, 0, "forget a plan that was begun with this nodes file"),
    ],
};

/// What the command line asks for.
enum Action {
    /// Print so many ranges.
    Ranges(u64),
    /// Redistribute.
    Run(Task),
}

/// What is to be done to which nodes.
pub(crate) struct Task {
    pub(crate) nodes_file: PathBuf,
    pub(crate) strategy: Strategy,
    pub(crate) execute: bool,
    pub(crate) force: bool,
    pub(crate) original: bool,
    pub(crate) new_plan: bool,
    /// Credentials file: have records moved over neo.
    pub(crate) auth: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = args::parse_tool_or_exit(&APP);
    match action(&options) {
        Ok(Action::Ranges(count)) => {
            Console::new().ranges(count);
            ExitCode::SUCCESS
        }
        Ok(Action::Run(task)) => run::run(&task),
        Err(problem) => args::refuse(&APP, &ArgsError { problems: vec![problem] }),
    }
}

fn action(options: &Options) -> Result<Action, String> {
    let (src, ranges) = (options.values("src"), options.values("ranges"));
    match (src, ranges) {
        ([], []) => Err("Please specify an action (-S, -r)".to_owned()),
        ([_, ..], [_, ..]) => Err("argument 'src' conflicts with 'ranges'".to_owned()),
        ([], [count, ..]) => match count.parse() {
            Ok(0) | Err(_) => {
                Err(format!("argument 'ranges' expects a number from 1, not '{count}'"))
            }
            Ok(count) => Ok(Action::Ranges(count)),
        },
        ([file, ..], []) => Ok(Action::Run(Task {
            nodes_file: file.into(),
            strategy: strategy(options)?,
            execute: options.is_set("execute"),
            force: options.is_set("force"),
            original: options.is_set("original"),
            new_plan: options.is_set("new-plan"),
            auth: options.values("auth").first().map(PathBuf::from),
        })),
    }
}

fn strategy(options: &Options) -> Result<Strategy, String> {
    let removed: Vec<NodeAddress> = nodes(options, "remove")?;
    let moved = nodes(options, "move")?;
    let mut weights = Vec::new();
    for text in options.values("weights") {
        weights.push(weight(text)?);
    }
    let named = options.values("strategy").first().map(String::as_str);
    match (named, &moved[..]) {
        (None, [from, to]) if removed.is_empty() && weights.is_empty() => {
            Ok(Strategy::Move { from: from.clone(), to: to.clone() })
        }
        (_, [_, _]) => Err("argument 'move' conflicts with 'strategy', 'remove', 'weights'".into()),
        (Some("subdivide"), _) if removed.is_empty() && weights.is_empty() => {
            Ok(Strategy::Subdivide)
        }
        (Some("subdivide"), _) => {
            Err("argument 'strategy' with subdivide conflicts with 'remove', 'weights'".to_owned())
        }
        (None | Some("extend"), _) => {
            weights.extend(removed.into_iter().map(|node| (node, 0.0)));
            Ok(Strategy::Extend { weights })
        }
        (Some(other), _) => {
            Err(format!("argument 'strategy' expects one of extend, subdivide, not '{other}'"))
        }
    }
}

fn nodes(options: &Options, long: &str) -> Result<Vec<NodeAddress>, String> {
    let values = options.values(long).iter();
    values.map(|text| address(long, text)).collect()
}

fn address(long: &str, text: &str) -> Result<NodeAddress, String> {
    text.parse().map_err(|error| format!("argument '{long}': '{text}': {error}"))
}

fn weight(text: &str) -> Result<(NodeAddress, f64), String> {
    let wrong = || format!("argument 'weights' expects address:port=NUMBER, not '{text}'");
    let (node, weight) = text.rsplit_once('=').ok_or_else(wrong)?;
    let weight: f64 = weight.parse().map_err(|_| wrong())?;
    if !weight.is_finite() || weight < 0.0 {
        return Err(format!("{}: a weight is not negative", wrong()));
    }
    Ok((address("weights", node)?, weight))
}
