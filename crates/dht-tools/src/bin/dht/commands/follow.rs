//! What all nodes tell at once: a thread for each waits for its news, and they meet in one bounded
//! queue, whose other end prints. A slow reader of the output thus slows the nodes' senders, and
//! nothing piles up here.

use std::{
    io::Write as _,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
};

use dht_client::Error;

use crate::{
    Output,
    failure::{Failure, say},
};

/// News that wait to be printed.
const QUEUE_MAX: usize = 1024;

/// Where a node's thread puts its news. An error: whoever prints has had enough.
pub(super) type NewsTx<T> = SyncSender<Result<T, Error>>;

/// The news of all nodes.
pub(super) struct News<T> {
    news_rx: Receiver<Result<T, Error>>,
    failed: Vec<Error>,
}

impl<T: Send + 'static> News<T> {
    /// Starts a thread for each node, in which `tell` passes on what it tells.
    pub(super) fn of_all<N: Send + 'static>(
        nodes: Vec<N>,
        tell: impl Fn(N, &NewsTx<T>) -> Result<(), Error> + Clone + Send + 'static,
    ) -> Self {
        let (news_tx, news_rx) = sync_channel(QUEUE_MAX);
        for node in nodes {
            let (news_tx, tell) = (news_tx.clone(), tell.clone());
            // Not joined: a node that says nothing more must not keep the program from ending.
            std::thread::spawn(move || {
                if let Err(error) = tell(node, &news_tx) {
                    // If nobody is there any more, nobody needs to know.
                    let _ = news_tx.send(Err(error));
                }
            });
        }
        Self { news_rx, failed: Vec::new() }
    }

    /// The next news; `None` once every node has come to an end. Failures of nodes are told on
    /// standard error, while the others go on. Before it waits it flushes, so that a reader sees
    /// everything at once.
    pub(super) fn next(&mut self, out: &mut Output) -> Result<Option<T>, Failure> {
        loop {
            let item = match self.news_rx.try_recv() {
                Ok(item) => Some(item),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => {
                    out.flush()?;
                    self.news_rx.recv().ok()
                }
            };
            match item {
                None => return Ok(None),
                Some(Ok(news)) => return Ok(Some(news)),
                Some(Err(error)) => {
                    say(&format!("dht: {error}"));
                    self.failed.push(error);
                }
            }
        }
    }

    /// Fails if any node did.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.failed.is_empty() { Ok(()) } else { Err(Failure::several(self.failed)) }
    }
}
