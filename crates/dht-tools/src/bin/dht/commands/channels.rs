//! channels, sizes, info, remove-channel: what the nodes hold, and taking a channel away.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, IsTerminal as _, Write as _},
};

use dht_client::NodeInfo;
use dht_protocol::legacy::API_VERSION;
use dht_types::ChannelName;
use serde_json::json;

use crate::{
    Output,
    args::{RemoveChannelArgs, SizesArgs},
    failure::{Exit, Failure, say},
    session::Session,
    table::write_table,
};

pub(crate) async fn channels(
    session: &mut Session,
    json: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    for name in names(session).await {
        match json {
            true => writeln!(out, "{}", json!({ "channel": name }))?,
            false => writeln!(out, "{name}")?,
        }
    }
    finish(session, out)
}

/// All names, each once.
async fn names(session: &mut Session) -> BTreeSet<String> {
    let names = session.client().channels_by_node().await;
    session.answers(names).into_iter().flat_map(|(_, names)| names).collect()
}

fn finish(session: &mut Session, out: &mut Output) -> Result<Exit, Failure> {
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

pub(crate) async fn sizes(
    session: &mut Session,
    args: &SizesArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let names = match &args.channel {
        Some(channel) => BTreeSet::from([channel.to_string()]),
        None => names(session).await,
    };
    let mut sizes = BTreeMap::new();
    for name in names {
        // A node may have a channel whose name we would not take.
        let Ok(channel) = session.client().channel(&name) else { continue };
        let answers = session.answers(channel.size_by_node().await);
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

pub(crate) async fn info(
    session: &mut Session,
    json: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let (infos, channels) =
        tokio::join!(session.client().info_by_node(), session.client().channels_by_node());
    let (infos, channels) = (session.answers(infos), session.answers(channels));
    // A node that failed at either is told, and has no row.
    let with_channels = |(node, info)| {
        let (_, names) = channels.iter().find(|(other, _)| *other == node)?;
        Some((node.to_string(), info, names.len()))
    };
    let infos: Vec<_> = infos.into_iter().filter_map(with_channels).collect();
    if json {
        for (node, info, channels) in &infos {
            writeln!(out, "{}", info_json(node, info, *channels))?;
        }
    } else {
        const HEAD: [&str; 7] =
            ["NODE", "VERSION", "RANGE", "CONNECTIONS", "RECORDS", "BYTES", "CHANNELS"];
        let rows = infos.iter().map(|(node, info, channels)| info_row(node, info, *channels));
        let rows: Vec<_> = rows.collect();
        write_table(out, &HEAD, &rows)?;
    }
    finish(session, out)
}

fn info_json(node: &str, info: &NodeInfo, channels: usize) -> serde_json::Value {
    let hex = |limit| format!("{limit:016x}");
    json!({
        "node": node,
        "version": API_VERSION, // The handshake refuses any other.
        "range": { "min": hex(info.hash_range.min()), "max": hex(info.hash_range.max()) },
        "connections": info.connections,
        "records": info.records,
        "bytes": info.bytes,
        "channels": channels,
    })
}

fn info_row(node: &str, info: &NodeInfo, channels: usize) -> Vec<String> {
    let range =
        if info.hash_range.is_empty() { "empty".to_owned() } else { info.hash_range.to_string() };
    let numbers = [info.connections, info.records, info.bytes, channels as u64];
    let texts = [node.to_owned(), API_VERSION.to_owned(), range];
    texts.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}

pub(crate) async fn remove_channel(
    session: &mut Session,
    args: &RemoveChannelArgs,
) -> Result<Exit, Failure> {
    let channel = &args.channel;
    if !args.yes && !confirm(session, channel).await? {
        say("dht: nothing was removed");
        return Ok(Exit::No);
    }
    let outcomes = session.client().remove_channel(channel).await;
    session.answers(outcomes);
    session.finish()?;
    Ok(Exit::Done)
}

/// Asks the person at the terminal.
async fn confirm(session: &Session, channel: &ChannelName) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = format!("not asked to confirm the removal of {channel}: add --yes to remove it");
        return Err(Failure::Usage(text));
    }
    let size = session.channel(channel).size().await;
    let records =
        size.map_or_else(|_| String::new(), |size| format!(" (records: {})", size.records));
    let nodes = session.client().nodes();
    let nodes: Vec<_> = nodes.iter().map(|node| node.address.to_string()).collect();
    let nodes = nodes.join(", ");
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Remove channel {channel}{records} from {nodes}? [y/N] ");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    read.map_err(|error| Failure::Input { path: "standard input".into(), error })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes" | "Yes"))
}
