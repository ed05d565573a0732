//! `maxmemory`: keys go when the node has more memory than it may, and commands that need more are refused when none can go.
//!
//! The limit is the node's, the keys are the cores'. Whoever finds the node above its limit shares the excess out: each
//! core is asked for bytes in proportion to the keys that it could evict, so that, as in a redis-server, every key of the node
//! has the same chance to be looked at. A small excess is asked of one core, drawn with these weights. What a core is asked
//! for it works off before its next command and at the end of its turns, for no longer than
//! `maxmemory-eviction-tenacity` allows at a time; who writes does not wait for the others.
//!
//! `execute` asks [`refuses`] before a command, the runtime calls [`relieve`] at the end of a turn. The cores' counters are
//! behind [`Ledger`], which the runtime implements. While there is no limit nothing here is called.

use super::core::{Core, Effect};
use super::spec::Flags;
use super::transactions::Transaction;
use crate::base::core_id::CoreId;
use crate::base::random::Random;
use crate::config::{BytesOrPercent, Config, NotifyFlags};
use crate::keyspace::{Disposal, EvictionRule};

/// An excess up to this is asked of one core.
const SMALL_EXCESS_BYTES: i64 = 32 << 10;
/// A core that is asked for this much is woken; for less it waits until it does something anyway.
const WAKE_BYTES: i64 = 4 << 10;
/// A core that is so far behind is not asked for more while others are not.
const BEHIND_BYTES: i64 = 1 << 20;
/// Keys that are evicted between two looks at the clock.
const KEYS_PER_LOOK: u32 = 16;
/// Entries freed at a time while memory is short.
const FREED_AT_ONCE: usize = 64;
/// The least that `maxmemory-clients` limits to: with less there would be no talking to the node.
const CLIENTS_BYTES_MIN: u64 = 128 << 10;

/// What the cores of a node know of one another's memory. Each core has a handle of its own.
pub trait Ledger {
    /// Enters what this core has allocated, and returns what all cores together have, small recent changes of the others not
    /// included.
    fn settle(&mut self, own_bytes: i64) -> i64;

    /// As `settle`, and remembers the largest sum that there was at a call of this.
    fn note_peak(&mut self, own_bytes: i64);

    /// Enters what this core keeps that is no reason to evict: what waits for its append-only file, and, on core 0, for replicas.
    fn spare(&mut self, own_bytes: i64);

    /// What all cores keep that is no reason to evict.
    fn spared_bytes(&self) -> i64;

    /// Enters how many keys this core could evict.
    fn offer(&self, keys: u64);

    /// How many keys a core could evict.
    fn offered(&self, core: CoreId) -> u64;

    /// Asks a core to free so many bytes more; how many it is asked for now.
    fn ask(&self, core: CoreId, bytes: i64) -> i64;

    /// How many bytes a core is asked for and has not freed yet.
    fn asked(&self, core: CoreId) -> i64;

    /// This core has freed so much, or will not.
    fn answer(&self, bytes: i64);

    /// Enters how many changes this core has seen since its start.
    fn offer_changes(&self, changes: u64);

    /// The changes of all cores, as of the last time that each entered its own.
    fn changes(&self) -> u64;

    /// Enters what this core's clients take, and returns what those of all cores take.
    fn settle_clients(&mut self, own_bytes: i64) -> i64;

    /// Enters what the largest client of this core takes that may be closed.
    fn offer_client(&self, largest_bytes: u64);

    /// What the clients of all cores take, as of the last time that their cores looked.
    fn clients_bytes(&self) -> i64;

    /// The largest client of all cores that may be closed.
    fn largest_client(&self) -> u64;

    /// The largest client of the other cores that may be closed, and its core.
    fn largest_client_elsewhere(&self) -> (u64, CoreId);
}

/// How the node stands to its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pressure {
    /// Within it.
    None,
    /// Above it, but keys are on their way out.
    Easing,
    /// Above it, and nothing can go.
    Full,
}

