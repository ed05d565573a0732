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
pub mod peers;
pub mod replicas;
pub mod stream;
pub mod upstream;

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
    /// Commands that write wait for the end of something.
    pub holds_writes: bool,
    /// The primary that this node copies; none while it is one itself.
    pub upstream: Option<Upstream>,
    /// The database that a reader of the log has selected at its end, while the log is a primary's stream.
    pub stream_db: u16,
}

/// What every core must know: a snapshot that core 0 publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicationView {
    pub role: Role,
    /// What this core records goes to core 0 for the log.
    pub feeds: bool,
    /// Commands that write wait: the node hands over to a replica, or ends.
    pub holds_writes: bool,
    /// Fewer replicas than `min-replicas-to-write` keep up: writes are refused.
    pub lacks_replicas: bool,
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
            holds_writes: false,
            stream_db: 0,
        }
    }

    /// Whether what this node's cores record goes into the log.
    pub fn feeds_log(&self) -> bool {
        self.upstream.is_none() && self.log.is_kept()
    }

    /// What every core must know.
    pub fn view(&self, lacks_replicas: bool) -> ReplicationView {
        ReplicationView { role: self.role(), feeds: self.feeds_log(), holds_writes: self.holds_writes, lacks_replicas }
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        match &self.upstream {
            None => Role::Primary,
            Some(upstream) => Role::Replica { is_linked: upstream.is_linked() },
        }
    }
}
