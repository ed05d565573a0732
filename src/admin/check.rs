//! `check` and `info`: what a cluster has, and whether it is in order. Changes nothing.
//!
//! The verdicts are redis-cli's: nodes that answer must agree about the slots, no slot may be on its way, and every slot
//! must be served by a node that answers. The lines that say so begin with `[OK]` or `[ERR]`; those of a cluster in order are
//! word for word redis-cli's, because scripts look for them.

use super::Failure;
use super::arguments::Settings;
use super::client::{HostPort, Trouble};
use super::members::{Cluster, Member, nodes_table, short};
use super::output::{Output, count, table};
use super::reply::Reply;
use super::topology::show_ranges;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};

/// One verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    Good(String),
    Bad(String),
}

/// Prints the cluster's nodes and every verdict.
///
/// # Errors
/// The entry does not answer, or a verdict is bad.
pub fn check(entry: &HostPort, search_owners: bool, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    output.line(&nodes_table(&cluster.members));
    let mut findings = findings(&cluster.members);
    if search_owners {
        findings.extend(owners(&mut cluster)?);
    }
    for finding in &findings {
        match finding {
            Finding::Good(text) => output.line(&format!("[OK] {text}")),
            Finding::Bad(text) => output.line(&format!("[ERR] {text}")),
        }
    }
    match bad(findings).len() {
        0 => Ok(()),
        number => {
            Err(Failure::line(format!("the cluster of {entry} is not in order: {}, see above", count(number, "error"))))
        }
    }
}

/// Prints what each primary has, and the sums.
///
/// # Errors
/// The entry does not answer, or a primary does not say how many keys it has.
pub fn info(entry: &HostPort, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    let troubles = overview(&mut cluster, output);
    if troubles.is_empty() { Ok(()) } else { Err(Failure::Failed(troubles.iter().map(Trouble::to_string).collect())) }
}

/// Fails with the bad verdicts, if there are any.
///
/// # Errors
/// One line for each bad verdict.
pub fn must_be_in_order(cluster: &Cluster) -> Result<(), Failure> {
    let lines = bad(findings(&cluster.members));
    if lines.is_empty() { Ok(()) } else { Err(Failure::Failed(lines)) }
}

fn bad(findings: Vec<Finding>) -> Vec<String> {
    let lines = findings.into_iter().filter_map(|finding| match finding {
        Finding::Good(_) => None,
        Finding::Bad(line) => Some(line),
    });
    lines.collect()
}

/// A table of the primaries, and the sums. Returns what went wrong on the way.
fn overview(cluster: &mut Cluster, output: &mut Output) -> Vec<Trouble> {
    let (mut troubles, mut rows) = (Vec::new(), Vec::new());
    let mut keys_sum = 0i64;
    let replicas: Vec<usize> = cluster.members.iter().map(|member| cluster.replicas_count(member.id())).collect();
    for (member, replicas) in cluster.members.iter_mut().zip(&replicas).filter(|(member, _)| member.is_primary()) {
        let keys = match member.client.ask(&["DBSIZE"]) {
            Ok(Reply::Integer(keys)) => {
                keys_sum = keys_sum.saturating_add(keys);
                keys.to_string()
            }
            Ok(_) => "?".to_owned(),
            Err(trouble) => {
                troubles.push(trouble);
                "?".to_owned()
            }
        };
        let slots = member.myself().slots_count().to_string();
        rows.push(vec![member.name().to_owned(), short(member.id()), keys, slots, replicas.to_string()]);
    }
    output.line(&table(&["Primary", "Id", "Keys", "Slots", "Replicas"], &rows));
    let replicas = cluster.members.iter().filter(|member| !member.is_primary()).count();
    let average = keys_sum as f64 / SLOTS_COUNT as f64;
    output.line(&format!(
        "{keys_sum} keys in {} with {}; {average:.2} keys per slot on average.",
        if rows.len() == 1 { "1 primary".to_owned() } else { format!("{} primaries", rows.len()) },
        count(replicas, "replica"),
    ));
    troubles
}

