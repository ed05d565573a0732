//! Nodes that find one another: `cluster-discovery dns:NAME[:PORT]` or `hosts:HOST:PORT,...`.
//!
//! A thread of the node that is an administrator of it: it looks at what the name resolves to, asks the nodes there what they know,
//! and does with CLUSTER commands what an operator would. The node itself does not know of it, and waits for it nowhere. Started
//! by `main` beside the cores. No part of `slotcore cluster`.
//!
//! **Forming.** There is a cluster when all slots are assigned in what the nodes that answer know, also to nodes that are away. Where
//! there is none, the node with the lowest address forms one: once the name has resolved to the same addresses three times in a
//! row, every one of them answers, there are enough for three primaries with their replicas, nobody has keys, and nobody knows nodes that are
//! not among them. First it gives every node a config epoch, in the order of their addresses, which a node accepts
//! once in its life: of two that form at the same time, because a node with a lower address has just come, one is refused and
//! gives up; and it finds slots assigned when it looks again. Then come the slots, then introductions. Who dies in
//! between goes on when it is started again, since the same addresses give the same plan.
//!
//! **Joining.** A node that is alone meets a member. What becomes of it, every free node decides for itself by one rule (`decide::role`):
//! a replica where one is lacking, else a primary without slots, which waits until one lacks, or until slots are moved to it.
//!
//! **Leaving.** A node whose container was removed has failed, and its address is gone. When that has lasted (`FORGET_AFTER`), and its slots are
//! another's, the member with the lowest address of those that know it lets all others forget it, and itself last, so that it repeats what
//! failed. A new container may well have the address of the lost one, and be there before anyone has missed that: members then stop
//! asking after it, as Redis's do, and never agree that it has failed. So a replica whose primary has lost its address that way takes over when
//! discovery tells it to (CLUSTER FAILOVER FORCE). A node that
//! comes back later, with its data, is met again. A primary that is gone without a replica keeps its slots: nothing is given away
//! whose keys may come back.

mod decide;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Credentials, HostPort, Trouble};
use super::members::Member;
use super::reply::Reply;
use crate::base::hex::HexId;
use crate::config::{Config, Discovery};
use decide::{Claim, Situation, Step, Told, decide, departed, is_well, serves_nothing, stranded_primary};
use resolve::Addresses;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long another node may take with an answer.
const REPLY_LIMIT: Duration = Duration::from_secs(2);
/// For so long a node must have failed, with its address gone, before it is forgotten; at least, and in node timeouts.
const FORGET_AFTER: Duration = Duration::from_secs(15);
const FORGET_AFTER_TIMEOUTS: u64 = 4;
/// A vote takes as long at most.
const TAKE_OVER_INTERVAL: Duration = Duration::from_secs(5);
/// So much later does the member with the next higher address see to it.
const FORGET_STAGGER: Duration = Duration::from_secs(2);

/// A node's discovery, ready to run.
pub struct Discoverer {
    addresses: Addresses,
    replicas: usize,
    /// Where this node itself is asked.
    own: HostPort,
    credentials: Credentials,
    forget_after: Duration,
    node_timeout: Duration,
    /// When this replica last asked for votes against a primary that is gone.
    tried_at: Option<Instant>,
    /// The connection to this node.
    member: Option<Member>,
    /// Who answered at which address last.
    ids: BTreeMap<SocketAddr, HexId>,
    /// Since when nodes have been gone.
    gone: BTreeMap<HexId, Instant>,
    /// What the log was told last.
    said: String,
}

