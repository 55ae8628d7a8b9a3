//! mirror: every change of a channel, from all nodes at once, and its records if asked for.
//!
//! ```text
//! updated<TAB>000000000000dead<TAB>value         refreshed<TAB>... likewise
//! deleted<TAB>000000000000dead
//! updates-lost<TAB>192.0.2.1:10100               channel-removed<TAB>... likewise
//! {"event":"updated","key":"000000000000dead","text":"abc","value":"YWJj"}
//! {"event":"updates-lost","node":"192.0.2.1:10100"}
//! ```

use std::io::{self, Write};

use dht_client::{
    Error, NodeAddress,
    blocking::neo::{Connection, MirrorEvent, MirrorOptions},
};
use dht_types::{ChannelName, Key};
use serde_json::json;

use super::follow::{News, NewsTx};
use crate::{
    Output,
    args::MirrorArgs,
    failure::{Exit, Failure},
    format::{Format, record_json, write_record},
    session::NeoSession,
};

/// What happened, and at which node.
type Event = (NodeAddress, MirrorEvent);

pub(crate) fn mirror(
    session: &mut NeoSession,
    args: &MirrorArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let options =
        MirrorOptions { initial_refresh: !args.no_refresh, periodic_refresh_s: args.periodic };
    let channel = args.channel.clone();
    let mut events = News::of_all(session.new_connections(), move |node, tx| {
        pass_on(node, &channel, options, tx)
    });
    let format = args.form.or(Format::Text);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some((node, event)) = events.next(out)? else { break };
        write_event(out, format, &node, &event)?;
        left -= 1;
    }
    out.flush()?;
    events.finish()?;
    Ok(Exit::Done)
}

fn pass_on(
    mut node: Connection,
    channel: &ChannelName,
    options: MirrorOptions,
    event_tx: &NewsTx<Event>,
) -> Result<(), Error> {
    let address = node.node().clone();
    for event in node.mirror(channel, options)? {
        if event_tx.send(Ok((address.clone(), event?))).is_err() {
            break;
        }
    }
    Ok(())
}

fn write_event(
    out: &mut impl Write,
    format: Format,
    node: &NodeAddress,
    event: &MirrorEvent,
) -> io::Result<()> {
    match event {
        MirrorEvent::Updated(key, value) => write_value(out, format, "updated", *key, value),
        MirrorEvent::Refreshed(key, value) => write_value(out, format, "refreshed", *key, value),
        MirrorEvent::Deleted(key) => write_short(out, format, "deleted", "key", key),
        MirrorEvent::UpdatesLost => write_short(out, format, "updates-lost", "node", node),
        MirrorEvent::ChannelRemoved => write_short(out, format, "channel-removed", "node", node),
    }
}

fn write_value(
    out: &mut impl Write,
    format: Format,
    kind: &str,
    key: Key,
    value: &[u8],
) -> io::Result<()> {
    if format == Format::Json {
        let mut line = record_json(key, Some(value));
        line["event"] = kind.into();
        return writeln!(out, "{line}");
    }
    write!(out, "{kind}\t")?;
    write_record(out, format, key, Some(value))
}

/// An event without a value.
fn write_short(
    out: &mut impl Write,
    format: Format,
    kind: &str,
    field: &str,
    what: &impl ToString,
) -> io::Result<()> {
    let what = what.to_string();
    match format {
        Format::Json => writeln!(out, "{}", json!({ "event": kind, field: what })),
        Format::Raw | Format::Text | Format::Hex => writeln!(out, "{kind}\t{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line_with_its_kind() {
        let node: NodeAddress = "h:10100".parse().expect("an address");
        let line = |format, event| {
            let mut out = Vec::new();
            write_event(&mut out, format, &node, &event).expect("memory");
            String::from_utf8(out).expect("text")
        };
        let updated = || MirrorEvent::Updated(Key(0xdead), b"a\tb".to_vec());
        assert_eq!(line(Format::Text, updated()), "updated\t000000000000dead\ta\\tb\n");
        assert_eq!(line(Format::Hex, updated()), "updated\t000000000000dead\t610962\n");
        let refreshed = MirrorEvent::Refreshed(Key(1), b"abc".to_vec());
        let json = "{\"event\":\"refreshed\",\"key\":\"0000000000000001\",\"text\":\"abc\",\
                    \"value\":\"YWJj\"}\n";
        assert_eq!(line(Format::Json, refreshed), json);
        assert_eq!(line(Format::Text, MirrorEvent::Deleted(Key(1))), "deleted\t0000000000000001\n");
        let deleted = "{\"event\":\"deleted\",\"key\":\"0000000000000001\"}\n";
        assert_eq!(line(Format::Json, MirrorEvent::Deleted(Key(1))), deleted);
        assert_eq!(line(Format::Text, MirrorEvent::UpdatesLost), "updates-lost\th:10100\n");
        let removed = "{\"event\":\"channel-removed\",\"node\":\"h:10100\"}\n";
        assert_eq!(line(Format::Json, MirrorEvent::ChannelRemoved), removed);
    }
}
