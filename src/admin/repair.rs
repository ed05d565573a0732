//! `fix`: slots that are half moved, that nobody serves, or whose keys lie in several places.
//!
//! `diagnosis` says what is to be done, `transfer` does it. What is found at the end is what `check` would find.

use super::Failure;
use super::agreement::wait_for_all;
use super::arguments::{Moving, Settings};
use super::check::{check, must_be_in_order};
use super::client::HostPort;
use super::diagnosis::{self, Part, Step};
use super::members::{Cluster, Member};
use super::output::{Output, count};
use super::reply::Reply;
use super::shares::Move;
use super::transfer::Ground;
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

/// What `fix` was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Look for keys in several places, too: asks every primary about every slot.
    pub search_owners: bool,
    /// Primaries that do not answer are given up, with what they serve.
    pub without_unreachable: bool,
}

/// Puts in order what can be.
///
/// # Errors
/// Something is left, or went wrong.
pub fn fix(
    entry: &HostPort,
    extent: Extent,
    moving: &Moving,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    let unreachable = cluster.missing.iter().filter(|missing| !missing.node.is_replica).count();
    if unreachable > 0 && !extent.without_unreachable {
        return Err(Failure::line(format!(
            "{} not answer: what they serve would be taken from them, and their keys be lost to it; start them, or add --cluster-fix-with-unreachable-masters",
            if unreachable == 1 { "1 primary does".to_owned() } else { format!("{unreachable} primaries do") }
        )));
    }
    // Of slots that are open, some keys are there already.
    let moving = &Moving { key_by_key: true, ..*moving };
    let mut work = Work { ground: Ground::new(&cluster, settings, moving)?, output, settings };
    let mut fixed = work.open_slots(&cluster)?;
    if fixed > 0 {
        cluster = Cluster::load(entry, settings, work.output)?;
    }
    fixed += work.unserved_slots(&cluster)?;
    if extent.search_owners {
        fixed += work.several_owners(&cluster)?;
    }
    if fixed > 0 {
        output.begin("Waiting until all nodes agree");
        let lack = |all: &[Member], member: &Member| {
            let first = all.first()?;
            (member.view.slot_map() != first.view.slot_map()).then(|| "does not agree with the others".to_owned())
        };
        wait_for_all(&mut cluster.members, settings.wait, output, lack, |_| Ok(()))?;
        output.line(&format!("[OK] {} put in order.", count(fixed, "slot")));
    } else if must_be_in_order(&cluster).is_ok() {
        output.line("[OK] Nothing to fix.");
    }
    check(entry, extent.search_owners, settings, output)
}

struct Work<'w> {
    ground: Ground<'w>,
    output: &'w mut Output,
    settings: &'w Settings,
}

