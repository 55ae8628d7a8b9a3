//! The asynchronous client against real nodes, and against peers that play a script.

mod failures;
mod helpers;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/neo/peer.rs"]
mod peer;
mod records;
mod robustness;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/script.rs"]
mod script;
mod streams;
