//! channels, sizes, info, remove-channel: what the nodes hold, and taking a channel away.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, IsTerminal as _, Write as _},
};

use dht_client::{Error, blocking::legacy::Connection};
use dht_protocol::legacy::{
    API_VERSION,
    requests::{GetChannelSize, GetChannels, GetNumConnections, GetResponsibleRange, GetSize},
};
use dht_types::{ChannelName, HashRange};
use serde_json::json;

use crate::{
    Output,
    args::{RemoveChannelArgs, SizesArgs},
    failure::{Exit, Failure, say},
    session::{LegacySession, Node, Session},
    table::write_table,
};

pub(crate) fn channels(
    session: &mut Session,
    json: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    for name in sorted(session.ask_all(|node| node.channels())) {
        match json {
            true => writeln!(out, "{}", json!({ "channel": name }))?,
            false => writeln!(out, "{name}")?,
        }
    }
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

/// All names, each once.
fn sorted(names: Vec<Vec<String>>) -> BTreeSet<String> {
    names.into_iter().flatten().collect()
}

fn finish(session: &mut LegacySession, out: &mut Output) -> Result<Exit, Failure> {
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

pub(crate) fn sizes(
    session: &mut LegacySession,
    args: &SizesArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let names = match &args.channel {
        Some(channel) => BTreeSet::from([channel.to_string()]),
        None => sorted(session.ask_all(&GetChannels).into_iter().map(|(_, names)| names).collect()),
    };
    let mut sizes = BTreeMap::new();
    for name in names {
        let answers = session.ask_all(&GetChannelSize { channel: &name });
        let sum = |sum: (u64, u64), (records, bytes): (u64, u64)| {
            (sum.0.saturating_add(records), sum.1.saturating_add(bytes))
        };
        let size = answers.iter().map(|(_, size)| (size.records, size.bytes)).fold((0, 0), sum);
        sizes.insert(name, size);
    }
    if args.json {
        for (channel, (records, bytes)) in &sizes {
            let line = json!({ "channel": channel, "records": records, "bytes": bytes });
            writeln!(out, "{line}")?;
        }
    } else {
        let row = |(name, (records, bytes)): (&String, &(u64, u64))| {
            vec![name.clone(), records.to_string(), bytes.to_string()]
        };
        let rows: Vec<_> = sizes.iter().map(row).collect();
        write_table(out, &["CHANNEL", "RECORDS", "BYTES"], &rows)?;
    }
    finish(session, out)
}

/// What one node says of itself.
struct Info {
    range: HashRange,
    connections: u64,
    records: u64,
    bytes: u64,
    channels: usize,
}

impl Info {
    fn ask(node: &mut Connection) -> Result<Self, Error> {
        let size = node.call(&GetSize)?;
        Ok(Self {
            range: node.call(&GetResponsibleRange)?,
            connections: node.call(&GetNumConnections)?.connections,
            records: size.records,
            bytes: size.bytes,
            channels: node.call(&GetChannels)?.len(),
        })
    }
}

pub(crate) fn info(
    session: &mut LegacySession,
    json: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let (mut infos, mut failed) = (Vec::new(), Vec::new());
    for node in session.nodes() {
        match Info::ask(node) {
            Ok(info) => infos.push((node.node().to_string(), info)),
            Err(error) => failed.push(error),
        }
    }
    failed.into_iter().for_each(|error| session.fail(error));
    if json {
        for (node, info) in &infos {
            writeln!(out, "{}", info_json(node, info))?;
        }
    } else {
        const HEAD: [&str; 7] =
            ["NODE", "VERSION", "RANGE", "CONNECTIONS", "RECORDS", "BYTES", "CHANNELS"];
        let rows: Vec<_> = infos.iter().map(|(node, info)| info_row(node, info)).collect();
        write_table(out, &HEAD, &rows)?;
    }
    finish(session, out)
}

fn info_json(node: &str, info: &Info) -> serde_json::Value {
    let hex = |limit| format!("{limit:016x}");
    json!({
        "node": node,
        "version": API_VERSION, // The handshake refuses any other.
        "range": { "min": hex(info.range.min()), "max": hex(info.range.max()) },
        "connections": info.connections,
        "records": info.records,
        "bytes": info.bytes,
        "channels": info.channels,
    })
}

fn info_row(node: &str, info: &Info) -> Vec<String> {
    let range = if info.range.is_empty() { "empty".to_owned() } else { info.range.to_string() };
    let numbers = [info.connections, info.records, info.bytes, info.channels as u64];
    let texts = [node.to_owned(), API_VERSION.to_owned(), range];
    texts.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}

pub(crate) fn remove_channel(
    session: &mut Session,
    args: &RemoveChannelArgs,
) -> Result<Exit, Failure> {
    let channel = &args.channel;
    if !args.yes && !confirm(session, channel)? {
        say("dht: nothing was removed");
        return Ok(Exit::No);
    }
    session.ask_all(|node| node.remove_channel(channel));
    session.finish()?;
    Ok(Exit::Done)
}

/// Asks the person at the terminal.
fn confirm(session: &mut Session, channel: &ChannelName) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = format!("not asked to confirm the removal of {channel}: add --yes to remove it");
        return Err(Failure::Usage(text));
    }
    let records = session.count_records(channel);
    let records = records.map_or_else(String::new, |records| format!(" (records: {records})"));
    let nodes: Vec<_> = session.nodes().iter().map(Node::address).collect();
    let nodes = nodes.join(", ");
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Remove channel {channel}{records} from {nodes}? [y/N] ");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    read.map_err(|error| Failure::Input { path: "standard input".into(), error })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes" | "Yes"))
}
