//! This node as a replica: the link to its primary from the first attempt to its loss (core 0).
//!
//! ```text
//! Down        an attempt begins at once after REPLICAOF or a loss, and a second after one that failed
//! Connecting  the link's thread speaks with the primary (`runtime::replication::link`)
//! Syncing     it receives the data into a file; then all cores load it, in place of what they had
//! Up          the socket is a connection of this core, whose input is applied (`apply`)
//! ```
//!
//! When the link is lost, the history and the place in it stay: the primary is asked for what follows. Once it has said that all data
//! will come instead, they are of no use, although the old data are served until the new ones are loaded.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::apply::Applying;
use crate::base::clock::UnixMillis;
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::command::client::{Client, ClientRef, CloseReason, Endpoint};
use crate::command::core::{Core, Publication};
use crate::command::persistence::DiskView;
use crate::command::persistence::replay::Routes;
use crate::command::replication::failover::Stage;
use crate::command::replication::stream::Stream;
use crate::command::replication::upstream::{FollowOrder, Link as LinkState, Transfer, Upstream};
use crate::command::tracking;
use crate::config::DisklessLoad;
use crate::keyspace::Disposal;
use crate::replication::handshake::Introduction;
use crate::replication::history::History;
use crate::runtime::connection::Connection;
use crate::runtime::log;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::loading::{Ends, HistoryFacts, LoadOrder, Plan, Prepared, Underway};
use crate::runtime::replication::link::{Link, LinkSettings, Made, Received, Report};
use crate::runtime::requests::Requests;
use crate::runtime::requests::snapshots::Outcome;

/// After an attempt that failed, the next one waits so long.
const RETRY_AFTER_MS: u64 = 1000;

/// Core 0's hold of the link to the primary.
#[derive(Default)]
pub struct Following {
    /// An attempt under way.
    link: Option<Link>,
    /// An attempt is to begin, not before this moment in monotonic milliseconds.
    due_ms: Option<u64>,
    /// Data that have come and are not loaded.
    received: Option<Box<Received>>,
    /// They are being loaded.
    is_loading: bool,
    /// Meanwhile another primary is to be followed, or none.
    is_superseded: bool,
    /// When the primary was last shown that this node is still loading, in seconds.
    comforted_s: i64,
    /// The connection over which the stream comes.
    pub(super) client: Option<ClientRef>,
    /// What is on its way to the data.
    pub(super) applying: Applying,
}

impl Requests {
    fn upstream(&mut self) -> Option<&mut Upstream> {
        self.core.node.as_mut()?.replication.upstream.as_mut()
    }

    /// REPLICAOF: there is another primary, or none any more.
    pub(in crate::runtime::requests) fn follow(&mut self, order: FollowOrder) {
        self.drop_link();
        match order {
            FollowOrder::Begin => self.following.due_ms = Some(0),
            FollowOrder::End => {
                self.close_replicas();
                if self.core.disk.replaces_files {
                    let view = DiskView { replaces_files: false, ..self.core.disk.clone() };
                    self.publish(vec![Publication::Disk(view)], None);
                }
            }
        }
    }

    /// Gives up whatever there is of a link, for good.
    fn drop_link(&mut self) {
        self.following.due_ms = None;
        self.following.is_superseded = self.following.is_loading;
        if let Some(link) = self.following.link.take() {
            self.retired_writers.push(link.cancel());
        }
        if let Some(received) = self.following.received.take_if(|_| !self.following.is_loading) {
            received.discard();
        }
        if let Some(client) = self.following.client.take() {
            self.close(client.index, CloseReason::Killed);
        }
        self.following.applying.cut_off();
    }

    /// For the end of the process, which the link's thread would not see.
    pub fn abandon_link(&mut self) {
        self.drop_link();
    }

    /// Replicas of this node read on under another name of the history, or need other data: they come again.
    fn close_replicas(&mut self) {
        let list = self.core.node.iter().flat_map(|node| &node.replication.replicas.list);
        let clients: Vec<u32> = list.map(|replica| replica.client.index).collect();
        clients.into_iter().for_each(|index| self.close(index, CloseReason::Killed));
    }

    /// Core 0's look at its link, each turn. True when something was done.
    pub fn attend_upstream(&mut self) -> bool {
        // A stream is dealt out by a table that stays.
        if self.core.node.is_none() || self.is_relocating() {
            return false;
        }
        let mut worked = false;
        while let Some(report) = self.following.link.as_ref().and_then(Link::report) {
            worked = true;
            self.link_reports(report);
        }
        if self.following.due_ms.is_some() {
            self.begin_link_if_due();
        }
        if self.following.applying.has_put_aside() && !self.core.disk.loading {
            worked = true;
            self.apply_put_aside();
        }
        if self.following.received.is_some() && !self.following.is_loading {
            self.load_received();
        }
        self.acknowledge_if_wanted();
        worked
    }

