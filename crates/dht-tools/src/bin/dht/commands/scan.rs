//! scan, keys: a whole channel, one node after the other.

use std::io::Write as _;

use crate::{
    Output,
    args::{KeysArgs, ScanArgs},
    failure::{Exit, Failure},
    format::{Format, write_record},
    progress::Progress,
    session::{Node, Session},
};

/// Why a node's stream was left: its own failure lets the others go on, ours does not.
enum Stop {
    Node(dht_client::Error),
    Output(std::io::Error),
}

impl From<dht_client::Error> for Stop {
    fn from(error: dht_client::Error) -> Self {
        Self::Node(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

pub(crate) fn scan(
    session: &mut Session,
    args: &ScanArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let filter = args.filter.as_ref().map(|filter| filter.as_encoded_bytes());
    let filter = filter.or(args.filter_hex.as_deref());
    let total = match filter {
        // How many records match is not known before.
        Some(_) => None,
        None => session.count_records(&args.channel),
    };
    let progress = Progress::beside_output("scan", total.map(|total| at_most(total, args.limit)));
    let format = args.form.or(Format::Text);
    each_node(session, args.limit, out, |node, left, out| {
        for record in node.records(&args.channel, filter)?.take(count(*left)) {
            let (key, value) = record?;
            write_record(out, format, key, Some(&value))?;
            progress.add(value.len());
            *left -= 1;
        }
        Ok(())
    })
}

pub(crate) fn keys(
    session: &mut Session,
    args: &KeysArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let total = session.count_records(&args.channel).map(|total| at_most(total, args.limit));
    let progress = Progress::beside_output("keys", total);
    each_node(session, args.limit, out, |node, left, out| {
        for key in node.keys(&args.channel)?.take(count(*left)) {
            writeln!(out, "{}", key?)?;
            progress.add(0);
            *left -= 1;
        }
        Ok(())
    })
}

fn count(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX)
}

fn at_most(total: u64, limit: Option<u64>) -> u64 {
    limit.map_or(total, |limit| total.min(limit))
}

/// Has every node's records written, until `limit` is reached. A node that fails does not keep the
/// others from being asked, but the command fails in the end.
fn each_node(
    session: &mut Session,
    limit: Option<u64>,
    out: &mut Output,
    write: impl Fn(&mut Node<'_>, &mut u64, &mut Output) -> Result<(), Stop>,
) -> Result<Exit, Failure> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut failed = Vec::new();
    for mut node in session.nodes() {
        if left == 0 {
            break;
        }
        match write(&mut node, &mut left, out) {
            Ok(()) => {}
            Err(Stop::Node(error)) => failed.push(error),
            Err(Stop::Output(error)) => return Err(error.into()),
        }
    }
    out.flush()?;
    failed.into_iter().for_each(|error| session.fail(error));
    session.finish()?;
    Ok(Exit::Done)
}
