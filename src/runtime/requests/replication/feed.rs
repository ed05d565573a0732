//! From the journals of the cores to the log, and from the log to the connections of replicas.

use crate::base::core_id::CoreId;
use crate::command::client::CloseReason;
use crate::command::core::Core;
use crate::command::execute::Call;
use crate::command::flush;
use crate::command::journal::write_command;
use crate::command::replication::replicas::ReplicaState;
use crate::config::OutputLimit;
use crate::resp::ArgsBuf;
use crate::runtime::batch::OwnedCall;
use crate::runtime::mesh::Message;
use crate::runtime::requests::Requests;

/// What a replica's connection holds at most of the log: enough to keep its socket busy.
const WINDOW_BYTES: usize = 256 << 10;

/// Cores pass a cut, or a flush, one after the other: what those that have passed send belongs behind what the others still
/// have. There is one at a time.
pub(super) struct Barrier {
    has_passed: Vec<bool>,
    missing: usize,
    held: Vec<u8>,
    /// Of a flush: what stands for it in the log.
    flush: Option<ArgsBuf>,
}

impl Requests {
    /// Gives the log what this core has recorded since the last time.
    #[inline]
    pub fn feed_log(&mut self) {
        if self.core.journal.has_unfed() {
            self.feed_log_now();
        }
    }

    fn feed_log_now(&mut self) {
        if self.core.id == CoreId::FIRST {
            let Core { journal, node, .. } = &mut self.core;
            let Some(node) = node else { return };
            let bytes = journal.feed();
            match &mut self.replicating.barrier {
                Some(barrier) if barrier.has_passed[0] => barrier.held.extend_from_slice(bytes),
                _ => node.replication.log.append(bytes),
            }
        } else {
            let bytes = self.core.journal.feed().to_vec();
            self.mesh.send(CoreId::FIRST, Message::Feed(bytes));
        }
    }

    /// What a core has recorded, or says beside (core 0).
    pub(in crate::runtime::requests) fn fed(&mut self, from: CoreId, bytes: &[u8]) {
        match &mut self.replicating.barrier {
            Some(barrier) if barrier.has_passed[from.index()] => barrier.held.extend_from_slice(bytes),
            _ => self.core.node().replication.log.append(bytes),
        }
    }

    /// Bytes for replicas that are in no journal.
    pub(in crate::runtime::requests) fn feed_beside(&mut self, bytes: Vec<u8>) {
        if !self.core.replication.feeds {
            return;
        }
        // Behind what this core has changed before.
        self.feed_log();
        match self.core.id {
            CoreId::FIRST => self.fed(CoreId::FIRST, &bytes),
            _ => self.mesh.send(CoreId::FIRST, Message::Feed(bytes)),
        }
    }

    /// A cut begins: from now on what cores send behind it is kept apart (core 0).
    pub(in crate::runtime::requests) fn raise_barrier(&mut self) {
        assert!(self.replicating.barrier.is_none(), "a cut waits for the end of a flush");
        self.replicating.barrier = Some(self.barrier(None));
    }

    fn barrier(&self, flush: Option<ArgsBuf>) -> Barrier {
        let cores_count = self.core.facts.cores_count;
        Barrier { has_passed: vec![false; cores_count], missing: cores_count, held: Vec::new(), flush }
    }

    /// Whether a command is a flush of several cores, which has its place in an order (core 0).
    pub(in crate::runtime::requests) fn must_order(&self, call: &Call<'_>) -> bool {
        self.core.config.cluster_enabled
            && self.core.facts.cores_count > 1
            && matches!(call.command.spec().name, "flushall" | "flushdb")
            && flush::in_background(&call.args).is_ok()
    }

    /// Begins a flush, or puts it off while a cut or another flush is on its way through the cores (core 0). True when it begins.
    pub(in crate::runtime::requests) fn begin_flush(&mut self, call: &Call<'_>, sequence: u32) -> bool {
        if self.replicating.barrier.is_some() {
            self.replicating.flushes.push_back((OwnedCall::new(call), sequence));
            return false;
        }
        self.replicating.barrier = Some(self.barrier(Some(ArgsBuf::from(&call.args))));
        true
    }

    /// Whether a flush is on its way through the cores: no cut may begin (core 0).
    pub(in crate::runtime::requests) fn is_flushing(&self) -> bool {
        self.replicating.barrier.as_ref().is_some_and(|barrier| barrier.flush.is_some())
    }

    /// This core has dropped its keys.
    pub(in crate::runtime::requests) fn core_flushed(&mut self) {
        self.feed_log();
        match self.core.id {
            CoreId::FIRST => self.flush_passed(CoreId::FIRST),
            _ => self.mesh.send(CoreId::FIRST, Message::FlushPassed),
        }
    }

    /// A core has dropped its keys, and all that it had recorded before is in the log (core 0).
    pub(in crate::runtime::requests) fn flush_passed(&mut self, core: CoreId) {
        self.pass_barrier(core);
        let Some(Barrier { missing: 0, flush: Some(flush), .. }) = &mut self.replicating.barrier else { return };
        let mut bytes = Vec::new();
        write_command(&mut bytes, flush.as_args().iter());
        if self.core.replication.feeds {
            self.core.node().replication.log.append(&bytes);
        }
        self.lower_barrier();
    }

