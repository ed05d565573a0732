//! Replication as commands see it: who copies whom, and what each core must know of it.
//!
//! Handlers do no I/O. The node's books are [`Replication`], on core 0; `runtime::requests::replication` does what they
//! say and reports back into them. Every core has a [`ReplicationView`], by which the gate refuses what a replica must not do.
//!
//! - `replicas`: the replicas of this node; `peers`: what they say (PSYNC, REPLCONF), and WAIT
//! - `upstream`: the primary that this node copies (REPLICAOF, ROLE); `stream`: what it sends, as things to do
//! - `failover`: a primary that hands over to a replica (FAILOVER)
//! - `figures`: what INFO tells

pub mod failover;
pub mod figures;
pub mod own_expiries;
pub mod peers;
pub mod replicas;
pub mod stream;
pub mod upstream;

use crate::base::clock::UnixMillis;
use crate::base::random::Random;
use crate::replication::history::History;
use crate::replication::intake::Intake;
use crate::replication::log::Log;
use failover::Failover;
use replicas::Replicas;
use upstream::Upstream;

/// The node's part in replication; core 0's.
pub struct Replication {
    /// How what this node has is called.
    pub history: History,
    /// What replicas read. Its end is the place in the history up to which this node has everything.
    pub log: Log,
    /// What has come from the cores and is not in the log.
    pub intake: Intake,
    pub replicas: Replicas,
    /// FAILOVER, while it is under way.
    pub failover: Option<Failover>,
    /// Where PINGs and questions of ours begin at the end of the log, and where they end: replicas need not have them.
    own_begin: u64,
    own_end: u64,
    /// For what commands that write wait.
    holds: [bool; Hold::COUNT],
    /// The node ends: until when it waits for replicas to have everything.
    pub leaves_by: Option<UnixMillis>,
    /// The primary that this node copies; none while it is one itself.
    pub upstream: Option<Upstream>,
    /// The database that a reader of the log has selected at its end, while the log is a primary's stream.
    pub stream_db: u16,
}

/// For what commands that write may have to wait; for several at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// FAILOVER.
    HandOver,
    /// A replica takes over in the cluster.
    Cluster,
    /// The node ends.
    Leaving,
}

impl Hold {
    pub const ALL: [Hold; Hold::COUNT] = [Hold::HandOver, Hold::Cluster, Hold::Leaving];
    const COUNT: usize = 3;
}

/// What every core must know: a snapshot that core 0 publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicationView {
    pub role: Role,
    /// What this core records goes to core 0 for the log.
    pub feeds: bool,
    /// Commands that write wait: the node hands over to a replica, or ends.
    pub holds_writes: bool,
    /// Replicas that keep up, as `min-replicas-max-lag` has it.
    pub good_replicas: usize,
}

/// What the node is in replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Primary,
    Replica {
        /// The link to the primary stands, and what came over it is being applied.
        is_linked: bool,
    },
}

impl Role {
    #[inline]
    pub fn is_replica(self) -> bool {
        matches!(self, Role::Replica { .. })
    }
}

impl Replication {
    /// Of a node that copies nobody and that nobody copies.
    pub fn new(random: &mut Random, cores_count: usize) -> Replication {
        Replication {
            history: History::new(random),
            log: Log::default(),
            intake: Intake::new(cores_count),
            replicas: Replicas::default(),
            upstream: None,
            failover: None,
            own_begin: 0,
            own_end: 0,
            holds: [false; Hold::COUNT],
            leaves_by: None,
            stream_db: 0,
        }
    }

    /// Whether what this node's cores record goes into the log.
    pub fn feeds_log(&self) -> bool {
        self.upstream.is_none() && self.log.is_kept()
    }

    /// Appends a command of ours, which changes nothing (core 0).
    pub fn say(&mut self, core: usize, bytes: &[u8]) {
        let before = self.log.end();
        self.intake.put(&mut self.log, core, bytes);
        if self.log.end() > before {
            if self.own_end != before {
                self.own_begin = before;
            }
            self.own_end = self.log.end();
        }
    }

    /// The place behind all that has come from the cores so far, in the log or not. What replicas have up to there is all there is.
    pub fn place_of_data(&self) -> u64 {
        let held = self.intake.held_bytes();
        if held == 0 && self.log.end() == self.own_end { self.own_begin } else { self.log.end() + held }
    }

    /// What every core must know.
    pub fn view(&self, good_replicas: usize) -> ReplicationView {
        let holds_writes = self.are_writes_held();
        ReplicationView { role: self.role(), feeds: self.feeds_log(), holds_writes, good_replicas }
    }

    /// Whether commands that write wait, for whatever.
    pub fn are_writes_held(&self) -> bool {
        self.holds.contains(&true)
    }

    /// Lets commands that write wait for something, or no more for that.
    pub fn hold_writes(&mut self, hold: Hold, holds: bool) {
        self.holds[hold as usize] = holds;
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        match &self.upstream {
            None => Role::Primary,
            Some(upstream) => Role::Replica { is_linked: upstream.is_linked() },
        }
    }
}
