//! What the command line asks for, checked.

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use dht_client::ClientCredentials;
use dht_daemon::args::{ArgsError, Options};
use dht_types::{ChannelName, Key};

use crate::load::{Keys, Kind, Pattern, Protocol};

/// Requests that may be in flight in all.
const IN_FLIGHT_MAX: u64 = 1_000_000;
/// Connections to one node.
const CONNECTIONS_MAX: usize = 10_000;
/// Threads.
const THREADS_MAX: usize = 256;
/// Bytes of a value.
const VALUE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Seconds of a cycle.
const SECONDS_MAX: f64 = 1e6;
/// Tables in a row. Source: spec `tools` 3.1.
const TABLES_DEFAULT: usize = 4;

/// Everything but who the nodes are.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) source: PathBuf,
    pub(crate) channel: ChannelName,
    pub(crate) protocol: Protocol,
    pub(crate) number: u64,
    pub(crate) parallel: u64,
    pub(crate) size: usize,
    pub(crate) mix: Vec<(Kind, u32)>,
    pub(crate) keys: Keys,
    pub(crate) pattern: Pattern,
    pub(crate) long_after: Option<Duration>,
    pub(crate) client_timeout: Option<Duration>,
    pub(crate) processing: Option<Duration>,
    /// 0 is for ever.
    pub(crate) iterations: u64,
    /// Tables in a row.
    pub(crate) per_node: Option<usize>,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) threads: usize,
    /// Of a cycle; then `number` does not count.
    pub(crate) duration: Option<Duration>,
    pub(crate) warm_up: Option<Duration>,
    pub(crate) fill: bool,
    pub(crate) seed: u64,
    pub(crate) server_pid: Option<u32>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) histogram: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
}

/// The words of the command line, and what is wrong with them.
struct Words<'a> {
    options: &'a Options,
    problems: Vec<String>,
}

impl Words<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.options.values(name).first().map(String::as_str)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// A number within limits, or `default` if it is not given.
    fn number<T>(&mut self, name: &str, min: T, max: T, default: T) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if min <= number && number <= max => number,
            _ => {
                let text = text.to_owned();
                self.problem(format!(
                    "--{name} must be a number from {min} to {max}, not '{text}'"
                ));
                default
            }
        }
    }

    fn seconds(&mut self, name: &str) -> Option<Duration> {
        self.options.is_set(name).then(|| {
            // A cycle of no time at all measures nothing.
            let seconds = self.number(name, 0.001, SECONDS_MAX, 1.0);
            Duration::from_secs_f64(seconds)
        })
    }

    fn one_of<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(name) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(choice, _)| *choice == text) {
            return *chosen;
        }
        let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        let problem = format!("--{name} must be one of {}, not '{text}'", names.join(", "));
        self.problem(problem);
        default
    }
}

/// The names of the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    LockStep,
    Closed,
    Open,
}

impl Settings {
    /// All problems are told at once.
    pub(crate) fn from_options(options: &Options) -> Result<Self, ArgsError> {
        let mut words = Words { options, problems: Vec::new() };
        let settings = Self::read(&mut words);
        if words.problems.is_empty() {
            Ok(settings)
        } else {
            Err(ArgsError { problems: words.problems })
        }
    }

    fn read(words: &mut Words<'_>) -> Self {
        let number = words.number("number", 1, u64::MAX, 1000);
        let parallel = words.number("parallel", 1, IN_FLIGHT_MAX, 1);
        let protocol = protocol(words);
        let mode = words.one_of(
            "mode",
            &[("lock-step", Mode::LockStep), ("closed", Mode::Closed), ("open", Mode::Open)],
            Mode::LockStep,
        );
        let pipeline = words.number("pipeline", 1, protocol.pipeline_max(), 1);
        let threads = words.number("threads", 1, THREADS_MAX, 1);
        let settings = Self {
            source: words.path("source").unwrap_or_default(),
            channel: channel(words),
            number,
            parallel,
            size: words.number("size", 1, VALUE_BYTES_MAX, 1024),
            mix: mix(words, &protocol),
            keys: keys(words, number),
            pattern: pattern(words, mode, parallel),
            long_after: microseconds(words, "timeout"),
            client_timeout: Some(words.number("client-timeout", 0, u32::MAX, 0))
                .filter(|limit| *limit > 0)
                .map(|limit| Duration::from_millis(limit.into())),
            processing: processing(words),
            iterations: words.number("iterations", 0, u64::MAX, 0),
            per_node: per_node(words),
            connections: connections(words, parallel, threads),
            pipeline,
            threads,
            duration: words.seconds("duration"),
            warm_up: words.seconds("warm-up"),
            fill: words.options.is_set("fill"),
            seed: words.number("seed", 0, u64::MAX, 1),
            server_pid: Some(words.number("server-pid", 1, u32::MAX, 0)).filter(|pid| *pid > 0),
            json: words.path("json"),
            histogram: words.path("histogram"),
            plot: plot(words),
            protocol,
        };
        settings.check_together(words, mode);
        settings
    }