    /// What every core must know of the last change must have reached it: what they have recorded as cores of a primary is in the
    /// log by then.
    fn begin_link_if_due(&mut self) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let is_due = self.following.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let is_busy = self.core.disk.loading || !self.publishing.is_empty();
        if !is_due || is_busy || self.following.link.is_some() || self.following.client.is_some() {
            return;
        }
        self.following.due_ms = None;
        let place = self.place_of_all();
        let config = &self.core.config;
        let Some(node) = self.core.node.as_mut() else { return };
        let primary = node.cluster.as_deref().and_then(|cluster| cluster.machine().primary_id());
        let replication = &mut node.replication;
        let Some(upstream) = &mut replication.upstream else { return };
        let known = upstream.resumes.then_some((replication.history.id, place));
        let announced = config.replica_announce_port;
        let settings = LinkSettings {
            host: upstream.host.clone(),
            port: upstream.port,
            source: config.bind_source_addr.clone(),
            patience: Duration::from_secs(u64::from(config.repl_timeout)),
            keepalive_s: config.tcp_keepalive,
            introduction: Introduction {
                user: config.masteruser.clone(),
                password: config.masterauth.clone(),
                port: if announced == 0 { config.port } else { announced },
                address: config.replica_announce_ip.clone(),
                known,
                hands_over: upstream.takes_over,
                primary,
            },
            folder: config.dir.clone().into(),
            in_memory: config.repl_diskless_load != DisklessLoad::Disabled,
        };
        (upstream.link, upstream.transfer) = (LinkState::Connecting, Transfer::default());
        tracing::info!("Connecting to MASTER {}:{}", upstream.host, upstream.port);
        tracing::info!("MASTER <-> REPLICA sync started");
        match Link::begin(settings, self.mesh.bell_pull()) {
            Ok(link) => self.following.link = Some(link),
            Err(line) => self.link_failed(&line),
        }
    }

    fn link_reports(&mut self, report: Report) {
        if !matches!(report, Report::Full)
            && let Some(link) = self.following.link.take()
        {
            self.note_transfer(&link);
            self.retired_writers.push(link.retire());
        }
        match report {
            Report::Full => {
                self.handed_over();
                self.cluster_step(|machine, _| machine.forget_followed_slots());
                let Some(upstream) = self.upstream() else { return };
                upstream.link = LinkState::Syncing;
                if std::mem::take(&mut upstream.resumes) {
                    tracing::info!("Discarding previously cached master state.");
                }
                self.following.applying.cut_off();
            }
            Report::Received(received) => self.following.received = Some(received),
            Report::Continues { id, link } => self.link_continues(id, link),
            Report::Failed(line) => self.link_failed(&line),
            Report::Refused(line) => {
                self.link_failed(&line);
                self.call_hand_over_off_at(Stage::HandingOver, "Failover target rejected psync request");
            }
        }
    }

    fn link_failed(&mut self, line: &str) {
        tracing::warn!("{line}");
        self.link_is_down();
        self.following.due_ms = Some(self.core.clock.monotonic_us() / 1000 + RETRY_AFTER_MS);
    }

    /// There is no link any more, or no attempt.
    fn link_is_down(&mut self) {
        let now = self.core.clock.unix();
        let Some(upstream) = self.upstream() else { return };
        if upstream.link == LinkState::Up {
            upstream.down_since = Some(now);
        }
        (upstream.link, upstream.transfer) = (LinkState::Down, Transfer::default());
        self.publish_role();
    }

    /// The stream goes on where this node is.
    fn link_continues(&mut self, id: Option<HexId>, link: Made) {
        self.handed_over();
        tracing::info!("Successful partial resynchronization with master.");
        let place = self.place_of_all();
        let Some(node) = self.core.node.as_mut() else { return };
        let replication = &mut node.replication;
        let old = replication.history.id;
        if let Some(id) = id.filter(|id| *id != old) {
            replication.history.follow(id, place);
            tracing::info!("Master replication ID changed to {id}");
            self.close_replicas();
        }
        tracing::info!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        self.take_link_up(link, false);
    }

    /// What came over the link cannot be read: what this node has may be wrong as well, and all data are asked for again.
    pub(super) fn distrust_history(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.resumes = false;
        }
    }

    /// From now on the stream is received and applied. `awaits_word`: the primary sends nothing before it hears that its data have
    /// come.
    fn take_link_up(&mut self, link: Made, awaits_word: bool) {
        let now = self.core.clock.unix();
        let db = {
            let Some(node) = self.core.node.as_mut() else { return };
            node.replication.log.keep();
            node.replication.stream_db
        };
        let routes = Routes {
            owners: self.core.owners.clone(),
            in_cluster: self.core.config.cluster_enabled,
            databases: u64::from(self.core.config.databases),
        };
        let cores_count = self.core.facts.cores_count;
        let place = self.place_of_all();
        self.following.applying.begin(Stream::new(db), routes, cores_count, place);
        let client = match self.adopt_upstream(link.socket, now) {
            Ok(client) => client,
            Err(error) => return self.link_failed(&format!("The link to the master is gone: {error}")),
        };
        self.following.client = Some(client);
        if let Some(upstream) = self.upstream() {
            (upstream.link, upstream.down_since, upstream.last_io) = (LinkState::Up, None, now);
            (upstream.resumes, upstream.transfer) = (true, Transfer::default());
        }
        self.note_applied();
        self.publish_role();
        self.introduce(awaits_word);
        if !link.rest.is_empty() {
            self.input(client.index, &link.rest);
        }
    }

    /// Makes the link a connection of this core.
    fn adopt_upstream(&mut self, socket: TcpStream, now: UnixMillis) -> std::io::Result<ClientRef> {
        let (peer, local) = (Endpoint::Tcp(socket.peer_addr()?), Endpoint::Tcp(socket.local_addr()?));
        let mut connection = Box::new(Connection::new(OwnedFd::from(socket)));
        let descriptor = connection.descriptor();
        connection.receiving = true;
        let id = self.census.enter(self.core.id);
        let entry = self.core.clients.vacant_entry();
        let index = entry.key() as u32;
        let mut client = Client::new(id, index, descriptor, peer, local, now);
        (client.is_upstream, client.authenticated) = (true, true);
        entry.insert(client);
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.connections[index as usize] = Some(connection);
        self.adopted.push((index, descriptor));
        Ok(ClientRef { core: self.core.id, index, id })
    }

    /// The connection over which the stream came is gone.
    pub(in crate::runtime::requests) fn upstream_left(&mut self, client_id: u64) {
        if self.following.client.is_none_or(|client| client.id != client_id) {
            return; // there is another primary by now
        }
        self.following.client = None;
        self.following.applying.cut_off();
        tracing::warn!("Connection with master lost.");
        tracing::info!("Caching the disconnected master state.");
        self.link_is_down();
        if let Some(upstream) = self.upstream() {
            tracing::info!("Reconnecting to MASTER {}:{}", upstream.host, upstream.port);
            self.following.due_ms = Some(0);
        }
    }

    /// Core 0's look at its link, at each tick.
    pub(in crate::runtime::requests) fn tick_upstream(&mut self) {
        let (now, now_ms) = (self.core.clock.unix(), self.core.clock.monotonic_us() / 1000);
        if self.upstream().is_none() {
            return;
        }
        let is_idle = self.following.link.is_none()
            && self.following.client.is_none()
            && self.following.received.is_none()
            && self.following.due_ms.is_none();
        if is_idle {
            self.following.due_ms = Some(now_ms);
        }
        if let Some(link) = self.following.link.take() {
            self.note_transfer(&link);
            self.following.link = Some(link);
        }
        self.comfort_primary(now.seconds());
        let Some(client) = self.following.client else { return };
        let heard = self.core.own_client(client).map_or(now, |client| client.last_interaction);
        if let Some(upstream) = self.upstream() {
            upstream.last_io = heard;
        }
        if now.since(heard) > i64::from(self.core.config.repl_timeout).saturating_mul(1000) {
            tracing::warn!("MASTER timeout: no data nor PING received...");
            self.close(client.index, CloseReason::Timeout);
        }
        self.acknowledge_each_second(now_ms);
    }

    fn note_transfer(&mut self, link: &Link) {
        let ((total_bytes, read_bytes), heard_ms) = (link.transferred(), link.heard_ms());
        let Some(upstream) = self.upstream() else { return };
        let new_bytes = read_bytes.saturating_sub(upstream.transfer.read_bytes);
        upstream.transfer = Transfer { total_bytes, read_bytes, ..upstream.transfer };
        if heard_ms > 0 {
            upstream.last_io = UnixMillis(i64::try_from(heard_ms).unwrap_or(i64::MAX));
        }
        self.core.stats.received_bytes += new_bytes;
        self.core.stats.replication_received_bytes += new_bytes;
    }

    /// A primary that hears nothing for long takes its replica for gone: while the data are loaded it is sent an empty line each second.
    fn comfort_primary(&mut self, now_s: i64) {
        if self.following.comforted_s == now_s {
            return;
        }
        self.following.comforted_s = now_s;
        if let Some(received) = &mut self.following.received {
            // What cannot be written is found out when the stream is read.
            let _ = std::io::Write::write(&mut received.link.socket, b"\n");
        }
    }
}

