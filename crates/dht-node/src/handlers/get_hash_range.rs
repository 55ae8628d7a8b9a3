//! GetHashRange, of the neo protocol: the node's range, and every change of it.

use dht_protocol::neo::requests::ResponsibleRange;
use dht_protocol::neo::{Payload, RequestId};

use super::{NeoStream, Step};
use crate::context::Context;
use crate::ranges::NewsPosition;

/// A client that wants to hear of changes.
pub(crate) struct RangeStream {
    position: NewsPosition,
}

pub(super) fn neo(cx: &Context, id: RequestId, out: &mut Vec<u8>) -> NeoStream {
    let (range, position) = cx.shared.ranges.subscribe();
    ResponsibleRange(range).write(id, out);
    NeoStream::GetHashRange(RangeStream { position })
}

impl RangeStream {
    /// Tells what is new.
    pub(crate) fn step(&mut self, cx: &Context, id: RequestId, out: &mut Vec<u8>) -> Step {
        for update in cx.shared.ranges.news(&mut self.position) {
            update.write(id, out);
        }
        Step::Idle
    }
}
