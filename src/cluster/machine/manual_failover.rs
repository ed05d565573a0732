//! CLUSTER FAILOVER: a replica takes over from a primary that is well, and nothing is lost.
//!
//! ```text
//! replica  order -> MFSTART -> primary
//! primary  holds writes back; once all cores do, and what they had written is in the log, says its offset, marked as standing still
//! replica  has that offset -> asks for votes, marked as ordered -> wins as in any election
//! primary  sees its slots claimed -> becomes a replica, releases the writes, which are redirected
//! ```

use super::super::message::Body;
use super::super::node::NodeIndex;
use super::{Action, Machine, Now};
use crate::base::hex::HexId;

/// A manual failover is over after so long, done or not.
const LIMIT_MS: u64 = 5000;
/// Writes are held back for so many times that, unless the end is heard before.
const HOLD_TIMES: u64 = 2;

/// CLUSTER FAILOVER's kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverKind {
    /// With the primary's help.
    Ordered,
    /// Without its help, with the votes of the others.
    Force,
    /// Without anybody's.
    Takeover,
}

/// One that is under way.
#[derive(Clone, Debug)]
pub(super) struct ManualFailover {
    ends_ms: u64,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    /// Of the primary: who takes over, and whether writes are held by now.
    Primary { replica: HexId, has_paused: bool },
    /// Of the replica: where the primary's offset stands still.
    Replica { primary_offset: Option<u64>, may_start: bool },
}

impl ManualFailover {
    /// Whether a replica waits for this offset.
    pub(super) fn is_reached_by(&self, offset: u64) -> bool {
        matches!(self.part, Part::Replica { primary_offset: Some(awaited), may_start: false } if offset >= awaited)
    }
}

impl Machine {
    /// The order, on a replica that may carry it out.
    pub(super) fn begin_manual_failover(&mut self, now: Now, kind: FailoverKind) {
        self.end_manual_failover();
        let part = Part::Replica { primary_offset: None, may_start: kind == FailoverKind::Force };
        self.manual = Some(ManualFailover { ends_ms: now.ms + LIMIT_MS, part });
        // It has no delay and no rank, whatever election there was before.
        self.forget_election(now);
        match kind {
            FailoverKind::Takeover => {
                tracing::info!("Taking over the master (user request).");
                self.bump_epoch();
                self.replace_primary(now);
            }
            FailoverKind::Force => tracing::info!("Forced failover user request accepted."),
            FailoverKind::Ordered => {
                tracing::info!("Manual failover user request accepted.");
                if let Some(primary) = self.state.myself().primary {
                    self.send_to(primary, Body::ManualFailoverStart);
                }
            }
        }
    }

    /// A replica of this node asks it to hold writes back.
    pub(super) fn begin_handing_over(&mut self, now: Now, sender: NodeIndex) {
        let node = self.state.node(sender);
        if self.state.myself().is_replica() || node.primary != Some(NodeIndex::MYSELF) {
            return;
        }
        let (replica, name) = (node.id, node.human_name.clone());
        if self.has_granted {
            tracing::info!(
                "Manual failover requested by replica {replica} ({name}) while slots change hands: not now."
            );
            return;
        }
        self.end_manual_failover();
        tracing::info!("Manual failover requested by replica {replica} ({name}).");
        let part = Part::Primary { replica, has_paused: false };
        self.manual = Some(ManualFailover { ends_ms: now.ms + LIMIT_MS, part });
        self.holds_writes = true;
        self.actions.push(Action::HoldWrites { for_ms: LIMIT_MS * HOLD_TIMES });
    }

    /// All cores hold writes back, and `note_data` has told the offset that this left.
    pub fn writes_are_held(&mut self, now: Now) {
        let Some(ManualFailover { part: Part::Primary { replica, has_paused }, .. }) = &mut self.manual else { return };
        *has_paused = true;
        let replica = *replica;
        if let Some(index) = self.state.find(&replica) {
            self.ping(now, index);
        }
    }

    /// Whether this node, a primary, has told or is to tell an offset that stands still.
    pub(super) fn has_paused(&self) -> bool {
        matches!(self.manual, Some(ManualFailover { part: Part::Primary { has_paused: true, .. }, .. }))
    }

    /// Whether this replica is the one to take over: it is kept up to date with each tick.
    pub(super) fn is_handing_over_to(&self, id: &HexId) -> bool {
        let manual = self.manual.as_ref().map(|manual| &manual.part);
        matches!(manual, Some(Part::Primary { replica, has_paused: true }) if replica == id)
    }

    /// The primary of this node says where its offset stands still.
    pub(super) fn note_paused_offset(&mut self, sender: NodeIndex, offset: u64) {
        if self.state.myself().primary != Some(sender) {
            return;
        }
        if let Some(ManualFailover { part: Part::Replica { primary_offset, .. }, .. }) = &mut self.manual
            && primary_offset.is_none()
        {
            *primary_offset = Some(offset);
            tracing::info!("Received replication offset for paused master manual failover: {offset}");
        }
    }

    /// Whether the vote may be asked for.
    pub(super) fn may_start_manual(&self) -> bool {
        matches!(self.manual, Some(ManualFailover { part: Part::Replica { may_start: true, .. }, .. }))
    }

    pub(super) fn tend_manual_failover(&mut self, now: Now) {
        let Some(manual) = &mut self.manual else { return };
        if now.ms >= manual.ends_ms {
            tracing::warn!("Manual failover timed out.");
            return self.end_manual_failover();
        }
        let is_reached = manual.is_reached_by(self.data.offset);
        if let Part::Replica { may_start, .. } = &mut manual.part
            && is_reached
        {
            *may_start = true;
            tracing::info!("All master replication stream processed, manual failover can start.");
        }
    }

    /// It is over, done or not.
    pub(super) fn end_manual_failover(&mut self) {
        self.manual = None;
        if std::mem::take(&mut self.holds_writes) {
            self.actions.push(Action::ReleaseWrites);
        }
    }
}
