//! What safe Rust cannot say: memory of the system given back, and lines fetched ahead.
//!
//! The only module of the crate with `unsafe` in it. Its interface is safe; under Miri, and where the
//! processor has no such instruction, safe twins with the same meaning take its place.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut, Range};

/// A run of memory straight from the system. A page costs memory from its first write on.
pub(crate) struct Pages {
    #[cfg(not(miri))]
    map: memmap2::MmapMut,
    #[cfg(miri)]
    map: Box<[u8]>,
}

impl Pages {
    /// Maps `bytes` bytes of zeros; `None` if the system has no more.
    pub(crate) fn map(bytes: usize) -> Option<Self> {
        #[cfg(not(miri))]
        return memmap2::MmapMut::map_anon(bytes).ok().map(|map| Self { map });
        #[cfg(miri)]
        Some(Self { map: vec![0; bytes].into_boxed_slice() })
    }

    /// Gives the memory of `range` back. The addresses stay valid; their contents are unspecified
    /// (zeros, or what was there before).
    pub(crate) fn discard(&mut self, range: Range<usize>) {
        assert!(range.end <= self.map.len(), "a range of this mapping");
        #[cfg(all(target_os = "linux", not(miri)))]
        // SAFETY: MADV_DONTNEED makes the next read of a private anonymous page see zeros, which is
        // a valid value of every byte. `&mut self` shows that nobody has a reference into the
        // mapping, so no value changes behind one. A failure leaves everything as it was.
        let _ = unsafe {
            self.map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                range.start,
                range.len(),
            )
        };
    }
}

impl Deref for Pages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl DerefMut for Pages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

/// Asks the processor to fetch the cache line of the first byte, if there is one. Only a hint.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is part of SSE, which every x86-64 has; it reads nothing that a
        // program could see and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = bytes;
}
