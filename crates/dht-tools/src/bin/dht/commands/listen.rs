//! listen: what is put into a channel, from all nodes at once.

use std::io::Write as _;

use dht_client::{
    Error,
    blocking::{
        legacy::{Change, Connection as LegacyConnection},
        neo::{Connection as NeoConnection, MirrorEvent, MirrorOptions},
    },
};
use dht_types::ChannelName;

use super::follow::{News, NewsTx};
use crate::{
    Output,
    args::ListenArgs,
    failure::{Exit, Failure, say},
    format::{Format, write_record},
    session::Session,
};

pub(crate) fn listen(
    session: &mut Session,
    args: &ListenArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let channel = args.channel.clone();
    let changes = match session {
        Session::Legacy(session) => {
            News::of_all(session.new_connections(), move |node, tx| listen_to(node, &channel, tx))
        }
        Session::Neo(session) => {
            News::of_all(session.new_connections(), move |node, tx| mirror_puts(node, &channel, tx))
        }
    };
    print(changes, args, out)
}

fn listen_to(
    mut node: LegacyConnection,
    channel: &ChannelName,
    change_tx: &NewsTx<Change>,
) -> Result<(), Error> {
    for change in node.listen(channel)? {
        if change_tx.send(Ok(change?)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Neo has no Listen: of what a Mirror without refreshes tells, the puts are what that would tell.
fn mirror_puts(
    mut node: NeoConnection,
    channel: &ChannelName,
    change_tx: &NewsTx<Change>,
) -> Result<(), Error> {
    let address = node.node().clone();
    let options = MirrorOptions { initial_refresh: false, periodic_refresh_s: 0 };
    for event in node.mirror(channel, options)? {
        let change = match event? {
            MirrorEvent::Updated(key, value) => Change { key, value: Some(value) },
            MirrorEvent::UpdatesLost => {
                say(&format!("dht: node {address}: its queue was full, changes were lost"));
                continue;
            }
            MirrorEvent::Refreshed(..) | MirrorEvent::Deleted(_) | MirrorEvent::ChannelRemoved => {
                continue;
            }
        };
        if change_tx.send(Ok(change)).is_err() {
            break;
        }
    }
    Ok(())
}

fn print(mut changes: News<Change>, args: &ListenArgs, out: &mut Output) -> Result<Exit, Failure> {
    let format = args.form.or(Format::Text);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(Change { key, value }) = changes.next(out)? else { break };
        write_record(out, format, key, value.as_deref())?;
        left -= 1;
    }
    out.flush()?;
    changes.finish()?;
    if left > 0 {
        say(&format!("dht: channel {} was removed", args.channel));
    }
    Ok(Exit::Done)
}
