//! Options, help and examples: the one table that the parser, `--help` and the completions share.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use dht_client::NodeAddress;
use dht_types::{ChannelName, Key};

use crate::{
    commands::InstancesArgs,
    failure::EXIT_CODES,
    format::{Format, from_hex},
    key::{KEY_HELP, parse_key},
    transfer::Form,
    workload::WorkloadArgs,
};

const ABOUT: &str = "Look into a dht node, or put something there";

const LONG_ABOUT: &str = "\
Look into a dht node, or put something there.

Asks one node (--node), or all nodes of a cluster (--nodes, or --node with several): each key goes
to the node that has it. Without either, DHT_NODES (a nodes file) or DHT_NODE (host:port, or
several with commas) from the environment is used, else 127.0.0.1:10000. Ports are legacy ports.

With --auth (or DHT_AUTH), a credentials file with one line `name:key`, it speaks the neo protocol;
then ports are neo ports, 100 above the legacy ones, and the default is 127.0.0.1:10100. `update`
needs it. `sizes`, `info`, `ring` and `top` have no requests there: they ask the legacy port of the
same node, 100 below.

A nodes file has a line `address:port` for each node; # starts a comment.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "dht", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which nodes, and how long to wait for them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct TargetArgs {
    /// The node to ask, or several, with commas between them or the option again
    /// [env: DHT_NODE] [default: 127.0.0.1:10000, with --auth 127.0.0.1:10100]
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) node: Vec<NodeAddress>,
    /// A file with all nodes of a cluster, instead of --node [env: DHT_NODES]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Speak the neo protocol as the client in this file: one line `name:key` [env: DHT_AUTH]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) auth: Option<PathBuf>,
    /// Longest wait for a connection, and for each answer or part of one; 0 waits for ever
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30",
          value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a record, replacing the one that is there
    #[command(override_usage = "dht put [OPTIONS] <CHANNEL> <KEY> <VALUE|--file <FILE>>")]
    #[command(after_help = "\
Examples:
  dht put users 0x2a 'the value'
  dht put users 42 --file picture.png
  gzip < report | dht put users 000000000000002a -")]
    Put(PutArgs),
    /// Print a record's value: its bytes and nothing else, unless --hex or --json
    #[command(after_help = "\
Examples:
  dht get users 0x2a > value
  dht get users 42 --json        {\"key\":\"000000000000002a\",\"text\":\"abc\",\"value\":\"YWJj\"}

--json has the value as base64 and, if it is valid UTF-8, as \"text\" too.
Exit code 1: there is no such record.")]
    Get(GetArgs),
    /// Tell whether there is a record: print true or false
    #[command(after_help = "\
Examples:
  dht exists users 42
  if dht exists -q users 42; then ...

Exit code 1: there is no such record.")]
    Exists(ExistsArgs),
    /// Take a record away; that there was none is no error
    #[command(after_help = "Example:\n  dht remove users 0x2a")]
    Remove(KeyArgs),
    /// Change a record, unless somebody else changes it meanwhile (needs --auth)
    #[command(override_usage = "\
dht update [OPTIONS] <CHANNEL> <KEY> <VALUE|--file <FILE>> [--expect <VALUE>]
       dht update [OPTIONS] <CHANNEL> <KEY> <--exec <CMD>|--remove>")]
    #[command(after_help = "\
Examples:
  dht update users 42 'new value'
  dht update users 42 new --expect old         compare and swap
  dht update counters 1 --exec 'expr $(cat) + 1' --retries 100
  dht update users 42 --remove

The record is read, changed, and written if it is still as it was read. If somebody else has changed
it, all of that is repeated; --exec runs its command again. A command that fails or writes nothing
leaves the record as it is. --remove removes whatever is there: the protocol cannot tell changes
then.

Exit code 1: there is no such record. Exit code 6: conflict.")]
    Update(UpdateArgs),
    /// Print every record of a channel, one a line: key, tab, value
    #[command(after_help = "\
Examples:
  dht scan users | head
  dht scan users --filter ERROR --limit 10
  dht scan users --filter-hex 00ff --hex
  dht scan users --json | jq -r .text

Text shows \\ as \\\\, tab as \\t, line ends as \\n and \\r, other bytes that are not printable
UTF-8 as \\x1b. --json has the value as base64 and, if it is valid UTF-8, as \"text\" too.")]
    Scan(ScanArgs),
    /// Print every key of a channel, one a line
    #[command(after_help = "Examples:\n  dht keys users\n  dht keys users | wc -l")]
    Keys(KeysArgs),
    /// Print every record that is put into a channel from now on, until the channel is removed
    #[command(after_help = "\
