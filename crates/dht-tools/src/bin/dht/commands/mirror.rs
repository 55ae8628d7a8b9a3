//! mirror: every change of a channel, from all nodes at once, and its records if asked for.
//!
//! ```text
//! updated<TAB>000000000000dead<TAB>value         refreshed<TAB>... likewise
//! deleted<TAB>000000000000dead
//! updates-lost<TAB>192.0.2.1:10100               channel-removed, node-back likewise
//! node-lost<TAB>192.0.2.1:10100<TAB>why          node-failed likewise
//! {"event":"updated","key":"000000000000dead","text":"abc","value":"YWJj"}
//! {"event":"node-lost","node":"192.0.2.1:10100","error":"why"}
//! ```

use std::{
    io::{self, Write},
    time::Duration,
};

use dht_client::{MirrorEvent, MirrorOptions};
use dht_tools::json_lines;
use dht_types::Key;
use serde_json::json;

use super::follow::{NodeNews, next};
use crate::{
    Output,
    args::MirrorArgs,
    failure::{Exit, Failure},
    format::{Format, write_record},
    session::Session,
};

pub(crate) async fn mirror(
    session: &mut Session,
    args: &MirrorArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let options = MirrorOptions {
        initial_refresh: !args.no_refresh,
        periodic_refresh: Duration::from_secs(args.periodic.into()),
    };
    let mut events = session.channel(&args.channel).mirror_with(options);
    let format = args.form.or(Format::Text);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(event) = next(&mut events, out).await? else { break };
        if matches!(event, MirrorEvent::Started) {
            continue;
        }
        write_event(out, format, &event)?;
        if let MirrorEvent::NodeFailed(error) = event {
            session.fail(error);
        }
        left -= 1;
    }
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

fn write_event(out: &mut impl Write, format: Format, event: &MirrorEvent) -> io::Result<()> {
    match event {
        MirrorEvent::Updated(key, value) => write_value(out, format, "updated", *key, value),
        MirrorEvent::Refreshed(key, value) => write_value(out, format, "refreshed", *key, value),
        MirrorEvent::Deleted(key) => write_deleted(out, format, *key),
        MirrorEvent::Started => Ok(()),
        MirrorEvent::UpdatesLost(_)
        | MirrorEvent::ChannelRemoved(_)
        | MirrorEvent::NodeLost(_)
        | MirrorEvent::NodeBack(_)
        | MirrorEvent::NodeFailed(_) => {
            NodeNews::of(event).map_or(Ok(()), |news| write_news(out, format, &news))
        }
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
        let mut line = json_lines::object(key, Some(value));
        line["event"] = kind.into();
        return writeln!(out, "{line}");
    }
    write!(out, "{kind}\t")?;
    write_record(out, format, key, Some(value))
}

fn write_deleted(out: &mut impl Write, format: Format, key: Key) -> io::Result<()> {
    match format {
        Format::Json => {
            writeln!(out, "{}", json!({ "event": "deleted", "key": key.to_string() }))
        }
        Format::Raw | Format::Text | Format::Hex => writeln!(out, "deleted\t{key}"),
    }
}

fn write_news(out: &mut impl Write, format: Format, news: &NodeNews) -> io::Result<()> {
    let NodeNews { kind, why, .. } = news;
    let node = news.node();
    if format == Format::Json {
        let mut line = json!({ "event": kind, "node": node });
        if let Some(why) = why {
            line["error"] = why.as_str().into();
        }
        return writeln!(out, "{line}");
    }
    match why {
        Some(why) => writeln!(out, "{kind}\t{node}\t{why}"),
        None => writeln!(out, "{kind}\t{node}"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dht_client::{Error, ErrorKind};

    use super::*;

    fn written(format: Format, event: &MirrorEvent) -> String {
        let mut out = Vec::new();
        write_event(&mut out, format, event).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_event_is_a_line_in_every_form() {
        let node = || "h:1".parse().expect("an address");
        let lost = Error { node: Some(node()), request: None, kind: ErrorKind::NotConnected };
        for (event, text, json) in [
            (
                MirrorEvent::Updated(Key(1), Bytes::from_static(b"a")),
                "updated\t0000000000000001\ta",
                r#"{"event":"updated","key":"0000000000000001","text":"a","value":"YQ=="}"#,
            ),
            (
                MirrorEvent::Deleted(Key(1)),
                "deleted\t0000000000000001",
                r#"{"event":"deleted","key":"0000000000000001"}"#,
            ),
            (
                MirrorEvent::UpdatesLost(node()),
                "updates-lost\th:1",
                r#"{"event":"updates-lost","node":"h:1"}"#,
            ),
            (
                MirrorEvent::NodeLost(lost),
                "node-lost\th:1\tnot connected",
                r#"{"error":"not connected","event":"node-lost","node":"h:1"}"#,
            ),
        ] {
            assert_eq!(written(Format::Text, &event), format!("{text}\n"));
            assert_eq!(written(Format::Json, &event), format!("{json}\n"));
        }
        assert_eq!(written(Format::Text, &MirrorEvent::Started), "");
    }
}
