//! Requests on their way through one core: from a connection's bytes to a handler here or on another core, and the
//! replies back into the connection in order.
//!
//! Owns the core's data and the connections; called by the turn loop of `worker`, which moves the bytes. Never
//! waits and never touches the ring. In the order in which a request meets them: `input` (parsing), `dispatch` (the gate, and
//! running it here), `crossing` (other cores, every core, core 0), `effects` (what handlers leave behind), `bus` (other nodes),
//! `durable` (replies that wait for the disk), `held` (requests that wait for keys on their way to other nodes, which are in `migrate`),
//! `loading` (files that become data); `limits` and `snapshots`, at the end of a turn; and in the end `ending`.

mod bus;
mod crossing;
mod dispatch;
mod durable;
mod effects;
mod ending;
mod exec;
mod files;
mod held;
mod input;
mod limits;
mod loading;
mod migrate;
mod migration;
mod relocation;
mod replication;
mod snapshots;

pub use bus::OnBus;
pub use migration::MigrationMessage;
pub use relocation::RelocationMessage;
pub use replication::LogMark;
pub use replication::apply::ApplyBatch;
pub use replication::arrivals::Arrival;

use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;
use durable::Durability;
use ending::Ending;
use exec::WatchedExec;
use files::Files;
use held::HeldRequests;
use loading::NextReload;
use migrate::Migrating;
use replication::Replicating;
use replication::upstream::Following;
use slab::Slab;
use snapshots::{Save, Waiting};

use crate::base::clock::{UnixMillis, thread_cpu_ns};
use crate::base::core_id::CoreId;
use crate::cluster::membership::Step;
use crate::command::blocking;
use crate::command::client::{Client, ClientRef, CloseReason};
use crate::command::core::{Core, Effect, Publication, ShutdownOptions};
use crate::command::execute::Share;
use crate::command::flush;
use crate::command::persistence::loading::Reload;
use crate::command::persistence::saving::SaveFor;
use crate::command::tracking;
use crate::config::OutputLimit;
use crate::resp::{Lookahead, ReplyBuffer};
use crate::runtime::batch::{OwnedCall, ReplyTarget};
use crate::runtime::census::Census;
use crate::runtime::connection::Connection;
use crate::runtime::listen::Accepted;
use crate::runtime::mesh::{Mesh, Message};
use crate::runtime::persistence::append_only::Folder;
use crate::runtime::persistence::loading::{Part, Underway};
use crate::runtime::persistence::snapshot::CoreWalk;
use crate::runtime::persistence::snapshot_file::Retired;

/// Fewer requests than this are not worth a look ahead at their keys.
const PREFETCH_MIN: usize = 4;

/// A command that waits for every core's share.
struct Gather {
    call: Box<OwnedCall>,
    target: ReplyTarget,
    shares: Vec<Option<Share>>,
    missing: usize,
}

/// Something that core 0 has published, until every core has taken it over.
struct Publishing {
    /// The reply that waits for it, and where the journal was before its call; none when no client asked.
    answer: Option<(u64, ReplyTarget, Box<ReplyBuffer>)>,
    missing: usize,
}

