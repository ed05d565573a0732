//! Which slots should change their core, so that all cores of a node have about as much to do.
//!
//! A pure decision, made once a period from what was measured in it; whoever measures also carries the moves out. It never
//! reads a clock, and it knows of a slot no more than its number, its core and its cost.

use std::collections::BTreeMap;

use crate::base::core_id::CoreId;
use crate::base::slot::Slot;

/// Moves of one period at most: each is followed by a look at what it has done.
pub const MOVES_MAX: usize = 16;
/// Periods that a slot stays where it has moved to.
const REST_PERIODS: u64 = 10;
/// The coldest core lacks this part of what the hottest has to do: moves begin. What is less is noise.
const SPREAD_TO_BEGIN: f64 = 0.10;
/// Moves of a period end when it is expected to lack less than this.
const SPREAD_TO_END: f64 = 0.03;
/// Share of a core's time below which a difference does not matter, however large a part of the whole it is.
const GAP_MIN: f64 = 0.05;
/// Share of a core's time that a move must take from the busier of the two.
const GAIN_MIN: f64 = 0.001;

/// What a period counts beside all that was before it: cores that share their CPUs with clients are now a tenth busier, now less.
const NEWS_WEIGHT: f64 = 0.6;

/// A slot in the period that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLoad {
    pub slot: Slot,
    pub core: CoreId,
    /// In any unit that is the same for all slots of a core.
    pub cost: u64,
}

/// A slot that should change its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub slot: Slot,
    pub from: CoreId,
    pub to: CoreId,
}

/// What the decision remembers from one period to the next.
#[derive(Default)]
pub struct Balancer {
    period: u64,
    /// How busy each core is taken to be, after the moves that were decided.
    busy: Vec<f64>,
    /// Slots that have moved, and the period from which on they may again.
    resting: BTreeMap<Slot, u64>,
}

/// What may move away from a core: slots and the shares of its time that they take.
type Movable = Vec<(Slot, f64)>;

impl Balancer {
    /// The moves that follow from a period, all of them to be made. `busy` is each core's share of the period in which it had work, 0
    /// to 1. A slot is taken to cause that part of its core's work that it has of the cost of the core's slots.
    ///
    /// A slot that alone takes more than a core should have stays, and others make room for it.
    ///
    /// # Panics
    /// When a slot's core is none of those in `busy`.
    pub fn decide(&mut self, busy: &[f64], slots: &[SlotLoad]) -> Vec<Move> {
        self.period += 1;
        self.resting.retain(|_, until| *until > self.period);
        let mut moves = Vec::new();
        let mut expected = self.smooth(busy);
        let mut is_stuck = vec![false; busy.len()];
        if !is_uneven(&expected) {
            return moves;
        }
        let mut movable = self.movable(&expected, slots);
        while moves.len() < MOVES_MAX {
            let Some((hot, cold)) = extremes(&expected, &is_stuck) else { break };
            let gap = expected[hot] - expected[cold];
            if gap < SPREAD_TO_END * expected[hot] {
                break;
            }
            let Some((slot, share)) = take_best(&mut movable[hot], gap) else {
                is_stuck[hot] = true;
                continue;
            };
            expected[hot] -= share;
            expected[cold] += share;
            self.resting.insert(slot, self.period + REST_PERIODS);
            moves.push(Move { slot, from: CoreId::new(hot), to: CoreId::new(cold) });
        }
        self.busy = expected;
        moves
    }

    /// Takes the period in; how busy the cores are taken to be.
    fn smooth(&mut self, busy: &[f64]) -> Vec<f64> {
        if self.busy.len() != busy.len() {
            self.busy = busy.to_vec();
        }
        let news = self.busy.iter_mut().zip(busy);
        news.for_each(|(known, new)| *known += (new - *known) * NEWS_WEIGHT);
        self.busy.clone()
    }

    fn movable(&self, busy: &[f64], slots: &[SlotLoad]) -> Vec<Movable> {
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        let mut costs = vec![0u64; busy.len()];
        slots.iter().for_each(|load| costs[load.core.index()] += load.cost);
        let mut movable = vec![Movable::new(); busy.len()];
        for load in slots.iter().filter(|load| load.cost > 0 && !self.resting.contains_key(&load.slot)) {
            let core = load.core.index();
            let share = busy[core] * load.cost as f64 / costs[core] as f64;
            if share <= mean {
                movable[core].push((load.slot, share));
            }
        }
        movable
    }
}

