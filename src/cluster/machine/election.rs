//! Failover: a replica asks for votes, primaries vote, the winner takes its primary's place.
//!
//! ```text
//! primary FAIL (or a manual failover may start) -> when is it my turn? -> ask all primaries, under a new epoch that is on disk
//! a primary with slots votes once per epoch, on disk before it says so
//! votes of a majority -> config epoch := the election's, slots := the primary's, on disk -> everybody is told
//! ```
//!
//! Redis waits 500 to 1000 ms before it asks, so that the news of the failure is everywhere first. Here the news travels ahead of the
//! request on the same connections, so the wait is only what siblings need to tell each other how far their data are: nothing where
//! there is none, little among slotcore nodes, Redis's own where a sibling is another server and decides at its own pace. Requests are
//! repeated under the same epoch while votes are missing; votes are counted by voter.

use super::super::message::{Body, Header, Message};
use super::super::node::{Epoch, NodeIndex};
use super::{Machine, Now};
use crate::base::hex::HexId;

/// An election lasts so many node timeouts, and as long at least; the next one begins after twice that.
const TIMEOUTS_PER_ELECTION: u64 = 2;
const ELECTION_MIN_MS: u64 = 2000;
/// A primary votes for a replica of the same failed primary at most once in so many node timeouts.
const TIMEOUTS_PER_VOTE: u64 = 2;
/// What a replica waits for each sibling that has more data.
const RANK_DELAY_MS: u64 = 1000;
/// What it waits for each sibling that has as much, and the smaller id.
const TIE_DELAY_MS: u64 = 200;
/// What siblings need to hear each other's offsets: slotcore nodes, and others.
const KIN_DELAY_MS: u64 = 60;
const STRANGERS_DELAY_MS: u64 = 500;
/// Asked again after so long.
const ASK_AGAIN_MS: u64 = 250;
/// What holds an election up is said again after so long, and at first only when it has lasted longer than is usual.
const SAY_AGAIN_MS: u64 = 10_000;
const USUAL_MS: u64 = 5000;

/// This node's own candidacy.
#[derive(Debug, Default)]
pub(super) struct Election {
    /// When this node asks, or asked, for votes.
    begins_ms: Option<u64>,
    /// When it last did.
    asked_ms: Option<u64>,
    epoch: Epoch,
    rank: usize,
    votes: Vec<HexId>,
    said: Option<(Obstacle, u64)>,
}

/// Why there is no failover yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    DataAge,
    Delay,
    Expired,
    Votes,
}

impl Machine {
    pub(super) fn forget_election(&mut self, _: Now) {
        self.election = Election::default();
    }

    /// Goes on with this node's candidacy, if there is reason for one.
    pub(super) fn tend_election(&mut self, now: Now) {
        let myself = self.state.myself();
        let is_ordered = self.may_start_manual();
        let Some(primary) = myself.primary.filter(|_| myself.is_replica()) else { return };
        let no_failover = self.state.settings.no_failover && !is_ordered;
        let leader = self.state.node(primary);
        if !leader.has_failed() && !is_ordered || no_failover || leader.slots_count() == 0 {
            self.election.said = None;
            return;
        }
        if self.lacks_data || !is_ordered && !self.has_recent_data() {
            return self.say(now, Obstacle::DataAge);
        }
        let lasts_ms = (self.timeout_ms() * TIMEOUTS_PER_ELECTION).max(ELECTION_MIN_MS);
        let age_ms = self.election.begins_ms.map(|begins_ms| now.ms.saturating_sub(begins_ms));
        if age_ms.is_none_or(|age_ms| age_ms > lasts_ms * 2) {
            self.schedule(now, is_ordered);
            if !is_ordered {
                return;
            }
        }
        if self.election.asked_ms.is_none() && !is_ordered {
            self.reconsider_rank();
        }
        let begins_ms = self.election.begins_ms.unwrap_or(now.ms);
        if now.ms < begins_ms {
            return self.say(now, Obstacle::Delay);
        }
        if now.ms - begins_ms > lasts_ms {
            return self.say(now, Obstacle::Expired);
        }
        if self.election.asked_ms.is_none() {
            return self.ask_for_votes(now, is_ordered);
        }
        if self.election.votes.len() >= self.state.quorum() {
            return self.win(now);
        }
        let is_quiet = self.election.asked_ms.is_some_and(|asked_ms| now.ms - asked_ms >= ASK_AGAIN_MS);
        // A vote is for the epoch that the voter has: an election of an older one is over. Who was ordered has the primary's writes held back
        // meanwhile, and no rivals: it begins another at once, where slots that move elsewhere have changed the epoch.
        if is_quiet && self.state.current_epoch == self.election.epoch {
            self.send_request(now, is_ordered);
        } else if is_quiet && is_ordered {
            self.ask_for_votes(now, is_ordered);
        }
        self.say(now, Obstacle::Votes);
    }