/// Makes room, if the node is above its limit, and says whether a command with these flags is to be refused. Call it only
/// when there is a limit.
#[inline]
pub fn refuses(core: &mut Core, flags: Flags) -> bool {
    relieve(core) == Pressure::Full && flags.has(Flags::DENYOOM)
}

/// As [`refuses`], for EXEC: refused is a transaction in which any command is.
pub fn refuses_transaction(core: &mut Core, transaction: &Transaction) -> bool {
    let denies = |flags: Flags| flags.has(Flags::DENYOOM);
    core.config.maxmemory != 0
        && relieve(core) == Pressure::Full
        && transaction.queue.iter().any(|queued| denies(queued.command.spec().flags))
}

/// Makes room on this core, and has others make room, if the node is above its limit. Call it only when there is a limit.
#[inline]
pub fn relieve(core: &mut Core) -> Pressure {
    if excess_bytes(core) <= 0 && core.stats.eviction_exceeded_since_us == 0 && core.ledger.asked(core.id) <= 0 {
        return Pressure::None;
    }
    relieve_slowly(core)
}

#[cold]
fn relieve_slowly(core: &mut Core) -> Pressure {
    // CLIENT PAUSE keeps the data as they are, and so does a replica: its primary evicts.
    let obeys = core.replication.role.is_replica() && core.config.replica_ignore_maxmemory;
    if obeys || core.pause.until(core.clock.unix()).is_some() {
        return Pressure::None;
    }
    let begun_ns = core.nanos.now_ns();
    let pressure = ease(core, begun_ns);
    note_exceeded(core, pressure);
    // What this took is no part of the command that follows.
    let ended_ns = core.nanos.now_ns();
    core.stats.last_instant_ns = core.stats.last_instant_ns.max(ended_ns);
    core.note_latency("eviction-cycle", ended_ns.saturating_sub(begun_ns));
    pressure
}

/// Bytes above the limit; negative below it. What waits for replicas is spared: a key that is evicted has them told, and were that
/// a reason to evict the next one, a slow replica would empty the node.
#[inline]
fn excess_bytes(core: &mut Core) -> i64 {
    let own_bytes = core.allocated_bytes();
    let counted_bytes = core.ledger.settle(own_bytes) - core.ledger.spared_bytes();
    let excess_bytes = counted_bytes.saturating_sub(i64::try_from(core.config.maxmemory).unwrap_or(i64::MAX));
    if excess_bytes > 0 && limits_clients(&core.config) {
        return excess_bytes - clients_excess_bytes(core);
    }
    excess_bytes
}

/// Bytes that closing the next client will free: clients go before keys.
fn clients_excess_bytes(core: &Core) -> i64 {
    let Some(limit_bytes) = clients_limit_bytes(&core.config) else { return 0 };
    let excess_bytes = core.ledger.clients_bytes().saturating_sub(i64::try_from(limit_bytes).unwrap_or(i64::MAX));
    excess_bytes.clamp(0, i64::try_from(core.ledger.largest_client()).unwrap_or(i64::MAX))
}

fn ease(core: &mut Core, begun_ns: u64) -> Pressure {
    let rule = EvictionRule::of(core.config.maxmemory_policy);
    let is_above = excess_bytes(core) > 0;
    let Some(rule) = rule.filter(|_| is_above) else {
        core.ledger.answer(core.ledger.asked(core.id));
        // Looked at once: other cores allocate meanwhile, and what is above the limit only now is the next command's business.
        return if is_above { Pressure::Full } else { Pressure::None };
    };
    // A core that turns out to have nothing leaves what it was asked for to the others: hence a second time.
    for _ in 0..2 {
        core.ledger.offer(core.keyspace.evictable_len(rule));
        if !share_out(core) && core.keyspace.lazyfree_pending() == 0 {
            return Pressure::Full;
        }
        match work_off(core, rule, begun_ns) {
            Outcome::Enough => return Pressure::None,
            Outcome::More => return Pressure::Easing,
            Outcome::Nothing => {}
        }
    }
    let elsewhere = (0..core.facts.cores_count).any(|other| core.ledger.offered(CoreId::new(other)) > 0);
    if elsewhere { Pressure::Easing } else { Pressure::Full }
}