/// Whether it is worth while to move anything.
fn is_uneven(busy: &[f64]) -> bool {
    let (hottest, coldest) =
        busy.iter().fold((0.0, f64::INFINITY), |(high, low): (f64, f64), share| (high.max(*share), low.min(*share)));
    hottest - coldest >= GAP_MIN.max(SPREAD_TO_BEGIN * hottest)
}

/// The hottest core that something can be taken from, and the coldest of all.
fn extremes(expected: &[f64], is_stuck: &[bool]) -> Option<(usize, usize)> {
    let by_share = |a: &usize, b: &usize| expected[*a].total_cmp(&expected[*b]);
    let hot = (0..expected.len()).filter(|core| !is_stuck[*core]).max_by(by_share)?;
    let cold = (0..expected.len()).min_by(by_share)?;
    (hot != cold).then_some((hot, cold))
}

/// Takes out the slot whose move brings the two cores closest together. None when no slot gains enough.
fn take_best(movable: &mut Movable, gap: f64) -> Option<(Slot, f64)> {
    let gains = |share: f64| share.min(gap - share) >= GAIN_MIN;
    let distance = |share: f64| (share - gap / 2.0).abs();
    let fitting = movable.iter().enumerate().filter(|(_, (_, share))| gains(*share));
    let best = fitting.min_by(|(_, a), (_, b)| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
    let (at, _) = best?;
    Some(movable.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::base::slot::SLOTS_COUNT;

    /// A node under load: what each slot takes of a core's time, and who has it.
    struct World {
        loads: Vec<f64>,
        /// Where the slot's clients are connected: a part of its work stays there.
        homes: Vec<usize>,
        owners: Vec<usize>,
        cores_count: usize,
        /// The part of a slot's work that moves with it.
        follows: f64,
        /// How far measurements of cores are off, at most.
        noise: f64,
        random: Random,
        balancer: Balancer,
        moved_at: BTreeMap<Slot, u64>,
    }

    impl World {
        fn new(cores_count: usize, loads: Vec<f64>) -> World {
            let striped: Vec<usize> = (0..SLOTS_COUNT).map(|slot| slot / 64 % cores_count).collect();
            World {
                loads,
                homes: striped.clone(),
                owners: striped,
                cores_count,
                follows: 1.0,
                noise: 0.0,
                random: Random::new(7),
                balancer: Balancer::default(),
                moved_at: BTreeMap::new(),
            }
        }

        fn busy(&self) -> Vec<f64> {
            let mut busy = vec![0.0; self.cores_count];
            for (slot, load) in self.loads.iter().enumerate() {
                busy[self.owners[slot]] += load * self.follows;
                busy[self.homes[slot]] += load * (1.0 - self.follows);
            }
            busy.into_iter().map(|share: f64| share.min(1.0)).collect()
        }

        fn off_by(&mut self, part: f64) -> f64 {
            1.0 + part * (self.random.below(2001) as f64 / 1000.0 - 1.0)
        }

        /// One period; how many slots have moved.
        fn step(&mut self, period: u64) -> usize {
            let noise = self.noise;
            let busy: Vec<f64> = self.busy().into_iter().map(|share| share * self.off_by(noise)).collect();
            let slots: Vec<SlotLoad> = (0..SLOTS_COUNT)
                .map(|slot| SlotLoad {
                    slot: Slot::new(slot as u16),
                    core: CoreId::new(self.owners[slot]),
                    cost: (self.loads[slot] * 1e9 * self.off_by(3.0 * noise)) as u64,
                })
                .collect();
            let moves = self.balancer.decide(&busy, &slots);
            for one in &moves {
                assert_eq!(self.owners[one.slot.index()], one.from.index());
                let last = self.moved_at.insert(one.slot, period);
                assert!(last.is_none_or(|last| period - last >= REST_PERIODS), "{one:?} has just moved");
                self.owners[one.slot.index()] = one.to.index();
            }
            assert!(moves.len() <= MOVES_MAX);
            moves.len()
        }

        fn steps(&mut self, periods: std::ops::Range<u64>) -> usize {
            periods.map(|period| self.step(period)).sum()
        }

        /// What the coldest core lacks of what the hottest has to do.
        fn spread(&self) -> f64 {
            let busy = self.busy();
            let (hottest, coldest) = busy.iter().fold((0.0, 1.0), |(h, c): (f64, f64), b| (h.max(*b), c.min(*b)));
            1.0 - coldest / hottest
        }
    }

    /// Zipf's law over slots in a random order; `total` is the work of all, in cores.
    fn zipf(exponent: f64, total: f64, seed: u64) -> Vec<f64> {
        let mut loads: Vec<f64> = (1..=SLOTS_COUNT).map(|rank| (rank as f64).powf(-exponent)).collect();
        let sum: f64 = loads.iter().sum();
        loads.iter_mut().for_each(|load| *load *= total / sum);
        let mut random = Random::new(seed);
        for last in (1..loads.len()).rev() {
            loads.swap(last, random.below(last as u64 + 1) as usize);
        }
        loads
    }

    #[test]
    fn a_skewed_load_is_even_after_ten_periods() {
        for (cores_count, exponent) in [(2, 0.8), (2, 1.0), (2, 1.2), (4, 1.0), (16, 0.7)] {
            for seed in 1..=20 {
                let mut world = World::new(cores_count, zipf(exponent, 0.6 * cores_count as f64, seed));
                world.noise = 0.02;
                world.steps(0..10);
                assert!(
                    world.spread() <= 0.15,
                    "{cores_count} cores, exponent {exponent}, seed {seed}: {:?}",
                    world.busy()
                );
            }
        }
    }

    #[test]
    fn a_load_that_jumps_is_followed() {
        for seed in 1..=20 {
            let mut world = World::new(4, zipf(1.0, 2.4, seed));
            world.steps(0..10);
            for round in 1..=3 {
                world.loads = zipf(1.0, 2.4, seed + 100 * round);
                world.steps(10 * round..10 * round + 10);
                assert!(world.spread() <= 0.15, "seed {seed}: {:?}", world.busy());
            }
        }
    }

    #[test]
    fn what_does_not_follow_a_slot_is_made_up_for() {
        let mut world = World::new(2, zipf(1.0, 1.2, 3));
        world.follows = 0.7;
        // All that is asked is asked over connections of the first core.
        world.homes.fill(0);
        world.steps(0..30);
        assert!(world.spread() <= 0.15, "{:?}", world.busy());
        assert_eq!(world.steps(30..90), 0, "it does not come to rest");
    }

    #[test]
    fn noise_moves_nothing() {
        for cores_count in [2, 4, 16] {
            let mut world = World::new(cores_count, vec![0.6 * cores_count as f64 / SLOTS_COUNT as f64; SLOTS_COUNT]);
            world.noise = 0.06;
            assert_eq!(world.steps(0..200), 0);
            // Nothing to do, most of it on one core.
            world.loads.iter_mut().for_each(|load| *load *= 0.01);
            world.loads[0] *= 1000.0;
            assert_eq!(world.steps(200..220), 0);
        }
    }

    #[test]
    fn an_even_load_comes_to_rest() {
        let mut world = World::new(4, zipf(1.0, 2.4, 5));
        world.noise = 0.02;
        world.steps(0..20);
        assert_eq!(world.steps(20..120), 0, "{:?}", world.busy());
    }

    #[test]
    fn one_hot_slot_stays_and_others_make_room() {
        let mut loads = vec![0.4 / SLOTS_COUNT as f64; SLOTS_COUNT];
        loads[0] = 0.7;
        // Slots of the same core that matter.
        (1..60).for_each(|slot| loads[slot] = 0.004);
        let mut world = World::new(2, loads);
        world.steps(0..10);
        assert_eq!(world.owners[0], 0, "the hot one has moved");
        let moved = (1..60).filter(|slot| world.owners[*slot] == 1).count();
        assert!(moved >= 50, "{moved} have made room: {:?}", world.busy());
    }

    #[test]
    fn one_core_has_nowhere_to_move_to() {
        let load = SlotLoad { slot: Slot::new(0), core: CoreId::FIRST, cost: 1 };
        assert_eq!(Balancer::default().decide(&[0.9], &[load]), []);
        assert_eq!(Balancer::default().decide(&[], &[]), []);
    }
}
