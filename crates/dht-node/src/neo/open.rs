//! An authenticated connection: requests start, run side by side, and end.
//!
//! ```text
//! input -> a batch of requests looked at, their records fetched ahead
//!       -> executed in order, while the output has room
//!       -> then each stream that can go on gets a step, in turn, while the output has room
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use dht_protocol::neo::requests::{ADMIN_NAME, UpdateMessage};
use dht_protocol::neo::{
    CloseReason, Command, Control, Event, Message, Request, RequestId, RequestKind, Server,
    Supported,
};
use dht_types::Key;
use rustc_hash::FxHashMap;

use super::batch::{Batch, Run, Single, record_of};
use crate::alarms::Alarm;
use crate::context::Context;
use crate::counters::Counters;
use crate::handlers::{NeoStream, Step, neo as handle};
use crate::latency::Kind;
use crate::session::{OUTPUT_BYTES_HIGH, Progress};

/// The requests whose handling time is measured. Source: spec `node` 8.4.
pub(crate) const TIMED: [Command; 5] =
    [Command::Put, Command::Get, Command::Exists, Command::Remove, Command::Update];

/// See the module.
pub(crate) struct Open {
    server: Server,
    is_admin: bool,
    streams: FxHashMap<RequestId, Running>,
    /// Streams that may have something to do; each stands in it once at most.
    runnable: VecDeque<RequestId>,
    /// The node's hash range may have changed.
    range_news: bool,
}

/// A request that goes on after its first message.
struct Running {
    stream: NeoStream,
    /// When it started, if its time is measured.
    began: Option<Instant>,
    /// When its first byte was there.
    since: Instant,
    queued: bool,
}

impl Open {
    pub(crate) fn new(client: &str) -> Self {
        Self {
            server: Server::new(),
            is_admin: client == ADMIN_NAME,
            streams: FxHashMap::default(),
            runnable: VecDeque::new(),
            range_news: false,
        }
    }

    /// The node's hash range may have changed; the next [`Open::work`] tells, before anything else.
    pub(crate) const fn note_range_news(&mut self) {
        self.range_news = true;
    }

