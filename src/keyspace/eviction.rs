//! Which key goes when memory is full.
//!
//! As in Redis: a few keys are sampled, the best of all that were sampled lately are kept in a pool, and the best of the
//! pool goes. A key of the pool that was used or removed since is passed over. Called by the command layer, which knows
//! the limit and the settings; nothing here looks at memory.

use super::access::AccessClock;
use super::entry::EntryRef;
use super::garbage::Disposal;
use super::table::{KeyHash, Place};
use super::{Key, Keyspace};
use crate::base::slot::Slot;
use crate::config::MaxmemoryPolicy;

/// Keys that are remembered as good to go.
const POOL_MAX: usize = 16;

/// Which keys may go, and which of them first: a `maxmemory-policy` that evicts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvictionRule {
    /// Only keys that have an expiry.
    pub volatile_only: bool,
    pub order: EvictionOrder,
}

/// Which key goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EvictionOrder {
    LeastRecentlyUsed,
    LeastFrequentlyUsed,
    ShortestToLive,
    Random,
}

impl EvictionRule {
    /// `None` for `noeviction`.
    pub fn of(policy: MaxmemoryPolicy) -> Option<EvictionRule> {
        use EvictionOrder::{LeastFrequentlyUsed, LeastRecentlyUsed, Random, ShortestToLive};
        let (volatile_only, order) = match policy {
            MaxmemoryPolicy::VolatileLru => (true, LeastRecentlyUsed),
            MaxmemoryPolicy::VolatileLfu => (true, LeastFrequentlyUsed),
            MaxmemoryPolicy::VolatileRandom => (true, Random),
            MaxmemoryPolicy::VolatileTtl => (true, ShortestToLive),
            MaxmemoryPolicy::AllkeysLru => (false, LeastRecentlyUsed),
            MaxmemoryPolicy::AllkeysLfu => (false, LeastFrequentlyUsed),
            MaxmemoryPolicy::AllkeysRandom => (false, Random),
            MaxmemoryPolicy::NoEviction => return None,
        };
        Some(EvictionRule { volatile_only, order })
    }

    /// How good it is to evict an entry, among those of the same rule.
    fn score(self, entry: EntryRef<'_>, access: &AccessClock) -> u64 {
        match self.order {
            EvictionOrder::LeastRecentlyUsed => access.idle_seconds(entry.access()),
            EvictionOrder::LeastFrequentlyUsed => u64::from(u8::MAX - access.frequency(entry.access())),
            EvictionOrder::ShortestToLive => {
                u64::MAX - u64::try_from(entry.expiry().unwrap_or(i64::MAX)).unwrap_or_default()
            }
            EvictionOrder::Random => 0,
        }
    }
}

/// A key that was evicted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evicted {
    pub db: usize,
    pub key: Vec<u8>,
}

/// A key that was sampled.
struct Candidate {
    score: u64,
    db: usize,
    slot: Slot,
    key: Vec<u8>,
}

/// The best of what was sampled, the best last.
#[derive(Default)]
pub(super) struct EvictionPool {
    /// By which the scores were given.
    rule: Option<EvictionRule>,
    candidates: Vec<Candidate>,
    /// Where the next random key is looked for first.
    next_db: usize,
}

impl EvictionPool {
    /// Scores of different rules do not compare.
    fn begin(&mut self, rule: EvictionRule) {
        if self.rule != Some(rule) {
            self.rule = Some(rule);
            self.candidates.clear();
        }
    }

    /// Keeps a sampled key if there is room, or if it is better than the worst; `key` is called only then.
    fn add(&mut self, score: u64, db: usize, slot: Slot, key: impl FnOnce() -> Vec<u8>) {
        if self.candidates.len() == POOL_MAX {
            if self.candidates.first().is_some_and(|worst| worst.score >= score) {
                return;
            }
            self.candidates.remove(0);
        }
        let place = self.candidates.partition_point(|other| other.score < score);
        self.candidates.insert(place, Candidate { score, db, slot, key: key() });
    }
}

impl Keyspace {
    /// How many keys a rule could evict.
    pub fn evictable_len(&self, rule: EvictionRule) -> u64 {
        (0..self.databases.len()).map(|db| self.evictable_len_of(db, rule)).sum()
    }

    fn evictable_len_of(&self, db: usize, rule: EvictionRule) -> u64 {
        if rule.volatile_only { self.volatile_len(db) } else { self.len(db) }
    }

