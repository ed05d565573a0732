//! From the journals of the cores to the log, and from the log to the connections of replicas.

use crate::base::core_id::CoreId;
use crate::command::client::CloseReason;
use crate::command::core::Core;
use crate::command::journal::JournalReader;
use crate::command::replication::replicas::ReplicaState;
use crate::config::OutputLimit;
use crate::resp::write_request;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::SwitchKind;
use crate::runtime::requests::Requests;

/// What a replica's connection holds at most of the log: enough to keep its socket busy.
const WINDOW_BYTES: usize = 256 << 10;

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
            node.replication.intake.put(&mut node.replication.log, 0, journal.feed());
        } else {
            let bytes = self.core.journal.feed().to_vec();
            self.mesh.send(CoreId::FIRST, Message::Feed(bytes));
        }
    }

    /// What a core has recorded, or says beside (core 0).
    pub(in crate::runtime::requests) fn fed(&mut self, from: CoreId, bytes: &[u8]) {
        let replication = &mut self.core.node().replication;
        replication.intake.put(&mut replication.log, from.index(), bytes);
    }

    /// Bytes of the primary's stream have come (core 0).
    pub(super) fn stream_came(&mut self, bytes: &[u8]) {
        let replication = &mut self.core.node().replication;
        replication.intake.put_stream(&mut replication.log, CoreId::FIRST.index(), bytes);
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

    /// This core has dropped its keys.
    pub(in crate::runtime::requests) fn core_flushed(&mut self) {
        if self.core.journal.is_for(JournalReader::File) {
            self.switch_file(SwitchKind::Flush);
        }
        self.feed_log();
        match self.core.id {
            CoreId::FIRST => self.flush_passed(CoreId::FIRST),
            _ => self.mesh.send(CoreId::FIRST, Message::FlushPassed),
        }
    }

    /// A core has dropped its keys, and all that it had recorded before has come (core 0).
    pub(in crate::runtime::requests) fn flush_passed(&mut self, core: CoreId) {
        let replication = &mut self.core.node().replication;
        let is_said = replication.feeds_log();
        replication.intake.pass_flush(&mut replication.log, core.index(), is_said);
    }

    /// A snapshot that has waited for cores to catch up with a primary's stream, or for slots to change their core, begins (core 0).
    pub(in crate::runtime::requests) fn settle_postponed_save(&mut self) {
        if let Some((purpose, waiting)) = self.postponed_save.take() {
            self.begin_save(purpose, waiting);
            self.go_on_receiving();
        }
    }

    pub(in crate::runtime::requests) fn is_postponed_save_due(&self) -> bool {
        self.postponed_save.is_some() && self.has_caught_up() && !self.is_relocating()
    }

    /// The place behind all that has come so far, kept apart or not (core 0).
    pub(super) fn place_of_all(&mut self) -> u64 {
        let replication = &self.core.node().replication;
        replication.log.end() + replication.intake.held_bytes()
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
        write_request(&mut bytes, words.iter().copied());
        self.feed_log();
        self.core.node().replication.say(CoreId::FIRST.index(), &bytes);
    }
}

/// The log is kept for as much as the backlog's size whatever replicas do: a lower limit would save nothing.
fn replica_limit(limit: &OutputLimit, backlog_bytes: u64) -> OutputLimit {
    let hard_bytes = if limit.hard_bytes > 0 { limit.hard_bytes.max(backlog_bytes) } else { 0 };
    OutputLimit { hard_bytes, ..*limit }
}
