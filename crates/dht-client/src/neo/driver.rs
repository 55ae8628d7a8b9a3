//! The task of one node: connects, sends and receives, connects again; for ever.
//!
//! One turn sends all that has been started since the last one, and handles all that has been
//! received. It waits for the socket, for output, for the next time-out, and for orders.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use dht_protocol::neo::{
    Command,
    frame::{HEADER_BYTES, Header, REPLY_BODY_BYTES_MAX},
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::{
    cluster::{Cluster, Node},
    connect::{connect, greet},
    link::Aftermath,
};
use crate::{ErrorKind, RequestName, backoff::Backoff};

/// Bytes asked of the system in one read, at least.
const READ_BYTES: usize = 256 * 1024;

/// A receive buffer that grew beyond this for one big message is given back.
const INPUT_KEPT_BYTES: usize = 4 * READ_BYTES;

/// Serves one node until the client is shut down.
pub(crate) async fn run(cluster: Arc<Cluster>, node: Arc<Node>) {
    let mut backoff = Backoff::default();
    loop {
        let connected = tokio::select! {
            connected = open(&cluster, &node) => connected,
            () = node.shut_down() => return,
        };
        let reason: ErrorKind = match connected {
            Ok(drive) => {
                let ended = tokio::select! {
                    ended = drive.run(&cluster, &node) => ended,
                    () = node.drop_connection() => ErrorKind::Closed,
                    () = node.shut_down() => ErrorKind::ShutDown,
                };
                // A node that greets and hangs up must not be greeted again without a pause.
                if node.link.close(&ended.to_string().into()) {
                    backoff.reset();
                }
                ended
            }
            Err(kind) => kind,
        };
        if matches!(reason, ErrorKind::ShutDown) {
            return;
        }
        cluster.failed(&node, None, reason);
        let wait = backoff.next();
        if !wait.is_zero() {
            tokio::select! {
                () = sleep(wait) => {}
                () = node.drop_connection() => backoff.reset(),
                () = node.shut_down() => return,
            }
        }
    }
}

/// Connects and introduces the client.
async fn open(cluster: &Cluster, node: &Node) -> Result<Drive, ErrorKind> {
    let timeout = cluster.limits.connect_timeout;
    let mut stream = connect(&node.address, timeout).await?;
    node.set_peer(stream.peer_addr().ok());
    let behind = greet(&mut stream, &cluster.credentials, timeout).await?;
    Ok(Drive::new(stream, behind))
}

/// An open connection.
struct Drive {
    stream: TcpStream,
    /// Received, from `start` on to `end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Being sent, from `sent` on.
    output: Vec<u8>,
    sent: usize,
    timer: Option<Pin<Box<Sleep>>>,
    aftermath: Aftermath,
}

impl Drive {
    fn new(stream: TcpStream, behind: Vec<u8>) -> Self {
        Self {
            stream,
            start: 0,
            end: behind.len(),
            input: behind,
            output: Vec::new(),
            sent: 0,
            timer: None,
            aftermath: Aftermath::default(),
        }
    }

    /// Serves the connection until it ends; why it did.
    async fn run(mut self, cluster: &Arc<Cluster>, node: &Arc<Node>) -> ErrorKind {
        node.link.open();
        cluster.connected(node);
        let Err(kind) = std::future::poll_fn(|cx| self.poll(cx, cluster, node)).await;
        kind
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        cluster: &Arc<Cluster>,
        node: &Arc<Node>,
    ) -> Poll<Result<std::convert::Infallible, ErrorKind>> {
        self.poll_send(cx, node)?;
        while let Poll::Ready(received) = self.poll_receive(cx) {
            received?;
            self.handle(cluster, node)?;
            // Answers may have to be sent: Acks, and whatever was waiting for this.
            self.poll_send(cx, node)?;
        }
        self.poll_timer(cx, node);
        Poll::Pending
    }

    /// Sends until nothing is left or the system takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>, node: &Node) -> Result<(), ErrorKind> {
        loop {
            if self.sent == self.output.len() {
                self.sent = 0;
                self.output.clear();
                if !node.link.take_output(&mut self.output, cx) {
                    return Ok(());
                }
            }
            match self.poll_write(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(written) => {
                    let written = written.map_err(ErrorKind::Io)?;
                    self.sent += written;
                    node.link.sent(written);
                }
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(&self.output[self.sent..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ErrorKind>> {
        self.make_room();
        loop {
            ready!(self.stream.poll_read_ready(cx)).map_err(ErrorKind::Io)?;
            match self.stream.try_read(&mut self.input[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(ErrorKind::Io(error))),
                Ok(0) => return Poll::Ready(Err(ErrorKind::Closed)),
                Ok(read) => {
                    self.end += read;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Makes the buffer as long as the message at its front needs, and a read makes sense.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.input.len() > INPUT_KEPT_BYTES {
                self.input = Vec::new();
            }
        }
        let waiting = self.end - self.start;
        let wanted = match Header::peek(&self.input[self.start..self.end], REPLY_BODY_BYTES_MAX) {
            Ok(Some(header)) => header.frame_bytes(),
            // A header that breaks the rules has been refused before.
            Ok(None) | Err(_) => HEADER_BYTES,
        };
        let wanted = wanted.max(waiting + 1).max(READ_BYTES);
        if self.start + wanted > self.input.len() && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, waiting);
        }
        if wanted > self.input.len() {
            self.input.resize(wanted, 0);
        }
    }

    fn handle(&mut self, cluster: &Arc<Cluster>, node: &Arc<Node>) -> Result<(), ErrorKind> {
        let mut input = &self.input[self.start..self.end];
        let handled = node.link.receive(&mut input, &mut self.aftermath);
        self.start = self.end - input.len();
        for news in self.aftermath.news.drain(..) {
            cluster.learn(node, news);
        }
        self.aftermath.wakers.drain(..).for_each(Waker::wake);
        if std::mem::take(&mut self.aftermath.no_ranges) {
            // It gets no requests for keys, as of the original's client; others it may know.
            let request = Some(RequestName::Neo(Command::GetHashRange));
            cluster.failed(node, request, ErrorKind::Unsupported);
        }
        handled.map_err(ErrorKind::NeoProtocol)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, node: &Node) {
        if let Some(look) = node.link.take_next_look() {
            self.set_timer(look);
        }
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            node.link.look_for_timeouts(Instant::now(), &mut self.aftermath);
            self.aftermath.wakers.drain(..).for_each(Waker::wake);
            let look = node.link.next_look();
            self.set_timer(look);
        }
    }

    fn set_timer(&mut self, at: Option<Instant>) {
        match (&mut self.timer, at) {
            (_, None) => self.timer = None,
            (Some(timer), Some(at)) => timer.as_mut().reset(at),
            (timer, Some(at)) => *timer = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }
}
