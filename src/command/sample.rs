//! Drawing several distinct elements at random, and reading how many.

use std::ops::ControlFlow;

use super::arguments::integer;
use super::error::CommandError;
use crate::base::random::Random;
use crate::resp::Reply;

/// How many elements a client wants: so many different ones, or so many draws that may repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SampleCount {
    Distinct(u64),
    Repeated(u64),
}

impl SampleCount {
    /// A negative number counts draws.
    ///
    /// # Errors
    /// `NotAnInteger`, or the text that names the range.
    pub fn parse(argument: &[u8]) -> Result<SampleCount, CommandError> {
        match integer(argument)? {
            i64::MIN => Err(CommandError::text_static(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            )),
            count if count < 0 => Ok(SampleCount::Repeated(count.unsigned_abs())),
            count => Ok(SampleCount::Distinct(count.unsigned_abs())),
        }
    }

    /// The number, whatever its meaning.
    pub fn get(self) -> u64 {
        match self {
            SampleCount::Distinct(count) | SampleCount::Repeated(count) => count,
        }
    }
}

/// Up to how many of `total` elements, drawing one by one until all are different costs less than walking over all.
pub fn is_sparse(count: usize, total: usize) -> bool {
    count.saturating_mul(3) <= total
}

/// Chooses `count` of the `total` items that an iterator gives: each choice is as likely as the others, the order stays.
pub fn choose<T>(
    items: impl Iterator<Item = T>,
    count: usize,
    total: usize,
    random: &mut Random,
    mut chosen: impl FnMut(T),
) {
    let (mut wanted, mut left) = (count.min(total) as u64, total as u64);
    for item in items {
        if wanted == 0 {
            return;
        }
        if random.below(left) < wanted {
            chosen(item);
            wanted -= 1;
        }
        left = left.saturating_sub(1);
    }
}

/// Draws `count` times from the items that an iterator gives, which are few or cost a walk to reach one by one, or until
/// `drawn` breaks off.
pub fn draw<T: Copy>(
    items: impl Iterator<Item = T>,
    count: u64,
    random: &mut Random,
    mut drawn: impl FnMut(T) -> ControlFlow<()>,
) {
    let items: Vec<T> = items.collect();
    for _ in 0..count {
        let Some(item) = items.get(random.below(items.len() as u64) as usize) else { return };
        if drawn(*item).is_break() {
            return;
        }
    }
}

/// Whether to go on drawing for this reply, which may be cut off long before the number of draws is reached.
#[inline]
pub fn while_wanted(reply: &Reply<'_>) -> ControlFlow<()> {
    if reply.is_cut_off() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_chosen_as_often_as_the_others() {
        let mut random = Random::new(3);
        let mut times = [0u32; 10];
        for _ in 0..10_000 {
            let mut chosen = Vec::new();
            choose(0..10usize, 3, 10, &mut random, |item| chosen.push(item));
            assert_eq!(chosen.len(), 3);
            assert!(chosen.is_sorted_by(|one, next| one < next));
            chosen.into_iter().for_each(|item| times[item] += 1);
        }
        assert!(times.iter().all(|times| (2800..3200).contains(times)), "{times:?}");
    }

    #[test]
    fn draws_repeat_and_reach_all() {
        let mut times = [0u32; 4];
        draw(0..4usize, 4000, &mut Random::new(2), |item| {
            times[item] += 1;
            ControlFlow::Continue(())
        });
        assert!(times.iter().all(|times| (850..1150).contains(times)), "{times:?}");
        draw(0..0usize, u64::MAX, &mut Random::new(2), |_| unreachable!());
        let mut drawn = 0;
        draw(0..4usize, u64::MAX, &mut Random::new(2), |_| {
            drawn += 1;
            if drawn == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(drawn, 7);
    }

    #[test]
    fn more_than_there_is_chooses_all() {
        let mut chosen = Vec::new();
        choose(0..4, 9, 4, &mut Random::new(1), |item| chosen.push(item));
        assert_eq!(chosen, [0, 1, 2, 3]);
    }

    #[test]
    fn a_negative_count_counts_draws() {
        assert_eq!(SampleCount::parse(b"3"), Ok(SampleCount::Distinct(3)));
        assert_eq!(SampleCount::parse(b"-3"), Ok(SampleCount::Repeated(3)));
        assert_eq!(SampleCount::parse(b"x"), Err(CommandError::NotAnInteger));
        assert!(SampleCount::parse(b"-9223372036854775808").is_err());
    }
}