// ---- the data of a full synchronisation ---------------------------------------------------------------------------

impl Requests {
    /// Begins to load what has come, once nothing else is done with the data.
    fn load_received(&mut self) {
        if self.next_reload.is_some() || self.ending.is_some() || self.underway.is_some() {
            return;
        }
        self.give_up_rewrite();
        self.give_up_save(Outcome::GivenUp);
        if self.save.is_some() || self.postponed_save.is_some() || self.are_files_pending() {
            return;
        }
        if !self.core.disk.loading {
            // From here on nobody changes data. Each core writes what it has recorded and closes its file before the turn ends.
            self.close_replicas();
            let view = DiskView { loading: true, replaces_files: true, ..self.core.disk.clone() };
            return self.publish(vec![Publication::Disk(view)], None);
        }
        if !self.publishing.is_empty() {
            return;
        }
        self.following.is_loading = true;
        if let Some(upstream) = self.upstream() {
            upstream.transfer.is_loading = true;
        }
        tracing::info!("MASTER <-> REPLICA sync: Flushing old data");
        let Some(received) = &self.following.received else { return };
        let config = self.core.config.clone();
        let is_file = received.memory.is_none();
        let plan = Plan::received(received.path.clone(), received.bytes, is_file, &config);
        let cores_count = self.core.facts.cores_count;
        let mut prepared = Prepared::new(plan, None, &config, self.core.owners.clone(), self.mesh.bells(), cores_count);
        // What clients of a replica that can be written to have sent before may still come.
        prepared.rules.replaces = !config.replica_read_only;
        self.underway = Some(Box::new(prepared.underway(cores_count, Ends::Primary)));
        for (index, (inbox, rules)) in prepared.parts().into_iter().enumerate() {
            let part = LoadOrder { inbox, rules, empties: true, is_primarys: true };
            match CoreId::new(index) {
                core if core == self.core.id => self.take_order(part),
                core => self.mesh.send(core, Message::Load(Box::new(part))),
            }
        }
        self.note_progress();
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        if let Err(error) = prepared.begin(false) {
            // The cores have begun and nobody reads: there is no way on.
            log::complain(&format!("Can't start a thread: {error}"));
            std::process::exit(1)
        }
    }

