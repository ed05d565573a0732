//! Who serves which slot: claims of primaries, and what this node does when its own, or its primary's, go to another.
//!
//! A claim is right when its config epoch is higher than that of whoever has the slot here. Two primaries with one epoch are told
//! apart by their ids: the one with the smaller id takes a new epoch.

use super::super::message::{Body, Header};
use super::super::node::{Epoch, NodeFlags, NodeIndex};
use super::{Action, Machine, Now};
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

impl Machine {
    /// What the sender, or the primary that it copies, claims to serve.
    pub(super) fn note_claims(&mut self, now: Now, sender: NodeIndex, header: &Header) {
        let Some(leader) = self.state.leader_of(sender) else { return };
        let is_known = match self.state.node(leader).slots() {
            Some(slots) => *slots == *header.slots,
            None => header.slots.is_empty(),
        };
        if !is_known {
            if self.state.node(sender).is_primary() {
                self.take_claims(now, sender, header.config_epoch, &header.slots);
            }
            self.correct(sender, header);
        }
        self.resolve_collision(sender, header.config_epoch);
    }

    /// Gives slots to whoever claims them with right. `owner` claims these, and no others.
    fn take_claims(&mut self, now: Now, owner: NodeIndex, epoch: Epoch, claimed: &SlotSet) {
        let Some(leader) = self.state.leader_of(NodeIndex::MYSELF) else {
            self.rebind(owner, epoch, claimed, None);
            return;
        };
        let taken = self.rebind(owner, epoch, claimed, Some(leader));
        // The slots of this shard have gone to another node, and that has no others: it has taken this shard over.
        let takes_shard_over = claimed.count() == taken;
        let has_none_left = taken > 0 && self.state.node(leader).slots_count() == 0;
        let follows = self.state.settings.allow_replica_migration || takes_shard_over;
        if has_none_left && follows && owner != NodeIndex::MYSELF {
            let node = self.state.node(owner);
            tracing::info!(
                "Configuration change detected. Reconfiguring myself as a replica of {} ({})",
                node.id,
                node.human_name
            );
            self.become_replica_of(now, owner);
        } else {
            self.leave_sub_replica(now);
        }
    }

    /// The new owners of slots; returns how many `leader` has lost.
    fn rebind(&mut self, owner: NodeIndex, epoch: Epoch, claimed: &SlotSet, leader: Option<NodeIndex>) -> usize {
        let mut taken = 0;
        let (mut has_changed, mut is_refused, mut replaced) = (false, false, None);
        let own = self.state.node(owner).slots.clone().unwrap_or_default();
        *self.unclaimed = self.unclaimed.without(&claimed.common(&own));
        for slot in claimed.without(&own).iter() {
            let before = self.state.owner(slot);
            // Whoever imports a slot closes it by hand; what a replica knows of that is its primary's affair. A replica that has taken
            // over from the source is the source now.
            let is_heir = |source: &NodeIndex| {
                self.is_one_shard(*source, owner) && before.is_none_or(|before| self.is_one_shard(before, owner))
            };
            let source = self.state.importing_from.get(&slot);
            if source.is_some_and(|source| !is_heir(source)) && self.state.myself().is_primary() {
                continue;
            }
            let is_right = before
                .is_none_or(|before| self.unclaimed.contains(slot) || self.state.node(before).config_epoch < epoch);
            if !is_right {
                continue;
            }
            if before == Some(NodeIndex::MYSELF) && self.is_just_taken_from(slot, owner) {
                is_refused = true;
                continue;
            }
            if before == Some(NodeIndex::MYSELF) {
                self.lost_slots.get_or_insert_default().insert(slot);
            }
            taken += usize::from(before.is_some() && before == leader);
            replaced = before.filter(|before| self.is_one_shard(*before, owner)).or(replaced);
            self.state.migrating_to.remove(&slot);
            self.give_to(slot, owner);
            has_changed = true;
        }
        // They stay its own here until another claims them: clients are better redirected than refused.
        if let Some(slots) = self.state.node(owner).slots() {
            self.unclaimed.extend(slots.without(claimed).iter());
        }
        if let Some(before) = replaced.filter(|before| self.state.node(*before).slots_count() == 0) {
            self.replace_partner(before, owner);
        }
        if has_changed {
            self.changed();
        }
        if is_refused {
            let node = self.state.node(owner);
            tracing::info!(
                "Node {} ({}) claims slots that have just come here from its shard: they stay",
                node.id,
                node.human_name
            );
            self.claim_beyond(epoch);
        }
        taken
    }