/// Asks cores for what is above the limit and nobody is asked for yet. False when no core has a key to evict.
fn share_out(core: &mut Core) -> bool {
    let excess = excess_bytes(core);
    let shares = Shares::of(core.ledger.as_ref(), core.facts.cores_count);
    let Some(total) = shares.total() else { return false };
    let uncovered = excess.saturating_sub(shares.asked);
    if uncovered <= 0 {
        return true;
    }
    if uncovered <= SMALL_EXCESS_BYTES {
        let one = shares.draw(total, &mut core.random);
        ask(core, one, uncovered);
        return true;
    }
    for (index, weight) in shares.weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        let share = i128::from(uncovered) * i128::from(*weight) / i128::from(total);
        // At least a byte: a key.
        ask(core, CoreId::new(index), i64::try_from(share).unwrap_or(i64::MAX).max(1));
    }
    true
}

fn ask(core: &mut Core, of: CoreId, bytes: i64) {
    let asked = core.ledger.ask(of, bytes);
    if of != core.id && asked >= WAKE_BYTES && asked - bytes < WAKE_BYTES {
        core.effects.push(Effect::FreeMemory(of));
    }
}

/// How an excess is spread over the cores.
struct Shares {
    /// By core: the keys that it could evict, 0 for one that is far behind with what it was asked for.
    weights: Vec<u64>,
    /// Bytes that all cores are asked for.
    asked: i64,
}

impl Shares {
    fn of(ledger: &dyn Ledger, cores_count: usize) -> Shares {
        let cores = || (0..cores_count).map(CoreId::new);
        let asked = cores().map(|core| ledger.asked(core).max(0)).fold(0, i64::saturating_add);
        let weight = |core: CoreId| if ledger.asked(core) > BEHIND_BYTES { 0 } else { ledger.offered(core) };
        let mut weights: Vec<u64> = cores().map(weight).collect();
        if weights.iter().all(|weight| *weight == 0) {
            weights = cores().map(|core| ledger.offered(core)).collect();
        }
        Shares { weights, asked }
    }

    /// The sum of the weights, unless it is 0.
    fn total(&self) -> Option<u64> {
        Some(self.weights.iter().sum()).filter(|total| *total > 0)
    }

    /// A core, with a probability that follows its weight.
    fn draw(&self, total: u64, random: &mut Random) -> CoreId {
        let mut left = random.below(total);
        let found = self.weights.iter().position(|weight| {
            let here = left < *weight;
            left -= if here { 0 } else { *weight };
            here
        });
        CoreId::new(found.unwrap_or_default())
    }
}

/// How a round of freeing ended.
enum Outcome {
    /// The node is within its limit.
    Enough,
    /// The time is over, or the rest is for others.
    More,
    /// This core has nothing left.
    Nothing,
}

/// Frees what this core is asked for: first what waits to be freed anyway, then keys.
fn work_off(core: &mut Core, rule: EvictionRule, begun_ns: u64) -> Outcome {
    let time_ns = time_limit_ns(core.config.maxmemory_eviction_tenacity);
    let mut keys = 0;
    loop {
        let asked = core.ledger.asked(core.id);
        if excess_bytes(core) <= 0 {
            core.ledger.answer(asked);
            return Outcome::Enough;
        }
        if asked <= 0 {
            return Outcome::More;
        }
        let before = (core.memory)().allocated_bytes;
        if core.keyspace.lazyfree_pending() > 0 {
            core.keyspace.free_slice(FREED_AT_ONCE);
        } else if !evict_one(core, rule) {
            core.ledger.answer(asked);
            return Outcome::Nothing;
        }
        let freed = before.saturating_sub((core.memory)().allocated_bytes).clamp(0, asked);
        // Keys do not come in bytes: a rest that is less than half of one is left, so that on average nobody gives more than
        // it was asked for.
        let rest = asked - freed;
        core.ledger.answer(if rest <= freed / 2 { asked } else { freed });
        keys += 1;
        if keys % KEYS_PER_LOOK == 0 && core.nanos.now_ns().saturating_sub(begun_ns) > time_ns {
            return Outcome::More;
        }
    }
}