    /// Begins the next flush that was put off, or a snapshot, once the way is free (core 0).
    pub(in crate::runtime::requests) fn settle_flushes(&mut self) {
        if self.replicating.barrier.is_some() {
            return;
        }
        if let Some((purpose, waiting)) = self.postponed_save.take() {
            return self.begin_save(purpose, waiting);
        }
        if let Some((call, sequence)) = self.replicating.flushes.pop_front() {
            self.run_on_first(&call.as_call(), sequence, None);
        }
    }

    pub(in crate::runtime::requests) fn has_flushes(&self) -> bool {
        self.replicating.barrier.is_none() && (!self.replicating.flushes.is_empty() || self.postponed_save.is_some())
    }

    /// A core has passed: all that it had recorded before is in the log (core 0).
    pub(in crate::runtime::requests) fn pass_barrier(&mut self, core: CoreId) {
        if let Some(barrier) = &mut self.replicating.barrier {
            barrier.has_passed[core.index()] = true;
            barrier.missing -= 1;
        }
    }

    /// All cores have passed it: what came behind it follows (core 0). The place of the cut.
    pub(in crate::runtime::requests) fn lower_barrier(&mut self) -> u64 {
        let log = &mut self.core.node().replication.log;
        let place = log.end();
        if let Some(barrier) = self.replicating.barrier.take() {
            self.core.node().replication.log.append(&barrier.held);
        }
        place
    }

    /// The place behind all that has come so far, kept apart or not (core 0).
    pub(super) fn place_of_all(&mut self) -> u64 {
        let held = self.replicating.barrier.as_ref().map_or(0, |barrier| barrier.held.len() as u64);
        self.core.node().replication.log.end() + held
    }

    /// The end of a turn: replicas are handed what is new in the log, as far as they take it (core 0).
    #[inline]
    pub fn feed_replicas(&mut self) {
        let Some(node) = self.core.node.as_mut() else { return };
        if !node.replication.replicas.list.is_empty() || node.replication.log.is_kept() {
            self.feed_replicas_now();
        }
    }

    fn feed_replicas_now(&mut self) {
        self.ask_for_acks();
        let now = self.core.clock.unix();
        let Core { node, clients, config, .. } = &mut self.core;
        let Some(node) = node else { return };
        let replication = &mut node.replication;
        let (log, replicas) = (&mut replication.log, &mut replication.replicas);
        let limit = replica_limit(&config.client_output_buffer_limit.replica, config.repl_backlog_size);
        let mut overrun = Vec::new();
        for replica in &mut replicas.list {
            if replica.state == ReplicaState::WaitsForSnapshot {
                continue;
            }
            let index = replica.client.index;
            let Some(Some(connection)) = self.connections.get_mut(index as usize) else { continue };
            let Some(client) = clients.get_mut(index as usize).filter(|client| client.closing.is_none()) else {
                continue;
            };
            if replica.state == ReplicaState::Online && !replica.facts.rdb_only {
                for piece in log.pieces_from(replica.place) {
                    let room = WINDOW_BYTES.saturating_sub(connection.output_bytes());
                    let piece = piece.get(..room).unwrap_or(piece);
                    if piece.is_empty() {
                        break;
                    }
                    connection.push(piece);
                    replica.place += piece.len() as u64;
                }
                if !connection.is_dirty && connection.has_output() {
                    connection.is_dirty = true;
                    self.dirty.push(index);
                }
            }
            let waiting = log.end() - replica.place + connection.output_bytes() as u64;
            if super::super::is_over(&limit, waiting, now, &mut client.output_soft_since) {
                overrun.push(index);
            }
        }
        let wanted = replicas.least_place();
        log.trim(config.repl_backlog_size, wanted);
        overrun.into_iter().for_each(|index| self.drop_slow_replica(index));
    }

    fn drop_slow_replica(&mut self, index: u32) {
        let client = &self.core.clients[index as usize];
        tracing::warn!("Client id={} addr={} closed for overcoming of output buffer limits.", client.id, client.peer);
        self.core.stats.client_output_limit_disconnections += 1;
        self.close(index, CloseReason::OutputLimit);
    }

    /// Appends a command of ours to the log, where nothing stands between (core 0).
    pub(super) fn say_to_replicas(&mut self, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        write_command(&mut bytes, words.iter().copied());
        self.feed_log();
        self.fed(CoreId::FIRST, &bytes);
    }
}

/// The log is kept for as much as the backlog's size whatever replicas do: a lower limit would save nothing.
fn replica_limit(limit: &OutputLimit, backlog_bytes: u64) -> OutputLimit {
    let hard_bytes = if limit.hard_bytes > 0 { limit.hard_bytes.max(backlog_bytes) } else { 0 };
    OutputLimit { hard_bytes, ..*limit }
}
