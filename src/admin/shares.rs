//! Which slots go from which primary to which other, for `reshard` and `rebalance`. Pure.
//!
//! The numbers are redis-cli's, with floats of 32 bits and rounding as there, so that the same cluster gets the same plan from
//! either.

use crate::base::hex::HexId;
use crate::base::slot::{SLOTS_COUNT, Slot};

/// A primary with what it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub id: HexId,
    /// Ascending.
    pub slots: Vec<Slot>,
}

/// A slot on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub slot: Slot,
    pub from: HexId,
    pub to: HexId,
}

/// Takes so many slots from these primaries, of each in proportion to what it has: its first ones. Fewer when they have fewer.
pub fn reshard(sources: &[Share], to: HexId, count: usize) -> Vec<Move> {
    let total: usize = sources.iter().map(|source| source.slots.len()).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut sorted: Vec<&Share> = sources.iter().collect();
    sorted.sort_by_key(|source| std::cmp::Reverse(source.slots.len()));
    let mut moves = Vec::new();
    for (place, source) in sorted.iter().enumerate() {
        let part = count as f32 / total as f32 * source.slots.len() as f32;
        let part = if place == 0 { part.ceil() } else { part.floor() };
        let left = count - moves.len();
        let slots = source.slots.iter().take((part as usize).min(left));
        moves.extend(slots.map(|slot| Move { slot: *slot, from: source.id, to }));
    }
    moves
}

/// A primary with its weight; those with weight 0 are to give everything away.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    pub share: Share,
    pub weight: f32,
}

/// Evens out what primaries serve, in proportion to their weights. `None` when each is within `threshold_percent` of its part.
pub fn rebalance(primaries: &[Weighted], threshold_percent: f32) -> Option<Vec<Move>> {
    let total_weight: f32 = primaries.iter().map(|primary| primary.weight).sum();
    if total_weight <= 0.0 {
        return None;
    }
    let mut is_needed = false;
    let mut balances: Vec<i64> = Vec::with_capacity(primaries.len());
    for primary in primaries {
        let expected = (SLOTS_COUNT as f32 / total_weight * primary.weight) as i64;
        let has = primary.share.slots.len() as i64;
        is_needed |= match has {
            _ if threshold_percent <= 0.0 => has != expected,
            0 => expected > 1,
            has => (100.0 - 100.0 * expected as f64 / has as f64).abs() > f64::from(threshold_percent),
        };
        balances.push(has - expected);
    }
    if !is_needed {
        return None;
    }
    // What rounding has left over goes to those that get slots anyway.
    let mut left: i64 = balances.iter().sum();
    while left > 0 {
        let takers = balances.iter().filter(|balance| **balance <= 0).count();
        for balance in balances.iter_mut().filter(|balance| takers == 0 || **balance <= 0) {
            if left > 0 {
                *balance -= 1;
                left -= 1;
            }
        }
    }
    Some(pair_up(primaries, &balances))
}