    /// Data that are much older than the failure are not offered to anybody.
    fn has_recent_data(&self) -> bool {
        let settings = &self.state.settings;
        if settings.validity_factor == 0 {
            return true;
        }
        let Some(age_ms) = self.data.age_ms else { return false };
        // So long the primary was down before it was found to be.
        let age_ms = if age_ms > settings.node_timeout_ms { age_ms - settings.node_timeout_ms } else { age_ms };
        age_ms <= settings.replica_ping_ms + settings.node_timeout_ms.saturating_mul(settings.validity_factor)
    }

    /// Siblings that could take over as well.
    fn rivals(&self) -> Vec<NodeIndex> {
        let Some(primary) = self.state.myself().primary else { return Vec::new() };
        let is_rival = |index: &NodeIndex| {
            let node = self.state.node(*index);
            *index != NodeIndex::MYSELF && !node.flags.has(super::super::node::NodeFlags::NO_FAILOVER)
        };
        self.state.replicas_of(primary).filter(is_rival).collect()
    }

    /// How many rivals have more data, and how many have as much and the smaller id.
    fn rank(&self) -> (usize, usize) {
        let (own_offset, own_id) = (self.data.offset, self.state.myself().id);
        let (mut ahead, mut ties) = (0, 0);
        for rival in self.rivals() {
            let node = self.state.node(rival);
            ahead += usize::from(node.contact.offset > own_offset);
            ties += usize::from(node.contact.offset == own_offset && node.id < own_id && !node.is_unreachable());
        }
        (ahead, ties)
    }

    fn schedule(&mut self, now: Now, is_ordered: bool) {
        let rivals: Vec<NodeIndex> =
            self.rivals().into_iter().filter(|index| !self.state.node(*index).is_unreachable()).collect();
        let base_ms = match rivals.is_empty() {
            true => 0,
            false if rivals.iter().all(|index| self.state.node(*index).contact.is_kin) => KIN_DELAY_MS,
            false => STRANGERS_DELAY_MS + self.random.below(STRANGERS_DELAY_MS),
        };
        let (rank, ties) = self.rank();
        let delay_ms = match is_ordered {
            true => 0,
            false => base_ms + rank as u64 * RANK_DELAY_MS + ties as u64 * TIE_DELAY_MS,
        };
        self.election = Election {
            begins_ms: Some(now.ms + delay_ms),
            rank: if is_ordered { 0 } else { rank },
            said: self.election.said,
            ..Election::default()
        };
        tracing::info!(
            "Start of election delayed for {delay_ms} milliseconds (rank #{rank}, offset {}).",
            self.data.offset
        );
        // Siblings are told how far this node is, and answer by telling how far they are.
        let primary = self.state.myself().primary;
        self.broadcast_pong(|machine, index| {
            let node = machine.state.node(index);
            node.is_replica() && node.primary == primary
        });
    }

    /// A sibling has turned out to have more than this node thought.
    fn reconsider_rank(&mut self) {
        let (rank, _) = self.rank();
        if rank > self.election.rank {
            let added_ms = (rank - self.election.rank) as u64 * RANK_DELAY_MS;
            self.election.begins_ms = self.election.begins_ms.map(|begins_ms| begins_ms + added_ms);
            self.election.rank = rank;
            tracing::info!("Replica rank updated to #{rank}, added {added_ms} milliseconds of delay.");
        }
    }

    fn ask_for_votes(&mut self, now: Now, is_ordered: bool) {
        self.keep_copy();
        self.state.current_epoch = self.state.current_epoch.next();
        self.election.epoch = self.state.current_epoch;
        self.election.votes.clear();
        tracing::info!("Starting a failover election for epoch {}.", self.election.epoch);
        self.send_request(now, is_ordered);
    }

    fn send_request(&mut self, now: Now, is_ordered: bool) {
        self.election.asked_ms = Some(now.ms);
        let header = Header { is_ordered, ..self.header() };
        self.broadcast(&Message { header, body: Body::VoteRequest }, |_, _| true);
    }

    /// A primary has voted for this node.
    pub(super) fn count_vote(&mut self, sender: NodeIndex, header: &Header) {
        let node = self.state.node(sender);
        // Voted in the epoch of this election, by one of those who decide, for the first time.
        let counts = node.is_primary()
            && node.slots_count() > 0
            && self.election.asked_ms.is_some()
            && header.current_epoch == self.election.epoch
            && !self.election.votes.contains(&node.id);
        if counts {
            self.election.votes.push(node.id);
        }
    }

    fn win(&mut self, now: Now) {
        tracing::info!("Failover election won: I'm the new master.");
        self.keep_copy();
        let epoch = self.election.epoch;
        let myself = self.state.myself_mut();
        if myself.config_epoch < epoch {
            myself.config_epoch = epoch;
            tracing::info!("configEpoch set to {epoch} after successful failover");
        }
        self.replace_primary(now);
    }