Examples:
  dht listen users
  dht listen users --count 1 --json

The channel is created if it is missing. A record that is removed before the node could send it
has an empty value (null with --json); with --auth it is not told. Removals are not told.")]
    Listen(ListenArgs),
    /// Print the records of a channel, then every change of it, until it is removed
    #[command(after_help = "\
Examples:
  dht mirror users
  dht mirror users --no-refresh --limit 1 --json
  dht mirror users --periodic 360

One event a line: its kind, then what it is about.
  refreshed         key, value: a record of a refresh
  updated           key, value: a record was put
  deleted           key: a record was removed
  updates-lost      node: its queue was full, at least one change was not told
  node-lost         node, why: what changes until it is back is not told
  node-back         node: with a refresh its records come again
  channel-removed   node: nothing follows from there
--json has the kind as \"event\". The channel is created if it is missing. A record may come both
refreshed and updated, in any order. Without --auth removals are not told, and a record that is
gone before the node could send it counts as deleted.")]
    Mirror(MirrorArgs),
    /// Show what changes in a channel, with colours, until it is removed
    #[command(after_help = "\
Examples:
  dht watch users
  dht watch users --all --no-color

A line each: time, what, key, value. What is put, removed, record (of --all), lost (a node; what
changes until it is back is not told), back, overflow (changes were lost), end (the channel was
removed). Colours, and lines that are cut, on a terminal only; NO_COLOR in the environment is
respected. Scripts use `dht mirror`. Without --auth removals are not told.")]
    Watch(WatchArgs),
    /// Write all records of a channel into a file
    #[command(after_help = "\
Examples:
  dht export users users.jsonl        a JSON object a line, as `tcmcli --to-json` writes them
  dht export users users.tcm          a dump file: a node can load it
  dht export users - | gzip > users.gz

FILE gets its name when it is whole. If a node fails, there is none, unless --partial is given.")]
    Export(ExportArgs),
    /// Put all records of a file into a channel
    #[command(after_help = "\
Examples:
  dht import users users.jsonl
  dht import users users.tcm
  zcat users.gz | dht import users -

