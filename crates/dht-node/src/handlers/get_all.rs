//! GetAll, and its legacy siblings GetAllKeys and GetAllFilter: a scan through a channel, a batch a
//! step.

use std::ops::ControlFlow;
use std::sync::Arc;

use dht_protocol::legacy::Status;
use dht_protocol::legacy::batch::BatchWriter;
use dht_protocol::legacy::requests::{GetAll, GetAllFilter, GetAllKeys};
use dht_protocol::neo::batch::GetAllBatch;
use dht_protocol::neo::requests::GetAllMessage;
use dht_protocol::neo::suspendable::Reaction;
use dht_protocol::neo::{self, Control, Payload, RequestId, Suspendable};
use dht_storage::{Channel, Cursor};

use super::select::{Batch, Select};
use super::{NeoStream, Outcome, Step, Stream};
use crate::context::{Context, writer};
use crate::ranges::RangeView;

/// Most records that one step looks at: all other connections of the worker wait for it, so it
/// takes about ten microseconds, and a batch is gathered over several turns.
const SCAN_RECORDS_PER_STEP: usize = 64;

/// A way through a channel.
struct Scan {
    /// Where to go on; `None` once the end was reached.
    rest: Option<(Arc<Channel>, Cursor)>,
    select: Select,
    /// That of the start: a part that changes hands meanwhile goes on to be shown by the giver, and
    /// is not shown by the taker.
    view: Arc<RangeView>,
}

/// How a piece of a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scanned {
    /// At a record that has to go into the next batch.
    Full,
    /// In the middle.
    Budget,
    /// At the end of the channel.
    End,
}

impl Scan {
    /// Goes on through the channel until the batch is full, the end is reached or the budget spent.
    fn fill(&mut self, cx: &Context, batch: &mut impl Batch) -> Scanned {
        let Some((channel, cursor)) = self.rest.take() else { return Scanned::End };
        let (select, view) = (&self.select, &self.view);
        let iterated = &cx.counters.actions.iterated;
        let mut full = false;
        let next = channel.scan(cursor, SCAN_RECORDS_PER_STEP, |key, value| {
            if select.matches(value) && !view.hides(key) {
                if !select.add(batch, key, value) {
                    full = true;
                    return ControlFlow::Break(());
                }
                iterated.record(value.len());
            }
            ControlFlow::Continue(())
        });
        self.rest = next.map(|cursor| (channel, cursor));
        match (&self.rest, full) {
            (None, _) => Scanned::End,
            (Some(_), true) => Scanned::Full,
            (Some(_), false) => Scanned::Budget,
        }
    }

    /// Goes on to the next record that is wanted, and stops in front of it.
    fn seek(&mut self) -> Scanned {
        let Some((channel, cursor)) = self.rest.take() else { return Scanned::End };
        let (select, view, mut found) = (&self.select, &self.view, false);
        let next = channel.scan(cursor, SCAN_RECORDS_PER_STEP, |key, value| {
            found = select.matches(value) && !view.hides(key);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.rest = next.map(|cursor| (channel, cursor));
        match (&self.rest, found) {
            (None, _) => Scanned::End,
            (Some(_), true) => Scanned::Full,
            (Some(_), false) => Scanned::Budget,
        }
    }
}

/// A scan for a legacy client.
pub(crate) struct GetAllStream {
    scan: Scan,
    batch: BatchWriter,
}

pub(super) fn records(cx: &mut Context, request: &GetAll<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::new(&[], false), out)
}

pub(super) fn keys(cx: &mut Context, request: &GetAllKeys<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::new(&[], true), out)
}

pub(super) fn filtered(cx: &mut Context, request: &GetAllFilter<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::new(request.filter, false), out)
}

fn start(cx: &mut Context, channel: &str, select: Select, out: &mut Vec<u8>) -> Outcome {
    Status::Ok.encode(&mut writer(out));
    let rest = cx.channel(channel).map(|channel| (channel, Cursor::START));
    let batch = BatchWriter::new(cx.shared.settings.batch_bytes_max);
    let scan = Scan { rest, select, view: Arc::clone(&cx.view) };
    Outcome::Stream(Stream::GetAll(Box::new(GetAllStream { scan, batch })))
}

impl GetAllStream {
    pub(crate) fn step(&mut self, cx: &mut Context, out: &mut Vec<u8>) -> Step {
        let scanned = self.scan.fill(cx, &mut self.batch);
        if scanned != Scanned::Budget {
            self.batch.finish(&mut cx.codec.compressor, &mut writer(out));
        }
        if scanned != Scanned::End {
            return Step::More;
        }
        // The last batch is sent even if there is nothing in it; behind it, the end mark.
        writer(out).array(&[]);
        Step::Done
    }
}

/// A scan for a neo client.
pub(crate) struct NeoGetAllStream {
    scan: Scan,
    batch: GetAllBatch,
    state: Suspendable,
    /// Stands paused in front of a record.
    parked: bool,
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::GetAll<'_>,
    out: &mut Vec<u8>,
) -> Option<NeoStream> {
    let Ok(channel) = cx.channel_or_create(request.channel) else {
        GetAllMessage::Error.write(id, out);
        // The id was taken for a stream; it is free again when this returns nothing.
        return None;
    };
    GetAllMessage::Started.write(id, out);
    let cursor = request.continue_from.map_or(Cursor::START, |key| channel.cursor_after(key));
    let select = Select::new(request.filter, request.keys_only);
    let scan = Scan { rest: Some((channel, cursor)), select, view: Arc::clone(&cx.view) };
    let state = Suspendable::new(request.start_suspended);
    let stream = NeoGetAllStream { scan, batch: GetAllBatch::new(), state, parked: false };
    Some(NeoStream::GetAll(Box::new(stream)))
}

impl NeoGetAllStream {
    pub(super) fn control(&mut self, control: Control) -> Reaction {
        self.parked = false;
        self.state.control(control)
    }

    pub(super) fn step(&mut self, cx: &mut Context, id: RequestId, out: &mut Vec<u8>) -> Step {
        if self.state.is_ending() || self.parked {
            return Step::Idle;
        }
        let running = self.state.is_running();
        // Compat: a pause takes effect at the next record that is wanted. If there is none, the
        // end is told all the same.
        let scanned = if running { self.scan.fill(cx, &mut self.batch) } else { self.scan.seek() };
        match scanned {
            Scanned::Budget => Step::More,
            Scanned::Full if running => {
                self.batch.write(id, &mut cx.codec.compressor, out);
                Step::More
            }
            Scanned::Full => {
                self.parked = true;
                Step::Idle
            }
            Scanned::End => {
                // The last batch is sent even if there is nothing in it.
                self.batch.write(id, &mut cx.codec.compressor, out);
                GetAllMessage::Finished.write(id, out);
                self.state.finished();
                Step::Idle
            }
        }
    }
}
