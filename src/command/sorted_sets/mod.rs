//! The commands of sorted sets, by purpose: `add`, `scores` (of members, and how many there are), `ranges`,
//! `removal`, `combine` (unions, intersections, differences, whose inputs are `source`s), `pop`, `sample` (random
//! members, walking in steps).
//!
//! Here is what they share: replying members, storing a result, the limits of the compact form. `bounds` reads the
//! ends of ranges. `command::geo` uses these too.

pub mod add;
mod bounds;
pub mod combine;
pub mod pop;
pub mod ranges;
pub mod removal;
pub mod sample;
pub mod scores;
mod source;

use std::ops::Range;

use super::context::Context;
use super::elements::reply_element;
use crate::base::number::format_double;
use crate::config::NotifyFlags;
use crate::keyspace::listpack::{Digits, Element};
use crate::keyspace::sorted_set::{Limits, SortedSet};
use crate::resp::{Reply, RespVersion};

/// How large a sorted set's compact form may get now.
pub fn limits(cx: &Context<'_>) -> Limits {
    let config = &cx.core.config;
    Limits { entries: config.zset_max_listpack_entries, value_bytes: config.zset_max_listpack_value }
}

/// The members of these ranks.
fn names(set: &SortedSet, ranks: Range<usize>) -> Vec<Box<[u8]>> {
    let mut digits = Digits::new();
    set.walk(ranks, false).map(|(member, _)| member.as_bytes(&mut digits).into()).collect()
}

/// Writes `count` members, with their scores if asked for: in version 2 behind each member, in version 3 in a pair
/// with it.
fn reply_entries<'a>(
    reply: &mut Reply<'_>,
    entries: impl Iterator<Item = (Element<'a>, f64)>,
    count: usize,
    with_scores: bool,
) {
    let in_pairs = with_scores && reply.version() == RespVersion::V3;
    reply.array(if with_scores && !in_pairs { count.saturating_mul(2) } else { count });
    let mut scores = Scores::default();
    for (member, score) in entries {
        if in_pairs {
            reply.array(2);
        }
        reply_element(reply, member);
        if with_scores {
            scores.reply(reply, score);
        }
        // Draws that repeat may be more than anybody can take.
        if reply.is_cut_off() {
            return;
        }
    }
}

/// Writes scores one after another without an allocation for each.
#[derive(Default)]
struct Scores {
    text: Vec<u8>,
}

impl Scores {
    fn reply(&mut self, reply: &mut Reply<'_>, score: f64) {
        if reply.version() == RespVersion::V3 {
            return reply.double(score);
        }
        self.text.clear();
        format_double(score, &mut self.text);
        reply.bulk(&self.text);
    }
}

/// Puts a result in place of what is at a key, whatever that is, or removes the key when the result is empty. Replies
/// how many members there are. Setting counts as `changes` changes of the data, removing as one.
pub fn store(cx: &mut Context<'_>, destination: &[u8], result: SortedSet, event: &str, changes: u64) {
    let (key, db, count) = (cx.key(destination), cx.db(), result.len());
    let mut entry = cx.core.keyspace.write(db, key);
    if count > 0 {
        entry.set_collection(result);
        entry.set_expiry(None);
        // Setting it has counted as one.
        entry.commit(changes.saturating_sub(1));
        cx.notify(NotifyFlags::ZSET, event, destination);
    } else if entry.remove() {
        cx.notify(NotifyFlags::GENERIC, "del", destination);
    }
    cx.reply.integer(count as i64);
}
