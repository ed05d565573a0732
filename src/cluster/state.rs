//! The cluster as this node sees it: its nodes, who owns which slot, the epochs, and whether all is well.
//!
//! A pure value: time comes in as arguments, randomness as ids, and nothing is sent or written here. Each method is one
//! event; what it changes is for the caller to save and to publish (see `membership`). The owner table is the only
//! record of who serves a slot; slot sets of nodes are read off it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use hashbrown::HashMap;

use super::node::{ClusterNode, Epoch, NodeFlags, NodeIndex};
use super::settings::ClusterSettings;
use crate::base::hex::HexId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::config::EndpointType;

/// A primary that has just started stays read-only so long, so that the cluster can tell it what it missed.
const WRITABLE_DELAY_MS: u64 = 2_000;
/// A primary that was cut off with a minority waits for the node timeout, within these bounds, before it serves again.
const REJOIN_DELAY_MS: RangeInclusive<u64> = 500..=5_000;

/// Nodes that fit: one number is kept for "nobody".
pub const NODES_MAX: usize = UNASSIGNED as usize;
const UNASSIGNED: u16 = u16::MAX;

/// cluster_state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    Fail,
}

/// What an operator wants done with slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// This node takes slots that nobody has.
    Assign,
    /// Slots, whoever has them, become nobody's.
    Release,
}

/// Why slots cannot be had or given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRefusal {
    Busy(Slot),
    Unassigned(Slot),
    Repeated(Slot),
}

/// CLUSTER RESET's kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    Soft,
    /// With a new identity, and epochs from 0 on.
    Hard {
        id: HexId,
        shard: HexId,
    },
}

/// Why CLUSTER SET-CONFIG-EPOCH is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochRefusal {
    NodesKnown,
    AlreadySet,
}

/// The cluster state of one node.
#[derive(Clone)]
pub struct ClusterState {
    /// This node first.
    pub(super) nodes: Vec<ClusterNode>,
    by_id: HashMap<HexId, NodeIndex>,
    /// Index into `nodes` of each slot's owner.
    pub(super) owners: Box<[u16; SLOTS_COUNT]>,
    /// Slots on their way to another node, or from one.
    pub(super) migrating_to: BTreeMap<Slot, NodeIndex>,
    pub(super) importing_from: BTreeMap<Slot, NodeIndex>,
    pub(super) current_epoch: Epoch,
    pub(super) last_vote_epoch: Epoch,
    health: Health,
    /// Primaries that serve at least one slot, as of the last evaluation.
    size: usize,
    /// Monotonic milliseconds of the first evaluation, and of the last one that saw a minority.
    first_evaluated_ms: Option<u64>,
    minority_seen_ms: Option<u64>,
    pub(super) settings: ClusterSettings,
}

impl ClusterState {
    /// A node that knows nobody and serves nothing.
    pub fn new(id: HexId, shard: HexId, settings: ClusterSettings) -> ClusterState {
        let flags = NodeFlags::MYSELF.and(NodeFlags::PRIMARY);
        let mut state = ClusterState::with_nodes(vec![ClusterNode::new(id, shard, flags)], settings.clone());
        state.announce(&settings, "");
        state
    }

    /// A state around nodes that are known already, this one first; slots and epochs come next.
    pub(super) fn with_nodes(nodes: Vec<ClusterNode>, settings: ClusterSettings) -> ClusterState {
        assert!(nodes.first().is_some_and(|node| node.flags.has(NodeFlags::MYSELF)), "this node comes first");
        assert!(nodes.len() <= NODES_MAX, "nodes are counted in 16 bits");
        let by_id = nodes.iter().zip(0..).map(|(node, index)| (node.id, NodeIndex(index))).collect();
        ClusterState {
            nodes,
            by_id,
            owners: Box::new([UNASSIGNED; SLOTS_COUNT]),
            migrating_to: BTreeMap::new(),
            importing_from: BTreeMap::new(),
            current_epoch: Epoch(0),
            last_vote_epoch: Epoch(0),
            health: Health::Fail,
            size: 0,
            first_evaluated_ms: None,
            minority_seen_ms: None,
            settings,
        }
    }

