//! A cluster in one thread: state machines, a network, disks and clocks, all driven by one queue of events and one seed.
//!
//! What is real: the state machine, the packets (encoded and decoded), nodes.conf (written and read back after a restart). What is
//! modelled: connections (delay, loss, duplication, reordering, one-way and full partitions), processes (killed, stopped,
//! restarted), clocks, the disk of nodes.conf, and replication, as an offset that grows on primaries and is copied by replicas.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use bytes::Bytes;
use slotcore::base::clock::UnixMillis;
use slotcore::base::hex::HexId;
use slotcore::base::random::Random;
use slotcore::base::slot::{Slot, SlotSet};
use slotcore::cluster::machine::{Action, DataFacts, Ends, FailoverKind, LinkId, Machine, Now, SetSlot};
use slotcore::cluster::membership::SAVE_INTERVAL_MS;
use slotcore::cluster::message::{self, Body};
use slotcore::cluster::nodes_conf;
use slotcore::cluster::settings::ClusterSettings;
use slotcore::cluster::state::{ClusterState, Health};
use slotcore::config::Config;

use crate::checks::Checks;

/// The machine is ticked ten times a second.
const TICK_MS: u64 = 100;
/// A connection attempt into a partition is given up after so long.
const CONNECT_LIMIT_MS: u64 = 10_000;
/// Where clocks begin: every node's monotonic clock elsewhere, as on real machines.
const EPOCH_UNIX_MS: i64 = 1_700_000_000_000;

/// One side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    node: usize,
    /// Of this start of the process.
    boot: u64,
    link: LinkId,
}

#[derive(Debug)]
enum Event {
    Tick {
        node: usize,
        boot: u64,
    },
    /// A connection that was asked for reaches the other side, or not.
    Connect {
        from: End,
        to: usize,
        gives_up_ms: u64,
    },
    Connected {
        from: End,
        to_ip: String,
    },
    Refused {
        from: End,
    },
    Packet {
        to: End,
        from: usize,
        packet: Bytes,
    },
    Closed {
        at: End,
    },
    Held {
        node: usize,
        boot: u64,
    },
    Order {
        node: usize,
        order: Order,
    },
}

/// What an operator does, or the world.
#[derive(Clone, Debug)]
pub enum Order {
    Meet {
        target: usize,
    },
    Replicate {
        primary: HexId,
    },
    FailOver(FailoverKind),
    Forget(HexId),
    /// The end of a migration of slots: some of that node's are this one's.
    Claim {
        from: HexId,
    },
    /// A source takes back what it may have lost.
    Reclaim,
}

struct Queued {
    at_ms: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.at_ms, self.sequence) == (other.at_ms, other.sequence)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at_ms, self.sequence).cmp(&(other.at_ms, other.sequence))
    }
}

/// A process, its machine and its disk.
pub struct Node {
    pub machine: Option<Machine>,
    pub settings: ClusterSettings,
    /// nodes.conf; `None` before the first save.
    pub disk: Option<String>,
    pub disk_fails: bool,
    written_ms: u64,
    boot: u64,
    peers: HashMap<LinkId, End>,
    /// The monotonic clock is this far ahead of the world's.
    mono_ahead_ms: u64,
    pub unix_ahead_ms: i64,
    pub stopped_until_ms: u64,
    pub holds_writes: bool,
    /// Data: how far, from whom, and when that was last heard.
    pub offset: u64,
    following: Option<usize>,
    heard_ms: Option<u64>,
}

/// How the network treats packets.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min_ms: u64,
    pub delay_max_ms: u64,
    /// In thousandths.
    pub lost: u64,
    pub doubled: u64,
    pub is_ordered: bool,
}

pub const FAIR: Weather = Weather { delay_min_ms: 0, delay_max_ms: 2, lost: 0, doubled: 0, is_ordered: true };

/// What the bus has carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

pub struct World {
    pub now_ms: u64,
    pub nodes: Vec<Node>,
    pub weather: Weather,
    /// Packets from the first to the second do not arrive.
    pub cut: BTreeSet<(usize, usize)>,
    pub random: Random,
    pub checks: Checks,
    pub traffic: Traffic,
    /// Slots whose keys primaries have dropped, since somebody looked.
    pub dropped: Vec<(usize, SlotSet)>,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    /// When the last packet of a direction arrives, so that the next does not overtake it.
    arrivals: BTreeMap<(End, End), u64>,
}

