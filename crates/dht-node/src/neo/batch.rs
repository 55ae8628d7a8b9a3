//! Requests that came together and are answered at once: what they need is fetched from memory
//! side by side.
//!
//! ```text
//! input -> up to 64 requests looked at --+-- all Gets of one channel: looked up together
//!                                        |-- all Puts of one channel: stored together
//!                                        '-- others: their records prefetched, then one by one
//! ```

use std::time::Instant;

use arrayvec::ArrayVec;
use dht_protocol::neo::requests::{Get, Put};
use dht_protocol::neo::{Command, Request, RequestId, Server};
use dht_types::Key;

use super::TIMED;
use crate::context::Context;
use crate::handlers::{self, NeoGets, NeoPuts};
use crate::latency::Kind;
use crate::session::{BATCH_REQUESTS, TOGETHER_MIN};

/// A request that is answered at once, looked at and not executed yet.
pub(super) struct Single<'a> {
    pub(super) id: RequestId,
    pub(super) request: Request<'a>,
    /// The input behind it.
    pub(super) rest: &'a [u8],
}

/// Requests that came one after the other.
pub(super) struct Batch<'a>(ArrayVec<Single<'a>, BATCH_REQUESTS>);

impl<'a> Batch<'a> {
    /// Those at the front of `input`, of which nothing is taken.
    pub(super) fn look_ahead(server: &Server, mut input: &'a [u8]) -> Self {
        let mut batch = ArrayVec::new();
        while !batch.is_full()
            && let Some((id, request)) = server.look_ahead(&mut input)
        {
            batch.push(Single { id, request, rest: input });
        }
        Self(batch)
    }

    /// If all are Gets of one channel, or Puts: answers them until the output is full, and is empty
    /// then. Else fetches their records ahead; they are to be executed one by one.
    pub(super) fn prepare(&mut self, cx: &mut Context, input: &mut &'a [u8], out: &mut Vec<u8>) {
        if self.0.len() < TOGETHER_MIN {
            return;
        }
        let done = if let Some(gets) = self.gets(cx) {
            get(cx, &gets, out)
        } else if let Some(puts) = self.puts(cx) {
            put(cx, &puts, out)
        } else {
            return cx.prefetch(self.0.iter().filter_map(|single| record_of(&single.request)));
        };
        if let Some(last) = done.checked_sub(1) {
            *input = self.0[last].rest;
        }
        self.0.clear();
    }

    /// All of them, if they are Gets of one channel, and of keys that no other node has a part in.
    fn gets(&self, cx: &Context) -> Option<NeoGets<'a>> {
        let Request::Get(Get { channel, .. }) = self.0.first()?.request else { return None };
        let mut gets = NeoGets { channel, ids: ArrayVec::new(), keys: ArrayVec::new() };
        for Single { id, request, .. } in &self.0 {
            match request {
                Request::Get(get) if get.channel == channel && cx.is_settled(get.key) => {
                    gets.ids.push(*id);
                    gets.keys.push(get.key);
                }
                _ => return None,
            }
        }
        Some(gets)
    }

    /// The same for Puts.
    fn puts(&self, cx: &Context) -> Option<NeoPuts<'a>> {
        let Request::Put(Put { channel, .. }) = self.0.first()?.request else { return None };
        let mut puts = NeoPuts { channel, ids: ArrayVec::new(), records: ArrayVec::new() };
        for Single { id, request, .. } in &self.0 {
            match request {
                Request::Put(put) if put.channel == channel && cx.is_settled(put.key) => {
                    puts.ids.push(*id);
                    puts.records.push((put.key, put.value));
                }
                _ => return None,
            }
        }
        Some(puts)
    }
}

impl<'a> IntoIterator for Batch<'a> {
    type Item = Single<'a>;
    type IntoIter = arrayvec::IntoIter<Single<'a>, BATCH_REQUESTS>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Executes Gets until the output is full; returns how many.
fn get(cx: &mut Context, gets: &NeoGets<'_>, out: &mut Vec<u8>) -> usize {
    let began = (cx.clock)();
    let done = handlers::neo_gets(cx, gets, out);
    let records = gets.keys[..done].iter().map(|&key| (gets.channel, key));
    executed(cx, Command::Get, records, began);
    done
}

/// Executes Puts until the output is full; returns how many.
fn put(cx: &mut Context, puts: &NeoPuts<'_>, out: &mut Vec<u8>) -> usize {
    let began = (cx.clock)();
    let done = handlers::neo_puts(cx, puts, out);
    let records = puts.records[..done].iter().map(|&(key, _)| (puts.channel, key));
    executed(cx, Command::Put, records, began);
    done
}

/// Measures requests about these records that were executed together.
fn executed<'a>(
    cx: &mut Context,
    command: Command,
    mut records: impl ExactSizeIterator<Item = (&'a str, Key)> + Clone,
    began: Instant,
) {
    for (channel, key) in records.clone() {
        cx.sample(channel, key);
        let since = cx.timing.begin();
        cx.timing.end(Kind::Neo(command), since);
    }
    let count = records.len();
    if let record @ Some(_) = records.next() {
        let now = (cx.clock)();
        Run { command, record, count, began }.count(cx, now);
    }
}

/// Requests of one kind that are executed one after the other and measured together: to look at
/// the clock takes more than a tenth of a request. Each is counted with its share of the time.
pub(super) struct Run<'a> {
    command: Command,
    /// The first of them.
    record: Option<(&'a str, Key)>,
    count: usize,
    began: Instant,
}

impl<'a> Run<'a> {
    /// A request is about to be executed.
    pub(super) fn join(run: &mut Option<Self>, cx: &mut Context, request: &Request<'a>) {
        let command = request.command();
        let began = match run {
            // Who watches for slow requests wants to know which one was slow.
            Some(run) if run.command == command && !cx.timing.slow.is_on() => {
                run.count += 1;
                return;
            }
            _ => Self::end(run, cx).unwrap_or_else(cx.clock),
        };
        *run = Some(Self { command, record: record_of(request), count: 1, began });
    }

    /// All of the run are executed; the time.
    pub(super) fn end(run: &mut Option<Self>, cx: &mut Context) -> Option<Instant> {
        let run = run.take()?;
        let now = (cx.clock)();
        run.count(cx, now);
        Some(now)
    }

    fn count(self, cx: &mut Context, now: Instant) {
        let counters = cx.counters.neo(self.command);
        if !TIMED.contains(&self.command) {
            return counters.together(self.count, None);
        }
        let took = now.saturating_duration_since(self.began);
        counters.together(self.count, Some(took));
        let record = self.record.map(|(channel, key)| (channel, Some(key)));
        cx.timing.slow.note(Kind::Neo(self.command), record, took);
    }
}

/// The record that a request is about, if it is about one.
pub(super) fn record_of<'a>(request: &Request<'a>) -> Option<(&'a str, Key)> {
    match request {
        Request::Put(request) => Some((request.channel, request.key)),
        Request::Get(request) => Some((request.channel, request.key)),
        Request::Exists(request) => Some((request.channel, request.key)),
        Request::Remove(request) => Some((request.channel, request.key)),
        Request::Update(request) => Some((request.channel, request.key)),
        Request::GetHashRange(_)
        | Request::Mirror(_)
        | Request::GetAll(_)
        | Request::GetChannels(_)
        | Request::RemoveChannel(_)
        | Request::MovePart(_) => None,
    }
}
