//! What a writer knows about its keys: what they must hold, or may hold if a write was cut off.

use std::collections::HashMap;

use crate::Fault;
use crate::soak::Soak;
use crate::universe::{ABSENT, Version};

/// The keys of one writer: those whose index leaves `number` when divided by `writers`. Nobody
/// else writes them, and it has one write of each under way at most.
#[derive(Debug)]
pub(crate) struct Oracle {
    number: usize,
    writers: usize,
    /// By index / writers: what the last acknowledged write left.
    settled: Vec<Version>,
    /// What writes that were cut off may have left, at any later time.
    cut_off: HashMap<usize, Vec<Version>>,
    last_version: Version,
}

impl Oracle {
    pub(crate) fn new(number: usize, writers: usize, keys: usize) -> Self {
        let settled = vec![ABSENT; keys.div_ceil(writers)];
        Self { number, writers, settled, cut_off: HashMap::new(), last_version: ABSENT }
    }

    /// The indices of its keys below `keys`.
    pub(crate) fn indices(&self, keys: usize) -> impl ExactSizeIterator<Item = usize> + use<> {
        (self.number..keys).step_by(self.writers)
    }

    /// The `nth` of them, from 0 on.
    pub(crate) const fn nth(&self, nth: usize) -> usize {
        self.number + nth * self.writers
    }

    pub(crate) const fn is_mine(&self, index: usize) -> bool {
        index % self.writers == self.number
    }

    /// For the next write.
    pub(crate) const fn next_version(&mut self) -> Version {
        self.last_version += 1;
        self.last_version
    }

    /// What the last acknowledged write left.
    pub(crate) fn settled(&self, index: usize) -> Version {
        self.settled[index / self.writers]
    }

    /// A write was acknowledged.
    pub(crate) fn settle(&mut self, index: usize, version: Version) {
        self.settled[index / self.writers] = version;
    }

    /// The connection was dropped while this write was under way.
    pub(crate) fn cut_off(&mut self, soak: &Soak, index: usize, version: Version) {
        soak.doubt(index);
        self.cut_off.entry(index).or_default().push(version);
    }

    /// Whether a record may be in this state.
    pub(crate) fn allows(&self, index: usize, version: Version) -> bool {
        let cut_off = || self.cut_off.get(&index).is_some_and(|all| all.contains(&version));
        self.settled(index) == version || cut_off()
    }

    /// Whether one of its writes was cut off.
    pub(crate) fn is_doubtful(&self, index: usize) -> bool {
        self.cut_off.contains_key(&index)
    }

    /// An error unless a record may be in this state.
    pub(crate) fn check(&self, index: usize, version: Version) -> Result<(), Fault> {
        if self.allows(index, version) {
            return Ok(());
        }
        let settled = self.settled(index);
        Err(format!("key {index}: the node has version {version}, {settled} was acknowledged")
            .into())
    }
}
