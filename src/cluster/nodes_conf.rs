//! nodes.conf: the cluster state as a text that Redis reads and writes too.
//!
//! One line per node as `describe` writes them, then `vars currentEpoch N lastVoteEpoch N`. Files of Redis 3 (without a bus
//! port), 7.0 (with a host name) and 7.2 (with named fields) are read; what is written is 7.2's. Works on bytes in
//! memory, knows no file (`file` does) and refuses what it does not understand: a node that forgot its epoch or a slot
//! would harm the others.

use hashbrown::HashMap;

use super::describe::{self, Form};
use super::node::{ClusterNode, Epoch, NodeFlags, NodeIndex};
use super::settings::{BUS_PORT_OFFSET, ClusterSettings};
use super::state::{ClusterState, NODES_MAX};
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::base::slot::{SLOTS_COUNT, Slot};
use crate::base::words::{is_bare, split_words};

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// From 1 on; the last line when something is missing.
    pub line: usize,
    pub reason: String,
}

/// Words of a node's line before its slots.
const FIELDS_COUNT: usize = 8;

/// The state as the file's text.
pub fn format(state: &ClusterState) -> String {
    let mut text = describe::nodes_text(state, Form::File);
    text.push_str(&format!("vars currentEpoch {} lastVoteEpoch {}\n", state.current_epoch, state.last_vote_epoch));
    text
}

/// Reads a file's text. `now` becomes the time of pings and pongs that the file has, as those times mean nothing after a
/// restart; `random` gives a shard id to nodes that an older version saved without one.
///
/// # Errors
/// The first line that makes no sense.
pub fn parse(
    text: &[u8],
    settings: &ClusterSettings,
    now: UnixMillis,
    random: &mut Random,
) -> Result<ClusterState, Damage> {
    let mut reader = Reader::new(now);
    let mut last = 0;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let damage = |reason: String| Damage { line: number + 1, reason };
        let words = split_words(line).ok_or_else(|| damage("a quote is not closed".to_owned()))?;
        if words.is_empty() {
            continue;
        }
        last = number + 1;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        reader.line(&words).map_err(damage)?;
    }
    reader.finish(settings, random).map_err(|reason| Damage { line: last, reason })
}

/// A node's line whose shard may still be unknown.
struct Draft {
    node: ClusterNode,
    shard: Option<HexId>,
    /// Only mentioned so far.
    is_mentioned_only: bool,
}

struct Reader {
    now: UnixMillis,
    drafts: Vec<Draft>,
    by_id: HashMap<HexId, usize>,
    myself: Option<usize>,
    owners: Box<[Option<usize>; SLOTS_COUNT]>,
    migrating_to: Vec<(Slot, usize)>,
    importing_from: Vec<(Slot, usize)>,
    epochs: Option<(Epoch, Epoch)>,
}

impl Reader {
    fn new(now: UnixMillis) -> Reader {
        Reader {
            now,
            drafts: Vec::new(),
            by_id: HashMap::new(),
            myself: None,
            owners: Box::new([None; SLOTS_COUNT]),
            migrating_to: Vec::new(),
            importing_from: Vec::new(),
            epochs: None,
        }
    }

    fn line(&mut self, words: &[&[u8]]) -> Result<(), String> {
        match words {
            [first, vars @ ..] if first.eq_ignore_ascii_case(b"vars") => self.vars(vars),
            [id, address, flags, primary, ping, pong, epoch, _link, slots @ ..] => {
                let index = self.named(id)?;
                if !std::mem::take(&mut self.drafts[index].is_mentioned_only) {
                    return Err(format!("node {} stands twice", shown(id)));
                }
                self.address(index, address)?;
                self.flags(index, flags)?;
                self.role(index, primary)?;
                self.times(index, ping, pong, epoch)?;
                slots.iter().try_for_each(|word| self.slots(index, word))
            }
            _ => Err(format!("{} words where a node has at least {FIELDS_COUNT}", words.len())),
        }
    }