    /// See [`NeoSession::record_ahead`](super::NeoSession::record_ahead). Of many requests the
    /// batch takes care.
    pub(super) fn record_ahead<'a>(&self, mut input: &'a [u8]) -> Option<(&'a str, Key)> {
        let (_, request) = self.server.look_ahead(&mut input)?;
        if input.is_empty() { record_of(&request) } else { None }
    }

    /// Tells the client of changes of the hash range: before it is refused because of them.
    fn tell_range_news(&mut self, cx: &mut Context, out: &mut Vec<u8>) {
        self.range_news = false;
        for (id, running) in &mut self.streams {
            if let NeoStream::GetHashRange(stream) = &mut running.stream {
                stream.step(cx, *id, out);
            }
        }
    }

    /// Something has happened for a stream.
    pub(crate) fn wake(&mut self, stream: u64) {
        if let Some(id) = RequestId::new(stream) {
            self.enqueue(id);
        }
    }

    fn enqueue(&mut self, id: RequestId) {
        if let Some(running) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut running.queued, true)
        {
            self.runnable.push_back(id);
        }
    }

    /// Whether a stream waits for this alarm.
    pub(crate) fn awaits(&self, alarm: &Alarm) -> bool {
        let running = RequestId::new(alarm.stream).and_then(|id| self.streams.get(&id));
        running.is_some_and(|running| running.stream.awaits(alarm.at))
    }

    pub(crate) fn work(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, CloseReason> {
        cx.client_is_admin = self.is_admin;
        if self.range_news {
            self.tell_range_news(cx, out);
        }
        let input_waits = self.requests(cx, input, out)?;
        self.step_streams(cx, out);
        Ok(if input_waits {
            Progress::InputWaits
        } else if self.runnable.is_empty() {
            Progress::Idle
        } else {
            Progress::Streaming
        })
    }

    /// Executes the requests in `input`; `true` if it stopped because the output is full.
    fn requests(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, CloseReason> {
        loop {
            self.singles(cx, input, out)?;
            if out.len() >= OUTPUT_BYTES_HIGH {
                return Ok(true);
            }
            match self.server.next(input, out)? {
                Some(event) => self.event(cx, event, out)?,
                None => return Ok(false),
            }
        }
    }

    /// Executes the requests at the front of `input` that are answered at once, a batch of them,
    /// until the output is full.
    fn singles(
        &mut self,
        cx: &mut Context,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let mut batch = Batch::look_ahead(&self.server, input);
        batch.prepare(cx, input, out);
        let mut run = None;
        for Single { id, request, rest } in batch {
            // The answers may be large: the others wait in the input until this one is sent.
            if out.len() >= OUTPUT_BYTES_HIGH {
                break;
            }
            Run::join(&mut run, cx, &request);
            Supported::Yes.write(id, out);
            self.execute(cx, id, &request, out)?;
            let since = cx.timing.begin();
            cx.timing.end(Kind::Neo(request.command()), since);
            *input = rest;
        }
        Run::end(&mut run, cx);
        Ok(())
    }

    fn event(
        &mut self,
        cx: &mut Context,
        event: Event<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        match event {
            Event::Refused(refusal) => log::debug!("{}: {refusal}", cx.peer),
            Event::Start { id, request } => self.start(cx, id, &request, out)?,
            Event::Abandoned { id, .. } => self.forget(cx, id),
            Event::Message { id, message: Message::Control(control) } => {
                self.control(cx, id, control, out)?;
            }
            Event::Message { id, message: Message::Update(message) } => {
                self.update(cx, id, &message, out);
            }
            Event::Message { id, message: Message::CancelMove } => {
                if let Some(Running { stream: NeoStream::Move(stream), .. }) = self.streams.get(&id)
                {
                    stream.cancel();
                }
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        cx: &mut Context,
        id: RequestId,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let command = request.command();
        cx.counters.neo(command).begin();
        let since = cx.timing.begin();
        let began = TIMED.contains(&command).then(cx.clock);
        match self.execute(cx, id, request, out)? {
            Some(stream) => {
                self.streams.insert(id, Running { stream, began, since, queued: false });
                self.enqueue(id);
            }
            None => {
                if RequestKind::of(request).is_some() {
                    self.server.finish(id);
                }
                end(cx, command, record_of(request), began);
                cx.timing.end(Kind::Neo(command), since);
            }
        }
        Ok(())
    }

    /// Hands a request to its handler, when the record that it is about does not change hands.
    fn execute(
        &mut self,
        cx: &mut Context,
        id: RequestId,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<NeoStream>, CloseReason> {
        if let Some((channel, key)) = record_of(request) {
            cx.sample(channel, key);
            if cx.wait_if_frozen(key) {
                self.tell_range_news(cx, out);
            }
        }
        handle(cx, id, request, out)
    }

    fn control(
        &mut self,
        cx: &mut Context,
        id: RequestId,
        control: Control,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let Some(running) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(reaction) = running.stream.control(control) else { return Ok(()) };
        reaction.write(id, out);
        if reaction.is_close() {
            return Err(CloseReason::EarlyAck(id));
        }
        if reaction.is_end() {
            self.finish(cx, id);
        } else {
            self.enqueue(id);
        }
        Ok(())
    }

    fn update(
        &mut self,
        cx: &mut Context,
        id: RequestId,
        message: &UpdateMessage<'_>,
        out: &mut Vec<u8>,
    ) {
        if let Some(Running { stream: NeoStream::Update(wait), .. }) = self.streams.get(&id)
            && cx.wait_if_frozen(wait.key())
        {
            self.tell_range_news(cx, out);
        }
        if let Some(Running { stream: NeoStream::Update(wait), .. }) = self.streams.get_mut(&id) {
            wait.message(cx, id, message, out);
            self.finish(cx, id);
        }
    }

    /// The request is over: its id means nothing any more.
    fn finish(&mut self, cx: &mut Context, id: RequestId) {
        self.server.finish(id);
        self.forget(cx, id);
    }

    fn forget(&mut self, cx: &mut Context, id: RequestId) {
        if let Some(running) = self.streams.remove(&id) {
            let command = running.stream.command();
            end(cx, command, None, running.began);
            if !Kind::Neo(command).is_open_ended() {
                cx.timing.end(Kind::Neo(command), running.since);
            }
        }
    }

    /// Gives each stream that can go on one step, while the output has room.
    fn step_streams(&mut self, cx: &mut Context, out: &mut Vec<u8>) {
        for _ in 0..self.runnable.len() {
            if out.len() >= OUTPUT_BYTES_HIGH {
                return;
            }
            let Some(id) = self.runnable.pop_front() else { return };
            let Some(running) = self.streams.get_mut(&id) else { continue };
            running.queued = false;
            match running.stream.step(cx, id, out) {
                Step::Idle => {}
                Step::More => self.enqueue(id),
                Step::Done => self.finish(cx, id),
            }
        }
    }

    /// The output has no room: the streams that were woken take what would pile up elsewhere.
    pub(crate) fn gather(&mut self, cx: &Context) {
        for id in &self.runnable {
            if let Some(running) = self.streams.get_mut(id) {
                running.stream.gather(cx);
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn close(&mut self, counters: &Counters) {
        for running in self.streams.drain().map(|(_, running)| running) {
            counters.neo(running.stream.command()).end();
        }
    }
}

/// Counts a request that is over.
fn end(cx: &mut Context, command: Command, record: Option<(&str, Key)>, began: Option<Instant>) {
    let counters = cx.counters.neo(command);
    let Some(began) = began else { return counters.end() };
    let took = (cx.clock)().saturating_duration_since(began);
    counters.end_after(took);
    let record = record.map(|(channel, key)| (channel, Some(key)));
    cx.timing.slow.note(Kind::Neo(command), record, took);
}