impl Discoverer {
    /// What the configuration asks for; `None`: nothing, or the node is in no cluster mode.
    pub fn new(config: &Config) -> Option<Discoverer> {
        let discovery =
            Discovery::parse(&config.cluster_discovery).ok().flatten().filter(|_| config.cluster_enabled)?;
        let password = (!config.requirepass.is_empty()).then(|| config.requirepass.clone());
        let is_everywhere = |address: &String| address.contains('*') || address.is_empty();
        let bind = config.bind.first().filter(|address| !is_everywhere(address));
        let host = bind.map_or("127.0.0.1", |address| address.trim_start_matches('-')).to_owned();
        let timeouts = Duration::from_millis(config.cluster_node_timeout.saturating_mul(FORGET_AFTER_TIMEOUTS));
        Some(Discoverer {
            addresses: Addresses::new(discovery, config.port),
            replicas: usize::try_from(config.cluster_discovery_replicas).unwrap_or(0),
            own: HostPort { host, port: config.port },
            credentials: Credentials { user: None, password },
            forget_after: FORGET_AFTER.max(timeouts),
            node_timeout: Duration::from_millis(config.cluster_node_timeout),
            tried_at: None,
            member: None,
            ids: BTreeMap::new(),
            gone: BTreeMap::new(),
            said: String::new(),
        })
    }

