//! What INFO tells of replication, on the side of the replicas.

use super::Replication;
use super::replicas::ReplicaState;
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::config::Config;

/// A copy of core 0's books, as INFO needs them.
#[derive(Clone, Debug)]
pub struct ReplicationFigures {
    /// `slave0` and so on, without their names.
    pub replicas: Vec<String>,
    pub good_replicas: usize,
    pub id: HexId,
    pub second: (HexId, i64),
    /// `master_repl_offset`.
    pub place: u64,
    pub log_is_kept: bool,
    pub log_begin: u64,
    pub log_bytes: u64,
    pub log_memory_bytes: usize,
    pub syncs_full: u64,
    pub syncs_partial: u64,
    pub syncs_partial_refused: u64,
}

impl ReplicationFigures {
    pub fn of(replication: &Replication, config: &Config, now: UnixMillis) -> ReplicationFigures {
        let (log, replicas) = (&replication.log, &replication.replicas);
        let line = |replica: &super::replicas::Replica| {
            let lag_s = if replica.state == ReplicaState::Online { replica.lag_s(now) } else { 0 };
            format!(
                "ip={},port={},state={},offset={},lag={lag_s}",
                replica.host,
                replica.facts.port,
                replica.state.name(),
                replica.acked,
            )
        };
        ReplicationFigures {
            replicas: replicas.list.iter().map(line).collect(),
            good_replicas: replicas.good_count(config, now),
            id: replication.history.id,
            second: replication.history.second(),
            place: log.end(),
            log_is_kept: log.is_kept(),
            log_begin: log.begin(),
            log_bytes: log.kept_bytes(),
            log_memory_bytes: log.memory_bytes(),
            syncs_full: replicas.syncs_full,
            syncs_partial: replicas.syncs_partial,
            syncs_partial_refused: replicas.syncs_partial_refused,
        }
    }

    /// `repl_backlog_first_byte_offset`: counted from 1, 0 without a log.
    pub fn first_byte(&self) -> u64 {
        if self.log_is_kept { self.log_begin + 1 } else { 0 }
    }
}

impl Default for ReplicationFigures {
    fn default() -> ReplicationFigures {
        ReplicationFigures {
            replicas: Vec::new(),
            good_replicas: 0,
            id: HexId::ZEROS,
            second: (HexId::ZEROS, -1),
            place: 0,
            log_is_kept: false,
            log_begin: 0,
            log_bytes: 0,
            log_memory_bytes: 0,
            syncs_full: 0,
            syncs_partial: 0,
            syncs_partial_refused: 0,
        }
    }
}