    /// Removes the key that the rule likes least, judging by `samples` keys of each database and those of the calls before;
    /// `None` when there is none that may go.
    pub fn evict(&mut self, rule: EvictionRule, samples: u32, disposal: Disposal) -> Option<Evicted> {
        let mut pool = std::mem::take(&mut self.eviction);
        pool.begin(rule);
        let victim = match rule.order {
            EvictionOrder::Random => self.random_victim(rule, &mut pool),
            _ => self.best_victim(rule, samples, &mut pool),
        };
        self.eviction = pool;
        let Candidate { db, slot, key: bytes, .. } = victim?;
        let key = Key { bytes: &bytes, slot };
        let table = self.databases[db].table(slot.index())?;
        let place = table.find(self.hasher.hash(&bytes), &bytes)?;
        let entry = self.cut_out(db, slot, place);
        self.garbage.dispose_entry(entry, disposal);
        self.stats.evicted_keys += 1;
        self.changed(db, key, 0);
        Some(Evicted { db, key: bytes })
    }

    /// A key of the next database that has one.
    fn random_victim(&mut self, rule: EvictionRule, pool: &mut EvictionPool) -> Option<Candidate> {
        let count = self.databases.len();
        for _ in 0..count {
            pool.next_db = (pool.next_db + 1) % count;
            let db = pool.next_db;
            if let Some((slot, place)) = self.sample(db, rule) {
                let key = self.databases[db].table(slot.index())?.entry(place).key().to_vec();
                return Some(Candidate { score: 0, db, slot, key });
            }
        }
        None
    }

    /// The best of the pool, after some of each database were added to it.
    fn best_victim(&mut self, rule: EvictionRule, samples: u32, pool: &mut EvictionPool) -> Option<Candidate> {
        loop {
            let mut any = false;
            for db in 0..self.databases.len() {
                for _ in 0..samples.min(self.evictable_len_of(db, rule).try_into().unwrap_or(u32::MAX)) {
                    let Some((slot, place)) = self.sample(db, rule) else { break };
                    let entry = self.databases[db].table(slot.index())?.entry(place);
                    any = true;
                    pool.add(rule.score(entry, &self.access), db, slot, || entry.key().to_vec());
                }
            }
            if !any {
                return None;
            }
            // What was used or removed meanwhile goes out of the pool; what was just sampled is still as it was.
            while let Some(candidate) = pool.candidates.pop() {
                if self.is_still_good(&candidate, rule) {
                    return Some(candidate);
                }
            }
        }
    }

    fn is_still_good(&self, candidate: &Candidate, rule: EvictionRule) -> bool {
        let hash = self.hasher.hash(&candidate.key);
        let Some(table) = self.databases[candidate.db].table(candidate.slot.index()) else { return false };
        let Some(place) = table.find(hash, &candidate.key) else { return false };
        let entry = table.entry(place);
        (!rule.volatile_only || entry.expiry().is_some()) && rule.score(entry, &self.access) >= candidate.score
    }