    /// Whatever was known of the slot's owner before, it is this one.
    pub(super) fn give_to(&mut self, slot: Slot, owner: NodeIndex) {
        self.state.set_owner(slot, Some(owner));
        self.unclaimed.remove(slot);
    }

    /// Replicas see that too, but only if they know by now who is of one shard: they are told.
    pub(super) fn replace_partner(&mut self, before: NodeIndex, successor: NodeIndex) {
        if self.state.replace_partner(before, successor) && self.state.myself().is_primary() {
            self.actions.push(Action::TellOpenSlots);
        }
    }

    /// Whether one may have taken over from the other.
    pub(super) fn is_one_shard(&self, one: NodeIndex, other: NodeIndex) -> bool {
        self.state.node(one).shard == self.state.node(other).shard
    }

    /// Tells a node whose claims are out of date who has the slots now: each of the new owners, once.
    fn correct(&mut self, sender: NodeIndex, header: &Header) {
        let mut told: Vec<NodeIndex> = Vec::new();
        let own = self.state.node(sender).slots.clone().unwrap_or_default();
        for slot in header.slots.without(&own).iter() {
            let Some(owner) = self.state.owner(slot) else { continue };
            let is_older = self.state.node(owner).config_epoch > header.config_epoch;
            if is_older && !self.unclaimed.contains(slot) && !told.contains(&owner) {
                told.push(owner);
            }
        }
        for owner in told {
            let node = self.state.node(owner);
            let mut slots = node.slots.clone().unwrap_or_default();
            let (id, config_epoch) = (node.id, node.config_epoch);
            self.unclaimed.iter().for_each(|slot| _ = slots.remove(slot));
            tracing::debug!("Node {} has old slots configuration, sending an UPDATE about {id}", header.sender);
            self.send_to(sender, Body::Update { node: id, config_epoch, slots });
        }
    }

    /// Somebody thinks that this node does not know a primary's slots.
    pub(super) fn hear_update(&mut self, now: Now, id: HexId, epoch: Epoch, slots: &SlotSet) {
        let Some(index) = self.state.find(&id).filter(|index| *index != NodeIndex::MYSELF) else { return };
        if self.state.node(index).config_epoch >= epoch {
            return;
        }
        self.set_as_primary(index);
        self.state.node_mut(index).config_epoch = epoch;
        self.changed();
        self.take_claims(now, index, epoch, slots);
    }

    /// Two primaries with one epoch: the one with the smaller id takes a new one.
    fn resolve_collision(&mut self, sender: NodeIndex, epoch: Epoch) {
        let (myself, other) = (self.state.myself(), self.state.node(sender));
        let collides = myself.is_primary() && other.is_primary() && epoch == myself.config_epoch;
        if !collides || other.id <= myself.id {
            return;
        }
        tracing::debug!("configEpoch collision with node {} ({})", other.id, other.human_name);
        self.keep_copy();
        self.take_next_epoch();
    }

    /// A new epoch for this node without asking anybody.
    pub(super) fn take_next_epoch(&mut self) {
        self.state.current_epoch = self.state.current_epoch.next();
        let epoch = self.state.current_epoch;
        self.state.myself_mut().config_epoch = epoch;
        tracing::info!("New configEpoch set to {epoch}");
        self.changed();
    }

    // ---- roles -----------------------------------------------------------------------------------------------------

    /// A node that was a replica acts as a primary.
    pub(super) fn set_as_primary(&mut self, index: NodeIndex) {
        let node = self.state.node_mut(index);
        if node.is_primary() && node.primary.is_none() {
            return;
        }
        if node.primary.take().is_some() && index != NodeIndex::MYSELF {
            node.flags = node.flags.and(NodeFlags::MIGRATE_TO);
        }
        node.flags = node.flags.without(NodeFlags::REPLICA).and(NodeFlags::PRIMARY);
        self.changed();
    }