/// The verdicts on what the members said last.
fn findings(members: &[Member]) -> Vec<Finding> {
    let mut findings = disagreements(members);
    if findings.is_empty() {
        findings.push(Finding::Good("All nodes agree about slots configuration.".to_owned()));
    }
    let open: Vec<Finding> = members.iter().flat_map(open_slots).collect();
    if open.is_empty() {
        findings.push(Finding::Good("No slot is migrating or importing.".to_owned()));
    }
    findings.extend(open);
    let mut served = SlotSet::new();
    for (first, last) in members.iter().flat_map(|member| member.myself().slots.iter()) {
        served.extend((first.get()..=last.get()).map(Slot::new));
    }
    findings.push(coverage(&served));
    findings
}

/// One for each member whose map of the slots is not the first's.
fn disagreements(members: &[Member]) -> Vec<Finding> {
    let Some((first, others)) = members.split_first() else { return Vec::new() };
    let map = first.view.slot_map();
    let differ = others.iter().filter(|member| member.view.slot_map() != map);
    let line = |member: &Member| {
        format!(
            "{} and {} do not agree about who serves which slots; if that stays, compare their CLUSTER NODES",
            member.name(),
            first.name()
        )
    };
    differ.map(|member| Finding::Bad(line(member))).collect()
}

fn open_slots(member: &Member) -> Vec<Finding> {
    let myself = member.myself();
    let kinds = [("migrating to", &myself.migrating), ("importing from", &myself.importing)];
    let open = kinds.into_iter().flat_map(|(kind, slots)| slots.iter().map(move |(slot, peer)| (kind, slot, peer)));
    open.map(|(kind, slot, peer)| {
        let name = member.name();
        Finding::Bad(format!(
            "{name} has slot {slot} {kind} {peer}; finish the move, or send it CLUSTER SETSLOT {slot} STABLE"
        ))
    })
    .collect()
}

fn coverage(served: &SlotSet) -> Finding {
    let lost: SlotSet = Slot::all().filter(|slot| !served.contains(*slot)).collect();
    match lost.count() {
        0 => Finding::Good(format!("All {SLOTS_COUNT} slots covered.")),
        number => Finding::Bad(format!(
            "{number} of {SLOTS_COUNT} slots are served by no node that answers: {}; start their node, or give them to another with CLUSTER ADDSLOTS",
            show_ranges(lost.ranges())
        )),
    }
}

/// Slots whose keys lie on more than one primary.
fn owners(cluster: &mut Cluster) -> Result<Vec<Finding>, Failure> {
    let mut holders: Vec<Vec<String>> = vec![Vec::new(); SLOTS_COUNT];
    let question = |slot: Slot| ["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()].map(str::to_owned).to_vec();
    let questions: Vec<Vec<String>> = Slot::all().map(question).collect();
    for member in cluster.members.iter_mut().filter(|member| member.is_primary()) {
        let mut serves = SlotSet::new();
        for (first, last) in &member.myself().slots {
            serves.extend((first.get()..=last.get()).map(Slot::new));
        }
        let replies = member.client.ask_all(&questions)?;
        for ((slot, reply), holders) in Slot::all().zip(replies).zip(&mut holders) {
            if serves.contains(slot) || matches!(reply, Reply::Integer(keys) if keys > 0) {
                holders.push(member.name().to_owned());
            }
        }
    }
    let several = Slot::all().zip(&holders).filter(|(_, holders)| holders.len() > 1);
    let mut findings: Vec<Finding> = several
        .map(|(slot, holders)| {
            Finding::Bad(format!(
                "slot {slot} is served or has keys on {}; move its keys to its node with MIGRATE",
                holders.join(", ")
            ))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::Good("No slot has keys on several primaries.".to_owned()));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_nobody_serves_are_named() {
        assert_eq!(coverage(&SlotSet::full()), Finding::Good("All 16384 slots covered.".to_owned()));
        let mut served = SlotSet::full();
        for slot in [7, 100, 101, 102] {
            served.remove(Slot::new(slot));
        }
        let Finding::Bad(line) = coverage(&served) else { panic!() };
        assert!(line.starts_with("4 of 16384 slots") && line.contains(": 7,100-102;"), "{line}");
    }
}
