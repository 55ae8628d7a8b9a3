//! GetHashRange, of the neo protocol: the node's range, and every change of it.

use dht_protocol::neo::requests::ResponsibleRange;
use dht_protocol::neo::{Payload, RequestId};

use super::NeoStream;
use crate::context::Context;

pub(super) fn neo(cx: &Context, id: RequestId, out: &mut Vec<u8>) -> NeoStream {
    ResponsibleRange(cx.shared.hash_range).write(id, out);
    NeoStream::GetHashRange
}
