//! Connections to the nodes of a cluster, each with what its node said last.

use super::client::{Client, Credentials, HostPort, Trouble, TroubleKind};
use super::output::{Output, count, table};
use super::reply::Reply;
use super::topology::{ClusterInfo, KnownNode, View, show_ranges};
use super::{Failure, arguments::Settings};
use crate::base::hex::HexId;

/// As many characters of an id as tables show, and as many as name a node where they are unambiguous.
pub const SHORT_ID_LEN: usize = 8;

/// A node that answers.
#[derive(Debug)]
pub struct Member {
    pub client: Client,
    pub view: View,
    pub info: ClusterInfo,
}

impl Member {
    /// Connects and asks for the node's view.
    ///
    /// # Errors
    /// Those of `Client::connect`, and a node that is not in cluster mode.
    pub fn connect(node: &HostPort, credentials: &Credentials) -> Result<Member, Trouble> {
        let mut client = Client::connect(node, credentials)?;
        let (view, info) = look(&mut client)?;
        Ok(Member { client, view, info })
    }

    /// Asks for the node's view again.
    ///
    /// # Errors
    /// The node is gone or refuses.
    pub fn refresh(&mut self) -> Result<(), Trouble> {
        (self.view, self.info) = look(&mut self.client)?;
        Ok(())
    }

    pub fn name(&self) -> &str {
        self.client.name()
    }

    /// What the node says of itself.
    pub fn myself(&self) -> &KnownNode {
        self.view.myself()
    }

    pub fn id(&self) -> HexId {
        self.myself().id
    }

    pub fn is_primary(&self) -> bool {
        !self.myself().is_replica
    }

    /// Sends CLUSTER MEET for the node at the other end of `to`, whose CLUSTER NODES says where its bus is.
    ///
    /// # Errors
    /// The node is gone or refuses.
    pub fn meet(&mut self, to: &Meeting) -> Result<(), Trouble> {
        let words: Vec<&str> = ["CLUSTER", "MEET"].into_iter().chain(to.words.iter().map(String::as_str)).collect();
        self.client.ask(&words).map(drop)
    }

    /// Where other nodes meet this one.
    pub fn meeting(&self) -> Meeting {
        let address = self.client.address();
        let mut words = vec![address.ip().to_canonical().to_string(), address.port().to_string()];
        // Redis 3 knows no third word.
        if !self.myself().has_usual_bus_port() {
            words.push(self.myself().bus_port.to_string());
        }
        Meeting { words }
    }

    /// Whether the node could join a cluster: no keys, no slots, no other nodes.
    ///
    /// # Errors
    /// What it has and how to be rid of it.
    pub fn must_be_empty(&mut self) -> Result<(), Failure> {
        let keys = match self.client.ask(&["DBSIZE"])? {
            Reply::Integer(keys) => keys,
            _ => 0,
        };
        let others = self.view.nodes().len().saturating_sub(1);
        let has = if keys > 0 {
            format!("it has {}", count(usize::try_from(keys).unwrap_or(0), "key"))
        } else if others > 0 {
            format!("it knows {}", count(others, "other node"))
        } else if self.myself().slots_count() > 0 {
            format!("it serves {}", count(self.myself().slots_count(), "slot"))
        } else {
            return Ok(());
        };
        let name = self.name();
        Err(Failure::line(format!(
            "{name} is not empty: {has}; if that can go, send it FLUSHALL and CLUSTER RESET HARD"
        )))
    }
}

/// The words that CLUSTER MEET takes.
pub struct Meeting {
    words: Vec<String>,
}

fn look(client: &mut Client) -> Result<(View, ClusterInfo), Trouble> {
    let nodes = client.ask(&["CLUSTER", "NODES"])?;
    let view = View::parse(nodes.bytes())
        .map_err(|why| Trouble { node: client.name().to_owned(), kind: TroubleKind::Unclear(why) })?;
    let info = client.ask(&["CLUSTER", "INFO"])?;
    Ok((view, ClusterInfo::parse(info.bytes())))
}

/// A node of the cluster that is not there.
#[derive(Debug)]
pub struct Missing {
    pub node: KnownNode,
    why: String,
}

impl Missing {
    /// The node's address as others know it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.node.ip, self.node.port)
    }
}

/// A cluster as one of its nodes, the entry, knows it.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their addresses.
    pub members: Vec<Member>,
    pub missing: Vec<Missing>,
    entry: HexId,
}

