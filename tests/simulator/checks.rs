//! What must hold after every step of every node, whatever the network and the disks do.

use std::collections::{BTreeMap, HashMap};

use slotcore::base::hex::HexId;
use slotcore::base::slot::SlotSet;
use slotcore::cluster::node::Epoch;
use slotcore::cluster::state::ClusterState;

/// What a node serves, in its own eyes.
#[derive(Clone, PartialEq, Eq)]
struct Claim {
    id: HexId,
    epoch: Epoch,
    slots: SlotSet,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    current: Epoch,
    last_vote: Epoch,
}

#[derive(Default)]
pub struct Checks {
    /// By node.
    claims: HashMap<usize, Claim>,
    seen: HashMap<usize, Seen>,
    /// Who was voted for, by voter and epoch: also before a restart.
    votes: HashMap<(HexId, u64), HexId>,
    /// What was won in elections, by epoch.
    won: BTreeMap<u64, SlotSet>,
    /// CLUSTER FAILOVER TAKEOVER was ordered: an epoch that a node gives itself may be one that others vote for, until they meet.
    pub had_takeover: bool,
}

impl Checks {
    /// A process has started: what it had in memory only is gone.
    pub fn started(&mut self, node: usize, state: &ClusterState) {
        self.claims.remove(&node);
        self.seen.insert(node, Seen { current: state.current_epoch(), last_vote: state.last_vote_epoch() });
    }

    /// A vote is on its way.
    pub fn voted(&mut self, voter: HexId, epoch: Epoch, candidate: Option<HexId>) {
        let Some(candidate) = candidate else { return };
        if let Some(before) = self.votes.insert((voter, epoch.0), candidate) {
            assert_eq!(before, candidate, "{voter} has voted twice in epoch {epoch}");
        }
    }

    /// A node has taken a step.
    pub fn stepped(&mut self, node: usize, state: &ClusterState) {
        let seen = self.seen.entry(node).or_default();
        assert!(state.current_epoch() >= seen.current, "the epoch of node {node} went back");
        assert!(state.last_vote_epoch() >= seen.last_vote, "the last vote of node {node} went back");
        assert!(state.current_epoch() >= state.myself().config_epoch, "node {node} is ahead of the cluster's epoch");
        (seen.current, seen.last_vote) = (state.current_epoch(), state.last_vote_epoch());
        self.check_claim(node, state);
    }

    /// Never two primaries with the same slot in the same epoch.
    fn check_claim(&mut self, node: usize, state: &ClusterState) {
        let myself = state.myself();
        let Some(slots) = myself.slots().filter(|_| myself.is_primary()) else {
            self.claims.remove(&node);
            return;
        };
        let before = self.claims.get(&node);
        let is_known = before.is_some_and(|before| {
            before.id == myself.id && before.epoch == myself.config_epoch && before.slots == *slots
        });
        if is_known {
            return;
        }
        if let Some(before) = before.filter(|before| before.id == myself.id) {
            assert!(myself.config_epoch >= before.epoch, "the config epoch of node {node} went back");
        }
        let claim = Claim { id: myself.id, epoch: myself.config_epoch, slots: slots.clone() };
        for (other, theirs) in self.claims.iter().filter(|(other, _)| **other != node) {
            if theirs.epoch != claim.epoch {
                continue;
            }
            if let Some(slot) = claim.slots.iter().find(|slot| theirs.slots.contains(*slot)) {
                let are_voted = self.was_elected(&claim) && self.was_elected(theirs);
                let is_excused = self.had_takeover && !are_voted;
                assert!(is_excused, "nodes {node} and {other} both serve slot {slot} in epoch {}", claim.epoch);
            }
        }
        if self.was_elected(&claim) {
            self.won.entry(claim.epoch.0).or_insert_with(|| claim.slots.clone());
        }
        self.claims.insert(node, claim);
    }

    /// Whom all agree on in the end has won each slot no earlier than whoever won it last.
    pub fn check_outcome(&self, state: &ClusterState) {
        for (epoch, slots) in &self.won {
            for slot in slots.iter() {
                let owner = state.owner(slot).map(|owner| state.node(owner).config_epoch.0);
                assert!(owner >= Some(*epoch), "slot {slot} was won in epoch {epoch}, and ends with {owner:?}");
            }
        }
    }

    fn was_elected(&self, claim: &Claim) -> bool {
        self.votes.iter().any(|((_, epoch), candidate)| *epoch == claim.epoch.0 && *candidate == claim.id)
    }
}