impl Work<'_> {
    fn open_slots(&mut self, cluster: &Cluster) -> Result<usize, Failure> {
        let mut open = SlotSet::new();
        for member in cluster.primaries() {
            let myself = member.myself();
            open.extend(myself.migrating.iter().chain(&myself.importing).map(|(slot, _)| *slot));
        }
        for slot in open.iter() {
            let parts = self.parts(cluster, slot)?;
            let steps = diagnosis::open_slot(&parts)
                .map_err(|why| Failure::line(format!("slot {slot} cannot be put in order: {why}")))?;
            self.carry_out(slot, &steps)?;
        }
        Ok(open.count())
    }

    fn unserved_slots(&mut self, cluster: &Cluster) -> Result<usize, Failure> {
        let mut served = SlotSet::new();
        for (first, last) in cluster.primaries().flat_map(|member| member.myself().slots.iter()) {
            served.extend((first.get()..=last.get()).map(Slot::new));
        }
        let lost: Vec<Slot> = Slot::all().filter(|slot| !served.contains(*slot)).collect();
        if lost.is_empty() {
            return Ok(0);
        }
        let question = format!("{} served by nobody: give them to primaries that answer?", is_or_are(lost.len()));
        if !self.settings.yes && !self.output.ask(&question) {
            return Err(Failure::line("nothing was changed about slots that nobody serves"));
        }
        // In turns, so that none gets all of them.
        let ids: Vec<HexId> = cluster.primaries().map(Member::id).collect();
        for (slot, any) in lost.iter().zip(ids.iter().cycle()) {
            let parts = self.parts(cluster, *slot)?;
            self.carry_out(*slot, &diagnosis::unserved_slot(&parts, *any))?;
        }
        Ok(lost.len())
    }

    fn several_owners(&mut self, cluster: &Cluster) -> Result<usize, Failure> {
        let mut fixed = 0;
        for slot in Slot::all() {
            let parts = self.parts(cluster, slot)?;
            if parts.iter().filter(|part| part.serves || part.keys > 0).count() > 1 {
                self.carry_out(slot, &diagnosis::several_owners(&parts))?;
                fixed += 1;
            }
        }
        Ok(fixed)
    }

    fn parts(&mut self, cluster: &Cluster, slot: Slot) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::new();
        for member in cluster.primaries() {
            let myself = member.myself();
            let is_here = |open: &[(Slot, String)]| open.iter().find(|(of, _)| *of == slot).map(|(_, to)| to.clone());
            parts.push(Part {
                id: member.id(),
                serves: myself.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot)),
                migrating_to: is_here(&myself.migrating),
                is_importing: is_here(&myself.importing).is_some(),
                keys: self.ground.keys_of(member.id(), slot)?,
            });
        }
        Ok(parts)
    }

    fn carry_out(&mut self, slot: Slot, steps: &[Step]) -> Result<(), Failure> {
        let number = slot.to_string();
        for step in steps {
            match *step {
                Step::Claim { node, closes } => self.claim(node, &number, closes)?,
                Step::Cede { node, owner } => {
                    self.ground.suggest(node, &["CLUSTER", "DELSLOTS", &number])?;
                    self.ground.order(node, &["CLUSTER", "SETSLOT", &number, "NODE", owner.as_str()])?;
                }
                Step::Tell { node, owner } => {
                    self.ground.order(node, &["CLUSTER", "SETSLOT", &number, "NODE", owner.as_str()])?;
                }
                Step::Import { node, from } => {
                    self.ground.order(node, &["CLUSTER", "SETSLOT", &number, "IMPORTING", from.as_str()])?;
                }
                Step::Close { node } => {
                    self.ground.order(node, &["CLUSTER", "SETSLOT", &number, "STABLE"])?;
                }
                Step::Move { from, to } => {
                    self.ground.move_slots(&[Move { slot, from, to }], self.output)?;
                }
                Step::MoveKeys { from, to } => {
                    let keys = self.ground.move_keys(Move { slot, from, to }, self.output)?;
                    if keys > 0 {
                        self.output.line(&format!("slot {slot}: {keys} keys went to where it is served"));
                    }
                }
            }
        }
        self.output.line(&format!("[OK] slot {slot} is in order."));
        Ok(())
    }

    /// In one transaction, so that no gossip comes between.
    fn claim(&mut self, node: HexId, slot: &str, closes: bool) -> Result<(), Failure> {
        self.ground.order(node, &["MULTI"])?;
        // It may serve it already, in its own opinion.
        self.ground.order(node, &["CLUSTER", "DELSLOTS", slot])?;
        self.ground.order(node, &["CLUSTER", "ADDSLOTS", slot])?;
        if closes {
            self.ground.order(node, &["CLUSTER", "SETSLOT", slot, "STABLE"])?;
        }
        self.ground.order(node, &["CLUSTER", "BUMPEPOCH"])?;
        let Reply::Array(replies) = self.ground.order(node, &["EXEC"])? else { return Ok(()) };
        // The first may fail: then nobody served it there.
        match replies.iter().skip(1).find(|reply| matches!(reply, Reply::Error(_))) {
            Some(error) => Err(Failure::line(format!("{node} does not take slot {slot}: {}", error.text()))),
            None => Ok(()),
        }
    }
}

fn is_or_are(number: usize) -> String {
    if number == 1 { "1 slot is".to_owned() } else { format!("{number} slots are") }
}
