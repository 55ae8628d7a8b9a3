//! Real nodes within a test program, for those who write applications of the hash table.
//!
//! ```
//! use dht_test::TestNode;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let node = TestNode::start();
//! let client = node.client().await;
//!
//! // The application under test is given `client`, or `node.neo_address()`, or the nodes files.
//! client.channel("fruits")?.put(1, "apple").await?;
//! assert_eq!(node.get("fruits", 1).as_deref(), Some(&b"apple"[..]));
//!
//! // What it does when its node is lost:
//! node.lose();
//! assert!(client.channel("fruits")?.get(1).await.is_err());
//! node.come_back();
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! A [`TestNode`] is the node itself, not an imitation: it runs in threads of this process, listens
//! on free ports of 127.0.0.1, speaks both protocols, and keeps its dumps in a folder that vanishes
//! with it. Any number of them can run at once; a [`TestCluster`] has several that share the hash
//! space.
//!
//! The helpers that look into a node or change it ask it over a connection of their own. They panic
//! with a message that says why if it cannot be asked: a test has no better way to go on.

#![deny(missing_docs)]

mod cluster;
mod node;

pub use cluster::TestCluster;
pub use node::{ExpectError, TestNode};