    /// Looks and acts for as long as the node lives.
    pub fn run(mut self) {
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            if let Err(trouble) = self.look() {
                // The connection may be what is wrong: the next look makes another.
                self.member = None;
                self.say(&trouble.to_string());
            }
        }
    }

    /// One line for each change, not for each look.
    fn say(&mut self, line: &str) {
        if self.said != line {
            tracing::info!("Discovery: {line}");
            line.clone_into(&mut self.said);
        }
    }

    fn look(&mut self) -> Result<(), Trouble> {
        self.addresses.look();
        let mut member = match self.member.take() {
            Some(mut member) => member.refresh().map(|()| member)?,
            None => Member::connect(&self.own, &self.credentials)?,
        };
        let mut others = self.ask(&member);
        let told: Vec<Told> = others.iter().map(|other| &other.told).map(copy).collect();
        let has_keys = count_keys(&mut member)? > 0;
        let situation = Situation {
            me: &member.view,
            has_keys,
            resolved: self.addresses.now(),
            same_looks: self.addresses.same_looks(),
            told: &told,
            all_known: self.addresses.now().iter().all(|address| self.is_known_and_well(&member, address)),
            replicas: self.replicas,
        };
        let steps = decide(&situation);
        for step in steps {
            self.take(step, &mut member, &mut others)?;
        }
        self.tell_own_address(&mut member)?;
        self.note_departed(&member);
        self.take_over(&mut member)?;
        self.forget(&mut member)?;
        self.member = Some(member);
        Ok(())
    }

    /// Asks every node that this one does not know, or does not reach; all of them while it is alone. Those that do not answer are
    /// asked again at the next look.
    fn ask(&mut self, me: &Member) -> Vec<Other> {
        let is_member = me.view.settled().count() > 1 && me.info.is_ok;
        let wanted: Vec<SocketAddr> = self.addresses.now().iter().copied().collect();
        let mut others = Vec::new();
        for address in wanted {
            if is_member && self.is_known_and_well(me, &address) {
                continue;
            }
            match Other::ask(address, &self.credentials) {
                Ok(other) => {
                    self.ids.insert(address, other.told.view.myself().id);
                    others.push(other);
                }
                Err(_) => drop(self.ids.remove(&address)),
            }
        }
        let now = self.addresses.now();
        self.ids.retain(|address, _| now.contains(address));
        others
    }

    fn is_known_and_well(&self, me: &Member, address: &SocketAddr) -> bool {
        self.ids.get(address).and_then(|id| me.view.get(*id)).is_some_and(is_well)
    }

    fn take(&mut self, step: Step, member: &mut Member, others: &mut [Other]) -> Result<(), Trouble> {
        match step {
            Step::Wait(why) => self.say(&why),
            Step::Form(claims) => {
                self.say(&format!("{} nodes become a cluster", claims.len()));
                match form(&claims, others) {
                    Ok(()) => self.say("the cluster was formed"),
                    Err(why) => self.say(&format!("the cluster was not formed: {why}")),
                }
            }
            Step::Meet(address) => {
                if let Some(other) = others.iter().find(|other| other.told.address == address) {
                    self.say(&format!("meeting {address}"));
                    member.client.ask(&words_of(&other.meeting))?;
                }
            }
            Step::Replicate(id) => {
                self.say(&format!("replicating {id}, which lacks a replica"));
                member.client.ask(&["CLUSTER", "REPLICATE", id.as_str()])?;
            }
        }
        Ok(())
    }

    /// A node that was started again at another address still has the old one in its nodes.conf, and clients that ask it would
    /// be told that. Where nothing else is announced, it announces where it is found.
    fn tell_own_address(&mut self, member: &mut Member) -> Result<(), Trouble> {
        let id = member.id();
        let Some(ip) = self.ids.iter().find(|(_, there)| **there == id).map(|(address, _)| address.ip().to_string())
        else {
            return Ok(());
        };
        let known = member.myself().ip.clone();
        if known.is_empty() || known == ip || !announced(member)?.is_empty() {
            return Ok(());
        }
        self.say(&format!("this node is at {ip} now, no longer at {known}"));
        member.client.ask(&["CONFIG", "SET", "cluster-announce-ip", &ip]).map(drop)
    }

    fn note_departed(&mut self, member: &Member) {
        let there: BTreeSet<HexId> = self.ids.values().copied().collect();
        let departed = departed(&member.view, &there);
        self.gone.retain(|id, _| departed.contains(id));
        for id in departed {
            self.gone.entry(id).or_insert_with(Instant::now);
        }
    }

    /// A replica takes over from a primary whose place another node has taken: members stop asking after it then, as in Redis, and
    /// never agree that it has failed. The others still vote.
    fn take_over(&mut self, member: &mut Member) -> Result<(), Trouble> {
        let Some(primary) = stranded_primary(&member.view) else { return Ok(()) };
        let is_due = self.gone.get(&primary).is_some_and(|since| since.elapsed() >= self.node_timeout);
        let was_tried = self.tried_at.is_some_and(|tried| tried.elapsed() < TAKE_OVER_INTERVAL);
        if !is_due || was_tried {
            return Ok(());
        }
        self.tried_at = Some(Instant::now());
        self.say(&format!("the primary {primary} is gone, and another node is where it was: taking over"));
        member.client.ask(&["CLUSTER", "FAILOVER", "FORCE"]).map(drop)
    }

    /// Lets all members forget who has been gone for long. The lower a member's address, the sooner it does: the first that
    /// knows the lost node does it for all.
    fn forget(&mut self, member: &mut Member) -> Result<(), Trouble> {
        let well = self.addresses.now().iter().copied().filter(|address| self.is_known_and_well(member, address));
        let well: Vec<SocketAddr> = well.collect();
        let rank = well.iter().position(|address| self.ids.get(address) == Some(&member.id()));
        let Some(rank) = rank.and_then(|rank| u32::try_from(rank).ok()) else { return Ok(()) };
        let patience = self.forget_after.saturating_add(FORGET_STAGGER.saturating_mul(rank));
        let is_due = |id: &HexId, since: &Instant| since.elapsed() >= patience && serves_nothing(&member.view, *id);
        let due: Vec<HexId> = self.gone.iter().filter(|(id, since)| is_due(id, since)).map(|(id, _)| *id).collect();
        for id in due {
            let others = well.iter().filter(|address| self.ids.get(address) != Some(&member.id()));
            let refused = others.filter(|address| forget_at(**address, id, &self.credentials).is_err()).count();
            // While one still knows it, this node does, too, and tries again.
            if refused == 0 {
                self.say(&format!("{id} is gone and was forgotten"));
                forget_by(member, id)?;
            }
        }
        Ok(())
    }
}

/// Another node that answered, or this one at its address.
struct Other {
    told: Told,
    member: Member,
    /// The words of a CLUSTER MEET that leads there.
    meeting: String,
}

