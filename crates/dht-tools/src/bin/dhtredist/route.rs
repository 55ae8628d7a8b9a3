//! The single moves that lead from the ranges of now to those that are wanted.
//!
//! A node has one range, so a part can leave at an end of its owner's range only, and go to a node
//! that it joins, or that has none. As long as the order of the nodes stays, there is always a move
//! that is possible: the last part that has to go up, or the first that has to go down.

use dht_types::HashRange;

/// A part that goes from one node to another, by their places in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) part: HashRange,
    pub(crate) giver: usize,
    pub(crate) taker: usize,
}

/// The steps that are possible now and need no node twice; empty if nothing has to move.
///
/// `Err`: something has to move, but nothing can.
pub(crate) fn next_steps(
    current: &[HashRange],
    target: &[HashRange],
) -> Result<Vec<Step>, &'static str> {
    let wanted = wanted(current, target);
    let mut steps: Vec<Step> = Vec::new();
    for step in &wanted {
        let is_free = |node| steps.iter().all(|other| other.giver != node && other.taker != node);
        if is_free(step.giver)
            && is_free(step.taker)
            && without(current[step.giver], step.part).is_some()
            && joined(current[step.taker], step.part).is_some()
        {
            steps.push(*step);
        }
    }
    if steps.is_empty() && !wanted.is_empty() {
        return Err(
            "the plan would need a node with two ranges on the way, as the order of the nodes \
             changes; divide it into several, by --move to an empty node",
        );
    }
    Ok(steps)
}

/// All steps, in an order that works.
pub(crate) fn route(
    current: &[HashRange],
    target: &[HashRange],
) -> Result<Vec<Step>, &'static str> {
    let (mut current, mut route) = (current.to_vec(), Vec::new());
    loop {
        let steps = next_steps(&current, target)?;
        if steps.is_empty() {
            return Ok(route);
        }
        for step in steps {
            let Step { part, giver, taker } = step;
            current[giver] = without(current[giver], part).expect("it was looked at");
            current[taker] = joined(current[taker], part).expect("it was looked at");
            route.push(step);
        }
    }
}

/// Every part that is in the wrong place.
fn wanted(current: &[HashRange], target: &[HashRange]) -> Vec<Step> {
    let mut wanted = Vec::new();
    for (giver, has) in current.iter().enumerate() {
        for (taker, wants) in target.iter().enumerate() {
            if giver != taker
                && let Some(part) = intersection(*has, *wants)
            {
                wanted.push(Step { part, giver, taker });
            }
        }
    }
    wanted
}

/// What is in both.
pub(crate) fn intersection(a: HashRange, b: HashRange) -> Option<HashRange> {
    if !a.overlaps(b) {
        return None;
    }
    HashRange::new(a.min().max(b.min()), a.max().min(b.max())).ok()
}

/// What is left of a range without a part at one of its ends.
fn without(range: HashRange, part: HashRange) -> Option<HashRange> {
    match (part.min() == range.min(), part.max() == range.max()) {
        (true, true) => Some(HashRange::EMPTY),
        (true, false) => HashRange::new(part.max() + 1, range.max()).ok(),
        (false, true) => HashRange::new(range.min(), part.min() - 1).ok(),
        (false, false) => None,
    }
}

/// A range and a part side by side.
fn joined(range: HashRange, part: HashRange) -> Option<HashRange> {
    if range.is_empty() {
        Some(part)
    } else if range.max().checked_add(1) == Some(part.min()) {
        HashRange::new(range.min(), part.max()).ok()
    } else if part.max().checked_add(1) == Some(range.min()) {
        HashRange::new(part.min(), range.max()).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;
    use crate::division::{even, weighted};

    /// Follows a route, and checks that the space is covered at each step.
    fn follow(current: &[HashRange], target: &[HashRange]) -> usize {
        let route = route(current, target).expect("there is a way");
        let mut ranges = current.to_vec();
        for Step { part, giver, taker } in &route {
            ranges[*giver] = without(ranges[*giver], *part).expect("possible");
            ranges[*taker] = joined(ranges[*taker], *part).expect("possible");
            let mut sorted = ranges.clone();
            sorted.retain(|range| !range.is_empty());
            sorted.sort_by_key(|range| range.min());
            assert_eq!(sorted[0].min(), 0);
            assert_eq!(sorted.last().expect("not empty").max(), u64::MAX);
            assert!(sorted.windows(2).all(|pair| pair[0].max() + 1 == pair[1].min()));
        }
        assert_eq!(ranges, target);
        route.len()
    }

    fn filled(mut ranges: Vec<HashRange>, count: usize) -> Vec<HashRange> {
        ranges.resize(count, HashRange::EMPTY);
        ranges
    }

    #[test]
    fn three_become_five_become_two() {
        let three = filled(even(3, HashRange::FULL), 5);
        let five = even(5, HashRange::FULL);
        assert_eq!(follow(&three, &five), 5);
        let two = weighted(&[0.0, 1.0, 0.0, 1.0, 0.0]).expect("two are left");
        follow(&five, &two);
        assert_eq!(follow(&five, &five), 0);
    }

    #[test]
    fn any_weights_can_be_reached_from_any_others() {
        for_seeds(300, |rng| {
            let count = rng.within(1..12);
            let mut weights = || -> Vec<HashRange> {
                loop {
                    let weights: Vec<f64> = (0..count).map(|_| rng.below(4) as f64 / 2.0).collect();
                    if let Some(ranges) = weighted(&weights) {
                        return ranges;
                    }
                }
            };
            let (from, to) = (weights(), weights());
            follow(&from, &to);
        });
    }

    #[test]
    fn nodes_that_change_places_need_another_plan() {
        let thirds = even(3, HashRange::FULL);
        assert!(route(&thirds, &[thirds[2], thirds[1], thirds[0]]).is_err());
        let halves = even(2, HashRange::FULL);
        assert_eq!(follow(&halves, &[halves[1], halves[0]]), 2);
        let moved = [HashRange::EMPTY, halves[1], halves[0]];
        follow(&[halves[0], halves[1], HashRange::EMPTY], &moved);
    }

    #[test]
    fn steps_at_one_time_have_no_node_in_common() {
        let four = [even(2, HashRange::FULL), vec![HashRange::EMPTY; 2]].concat();
        let quarters = even(4, HashRange::FULL);
        let target = [quarters[0], quarters[2], quarters[1], quarters[3]];
        let steps = next_steps(&four, &target).expect("possible");
        assert_eq!(steps.len(), 2, "{steps:?}");
    }
}