    /// This node becomes a primary and takes its primary's slots; everybody is told.
    pub(super) fn replace_primary(&mut self, now: Now) {
        let Some(primary) = self.state.myself().primary else { return };
        self.keep_copy();
        let slots = self.state.node(primary).slots.clone();
        self.set_as_primary(NodeIndex::MYSELF);
        for slot in slots.iter().flat_map(|slots| slots.iter()) {
            self.give_to(slot, NodeIndex::MYSELF);
            // The primary had it by then: that it was closed may not have come by the stream.
            self.state.importing_from.remove(&slot);
        }
        self.end_manual_failover();
        self.forget_election(now);
        self.has_news = true;
        self.changed();
    }

    // ---- votes of this node --------------------------------------------------------------------------------------------

    /// A replica asks this node for its vote.
    pub(super) fn consider_vote(&mut self, now: Now, sender: NodeIndex, header: &Header) {
        if !self.votes() {
            return;
        }
        if let Err(reason) = self.may_vote(now, sender, header) {
            let node = self.state.node(sender);
            return tracing::warn!("Failover auth denied to {} ({}): {reason}", node.id, node.human_name);
        }
        self.keep_copy();
        self.state.last_vote_epoch = self.state.current_epoch;
        if let Some(primary) = self.state.node(sender).primary {
            self.state.node_mut(primary).contact.voted_ms = Some(now.ms);
        }
        let node = self.state.node(sender);
        let epoch = self.state.current_epoch;
        tracing::info!("Failover auth granted to {} ({}) for epoch {epoch}", node.id, node.human_name);
        self.send_to(sender, Body::Vote);
    }

    fn may_vote(&self, now: Now, sender: NodeIndex, header: &Header) -> Result<(), String> {
        let current = self.state.current_epoch;
        if header.current_epoch < current {
            return Err(format!("reqEpoch ({}) < curEpoch({current})", header.current_epoch));
        }
        if self.state.last_vote_epoch >= current {
            return Err(format!("already voted for epoch {current}"));
        }
        let node = self.state.node(sender);
        if node.is_primary() {
            return Err("it is a master node".to_owned());
        }
        let Some(primary) = node.primary.map(|primary| self.state.node(primary)) else {
            return Err("I don't know its master".to_owned());
        };
        if !primary.has_failed() && !header.is_ordered {
            return Err("its master is up".to_owned());
        }
        // It keeps rivals from taking turns. Who was ordered has none, and orders may follow each other sooner.
        let between_ms = self.timeout_ms() * TIMEOUTS_PER_VOTE;
        if let Some(voted_ms) = primary.contact.voted_ms
            && !header.is_ordered
            && now.ms.saturating_sub(voted_ms) < between_ms
        {
            let left_ms = between_ms - now.ms.saturating_sub(voted_ms);
            return Err(format!("can't vote about this master before {left_ms} milliseconds"));
        }
        let newer = header.slots.iter().find_map(|slot| {
            let owner = self.state.node(self.state.owner(slot)?);
            let is_newer = owner.config_epoch > header.config_epoch && !self.unclaimed.contains(slot);
            is_newer.then_some((slot, owner.config_epoch))
        });
        match newer {
            Some((slot, epoch)) => Err(format!("slot {slot} epoch ({epoch}) > reqEpoch ({})", header.config_epoch)),
            None => Ok(()),
        }
    }

    fn say(&mut self, now: Now, obstacle: Obstacle) {
        let is_new = self
            .election
            .said
            .is_none_or(|(said, at_ms)| said != obstacle || now.ms.saturating_sub(at_ms) >= SAY_AGAIN_MS);
        let failed_ms = self.state.myself().primary.map(|primary| self.state.node(primary).contact.failed_ms);
        let is_usual = failed_ms.is_some_and(|at_ms| now.ms.saturating_sub(at_ms) < self.timeout_ms() + USUAL_MS);
        if !is_new {
            return;
        }
        if is_usual {
            // Looked at again when it has lasted longer.
            return;
        }
        self.election.said = Some((obstacle, now.ms));
        let line = match obstacle {
            Obstacle::DataAge => {
                "Disconnected from master for longer than allowed. Please check the 'cluster-replica-validity-factor' \
                 configuration option."
            }
            Obstacle::Delay => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::Votes => "Waiting for votes, but majority still not reached.",
        };
        tracing::info!("Currently unable to failover: {line}");
        if matches!(obstacle, Obstacle::Votes | Obstacle::Expired) {
            let (needed, votes) = (self.state.quorum(), self.election.votes.len());
            tracing::info!("Needed quorum: {needed}. Number of votes received so far: {votes}");
        }
    }
}