    /// What is wrong only with several options together.
    fn check_together(&self, words: &mut Words<'_>, mode: Mode) {
        if mode == Mode::LockStep && (self.threads > 1 || self.pipeline > 1) {
            words.problem("--threads and --pipeline need --mode closed or open");
        }
        if self.per_node.is_some() && matches!(self.protocol, Protocol::Resp | Protocol::Memcached)
        {
            words.problem("--per-node-mode needs dht nodes");
        }
        let in_flight = self.connections as u64 * self.pipeline as u64;
        if in_flight > IN_FLIGHT_MAX {
            words.problem(format!(
                "--connections times --pipeline can't exceed {IN_FLIGHT_MAX} requests in flight"
            ));
        }
    }

    /// What to call the mix.
    pub(crate) fn command(&self) -> &'static str {
        match self.mix[..] {
            [(kind, _)] => kind.name(),
            _ => "mixed",
        }
    }

    /// Whether any request puts a record.
    pub(crate) fn puts(&self) -> bool {
        self.mix.iter().any(|(kind, _)| *kind == Kind::Put)
    }
}

fn channel(words: &mut Words<'_>) -> ChannelName {
    let text = words.text("channel").unwrap_or("test").to_owned();
    text.parse().unwrap_or_else(|error| {
        words.problem(format!("--channel '{text}': {error}"));
        "test".parse().expect("a valid name")
    })
}

fn protocol(words: &mut Words<'_>) -> Protocol {
    let file = words.path("auth");
    let default = if file.is_some() { "neo" } else { "legacy" };
    let names = ["legacy", "neo", "resp", "memcached"].map(|name| (name, name));
    match (words.one_of("protocol", &names, default), file) {
        ("neo", Some(file)) => match ClientCredentials::read(&file) {
            Ok(credentials) => return Protocol::Neo(credentials.into()),
            Err(error) => words.problem(error.to_string()),
        },
        ("neo", None) => words.problem("--protocol neo needs --auth, a credentials file"),
        (name, Some(_)) => words.problem(format!("--auth is for neo, not for {name}")),
        ("resp", None) => return Protocol::Resp,
        ("memcached", None) => return Protocol::Memcached,
        _ => {}
    }
    Protocol::Legacy
}

fn mix(words: &mut Words<'_>, protocol: &Protocol) -> Vec<(Kind, u32)> {
    let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
    let command = words.one_of("command", &kinds, Kind::Exists);
    let mix = match words.text("mix").map(parse_mix) {
        None => vec![(command, 1)],
        Some(_) if words.options.is_set("command") => {
            words.problem("--command and --mix exclude each other");
            vec![(command, 1)]
        }
        Some(Ok(mix)) => mix,
        Some(Err(problem)) => {
            words.problem(problem);
            vec![(command, 1)]
        }
    };
    for (kind, _) in mix.iter().filter(|(kind, _)| !protocol.can(*kind)) {
        words.problem(format!("{} has no {} request", protocol.name(), kind.name()));
    }
    mix
}

fn parse_mix(text: &str) -> Result<Vec<(Kind, u32)>, String> {
    let refused = || {
        format!(
            "--mix must be kinds and their weights from 1 to 1000000, like get=90,put=10, \
             not '{text}'"
        )
    };
    let mut mix: Vec<(Kind, u32)> = Vec::new();
    for part in text.split(',') {
        let (name, weight) = part.split_once('=').ok_or_else(refused)?;
        let kind = Kind::from_name(name.trim()).ok_or_else(refused)?;
        let weight = weight.trim().parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
        if mix.iter().any(|(known, _)| *known == kind) {
            return Err(refused());
        }
        mix.push((kind, weight.ok_or_else(refused)?));
    }
    Ok(mix)
}

