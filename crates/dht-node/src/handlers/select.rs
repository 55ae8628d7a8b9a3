//! Which records of a scan are wanted, and what of them.

use dht_protocol::legacy::batch::BatchWriter;
use dht_protocol::neo::batch::GetAllBatch;
use dht_types::Key;
use memchr::memmem::Finder;

/// What a scan is asked for.
#[derive(Debug)]
pub(super) struct Select {
    /// Bytes that a value must contain.
    filter: Option<Finder<'static>>,
    keys_only: bool,
}

/// A batch that takes records until it is full.
pub(super) trait Batch {
    /// Adds a record. `false`: it has to go into the next batch.
    fn add(&mut self, key: Key, value: &[u8]) -> bool;
    /// Adds a key alone. `false`: it has to go into the next batch.
    fn add_key(&mut self, key: Key) -> bool;
}

impl Batch for BatchWriter {
    fn add(&mut self, key: Key, value: &[u8]) -> bool {
        Self::add(self, key, value)
    }

    fn add_key(&mut self, key: Key) -> bool {
        Self::add_key(self, key)
    }
}

impl Batch for GetAllBatch {
    fn add(&mut self, key: Key, value: &[u8]) -> bool {
        Self::add(self, key, value)
    }

    fn add_key(&mut self, key: Key) -> bool {
        Self::add_key(self, key)
    }
}

impl Select {
    /// An empty filter lets every record pass.
    pub(super) fn new(filter: &[u8], keys_only: bool) -> Self {
        let filter = (!filter.is_empty()).then(|| Finder::new(filter).into_owned());
        Self { filter, keys_only }
    }

    /// Whether a record is wanted.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.find(value).is_some())
    }

    /// Adds a record that is wanted; `false` if it did not fit.
    pub(super) fn add(&self, batch: &mut impl Batch, key: Key, value: &[u8]) -> bool {
        if self.keys_only { batch.add_key(key) } else { batch.add(key, value) }
    }
}
