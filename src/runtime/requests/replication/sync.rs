//! Replicas from their first word to the log: PSYNC answered, and the snapshot for those who need one.
//!
//! Who misses no more than the log has is told `+CONTINUE` and reads on at once. The others wait for a snapshot, a little
//! (`repl-diskless-sync-delay`) so that several share it. It goes to their sockets as it is made, or, where `repl-diskless-sync` is no or
//! one of them cannot find the end of such a stream, to the file first and from there to them. From the cut on the log is kept for
//! them; a replica that has received everything from a stream says so before it is sent what follows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Asking;
use crate::base::hex::HexId;
use crate::command::client::{ClientRef, CloseReason};
use crate::command::core::{Core, Publication};
use crate::command::error::CommandError;
use crate::command::persistence::saving::SaveFor;
use crate::command::replication::Role;
use crate::command::replication::peers::SyncRequest;
use crate::command::replication::replicas::{Replica, ReplicaState};
use crate::command::replication::upstream;
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::persistence::snapshot_file::Written;
use crate::runtime::persistence::snapshot_stream::{Sink, SnapshotStream, StreamSettings};
use crate::runtime::requests::Requests;

/// What is under way for replicas; core 0's.
#[derive(Default)]
pub(super) struct Syncing {
    /// What stands behind the snapshot that goes to sockets.
    mark: Vec<u8>,
    /// A file that is to go to replicas once nothing else is on its way to them.
    ready: Option<File>,
    /// A file on its way to replicas.
    file: Option<SnapshotStream>,
    /// When replicas that wait were last sent an empty line, in seconds.
    comforted_s: i64,
    /// What threads have sent to replicas and no statistics have yet.
    sent_bytes: Arc<AtomicU64>,
}

impl Requests {
    /// A client of core 0 asks to be a replica.
    pub(super) fn replica_asks(&mut self, asking: Asking) {
        let Asking { client: at, sequence, request } = asking;
        let target = ReplyTarget { client: at, sequence };
        let now = self.core.clock.unix();
        let Some(client) = self.core.own_client(at) else { return };
        let mut replica = Replica::waiting(client, at, now);
        if let SyncRequest::Psync { id, id_text, takes_over: true, .. } = &request
            && let Err(error) = self.take_over(*id, id_text)
        {
            return self.answer_line(target, &error.line());
        }
        if self.core.node().replication.failover.is_some() {
            let error = CommandError::text_static("NOMASTERLINK Can't SYNC while failing over");
            return self.answer_line(target, &error.line());
        }
        if let Role::Replica { is_linked: false } = self.core.node().replication.role() {
            let error = CommandError::text_static("NOMASTERLINK Can't SYNC while not connected with my master");
            return self.answer_line(target, &error.line());
        }
        tracing::info!("Replica {} asks for synchronization", replica.name());
        replica.is_old = request == SyncRequest::Sync;
        if let Some(place) = self.place_to_continue(&replica, &request) {
            let history = self.core.node().replication.history.id;
            let line = if replica.facts.psync2 { format!("+CONTINUE {history}") } else { "+CONTINUE".to_owned() };
            (replica.state, replica.place, replica.acked) = (ReplicaState::Online, place, place);
            let replicas = &mut self.core.node().replication.replicas;
            replicas.syncs_partial += 1;
            self.add_replica(replica);
            self.answer_raw(target, format!("{line}\r\n").as_bytes());
            self.replicas_changed();
            return self.tell_open_slots();
        }
        let replication = &mut self.core.node().replication;
        replication.replicas.syncs_full += 1;
        if matches!(&request, SyncRequest::Psync { id_text, .. } if id_text != b"?") {
            replication.replicas.syncs_partial_refused += 1;
        }
        self.add_replica(replica);
        self.answer_raw(target, b"");
        self.begin_sync_if_due();
    }