/// The requests of one core.
pub struct Requests {
    pub core: Core,
    pub mesh: Mesh,
    census: Arc<Census>,
    /// By the index of the client in `core.clients`; None while its input is being run.
    connections: Vec<Option<Box<Connection>>>,
    gathers: Slab<Gather>,
    publishing: Slab<Publishing>,
    /// Transactions that wait to hear of what their clients watch.
    execs: Slab<WatchedExec>,
    /// What this core has to say to some of them.
    own_watches_ended: Vec<(u32, bool)>,
    /// Connections with something to send.
    pub dirty: Vec<u32>,
    /// Connections that have just come, with their descriptors.
    pub adopted: Vec<(u32, RawFd)>,
    /// Connections to receive from again, or no more for now.
    pub resumed: Vec<u32>,
    pub held: Vec<u32>,
    /// Clients whose `closing` is set.
    closing: Vec<u32>,
    /// Some of them were added since the last look.
    closing_news: bool,
    /// Clients that CLIENT PAUSE holds, or slots on their way.
    postponed: Vec<u32>,
    /// Clients whose awaited reply has come: what they have sent since can run.
    released: Vec<u32>,
    /// Messages for the connection whose input is being run.
    late_pushes: Vec<(u32, Bytes)>,
    /// This core is asked to free memory and has not freed it.
    easing: bool,
    /// What this core's clients take; kept while they are limited.
    clients_bytes: i64,
    /// The limit of those as of the last look.
    clients_limit_bytes: Option<u64>,
    /// The pause has changed: those are to ask the gate again.
    pause_changed: bool,
    /// This core's part of a snapshot.
    walk: CoreWalk,
    /// Nothing leaves for clients: not all cores have begun a cut.
    pub output_held: bool,
    /// The snapshot under way, and what SHUTDOWN waits for; core 0's.
    save: Option<Box<Save>>,
    ending: Option<Ending>,
    /// A snapshot that begins when all cores have applied what has come from the primary; core 0's.
    postponed_save: Option<(SaveFor, Option<Waiting>)>,
    /// Writers of files that were given up or are complete.
    retired_writers: Vec<Retired>,
    /// Set when the node is to end.
    pub stopped: Option<Option<ShutdownOptions>>,
    expiring: bool,
    /// This core's part in loading, while files are loaded.
    pub loading: Option<Box<Part>>,
    /// Who waits for data to be loaded again, and what they have asked for (core 0 only).
    reloads: Vec<(ReplyTarget, Reload)>,
    /// The reload that is about to begin.
    next_reload: Option<NextReload>,
    /// Core 0 is to hear when this core's journal is written.
    awaits_journal: bool,
    /// Core 0's books of it.
    pub underway: Option<Box<Underway>>,
    /// The folder of append-only files, on core 0 while no thread works on it.
    pub folder: Option<Folder>,
    files: Files,
    /// What waits for the disk, and what the disk is to do.
    pub durability: Durability,
    /// This core's part in migrations of slots.
    migrating: migration::Migrating,
    /// This core's part in slots that change their core.
    relocating: relocation::Relocating,
    /// This core's part in replication.
    replicating: Replicating,
    /// The link to the primary that this node copies; core 0's.
    following: Following,
    /// Keys of this core on their way to other nodes.
    key_moves: Migrating,
    held_requests: HeldRequests,
    /// The cluster bus; core 0's, in cluster mode.
    pub on_bus: Option<Box<OnBus>>,
    /// When this core's periodic work was last done, in monotonic milliseconds; 0 before the first time.
    ticked_ms: u64,
    /// Reused by every connection.
    ahead: Lookahead,
}

impl Requests {
    pub fn new(mut core: Core, mesh: Mesh, census: Arc<Census>) -> Requests {
        core.startup_bytes = (core.memory)().allocated_bytes;
        Requests {
            core,
            mesh,
            census,
            connections: Vec::new(),
            gathers: Slab::new(),
            publishing: Slab::new(),
            execs: Slab::new(),
            own_watches_ended: Vec::new(),
            dirty: Vec::new(),
            adopted: Vec::new(),
            resumed: Vec::new(),
            held: Vec::new(),
            closing: Vec::new(),
            closing_news: false,
            postponed: Vec::new(),
            released: Vec::new(),
            late_pushes: Vec::new(),
            easing: false,
            clients_bytes: 0,
            clients_limit_bytes: None,
            pause_changed: false,
            walk: CoreWalk::default(),
            output_held: false,
            save: None,
            ending: None,
            postponed_save: None,
            retired_writers: Vec::new(),
            stopped: None,
            expiring: false,
            loading: None,
            reloads: Vec::new(),
            next_reload: None,
            awaits_journal: false,
            underway: None,
            folder: None,
            files: Files::default(),
            durability: Durability::default(),
            migrating: migration::Migrating::default(),
            relocating: relocation::Relocating::default(),
            replicating: Replicating::default(),
            following: Following::default(),
            key_moves: Migrating::default(),
            held_requests: HeldRequests::default(),
            on_bus: None,
            ticked_ms: 0,
            ahead: Lookahead::default(),
        }
    }

    pub fn connection(&mut self, index: u32) -> Option<&mut Connection> {
        self.connections.get_mut(index as usize)?.as_deref_mut()
    }

