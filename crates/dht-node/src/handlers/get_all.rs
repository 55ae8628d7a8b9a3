//! GetAll, GetAllKeys, GetAllFilter: a scan through a channel, a batch a step.

use std::ops::ControlFlow;
use std::sync::Arc;

use dht_protocol::legacy::Status;
use dht_protocol::legacy::batch::BatchWriter;
use dht_protocol::legacy::requests::{GetAll, GetAllFilter, GetAllKeys};
use dht_storage::{Channel, Cursor};
use dht_types::Key;
use memchr::memmem::Finder;

use super::{Outcome, Step, Stream};
use crate::context::{Context, writer};

/// Most records that one step looks at. With a filter that matches nothing, this bounds the step;
/// otherwise the batch is mostly full before.
const SCAN_RECORDS_PER_STEP: usize = 4096;

/// A scan that is under way.
pub(crate) struct GetAllStream {
    /// Where to go on; `None` once the end was reached.
    rest: Option<(Arc<Channel>, Cursor)>,
    batch: BatchWriter,
    select: Select,
}

/// What of each record is wanted, if anything.
#[derive(Debug)]
enum Select {
    Records,
    Keys,
    Matching(Finder<'static>),
}

pub(super) fn records(cx: &mut Context, request: &GetAll<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::Records, out)
}

pub(super) fn keys(cx: &mut Context, request: &GetAllKeys<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::Keys, out)
}

pub(super) fn filtered(cx: &mut Context, request: &GetAllFilter<'_>, out: &mut Vec<u8>) -> Outcome {
    start(cx, request.channel, Select::Matching(Finder::new(request.filter).into_owned()), out)
}

fn start(cx: &mut Context, channel: &str, select: Select, out: &mut Vec<u8>) -> Outcome {
    Status::Ok.encode(&mut writer(out));
    let rest = cx.channel(channel).map(|channel| (channel, Cursor::START));
    let batch = BatchWriter::new(cx.shared.settings.batch_bytes_max);
    Outcome::Stream(Stream::GetAll(Box::new(GetAllStream { rest, batch, select })))
}

impl GetAllStream {
    /// Goes on through the channel until a batch is full, the end is reached or the budget spent.
    pub(crate) fn step(&mut self, cx: &mut Context, out: &mut Vec<u8>) -> Step {
        let full = self.scan(cx);
        if full || self.rest.is_none() {
            self.batch.finish(&mut cx.codec.compressor, &mut writer(out));
        }
        if self.rest.is_some() {
            return Step::More;
        }
        // The last batch is sent even if there is nothing in it; behind it, the end mark.
        writer(out).array(&[]);
        Step::Done
    }

    /// Fills the batch; `true` if a record was left for the next one.
    fn scan(&mut self, cx: &Context) -> bool {
        let Some((channel, cursor)) = self.rest.take() else { return false };
        let mut full = false;
        let (batch, select, iterated) =
            (&mut self.batch, &self.select, &cx.counters.actions.iterated);
        let next = channel.scan(cursor, SCAN_RECORDS_PER_STEP, |key, value| {
            match select.add(batch, key, value) {
                None => {}
                Some(true) => iterated.record(value.len()),
                Some(false) => {
                    full = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        self.rest = next.map(|cursor| (channel, cursor));
        full
    }
}

impl Select {
    /// Adds a record: `None` if it is not wanted, `Some(false)` if it did not fit.
    fn add(&self, batch: &mut BatchWriter, key: Key, value: &[u8]) -> Option<bool> {
        match self {
            Self::Records => Some(batch.add(key, value)),
            Self::Keys => Some(batch.add_key(key)),
            Self::Matching(finder) => finder.find(value).map(|_| batch.add(key, value)),
        }
    }
}
