//! The cluster as a state machine: gossip, failure detection, epochs, elections, ownership of slots.
//!
//! Pure: time, packets and what replication has come to go in as arguments; what is to be done comes out as `Action`s. The same code
//! runs on core 0 (`membership` saves and the runtime carries out) and in the simulator, with many nodes and a seed.
//!
//! ```text
//! packet      bus link -> message::decode -> received -> sender's header (epochs, role, slots, offset) -> gossip -> settle
//! every 100 ms  tick -> links, pings, suspicions -> elections, replica migration -> settle
//! command     meet, forget, replicate, fail_over, ... (`orders`) -> settle
//! settle      elections go on, the cluster is judged, whom this node copies is compared with whom it should
//!             -> actions, and whether nodes.conf is to be saved first
//! ```
//!
//! What must be on disk before anybody hears of it (a vote, an epoch that this node gives itself, slots that it claims) is changed
//! behind `keep_copy`: if the file cannot be written, the copy is put back and the actions of that step are dropped.
//!
//! Moments are monotonic milliseconds, so that a clock that jumps makes nobody fail. Unix time is only shown and gossiped.

mod claims;
mod election;
mod failure;
mod gossip;
mod manual_failover;
mod orders;
mod packets;
mod peers;
mod replica_migration;
mod settle;
mod slots;
mod taken;

pub use claims::ClaimRefusal;
pub use manual_failover::FailoverKind;
pub use orders::{FailoverRefusal, ForgetRefusal, MeetRefusal, ReplicateRefusal, SetSlot, SetSlotRefusal};
pub use peers::standstill_ms;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use hashbrown::HashMap;

use super::message::KINDS_COUNT;
use super::node::NodeIndex;
use super::state::ClusterState;
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::base::slot::{Slot, SlotSet};
use election::Election;
use manual_failover::ManualFailover;
use taken::TakenSlots;

/// The moment of an event.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic milliseconds.
    pub ms: u64,
    pub unix: UnixMillis,
}

/// A connection of the bus, for as long as the process lives: numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A connection as the machine knows it.
#[derive(Clone, Debug)]
pub struct Link {
    /// To whom it leads, or who is at its other end once that is known.
    pub node: Option<NodeIndex>,
    /// The other side opened it.
    pub is_inbound: bool,
    /// It can be written to.
    pub is_up: bool,
    pub created_ms: u64,
    pub created: UnixMillis,
    /// The addresses of its two ends; of an outgoing one known when it is up.
    pub ends: Ends,
}

/// The IP addresses of a connection's two ends, as text; empty when not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub peer_ip: String,
    pub own_ip: String,
}

/// What this node's data are like, as replication has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// Bytes of the shard's stream that this node has: what it has written as a primary, applied as a replica.
    pub offset: u64,
    /// For a replica: so long ago its primary was last heard, in milliseconds. `None`: it has never had its data.
    pub age_ms: Option<u64>,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to a node's bus; `link_up` or `link_down` follows.
    Connect {
        link: LinkId,
        ip: String,
        port: u16,
    },
    /// Close it and forget it; nothing is reported of it any more.
    Close(LinkId),
    /// Send a packet behind those that are on their way.
    Send {
        link: LinkId,
        packet: Bytes,
    },
    /// Copy this primary; what this node has written itself is given up for what that one has.
    Follow {
        ip: String,
        port: u16,
    },
    /// Be a primary from now on, with the data that are there and under a history that goes on from them.
    Lead,
    /// Hold back writes of clients, until `ReleaseWrites` or for so long at most.
    HoldWrites {
        for_ms: u64,
    },
    ReleaseWrites,
    /// The keys of these slots belong to another node now: delete them.
    DropKeys(Box<SlotSet>),
    /// Tell this node's replicas which of its slots are open: it is not what they were told last.
    TellOpenSlots,
    /// For the subscribers here: another node's client has published.
    Publish {
        channel: Bytes,
        message: Bytes,
        is_sharded: bool,
    },
}

/// What CLUSTER INFO counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStats {
    /// By kind.
    pub sent: [u64; KINDS_COUNT],
    pub received: [u64; KINDS_COUNT],
    /// Packets that could not be read.
    pub damaged: u64,
    /// Links that were closed because too much waited in them (cluster-link-sendbuf-limit).
    pub overrun: u64,
}

