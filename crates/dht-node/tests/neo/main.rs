//! The neo protocol of real `dhtnode` processes, as a client sees it: bytes over a socket.
//!
//! ```text
//! support        a node for a test, clients that speak by hand
//! auth           the greeting, and who is let in
//! framing        messages, ids, codes, lengths
//! statuses       every status of every request about a record or a channel
//! updates        Update, step by step
//! get_all        GetAll
//! control        control messages of GetAll and Mirror, in every state
//! mirror         Mirror: changes
//! mirror_refresh Mirror: all records, at the start, periodically, and when changes were lost
//! mirror_removed Mirror of a channel that is removed
//! puts_together  Puts of one channel that come together
//! bounds         clients that ask for much and read little
//! interleaved    requests of all kinds at once, against a `BTreeMap`
//! both_protocols what one protocol does, seen by the other
//! captures       conversations with the original node, replayed
//! ```

mod auth;
mod both_protocols;
mod bounds;
mod captures;
mod control;
mod framing;
mod get_all;
mod interleaved;
mod mirror;
mod mirror_refresh;
mod mirror_removed;
mod puts_together;
mod statuses;
mod support;
mod updates;

use dht_testkit::neo as wire;
