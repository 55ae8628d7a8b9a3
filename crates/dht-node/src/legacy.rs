//! One connection of the legacy protocol: requests in, answers out, one at a time.

use std::time::Instant;

use dht_protocol::legacy::{CloseReason, Command, Limits, Parsed, Request, Server};
use dht_types::Key;

use crate::context::{Context, writer};
use crate::counters::Counters;
use crate::handlers::{self, Outcome, Step, Stream};
use crate::latency::Kind;
use crate::session::{OUTPUT_BYTES_HIGH, Progress};

/// The requests whose handling time is measured. Source: spec `node` 8.4.
pub(crate) const TIMED: [Command; 5] =
    [Command::Put, Command::PutBatch, Command::Get, Command::Exists, Command::Remove];

/// See the module.
pub(crate) struct LegacySession {
    server: Server,
    /// The request whose answer is not complete yet.
    stream: Option<Running>,
}

/// A request that goes on.
struct Running {
    command: Command,
    /// When its first byte was there.
    since: Instant,
    stream: Stream,
}

impl LegacySession {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { server: Server::new(limits), stream: None }
    }

    /// Whether bytes should be received now. While a scan runs, the client's next requests may
    /// wait in its socket; in a Listen its bytes mean something.
    pub(crate) const fn wants_input(&self) -> bool {
        // Compat: who asks for a Redistribute may go, and it goes on.
        !matches!(
            self.stream,
            Some(Running {
                stream: Stream::GetAll(_)
                    | Stream::Redistribute(_)
                    | Stream::Purge(_)
                    | Stream::Claim(_)
                    | Stream::Count(_),
                ..
            })
        )
    }

    /// The record that the request at the front of `input` is about, if nothing else comes first.
    pub(crate) fn record_ahead<'a>(&'a self, input: &'a [u8]) -> Option<(&'a str, Key)> {
        if self.stream.is_none() { self.server.record_ahead(input) } else { None }
    }

    /// Whether the connection has something that waits for the next flush.
    pub(crate) const fn listens(&self) -> bool {
        matches!(self.stream, Some(Running { stream: Stream::Listen(_), .. }))
    }

    /// Hands over what a Listen has gathered.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(Running { stream: Stream::Listen(stream), .. }) = &mut self.stream {
            stream.flush(out);
        }
    }

    /// There is no room for output, and something has happened.
    pub(crate) fn gather(&self, cx: &Context) {
        if let Some(Running { stream: Stream::Listen(stream), .. }) = &self.stream {
            stream.is_held_up(cx);
        }
    }

    /// Executes what `input` holds and takes it from there, as long as `out` has room.
    pub(crate) fn work(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, CloseReason> {
        let mut start = None;
        loop {
            if out.len() >= OUTPUT_BYTES_HIGH {
                return Ok(Progress::InputWaits);
            }
            if self.stream.is_some() {
                match self.step(cx, !input.is_empty(), out) {
                    Step::Done => {}
                    Step::Idle => return Ok(Progress::Idle),
                    Step::More => return Ok(Progress::InputWaits),
                }
                continue;
            }
            if input.is_empty() {
                return Ok(Progress::Idle);
            }
            let mark = out.len();
            match self.server.next(input) {
                Parsed::Incomplete => return Ok(Progress::Idle),
                Parsed::Close(reason) => return Err(reason),
                Parsed::Refused(command, status) => {
                    cx.counters.legacy(command).begin();
                    let since = cx.timing.begin();
                    status.encode(&mut writer(out));
                    cx.counters.legacy(command).end();
                    cx.timing.end(Kind::Legacy(command), since);
                }
                Parsed::Request(request) => {
                    let command = request.command();
                    cx.counters.legacy(command).begin();
                    let since = cx.timing.begin();
                    let began = *start.get_or_insert_with(cx.clock);
                    let record = cx.watches().then(|| record_of(&request)).flatten();
                    if let Some((channel, Some(key))) = record {
                        cx.sample(channel, key);
                    }
                    match handlers::legacy(cx, &request, out) {
                        Outcome::Done => {
                            start = end(cx, command, record, began);
                            cx.timing.end(Kind::Legacy(command), since);
                        }
                        Outcome::Stream(stream) => {
                            self.stream = Some(Running { command, since, stream });
                        }
                        Outcome::Close(reason) => {
                            // What this request has written so far must not go out.
                            out.truncate(mark);
                            cx.counters.legacy(command).end();
                            return Err(reason);
                        }
                    }
                }
            }
        }
    }

    fn step(&mut self, cx: &mut Context, peer_speaks: bool, out: &mut Vec<u8>) -> Step {
        let Some(Running { command, since, stream }) = &mut self.stream else { return Step::Done };
        let step = match stream {
            Stream::GetAll(stream) => stream.step(cx, out),
            Stream::Listen(stream) => stream.step(cx, peer_speaks, out),
            Stream::Redistribute(stream) => stream.step(out),
            Stream::Count(stream) => stream.step(cx, out),
            Stream::Move(stream) => stream.step(peer_speaks, out),
            Stream::Purge(stream) => stream.step(cx, out),
            Stream::Claim(stream) => stream.step(cx, out),
        };
        if step == Step::Done {
            cx.counters.legacy(*command).end();
            let kind = Kind::Legacy(*command);
            if !kind.is_open_ended() {
                cx.timing.end(kind, *since);
            }
            self.stream = None;
        }
        step
    }

    /// The connection is gone: its request, if any, is over.
    pub(crate) fn close(&mut self, counters: &Counters) {
        if let Some(Running { command, .. }) = self.stream.take() {
            counters.legacy(command).end();
        }
    }
}

/// Counts a request that is over. Returns the time, from which the next one may be measured.
fn end(
    cx: &mut Context,
    command: Command,
    record: Option<(&str, Option<Key>)>,
    began: Instant,
) -> Option<Instant> {
    let is_timed = TIMED.contains(&command);
    if !is_timed && !cx.timing.slow.is_on() {
        cx.counters.legacy(command).end();
        return None;
    }
    let now = (cx.clock)();
    let took = now.saturating_duration_since(began);
    if is_timed {
        cx.counters.legacy(command).end_after(took);
    } else {
        cx.counters.legacy(command).end();
    }
    cx.timing.slow.note(Kind::Legacy(command), record, took);
    Some(now)
}

/// The record that a request is about, or at least its channel, if it is about one.
fn record_of<'a>(request: &Request<'a>) -> Option<(&'a str, Option<Key>)> {
    match request {
        Request::Put(request) => Some((request.channel, Some(request.key))),
        Request::Get(request) => Some((request.channel, request.key.parse().ok())),
        Request::Exists(request) => Some((request.channel, request.key.parse().ok())),
        Request::Remove(request) => Some((request.channel, Some(request.key))),
        Request::PutBatch(request) => Some((request.channel, None)),
        Request::RemoveChannel(request) => Some((request.channel, None)),
        _ => None,
    }
}