impl Cluster {
    /// Connects to `entry` and to every node that it knows. Nodes that do not answer, or that the cluster holds for
    /// failed, are missing, with a warning.
    ///
    /// # Errors
    /// The entry does not answer or is not in cluster mode.
    pub fn load(entry: &HostPort, settings: &Settings, output: &mut Output) -> Result<Cluster, Failure> {
        let entry = Member::connect(entry, &settings.credentials)?;
        let others: Vec<KnownNode> = entry.view.settled().filter(|node| !node.is_myself).cloned().collect();
        let mut cluster = Cluster { entry: entry.id(), members: vec![entry], missing: Vec::new() };
        for node in others {
            match connect_to(&node, &settings.credentials) {
                Ok(member) => cluster.members.push(member),
                Err(why) => cluster.missing.push(Missing { node, why }),
            }
        }
        cluster.members.sort_by_key(|member| member.client.address());
        cluster.missing.iter().for_each(|missing| output.warning(&missing.why));
        Ok(cluster)
    }

    /// The node that the cluster was loaded from.
    pub fn entry(&mut self) -> &mut Member {
        self.members.iter_mut().find(|member| member.id() == self.entry).expect("the entry is a member")
    }

    pub fn primaries(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_primary())
    }

    /// How many members replicate this node.
    pub fn replicas_count(&self, id: HexId) -> usize {
        self.members.iter().filter(|member| member.myself().primary == Some(id)).count()
    }

    /// The primary with the fewest replicas, but not `without`; those that serve slots come first.
    ///
    /// # Errors
    /// There is none.
    pub fn primary_with_fewest_replicas(&self, without: Option<HexId>) -> Result<&Member, Failure> {
        let candidates = self.primaries().filter(|member| Some(member.id()) != without);
        let rank = |member: &&Member| (member.myself().slots.is_empty(), self.replicas_count(member.id()));
        candidates.min_by_key(rank).ok_or_else(|| Failure::line("no primary is left that could have a replica"))
    }

    /// The id that begins with `text`, of a member or a missing node.
    ///
    /// # Errors
    /// No node has it, or several do.
    pub fn find_id(&self, text: &str) -> Result<HexId, Failure> {
        let ids = self.members.iter().map(Member::id).chain(self.missing.iter().map(|missing| missing.node.id));
        let found: Vec<HexId> = ids.filter(|id| text.len() >= SHORT_ID_LEN && id.as_str().starts_with(text)).collect();
        match found.as_slice() {
            [id] => Ok(*id),
            [] => Err(Failure::line(format!(
                "no node of this cluster has the id {text}; 'slotcore cluster call' with CLUSTER MYID shows them"
            ))),
            _ => Err(Failure::line(format!("several nodes have ids that begin with {text}; give more of it"))),
        }
    }
}

fn connect_to(node: &KnownNode, credentials: &Credentials) -> Result<Member, String> {
    let name = format!("{}:{}", node.ip, node.port);
    if node.has_no_address || node.ip.is_empty() || node.port == 0 {
        return Err(format!("the node {} is left out: its address is not known", node.id));
    }
    if node.has_failed {
        return Err(format!(
            "{name} is left out: the cluster holds it for failed; start it again, or remove it with del-node"
        ));
    }
    let place = HostPort { host: node.ip.clone(), port: node.port };
    let member = Member::connect(&place, credentials).map_err(|trouble| format!("a node is left out: {trouble}"))?;
    if member.id() != node.id {
        return Err(format!("{name} is left out: the node there is {} and not {}", member.id(), node.id));
    }
    Ok(member)
}

/// The members as a table: primaries with their slots, replicas below.
pub fn nodes_table(members: &[Member]) -> String {
    let name_of = |id: Option<HexId>| members.iter().find(|member| Some(member.id()) == id).map_or("?", Member::name);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for is_primary in [true, false] {
        for member in members.iter().filter(|member| member.is_primary() == is_primary) {
            let myself = member.myself();
            let replicas = members.iter().filter(|other| other.myself().primary == Some(myself.id)).count();
            let (role, slots, replicas) = if is_primary {
                ("primary".to_owned(), show_ranges(myself.slots.iter().copied()), replicas.to_string())
            } else {
                (format!("replica of {}", name_of(myself.primary)), "-".to_owned(), "-".to_owned())
            };
            rows.push(vec![member.name().to_owned(), role, short(myself.id), slots, replicas]);
        }
    }
    table(&["Node", "Role", "Id", "Slots", "Replicas"], &rows)
}

/// The first characters of an id.
pub fn short(id: HexId) -> String {
    id.as_str().chars().take(SHORT_ID_LEN).collect()
}