/// Evicts a key and tells those who listen; false when there is none.
fn evict_one(core: &mut Core, rule: EvictionRule) -> bool {
    let disposal = if core.config.lazyfree_lazy_eviction { Disposal::Background } else { Disposal::Now };
    let begun_ns = if core.config.latency_monitor_threshold > 0 { core.nanos.now_ns() } else { 0 };
    let Some(evicted) = core.keyspace.evict(rule, core.config.maxmemory_samples, disposal) else { return false };
    if begun_ns > 0 {
        core.note_latency("eviction-del", core.nanos.now_ns().saturating_sub(begun_ns));
    }
    // Databases are numbered with 16 bits.
    let db = evicted.db as u16;
    core.notify(NotifyFlags::EVICTED, "evicted", db, &evicted.key);
    if core.journal.is_on() {
        core.journal.record_removal(db, &evicted.key, core.config.lazyfree_lazy_eviction);
        core.journal.close_unit();
    }
    true
}

/// How long one round of freeing may take: up to tenacity 10 half a millisecond, then 15 % longer for each step, at 100
/// without an end.
fn time_limit_ns(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => u64::from(tenacity) * 50_000,
        11..=99 => (500_000.0 * 1.15f64.powf(f64::from(tenacity) - 10.0)) as u64,
        _ => u64::MAX,
    }
}

/// Keeps the time that the node was above its limit; core 0 does, for all.
fn note_exceeded(core: &mut Core, pressure: Pressure) {
    if core.id != CoreId::FIRST {
        return;
    }
    let (now_us, stats) = (core.clock.monotonic_us(), &mut core.stats);
    if pressure == Pressure::None {
        if stats.eviction_exceeded_since_us != 0 {
            stats.eviction_exceeded_us += now_us.saturating_sub(stats.eviction_exceeded_since_us);
            stats.eviction_exceeded_since_us = 0;
        }
    } else if stats.eviction_exceeded_since_us == 0 {
        stats.eviction_exceeded_since_us = now_us.max(1);
    }
}

/// Tells the other cores what could be evicted here: when a turn ends, and when the settings have changed.
pub fn offer(core: &Core) {
    let rule = EvictionRule::of(core.config.maxmemory_policy);
    core.ledger.offer(rule.map_or(0, |rule| core.keyspace.evictable_len(rule)));
}

/// The settings about memory have changed.
pub fn settings_changed(core: &mut Core) {
    offer(core);
    if core.config.maxmemory == 0 {
        note_exceeded(core, Pressure::None);
    }
    if core.config.maxmemory != 0 && core.id == CoreId::FIRST && excess_bytes(core) > 0 {
        tracing::warn!(
            "maxmemory ({} bytes) is less than what is in use: keys are evicted or writes refused, as maxmemory-policy says",
            core.config.maxmemory
        );
    }
}

/// Whether `maxmemory-clients` is set: what clients take is kept.
#[inline]
pub fn limits_clients(config: &Config) -> bool {
    config.maxmemory_clients != BytesOrPercent::Bytes(0)
}

