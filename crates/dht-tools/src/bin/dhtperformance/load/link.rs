//! One connection: bytes in and out, and which requests are in flight.

use std::io::{self, Read as _, Write as _};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::{
    Kind, Op, Plan, Target, clock,
    codec::{Broken, Codec, Slot},
};

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) kind: Kind,
    /// From when its latency counts.
    pub(super) start: u64,
    /// When it was sent; 0 for a slot that is free.
    sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be connected again then.
    Down {
        retry_at: u64,
    },
    /// Connecting, or greeting, since then.
    Opening {
        since: u64,
    },
    Up,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    /// Number of its target.
    pub(super) target: usize,
    pub(super) state: State,
    socket: Option<TcpStream>,
    pub(super) codec: Box<dyn Codec>,
    /// The beginning of a reply whose rest is missing.
    pub(super) input: Vec<u8>,
    out: Vec<u8>,
    /// How much of `out` is sent.
    out_sent: usize,
    slots: Box<[InFlight]>,
    free: Vec<Slot>,
    /// Something was received over this connection.
    pub(super) proved: bool,
}

impl Link {
    pub(super) fn new(plan: &Plan, target: usize) -> Self {
        let pipeline = Slot::try_from(plan.pipeline).expect("checked with the options");
        let empty = InFlight { kind: Kind::Get, start: 0, sent: 0 };
        Self {
            target,
            state: State::Down { retry_at: 0 },
            socket: None,
            codec: plan.protocol.codec(&plan.channel, plan.pipeline),
            input: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            slots: vec![empty; plan.pipeline].into_boxed_slice(),
            free: (0..pipeline).rev().collect(),
            proved: false,
        }
    }

    /// How many more requests it can take.
    pub(super) fn room(&self) -> usize {
        if self.state == State::Up { self.free.len() } else { 0 }
    }

    /// Starts to connect.
    pub(super) fn open(
        &mut self,
        plan: &Plan,
        target: &Target,
        registry: &Registry,
        token: Token,
        now: u64,
    ) -> Result<(), Broken> {
        let connect = || {
            let mut socket = TcpStream::connect(target.address)?;
            registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(socket)
        };
        let socket = connect().map_err(|error: io::Error| Broken::Connect(error.kind()))?;
        self.codec = plan.protocol.codec(&plan.channel, plan.pipeline);
        (self.socket, self.state) = (Some(socket), State::Opening { since: now });
        (self.proved, self.out_sent) = (false, 0);
        self.input.clear();
        self.out.clear();
        Ok(())
    }

    /// The socket may have become writable while it was opening: is it connected? Then the greeting
    /// begins. `true`: requests may be sent.
    pub(super) fn opened(&mut self) -> Result<bool, Broken> {
        let Some(socket) = &self.socket else { return Ok(false) };
        match (socket.take_error(), socket.peer_addr()) {
            (Ok(None), Ok(_)) => {}
            (Ok(None), Err(_)) => return Ok(false),
            (Ok(Some(error)) | Err(error), _) => return Err(Broken::Connect(error.kind())),
        }
        socket.set_nodelay(true).map_err(|error| Broken::Io(error.kind()))?;
        self.greet(&mut &[][..])
    }

    /// Goes on with the greeting.
    pub(super) fn greet(&mut self, input: &mut &[u8]) -> Result<bool, Broken> {
        let accepted = self.codec.greet(input, clock::unix_s(), &mut self.out)?;
        self.flush()?;
        if accepted {
            self.state = State::Up;
        }
        Ok(accepted)
    }

    /// Takes a request. There is room.
    pub(super) fn send(&mut self, op: Op, start: u64, now: u64, value: &[u8]) {
        let slot = self.free.pop().expect("there is room");
        self.slots[slot as usize] = InFlight { kind: op.kind, start, sent: now.max(1) };
        self.codec.send(slot, op, value, &mut self.out);
    }

    /// A request has ended.
    pub(super) fn take(&mut self, slot: Slot) -> InFlight {
        let request = &mut self.slots[slot as usize];
        let ended = *request;
        request.sent = 0;
        self.free.push(slot);
        ended
    }

    /// Sends what waits, as far as the system takes it.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while self.out_sent < self.out.len() {
            match socket.write(&self.out[self.out_sent..]) {
                Ok(len) => self.out_sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error.kind())),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(())
    }

    /// Receives once. 0: nothing for now.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        loop {
            return match socket.read(buffer) {
                Ok(0) => Err(Broken::Closed),
                Ok(len) => Ok(len),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(0),
                    io::ErrorKind::Interrupted => continue,
                    kind => Err(Broken::Io(kind)),
                },
            };
        }
    }

    /// Requests that were sent before `limit` and have not ended.
    pub(super) fn overdue(&self, limit: u64) -> impl Iterator<Item = Slot> {
        let overdue = move |(_, request): &(Slot, &InFlight)| (1..limit).contains(&request.sent);
        (0..).zip(&self.slots).filter(overdue).map(|(slot, _)| slot)
    }

    /// Closes the connection; what was in flight is returned.
    pub(super) fn close(&mut self, retry_at: u64) -> Vec<InFlight> {
        self.socket = None;
        self.state = State::Down { retry_at };
        let flying: Vec<Slot> = self.overdue(u64::MAX).collect();
        flying.into_iter().map(|slot| self.take(slot)).collect()
    }
}