The whole file is checked before the first put, if it is not standard input. Puts are repeated while
a node is away, for --timeout. If that is not enough, it says how many records are stored, and
--skip goes on there; a record that is put twice does no harm. Records that no node takes, empty or
too big, are told and left out.")]
    Import(ImportArgs),
    /// Print the names of all channels
    #[command(after_help = "Example:\n  dht channels --nodes cluster.nodes")]
    Channels {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print how many records and bytes each channel has, over all nodes asked
    #[command(after_help = "\
Examples:
  dht sizes
  dht sizes users --json

Bytes are the nodes' estimate of the memory that the records take.")]
    Sizes(SizesArgs),
    /// Print what each node is: version, hash range, connections, records, bytes, channels
    #[command(after_help = "Examples:\n  dht info\n  dht info --nodes cluster.nodes --json")]
    Info {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Draw the hash space as a ring, with what each node holds of it
    #[command(after_help = "Examples:\n  dht ring --nodes cluster.nodes")]
    Ring {
        /// One JSON object a line, and no picture
        #[arg(long)]
        json: bool,
    },
    /// Show nodes, channels, records, rates and latencies on a live screen
    #[command(after_help = "\
Examples:
  dht top --nodes cluster.nodes
  dht top --socket dhtnode.socket
  dht top --no-color --interval 5

It asks the legacy ports (with --auth: 100 below). Requests per second and the age of dumps are told
by a node's command socket alone: --socket, for nodes on this machine, in the order of the nodes.
A node that is away is shown as that, and asked on. q quits, ? explains.")]
    Top(TopArgs),
    /// Take a channel away, with all its records
    #[command(after_help = "\
Examples:
  dht remove-channel users
  dht remove-channel users --yes     without asking; needed where there is no terminal

With --auth only the client named admin may do it.")]
    RemoveChannel(RemoveChannelArgs),
    /// Measure puts and reads for a few seconds
    #[command(after_help = "\
Examples:
  dht bench
  dht bench --nodes cluster.nodes --clients 256 --size 1000 --seconds 10

Puts, then looks for, reads and removes the same records, each for --seconds, with --clients
requests at a time: over neo on one connection to each node, else on a connection each. The channel
must be empty, and is empty afterwards. `dhtperformance` measures with more care.")]
    Bench(BenchArgs),
    /// Put, read, scan and check millions of records over many connections
    Workload(WorkloadArgs),
    /// List the nodes of this machine, or make the folder of a new one
    #[command(after_help = "\
Examples:
  dht instances
  dht instances create 1

Reads the folders below --directory and asks no node.")]
    Instances(InstancesArgs),
    /// Print the completions for a shell
    #[command(after_help = "\
Examples:
  dht completions bash > ~/.local/share/bash-completion/completions/dht
  dht completions zsh > ~/.zfunc/_dht
  dht completions fish > ~/.config/fish/completions/dht.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write a man page for each command into a folder
    #[command(hide = true, after_help = "Example:\n  dht man-pages /usr/local/share/man/man1")]
    ManPages {
        /// The folder
        folder: PathBuf,
    },
}

/// A record's place.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    #[arg(value_parser = parse_key, help = KEY_HELP)]
    pub(crate) key: Key,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["value", "file"]))]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) place: KeyArgs,
    /// The value; `-` reads it from standard input. Write -- in front if it begins with -
    pub(crate) value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) place: KeyArgs,
    /// The value's bytes and nothing else (the default)
    #[arg(long, conflicts_with_all = ["hex", "json"])]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExistsArgs {
    #[command(flatten)]
    pub(crate) place: KeyArgs,
    /// Print nothing; the exit code tells
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true)
          .args(["value", "file", "exec", "remove"]))]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) place: KeyArgs,
    /// The new value; `-` reads it from standard input. Write -- in front if it begins with -
    pub(crate) value: Option<OsString>,
    /// Read the new value from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only if the value is this one now
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["exec", "remove"])]
    pub(crate) expect: Option<OsString>,
    /// The new value is what this shell command writes; it can read the old one
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: Option<OsString>,
    /// Take the record away
    #[arg(long)]
    pub(crate) remove: bool,
    /// How often to read and try again if somebody else has changed the record
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) retries: u32,
}

#[derive(Debug, Args)]
pub(crate) struct MirrorArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Begin with all records (the default)
    #[arg(long, conflicts_with = "no_refresh")]
    pub(crate) refresh: bool,
    /// Only changes from now on
    #[arg(long)]
    pub(crate) no_refresh: bool,
    /// Print all records again every so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) periodic: u32,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Begin with all records
    #[arg(long)]
    pub(crate) all: bool,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The channel, an empty one
    #[arg(default_value = "dht-bench")]
    pub(crate) channel: ChannelName,
    /// How long each kind of request is measured
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Requests at the same time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) clients: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = parse_size)]
    pub(crate) size: usize,
    /// Different keys
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) keys: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Time between two looks at each node; at least 0.1
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    /// Command socket of the first node; again for the second, and so on
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Vec<PathBuf>,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// The file; `-` is standard output
    pub(crate) file: PathBuf,
    /// What to write [default: tcm if the name ends with .tcm, else json]
    #[arg(long)]
    pub(crate) form: Option<Form>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Write what there is although a node failed; the exit code tells
    #[arg(long)]
    pub(crate) partial: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// The file; `-` is standard input
    pub(crate) file: PathBuf,
    /// What it is made of [default: tcm if the name ends with .tcm, else json]
    #[arg(long)]
    pub(crate) form: Option<Form>,
    /// Leave out so many records at the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) skip: u64,
    /// A new file for the records that no node takes, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) refused: Option<PathBuf>,
}