    /// Gives an accepted connection to the core that serves it.
    pub fn assign(&mut self, core: CoreId, accepted: Accepted) {
        if core == self.core.id {
            self.adopt(accepted);
        } else {
            self.mesh.send(core, Message::Connection(Box::new(accepted)));
        }
    }

    fn adopt(&mut self, accepted: Accepted) {
        let connection = Box::new(Connection::new(accepted.descriptor));
        let descriptor = connection.descriptor();
        let entry = self.core.clients.vacant_entry();
        let index = entry.key() as u32;
        let now = self.core.clock.unix();
        let mut client = Client::new(accepted.id, index, descriptor, accepted.peer, accepted.local, now);
        client.authenticated = self.core.config.requirepass.is_empty();
        client.is_on_core_port = accepted.is_on_core_port;
        entry.insert(client);
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.connections[index as usize] = Some(connection);
        self.core.stats.connections_received += 1;
        self.adopted.push((index, descriptor));
        if let Some(connection) = self.connection(index) {
            connection.receiving = true;
        }
    }

    /// Whether the client waits in a blocking command.
    pub fn is_blocked(&self, index: u32) -> bool {
        self.core.clients.get(index as usize).is_some_and(|client| client.blocked)
    }

    /// Marks a client to be closed at the end of the turn.
    pub fn close(&mut self, index: u32, reason: CloseReason) {
        let Some(client) = self.core.clients.get_mut(index as usize) else { return };
        // A second reason counts only when the first let replies out that can no longer go.
        if client.closing.is_none() || client.closing == Some(CloseReason::AfterReply) {
            client.closing = Some(reason);
            self.closing.push(index);
            self.closing_news = true;
        }
    }

    /// The clients whose sockets are to be shut now. Those that wait for their last reply stay in the list.
    pub fn take_closable(&mut self) -> Vec<u32> {
        if self.closing.is_empty() {
            return Vec::new();
        }
        self.closing_news = false;
        let closing = std::mem::take(&mut self.closing);
        let (now, later): (Vec<u32>, Vec<u32>) = closing.into_iter().partition(|index| self.is_closable(*index));
        self.closing = later;
        now
    }

    fn is_closable(&mut self, index: u32) -> bool {
        let reason = self.core.clients.get(index as usize).and_then(|client| client.closing);
        match reason {
            Some(CloseReason::AfterReply) => self.connection(index).is_none_or(|c| c.is_drained() || c.is_shut),
            _ => true,
        }
    }

    /// Removes a connection whose socket is shut and whose operations have completed. True when it did.
    pub fn forget_if_finished(&mut self, index: u32) -> bool {
        let finished = self.connection(index).is_some_and(|c| c.is_shut && !c.receiving && !c.is_sending);
        if finished {
            self.connections[index as usize] = None;
            let client = self.core.clients.remove(index as usize);
            self.account_gone(&client);
            let left = client.caller(self.core.id).client;
            if client.monitor {
                self.monitor_left(left);
            }
            if client.has_footprint {
                self.client_left(left);
            }
            if client.is_upstream {
                self.upstream_left(left.id);
            }
            if client.is_replica {
                self.replica_left(left.id);
            }
            if client.migration.is_some() {
                self.migration_end_left(left);
            }
            self.released.retain(|released| *released != index);
            self.postponed.retain(|postponed| *postponed != index);
        }
        finished
    }

    /// What is due at the end of a turn's work: clients whose pause has ended.
    pub fn settle(&mut self) {
        self.settle_loading();
        self.settle_arrivals();
        if self.has_own_counts() {
            self.settle_counts();
        }
        if self.is_postponed_save_due() {
            self.settle_postponed_save();
        }
        if self.core.tracking.has_news() {
            tracking::broadcast(&mut self.core);
            self.carry_out_effects();
        }
        for (ticket, intact) in std::mem::take(&mut self.own_watches_ended) {
            self.watches_ended(ticket, intact);
        }
        if self.has_own_durable() {
            self.tell_own_durable();
        }
        while let Some(index) = self.released.pop() {
            self.resume(index);
        }
        if self.postponed.is_empty() {
            return;
        }
        // Whom the pause still holds lines up again, in the same order.
        let is_free = self.core.migration.held.is_none()
            && self.core.relocation.is_none()
            && self.core.pause.until(self.core.clock.unix()).is_none();
        if std::mem::take(&mut self.pause_changed) || is_free {
            let postponed = std::mem::take(&mut self.postponed);
            postponed.into_iter().for_each(|index| self.resume(index));
        }
    }

