//! `dhtnode`: the server. See `dhtnode --help`.

fn main() -> std::process::ExitCode {
    dht_node::run()
}