    /// Names and values in pairs; names of later versions are passed over.
    fn vars(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let mut epochs = (Epoch(0), Epoch(0));
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a variable without a value".to_owned());
        }
        for [name, value] in pairs {
            if name.eq_ignore_ascii_case(b"currentEpoch") {
                epochs.0 = Epoch(number(value, "currentEpoch")?);
            } else if name.eq_ignore_ascii_case(b"lastVoteEpoch") {
                epochs.1 = Epoch(number(value, "lastVoteEpoch")?);
            }
        }
        self.epochs = Some(epochs);
        Ok(())
    }

    /// The node with this id, made when it is new: a replica may stand before its primary.
    fn named(&mut self, id: &[u8]) -> Result<usize, String> {
        let id = HexId::parse(id).ok_or_else(|| format!("'{}' is no node id", shown(id)))?;
        if let Some(index) = self.by_id.get(&id) {
            return Ok(*index);
        }
        if self.drafts.len() == NODES_MAX {
            return Err("too many nodes".to_owned());
        }
        let node = ClusterNode::new(id, HexId::ZEROS, NodeFlags::NONE);
        self.drafts.push(Draft { node, shard: None, is_mentioned_only: true });
        self.by_id.insert(id, self.drafts.len() - 1);
        Ok(self.drafts.len() - 1)
    }

    /// `ip:port[@bus-port][,hostname[,name=value ...]]`. Its texts are written without quotes, so none that needs them is
    /// taken: the file would be refused on the next start.
    fn address(&mut self, index: usize, word: &[u8]) -> Result<(), String> {
        if !is_bare(word) {
            return Err(format!("an address with a blank, a quote or a control byte: '{}'", shown(word)));
        }
        let word = std::str::from_utf8(word).map_err(|_| "an address that is no text".to_owned())?;
        let draft = &mut self.drafts[index];
        let mut parts = word.split(',');
        let (ip, ports) = parts.next().and_then(|part| part.rsplit_once(':')).ok_or("an address without a port")?;
        let (port, bus_port) = ports.split_once('@').map_or((ports, None), |(port, bus)| (port, Some(bus)));
        let address = &mut draft.node.address;
        address.ip = ip.to_owned();
        address.port = number(port.as_bytes(), "a port")?;
        address.bus_port = match bus_port {
            Some(bus_port) => number(bus_port.as_bytes(), "a bus port")?,
            None => address.port.checked_add(BUS_PORT_OFFSET).ok_or("no room for a bus port")?,
        };
        draft.node.hostname = parts.next().unwrap_or_default().to_owned();
        parts.try_for_each(|field| draft.field(field))
    }

    fn flags(&mut self, index: usize, word: &[u8]) -> Result<(), String> {
        let flags = NodeFlags::parse(word).ok_or_else(|| format!("unknown flags '{}'", shown(word)))?;
        if flags.has(NodeFlags::MYSELF) && self.myself.replace(index).is_some() {
            return Err("a second node is 'myself'".to_owned());
        }
        self.drafts[index].node.flags = flags;
        Ok(())
    }

    fn role(&mut self, index: usize, primary: &[u8]) -> Result<(), String> {
        if primary.starts_with(b"-") {
            return Ok(());
        }
        let primary = self.named(primary)?;
        if primary == index {
            return Err("a node replicates itself".to_owned());
        }
        self.drafts[index].node.primary = Some(node_index(primary));
        Ok(())
    }

    fn times(&mut self, index: usize, ping: &[u8], pong: &[u8], epoch: &[u8]) -> Result<(), String> {
        let now = self.now;
        let time = |word, what| number::<i64>(word, what).map(|at| if at == 0 { UnixMillis(0) } else { now });
        let node = &mut self.drafts[index].node;
        node.ping_sent = time(ping, "a ping's time")?;
        node.pong_received = time(pong, "a pong's time")?;
        let epoch = Epoch(number(epoch, "a configuration epoch")?);
        // A replica's line shows its primary's epoch, which is not its own.
        node.config_epoch = if node.is_replica() && node.primary.is_some() { Epoch(0) } else { epoch };
        Ok(())
    }

    /// `slot`, `first-last`, `[slot->-node]` or `[slot-<-node]`.
    fn slots(&mut self, index: usize, word: &[u8]) -> Result<(), String> {
        let wrong = || format!("'{}' is no range of slots", shown(word));
        if let Some(open) = word.strip_prefix(b"[") {
            return self.open_slot(open).ok_or_else(wrong)?;
        }
        let mut ends = word.splitn(2, |byte| *byte == b'-');
        let first = ends.next().and_then(slot).ok_or_else(wrong)?;
        let last = ends.next().map_or(Some(first), slot).filter(|last| *last >= first).ok_or_else(wrong)?;
        for number in first.get()..=last.get() {
            if self.owners[usize::from(number)].replace(index).is_some() {
                return Err(format!("slot {number} has two owners"));
            }
        }
        Ok(())
    }

    /// `slot->-node]` or `slot-<-node]`; `None` when it is neither.
    fn open_slot(&mut self, word: &[u8]) -> Option<Result<(), String>> {
        let dash = word.iter().position(|byte| *byte == b'-')?;
        let (number, rest) = word.split_at(dash);
        let slot = slot(number)?;
        let node = rest.get(3..)?.strip_suffix(b"]")?;
        let list = match rest.get(..3)? {
            b"->-" => true,
            b"-<-" => false,
            _ => return None,
        };
        Some(self.named(node).map(|node| {
            let list = if list { &mut self.migrating_to } else { &mut self.importing_from };
            list.push((slot, node));
        }))
    }

    fn finish(mut self, settings: &ClusterSettings, random: &mut Random) -> Result<ClusterState, String> {
        let myself = self.myself.ok_or("no node is 'myself'")?;
        let (current, last_vote) = self.epochs.ok_or("the line of variables is missing: the file has been cut off")?;
        self.settle_shards(random);
        // This node comes first: it changes places with whichever did.
        let place = |index: usize| match index {
            _ if index == myself => NodeIndex::MYSELF,
            0 => node_index(myself),
            _ => node_index(index),
        };
        let mut nodes: Vec<ClusterNode> = self.drafts.into_iter().map(|draft| draft.node).collect();
        nodes.swap(0, myself);
        for node in &mut nodes {
            node.primary = node.primary.map(|primary| place(usize::from(primary.0)));
        }
        let mut state = ClusterState::with_nodes(nodes, settings.clone());
        for (slot, owner) in Slot::all().zip(self.owners.iter()) {
            state.set_owner(slot, owner.map(place));
        }
        state.migrating_to = self.migrating_to.into_iter().map(|(slot, node)| (slot, place(node))).collect();
        state.importing_from = self.importing_from.into_iter().map(|(slot, node)| (slot, place(node))).collect();
        (state.current_epoch, state.last_vote_epoch) = (current, last_vote);
        state.current_epoch = state.max_epoch();
        state.announce(settings, "");
        Ok(state)
    }

    /// A primary without a shard starts one, a replica is in its primary's.
    fn settle_shards(&mut self, random: &mut Random) {
        for draft in &mut self.drafts {
            draft.node.shard = draft.shard.unwrap_or_else(|| HexId::random(random));
        }
        for index in 0..self.drafts.len() {
            if let Some(primary) = self.drafts[index].node.primary {
                self.drafts[index].node.shard = self.drafts[usize::from(primary.0)].node.shard;
            }
        }
    }
}

