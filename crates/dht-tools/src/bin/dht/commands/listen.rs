//! listen: what is put into a channel, from all nodes at once.

use std::io::Write as _;

use dht_client::MirrorEvent;

use super::follow::{NodeNews, next};
use crate::{
    Output,
    args::ListenArgs,
    failure::{Exit, Failure, say},
    format::{Format, write_record},
    session::Session,
};

/// Neo has no Listen: of what a Mirror without refreshes tells, the puts are what that would tell.
pub(crate) async fn listen(
    session: &mut Session,
    args: &ListenArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let mut events = session.channel(&args.channel).listen();
    let format = args.form.or(Format::Text);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(event) = next(&mut events, out).await? else { break };
        if let Some(news) = NodeNews::of(&event)
            && !matches!(event, MirrorEvent::ChannelRemoved(_))
        {
            say(&format!("dht: {}", news.sentence()));
        }
        let (key, value) = match event {
            MirrorEvent::Updated(key, value) => (key, Some(value)),
            // Of the legacy protocol: put, and gone before the node could send it.
            MirrorEvent::Deleted(key) if !session.client().is_neo() => (key, None),
            MirrorEvent::NodeFailed(error) => {
                session.fail(error);
                continue;
            }
            _ => continue,
        };
        write_record(out, format, key, value.as_deref())?;
        left -= 1;
    }
    out.flush()?;
    session.finish()?;
    if left > 0 {
        say(&format!("dht: channel {} was removed", args.channel));
    }
    Ok(Exit::Done)
}
