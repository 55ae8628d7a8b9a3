//! A range in even parts, and in weighted ones. Source: spec `tools` 2.3.

use dht_types::HashRange;

/// `range` in `count` parts, as even as the original makes them.
///
/// # Panics
///
/// If the range is empty or has fewer than two positions for each part, or `count` is 0.
pub(crate) fn even(count: u64, range: HashRange) -> Vec<HashRange> {
    let (min, max) = (range.min(), range.max());
    // In a range so narrow that the original would run over its end, the last part is the largest.
    let is_narrow = (max - min) / count < 2 * count;
    let width = (max - min) / count - u64::from(is_narrow);
    // Compat: the remainder of the upper limit, not of the width; it only decides which parts are
    // larger by one. The original adds up fractions; this is the same in whole numbers.
    let remainder = if is_narrow { 0 } else { max % count };
    let (mut start, mut sum, mut parts) = (min, 0_u128, Vec::new());
    for _ in 1..count {
        sum += u128::from(remainder);
        let carry = u64::from(sum >= u128::from(count));
        sum -= u128::from(carry) * u128::from(count);
        let end = start + width + carry;
        parts.push(part(start, end));
        start = end + 1;
    }
    parts.push(part(start, max));
    parts
}

fn part(min: u64, max: u64) -> HashRange {
    HashRange::new(min, max).expect("a part has at least one position")
}

/// The whole hash space in parts as large as their weights; a weight of 0 gets the empty range.
/// `None` if all weights are 0. Equal weights give the parts of [`even`].
pub(crate) fn weighted(weights: &[f64]) -> Option<Vec<HashRange>> {
    let with_share: Vec<f64> = weights.iter().copied().filter(|weight| *weight > 0.0).collect();
    let first = *with_share.first()?;
    let parts = if with_share.iter().all(|weight| (weight - first).abs() < f64::EPSILON) {
        even(with_share.len() as u64, HashRange::FULL)
    } else {
        uneven(&with_share)
    };
    let mut parts = parts.into_iter();
    let of = |weight: &f64| if *weight > 0.0 { parts.next() } else { Some(HashRange::EMPTY) };
    weights.iter().map(of).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps within the limits of the type"
)]
fn uneven(weights: &[f64]) -> Vec<HashRange> {
    let sum: f64 = weights.iter().sum();
    let (mut start, mut before, mut parts) = (0_u64, 0.0, Vec::new());
    for (at, weight) in weights.iter().enumerate() {
        before += weight;
        let left = (weights.len() - 1 - at) as u64;
        let end = ((before / sum) * u64::MAX as f64) as u64;
        // Each has one position at least.
        let end = if left == 0 { u64::MAX } else { end.clamp(start, u64::MAX - left) };
        parts.push(part(start, end));
        start = end.saturating_add(1);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(parts: &[HashRange]) -> Vec<(u64, u64)> {
        parts.iter().map(|part| (part.min(), part.max())).collect()
    }

    fn assert_covers(parts: &[HashRange], range: HashRange) {
        assert_eq!(parts[0].min(), range.min());
        assert_eq!(parts.last().expect("not empty").max(), range.max());
        for pair in parts.windows(2) {
            assert_eq!(pair[0].max() + 1, pair[1].min());
        }
    }

    #[test]
    fn the_examples_of_the_specification() {
        let max = u64::MAX;
        assert_eq!(limits(&even(1, HashRange::FULL)), [(0, max)]);
        assert_eq!(limits(&even(2, HashRange::FULL)), [(0, max >> 1), (1 << 63, max)]);
        assert_eq!(
            limits(&even(3, HashRange::FULL)),
            [
                (0, 0x5555_5555_5555_5555),
                (0x5555_5555_5555_5556, 0xaaaa_aaaa_aaaa_aaab),
                (0xaaaa_aaaa_aaaa_aaac, max),
            ]
        );
    }

    #[test]
    fn parts_cover_the_range_without_gap_or_overlap() {
        for (min, max) in [(0, u64::MAX), (0, 1 << 40), (1 << 63, u64::MAX), (12_345, 99_999)] {
            let range = part(min, max);
            for count in 1..=1000 {
                let parts = even(count, range);
                assert_eq!(parts.len() as u64, count);
                assert_covers(&parts, range);
            }
        }
    }

    #[test]
    fn weights_decide_the_size_and_zero_gets_nothing() {
        assert_eq!(weighted(&[1.0; 3]), Some(even(3, HashRange::FULL)));
        assert_eq!(weighted(&[0.0, 0.0]), None);
        let parts = weighted(&[1.0, 0.0, 3.0]).expect("some have a share");
        assert_eq!(parts[1], HashRange::EMPTY);
        assert_covers(&[parts[0], parts[2]], HashRange::FULL);
        let quarter = parts[0].max() as f64 / u64::MAX as f64;
        assert!((quarter - 0.25).abs() < 1e-9, "{quarter}");
        let extreme = weighted(&[1e-300, 1e300, 1e-300]).expect("some have a share");
        assert_covers(&extreme, HashRange::FULL);
    }
}