impl Other {
    fn ask(address: SocketAddr, credentials: &Credentials) -> Result<Other, Trouble> {
        let mut member = connect(address, credentials)?;
        let has_keys = count_keys(&mut member)? > 0;
        let announced = announced(&mut member)?;
        let myself = member.myself();
        // What it announces is where its ports are meant to be reached, too.
        let ip = if announced.is_empty() { address.ip().to_string() } else { announced.clone() };
        let port = if announced.is_empty() { address.port() } else { myself.port };
        let mut meeting = format!("CLUSTER MEET {ip} {port}");
        if !myself.has_usual_bus_port() || port != myself.port {
            // Writing to a string does not fail.
            let _ = write!(meeting, " {}", myself.bus_port);
        }
        let told = Told { address, view: member.view.clone(), has_keys, epoch: member.info.my_epoch };
        Ok(Other { told, member, meeting })
    }
}

fn copy(told: &Told) -> Told {
    Told { address: told.address, view: told.view.clone(), has_keys: told.has_keys, epoch: told.epoch }
}

fn connect(address: SocketAddr, credentials: &Credentials) -> Result<Member, Trouble> {
    let place = HostPort { host: address.ip().to_string(), port: address.port() };
    let mut member = Member::connect(&place, credentials)?;
    member.client.wait_for_replies(REPLY_LIMIT);
    Ok(member)
}

fn words_of(meeting: &str) -> Vec<&str> {
    meeting.split(' ').collect()
}

fn count_keys(member: &mut Member) -> Result<i64, Trouble> {
    match member.client.ask(&["DBSIZE"])? {
        Reply::Integer(keys) => Ok(keys),
        _ => Ok(0),
    }
}

/// The node's cluster-announce-ip.
fn announced(member: &mut Member) -> Result<String, Trouble> {
    match member.client.ask(&["CONFIG", "GET", "cluster-announce-ip"])? {
        Reply::Array(pair) => Ok(pair.get(1).map(Reply::text).unwrap_or_default()),
        _ => Ok(String::new()),
    }
}

/// Epochs, slots, introductions. Every node gets its epoch before anyone gets slots.
fn form(claims: &[Claim], others: &mut [Other]) -> Result<(), Trouble> {
    let pairs = |others: &mut [Other], each: &mut dyn FnMut(&Claim, &mut Other) -> Result<(), Trouble>| {
        for claim in claims {
            if let Some(other) = others.iter_mut().find(|other| other.told.address == claim.address) {
                each(claim, other)?;
            }
        }
        Ok(())
    };
    pairs(others, &mut |claim, other| match claim.epoch {
        Some(epoch) => other.member.client.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]).map(drop),
        None => Ok(()),
    })?;
    pairs(others, &mut |claim, other| match claim.slots {
        Some(slots) => super::create::add_slots(&mut other.member, slots),
        None => Ok(()),
    })?;
    let meetings: Vec<(SocketAddr, String)> =
        others.iter().map(|other| (other.told.address, other.meeting.clone())).collect();
    let Some((lowest, meeting)) = meetings.iter().min_by_key(|(address, _)| *address) else { return Ok(()) };
    pairs(others, &mut |claim, other| {
        if claim.address == *lowest { Ok(()) } else { other.member.client.ask(&words_of(meeting)).map(drop) }
    })
}

fn forget_at(address: SocketAddr, id: HexId, credentials: &Credentials) -> Result<(), Trouble> {
    forget_by(&mut connect(address, credentials)?, id)
}

fn forget_by(member: &mut Member, id: HexId) -> Result<(), Trouble> {
    match member.client.ask(&["CLUSTER", "FORGET", id.as_str()]) {
        Err(trouble) if trouble.reply().is_some_and(|reply| reply.starts_with("ERR Unknown node")) => Ok(()),
        other => other.map(drop),
    }
}