    /// Any key of a database that may go, roughly each with the same probability.
    fn sample(&mut self, db: usize, rule: EvictionRule) -> Option<(Slot, Place)> {
        let len = self.evictable_len_of(db, rule);
        if len == 0 {
            return None;
        }
        let (database, random) = (&self.databases[db], &mut self.random);
        let n = random.below(len);
        let slot = if rule.volatile_only { database.slot_of_nth_volatile(n) } else { database.slot_of_nth(n) }?;
        let table = database.table(slot)?;
        let place = if rule.volatile_only { table.random_volatile_entry(random) } else { table.random_entry(random) }?;
        Some((Slot::new(u16::try_from(slot).expect("tables are indexed by slots")), place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::keyspace::{AccessPolicy, KeyspaceOptions};

    const START: UnixMillis = UnixMillis(1_800_000_000_000);

    fn keyspace(access: AccessPolicy) -> Keyspace {
        let mut keyspace = Keyspace::new(KeyspaceOptions { databases: 2, hash_seeds: [1, 2, 3, 4], access });
        keyspace.set_clock(START, false);
        keyspace
    }

    fn set(keyspace: &mut Keyspace, db: usize, number: u32, expiry: Option<UnixMillis>) {
        let name = number.to_string();
        let mut entry = keyspace.write(db, Key::new(name.as_bytes()));
        entry.set_string(b"v");
        entry.set_expiry(expiry);
    }

    fn rule(policy: MaxmemoryPolicy) -> EvictionRule {
        EvictionRule::of(policy).unwrap()
    }

    fn evict(keyspace: &mut Keyspace, policy: MaxmemoryPolicy) -> Option<u32> {
        let evicted = keyspace.evict(rule(policy), 5, Disposal::Now)?;
        Some(String::from_utf8(evicted.key).unwrap().parse().unwrap())
    }

    #[test]
    fn every_policy_but_noeviction_has_a_rule() {
        use MaxmemoryPolicy::*;
        assert_eq!(EvictionRule::of(NoEviction), None);
        for policy in [VolatileLru, VolatileLfu, VolatileRandom, VolatileTtl] {
            assert!(rule(policy).volatile_only);
        }
        for policy in [AllkeysLru, AllkeysLfu, AllkeysRandom] {
            assert!(!rule(policy).volatile_only);
        }
    }

    #[test]
    fn all_keys_of_all_databases_go_one_by_one() {
        for policy in [MaxmemoryPolicy::AllkeysLru, MaxmemoryPolicy::AllkeysRandom, MaxmemoryPolicy::AllkeysLfu] {
            let mut keyspace = keyspace(AccessPolicy::Lru);
            (0..300).for_each(|number| set(&mut keyspace, (number % 2) as usize, number, None));
            let mut gone: Vec<u32> = std::iter::from_fn(|| evict(&mut keyspace, policy)).collect();
            gone.sort_unstable();
            assert_eq!(gone, (0..300).collect::<Vec<_>>());
            assert_eq!((keyspace.stats.evicted_keys, keyspace.evictable_len(rule(policy))), (300, 0));
        }
    }

    #[test]
    fn volatile_policies_leave_keys_without_an_expiry() {
        use MaxmemoryPolicy::*;
        for policy in [VolatileLru, VolatileLfu, VolatileRandom, VolatileTtl] {
            let mut keyspace = keyspace(AccessPolicy::Lru);
            for number in 0..1000 {
                set(&mut keyspace, 0, number, (number % 100 == 7).then(|| START.plus(1000)));
            }
            let gone: Vec<u32> = std::iter::from_fn(|| evict(&mut keyspace, policy)).collect();
            assert_eq!(gone.len(), 10, "{policy:?}");
            assert!(gone.iter().all(|number| number % 100 == 7), "{policy:?}: {gone:?}");
            assert_eq!(keyspace.len(0), 990);
        }
    }

    #[test]
    fn lru_spares_what_was_used_lately() {
        let mut keyspace = keyspace(AccessPolicy::Lru);
        (0..1000).for_each(|number| set(&mut keyspace, 0, number, None));
        keyspace.set_clock(START.plus(60_000), false);
        for number in 0..200u32 {
            keyspace.read(0, Key::new(number.to_string().as_bytes()));
        }
        let gone: Vec<u32> = (0..400).filter_map(|_| evict(&mut keyspace, MaxmemoryPolicy::AllkeysLru)).collect();
        assert!(gone.iter().filter(|number| **number < 200).count() <= 4, "{gone:?}");
    }

    #[test]
    fn a_candidate_that_was_used_or_removed_since_is_passed_over() {
        let mut keyspace = keyspace(AccessPolicy::Lru);
        (0..200).for_each(|number| set(&mut keyspace, 0, number, None));
        keyspace.set_clock(START.plus(60_000), false);
        keyspace.eviction.begin(rule(MaxmemoryPolicy::AllkeysLru));
        for name in ["7", "gone"] {
            keyspace.eviction.add(1000, 0, Key::new(name.as_bytes()).slot, || name.into());
        }
        keyspace.read(0, Key::new(b"7"));
        let gone: Vec<u32> = (0..100).filter_map(|_| evict(&mut keyspace, MaxmemoryPolicy::AllkeysLru)).collect();
        assert_eq!(gone.len(), 100);
        assert!(!gone.contains(&7));
    }

    #[test]
    fn lfu_spares_what_is_used_often() {
        let mut keyspace = keyspace(AccessPolicy::Lfu { log_factor: 0, decay_minutes: 1 });
        (0..1000).for_each(|number| set(&mut keyspace, 0, number, None));
        for number in (0..200u32).cycle().take(2000) {
            keyspace.read(0, Key::new(number.to_string().as_bytes()));
        }
        let gone: Vec<u32> = (0..400).filter_map(|_| evict(&mut keyspace, MaxmemoryPolicy::AllkeysLfu)).collect();
        assert!(gone.iter().filter(|number| **number < 200).count() <= 4, "{gone:?}");
    }

    #[test]
    fn volatile_ttl_takes_what_would_expire_first() {
        let mut keyspace = keyspace(AccessPolicy::Lru);
        for number in 0..500 {
            set(&mut keyspace, 0, number, Some(START.plus(10_000 + i64::from(number) * 1000)));
        }
        let gone: Vec<u32> = (0..200).filter_map(|_| evict(&mut keyspace, MaxmemoryPolicy::VolatileTtl)).collect();
        let early = gone.iter().filter(|number| **number < 300).count();
        assert!(early >= 180, "{early} of 200");
    }

    #[test]
    fn a_change_of_policy_forgets_the_scores() {
        let mut keyspace = keyspace(AccessPolicy::Lru);
        (0..100).for_each(|number| set(&mut keyspace, 0, number, Some(START.plus(10_000))));
        assert!(evict(&mut keyspace, MaxmemoryPolicy::VolatileTtl).is_some());
        for number in 0..50 {
            keyspace.write(0, Key::new(number.to_string().as_bytes())).set_expiry(None);
        }
        let gone: Vec<u32> = std::iter::from_fn(|| evict(&mut keyspace, MaxmemoryPolicy::VolatileLru)).collect();
        assert!(gone.iter().all(|number| *number >= 50));
        assert!(evict(&mut keyspace, MaxmemoryPolicy::AllkeysLru).is_some());
    }
}