    /// This node's primary hands over to it, and becomes its replica.
    fn take_over(&mut self, id: Option<HexId>, id_text: &[u8]) -> Result<(), CommandError> {
        tracing::info!("Failover request received for replid {}.", String::from_utf8_lossy(id_text));
        let replication = &self.core.node().replication;
        if replication.upstream.is_none() {
            return Err(CommandError::text_static("ERR PSYNC FAILOVER can't be sent to a master."));
        }
        if id != Some(replication.history.id) {
            return Err(CommandError::text_static("ERR PSYNC FAILOVER replid must match my replid."));
        }
        upstream::lead(&mut self.core);
        self.publish_effects();
        tracing::warn!("MASTER MODE enabled (failover request)");
        Ok(())
    }

    /// Where the replica can go on without a snapshot.
    fn place_to_continue(&mut self, replica: &Replica, request: &SyncRequest) -> Option<u64> {
        let SyncRequest::Psync { id, id_text, place, .. } = request else { return None };
        let (name, asked) = (replica.name(), place.map_or(-1, |place| place as i64 + 1));
        let replication = &self.core.node().replication;
        let (history, log) = (&replication.history, &replication.log);
        if id_text == b"?" {
            tracing::info!("Full resync requested by replica {name}");
            return None;
        }
        let (second, second_end) = history.second();
        match (id, place) {
            (Some(id), Some(place)) if history.knows(id, *place) => {}
            (Some(id), _) if *id == second => {
                tracing::info!(
                    "Partial resynchronization not accepted: Requested offset for second ID was {asked}, but I can reply up \
                     to {second_end}"
                );
                return None;
            }
            _ => {
                tracing::info!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my \
                     replication IDs are '{}' and '{second}')",
                    String::from_utf8_lossy(id_text),
                    history.id
                );
                return None;
            }
        }
        let place = (*place)?;
        if !log.reaches_back_to(place) {
            tracing::info!(
                "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {asked})."
            );
            if place > log.end() {
                tracing::warn!(
                    "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication \
                     offset."
                );
            }
            return None;
        }
        tracing::info!(
            "Partial resynchronization request from {name} accepted. Sending {} bytes of backlog starting from offset \
             {asked}.",
            log.end() - place
        );
        Some(place)
    }

    fn add_replica(&mut self, replica: Replica) {
        if let Some(client) = self.core.own_client(replica.client) {
            client.is_replica = true;
        }
        let delays = self.core.config.repl_disable_tcp_nodelay;
        if let Some(connection) = self.connection(replica.client.index) {
            connection.set_nodelay(!delays);
        }
        self.core.node().replication.replicas.add(replica);
    }

    fn answer_line(&mut self, target: ReplyTarget, line: &[u8]) {
        let mut reply = Box::new(ReplyBuffer::new());
        Reply::new(&mut reply, RespVersion::V2).error(line);
        self.answer(target, reply);
    }

    fn answer_raw(&mut self, target: ReplyTarget, bytes: &[u8]) {
        let mut reply = Box::new(ReplyBuffer::new());
        reply.extend(bytes);
        self.answer(target, reply);
    }

    /// Begins a snapshot for those who wait for one, if nothing is in its way and they have waited for others to join.
    pub(super) fn begin_sync_if_due(&mut self) {
        let now = self.core.clock.unix();
        let (is_busy, config) = (self.save.is_some() || self.ending.is_some(), &self.core.config);
        let (diskless, delay_s, count_max) =
            (config.repl_diskless_sync, config.repl_diskless_sync_delay, config.repl_diskless_sync_max_replicas);
        let node = self.core.node();
        let is_busy = is_busy || node.persistence.saving.is_under_way() || node.persistence.is_rewriting();
        let list = &node.replication.replicas.list;
        let waits = |replica: &&Replica| replica.state == ReplicaState::WaitsForSnapshot;
        // What is said before a stream is said to all that it goes to.
        let Some(first) = list.iter().find(waits) else { return };
        let waiting: Vec<&Replica> = list.iter().filter(waits).filter(|other| other.is_old == first.is_old).collect();
        let Some(longest_ms) = waiting.iter().map(|replica| now.since(replica.asked)).max() else { return };
        let has_all = count_max > 0 && waiting.len() >= count_max as usize;
        let is_due = !diskless || has_all || longest_ms >= i64::from(delay_s) * 1000;
        let to_sockets = diskless && waiting.iter().all(|replica| replica.facts.eof);
        let is_busy = is_busy || self.replicating.sync.file.is_some() || self.replicating.sync.ready.is_some();
        if is_busy || !is_due || !self.are_quiet(ReplicaState::WaitsForSnapshot) {
            return;
        }
        let node = self.core.node();
        let purpose = if to_sockets { SaveFor::Replicas } else { SaveFor::ReplicasFile };
        tracing::info!(
            "Starting BGSAVE for SYNC with target: {}",
            if to_sockets { "replicas sockets" } else { "disk" }
        );
        node.persistence.saving.begin(purpose, now.seconds());
        self.keep_log();
        self.begin_save(purpose, None);
    }

    /// From the next cut on there is a log.
    fn keep_log(&mut self) {
        let core = &mut self.core;
        let Some(node) = core.node.as_mut() else { return };
        let replication = &mut node.replication;
        if !replication.log.is_kept() {
            if replication.upstream.is_none() {
                // Nobody has read what came before: it has no name.
                replication.history.replace(&mut core.random);
                tracing::info!(
                    "Replication backlog created, my new replication IDs are '{}' and '{}'",
                    replication.history.id,
                    HexId::ZEROS
                );
            }
            replication.log.keep();
        }
    }

    /// The stream that a snapshot for replicas goes to: all who wait are in it.
    ///
    /// # Errors
    /// A line for the log.
    pub(in crate::runtime::requests) fn open_stream(&mut self) -> Result<SnapshotStream, String> {
        let Some(is_old) = self.first_that_waits().map(|replica| replica.is_old) else {
            return Err("no replica waits for a snapshot any more".to_owned());
        };
        let sinks = self.sinks(|r| r.state == ReplicaState::WaitsForSnapshot && r.is_old == is_old);
        let mark = HexId::random(&mut self.core.random).as_bytes().to_vec();
        self.replicating.sync.mark.clone_from(&mark);
        let config = &self.core.config;
        let settings = StreamSettings {
            checksum: config.rdbchecksum,
            patience: Duration::from_secs(u64::from(config.repl_timeout)),
            mark,
        };
        SnapshotStream::begin(settings, sinks, self.mesh.bell_pull())
    }

    /// Whether nothing is on its way to the replicas in this state.
    fn are_quiet(&self, state: ReplicaState) -> bool {
        let list = self.core.node.iter().flat_map(|node| &node.replication.replicas.list);
        list.filter(|replica| replica.state == state).all(|replica| {
            let connection = self.connections.get(replica.client.index as usize).and_then(Option::as_ref);
            connection.is_some_and(|connection| connection.is_drained())
        })
    }

    /// The first replica that waits for a snapshot.
    fn first_that_waits(&self) -> Option<&Replica> {
        let list = self.core.node.as_ref().map(|node| &node.replication.replicas.list)?;
        list.iter().find(|replica| replica.state == ReplicaState::WaitsForSnapshot)
    }

    /// The sockets of these replicas, which begin to receive.
    fn sinks(&mut self, wanted: impl Fn(&Replica) -> bool) -> Vec<Sink> {
        let Some(node) = self.core.node.as_mut() else { return Vec::new() };
        let (mut sinks, sent_bytes) = (Vec::new(), &self.replicating.sync.sent_bytes);
        let log_end = node.replication.log.end();
        for replica in node.replication.replicas.list.iter_mut().filter(|replica| wanted(replica)) {
            let Some(Some(connection)) = self.connections.get(replica.client.index as usize) else { continue };
            if let Ok(socket) = connection.clone_socket() {
                if replica.state == ReplicaState::WaitsForSnapshot {
                    // The cut is yet to say where it stands: not before this.
                    replica.place = log_end;
                }
                replica.state = ReplicaState::Receives;
                sinks.push(Sink { client_id: replica.client.id, socket, sent_bytes: sent_bytes.clone() });
            }
        }
        sinks
    }

    /// All cores have begun the cut of a snapshot: it stands at `place` (core 0). What is said before it.
    pub(in crate::runtime::requests) fn cut_for_replicas(&mut self, purpose: SaveFor, place: u64) {
        let state = if purpose == SaveFor::Replicas { ReplicaState::Receives } else { ReplicaState::WaitsForFile };
        let from_file = purpose == SaveFor::ReplicasFile;
        let history = self.core.node().replication.history.id;
        let mut told = Vec::new();
        for replica in &mut self.core.node().replication.replicas.list {
            if from_file && replica.state == ReplicaState::WaitsForSnapshot {
                replica.state = state;
                if !replica.is_old {
                    told.push(replica.client);
                }
            }
            if replica.state == state {
                (replica.place, replica.acked) = (place, 0);
            }
        }
        let line = format!("+FULLRESYNC {history} {place}\r\n");
        told.into_iter().for_each(|client| self.push(client, &bytes::Bytes::from(line.clone())));
    }

    /// What stands before a streamed snapshot.
    pub(in crate::runtime::requests) fn stream_preface(&mut self, place: u64) -> Vec<u8> {
        let history = self.core.node().replication.history.id;
        let receives = |replica: &&Replica| replica.state == ReplicaState::Receives;
        let is_old = self.core.node().replication.replicas.list.iter().find(receives).is_some_and(|r| r.is_old);
        let line = if is_old { String::new() } else { format!("+FULLRESYNC {history} {place}\r\n") };
        let mut preface = format!("{line}$EOF:").into_bytes();
        preface.extend_from_slice(&self.replicating.sync.mark);
        preface.extend_from_slice(b"\r\n");
        preface
    }

    /// A replica does not take its snapshot: it goes (core 0).
    pub(in crate::runtime::requests) fn replica_is_gone(&mut self, client_id: u64) {
        if let Some(replica) = self.core.node().replication.replicas.get_mut(client_id) {
            tracing::warn!("Connection with replica {} lost during its snapshot.", replica.name());
            let client = replica.client;
            self.close(client.index, CloseReason::Peer);
        }
    }

    /// The snapshot for replicas has been sent, or is in its file, or will never be (core 0).
    pub(in crate::runtime::requests) fn saved_for_replicas(&mut self, purpose: SaveFor, is_saved: bool) {
        let from = if purpose == SaveFor::Replicas { ReplicaState::Receives } else { ReplicaState::WaitsForFile };
        if !is_saved {
            tracing::warn!("BGSAVE for replication failed");
            return self.close_replicas_in(from);
        }
        if purpose == SaveFor::Replicas {
            self.replicas_go_on(from, ReplicaState::HasSnapshot);
            return self.replicas_changed();
        }
        let path = Path::new(&self.core.config.dir).join(&self.core.config.dbfilename);
        match File::open(&path) {
            Ok(file) => self.replicating.sync.ready = Some(file),
            Err(error) => {
                tracing::warn!("Can't open {} for the replicas: {error}", path.display());
                self.close_replicas_in(from);
            }
        }
    }

    /// Sends the file off that is ready, once nothing else is on its way to those who wait for it.
    fn send_ready_file(&mut self) -> bool {
        if self.replicating.sync.ready.is_none() || !self.are_quiet(ReplicaState::WaitsForFile) {
            return false;
        }
        let Some(file) = self.replicating.sync.ready.take() else { return false };
        let sinks = self.sinks(|replica| replica.state == ReplicaState::WaitsForFile);
        let patience = Duration::from_secs(u64::from(self.core.config.repl_timeout));
        match SnapshotStream::of_file(file, patience, sinks, self.mesh.bell_pull()) {
            Ok(stream) => self.replicating.sync.file = Some(stream),
            Err(line) => {
                tracing::warn!("{line}");
                self.close_replicas_in(ReplicaState::Receives);
            }
        }
        true
    }

    fn close_replicas_in(&mut self, state: ReplicaState) {
        let list = &self.core.node().replication.replicas.list;
        let clients: Vec<ClientRef> = list.iter().filter(|r| r.state == state).map(|r| r.client).collect();
        clients.into_iter().for_each(|client| self.close(client.index, CloseReason::Peer));
    }

    fn replicas_go_on(&mut self, from: ReplicaState, to: ReplicaState) {
        let now = self.core.clock.unix();
        for replica in self.core.node().replication.replicas.list.iter_mut().filter(|replica| replica.state == from) {
            // One that never says what it has is not waited for.
            let to = if replica.is_old { ReplicaState::Online } else { to };
            (replica.state, replica.heard) = (to, now);
            match to {
                ReplicaState::HasSnapshot => tracing::info!(
                    "Streamed replica with replica {} (socket). Waiting for REPLCONF ACK from replica to enable streaming",
                    replica.name()
                ),
                _ => tracing::info!("Synchronization with replica {} succeeded", replica.name()),
            }
        }
    }

    /// Takes what threads have sent to replicas into the statistics.
    pub(in crate::runtime::requests) fn count_snapshots_sent(&mut self) {
        let bytes = self.replicating.sync.sent_bytes.swap(0, Ordering::Relaxed);
        self.core.stats.sent_bytes += bytes;
        self.core.stats.replication_sent_bytes += bytes;
    }

    /// Takes in what is reported of a file on its way to replicas (core 0). True when there was anything.
    pub fn attend_sync(&mut self) -> bool {
        let mut worked = self.send_ready_file();
        while let Some(report) = self.replicating.sync.file.as_ref().and_then(SnapshotStream::report) {
            worked = true;
            match report {
                Written::Bytes(..) => {}
                Written::Gone(client_id) => self.replica_is_gone(client_id),
                Written::End(outcome) => {
                    self.retired_writers.extend(self.replicating.sync.file.take().map(SnapshotStream::retire));
                    match outcome {
                        Ok(()) => {
                            self.replicas_go_on(ReplicaState::Receives, ReplicaState::Online);
                            self.tell_open_slots();
                        }
                        Err(line) => {
                            tracing::warn!("{line}");
                            self.close_replicas_in(ReplicaState::Receives);
                        }
                    }
                    self.replicas_changed();
                }
            }
        }
        self.leave_if_replicas_follow();
        worked
    }

    /// A replica has said what it has (core 0).
    pub(in crate::runtime::requests) fn replica_acked(&mut self, client: ClientRef, has_snapshot: bool) {
        if has_snapshot && let Some(replica) = self.core.node().replication.replicas.get_mut(client.id) {
            replica.state = ReplicaState::Online;
            tracing::info!("Synchronization with replica {} succeeded", replica.name());
            self.tell_open_slots();
        }
        self.tell_counts();
        self.leave_if_replicas_follow();
        self.hand_over_if_possible();
    }

    /// A replica's connection is gone (core 0).
    pub(in crate::runtime::requests) fn replica_left(&mut self, client_id: u64) {
        let now = self.core.clock.unix();
        if let Some(replica) = self.core.node().replication.replicas.remove(client_id, now) {
            tracing::info!("Connection with replica {} lost.", replica.name());
        }
        self.replicas_changed();
    }

    /// Replicas have come, gone, or fallen behind: every core may have to know (core 0).
    pub(in crate::runtime::requests) fn replicas_changed(&mut self) {
        self.tell_counts();
        self.publish_role();
    }

    /// Hands every core what it must know of replication, if that has changed (core 0).
    pub(in crate::runtime::requests) fn publish_role(&mut self) {
        let now = self.core.clock.unix();
        let node = self.core.node();
        let role = node.replication.role();
        let good_replicas = if role.is_replica() { 0 } else { node.replication.replicas.good_count(&node.config, now) };
        let view = node.replication.view(good_replicas);
        if view != self.core.replication {
            self.publish(vec![Publication::Replication(view)], None);
        }
    }

    /// Core 0's look at its replicas, at each tick.
    pub(in crate::runtime::requests) fn tick_replicas(&mut self) {
        let (now, now_ms) = (self.core.clock.unix(), self.core.clock.monotonic_us() / 1000);
        let (period_s, timeout_s, ttl_s) = {
            let config = &self.core.config;
            (config.repl_ping_replica_period, config.repl_timeout, config.repl_backlog_ttl)
        };
        let Core { node, clients, .. } = &self.core;
        let Some(node) = node else { return };
        let replication = &node.replication;
        let is_replica = replication.role().is_replica();
        // A replica that loads its snapshot sends empty lines.
        let is_silent = |replica: &Replica| {
            let client = clients.get(replica.client.index as usize);
            client.is_none_or(|client| now.since(client.last_interaction) > i64::from(timeout_s) * 1000)
        };
        let late = |replica: &&Replica| match replica.state {
            ReplicaState::Online => !replica.is_old && replica.lag_s(now) > i64::from(timeout_s),
            ReplicaState::HasSnapshot => is_silent(replica),
            _ => false,
        };
        let late: Vec<(ClientRef, String)> =
            replication.replicas.list.iter().filter(late).map(|replica| (replica.client, replica.name())).collect();
        for (client, name) in late {
            tracing::warn!("Disconnecting timedout replica (streaming sync): {name}");
            self.close(client.index, CloseReason::Timeout);
        }
        let replication = &self.core.node().replication;
        let has_replicas = !replication.replicas.list.is_empty();
        // While a replica is to have everything, nothing is added.
        let is_still = self.core.node().replication.are_writes_held();
        if has_replicas
            && !is_still
            && !is_replica
            && now_ms.saturating_sub(self.replicating.pinged_ms) >= u64::from(period_s) * 1000
        {
            self.replicating.pinged_ms = now_ms;
            self.say_to_replicas(&[b"PING"]);
        }
        let replication = &self.core.node().replication;
        let alone_s = replication.replicas.none_since.map(|since| now.seconds() - since.seconds());
        let is_over = ttl_s > 0 && alone_s.is_some_and(|alone_s| alone_s > i64::try_from(ttl_s).unwrap_or(i64::MAX));
        if !is_replica && replication.log.is_kept() && is_over {
            self.give_log_up(ttl_s);
        }
        self.leave_if_replicas_follow();
        self.hand_over_if_possible();
        self.begin_sync_if_due();
        self.comfort_waiting(now.seconds());
        self.publish_role();
    }

    /// Nobody has wanted the log for `repl-backlog-ttl`.
    fn give_log_up(&mut self, ttl_s: u64) {
        let core = &mut self.core;
        let Some(node) = core.node.as_mut() else { return };
        // What replicas have missed by now is in no log: they must not take the id for a sign of more.
        node.replication.history.replace(&mut core.random);
        node.replication.log.drop_kept();
        tracing::info!("Replication backlog freed after {ttl_s} seconds without connected replicas.");
    }

    /// Replicas that wait for their snapshot to begin or to be in its file are sent an empty line each second, so that they do not
    /// take the silence for a broken link.
    fn comfort_waiting(&mut self, now_s: i64) {
        if self.replicating.sync.comforted_s == now_s {
            return;
        }
        self.replicating.sync.comforted_s = now_s;
        let waits =
            |replica: &&Replica| matches!(replica.state, ReplicaState::WaitsForSnapshot | ReplicaState::WaitsForFile);
        if self.replicating.sync.ready.is_some() {
            return; // it comes at once
        }
        let list = &self.core.node().replication.replicas.list;
        let clients: Vec<ClientRef> = list.iter().filter(waits).map(|replica| replica.client).collect();
        clients.into_iter().for_each(|client| self.push(client, &bytes::Bytes::from_static(b"\n")));
    }
}