impl World {
    pub fn new(seed: u64, count: usize, node_timeout_ms: u64) -> World {
        let mut random = Random::new(seed);
        let nodes = (0..count).map(|index| Node::new(index, node_timeout_ms, &mut random)).collect();
        let mut world = World {
            now_ms: 0,
            nodes,
            weather: FAIR,
            cut: BTreeSet::new(),
            random,
            checks: Checks::default(),
            traffic: Traffic::default(),
            dropped: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            arrivals: BTreeMap::new(),
        };
        (0..count).for_each(|node| world.start(node));
        world
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].machine.is_some()
    }

    pub fn state(&self, node: usize) -> &ClusterState {
        self.nodes[node].machine.as_ref().expect("a node that is up").state()
    }

    pub fn open_slots(&self, node: usize) -> Vec<(Slot, SetSlot)> {
        self.nodes[node].machine.as_ref().expect("a node that is up").open_slots()
    }

    pub fn id(&self, node: usize) -> HexId {
        self.state(node).myself().id
    }

    /// The nodes that are up.
    pub fn up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.is_up(*node))
    }

    pub fn index_of(&self, id: &HexId) -> Option<usize> {
        self.up().find(|node| self.id(*node) == *id)
    }

    // ---- processes -------------------------------------------------------------------------------------------------

    /// Starts a process, with the nodes.conf that its disk has.
    pub fn start(&mut self, index: usize) {
        assert!(!self.is_up(index), "node {index} runs");
        let seed = self.random.next_u64();
        let mono_ahead_ms = self.random.below(1 << 40);
        let node = &mut self.nodes[index];
        node.boot += 1;
        node.mono_ahead_ms = mono_ahead_ms;
        node.stopped_until_ms = 0;
        node.holds_writes = false;
        (node.following, node.heard_ms) = (None, None);
        let now = node.now(self.now_ms);
        let mut random = Random::new(seed);
        let state = match &node.disk {
            Some(text) => nodes_conf::parse(text.as_bytes(), &node.settings, now.unix, &mut random)
                .unwrap_or_else(|damage| panic!("nodes.conf of node {index}: {damage:?}\n{text}")),
            None => ClusterState::new(HexId::random(&mut random), HexId::random(&mut random), node.settings.clone()),
        };
        node.machine = Some(Machine::new(state, random, now));
        let boot = node.boot;
        self.checks.started(index, self.nodes[index].machine.as_ref().expect("just made").state());
        let delay_ms = self.random.below(TICK_MS);
        self.push(delay_ms, Event::Tick { node: index, boot });
        self.step(index, |_, _| ());
    }

    /// kill -9: whoever is connected hears of it, unless the network is cut.
    pub fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.machine = None;
        let peers: Vec<End> = node.peers.drain().map(|(_, end)| end).collect();
        for peer in peers {
            self.tell_closed(index, peer);
        }
    }

    /// The disk is gone, too: it comes back as a stranger.
    pub fn wipe(&mut self, index: usize) {
        self.nodes[index].disk = None;
        self.nodes[index].offset = 0;
    }

    fn tell_closed(&mut self, from: usize, peer: End) {
        if !self.cut.contains(&(from, peer.node)) {
            let delay_ms = self.delay();
            self.push(delay_ms, Event::Closed { at: peer });
        }
    }

    // ---- time ------------------------------------------------------------------------------------------------------

    /// Lets the world go on for so long.
    pub fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        while let Some(Reverse(queued)) = self.queue.peek() {
            if queued.at_ms > until_ms {
                break;
            }
            let Some(Reverse(queued)) = self.queue.pop() else { break };
            self.now_ms = self.now_ms.max(queued.at_ms);
            self.happen(queued.event);
        }
        self.now_ms = until_ms;
    }

    /// Lets the world go on until this holds; how long that took, or `None` when it took longer than allowed.
    pub fn run_until(&mut self, limit_ms: u64, holds: impl Fn(&World) -> bool) -> Option<u64> {
        const STEP_MS: u64 = 50;
        let begun_ms = self.now_ms;
        while !holds(self) {
            if self.now_ms - begun_ms >= limit_ms {
                return None;
            }
            self.run(STEP_MS);
        }
        Some(self.now_ms - begun_ms)
    }

    pub fn order(&mut self, node: usize, order: Order) {
        self.push(0, Event::Order { node, order });
    }

    fn push(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued { at_ms: self.now_ms + delay_ms, sequence: self.sequence, event }));
    }

    fn delay(&mut self) -> u64 {
        let Weather { delay_min_ms, delay_max_ms, .. } = self.weather;
        delay_min_ms + self.random.below(delay_max_ms - delay_min_ms + 1)
    }

    // ---- events ----------------------------------------------------------------------------------------------------

    /// The node that an event happens to, with the start of the process that it is meant for.
    fn whom(event: &Event) -> (usize, Option<u64>) {
        match event {
            Event::Tick { node, boot } | Event::Held { node, boot } => (*node, Some(*boot)),
            Event::Connect { to, .. } => (*to, None),
            Event::Connected { from, .. } | Event::Refused { from } => (from.node, Some(from.boot)),
            Event::Packet { to, .. } => (to.node, Some(to.boot)),
            Event::Closed { at } => (at.node, Some(at.boot)),
            Event::Order { node, .. } => (*node, None),
        }
    }

    fn happen(&mut self, event: Event) {
        let (index, boot) = World::whom(&event);
        let node = &self.nodes[index];
        if boot.is_some_and(|boot| boot != node.boot || node.machine.is_none()) {
            return;
        }
        if node.stopped_until_ms > self.now_ms && !matches!(event, Event::Connect { .. }) {
            // It waits in a socket, or for a timer that is late.
            let delay_ms = node.stopped_until_ms - self.now_ms;
            return self.push(delay_ms, event);
        }
        match event {
            Event::Tick { node, boot } => {
                self.replicate(node);
                self.step(node, Machine::tick);
                self.push(TICK_MS, Event::Tick { node, boot });
            }
            Event::Connect { from, to, gives_up_ms } => self.connect(from, to, gives_up_ms),
            Event::Connected { from, to_ip } => {
                let ends = Ends { peer_ip: to_ip, own_ip: ip(from.node) };
                self.step(from.node, |machine, now| machine.link_up(now, from.link, ends));
            }
            Event::Refused { from } => {
                self.nodes[from.node].peers.remove(&from.link);
                self.step(from.node, |machine, now| machine.link_down(now, from.link));
            }
            Event::Packet { to, from, packet } => self.deliver(to, from, &packet),
            Event::Closed { at } => {
                if self.nodes[at.node].peers.remove(&at.link).is_some() {
                    self.step(at.node, |machine, now| machine.link_down(now, at.link));
                }
            }
            Event::Held { node, .. } => self.step(node, |machine, now| machine.writes_are_held(now)),
            Event::Order { node, order } => self.carry_out(node, &order),
        }
    }

    fn connect(&mut self, from: End, to: usize, gives_up_ms: u64) {
        let asker = &self.nodes[from.node];
        if asker.boot != from.boot || asker.machine.is_none() {
            return;
        }
        let is_cut = self.cut.contains(&(from.node, to)) || self.cut.contains(&(to, from.node));
        if is_cut || self.nodes[to].stopped_until_ms > self.now_ms {
            // The kernel asks again and again. (A stopped process' kernel would accept: it is as if its queue were full.)
            return match self.now_ms < gives_up_ms {
                true => self.push(TICK_MS, Event::Connect { from, to, gives_up_ms }),
                false => self.push(0, Event::Refused { from }),
            };
        }
        if !self.is_up(to) {
            let delay_ms = self.delay();
            return self.push(delay_ms, Event::Refused { from });
        }
        let ends = Ends { peer_ip: ip(from.node), own_ip: ip(to) };
        let mut accepted = None;
        self.step(to, |machine, now| accepted = Some(machine.accepted(now, ends)));
        let Some(link) = accepted else { return };
        let there = End { node: to, boot: self.nodes[to].boot, link };
        self.nodes[to].peers.insert(link, from);
        self.nodes[from.node].peers.insert(from.link, there);
        self.push(0, Event::Connected { from, to_ip: ip(to) });
    }

    fn deliver(&mut self, to: End, from: usize, packet: &Bytes) {
        if !self.nodes[to.node].peers.contains_key(&to.link) {
            return;
        }
        let message = message::decode(packet).unwrap_or_else(|damage| panic!("a packet of node {from}: {damage}"));
        self.step(to.node, |machine, now| machine.received(now, to.link, message));
    }

    fn carry_out(&mut self, index: usize, order: &Order) {
        if !self.is_up(index) {
            return;
        }
        let order = order.clone();
        self.checks.had_takeover |=
            matches!(order, Order::FailOver(FailoverKind::Takeover) | Order::Claim { .. } | Order::Reclaim);
        self.step(index, |machine, now| {
            machine.begin_order();
            match order {
                Order::Meet { target } => drop(machine.meet(now, &ip(target), 7000, 17000)),
                Order::Replicate { primary } => drop(machine.replicate(now, &primary, false)),
                Order::FailOver(kind) => drop(machine.fail_over(now, kind)),
                Order::Forget(id) => drop(machine.forget(now, &id)),
                Order::Claim { from } => {
                    let state = machine.state();
                    let slots = state.find(&from).and_then(|from| state.node(from).slots()).cloned();
                    let slots: SlotSet = slots.iter().flat_map(|slots| slots.iter()).take(400).collect();
                    if !slots.is_empty() {
                        let _ = machine.claim_slots(&slots, &from);
                    }
                }
                Order::Reclaim => machine.reclaim_slots(),
            }
        });
    }

    /// One event of one node, as `Membership` has it: the machine, the file, then what follows.
    pub fn step(&mut self, index: usize, event: impl FnOnce(&mut Machine, Now)) {
        let world_ms = self.now_ms;
        let node = &mut self.nodes[index];
        let (now, data) = (node.now(world_ms), node.data(world_ms));
        let Some(machine) = &mut node.machine else { return };
        machine.note_data(data);
        event(machine, now);
        machine.settle(now);
        let is_due = world_ms - node.written_ms >= SAVE_INTERVAL_MS;
        if machine.must_save() || machine.is_unsaved() && is_due {
            node.written_ms = world_ms;
            match node.disk_fails {
                true => _ = machine.not_saved(),
                false => {
                    node.disk = Some(nodes_conf::format(machine.state()));
                    machine.saved();
                }
            }
        }
        machine.take_unpublished();
        let actions = machine.take_actions();
        self.checks.stepped(index, machine.state());
        for action in actions {
            self.act(index, action);
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        let boot = self.nodes[index].boot;
        match action {
            Action::Connect { link, ip: to, port } => {
                assert_eq!(port, 17000, "the port of the bus");
                let from = End { node: index, boot, link };
                let delay_ms = self.delay();
                match node_at(&to).filter(|to| *to < self.nodes.len()) {
                    Some(to) => {
                        let gives_up_ms = self.now_ms + CONNECT_LIMIT_MS;
                        self.push(delay_ms, Event::Connect { from, to, gives_up_ms });
                    }
                    None => self.push(delay_ms, Event::Refused { from }),
                }
            }
            Action::Close(link) => {
                if let Some(peer) = self.nodes[index].peers.remove(&link) {
                    self.tell_closed(index, peer);
                }
            }
            Action::Send { link, packet } => self.send(index, link, packet),
            Action::Follow { ip, port } => {
                assert_eq!(port, 7000, "the port of clients");
                let node = &mut self.nodes[index];
                (node.following, node.heard_ms) = (node_at(&ip), None);
            }
            Action::Lead => self.nodes[index].following = None,
            Action::HoldWrites { .. } => {
                self.nodes[index].holds_writes = true;
                let delay_ms = self.random.below(3);
                self.push(delay_ms, Event::Held { node: index, boot });
            }
            Action::ReleaseWrites => self.nodes[index].holds_writes = false,
            Action::DropKeys(slots) if self.state(index).myself().is_primary() => self.dropped.push((index, *slots)),
            Action::DropKeys(_) | Action::TellOpenSlots | Action::Publish { .. } => {}
        }
    }

    fn send(&mut self, index: usize, link: LinkId, packet: Bytes) {
        let from = End { node: index, boot: self.nodes[index].boot, link };
        let Some(to) = self.nodes[index].peers.get(&link).copied() else { return };
        self.traffic.packets += 1;
        self.traffic.bytes += packet.len() as u64;
        if packet.get(12..14) == Some(&[0, 6]) {
            let message = message::decode(&packet).expect("a packet of our own");
            assert_eq!(message.body, Body::Vote);
            let candidate = self.nodes[to.node].machine.as_ref().map(|machine| machine.state().myself().id);
            self.checks.voted(message.header.sender, message.header.current_epoch, candidate);
        }
        let weather = self.weather;
        let is_lost = self.cut.contains(&(index, to.node)) || self.random.below(1000) < weather.lost;
        if is_lost {
            return;
        }
        let copies = 1 + u64::from(self.random.below(1000) < weather.doubled);
        for _ in 0..copies {
            let mut at_ms = self.now_ms + self.delay();
            if weather.is_ordered {
                let last_ms = self.arrivals.entry((from, to)).or_default();
                at_ms = at_ms.max(*last_ms);
                *last_ms = at_ms;
            }
            let event = Event::Packet { to, from: index, packet: packet.clone() };
            self.push(at_ms - self.now_ms, event);
        }
    }

    /// What replication does between two ticks.
    fn replicate(&mut self, index: usize) {
        let is_serving = |world: &World, node: usize| {
            world.is_up(node) && world.state(node).myself().is_primary() && world.state(node).myself().slots_count() > 0
        };
        let may_write = !self.nodes[index].holds_writes && self.state(index).health() == Health::Ok;
        if may_write && is_serving(self, index) {
            self.nodes[index].offset += self.random.below(100);
        }
        let Some(primary) = self.nodes[index].following else { return };
        let is_reached = !self.cut.contains(&(index, primary)) && !self.cut.contains(&(primary, index));
        let is_running = self.is_up(primary) && self.nodes[primary].stopped_until_ms <= self.now_ms;
        if is_reached && is_running && self.state(primary).myself().is_primary() {
            let offset = self.nodes[primary].offset.max(1);
            (self.nodes[index].offset, self.nodes[index].heard_ms) = (offset, Some(self.now_ms));
        }
    }
}

