//! The replicas of this node, as core 0 keeps them.
//!
//! A replica is a client of core 0 that has said PSYNC or SYNC (`peers`). It waits for a snapshot, receives one, says that it
//! has it, and reads the log from then on; or it reads the log at once where that still has what it misses. What it has is a place in
//! the history, which it tells each second.

use crate::base::clock::UnixMillis;
use crate::command::client::{Client, ClientRef};
use crate::config::Config;
use crate::resp::Reply;

/// What a client has said of itself with REPLCONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// The port that it serves clients on; 0 when it has not said.
    pub port: u16,
    /// Where it can be reached, if not where it comes from.
    pub address: Vec<u8>,
    /// It finds the end of a snapshot by a mark.
    pub eof: bool,
    /// It understands that a history has a new id.
    pub psync2: bool,
    /// It wants a snapshot and nothing behind it.
    pub rdb_only: bool,
    /// It understands CLUSTER SETSLOT in the stream: it is a slotcore node.
    pub slot_states: bool,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// The snapshot that it will receive is not begun.
    WaitsForSnapshot,
    /// Its snapshot is being written to a file.
    WaitsForFile,
    /// The snapshot is on its way to it.
    Receives,
    /// All of the snapshot has been sent, and nothing may follow before it says that it has it.
    HasSnapshot,
    /// It reads the log.
    Online,
}

impl ReplicaState {
    /// The word of INFO.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::WaitsForSnapshot | ReplicaState::WaitsForFile => "wait_bgsave",
            ReplicaState::Receives => "send_bulk",
            ReplicaState::HasSnapshot | ReplicaState::Online => "online",
        }
    }

    /// Whether the link is as good as up, as in Redis.
    pub fn is_online(self) -> bool {
        matches!(self, ReplicaState::HasSnapshot | ReplicaState::Online)
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    pub client: ClientRef,
    pub facts: PeerFacts,
    /// It has said SYNC: it wants no word before the snapshot, and never says what it has.
    pub is_old: bool,
    /// Where it comes from.
    pub host: String,
    pub state: ReplicaState,
    /// Since when it has waited for a snapshot.
    pub asked: UnixMillis,
    /// Up to where it has been sent the log.
    pub place: u64,
    /// Up to where it says that it has applied it, and has it on its disk.
    pub acked: u64,
    pub acked_durable: u64,
    /// When it last said so.
    pub heard: UnixMillis,
}

impl Replica {
    /// A client that asks for a snapshot.
    pub fn waiting(client: &Client, at: ClientRef, now: UnixMillis) -> Replica {
        let facts = client.replica_facts.as_deref().cloned().unwrap_or_default();
        let host = match facts.address.is_empty() {
            true => client.host(),
            false => String::from_utf8_lossy(&facts.address).into_owned(),
        };
        Replica {
            client: at,
            facts,
            is_old: false,
            host,
            state: ReplicaState::WaitsForSnapshot,
            asked: now,
            place: 0,
            acked: 0,
            acked_durable: 0,
            heard: now,
        }
    }

    /// The name in the log: its address and port.
    pub fn name(&self) -> String {
        match self.facts.port {
            0 => format!("client id #{}", self.client.id),
            port if self.host.contains(':') => format!("[{}]:{port}", self.host),
            port => format!("{}:{port}", self.host),
        }
    }

    /// Seconds since it last said what it has.
    pub fn lag_s(&self, now: UnixMillis) -> i64 {
        (now.seconds() - self.heard.seconds()).max(0)
    }

    /// Whether it counts for `min-replicas-to-write`.
    fn is_good(&self, config: &Config, now: UnixMillis) -> bool {
        self.state.is_online() && self.lag_s(now) <= i64::from(config.min_replicas_max_lag)
    }
}

/// What a client of WAIT or WAITAOF waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Having {
    /// Replicas that have applied what it has written.
    Applied,
    /// Replicas that have it on their disks.
    Durable,
}

/// Somebody who waits for replicas to have what was written.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaWait {
    pub client: ClientRef,
    pub having: Having,
    /// How many replicas are wanted.
    pub wanted: usize,
    /// Up to where they must have the log.
    pub place: u64,
    /// How many the client knows of.
    told: Option<usize>,
}

impl ReplicaWait {
    pub fn new(client: ClientRef, having: Having, wanted: usize, place: u64) -> ReplicaWait {
        ReplicaWait { client, having, wanted, place, told: None }
    }
}

/// Core 0's list of them, and who waits for them.
#[derive(Default)]
pub struct Replicas {
    pub list: Vec<Replica>,
    waits: Vec<ReplicaWait>,
    /// Since when there has been none.
    pub none_since: Option<UnixMillis>,
    /// Counters of INFO.
    pub syncs_full: u64,
    pub syncs_partial: u64,
    pub syncs_partial_refused: u64,
}

impl Replicas {
    pub fn get_mut(&mut self, client_id: u64) -> Option<&mut Replica> {
        self.list.iter_mut().find(|replica| replica.client.id == client_id)
    }

    pub fn add(&mut self, replica: Replica) {
        self.none_since = None;
        self.list.push(replica);
    }

    /// Takes a replica out of the list.
    pub fn remove(&mut self, client_id: u64, now: UnixMillis) -> Option<Replica> {
        let at = self.list.iter().position(|replica| replica.client.id == client_id)?;
        let replica = self.list.remove(at);
        if self.list.is_empty() {
            self.none_since = Some(now);
        }
        Some(replica)
    }

