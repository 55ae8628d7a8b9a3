//! The legacy protocol of real `dhtnode` processes, as a client sees it: bytes over a socket.
//!
//! ```text
//! support        a node for a test, and what its answers mean
//! statuses       every request, every status, in the order of the checks
//! limits         arrays and values at their limits, sizes that are reported
//! closing        what closes a connection, and what is still answered before; bytes in pieces
//! put_batch      PutBatch, record by record; batches that are none
//! scans          GetAll, GetAllKeys, GetAllFilter
//! listen         Listen
//! captures       conversations with the original node, replayed
//! dumps          dump files from start to end of a node
//! damage         dump files that are damaged, disks that fail
//! model          random requests against a `BTreeMap`
//! churn          scans while others write
//! ```

mod captures;
mod churn;
mod closing;
mod damage;
mod dumps;
mod limits;
mod listen;
mod model;
mod put_batch;
mod scans;
mod statuses;
mod support;
