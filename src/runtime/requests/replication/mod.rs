//! Replication as requests meet it: how changes come to the log, replicas to their data, and this node to those of its primary.
//!
//! ```text
//! each core   at the end of a turn: what its journal has goes to core 0 (`feed_log`), in whole units
//! core 0      appends it to the log; what a core sent behind a cut waits until all cores have begun that cut,
//!             so that a snapshot stands at one place of the log (`replication::intake`)
//! core 0      hands the log's bytes to the connections of replicas, as far as their sockets take them (`feed_replicas`)
//! ```
//!
//! A replica's connection lives on core 0: one that says PSYNC to another core moves there (`arrivals`). `sync` answers it and
//! sees it through its snapshot. `acks` is who waits for what replicas have; `leave`, the end of a node that has
//! replicas; `hand_over`, FAILOVER; `cluster`, what the cluster decides of this node's role; `standstill`, how writes are held for these
//! three.
//!
//! The other way round, where this node copies another: `upstream` is the link to its primary, `apply` what comes over it.

mod acks;
pub mod apply;
pub mod arrivals;
mod cluster;
mod feed;
mod hand_over;
mod leave;
mod standstill;
mod sync;
pub mod upstream;

use crate::command::client::ClientRef;
use crate::command::replication::peers::{ReplicaQuestion, SyncRequest};
use acks::Marks;

/// One core's part in it, and core 0's books that are not `command::replication`'s.
#[derive(Default)]
pub struct Replicating {
    /// Clients of this core that ask to be replicas, with the places of their answers.
    asking: Vec<Asking>,
    /// Those that have to go to core 0 first, and still have operations under way here.
    departing: Vec<Asking>,
    /// Replies to clients of this core that came while their connections were in use.
    own_counts: Vec<(ClientRef, usize)>,
    /// Core 0: who is to be answered when all cores have sent what they had.
    marks: Marks,
    /// Writes are held.
    standstill: standstill::Standstill,
    /// Core 0: replicas are to be asked what they have, at the end of the turn.
    asks_acks: bool,
    /// Core 0: when replicas were last sent a PING, in monotonic milliseconds.
    pinged_ms: u64,
    /// Core 0: the node is to end when its replicas have all.
    leaving: Option<leave::Leaving>,
    /// Core 0: what is under way for replicas.
    sync: sync::Syncing,
    /// Core 0: writes that are held for the cluster go on at this moment at the latest, in monotonic milliseconds.
    hold_until_ms: Option<u64>,
}

/// A client that asks to be a replica.
#[derive(Debug)]
pub struct Asking {
    pub client: ClientRef,
    /// The place of its answer.
    pub sequence: u32,
    pub request: SyncRequest,
}

/// What a core says when it has sent all that it had recorded.
#[derive(Clone, Copy, Debug)]
pub struct LogMark {
    pub question: ReplicaQuestion,
}
