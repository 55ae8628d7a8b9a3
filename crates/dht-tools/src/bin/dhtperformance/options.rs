//! What the command line knows. Letters belong to the original's options; ours have none.

use dht_daemon::{App, OptionSpec};

const fn one(long: &'static str, short: Option<char>, help: &'static str) -> OptionSpec {
    OptionSpec { params_min: 1, params_max: 1, smush: true, ..OptionSpec::flag(long, short, help) }
}

/// See the module.
pub(crate) static APP: App = App {
    name: "dhtperformance",
    description: "dhtperformance: measures how long requests to dht nodes take.",
    long_description: "\
Performs test cycles of requests in batches: all requests of a batch must end before the next batch
begins, and their time counts from the start of the batch. With --mode closed each request that
ends makes room for the next; with --mode open requests are due at fixed times, and their time
counts from when they were due, so that a server that falls behind cannot hide it.

Examples:
  dhtperformance -S etc/dht.nodes -m put -n 10000 -p 10 -i 1
  dhtperformance -S etc/dht.nodes -m get -n 100000 --fill --mode closed -p 50 -i 1 --plot get.svg
  dhtperformance -S neo.nodes --auth etc/credentials --mix get=90,put=10 --keys zipfian \\
      --key-count 1000000 --fill --mode open -r 50000 --duration 30 -i 1 --json result.json

Exit code 1: no handshake, or a file cannot be written; 2: wrong arguments.",
    version: env!("CARGO_PKG_VERSION"),
    config_required: false,
    options: &[
        OptionSpec {
            required: true,
            ..one("source", Some('S'), "file with the nodes, a line address:port for each")
        },
        one("channel", Some('c'), "channel (default: test)"),
        one("number", Some('n'), "requests of a test cycle (default: 1000)"),
        one("parallel", Some('p'), "requests in flight, and connections to each node (default: 1)"),
        one("size", Some('s'), "bytes of a value that is put (default: 1024)"),
        one("single-key", Some('k'), "always use this key; else keys are 0 to number - 1"),
        one("command", Some('m'), "exists, get, put or remove (default: exists)"),
        one("timeout", Some('t'), "count the requests that took longer, in us"),
        one("client-timeout", Some('T'), "time limit of a request, in ms; 0 is none (default)"),
        one("iterations", Some('i'), "test cycles; 0 is for ever (default)"),
        one("processing-time", Some('d'), "sleep after each reply, in us (default: 0)"),
        one("request-rate", Some('r'), "requests a second, 1 to 999999; needed for --mode open"),
        OptionSpec {
            params_min: 0,
            ..one("per-node-mode", Some('N'), "figures of each node; tables in a row (default: 4)")
        },
        one("auth", None, "speak neo as the client in this credentials file; ports are neo ports"),
        one("protocol", None, "legacy, neo, resp (redis) or memcached, to compare with a node"),
        one("mode", None, "lock-step (default), closed or open"),
        one("arrivals", None, "when requests of --mode open are due: even (default) or poisson"),
        one("mix", None, "several kinds with their weights: get=90,put=10"),
        one("keys", None, "sequential (default), uniform or zipfian"),
        one("key-count", None, "keys are 0 to this - 1 (default: number)"),
        one("zipf-exponent", None, "of --keys zipfian (default: 0.99)"),
        one("connections", None, "connections to each node (default: parallel)"),
        one("pipeline", None, "requests in flight on a connection, not legacy (default: 1)"),
        one("threads", None, "threads that make the load (default: 1)"),
        one("duration", None, "seconds of a test cycle, instead of a number of requests"),
        one("warm-up", None, "seconds of load before the first test cycle"),
        OptionSpec::flag("fill", None, "put every key once before the first test cycle"),
        one("seed", None, "of random keys and kinds (default: 1)"),
        one("server-pid", None, "process whose CPU time is told with the result"),
        one("json", None, "file for a JSON object a test cycle; - is standard output, alone"),
        one("histogram", None, "file for the latencies of all test cycles, as HdrHistogram text"),
        one("plot", None, "file for a plot of the latencies of all test cycles: .svg or .html"),
    ],
};
