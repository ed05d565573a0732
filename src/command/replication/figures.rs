//! What INFO tells of replication: of this node's replicas, and of its primary.

use super::Replication;
use super::upstream::UpstreamFigures;
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::config::Config;

const NO_FAILOVER: &str = "no-failover";

/// A copy of core 0's books, as INFO needs them.
#[derive(Clone, Debug)]
pub struct ReplicationFigures {
    /// `slave0` and so on, without their names.
    pub replicas: Vec<String>,
    /// Of a replica: its primary.
    pub upstream: Option<UpstreamFigures>,
    pub good_replicas: usize,
    /// `master_failover_state`.
    pub failover_state: &'static str,
    /// `shutdown_in_milliseconds`, while the node waits for its replicas to end.
    pub leaves_in_ms: Option<i64>,
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
            let lag_s = if replica.state.is_online() { replica.lag_s(now) } else { 0 };
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
            upstream: replication.upstream.as_ref().map(|upstream| upstream.figures(log.end(), now)),
            good_replicas: replicas.good_count(config, now),
            failover_state: replication.failover.as_ref().map_or(NO_FAILOVER, |failover| failover.stage.name()),
            leaves_in_ms: replication.leaves_by.map(|by| by.since(now)),
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
            upstream: None,
            good_replicas: 0,
            failover_state: NO_FAILOVER,
            leaves_in_ms: None,
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