    /// Goes on with what follows from keys of slots that have left, or ends with it when the core is about to. True when it did anything.
    pub fn tell_dropped(&mut self, keys_max: usize) -> bool {
        let keys_max = if self.stopped.is_some() { usize::MAX } else { keys_max };
        let worked = flush::tell_dropped(&mut self.core, keys_max);
        if worked {
            self.carry_out_effects();
        }
        worked | self.report_dropped()
    }

    /// Frees a slice of what UNLINK and FLUSHALL ASYNC have put aside. True when it did anything.
    pub fn free_slice(&mut self, budget: usize) -> bool {
        self.core.keyspace.lazyfree_pending() > 0 && self.core.keyspace.free_slice(budget)
    }

    pub fn has_more_to_do(&self) -> bool {
        self.closing_news
            || !self.dirty.is_empty() && !self.output_held
            || !self.resumed.is_empty()
            || !self.adopted.is_empty()
            || !self.released.is_empty()
            || !self.own_watches_ended.is_empty()
            || self.easing
            || !self.durability.orders.is_empty()
            || self.has_own_durable()
            || self.has_own_counts()
            || self.has_arrivals()
            || self.is_postponed_save_due()
            || self.is_walk_due()
            || self.is_export_due()
            || self.is_save_over()
            || self.core.keyspace.lazyfree_pending() > 0
            || self.core.keyspace.leaving_slots().next().is_some()
            || self.core.has_script_to_go_on_with()
            || self.has_more_to_load()
            || !self.reloads.is_empty()
            || self.has_bus_work()
            || self.has_key_moves_work()
    }

    /// Says that this core is about to wait. False when something has come meanwhile: do not wait.
    pub fn begin_wait(&mut self) -> bool {
        self.mesh.begin_wait() && self.stays_waiting()
    }

    /// Who leaves parcels rings behind it: either it sees that the core waits, or the core sees the parcel here.
    fn stays_waiting(&mut self) -> bool {
        let stays = !self.has_more_to_load();
        if !stays {
            self.mesh.end_wait();
        }
        stays
    }

    /// Whether there are keys to evict at once.
    pub fn is_easing(&self) -> bool {
        self.easing
    }

    pub fn is_expiring(&self) -> bool {
        self.expiring
    }

    /// Periodic work, `hz` times a second.
    pub fn tick(&mut self) {
        self.ticked_ms = self.core.clock.monotonic_us() / 1000;
        let own_bytes = self.core.allocated_bytes();
        self.core.ledger.note_peak(own_bytes);
        self.core.ledger.offer_changes(self.core.keyspace.stats.dirty);
        if let Some(chunk) = self.walk.tick() {
            self.send_chunk(chunk);
        }
        if self.core.paused_tick {
            return;
        }
        let begun_ns = self.core.nanos.now_ns();
        self.expiring = crate::runtime::tick::expire(&mut self.core);
        self.core.settle();
        tracking::limit(&mut self.core);
        self.carry_out_effects();
        let now = self.core.clock.unix();
        let timeout_ms = i64::from(self.core.config.timeout) * 1000;
        let mut idle = Vec::new();
        for (index, client) in &mut self.core.clients {
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            crate::runtime::tick::observe(client, connection, now);
            if !connection.is_dirty && traffic_waits(client) {
                // A slow reader's time above the soft limit runs on while nothing new is written.
                connection.is_dirty = true;
                self.dirty.push(index as u32);
            }
            if timeout_ms > 0
                && now.since(client.last_interaction) > timeout_ms
                && crate::runtime::tick::may_time_out(client, connection)
            {
                idle.push(index as u32);
            }
        }
        self.account_all();
        idle.into_iter().for_each(|index| self.close(index, CloseReason::Timeout));
        self.tick_key_moves();
        self.count_snapshots_sent();
        self.core.stats.busy_ns = thread_cpu_ns();
        self.core.stats.sample(self.core.clock.monotonic_us());
        if self.core.id == CoreId::FIRST {
            self.tick_upstream();
            self.tick_saving();
            self.tick_rebalancing();
            self.core.stats.clients_peak = self.core.stats.clients_peak.max(u64::from(self.census.clients_count()));
        } else {
            self.tell_append_size();
        }
        self.core.stats.ticks_ns += self.core.nanos.now_ns().saturating_sub(begun_ns);
    }

