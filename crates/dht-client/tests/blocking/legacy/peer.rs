//! What the tests of the legacy client need beside the script.

use dht_client::blocking::legacy::Connection;
use dht_testkit::from_hex;

pub(crate) use crate::script::{Peer, Step, captured, patient};

impl Peer {
    /// A client that waits long enough for any machine.
    pub(crate) fn connect(&self) -> Connection {
        Connection::connect(self.node.clone(), patient()).expect("the peer listens")
    }
}

/// Expects a request, given as hex, and answers with hex.
pub(crate) fn exchange(request: &str, answer: &str) -> [Step; 2] {
    [Step::Expect(from_hex(request)), Step::Answer(from_hex(answer), usize::MAX)]
}
