//! What a client counts: requests by name, how they ended, and how long they took.
//!
//! Source: spec `client` B.6. (The original leaves Remove and Update out.)

use std::{fmt::Write as _, time::Duration};

/// Upper edges of the time buckets, in microseconds; the last bucket is above them all. They are
/// those of a node's stats line, so that both can be compared.
pub const BUCKET_EDGES_MICROS: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];

/// How a request came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The node said how.
    Answered,
    /// The connection was lost after it was sent, so that nobody knows.
    Lost,
    /// The connection was lost before it was sent.
    NotSent,
    /// No answer came in time.
    TimedOut,
    /// The application dropped it.
    Dropped,
}

/// The counts of one kind of request, over all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Handed to a connection.
    pub started: u64,
    /// Ended by an answer of the node, whatever it was.
    pub answered: u64,
    /// The connection was lost when it may have been sent already.
    pub lost: u64,
    /// The connection was lost before anything of it was sent.
    pub not_sent: u64,
    /// No answer came in time.
    pub timed_out: u64,
    /// Dropped by the application before its end.
    pub dropped: u64,
    /// Time from the start to the answer, of all that were answered together, in microseconds.
    pub total_micros: u64,
    /// How many of those took up to each of [`BUCKET_EDGES_MICROS`]; the last: longer than all.
    pub buckets: [u64; BUCKET_EDGES_MICROS.len() + 1],
}

impl RequestCounts {
    /// Requests that run now.
    #[must_use]
    pub const fn active(&self) -> u64 {
        let ended = self.answered + self.lost + self.not_sent + self.timed_out + self.dropped;
        self.started.saturating_sub(ended)
    }

    pub(crate) fn end(&mut self, end: End, took: Duration) {
        match end {
            End::Answered => {
                self.answered += 1;
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.total_micros = self.total_micros.saturating_add(micros);
                self.buckets[BUCKET_EDGES_MICROS.partition_point(|edge| *edge < micros)] += 1;
            }
            End::Lost => self.lost += 1,
            End::NotSent => self.not_sent += 1,
            End::TimedOut => self.timed_out += 1,
            End::Dropped => self.dropped += 1,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.answered += other.answered;
        self.lost += other.lost;
        self.not_sent += other.not_sent;
        self.timed_out += other.timed_out;
        self.dropped += other.dropped;
        self.total_micros = self.total_micros.saturating_add(other.total_micros);
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
    }
}

/// A reading of a client's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The counts of every request that was ever started, by name as the nodes' stats spell it.
    pub requests: Vec<(&'static str, RequestCounts)>,
    /// Nodes that are known, those that others told of included.
    pub nodes: usize,
    /// Nodes that are connected now.
    pub nodes_connected: usize,
    /// Nodes whose hash range is known.
    pub nodes_with_range: usize,
    /// Bytes sent over all connections.
    pub bytes_sent: u64,
    /// Bytes received over all connections.
    pub bytes_received: u64,
    /// Connections that came about, over all nodes.
    pub connects: u64,
}

impl Stats {
    /// The counts of one request; zeros if there was none.
    #[must_use]
    pub fn request(&self, name: &str) -> RequestCounts {
        let found = self.requests.iter().find(|(other, _)| *other == name);
        found.map_or_else(RequestCounts::default, |(_, counts)| counts.clone())
    }

    /// Requests that run now.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.requests.iter().map(|(_, counts)| counts.active()).sum()
    }

    /// A line as the original's client adds to a stats log: `request/NAME/count` and
    /// `request/NAME/total_time_micros` for each request.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = String::new();
        for (name, counts) in &self.requests {
            let separator = if line.is_empty() { "" } else { " " };
            let (count, micros) = (counts.answered, counts.total_micros);
            write!(
                line,
                "{separator}request/{name}/count:{count} request/{name}/total_time_micros:{micros}"
            )
            .expect("a String takes anything");
        }
        line
    }

    /// Adds the counts of another node.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, counts) in &other.requests {
            self.add_request(name, counts);
        }
        self.nodes += other.nodes;
        self.nodes_connected += other.nodes_connected;
        self.nodes_with_range += other.nodes_with_range;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connects += other.connects;
    }

    /// Adds the counts of another connection.
    pub(crate) fn add_request(&mut self, name: &'static str, counts: &RequestCounts) {
        match self.requests.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => sum.add(counts),
            None => self.requests.push((name, counts.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_counted_once_and_the_line_is_the_originals() {
        let mut counts = RequestCounts { started: 6, ..RequestCounts::default() };
        counts.end(End::Answered, Duration::from_micros(10));
        counts.end(End::Answered, Duration::from_micros(11));
        for end in [End::Lost, End::NotSent, End::TimedOut, End::Dropped] {
            assert!(counts.active() > 0);
            counts.end(end, Duration::ZERO);
        }
        assert_eq!(counts.active(), 0);
        assert_eq!(counts.buckets[..3], [1, 1, 0]);
        let mut stats = Stats::default();
        stats.add_request("Get", &counts);
        stats.add_request("Get", &counts);
        assert_eq!(stats.request("Get").answered, 4);
        assert_eq!(stats.request("Put"), RequestCounts::default());
        assert_eq!(stats.line(), "request/Get/count:4 request/Get/total_time_micros:42");
    }
}
