//! Packets that nobody well would send: from members and strangers, over any connection, in any order. None may end the node. And what
//! a peer says of its core ports, or does not say.

use super::{Action, DataFacts, Ends, LinkId, Machine, Now};
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::core_ports::CorePorts;
use crate::cluster::message::{Body, Extensions, Gossip, GossipNode, Header, Message};
use crate::cluster::node::{ClusterNode, Epoch, NodeFlags};
use crate::cluster::settings::ClusterSettings;
use crate::cluster::state::ClusterState;
use crate::config::Config;

const IDS: usize = 8;
const SEEDS: u64 = 300;
const STEPS: usize = 300;

struct Rogue {
    random: Random,
    /// The first is the node's own.
    ids: Vec<HexId>,
}

impl Rogue {
    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    fn id(&mut self, machine: &Machine) -> HexId {
        // Those that the machine has made up for nodes in handshake, too.
        let known: Vec<HexId> = machine.state().nodes().iter().map(|node| node.id).collect();
        let (at, of_known) = (self.below(IDS), self.below(known.len()));
        if self.below(3) == 0 { known[of_known] } else { self.ids[at] }
    }

    fn slots(&mut self) -> Box<SlotSet> {
        let (first, count) = (self.below(16_000) as u16, self.below(300) as u16);
        Box::new((first..first + count).map(Slot::new).collect())
    }

    fn gossip(&mut self, machine: &Machine) -> Gossip {
        let node = |rogue: &mut Rogue| GossipNode {
            id: rogue.id(machine),
            ping_sent_s: 0,
            pong_received_s: rogue.random.next_u32(),
            ip: format!("10.0.0.{}", rogue.below(4)),
            port: 7000,
            other_port: 0,
            bus_port: rogue.below(3) as u16,
            flags: NodeFlags(rogue.below(1024) as u16),
        };
        let nodes = (0..self.below(6)).map(|_| node(self)).collect();
        let forgotten = (0..self.below(2)).map(|_| (self.id(machine), self.random.next_u64())).collect();
        let shard = (self.below(2) == 0).then(|| self.id(machine));
        let core_ports = CorePorts::checked(self.below(65_536) as u16, self.below(4));
        let extensions = Extensions { are_known: true, forgotten, shard, core_ports, ..Extensions::default() };
        Gossip { nodes, extensions }
    }

    fn message(&mut self, machine: &Machine) -> Message {
        let header = Header {
            sender: self.id(machine),
            port: 7000,
            other_port: 0,
            bus_port: 17_000,
            ip: if self.below(2) == 0 { String::new() } else { format!("10.0.0.{}", self.below(4)) },
            flags: NodeFlags(self.below(1024) as u16),
            current_epoch: Epoch(self.random.below(20)),
            config_epoch: Epoch(self.random.below(20)),
            slots: self.slots(),
            primary: (self.below(2) == 0).then(|| self.id(machine)),
            offset: self.random.below(3),
            is_ok: true,
            is_paused: self.below(4) == 0,
            is_ordered: self.below(4) == 0,
            is_kin: self.below(2) == 0,
        };
        let body = match self.below(9) {
            0 | 1 => Body::Ping(self.gossip(machine)),
            2 | 3 => Body::Pong(self.gossip(machine)),
            4 => Body::Meet(self.gossip(machine)),
            5 => Body::Fail(self.id(machine)),
            6 => Body::VoteRequest,
            7 => {
                Body::Update { node: self.id(machine), config_epoch: Epoch(self.random.below(20)), slots: self.slots() }
            }
            _ => [Body::Vote, Body::ManualFailoverStart, Body::Module, Body::Unknown(77)][self.below(4)].clone(),
        };
        Message { header, body }
    }
}

fn live(seed: u64) {
    let mut random = Random::new(seed);
    let ids: Vec<HexId> = (0..IDS).map(|_| HexId::random(&mut random)).collect();
    let config = Config { port: 7000, cluster_node_timeout: 1000, ..Config::default() };
    let state = ClusterState::new(ids[0], ids[1], ClusterSettings::of(&config));
    let mut now = Now { ms: 1_000, unix: UnixMillis(1_700_000_000_000) };
    // Not the same seed: the two would make up the same ids.
    let mut machine = Machine::new(state, Random::new(!seed), now);
    let mut rogue = Rogue { random, ids };
    let ends = || Ends { peer_ip: "10.0.0.9".to_owned(), own_ip: "10.0.0.1".to_owned() };
    let mut links: Vec<LinkId> = vec![machine.accepted(now, ends())];
    for _ in 0..STEPS {
        let link = links[rogue.below(links.len())];
        match rogue.below(12) {
            0 => links.push(machine.accepted(now, ends())),
            1 => machine.link_down(now, link),
            2 | 3 => {
                now.ms += rogue.random.below(400);
                machine.tick(now);
            }
            4 => machine.link_up(now, link, ends()),
            _ => {
                let message = rogue.message(&machine);
                machine.received(now, link, message);
            }
        }
        machine.note_data(DataFacts { offset: rogue.random.below(3), age_ms: Some(0) });
        machine.settle(now);
        // A disk that fails now and then.
        if machine.must_save() && rogue.below(3) == 0 {
            _ = machine.not_saved()
        } else {
            machine.saved()
        }
        for action in machine.take_actions() {
            if let Action::Connect { link, .. } = action {
                links.push(link);
            }
        }
    }
}

#[test]
fn no_packets_end_the_node() {
    (0..SEEDS).for_each(live);
}

#[test]
fn core_ports_stay_known_until_a_peer_says_otherwise() {
    let mut random = Random::new(1);
    let [own, shard, peer] = [(); 3].map(|()| HexId::random(&mut random));
    let mut state = ClusterState::new(own, shard, ClusterSettings::of(&Config::default()));
    let peer = state.add(ClusterNode::new(peer, shard, NodeFlags::PRIMARY)).unwrap();
    let now = Now { ms: 1_000, unix: UnixMillis(1_700_000_000_000) };
    let mut machine = Machine::new(state, random, now);
    let ports = CorePorts::checked(7100, 2);
    let known = |machine: &Machine| machine.state().node(peer).core_ports.clone();
    let says_all = |core_ports| Extensions { are_known: true, shard: Some(shard), core_ports, ..Extensions::default() };
    machine.state.node_mut(peer).contact.is_kin = true;
    machine.hear_extensions(now, peer, &says_all(ports.clone()));
    assert_eq!(known(&machine), ports);
    // It has started again and does not know yet who this node is.
    machine.hear_extensions(now, peer, &Extensions::default());
    assert_eq!(known(&machine), ports);
    machine.hear_extensions(now, peer, &says_all(None));
    assert_eq!(known(&machine), None);
    // Another kind of server has taken its place.
    machine.hear_extensions(now, peer, &says_all(ports));
    machine.state.node_mut(peer).contact.is_kin = false;
    machine.hear_extensions(now, peer, &Extensions::default());
    assert_eq!(known(&machine), None);
}