/// Bytes that all clients together may take (`maxmemory-clients`).
pub fn clients_limit_bytes(config: &Config) -> Option<u64> {
    let bytes = match config.maxmemory_clients {
        BytesOrPercent::Bytes(0) => return None,
        BytesOrPercent::Bytes(bytes) => bytes,
        BytesOrPercent::Percent(_) if config.maxmemory == 0 => return None,
        BytesOrPercent::Percent(percent) => (config.maxmemory as f64 * f64::from(percent) / 100.0) as u64,
    };
    Some(bytes.max(CLIENTS_BYTES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_is_a_time() {
        assert_eq!((time_limit_ns(0), time_limit_ns(1), time_limit_ns(10)), (0, 50_000, 500_000));
        assert_eq!(time_limit_ns(11), 575_000);
        assert!((100..200).contains(&(time_limit_ns(99) / 1_000_000_000)), "about two minutes");
        assert_eq!(time_limit_ns(100), u64::MAX);
    }

    #[test]
    fn an_excess_is_drawn_by_the_keys_of_the_cores() {
        let shares = Shares { weights: vec![0, 100, 0, 300], asked: 0 };
        let mut random = Random::new(7);
        let mut drawn = [0; 4];
        (0..4000).for_each(|_| drawn[shares.draw(400, &mut random).index()] += 1);
        assert_eq!((drawn[0], drawn[2], drawn[1] + drawn[3]), (0, 0, 4000));
        assert!((850..1150).contains(&drawn[1]), "{drawn:?}");
        assert_eq!(Shares { weights: vec![0, 0], asked: 0 }.total(), None);
    }

    /// What the test's cores have offered and are asked for.
    struct Fixed(Vec<(u64, i64)>);

    impl Ledger for Fixed {
        fn settle(&mut self, own_bytes: i64) -> i64 {
            own_bytes
        }
        fn note_peak(&mut self, _: i64) {}
        fn spare(&mut self, _: i64) {}
        fn spared_bytes(&self) -> i64 {
            0
        }
        fn offer(&self, _: u64) {}
        fn offered(&self, core: CoreId) -> u64 {
            self.0[core.index()].0
        }
        fn ask(&self, core: CoreId, bytes: i64) -> i64 {
            self.asked(core) + bytes
        }
        fn asked(&self, core: CoreId) -> i64 {
            self.0[core.index()].1
        }
        fn answer(&self, _: i64) {}
        fn settle_clients(&mut self, own_bytes: i64) -> i64 {
            own_bytes
        }
        fn offer_client(&self, _: u64) {}
        fn clients_bytes(&self) -> i64 {
            0
        }
        fn largest_client(&self) -> u64 {
            0
        }
        fn offer_changes(&self, _: u64) {}

        fn changes(&self) -> u64 {
            0
        }

        fn largest_client_elsewhere(&self) -> (u64, CoreId) {
            (0, CoreId::FIRST)
        }
    }

    #[test]
    fn a_core_far_behind_is_spared_unless_all_are() {
        let shares = Shares::of(&Fixed(vec![(10, 0), (20, BEHIND_BYTES + 1)]), 2);
        assert_eq!((shares.weights, shares.asked), (vec![10, 0], BEHIND_BYTES + 1));
        let shares = Shares::of(&Fixed(vec![(0, 0), (20, BEHIND_BYTES + 1)]), 2);
        assert_eq!(shares.weights, [0, 20]);
    }

    #[test]
    fn maxmemory_clients_is_bytes_or_a_share_of_maxmemory() {
        let limit = |maxmemory, maxmemory_clients| {
            clients_limit_bytes(&Config { maxmemory, maxmemory_clients, ..Config::default() })
        };
        assert_eq!(limit(0, BytesOrPercent::Bytes(0)), None);
        assert_eq!(limit(0, BytesOrPercent::Bytes(1)), Some(CLIENTS_BYTES_MIN));
        assert_eq!(limit(0, BytesOrPercent::Bytes(1 << 30)), Some(1 << 30));
        assert_eq!(limit(0, BytesOrPercent::Percent(5)), None);
        assert_eq!(limit(100 << 20, BytesOrPercent::Percent(5)), Some(5 << 20));
    }
}