    /// What the cluster's state machine has decided outside of a request.
    pub(super) fn take_step(&mut self, step: Step) {
        if let Some(view) = step.view {
            self.publish(vec![Publication::Cluster(Box::new(view))], None);
        }
        self.carry_out(Effect::Cluster(step.actions));
        // Clients that the new view leaves without a server have been answered.
        self.carry_out_effects();
    }

    /// Answers blocked clients that have waited long enough.
    pub fn time_out(&mut self) {
        blocking::time_out(&mut self.core);
        self.time_out_targets();
        self.carry_out_effects();
    }

    /// A send has completed.
    pub fn sent(&mut self, index: u32, count: usize) {
        self.core.stats.sent_bytes += count as u64;
        self.core.stats.writes_processed += 1;
        if let Some(client) = self.core.clients.get_mut(index as usize) {
            client.traffic.sent_bytes += count as u64;
            if client.is_replica {
                self.core.stats.replication_sent_bytes += count as u64;
            }
        }
        let Some(connection) = self.connection(index) else { return };
        connection.sent(count);
        if connection.has_output() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
    }

    /// A send found the socket full and is to be tried again.
    pub fn send_stalled(&mut self, index: u32) {
        let Some(connection) = self.connection(index) else { return };
        connection.send_stalled();
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
    }

    pub fn send_failed(&mut self, index: u32) {
        if let Some(connection) = self.connection(index) {
            connection.send_failed();
        }
        self.close(index, CloseReason::Peer);
    }

    /// client-output-buffer-limit: true when the output may go out, false when it has overrun and the client goes.
    pub fn check_output(&mut self, index: u32) -> bool {
        self.account(index);
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return false };
        let Some(client) = self.core.clients.get_mut(index as usize) else { return false };
        if matches!(client.closing, Some(CloseReason::OutputLimit | CloseReason::Evicted)) {
            return false;
        }
        let waiting = connection.output_bytes() as u64;
        let limits = &self.core.config.client_output_buffer_limit;
        let limit = if client.is_listening() { &limits.pubsub } else { &limits.normal };
        let now = self.core.clock.unix();
        // What replicas have to read is in the log, and looked at there.
        let overrun = !client.is_replica
            && !client.is_upstream
            && client.migration.is_none()
            && is_over(limit, waiting, now, &mut client.output_soft_since);
        if !overrun || client.closing.is_some() {
            return true;
        }
        connection.is_dirty = false;
        self.close_for_output(index);
        false
    }

    /// A reply to this client was cut off as it was written: what was let go would be of no use.
    pub(super) fn overran(&mut self, client: ClientRef) {
        if self.core.own_client(client).is_some_and(|client| client.closing != Some(CloseReason::OutputLimit)) {
            self.close_for_output(client.index);
        }
    }

    fn close_for_output(&mut self, index: u32) {
        let Some(client) = self.core.clients.get(index as usize) else { return };
        tracing::warn!("Client id={} addr={} closed for overcoming of output buffer limits.", client.id, client.peer);
        self.core.stats.client_output_limit_disconnections += 1;
        self.close(index, CloseReason::OutputLimit);
        self.account(index);
    }
}

/// Whether so many bytes that wait are too many, now or for too long.
fn is_over(limit: &OutputLimit, waiting: u64, now: UnixMillis, soft_since: &mut Option<UnixMillis>) -> bool {
    let above_soft = limit.soft_bytes > 0 && waiting > limit.soft_bytes;
    let since = *soft_since.get_or_insert(now);
    if !above_soft {
        *soft_since = None;
    }
    let soft_ms = i64::try_from(limit.soft_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
    limit.hard_bytes > 0 && waiting > limit.hard_bytes || above_soft && now.since(since) > soft_ms
}

fn traffic_waits(client: &Client) -> bool {
    client.traffic.output_bytes > 0
}