impl Draft {
    /// `name=value` behind the host name.
    fn field(&mut self, field: &str) -> Result<(), String> {
        let wrong = || format!("'{field}' is no field of a node");
        let (name, value) = field.split_once('=').ok_or_else(wrong)?;
        match name {
            "shard-id" => self.shard = Some(HexId::parse(value.as_bytes()).ok_or_else(wrong)?),
            "nodename" => self.node.human_name = value.to_owned(),
            "tls-port" => self.node.address.tls_port = number(value.as_bytes(), "a port")?,
            // Written in place of the other by a node whose bus speaks TLS.
            "tcp-port" => {
                self.node.address.tls_port = self.node.address.port;
                self.node.address.port = number(value.as_bytes(), "a port")?;
            }
            _ => self.node.unknown_fields.push(field.to_owned()),
        }
        Ok(())
    }
}

fn node_index(index: usize) -> NodeIndex {
    NodeIndex(u16::try_from(index).expect("the number of nodes is limited"))
}

fn slot(digits: &[u8]) -> Option<Slot> {
    number::<i64>(digits, "").ok().and_then(Slot::checked)
}

/// Digits with an optional sign where the type has one.
fn number<T: std::str::FromStr>(word: &[u8], what: &str) -> Result<T, String> {
    let parsed =
        std::str::from_utf8(word).ok().filter(|text| !text.starts_with('+')).and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("'{}' is no number for {what}", shown(word)))
}