fn keys(words: &mut Words<'_>, number: u64) -> Keys {
    let count = words.number("key-count", 1, u64::MAX, number);
    let exponent = words.number("zipf-exponent", 0.0, 100.0, 0.99);
    let keys = words.one_of(
        "keys",
        &[
            ("sequential", Keys::Sequential { count }),
            ("uniform", Keys::Uniform { count }),
            ("zipfian", Keys::Zipfian { count, exponent }),
        ],
        Keys::Sequential { count },
    );
    let Some(text) = words.text("single-key").map(str::to_owned) else { return keys };
    if words.options.is_set("keys") || words.options.is_set("key-count") {
        words.problem("--single-key is the only key: leave out --keys and --key-count");
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let key = hex.map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    match key {
        Ok(key) => Keys::Single(Key(key)),
        Err(_) => {
            words.problem(format!(
                "--single-key must be a 64-bit number like 42 or 0x2a, not '{text}'"
            ));
            keys
        }
    }
}

fn pattern(words: &mut Words<'_>, mode: Mode, batch: u64) -> Pattern {
    let poisson = words.one_of("arrivals", &[("even", false), ("poisson", true)], false);
    if words.options.is_set("arrivals") && mode != Mode::Open {
        words.problem("--arrivals needs --mode open");
    }
    let rate = rate(words);
    match (mode, rate) {
        (Mode::LockStep, rate) => Pattern::LockStep { batch, rate },
        (Mode::Open, Some(rate)) => Pattern::Open { rate, poisson },
        (Mode::Closed, None) => Pattern::Closed,
        (Mode::Open, None) => {
            words.problem("--mode open needs --request-rate");
            Pattern::Closed
        }
        (Mode::Closed, Some(_)) => {
            words.problem("--request-rate needs --mode lock-step or open");
            Pattern::Closed
        }
    }
}

fn rate(words: &mut Words<'_>) -> Option<f64> {
    if !words.options.is_set("request-rate") {
        return None;
    }
    // The original's limits, in its words; the upper one is not in the way of an open loop.
    let open = words.text("mode") == Some("open");
    let rate: u32 = words.number("request-rate", 0, u32::MAX, 1);
    if rate == 0 {
        words.problem("--request-rate must be at least 1 request per second");
    } else if rate > 999_999 && !open {
        words.problem("--request-rate can't exceed 1.000.000 requests per second");
    }
    Some(rate.into())
}

fn microseconds(words: &mut Words<'_>, name: &str) -> Option<Duration> {
    let set = words.options.is_set(name);
    let limit = words.number(name, 0, u64::from(u32::MAX), 0);
    set.then_some(Duration::from_micros(limit))
}

fn processing(words: &mut Words<'_>) -> Option<Duration> {
    let sleep = microseconds(words, "processing-time")?;
    if sleep >= Duration::from_secs(1) {
        // Two blanks, as in the original.
        words.problem("--processing-time argument can't exceed 1.000.000  μs (1 second)");
    }
    Some(sleep).filter(|sleep| !sleep.is_zero())
}

fn per_node(words: &mut Words<'_>) -> Option<usize> {
    if !words.options.is_set("per-node-mode") {
        return None;
    }
    let tables = words.number("per-node-mode", 0, 1000, TABLES_DEFAULT);
    if tables == 0 {
        words.problem("--per-node-mode can't print less than 1 table per row");
    }
    Some(tables)
}

fn connections(words: &mut Words<'_>, parallel: u64, threads: usize) -> usize {
    let default = usize::try_from(parallel).unwrap_or(CONNECTIONS_MAX);
    let connections = words.number("connections", 1, CONNECTIONS_MAX, default);
    if connections > CONNECTIONS_MAX {
        words.problem(format!(
            "--parallel can't exceed {CONNECTIONS_MAX} connections; or set --connections"
        ));
    }
    if connections < threads {
        words.problem("there must be a connection for each of --threads at least");
    }
    connections
}

fn plot(words: &mut Words<'_>) -> Option<PathBuf> {
    let path = words.path("plot")?;
    if !path.extension().is_some_and(|kind| kind == "svg" || kind == "html") {
        words.problem("--plot must be the name of a file that ends with .svg or .html");
    }
    Some(path)
}
