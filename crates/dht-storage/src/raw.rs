//! What safe Rust cannot say: memory of the system given back, lines fetched ahead, many tags
//! compared at once.
//!
//! The only module of the crate with `unsafe` in it. Its interface is safe; under Miri, and where
//! the processor has no such instruction, safe twins with the same meaning take its place.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut, Range};

/// `N` bytes of memory straight from the system. A page costs memory from its first write on.
pub(crate) struct Pages<const N: usize> {
    /// `N` bytes long.
    #[cfg(not(miri))]
    map: memmap2::MmapMut,
    #[cfg(miri)]
    map: Box<[u8]>,
}

impl<const N: usize> Pages<N> {
    /// Maps zeros; `None` if the system has no more.
    pub(crate) fn map() -> Option<Self> {
        #[cfg(not(miri))]
        return memmap2::MmapMut::map_anon(N).ok().map(|map| Self { map });
        #[cfg(miri)]
        Some(Self { map: vec![0; N].into_boxed_slice() })
    }

    /// Gives the memory of `range` back. The addresses stay valid; their contents are unspecified
    /// (zeros, or what was there before).
    pub(crate) fn discard(&mut self, range: Range<usize>) {
        assert!(range.end <= N, "a range of this mapping");
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

impl<const N: usize> Deref for Pages<N> {
    type Target = [u8; N];

    #[inline]
    fn deref(&self) -> &[u8; N] {
        // SAFETY: the mapping has `N` bytes from its start on (`map` asked for so many, and nothing
        // changes it), all initialised, and lives as long as `self`, which nobody may change
        // meanwhile. An array of bytes has the alignment of a byte.
        unsafe { &*self.map.as_ptr().cast() }
    }
}

impl<const N: usize> DerefMut for Pages<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as above; `&mut self` shows that nobody else has a reference into the mapping.
        unsafe { &mut *self.map.as_mut_ptr().cast() }
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

/// Index entries of a cache line.
pub(crate) const LINE: usize = 8;

/// Bit i is set if entry i has this tag, its high 32 bits. No branch depends on the entries, so the
/// processor can go on while it still waits for the line.
#[inline]
pub(crate) fn tag_mask(entries: &[[u8; 8]; LINE], tag: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return tag_mask_sse2(entries, tag);
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    tag_mask_plain(entries, tag)
}

/// [`tag_mask`], four entries at a time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn tag_mask_sse2(entries: &[[u8; 8]; LINE], tag: u32) -> u32 {
    use std::arch::x86_64::{
        _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_ps,
        _mm_set1_epi32, _mm_shuffle_ps,
    };
    let mut mask = 0;
    for (at, four) in entries.as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: SSE2 is part of x86-64; the two unaligned loads read the 32 bytes of `four`.
        let bits = unsafe {
            let low = _mm_castsi128_ps(_mm_loadu_si128(four.as_ptr().cast()));
            let high = _mm_castsi128_ps(_mm_loadu_si128(four.as_ptr().add(2).cast()));
            let tags = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(low, high));
            let equal = _mm_cmpeq_epi32(tags, _mm_set1_epi32(tag.cast_signed()));
            _mm_movemask_ps(_mm_castsi128_ps(equal))
        };
        mask |= bits.cast_unsigned() << (4 * at);
    }
    mask
}

/// [`tag_mask`] in safe Rust.
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
fn tag_mask_plain(entries: &[[u8; 8]; LINE], tag: u32) -> u32 {
    let is_equal = |entry: &[u8; 8]| u64::from_le_bytes(*entry) >> 32 == u64::from(tag);
    entries.iter().rev().fold(0, |mask, entry| mask << 1 | u32::from(is_equal(entry)))
}

#[cfg(test)]
mod tests {
    use dht_testkit::Rng;

    use super::*;

    #[test]
    fn comparing_many_tags_is_comparing_each() {
        let mut rng = Rng::new(1);
        for _ in 0..1000 {
            // Few tags, so that many are equal; low halves that could be taken for tags.
            let entries = [(); LINE].map(|()| (rng.below(3) << 32 | rng.below(3)).to_le_bytes());
            for tag in 0..3 {
                assert_eq!(tag_mask(&entries, tag), tag_mask_plain(&entries, tag));
            }
        }
    }
}