    pub fn myself(&self) -> &ClusterNode {
        &self.nodes[0]
    }

    pub(super) fn myself_mut(&mut self) -> &mut ClusterNode {
        &mut self.nodes[0]
    }

    /// Every known node, this one first.
    pub fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    pub fn node(&self, index: NodeIndex) -> &ClusterNode {
        &self.nodes[usize::from(index.0)]
    }

    pub(super) fn node_mut(&mut self, index: NodeIndex) -> &mut ClusterNode {
        &mut self.nodes[usize::from(index.0)]
    }

    /// Every place in the list, this node's first.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = NodeIndex> + ExactSizeIterator + use<> {
        (0..self.nodes.len() as u16).map(NodeIndex)
    }

    pub fn find(&self, id: &HexId) -> Option<NodeIndex> {
        self.by_id.get(id).copied()
    }

    /// Adds a node that is not known yet; `None` when no more fit.
    pub(super) fn add(&mut self, node: ClusterNode) -> Option<NodeIndex> {
        assert!(!self.by_id.contains_key(&node.id), "a node is known once");
        if self.nodes.len() == NODES_MAX {
            return None;
        }
        let index = NodeIndex(self.nodes.len() as u16);
        self.by_id.insert(node.id, index);
        self.nodes.push(node);
        Some(index)
    }

    /// Gives a node the id that it has turned out to have.
    pub(super) fn rename(&mut self, index: NodeIndex, id: HexId) {
        let before = std::mem::replace(&mut self.node_mut(index).id, id);
        self.by_id.remove(&before);
        self.by_id.insert(id, index);
    }

    /// Forgets a node; its slots become nobody's, its replicas nobody's replicas. The last of the list takes its place: what
    /// names nodes by their places must be told.
    pub(super) fn remove(&mut self, index: NodeIndex) -> ClusterNode {
        assert!(index != NodeIndex::MYSELF, "a node does not forget itself");
        self.release_slots_of(index);
        let last = NodeIndex(self.nodes.len() as u16 - 1);
        let removed = self.nodes.swap_remove(usize::from(index.0));
        self.by_id.remove(&removed.id);
        if index != last {
            let id = self.node(index).id;
            self.by_id.insert(id, index);
        }
        let place = |at: NodeIndex| match at {
            _ if at == index => None,
            _ if at == last => Some(index),
            _ => Some(at),
        };
        for node in &mut self.nodes {
            node.primary = node.primary.and_then(place);
            node.contact.reports.retain(|(id, _)| *id != removed.id);
        }
        for owner in self.owners.iter_mut().filter(|owner| **owner == last.0) {
            *owner = index.0;
        }
        for list in [&mut self.migrating_to, &mut self.importing_from] {
            *list = std::mem::take(list).into_iter().filter_map(|(slot, at)| Some((slot, place(at)?))).collect();
        }
        removed
    }

    /// The replicas of a primary, by their places.
    pub fn replicas_of(&self, primary: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        self.indexes().filter(move |index| {
            let node = self.node(*index);
            node.is_replica() && node.primary == Some(primary)
        })
    }

    /// Its replicas that answer.
    pub fn working_replicas(&self, primary: NodeIndex) -> usize {
        self.replicas_of(primary).filter(|replica| !self.node(*replica).is_unreachable()).count()
    }

    /// Of a replica its primary, of a primary itself.
    pub fn leader_of(&self, index: NodeIndex) -> Option<NodeIndex> {
        let node = self.node(index);
        if node.is_primary() { Some(index) } else { node.primary }
    }

    /// Votes that make a majority of the primaries with slots.
    pub fn quorum(&self) -> usize {
        self.size / 2 + 1
    }

    pub fn health(&self) -> Health {
        self.health
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn current_epoch(&self) -> Epoch {
        self.current_epoch
    }

    /// The epoch of this node's last vote.
    pub fn last_vote_epoch(&self) -> Epoch {
        self.last_vote_epoch
    }

    pub fn endpoint_type(&self) -> EndpointType {
        self.settings.endpoint_type
    }

    // ---- slots -----------------------------------------------------------------------------------------------------

    /// Whether any slot comes here key by key.
    pub fn has_importing(&self) -> bool {
        !self.importing_from.is_empty()
    }

    /// Whether any slot moves away key by key.
    pub fn has_migrating(&self) -> bool {
        !self.migrating_to.is_empty()
    }

    /// Whether the slot comes here key by key.
    pub fn is_importing(&self, slot: Slot) -> bool {
        self.importing_from.contains_key(&slot)
    }

    /// Slots that are on their way to a node, or from it, go on with the one that has taken its place. Whether there are any.
    pub(super) fn replace_partner(&mut self, before: NodeIndex, successor: NodeIndex) -> bool {
        let partners = self.migrating_to.values_mut().chain(self.importing_from.values_mut());
        let replaced = partners.filter(|partner| **partner == before).map(|partner| *partner = successor);
        replaced.count() > 0
    }

    pub fn owner(&self, slot: Slot) -> Option<NodeIndex> {
        let owner = self.owners[slot.index()];
        (owner != UNASSIGNED).then_some(NodeIndex(owner))
    }

    pub(super) fn set_owner(&mut self, slot: Slot, owner: Option<NodeIndex>) {
        let number = owner.map_or(UNASSIGNED, |index| index.0);
        assert!(number == UNASSIGNED || usize::from(number) < self.nodes.len(), "an owner is a known node");
        let before = std::mem::replace(&mut self.owners[slot.index()], number);
        if before == number {
            return;
        }
        if before != UNASSIGNED {
            let node = &mut self.nodes[usize::from(before)];
            node.slots_count -= 1;
            match &mut node.slots {
                Some(slots) if node.slots_count > 0 => _ = slots.remove(slot),
                slots => *slots = None,
            }
        }
        if let Some(owner) = owner {
            let node = self.node_mut(owner);
            node.slots_count += 1;
            node.slots.get_or_insert_default().insert(slot);
        }
    }

    /// What a node serves becomes nobody's.
    pub(super) fn release_slots_of(&mut self, index: NodeIndex) {
        let Some(slots) = self.node(index).slots.clone() else { return };
        slots.iter().for_each(|slot| self.set_owner(slot, None));
    }

    /// The maximal runs of slots with one owner, in ascending order, each with its first and last slot.
    pub fn owned_ranges(&self) -> Vec<(NodeIndex, Slot, Slot)> {
        let mut ranges: Vec<(NodeIndex, Slot, Slot)> = Vec::new();
        for slot in Slot::all() {
            let Some(owner) = self.owner(slot) else { continue };
            match ranges.last_mut() {
                Some((last_owner, _, last)) if *last_owner == owner && last.get() + 1 == slot.get() => *last = slot,
                _ => ranges.push((owner, slot, slot)),
            }
        }
        ranges
    }

    /// How many slots each node has, by its index.
    pub fn slot_counts(&self) -> Vec<usize> {
        self.nodes.iter().map(ClusterNode::slots_count).collect()
    }

    /// Adds a range to what is to be assigned or released, slot by slot.
    ///
    /// # Errors
    /// The first slot that is not free (or not taken), or was picked before.
    pub fn pick(&self, order: SlotOrder, range: RangeInclusive<Slot>, picked: &mut SlotSet) -> Result<(), SlotRefusal> {
        for number in range.start().get()..=range.end().get() {
            let slot = Slot::new(number);
            match (order, self.owner(slot)) {
                (SlotOrder::Assign, Some(_)) => return Err(SlotRefusal::Busy(slot)),
                (SlotOrder::Release, None) => return Err(SlotRefusal::Unassigned(slot)),
                _ if !picked.insert(slot) => return Err(SlotRefusal::Repeated(slot)),
                _ => {}
            }
        }
        Ok(())
    }

    /// CLUSTER ADDSLOTS and DELSLOTS: carries out what `pick` let pass.
    pub fn order(&mut self, order: SlotOrder, picked: &SlotSet) {
        for slot in picked.iter() {
            // Whose it becomes is settled now, so nothing is imported any more.
            self.importing_from.remove(&slot);
            self.set_owner(slot, (order == SlotOrder::Assign).then_some(NodeIndex::MYSELF));
        }
    }

    /// CLUSTER FLUSHSLOTS: this node serves nothing any more.
    pub fn release_own_slots(&mut self) {
        self.release_slots_of(NodeIndex::MYSELF);
    }

    // ---- epochs and identity -----------------------------------------------------------------------------------------

    /// The largest epoch that anybody has.
    pub fn max_epoch(&self) -> Epoch {
        self.nodes.iter().map(|node| node.config_epoch).fold(self.current_epoch, Epoch::max)
    }

    /// The epoch that stands beside a node: a replica shows its primary's.
    pub fn shown_epoch(&self, node: &ClusterNode) -> Epoch {
        match node.primary {
            Some(primary) if node.is_replica() => self.node(primary).config_epoch,
            _ => node.config_epoch,
        }
    }

    /// CLUSTER BUMPEPOCH: a new epoch for this node without asking anybody, unless its own is the largest already.
    /// True when it has a new one.
    pub fn bump_epoch(&mut self) -> bool {
        let own = self.myself().config_epoch;
        if own != Epoch(0) && own == self.max_epoch() {
            return false;
        }
        self.current_epoch = self.current_epoch.next();
        self.myself_mut().config_epoch = self.current_epoch;
        true
    }

    /// CLUSTER SET-CONFIG-EPOCH, for a node that is new.
    ///
    /// # Errors
    /// When it knows other nodes or has an epoch already.
    pub fn set_config_epoch(&mut self, epoch: Epoch) -> Result<(), EpochRefusal> {
        if self.nodes.len() > 1 {
            return Err(EpochRefusal::NodesKnown);
        }
        if self.myself().config_epoch != Epoch(0) {
            return Err(EpochRefusal::AlreadySet);
        }
        self.myself_mut().config_epoch = epoch;
        self.current_epoch = self.current_epoch.max(epoch);
        Ok(())
    }

    /// CLUSTER RESET: forgets all slots and all other nodes; a replica becomes a primary.
    pub fn reset(&mut self, reset: Reset) {
        self.owners.fill(UNASSIGNED);
        self.migrating_to.clear();
        self.importing_from.clear();
        self.nodes.truncate(1);
        let myself = self.myself_mut();
        (myself.slots, myself.slots_count) = (None, 0);
        myself.flags = myself.flags.without(NodeFlags::REPLICA).and(NodeFlags::PRIMARY);
        myself.primary = None;
        if let Reset::Hard { id, shard } = reset {
            (myself.id, myself.shard) = (id, shard);
            myself.config_epoch = Epoch(0);
            (self.current_epoch, self.last_vote_epoch) = (Epoch(0), Epoch(0));
        }
        self.by_id = [(self.myself().id, NodeIndex::MYSELF)].into_iter().collect();
    }

    /// Takes over changed settings. True when something that is saved or published has changed.
    pub fn follow(&mut self, settings: &ClusterSettings) -> bool {
        if self.settings == *settings {
            return false;
        }
        let before = std::mem::replace(&mut self.settings, settings.clone());
        self.announce(settings, &before.announce_ip);
        true
    }

    /// Puts what is announced into this node's entry. An address that was learned, not announced, stays.
    pub(super) fn announce(&mut self, settings: &ClusterSettings, announced_before: &str) {
        let myself = &mut self.nodes[0];
        if settings.announce_ip != announced_before {
            myself.address.ip.clone_from(&settings.announce_ip);
        }
        myself.address.port = settings.port;
        myself.address.tls_port = settings.tls_port;
        myself.address.bus_port = settings.bus_port;
        myself.hostname.clone_from(&settings.hostname);
        myself.human_name.clone_from(&settings.human_name);
        myself.flags = match settings.no_failover {
            true => myself.flags.and(NodeFlags::NO_FAILOVER),
            false => myself.flags.without(NodeFlags::NO_FAILOVER),
        };
    }

    // ---- health ----------------------------------------------------------------------------------------------------

    /// Judges the cluster at `now_ms` (monotonic milliseconds). True when `health` has changed.
    pub fn evaluate(&mut self, now_ms: u64) -> bool {
        let first_ms = *self.first_evaluated_ms.get_or_insert(now_ms);
        let careful = self.myself().is_primary() && self.health == Health::Fail;
        if careful && now_ms.saturating_sub(first_ms) < WRITABLE_DELAY_MS {
            return false;
        }
        let health = self.judge(now_ms);
        if health == self.health {
            return false;
        }
        let delay_ms = self.settings.node_timeout_ms.clamp(*REJOIN_DELAY_MS.start(), *REJOIN_DELAY_MS.end());
        let rejoining = self.minority_seen_ms.is_some_and(|seen_ms| now_ms.saturating_sub(seen_ms) < delay_ms);
        if careful && rejoining {
            return false;
        }
        self.health = health;
        true
    }

    /// This node may have missed what the others agreed on: until it has been in touch with a majority for a while, nothing is well.
    /// True when `health` has changed.
    pub(super) fn doubt(&mut self, now_ms: u64) -> bool {
        self.minority_seen_ms = Some(now_ms);
        std::mem::replace(&mut self.health, Health::Fail) == Health::Ok
    }

    /// The health that the nodes and slots add up to; counts the primaries and notes a minority.
    fn judge(&mut self, now_ms: u64) -> Health {
        let mut health = Health::Ok;
        let covered: usize = self.nodes.iter().filter(|node| !node.has_failed()).map(ClusterNode::slots_count).sum();
        if self.settings.require_full_coverage && covered < SLOTS_COUNT {
            health = Health::Fail;
        }
        let (mut size, mut reachable) = (0, 0);
        for node in self.nodes.iter().filter(|node| node.is_primary() && node.slots_count > 0) {
            size += 1;
            reachable += usize::from(!node.is_unreachable());
        }
        self.size = size;
        if reachable < size / 2 + 1 {
            health = Health::Fail;
            self.minority_seen_ms = Some(now_ms);
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::cluster::view::Serving;
    use crate::config::Config;
    use proptest::prelude::*;

    fn state() -> ClusterState {
        let mut random = Random::new(1);
        let settings = ClusterSettings::of(&Config { port: 7000, ..Config::default() });
        ClusterState::new(HexId::random(&mut random), HexId::random(&mut random), settings)
    }

    fn slots(first: u16, last: u16) -> RangeInclusive<Slot> {
        Slot::new(first)..=Slot::new(last)
    }

    fn assign(state: &mut ClusterState, first: u16, last: u16) {
        let mut picked = SlotSet::new();
        state.pick(SlotOrder::Assign, slots(first, last), &mut picked).unwrap();
        state.order(SlotOrder::Assign, &picked);
    }

    #[test]
    fn slots_are_assigned_once_and_released_once() {
        let mut state = state();
        assign(&mut state, 5, 7);
        let mut picked = SlotSet::new();
        assert_eq!(state.pick(SlotOrder::Assign, slots(7, 9), &mut picked), Err(SlotRefusal::Busy(Slot::new(7))));
        assert_eq!(
            state.pick(SlotOrder::Release, slots(8, 8), &mut picked),
            Err(SlotRefusal::Unassigned(Slot::new(8)))
        );
        assert_eq!(state.pick(SlotOrder::Release, slots(5, 6), &mut picked), Ok(()));
        assert_eq!(state.pick(SlotOrder::Release, slots(6, 7), &mut picked), Err(SlotRefusal::Repeated(Slot::new(6))));
        state.order(SlotOrder::Release, &picked);
        assert_eq!(state.owned_ranges(), [(NodeIndex::MYSELF, Slot::new(7), Slot::new(7))]);
    }

    #[test]
    fn a_new_node_is_well_two_seconds_after_its_start() {
        let mut state = state();
        assert!(!state.evaluate(1_000));
        assign(&mut state, 0, 16383);
        assert!(!state.evaluate(2_999) && state.size() == 0);
        assert!(state.evaluate(3_000) && state.health() == Health::Ok && state.size() == 1);
    }

    #[test]
    fn a_node_that_long_had_no_slots_waits_for_the_rejoin_delay() {
        let mut state = state();
        assert!(!state.evaluate(0) && !state.evaluate(10_000));
        assign(&mut state, 0, 16383);
        assert!(!state.evaluate(10_001) && !state.evaluate(14_999));
        assert!(state.evaluate(15_000) && state.health() == Health::Ok);
    }

    #[test]
    fn a_hole_is_a_failure_only_under_full_coverage() {
        let mut state = state();
        state.evaluate(0);
        assign(&mut state, 0, 16383);
        state.evaluate(2_000);
        let mut picked = SlotSet::new();
        state.pick(SlotOrder::Release, slots(9, 9), &mut picked).unwrap();
        state.order(SlotOrder::Release, &picked);
        assert!(state.evaluate(2_001) && state.health() == Health::Fail);
        let lenient = ClusterSettings { require_full_coverage: false, ..state.settings.clone() };
        assert!(state.follow(&lenient) && !state.follow(&lenient));
        assert!(state.evaluate(2_002) && state.health() == Health::Ok);
        assert_eq!(state.view().serving(Slot::new(9)), Serving::Nobody);
    }

    #[test]
    fn an_epoch_is_bumped_until_it_is_the_largest() {
        let mut state = state();
        assert!(state.bump_epoch() && state.myself().config_epoch == Epoch(1));
        assert!(!state.bump_epoch());
        assert_eq!(state.set_config_epoch(Epoch(7)), Err(EpochRefusal::AlreadySet));
        state.reset(Reset::Soft);
        assert_eq!(state.current_epoch(), Epoch(1));
        let other = HexId::ZEROS;
        state.reset(Reset::Hard { id: other, shard: other });
        assert_eq!(
            (state.myself().id, state.current_epoch(), state.myself().config_epoch),
            (other, Epoch(0), Epoch(0))
        );
        assert_eq!(state.set_config_epoch(Epoch(7)), Ok(()));
        assert_eq!(state.current_epoch(), Epoch(7));
    }

    #[test]
    fn an_announced_address_is_shown_and_a_learned_one_stays() {
        let mut state = state();
        state.nodes[0].address.ip = "10.0.0.1".into();
        let mut settings = ClusterSettings { port: 7777, ..state.settings.clone() };
        assert!(state.follow(&settings));
        assert_eq!((state.myself().address.ip.as_str(), state.myself().address.port), ("10.0.0.1", 7777));
        settings.announce_ip = "10.0.0.2".into();
        state.follow(&settings);
        assert_eq!(state.myself().address.ip, "10.0.0.2");
        settings.announce_ip.clear();
        settings.no_failover = true;
        state.follow(&settings);
        assert_eq!(state.myself().address.ip, "");
        assert_eq!(state.myself().flags.to_string(), "myself,master,nofailover");
    }

    proptest! {
        #[test]
        fn ranges_and_counts_describe_the_owner_table(owners in proptest::collection::vec((0u16..16384, 0u16..3), 0..400)) {
            let mut state = state();
            state.add(ClusterNode::new(HexId::ZEROS, HexId::ZEROS, NodeFlags::PRIMARY));
            for (slot, owner) in owners {
                state.set_owner(Slot::new(slot), (owner < 2).then_some(NodeIndex(owner)));
            }
            let ranges = state.owned_ranges();
            let mut counts = vec![0; 2];
            let mut rebuilt = [UNASSIGNED; SLOTS_COUNT];
            for (owner, first, last) in &ranges {
                counts[usize::from(owner.0)] += usize::from(last.get() - first.get()) + 1;
                rebuilt[first.index()..=last.index()].fill(owner.0);
            }
            prop_assert_eq!(state.slot_counts(), counts);
            prop_assert!(rebuilt == *state.owners);
            let maximal = ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2.get() + 1 < pair[1].1.get());
            prop_assert!(maximal);
        }
    }
}