    /// A replica says what it has. True when it has been waiting for that before it reads on.
    pub fn acked(&mut self, client_id: u64, place: u64, durable: Option<u64>, now: UnixMillis) -> bool {
        let Some(replica) = self.get_mut(client_id) else { return false };
        replica.acked = replica.acked.max(place);
        replica.acked_durable = replica.acked_durable.max(durable.unwrap_or(0));
        replica.heard = now;
        replica.state == ReplicaState::HasSnapshot
    }

    /// Whether there are replicas, and all of them understand CLUSTER SETSLOT in the stream. Redis's would complain of it.
    pub fn know_slot_states(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|replica| replica.facts.slot_states)
    }

    /// The place of the replica that has been sent least of the log.
    pub fn least_place(&self) -> Option<u64> {
        let reads = |replica: &&Replica| replica.state != ReplicaState::WaitsForSnapshot;
        self.list.iter().filter(reads).map(|replica| replica.place).min()
    }

    /// Those that read the log and do not have all up to `place`.
    pub fn behind(&self, place: u64) -> impl Iterator<Item = &Replica> {
        self.list.iter().filter(move |replica| replica.state.is_online() && replica.acked < place)
    }

    /// Replicas that keep up, as `min-replicas-max-lag` has it.
    pub fn good_count(&self, config: &Config, now: UnixMillis) -> usize {
        self.list.iter().filter(|replica| replica.is_good(config, now)).count()
    }

    /// Adds somebody who waits, in place of what the same client waited for before.
    pub fn wait(&mut self, wait: ReplicaWait) {
        self.stop_waiting(wait.client.id);
        self.waits.push(wait);
    }

    pub fn stop_waiting(&mut self, client_id: u64) {
        self.waits.retain(|wait| wait.client.id != client_id);
    }

    /// Whether somebody waits: replicas are to be asked what they have.
    pub fn is_awaited(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Those who wait and have to be told how many replicas there are for them now. Who has as many as it wants waits no more.
    pub fn news(&mut self) -> Vec<(ClientRef, usize)> {
        let (list, mut news) = (&self.list, Vec::new());
        self.waits.retain_mut(|wait| {
            let has = |replica: &&Replica| match wait.having {
                _ if !replica.state.is_online() => false,
                Having::Applied => replica.acked >= wait.place,
                Having::Durable => replica.acked_durable >= wait.place,
            };
            let count = list.iter().filter(has).count();
            if wait.told != Some(count) {
                wait.told = Some(count);
                news.push((wait.client, count));
            }
            count < wait.wanted
        });
        news
    }

    /// ROLE's list: address, port and acknowledged place of those that read the log.
    pub fn write_role(&self, reply: &mut Reply<'_>) {
        let online: Vec<&Replica> = self.list.iter().filter(|replica| replica.state.is_online()).collect();
        reply.array(online.len());
        for replica in online {
            reply.array(3);
            reply.bulk(replica.host.as_bytes());
            reply.bulk(replica.facts.port.to_string().as_bytes());
            reply.bulk(replica.acked.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::core_id::CoreId;
    use crate::command::client::Endpoint;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn at(id: u64) -> ClientRef {
        ClientRef { core: CoreId::FIRST, index: 0, id }
    }

    fn replica(id: u64, state: ReplicaState) -> Replica {
        let endpoint = Endpoint::Tcp(([127, 0, 0, 1], 7000).into());
        let client = Client::new(id, 0, 0, endpoint.clone(), endpoint, NOW);
        Replica { state, ..Replica::waiting(&client, at(id), NOW) }
    }

    #[test]
    fn who_waits_is_told_of_every_change_and_no_more_once_it_has_enough() {
        let mut replicas = Replicas::default();
        replicas.add(replica(1, ReplicaState::Online));
        replicas.add(replica(2, ReplicaState::Online));
        replicas.add(replica(3, ReplicaState::Receives));
        replicas.wait(ReplicaWait::new(at(9), Having::Applied, 2, 100));
        assert_eq!(replicas.news(), [(at(9), 0)]);
        assert_eq!(replicas.news(), []);
        replicas.acked(1, 99, None, NOW);
        replicas.acked(3, 1000, None, NOW);
        assert_eq!(replicas.news(), []);
        replicas.acked(1, 100, Some(5), NOW);
        assert_eq!(replicas.news(), [(at(9), 1)]);
        replicas.acked(2, 200, None, NOW);
        assert_eq!(replicas.news(), [(at(9), 2)]);
        assert!(!replicas.is_awaited());
    }

    #[test]
    fn a_disk_that_has_it_is_another_matter() {
        let mut replicas = Replicas::default();
        replicas.add(replica(1, ReplicaState::Online));
        replicas.wait(ReplicaWait::new(at(9), Having::Durable, 1, 100));
        replicas.acked(1, 500, Some(99), NOW);
        assert_eq!(replicas.news(), [(at(9), 0)]);
        replicas.acked(1, 500, Some(100), NOW);
        assert_eq!(replicas.news(), [(at(9), 1)]);
    }

    #[test]
    fn replicas_that_lag_do_not_count() {
        let mut replicas = Replicas::default();
        let config = Config { min_replicas_to_write: 1, min_replicas_max_lag: 10, ..Config::default() };
        assert!(replicas.good_count(&config, NOW) == 0);
        replicas.add(replica(1, ReplicaState::Receives));
        assert!(replicas.good_count(&config, NOW) == 0);
        replicas.add(replica(2, ReplicaState::Online));
        assert!(replicas.good_count(&config, NOW.plus(10_000)) == 1);
        assert!(replicas.good_count(&config, NOW.plus(11_000)) == 0);
        replicas.remove(2, NOW);
        assert!(replicas.none_since.is_none());
        replicas.remove(1, NOW);
        assert_eq!(replicas.none_since, Some(NOW));
    }
}