    /// All cores have loaded the primary's data, or found that they are damaged.
    pub(in crate::runtime::requests) fn primary_is_loaded(&mut self, underway: &Underway) {
        self.following.is_loading = false;
        let is_superseded = std::mem::take(&mut self.following.is_superseded);
        let Some(received) = self.following.received.take() else { return };
        if let Some(line) = underway.shared.failure() {
            tracing::error!("{line}");
            tracing::warn!("Failed trying to load the MASTER synchronization DB from disk, check server logs.");
            received.discard();
            self.empty_all();
            let Core { node: Some(node), random, .. } = &mut self.core else { return };
            node.replication.history.replace(random);
            let changes = self.core.ledger.changes();
            self.core.node().persistence.saving.forget_changes(changes);
            return self.link_failed("The data of the master are given up");
        }
        let Received { id, place, by_mark, link, .. } = *received;
        let HistoryFacts { db, .. } = underway.shared.history();
        let Core { node: Some(node), random, .. } = &mut self.core else { return };
        let replication = &mut node.replication;
        replication.history = History::with_id(id);
        replication.log.restart_at(place);
        replication.stream_db = db.unwrap_or(0);
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        if is_superseded {
            // The stream of another primary may go on from here; without one, this node does.
            match &mut replication.upstream {
                Some(upstream) => upstream.resumes = true,
                None => replication.history.shift(place, random),
            }
            return;
        }
        self.take_link_up(link, by_mark);
    }

    /// Half of the primary's data is no data to show.
    fn empty_all(&mut self) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::Empty));
        self.empty();
    }

    /// This core forgets all keys.
    pub(in crate::runtime::requests) fn empty(&mut self) {
        tracking::flushed(&mut self.core);
        self.core.keyspace.flush(None, Disposal::Background);
        self.core.settle();
    }

    /// The node has loaded its files at the start, and they say to which history they belong.
    pub(in crate::runtime::requests) fn take_history_up(&mut self, facts: HistoryFacts) {
        let (Some(id), Some(place)) = (facts.id, facts.place) else { return };
        let Some(node) = self.core.node.as_mut() else { return };
        let replication = &mut node.replication;
        replication.log.restart_at(place);
        if replication.upstream.is_some() {
            replication.history = History::with_id(id);
            replication.stream_db = facts.db.unwrap_or(0);
        } else {
            // Replicas that have all of it can go on with what this node writes from now on.
            replication.history.remember(id, place);
            replication.log.keep();
        }
    }
}
