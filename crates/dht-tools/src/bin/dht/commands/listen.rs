//! listen: what is put into a channel, from all nodes at once.
//!
//! A thread for each node waits for its changes; they meet in one bounded queue, whose other end
//! prints. A slow reader of the output thus slows the nodes' senders, and nothing piles up here.

use std::{
    io::Write as _,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
};

use dht_client::blocking::legacy::{Change, Connection};
use dht_types::ChannelName;

use crate::{
    Output,
    args::ListenArgs,
    failure::{Exit, Failure, say},
    format::{Format, write_record},
    session::Session,
};

/// Changes that wait to be printed.
const QUEUE_MAX: usize = 1024;

type Item = Result<Change, dht_client::Error>;

pub(crate) fn listen(
    session: &Session,
    args: &ListenArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let (change_tx, change_rx) = sync_channel(QUEUE_MAX);
    for node in session.new_connections() {
        let (channel, change_tx) = (args.channel.clone(), change_tx.clone());
        // Not joined: a node that says nothing more must not keep the program from ending.
        std::thread::spawn(move || forward(node, &channel, &change_tx));
    }
    drop(change_tx);
    print(&change_rx, args, out)
}

/// Passes a node's changes on until its stream, or the one who prints, comes to an end.
fn forward(mut node: Connection, channel: &ChannelName, change_tx: &SyncSender<Item>) {
    let changes = match node.listen(channel) {
        Ok(changes) => changes,
        Err(error) => {
            let _ = change_tx.send(Err(error));
            return;
        }
    };
    for change in changes {
        if change_tx.send(change).is_err() {
            return;
        }
    }
}

fn print(change_rx: &Receiver<Item>, args: &ListenArgs, out: &mut Output) -> Result<Exit, Failure> {
    let format = args.form.or(Format::Text);
    let mut failed = Vec::new();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = next(change_rx, out)? else { break };
        match item {
            Ok(Change { key, value }) => {
                write_record(out, format, key, value.as_deref())?;
                left -= 1;
            }
            Err(error) => {
                say(&format!("dht: {error}"));
                failed.push(error);
            }
        }
    }
    out.flush()?;
    match failed.is_empty() {
        true if left > 0 => {
            say(&format!("dht: channel {} was removed", args.channel));
            Ok(Exit::Done)
        }
        true => Ok(Exit::Done),
        false => Err(Failure::several(failed)),
    }
}

/// The next change; `None` once every node's stream has ended. Before it waits it flushes, so that
/// a reader sees each change at once.
fn next(change_rx: &Receiver<Item>, out: &mut Output) -> Result<Option<Item>, Failure> {
    match change_rx.try_recv() {
        Ok(item) => Ok(Some(item)),
        Err(TryRecvError::Disconnected) => Ok(None),
        Err(TryRecvError::Empty) => {
            out.flush()?;
            Ok(change_rx.recv().ok())
        }
    }
}
