//! CLUSTER SLOT-STATS (of Valkey 8): what is in each slot of this shard, and what requests to it have cost.
//!
//! Every core reads the arguments and says what it knows of its slots; the client's core sorts what they said.

use super::super::arguments::is_word;
use super::super::context::Context;
use super::super::core::Core;
use super::super::error::CommandError;
use super::super::slot_usage::SlotCost;
use super::super::spec::{CommandResult, Part};
use super::slots::slot;
use super::{needs_cluster, unknown_or_wrong};
use crate::base::number::parse_i64;
use crate::base::slot::{SLOTS_COUNT, Slot};
use crate::resp::{Args, Reply};

/// One slot's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotStats {
    slot: Slot,
    keys: u64,
    cost: SlotCost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Keys,
    Cpu,
    ReceivedBytes,
    SentBytes,
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Query {
    Range { first: Slot, last: Slot },
    Sorted { by: Metric, limit: usize, is_ascending: bool },
}

impl Metric {
    const ALL: [Metric; 4] = [Metric::Keys, Metric::Cpu, Metric::ReceivedBytes, Metric::SentBytes];

    const fn name(self) -> &'static str {
        match self {
            Metric::Keys => "key-count",
            Metric::Cpu => "cpu-usec",
            Metric::ReceivedBytes => "network-bytes-in",
            Metric::SentBytes => "network-bytes-out",
        }
    }

    /// Those that are shown: keys are counted in any case.
    fn shown(all: bool) -> &'static [Metric] {
        const ALL: &[Metric] = &Metric::ALL;
        if all { ALL } else { &ALL[..1] }
    }

    const fn of(self, stats: &SlotStats) -> u64 {
        match self {
            Metric::Keys => stats.keys,
            Metric::Cpu => stats.cost.cpu_ns / 1000,
            Metric::ReceivedBytes => stats.cost.received_bytes,
            Metric::SentBytes => stats.cost.sent_bytes,
        }
    }
}

impl Query {
    /// # Errors
    /// Those of Valkey. `all`: other metrics than the number of keys are known.
    fn parse(args: &Args<'_>, all: bool) -> Result<Query, CommandError> {
        match args.get(2) {
            Some(word) if args.len() == 5 && is_word(word, "SLOTSRANGE") => {
                let (first, last) = (slot(&args[3])?, slot(&args[4])?);
                if first > last {
                    let text = format!("ERR Start slot number {first} is greater than end slot number {last}");
                    return Err(CommandError::formatted(text));
                }
                Ok(Query::Range { first, last })
            }
            Some(word) if args.len() >= 4 && is_word(word, "ORDERBY") => Query::parse_order(args, all),
            _ => Err(unknown_or_wrong(args)),
        }
    }

    fn parse_order(args: &Args<'_>, all: bool) -> Result<Query, CommandError> {
        let mut metrics = Metric::shown(all).iter().copied();
        let by = metrics.find(|metric| is_word(&args[3], metric.name()));
        let by = by.ok_or(CommandError::text_static("ERR Unrecognized sort metric for ORDERBY."))?;
        let (mut limit, mut is_ascending) = (None, None);
        let mut at = 4;
        while let Some(word) = args.get(at) {
            let is_repeated = match args.get(at + 1) {
                Some(number) if is_word(word, "LIMIT") => {
                    at += 1;
                    limit.replace(parse_limit(number)?).is_some()
                }
                _ if is_word(word, "ASC") => is_ascending.replace(true).is_some(),
                _ if is_word(word, "DESC") => is_ascending.replace(false).is_some(),
                _ => return Err(CommandError::Syntax),
            };
            if is_repeated {
                return Err(CommandError::text_static("ERR Multiple filters of the same type are disallowed."));
            }
            at += 1;
        }
        Ok(Query::Sorted { by, limit: limit.unwrap_or(SLOTS_COUNT), is_ascending: is_ascending.unwrap_or(false) })
    }

    /// The slots that have to be looked at.
    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let (first, last) = match self {
            Query::Range { first, last } => (first.get(), last.get()),
            Query::Sorted { .. } => (0, SLOTS_COUNT as u16 - 1),
        };
        (first..=last).map(Slot::new)
    }

    /// Puts what the cores have said in order; slots of the same figure by their number, always.
    fn arrange(&self, stats: &mut Vec<SlotStats>) {
        match self {
            Query::Range { .. } => stats.sort_unstable_by_key(|one| one.slot),
            Query::Sorted { by, limit, is_ascending } => {
                stats.sort_unstable_by(|a, b| {
                    let order = by.of(a).cmp(&by.of(b));
                    let order = if *is_ascending { order } else { order.reverse() };
                    order.then(a.slot.cmp(&b.slot))
                });
                stats.truncate(*limit);
            }
        }
    }
}

fn parse_limit(number: &[u8]) -> Result<usize, CommandError> {
    let limit = parse_i64(number).and_then(|limit| usize::try_from(limit).ok());
    limit
        .filter(|limit| (1..=SLOTS_COUNT).contains(limit))
        .ok_or(CommandError::text_static("ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."))
}

fn shows_all(core: &Core) -> bool {
    core.config.cluster_slot_stats_enabled
}

/// What one core knows of its slots.
pub fn slot_stats_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    needs_cluster(cx)?;
    let core = &*cx.core;
    let query = Query::parse(args, shows_all(core))?;
    let own = query.slots().filter(|slot| core.owners.owner(*slot) == core.id && core.cluster.is_of_own_shard(*slot));
    let stats = own.map(|slot| {
        let keys = core.keyspace.slot_len(0, slot);
        SlotStats { slot, keys, cost: core.slot_usage.of(slot) }
    });
    Ok(Part::new(stats.collect::<Vec<_>>()))
}

/// CLUSTER SLOT-STATS (SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]).
pub fn slot_stats(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let all = shows_all(cx.core);
    let mut stats: Vec<SlotStats> = parts.into_iter().flat_map(Part::take::<Vec<SlotStats>>).collect();
    Query::parse(args, all)?.arrange(&mut stats);
    cx.reply.array(stats.len());
    stats.iter().for_each(|one| write(one, all, &mut cx.reply));
    Ok(())
}

fn write(stats: &SlotStats, all: bool, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.integer(i64::from(stats.slot.get()));
    let shown = Metric::shown(all);
    reply.map(shown.len());
    for metric in shown {
        reply.bulk(metric.name().as_bytes());
        reply.integer(metric.of(stats).cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(slot: u16, keys: u64) -> SlotStats {
        SlotStats { slot: Slot::new(slot), keys, cost: SlotCost::default() }
    }

    fn arranged(query: Query) -> Vec<u16> {
        let mut all = vec![stats(9, 1), stats(1, 5), stats(4, 1), stats(2, 0)];
        query.arrange(&mut all);
        all.iter().map(|one| one.slot.get()).collect()
    }

    #[test]
    fn equal_figures_stand_by_slot_in_either_direction() {
        let sorted = |limit, is_ascending| arranged(Query::Sorted { by: Metric::Keys, limit, is_ascending });
        assert_eq!(sorted(4, false), [1, 4, 9, 2]);
        assert_eq!(sorted(4, true), [2, 4, 9, 1]);
        assert_eq!(sorted(2, false), [1, 4]);
        assert_eq!(arranged(Query::Range { first: Slot::new(0), last: Slot::new(9) }), [1, 2, 4, 9]);
    }
}
