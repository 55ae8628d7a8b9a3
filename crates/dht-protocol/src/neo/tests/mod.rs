//! Both machines against each other, against the rules, and against the bytes of the original.

mod captures;
mod client_rules;
mod node;
mod pair;
mod server_rules;

use super::RequestId;

fn id(id: u64) -> RequestId {
    RequestId::new(id).expect("not 0")
}
