//! Large buffers on their way from one connection to the next.
//!
//! An idle connection keeps none, and to get one from the system for every large message takes
//! longer than to read the message: each page of it is made and cleared anew.

use arrayvec::ArrayVec;

/// Buffers that are kept.
const SPARES_MAX: usize = 8;

/// Longest buffer that is kept, in bytes.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// Those of one worker.
#[derive(Debug, Default)]
pub(super) struct Spares(ArrayVec<Vec<u8>, SPARES_MAX>);

impl Spares {
    /// An empty buffer, a large one if there is one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a buffer back, whatever is in it; one too many or too large is freed.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            let _ = self.0.try_push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_what_is_kept_is_bounded() {
        let mut spares = Spares::default();
        spares.give(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        spares.give(Vec::new());
        assert_eq!(spares.0.len(), 0, "one is too large, one is none");
        for _ in 0..2 * SPARES_MAX {
            spares.give(vec![1; 100]);
        }
        assert_eq!(spares.0.len(), SPARES_MAX);
        let spare = spares.take();
        assert!(spare.is_empty() && spare.capacity() >= 100);
    }
}
