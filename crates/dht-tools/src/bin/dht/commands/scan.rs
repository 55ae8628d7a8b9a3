//! scan and keys: a whole channel, all nodes at the same time.

use std::io::{self, Write as _};

use bytes::Bytes;
use dht_client::{Channel, Scan};
use futures_util::StreamExt as _;

use crate::{
    Output,
    args::{KeysArgs, ScanArgs},
    failure::{Exit, Failure},
    format::{Format, write_record},
    progress::Progress,
    session::Session,
};

pub(crate) async fn scan(
    session: &mut Session,
    args: &ScanArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let channel = session.channel(&args.channel);
    let filter = args.filter.as_ref().map(|filter| filter.as_encoded_bytes());
    let filter = filter.or(args.filter_hex.as_deref());
    // How many records match a filter is not known before.
    let total = if filter.is_some() { None } else { total(&channel, args.limit).await };
    let progress = Progress::beside_output("scan", total);
    let format = args.form.or(Format::Text);
    let records = match filter {
        Some(filter) => channel.filter(Bytes::copy_from_slice(filter)),
        None => channel.get_all(),
    };
    write_all(session, records, args.limit, out, |out, (key, value)| {
        progress.add(value.len());
        write_record(out, format, key, Some(&value))
    })
    .await
}

pub(crate) async fn keys(
    session: &mut Session,
    args: &KeysArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let channel = session.channel(&args.channel);
    let progress = Progress::beside_output("keys", total(&channel, args.limit).await);
    write_all(session, channel.keys(), args.limit, out, |out, key| {
        progress.add(0);
        writeln!(out, "{key}")
    })
    .await
}

/// How many records there will be, if anybody is to see that, and the nodes tell.
async fn total(channel: &Channel, limit: Option<u64>) -> Option<u64> {
    if !Progress::is_seen_beside_output() {
        return None;
    }
    let records = channel.size().await.ok()?.records;
    Some(limit.map_or(records, |limit| records.min(limit)))
}

/// Has every node's records written, until `limit` is reached. A node that fails does not keep the
/// others from being asked, but the command fails in the end.
async fn write_all<T>(
    session: &mut Session,
    mut scan: Scan<T>,
    limit: Option<u64>,
    out: &mut Output,
    mut write: impl FnMut(&mut Output, T) -> io::Result<()>,
) -> Result<Exit, Failure> {
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0 {
        match scan.next().await {
            None => break,
            Some(Err(error)) => session.fail(error),
            Some(Ok(item)) => {
                write(out, item)?;
                left -= 1;
            }
        }
    }
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}
