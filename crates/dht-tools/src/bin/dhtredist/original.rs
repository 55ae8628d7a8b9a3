//! Redistribute, of the original: to all nodes at once. Each sets its range and then moves; what
//! goes wrong is tried again every two seconds, without end. Source: spec `tools` 2.2.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dht_client::Error;
use dht_client::blocking::Timeouts;
use dht_client::blocking::legacy::Connection;
use dht_protocol::legacy::requests::{Redistribute, Taker};
use dht_types::HashRange;

use crate::console::Console;
use crate::nodes::Node;

/// Pause before a request is made again.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// Who gets what a node has: the others whose new range overlaps its old one.
pub(crate) fn takers(at: usize, nodes: &[Node], targets: &[HashRange]) -> Vec<usize> {
    let others = (0..nodes.len()).filter(|other| *other != at);
    others.filter(|other| targets[*other].overlaps(nodes[at].range)).collect()
}

/// Sends all requests, and waits until all nodes have done what they are told.
pub(crate) fn run(nodes: &[Node], targets: &[HashRange], console: &mut Console) {
    let (results_tx, results) = mpsc::channel();
    thread::scope(|scope| {
        for at in 0..nodes.len() {
            let results_tx = results_tx.clone();
            scope.spawn(move || ask(at, nodes, targets, &results_tx));
        }
        drop(results_tx);
        let mut finished = 0;
        while let Ok((at, result)) = results.recv() {
            match result {
                Ok(()) => {
                    finished += 1;
                    let percent = f64::from(finished) * 100.0 / nodes.len() as f64;
                    let node = &nodes[at].address;
                    console.green(format_args!("{node} finished. {percent:.2}% of nodes done."));
                }
                Err(error) => {
                    console.red(format_args!("Error performing Redistribute: {error}"));
                }
            }
        }
    });
}

type Results = mpsc::Sender<(usize, Result<(), Error>)>;

/// Asks one node until it has done it.
fn ask(at: usize, nodes: &[Node], targets: &[HashRange], results: &Results) {
    let list: Vec<Taker> = takers(at, nodes, targets)
        .into_iter()
        .map(|other| {
            let socket = nodes[other].socket;
            Taker { address: socket.ip().to_string(), port: socket.port(), range: targets[other] }
        })
        .collect();
    let (min, max) = (targets[at].min(), targets[at].max());
    // The answer comes when all has moved, which may take hours.
    let timeouts = Timeouts { io: None, ..Timeouts::default() };
    let mut connection = Connection::new(nodes[at].address.clone(), timeouts);
    loop {
        let result = connection.call(&Redistribute { min, max, takers: &list });
        let is_done = result.is_ok();
        if results.send((at, result)).is_err() || is_done {
            return;
        }
        thread::sleep(RETRY);
    }
}