/// One node's state machine.
pub struct Machine {
    state: ClusterState,
    links: HashMap<LinkId, Link>,
    last_link: u64,
    /// Nodes that may not come back before this moment (CLUSTER FORGET).
    banned: HashMap<HexId, u64>,
    election: Election,
    manual: Option<ManualFailover>,
    data: DataFacts,
    /// This replica's data are being replaced, or were lost on the way.
    lacks_data: bool,
    /// Slots whose owner here does not claim them any more: nobody is told that it has them.
    unclaimed: Box<SlotSet>,
    random: Random,
    ticks: u64,
    ticked_ms: u64,
    /// Counts pings, to see which nodes one has already named.
    pings: u64,
    stats: BusStats,
    /// Packets of this kind are passed over: only in tests.
    ignored_kind: Option<u16>,
    /// Whom the runtime was told to copy; `None` as a primary.
    following: Option<Following>,
    /// This node holds writes back.
    holds_writes: bool,
    /// It has granted slots to another node, which may be about to take them.
    has_granted: bool,
    /// Slots that have come by hand a short while ago.
    taken: TakenSlots,
    /// Slots that this node has lost while it had keys for them, perhaps.
    lost_slots: Option<Box<SlotSet>>,
    /// Slots of this replica's primary that are open to or from nodes that are not known here yet.
    unknown_partners: BTreeMap<Slot, SetSlot>,
    /// This node has another role, or slots have become its own: everybody is to be told at the end of the step.
    has_news: bool,
    /// The state before the first change of this step that must be on disk before anybody hears of it.
    copy: Option<Box<Copy>>,
    /// nodes.conf is behind.
    is_unsaved: bool,
    /// The view that cores route by is behind.
    is_unpublished: bool,
    /// The cluster is to be judged anew.
    is_unjudged: bool,
    actions: Vec<Action>,
}

/// What is put back when the file cannot be written.
struct Copy {
    state: ClusterState,
    following: Option<Following>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Following {
    id: HexId,
    ip: String,
    port: u16,
}

impl Machine {
    /// Around a state that is new, or was read from nodes.conf.
    pub fn new(mut state: ClusterState, mut random: Random, now: Now) -> Machine {
        for node in &mut state.nodes {
            node.contact.begin(now.ms);
        }
        let first_ping = random.next_u64() >> 32;
        Machine {
            state,
            links: HashMap::new(),
            last_link: 0,
            banned: HashMap::new(),
            election: Election::default(),
            manual: None,
            data: DataFacts::default(),
            lacks_data: false,
            unclaimed: Box::new(SlotSet::new()),
            random,
            ticks: 0,
            ticked_ms: now.ms,
            pings: first_ping,
            stats: BusStats::default(),
            ignored_kind: None,
            following: None,
            holds_writes: false,
            has_granted: false,
            taken: TakenSlots::default(),
            lost_slots: None,
            unknown_partners: BTreeMap::new(),
            has_news: false,
            copy: None,
            is_unsaved: false,
            is_unpublished: true,
            is_unjudged: true,
            actions: Vec::new(),
        }
    }

    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    pub fn stats(&self) -> &BusStats {
        &self.stats
    }

    /// Every connection, in no order.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// One of them, while it is there.
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// Says what the data are like. True when a manual failover waits for their offset and they have reached it: `tick` at once.
    pub fn note_data(&mut self, data: DataFacts) -> bool {
        self.data = data;
        self.manual.as_ref().is_some_and(|manual| manual.is_reached_by(data.offset))
    }

    /// Says whether this replica is without data for now, as while its primary's are loaded in place of its own: it does not take over
    /// then, whoever orders it.
    pub fn note_lack_of_data(&mut self, lacks_data: bool) {
        self.lacks_data = lacks_data;
    }

    /// What has been decided since the last call, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Whether nodes.conf is behind.
    pub fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// Whether nodes.conf must be written before the actions of this step are carried out: then `saved` or `not_saved` follows.
    pub fn must_save(&self) -> bool {
        self.copy.is_some()
    }

    /// The file has the state.
    pub fn saved(&mut self) {
        self.is_unsaved = false;
        self.copy = None;
    }

    /// Whether what was ordered has an epoch that the file has not.
    pub fn takes_epoch(&self) -> bool {
        let epochs = |state: &ClusterState| (state.current_epoch(), state.myself().config_epoch);
        self.copy.as_deref().is_none_or(|copy| epochs(&copy.state) != epochs(&self.state))
    }

    /// The file gets the state before anybody hears of it, but may not be on the disk then.
    pub fn noted(&mut self) {
        self.is_unsaved = false;
        self.copy = None;
    }

    /// It has not got it.
    pub fn not_noted(&mut self) {
        self.is_unsaved = true;
    }

    /// The file could not be written. What must not be known before it is on disk has not happened; the rest is saved later.
    /// True when the step's actions were dropped.
    pub fn not_saved(&mut self) -> bool {
        let Some(copy) = self.copy.take() else { return false };
        (self.state, self.following) = (copy.state, copy.following);
        self.relink();
        self.actions.retain(|action| matches!(action, Action::Connect { .. } | Action::Close(_)));
        (self.is_unjudged, self.is_unpublished) = (true, true);
        true
    }

    /// Whether the view that cores route by is behind.
    pub fn is_unpublished(&self) -> bool {
        self.is_unpublished
    }

    /// Whether the view that cores route by has changed since the last call.
    pub fn take_unpublished(&mut self) -> bool {
        std::mem::take(&mut self.is_unpublished)
    }

    /// To be called before a change that nobody may hear of before it is on disk.
    fn keep_copy(&mut self) {
        if self.copy.is_none() {
            self.copy = Some(Box::new(Copy { state: self.state.clone(), following: self.following.clone() }));
        }
        self.is_unsaved = true;
    }

    /// Something that is saved and published has changed.
    fn changed(&mut self) {
        (self.is_unsaved, self.is_unpublished, self.is_unjudged) = (true, true, true);
    }
}