    /// A primary that has had replicas is one that others may migrate to when it has none left.
    pub(super) fn note_replica_of(&mut self, primary: NodeIndex) {
        let node = self.state.node_mut(primary);
        node.flags = node.flags.and(NodeFlags::MIGRATE_TO);
    }

    /// This node, which serves nothing, copies another from now on.
    pub(super) fn become_replica_of(&mut self, now: Now, primary: NodeIndex) {
        let shard = self.state.node(primary).shard;
        let myself = self.state.myself_mut();
        if myself.is_primary() {
            myself.flags = myself.flags.without(NodeFlags::PRIMARY.and(NodeFlags::MIGRATE_TO)).and(NodeFlags::REPLICA);
        }
        // A replica knows what another primary had open.
        self.state.migrating_to.clear();
        self.state.importing_from.clear();
        self.unknown_partners.clear();
        let myself = self.state.myself_mut();
        (myself.primary, myself.shard) = (Some(primary), shard);
        self.lost_slots = None;
        self.taken.clear();
        self.note_replica_of(primary);
        self.end_manual_failover();
        self.forget_election(now);
        self.has_news = true;
        self.changed();
    }

    /// The primary of this node has become another's replica without this node having seen why: it follows.
    pub(super) fn leave_sub_replica(&mut self, now: Now) {
        let Some(primary) = self.state.myself().primary else { return };
        let Some(above) = self.state.node(primary).primary.filter(|above| *above != NodeIndex::MYSELF) else { return };
        let node = self.state.node(above);
        if !node.is_primary() {
            return;
        }
        tracing::info!(
            "I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {} ({})",
            node.id,
            node.human_name
        );
        self.become_replica_of(now, above);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Extensions;
    use super::super::{SetSlot, SetSlotRefusal};
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::base::random::Random;
    use crate::cluster::node::ClusterNode;
    use crate::cluster::settings::ClusterSettings;
    use crate::cluster::state::ClusterState;
    use crate::config::Config;

    const NOW: Now = Now { ms: 1_000, unix: UnixMillis(1_700_000_000_000) };

    fn id(number: u8) -> HexId {
        HexId::random(&mut Random::new(u64::from(number)))
    }

    /// A machine that knows these others, primaries each in a shard of its own.
    fn machine(others: &[u8]) -> Machine {
        let config = Config { port: 7000, ..Config::default() };
        let mut state = ClusterState::new(id(1), id(101), ClusterSettings::of(&config));
        for other in others {
            state.add(ClusterNode::new(id(*other), id(100 + other), NodeFlags::PRIMARY)).expect("there is room");
        }
        Machine::new(state, Random::new(1), NOW)
    }

    fn slots(numbers: &[u16]) -> SlotSet {
        numbers.iter().map(|slot| Slot::new(*slot)).collect()
    }

    #[test]
    fn a_replica_hears_of_open_slots_before_it_knows_their_other_end() {
        let mut machine = machine(&[2]);
        machine.become_replica_of(NOW, machine.state.find(&id(2)).expect("known"));
        let (left, closed) = (Slot::new(7), Slot::new(8));
        machine.follow_set_slot(left, SetSlot::Importing(id(3)));
        machine.follow_set_slot(closed, SetSlot::Migrating(id(3)));
        machine.follow_set_slot(closed, SetSlot::Stable);
        machine.tick(NOW);
        assert_eq!(machine.open_slots(), []);
        machine.state.add(ClusterNode::new(id(3), id(103), NodeFlags::PRIMARY));
        machine.tick(NOW);
        assert_eq!(machine.open_slots(), [(left, SetSlot::Importing(id(3)))]);
    }

    #[test]
    fn a_replica_that_hears_late_of_a_slot_gives_it_to_whoever_has_taken_over() {
        let mut machine = machine(&[2, 3, 4]);
        let [primary, old, new] = [2, 3, 4].map(|number| machine.state.find(&id(number)).expect("known"));
        machine.become_replica_of(NOW, primary);
        let node = machine.state.node_mut(old);
        (node.flags, node.primary) = (NodeFlags::REPLICA, Some(new));
        machine.follow_set_slot(Slot::new(7), SetSlot::Node(id(3)));
        assert_eq!(machine.state.owner(Slot::new(7)), Some(new));
    }

    #[test]
    fn a_replica_that_hears_late_that_a_slot_goes_does_not_take_it_for_open_when_it_has_gone() {
        let slot = Slot::new(7);
        for is_late in [false, true] {
            let mut machine = machine(&[2, 3]);
            let [primary, target] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
            machine.take_claims(NOW, primary, Epoch(1), &slots(&[7, 8]));
            machine.become_replica_of(NOW, primary);
            if is_late {
                machine.take_claims(NOW, target, Epoch(2), &slots(&[7]));
            }
            machine.follow_set_slot(slot, SetSlot::Migrating(id(3)));
            assert_eq!(machine.open_slots().is_empty(), is_late);
            machine.take_claims(NOW, target, Epoch(2), &slots(&[7]));
            assert_eq!((machine.open_slots(), machine.state.owner(slot)), (vec![], Some(target)));
        }
    }

    #[test]
    fn a_slot_that_nobody_claimed_any_more_is_not_lost_to_the_primary_that_was() {
        let slot = Slot::new(7);
        let mut machine = machine(&[2, 3]);
        let [primary, source] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
        machine.become_replica_of(NOW, primary);
        machine.take_claims(NOW, source, Epoch(1), &slots(&[7, 8]));
        machine.take_claims(NOW, primary, Epoch(2), &slots(&[1]));
        // The source has given it away; by the stream this replica hears to whom, and takes over.
        machine.take_claims(NOW, source, Epoch(1), &slots(&[8]));
        machine.follow_set_slot(slot, SetSlot::Node(id(2)));
        machine.state.myself_mut().config_epoch = Epoch(3);
        machine.replace_primary(NOW);
        machine.take_claims(NOW, primary, Epoch(2), &slots(&[1, 7]));
        assert_eq!(machine.state.owner(slot), Some(NodeIndex::MYSELF));
    }

    /// A machine that has just taken slot 7 by hand from node 2, with an epoch of its own; node 3 is of the same shard.
    fn machine_with_a_taken_slot() -> (Machine, [NodeIndex; 2]) {
        let mut machine = machine(&[2, 3, 4]);
        let [source, heir] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
        machine.set_shard(heir, id(102));
        machine.take_claims(NOW, source, Epoch(1), &slots(&[7, 9]));
        machine.set_slot(NOW, Slot::new(7), SetSlot::Importing(id(2)), false).expect("it is the source's");
        machine.set_slot(NOW, Slot::new(7), SetSlot::Node(id(1)), false).expect("it may be taken");
        (machine, [source, heir])
    }

    #[test]
    fn a_slot_that_has_just_come_is_not_lost_to_a_shard_that_has_not_heard_of_it() {
        let (machine, claimants) = machine_with_a_taken_slot();
        let own = machine.state.myself().config_epoch;
        assert_eq!(own, Epoch(1));
        for claimant in claimants {
            let (mut machine, _) = machine_with_a_taken_slot();
            machine.take_claims(NOW, claimant, Epoch(5), &slots(&[7, 9]));
            assert_eq!(machine.state.owner(Slot::new(7)), Some(NodeIndex::MYSELF));
            assert_eq!((machine.state.owner(Slot::new(9)), machine.lost_slots.is_none()), (Some(claimant), true));
            assert!(machine.state.myself().config_epoch > Epoch(5) && machine.has_news);
            // Said again before it has heard.
            let epoch = machine.state.myself().config_epoch;
            machine.take_claims(NOW, claimant, Epoch(5), &slots(&[7, 9]));
            assert_eq!(machine.state.myself().config_epoch, epoch);
        }
    }

    #[test]
    fn a_slot_that_has_come_goes_on_to_whoever_is_to_have_it() {
        let slot = Slot::new(7);
        let is_lost = |machine: &Machine| machine.state.owner(slot) != Some(NodeIndex::MYSELF);
        // To another shard; back by hand, or at once; later.
        let (mut machine, [source, _]) = machine_with_a_taken_slot();
        let other = machine.state.find(&id(4)).expect("known");
        machine.take_claims(NOW, other, Epoch(5), &slots(&[7]));
        assert!(is_lost(&machine));
        let (mut machine, _) = machine_with_a_taken_slot();
        machine.set_slot(NOW, slot, SetSlot::Migrating(id(2)), true).expect("it is its own");
        machine.take_claims(NOW, source, Epoch(5), &slots(&[7, 9]));
        assert!(is_lost(&machine));
        let (mut machine, _) = machine_with_a_taken_slot();
        machine.note_grant(true);
        machine.take_claims(NOW, source, Epoch(5), &slots(&[7, 9]));
        assert!(is_lost(&machine));
        let (mut machine, _) = machine_with_a_taken_slot();
        machine.tick(Now { ms: NOW.ms + 3 * machine.timeout_ms(), ..NOW });
        machine.take_claims(NOW, source, Epoch(5), &slots(&[7, 9]));
        assert!(is_lost(&machine));
    }

    #[test]
    fn a_slot_that_comes_behind_a_vote_comes_with_an_epoch_beyond_it() {
        let (mut machine, _) = machine_with_a_taken_slot();
        machine.state.last_vote_epoch = machine.state.current_epoch;
        machine.set_slot(NOW, Slot::new(9), SetSlot::Importing(id(2)), false).expect("it is the source's");
        machine.set_slot(NOW, Slot::new(9), SetSlot::Node(id(1)), false).expect("it may be taken");
        assert!(machine.state.myself().config_epoch > machine.state.last_vote_epoch);
    }

    #[test]
    fn a_primary_tells_its_replicas_who_has_taken_over_from_the_source() {
        let mut machine = machine(&[2, 3]);
        let [source, heir] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
        machine.set_shard(heir, id(102));
        machine.take_claims(NOW, source, Epoch(1), &slots(&[7, 9]));
        machine.set_slot(NOW, Slot::new(7), SetSlot::Importing(id(2)), false).expect("it is the source's");
        machine.take_claims(NOW, heir, Epoch(2), &slots(&[7, 9]));
        assert_eq!(machine.open_slots(), [(Slot::new(7), SetSlot::Importing(id(3)))]);
        assert!(machine.take_actions().contains(&Action::TellOpenSlots));
    }

    #[test]
    fn a_replica_is_in_the_shard_that_its_primary_turns_out_to_be_in() {
        let mut machine = machine(&[2, 3]);
        let [primary, replica] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
        let node = machine.state.node_mut(replica);
        (node.flags, node.primary) = (NodeFlags::REPLICA, Some(primary));
        machine.set_shard(primary, id(50));
        assert_eq!(machine.state.node(replica).shard, id(50));
        assert_eq!(machine.state.myself().shard, id(101));
        // What it says itself it may have made up.
        for (node, shard) in [(replica, id(50)), (primary, id(60))] {
            let says = Extensions { are_known: true, shard: Some(id(60)), ..Extensions::default() };
            machine.hear_extensions(NOW, node, &says);
            assert_eq!(machine.state.node(replica).shard, shard);
        }
    }

    #[test]
    fn a_primary_takes_no_slot_by_hand_while_its_replica_takes_over() {
        let mut machine = machine(&[2, 3]);
        let [source, replica] = [2, 3].map(|number| machine.state.find(&id(number)).expect("known"));
        machine.take_claims(NOW, source, Epoch(1), &slots(&[7]));
        let slot = Slot::new(7);
        machine.set_slot(NOW, slot, SetSlot::Importing(id(2)), false).expect("it is the source's");
        let node = machine.state.node_mut(replica);
        (node.flags, node.primary) = (NodeFlags::REPLICA, Some(NodeIndex::MYSELF));
        machine.begin_handing_over(NOW, replica);
        let epoch = machine.state.current_epoch;
        let order = SetSlot::Node(id(1));
        assert_eq!(machine.set_slot(NOW, slot, order, true), Err(SetSlotRefusal::HandingOver));
        assert_eq!((machine.state.owner(slot), machine.state.current_epoch), (Some(source), epoch));
        machine.end_manual_failover();
        machine.set_slot(NOW, slot, order, true).expect("nobody takes over");
        assert_eq!(machine.state.owner(slot), Some(NodeIndex::MYSELF));
        assert!(machine.state.current_epoch > epoch);
    }
}