/// Lets those with the most to give serve those that lack the most.
fn pair_up(primaries: &[Weighted], balances: &[i64]) -> Vec<Move> {
    let mut order: Vec<usize> = (0..primaries.len()).collect();
    order.sort_by_key(|place| balances[*place]);
    let mut balances = balances.to_vec();
    let mut given = vec![0usize; primaries.len()];
    let (mut taker, mut giver) = (0, order.len().saturating_sub(1));
    let mut moves = Vec::new();
    while taker < giver {
        let (to, from) = (order[taker], order[giver]);
        let count = balances[to].unsigned_abs().min(balances[from].unsigned_abs()) as usize;
        let slots = primaries[from].share.slots.iter().skip(given[from]).take(count);
        let (from_id, to_id) = (primaries[from].share.id, primaries[to].share.id);
        moves.extend(slots.map(|slot| Move { slot: *slot, from: from_id, to: to_id }));
        given[from] += count;
        balances[to] += count as i64;
        balances[from] -= count as i64;
        // Each step evens one of the two out.
        if balances[to] == 0 {
            taker += 1;
        }
        if balances[from] == 0 {
            giver = giver.saturating_sub(1);
        }
        if count == 0 && balances[to] != 0 && balances[from] != 0 {
            break;
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: usize) -> HexId {
        HexId::parse(format!("{number:040x}").as_bytes()).unwrap()
    }

    fn share(number: usize, first: usize, count: usize) -> Share {
        Share { id: id(number), slots: (first..first + count).map(|slot| Slot::new(slot as u16)).collect() }
    }

    fn three() -> Vec<Share> {
        vec![share(1, 0, 5461), share(2, 5461, 5462), share(3, 10923, 5461)]
    }

    fn count_from(moves: &[Move], number: usize) -> usize {
        moves.iter().filter(|step| step.from == id(number)).count()
    }

    #[test]
    fn each_source_gives_its_part_and_the_largest_rounds_up() {
        let moves = reshard(&three(), id(4), 4096);
        assert_eq!([1, 2, 3].map(|number| count_from(&moves, number)), [1365, 1366, 1365]);
        assert_eq!(moves.len(), 4096);
        // Their first ones.
        assert!(moves.iter().filter(|step| step.from == id(3)).all(|step| (10923..12288).contains(&step.slot.get())));
        assert!(moves.iter().all(|step| step.to == id(4)));
        assert_eq!(reshard(&three(), id(4), 1).len(), 1);
        assert_eq!(reshard(&three()[..1], id(4), 16384).len(), 5461);
        assert!(reshard(&[share(1, 0, 0)], id(4), 10).is_empty());
    }

    fn weighted(shares: Vec<Share>, weights: &[f32]) -> Vec<Weighted> {
        shares.into_iter().zip(weights).map(|(share, weight)| Weighted { share, weight: *weight }).collect()
    }

    fn after(primaries: &[Weighted], moves: &[Move]) -> Vec<usize> {
        let mut counts: Vec<usize> = primaries.iter().map(|primary| primary.share.slots.len()).collect();
        for step in moves {
            let place = |id: HexId| primaries.iter().position(|primary| primary.share.id == id).unwrap();
            counts[place(step.from)] -= 1;
            counts[place(step.to)] += 1;
        }
        counts
    }

    #[test]
    fn nothing_moves_within_the_threshold() {
        assert_eq!(rebalance(&weighted(three(), &[1.0; 3]), 2.0), None);
        let uneven = vec![share(1, 0, 5500), share(2, 5500, 5423), share(3, 10923, 5461)];
        assert_eq!(rebalance(&weighted(uneven, &[1.0; 3]), 2.0), None);
        assert_eq!(rebalance(&[], 2.0), None);
    }

    #[test]
    fn an_empty_primary_gets_its_part_and_one_without_weight_loses_all() {
        let mut shares = three();
        shares.push(share(4, 0, 0));
        let primaries = weighted(shares, &[1.0; 4]);
        let moves = rebalance(&primaries, 2.0).unwrap();
        assert_eq!(after(&primaries, &moves), [4096, 4096, 4096, 4096]);
        let primaries = weighted(three(), &[1.0, 0.0, 3.0]);
        let moves = rebalance(&primaries, 2.0).unwrap();
        assert_eq!(after(&primaries, &moves), [4096, 0, 12288]);
    }

    proptest! {
        #[test]
        fn every_slot_moves_once_from_where_it_is(counts in proptest::collection::vec(0usize..3000, 1..6), weights in proptest::collection::vec(0u8..5, 6)) {
            let mut first = 0;
            let mut shares = Vec::new();
            let rest = SLOTS_COUNT - counts.iter().sum::<usize>().min(SLOTS_COUNT);
            for (number, count) in counts.iter().chain([&rest]).enumerate() {
                let count = (*count).min(SLOTS_COUNT - first);
                shares.push(share(number + 1, first, count));
                first += count;
            }
            let weights: Vec<f32> = weights.iter().map(|weight| f32::from(*weight)).chain([1.0]).collect();
            let primaries = weighted(shares, &weights);
            let total: f32 = primaries.iter().map(|primary| primary.weight).sum();
            if let Some(moves) = rebalance(&primaries, 2.0) {
                let mut seen = std::collections::BTreeSet::new();
                for step in &moves {
                    prop_assert!(seen.insert(step.slot.get()) && step.from != step.to);
                    let from = primaries.iter().find(|primary| primary.share.id == step.from).unwrap();
                    prop_assert!(from.share.slots.contains(&step.slot));
                }
                for (count, primary) in after(&primaries, &moves).iter().zip(&primaries) {
                    let part = SLOTS_COUNT as f32 / total * primary.weight;
                    prop_assert!((*count as f32 - part).abs() <= primaries.len() as f32 + 1.0, "{count} of {part}");
                }
            }
        }
    }
}