/// Bytes of a damaged file in one short line.
fn shown(word: &[u8]) -> String {
    word.get(..60).unwrap_or(word).escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";
    const VARS: &str = "vars currentEpoch 3 lastVoteEpoch 2\n";

    fn settings() -> ClusterSettings {
        ClusterSettings::of(&Config { port: 7000, ..Config::default() })
    }

    fn read(text: &str) -> Result<ClusterState, Damage> {
        parse(text.as_bytes(), &settings(), UnixMillis(77), &mut Random::new(1))
    }

    fn damage(line: usize, reason: &str) -> Option<Damage> {
        Some(Damage { line, reason: reason.to_owned() })
    }

    #[test]
    fn a_file_of_redis_7_2_is_written_again_as_it_was() {
        let (shard, other) = ("1".repeat(40), "2".repeat(40));
        let text = format!(
            "{B} 127.0.0.1:7000@17000,,tls-port=0,shard-id={shard} myself,master - 0 0 3 connected 0-5 7 [7->-{A}] [9-<-{A}]\n\
             {A} 127.0.0.1:7001@17001,host.a,tls-port=0,nodename=a,shard-id={other},zone=z master - 0 77 1 disconnected 8-16383\n\
             {C} ::1:7002@17002,,tls-port=0,shard-id={shard} slave,fail?,nofailover {B} 77 77 3 disconnected\n{VARS}"
        );
        let state = read(&text).unwrap();
        assert_eq!(format(&state), text);
        assert_eq!(state.nodes().len(), 3);
        assert_eq!(state.owner(Slot::new(6)), None);
        assert_eq!(state.node(NodeIndex(2)).config_epoch, Epoch(0));
        assert_eq!(state.node(NodeIndex(2)).address.ip, "::1");
    }

    #[test]
    fn files_of_older_versions_are_read() {
        let text = format!(
            "{C} 10.0.0.3:7002@17002,host.c slave {B} 0 1426238317239 3 connected\n\
             {A} 10.0.0.1:7000@17000 myself,slave {B} 0 0 0 connected\n\n\
             {B} 10.0.0.2:7001 master - 0 1426238316232 2 connected 0-16383\n{VARS}\n"
        );
        let state = read(&text).unwrap();
        let [myself, primary, replica] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
            .map(|ip| state.nodes().iter().find(|node| node.address.ip == ip).unwrap());
        assert_eq!((primary.address.bus_port, primary.pong_received), (17001, UnixMillis(77)));
        assert_eq!((myself.shard, replica.shard), (primary.shard, primary.shard));
        assert_eq!(state.myself().id, myself.id);
        assert_eq!(state.shown_epoch(replica), Epoch(2));
        assert_eq!(myself.primary.map(|index| state.node(index).id), Some(primary.id));
        assert_eq!(replica.hostname, "host.c");
    }

    #[test]
    fn a_node_that_is_only_mentioned_is_known() {
        let state = read(&format!("{A} :7000@17000 myself,slave {B} 0 0 0 connected\n{VARS}")).unwrap();
        assert_eq!(state.nodes().len(), 2);
        assert_eq!(state.node(NodeIndex(1)).flags, NodeFlags::NONE);
        assert!(format(&state).contains(&format!("{B} :0@0,,tls-port=0,shard-id=")));
        assert!(read(&format(&state)).is_ok());
    }

    #[test]
    fn ports_of_a_file_written_under_tls_change_places() {
        let text = format!(
            "{A} :7100@17100,,tcp-port=7000,shard-id={B} master - 0 0 0 connected\n{B} :0@0 myself - 0 0 0 c\n{VARS}"
        );
        let state = read(&text).unwrap();
        let peer = &state.node(NodeIndex(1)).address;
        assert_eq!((peer.port, peer.tls_port), (7000, 7100));
    }

    #[test]
    fn the_current_epoch_is_at_least_every_nodes() {
        let state = read(&format!("{A} :1@2 myself,master - 0 0 9 connected\n{VARS}")).unwrap();
        assert_eq!(state.current_epoch(), Epoch(9));
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let line = format!("{A} :7000@17000 myself,master - 0 0 0 connected");
        for (text, expected) in [
            (format!("{line}\n{line}\n{VARS}"), damage(2, &format!("node {A} stands twice"))),
            (format!("{line} 0-5 5\n{VARS}"), damage(1, "slot 5 has two owners")),
            (format!("{line} 5-4\n{VARS}"), damage(1, "'5-4' is no range of slots")),
            (format!("{line} 16384\n{VARS}"), damage(1, "'16384' is no range of slots")),
            (format!("{line} [5-\n{VARS}"), damage(1, "'[5-' is no range of slots")),
            (format!("{line} [5->-x]\n{VARS}"), damage(1, "'x' is no node id")),
            (format!("{line}\n"), damage(1, "the line of variables is missing: the file has been cut off")),
            (format!("\n\n{VARS}"), damage(3, "no node is 'myself'")),
            (format!("{line}\nvars currentEpoch\n"), damage(2, "a variable without a value")),
            (format!("{line}\nvars currentEpoch -1\n"), damage(2, "'-1' is no number for currentEpoch")),
            (format!("x{line}\n"), damage(1, &format!("'x{A}' is no node id"))),
            (format!("{A} :1 myself\n"), damage(1, "3 words where a node has at least 8")),
            (format!("{A} 7000 myself - 0 0 0 connected\n"), damage(1, "an address without a port")),
            (format!("{A} :70000@1 myself - 0 0 0 connected\n"), damage(1, "'70000' is no number for a port")),
            (format!("{A} :1@1,,a myself - 0 0 0 connected\n"), damage(1, "'a' is no field of a node")),
            (format!("{A} :1@1 boss - 0 0 0 connected\n"), damage(1, "unknown flags 'boss'")),
            (format!("{A} :1@1 slave {A} 0 0 0 connected\n"), damage(1, "a node replicates itself")),
            (format!("{line} \"\n"), damage(1, "a quote is not closed")),
            (
                format!("{A} \":1@1,host a\" myself - 0 0 0 connected\n"),
                damage(1, "an address with a blank, a quote or a control byte: ':1@1,host a'"),
            ),
            (
                format!("{A} \":1@1,,nodename=\\x01\" myself - 0 0 0 connected\n"),
                damage(1, r"an address with a blank, a quote or a control byte: ':1@1,,nodename=\x01'"),
            ),
            (
                format!("{A} \":1@1,,zone=it's\" myself - 0 0 0 connected\n"),
                damage(1, r"an address with a blank, a quote or a control byte: ':1@1,,zone=it\'s'"),
            ),
        ] {
            assert_eq!(read(&text).err(), expected, "{text}");
        }
    }

    fn any_file() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just(A.to_owned()),
            Just(B.to_owned()),
            Just("-".to_owned()),
            Just("vars".to_owned()),
            Just("myself".to_owned()),
            Just("master".to_owned()),
            Just("slave".to_owned()),
            Just(":7000@17000".to_owned()),
            Just("0".to_owned()),
            Just("0-9".to_owned()),
            Just(format!("[5->-{B}]")),
            Just(format!("h:1,x,shard-id={C}")),
            Just("currentEpoch".to_owned()),
            "[ -~]{0,12}",
            any::<u16>().prop_map(|number| number.to_string()),
        ];
        let line = proptest::collection::vec(word, 0..12).prop_map(|words| words.join(" "));
        proptest::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
    }

    fn node_line(id: u8, slots: &[(u16, u16)]) -> String {
        let id = format!("{id:040x}");
        let slots: Vec<String> = slots.iter().map(|(first, last)| format!(" {first}-{last}")).collect();
        format!("{id} 10.0.0.{}:7000@17000 master - 0 0 0 connected{}\n", id.len(), slots.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, &settings(), UnixMillis(1), &mut Random::new(1));
        }

        #[test]
        fn no_words_make_the_reader_panic(text in any_file()) {
            if let Ok(state) = read(&text) {
                let again = read(&format(&state)).map(|state| format(&state));
                prop_assert_eq!(again, Ok(format(&state)));
            }
        }

        #[test]
        fn what_is_written_is_read_back(bounds in proptest::collection::btree_set(0u16..16384, 2..40), myself in 1u8..4) {
            let bounds: Vec<u16> = bounds.into_iter().collect();
            let mut slots = vec![Vec::new(); 4];
            for (number, pair) in bounds.chunks_exact(2).enumerate() {
                slots[number % 4].push((pair[0], pair[1]));
            }
            let lines: String = slots.iter().enumerate().map(|(id, slots)| {
                let line = node_line(id as u8, slots);
                if id == usize::from(myself) { line.replace("master", "myself,master") } else { line }
            }).collect();
            let state = read(&format!("{lines}{VARS}")).unwrap();
            let text = format(&state);
            prop_assert_eq!(format(&read(&text).unwrap()), text);
            let ranges = state.owned_ranges();
            prop_assert_eq!(ranges.iter().map(|(_, a, b)| usize::from(b.get() - a.get()) + 1).sum::<usize>(),
                slots.iter().flatten().map(|(a, b)| usize::from(b - a) + 1).sum::<usize>());
        }
    }
}
