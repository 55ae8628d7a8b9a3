//! The requests that tell of the node itself: version, range, sizes, channels, connections.

use dht_protocol::legacy::requests::{
    GetChannelSize, GetChannels, GetNumConnections, GetResponsibleRange, GetVersion, NodeSize,
};
use dht_protocol::neo::requests::GetChannelsMessage;
use dht_protocol::neo::{Payload, RequestId};

use super::{Outcome, Step, Stream};
use crate::admission::Counted;
use crate::context::{Context, writer};

pub(super) fn get_version(out: &mut Vec<u8>) -> Outcome {
    GetVersion::reply(&mut writer(out));
    Outcome::Done
}

pub(super) fn get_responsible_range(cx: &Context, out: &mut Vec<u8>) -> Outcome {
    GetResponsibleRange::reply(&mut writer(out), cx.view.owned);
    Outcome::Done
}

/// A GetNumConnections that waits until all are counted.
pub(crate) struct CountStream {
    counted: Counted,
}

pub(super) fn get_num_connections(cx: &Context) -> Outcome {
    let counted = cx.shared.count_queries.ask(&cx.mailbox, cx.conn);
    Outcome::Stream(Stream::Count(CountStream { counted }))
}

impl CountStream {
    pub(crate) fn step(&self, cx: &Context, out: &mut Vec<u8>) -> Step {
        if !self.counted.is_done() {
            return Step::Idle;
        }
        let (settings, open) = (&cx.shared.settings, cx.shared.legacy_connections.open());
        GetNumConnections::reply(&mut writer(out), &settings.address, settings.port, open as u64);
        Step::Done
    }
}

pub(super) fn get_channels(cx: &Context, out: &mut Vec<u8>) -> Outcome {
    let channels = cx.shared.store.channels();
    let names = channels.iter().map(|channel| channel.name().as_str());
    GetChannels::reply(&mut writer(out), names);
    Outcome::Done
}

pub(super) fn get_size(cx: &Context, out: &mut Vec<u8>) -> Outcome {
    let records = cx.shared.store.usage().records;
    reply_size(cx, records, cx.shared.bytes(), out)
}

pub(super) fn get_channel_size(
    cx: &mut Context,
    request: &GetChannelSize<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let usage = cx.channel(request.channel).map(|channel| channel.usage());
    let (records, bytes) =
        usage.map_or((0, 0), |usage| (usage.records, cx.shared.settings.bytes(1, usage)));
    reply_size(cx, records, bytes, out)
}

fn reply_size(cx: &Context, records: u64, bytes: u64, out: &mut Vec<u8>) -> Outcome {
    let settings = &cx.shared.settings;
    NodeSize::reply(&mut writer(out), &settings.address, settings.port, records, bytes);
    Outcome::Done
}

pub(super) fn neo_get_channels(cx: &Context, id: RequestId, out: &mut Vec<u8>) {
    for channel in cx.shared.store.channels() {
        GetChannelsMessage::ChannelName(channel.name().as_bytes()).write(id, out);
    }
    GetChannelsMessage::Finished.write(id, out);
}