impl Node {
    fn new(index: usize, node_timeout_ms: u64, random: &mut Random) -> Node {
        let config = Config { port: 7000, cluster_node_timeout: node_timeout_ms, ..Config::default() };
        Node {
            machine: None,
            settings: ClusterSettings { announce_ip: ip(index), ..ClusterSettings::of(&config) },
            disk: None,
            disk_fails: false,
            written_ms: 0,
            boot: 0,
            peers: HashMap::new(),
            mono_ahead_ms: 0,
            unix_ahead_ms: random.below(400) as i64 - 200,
            stopped_until_ms: 0,
            holds_writes: false,
            offset: 0,
            following: None,
            heard_ms: None,
        }
    }

    fn now(&self, world_ms: u64) -> Now {
        let unix = EPOCH_UNIX_MS + world_ms as i64 + self.unix_ahead_ms;
        Now { ms: world_ms + self.mono_ahead_ms, unix: UnixMillis(unix) }
    }

    fn data(&self, world_ms: u64) -> DataFacts {
        let age_ms = self.heard_ms.map(|heard_ms| world_ms - heard_ms);
        // What was copied before a restart is on disk as well.
        let age_ms = age_ms.or((self.offset > 0).then_some(0));
        DataFacts { offset: self.offset, age_ms }
    }
}

/// Where a node is.
pub fn ip(node: usize) -> String {
    format!("10.0.{}.{}", node / 250, node % 250 + 1)
}

fn node_at(ip: &str) -> Option<usize> {
    let mut parts = ip.split('.').skip(2).map(|part| part.parse::<usize>());
    match (parts.next(), parts.next()) {
        (Some(Ok(high)), Some(Ok(low))) if low > 0 => Some(high * 250 + low - 1),
        _ => None,
    }
}