/// How to print records, if not in the command's own way.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormArgs {
    /// Key, tab, value as hex
    #[arg(long, conflicts_with = "json")]
    hex: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl FormArgs {
    pub(crate) const fn or(self, default: Format) -> Format {
        match (self.hex, self.json) {
            (true, _) => Format::Hex,
            (_, true) => Format::Json,
            (false, false) => default,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Only records whose value contains these bytes, taken as they are
    #[arg(long, value_name = "BYTES", conflicts_with = "filter_hex")]
    pub(crate) filter: Option<OsString>,
    /// The same, with the bytes in hex
    #[arg(long, value_name = "HEX", value_parser = from_hex)]
    pub(crate) filter_hex: Option<std::vec::Vec<u8>>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Stop after so many keys
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SizesArgs {
    /// Only this channel
    pub(crate) channel: Option<ChannelName>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveChannelArgs {
    /// The channel: ASCII letters, digits, _ and -
    pub(crate) channel: ChannelName,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The size of a value: what both protocols take.
fn parse_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (1..=65_512).contains(size));
    size.ok_or_else(|| "1 to 65512 bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let words = std::iter::once("dht").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_options_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("dht {}", command.get_name())), "{help}");
        }
    }

    #[test]
    fn a_value_comes_from_just_one_place() {
        assert!(parse("put ch 1 v").is_ok() && parse("put ch 1 -").is_ok());
        assert!(parse("put ch 1 --file f").is_ok() && parse("put ch 1 -- -v").is_ok());
        assert!(parse("put ch 1").is_err() && parse("put ch 1 v --file f").is_err());
    }

    #[test]
    fn an_update_is_one_change() {
        for line in ["v", "-", "--file f", "--exec cat", "--remove", "v --expect old", "-- -v"] {
            assert!(parse(&format!("update ch 1 {line}")).is_ok(), "{line}");
        }
        for line in ["", "v --remove", "--exec cat --remove", "--exec cat --expect v", "--expect v"]
        {
            assert!(parse(&format!("update ch 1 {line}")).is_err(), "{line}");
        }
        assert!(parse("mirror ch --refresh --no-refresh").is_err());
    }

    #[test]
    fn names_and_keys_are_checked_with_the_librarys_words() {
        let error = parse("get a.b 1").expect_err("a dot");
        assert!(error.contains("letters, digits, '_' and '-' only"), "{error}");
        let error = parse("get ab deadbeef").expect_err("no number");
        assert!(error.contains("write it with 0x in front"), "{error}");
        let Ok(Command::Remove(place)) = parse("remove ab 0x10") else { panic!("well formed") };
        assert_eq!((place.channel.as_str(), place.key), ("ab", Key(16)));
    }

    #[test]
    fn forms_exclude_each_other() {
        for line in ["get c 1 --raw --hex", "get c 1 --raw --json", "scan c --hex --json"] {
            assert!(parse(line).is_err(), "{line}");
        }
        let Ok(Command::Get(args)) = parse("get c 1") else { panic!("well formed") };
        assert_eq!(args.form.or(Format::Raw), Format::Raw);
        let Ok(Command::Scan(args)) = parse("scan c --json --filter-hex 00ff") else {
            panic!("well formed")
        };
        assert_eq!(args.form.or(Format::Text), Format::Json);
        assert_eq!(args.filter_hex, Some(vec![0, 255]));
        assert!(parse("scan c --filter a --filter-hex 00").is_err());
    }

    #[test]
    fn options_for_all_commands_may_stand_anywhere() {
        for line in ["dht --node h:1 --timeout 0.5 info", "dht info --timeout 0.5 --node h:1"] {
            let cli = Cli::try_parse_from(line.split_whitespace()).expect("well formed");
            assert_eq!(cli.target.node[0].to_string(), "h:1");
            assert_eq!(cli.target.timeout, Duration::from_millis(500));
        }
        assert!(parse("info --timeout -1").is_err() && parse("info --timeout x").is_err());
        assert!(parse("info --node nohost").is_err());
    }
}
