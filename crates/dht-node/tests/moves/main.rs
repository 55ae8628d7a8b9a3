//! Records on their way between real `dhtnode` processes, and nodes that behave as the original's.
//!
//! ```text
//! support        nodes with a range, the requests that move records
//! redistribute   the legacy Redistribute
//! original       the same with a node of the original on the other end
//! handover       MovePart between two nodes
//! restart        what a node knows after a crash
//! doubt          a taker that says one thing and another
//! ```

mod doubt;
mod handover;
mod original;
mod redistribute;
mod restart;
mod support;
