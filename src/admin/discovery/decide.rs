//! What a node does next, given what it and the others say. Pure: values in, steps out.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::super::plan::{PRIMARIES_MIN, plan};
use super::super::topology::{KnownNode, SlotRange, View};
use crate::base::hex::HexId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};

/// The addresses must have been the same for so many looks before a cluster is formed of them: everybody who forms one then has
/// had the time to see the same.
pub const LOOKS_TO_FORM: u32 = 3;
/// A node whose address nobody answers at keeps others from finding their roles for so many looks only.
const LOOKS_TO_GIVE_UP: u32 = 15;

/// What a node that answered says.
pub struct Told {
    pub address: SocketAddr,
    pub view: View,
    pub has_keys: bool,
    /// Its config epoch; 0 for none.
    pub epoch: u64,
}

impl Told {
    fn id(&self) -> HexId {
        self.view.myself().id
    }
}

/// What a node knows when it decides.
pub struct Situation<'a> {
    /// Its own view.
    pub me: &'a View,
    pub has_keys: bool,
    /// Where nodes are, by name.
    pub resolved: &'a BTreeSet<SocketAddr>,
    /// For so many looks.
    pub same_looks: u32,
    /// Those that were asked and answered, by address, this node among them; all that are not known and well have been asked.
    pub told: &'a [Told],
    /// Whether all addresses are of nodes that this node knows.
    pub all_known: bool,
    /// Replicas for each primary.
    pub replicas: usize,
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something changes; the reason is for the log.
    Wait(String),
    /// Make a cluster of all who answered, in this order.
    Form(Vec<Claim>),
    /// Let this node meet the one there.
    Meet(SocketAddr),
    /// Let this node replicate that one.
    Replicate(HexId),
}

/// What one node is given when a cluster is formed.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: SocketAddr,
    /// `None`: it has one.
    pub epoch: Option<u64>,
    /// `None`: it has them, or gets none.
    pub slots: Option<SlotRange>,
}

/// The steps of one look.
pub fn decide(situation: &Situation<'_>) -> Vec<Step> {
    let views = situation.told.iter().map(|told| &told.view).chain([situation.me]);
    if assigned(views).count() < SLOTS_COUNT {
        return vec![form(situation)];
    }
    if is_alone(situation.me) {
        return vec![join(situation)];
    }
    let mut steps: Vec<Step> = situation
        .told
        .iter()
        .filter(|told| wants_meeting(situation, told))
        .map(|told| Step::Meet(told.address))
        .collect();
    steps.extend(role(situation).map(Step::Replicate));
    steps
}

/// The slots that somebody is known to serve, whether it answers or not.
fn assigned<'a>(views: impl Iterator<Item = &'a View>) -> SlotSet {
    let mut slots = SlotSet::new();
    for (first, last) in views.flat_map(View::settled).flat_map(|node| node.slots.iter()) {
        slots.extend((first.get()..=last.get()).map(Slot::new));
    }
    slots
}

/// Knows nobody and serves nothing.
fn is_alone(view: &View) -> bool {
    view.settled().count() == 1 && view.myself().slots.is_empty()
}

// ---- forming ----------------------------------------------------------------------------------------------------------

/// There is no cluster: this node forms it, or waits for the one that does.
fn form(situation: &Situation<'_>) -> Step {
    let wait = |why: String| Step::Wait(why);
    let told = situation.told;
    let needed = PRIMARIES_MIN.saturating_mul(situation.replicas.saturating_add(1));
    if let Some(silent) = situation.resolved.iter().find(|address| !told.iter().any(|told| told.address == **address)) {
        return wait(format!("{silent} does not answer yet"));
    }
    if told.len() < needed {
        return wait(format!("{} of at least {needed} nodes are there", told.len()));
    }
    let ids: BTreeSet<HexId> = told.iter().map(Told::id).collect();
    if ids.len() < told.len() {
        return wait("two addresses lead to the same node, or to copies of it".to_owned());
    }
    if situation.same_looks < LOOKS_TO_FORM {
        return wait("the addresses have changed just now".to_owned());
    }
    match told.first() {
        Some(lowest) if lowest.id() == situation.me.myself().id => {}
        Some(lowest) => return wait(format!("{} forms the cluster", lowest.address)),
        None => return wait("nobody answers".to_owned()),
    }
    for one in told {
        if one.has_keys {
            return wait(format!("{} has keys and is in no cluster; if they can go, send it FLUSHALL", one.address));
        }
        if let Some(foreign) = one.view.settled().find(|node| !ids.contains(&node.id)) {
            return wait(format!("{} knows {}, which is not among those that are here", one.address, foreign.id));
        }
    }
    claims(situation).map_or_else(wait, Step::Form)
}

/// Who gets what. What an earlier attempt has given, by this node before it was started again, stays if the plan is the same.
fn claims(situation: &Situation<'_>) -> Result<Vec<Claim>, String> {
    let told = situation.told;
    let hosts: Vec<IpAddr> = told.iter().map(|told| told.address.ip()).collect();
    let plan = plan(&hosts, situation.replicas);
    let taken: Vec<u64> = told.iter().map(|told| told.epoch).collect();
    let mut free = (1..).filter(|epoch| !taken.contains(epoch));
    let claim = |(number, told): (usize, &Told)| {
        let planned = plan.primaries.iter().find(|primary| primary.node == number);
        let planned = planned.map(|primary| (primary.first, primary.last));
        let slots = match (told.view.myself().slots.as_slice(), planned) {
            ([], planned) => planned,
            ([has], Some(planned)) if *has == planned => None,
            _ => return Err(format!("{} serves slots that the plan does not give it; reset the nodes", told.address)),
        };
        let epoch = if told.epoch == 0 { free.next() } else { None };
        Ok(Claim { address: told.address, epoch, slots })
    };
    told.iter().enumerate().map(claim).collect()
}

// ---- being a member ----------------------------------------------------------------------------------------------------

/// This node is new and there is a cluster.
fn join(situation: &Situation<'_>) -> Step {
    if situation.has_keys {
        return Step::Wait("this node has keys and is in no cluster; if they can go, send it FLUSHALL".to_owned());
    }
    match situation.told.iter().find(|told| !is_alone(&told.view)) {
        Some(member) => Step::Meet(member.address),
        None => Step::Wait("no member of the cluster answers".to_owned()),
    }
}

/// Whether this member must make itself known to the other node: one that was forgotten while it was away and is back, or one that is
/// at another address than others think. Newcomers come by themselves, and nodes of other clusters are left alone.
fn wants_meeting(situation: &Situation<'_>, told: &Told) -> bool {
    let me = situation.me;
    if told.id() == me.myself().id {
        return false;
    }
    match me.get(told.id()) {
        Some(node) => !is_well(node),
        None => told.view.settled().any(|node| node.id != told.id() && me.get(node.id).is_some()),
    }
}

/// Reached, and taken for alive.
pub fn is_well(node: &KnownNode) -> bool {
    node.is_myself || node.is_connected && !node.has_failed && !node.may_have_failed && !node.has_no_address
}

/// The primary that this node should replicate, if it is free to and one lacks a replica.
///
/// Free are primaries without slots, and replicas beyond the wanted number. All of them decide at once, each by itself: the first in
/// the order of their ids takes the primary with the fewest replicas, the next the next. Where views differ for a moment two may
/// choose the same one; one of them is then one too many, and free.
fn role(situation: &Situation<'_>) -> Option<HexId> {
    let me = situation.me;
    if assigned([me].into_iter()).count() < SLOTS_COUNT {
        return None;
    }
    if situation.same_looks < LOOKS_TO_FORM || !situation.all_known && situation.same_looks < LOOKS_TO_GIVE_UP {
        return None;
    }
    let alive: Vec<&KnownNode> = me.settled().filter(|node| !is_lost(node)).collect();
    let mut primaries: Vec<(usize, HexId, Vec<HexId>)> = Vec::new();
    for primary in alive.iter().filter(|node| !node.is_replica && !node.slots.is_empty()) {
        let mut replicas: Vec<HexId> =
            alive.iter().filter(|node| node.primary == Some(primary.id)).map(|node| node.id).collect();
        replicas.sort_unstable();
        primaries.push((replicas.len(), primary.id, replicas));
    }
    primaries.sort_unstable();
    let idle = alive.iter().filter(|node| !node.is_replica && node.slots.is_empty()).map(|node| node.id);
    let surplus = primaries.iter().flat_map(|(_, _, replicas)| replicas.iter().skip(situation.replicas).copied());
    let mut free: Vec<HexId> = idle.chain(surplus).collect();
    free.sort_unstable();
    let mut wanted: Vec<(usize, HexId)> = Vec::new();
    for (count, id, _) in &primaries {
        wanted.extend((*count..situation.replicas).map(|count| (count, *id)));
    }
    wanted.sort_unstable();
    let rank = free.iter().position(|id| *id == me.myself().id)?;
    // A primary with keys and no slots is one whose slots have just left; it is told to go by who moves them.
    let may_replicate = me.myself().is_replica || !situation.has_keys;
    wanted.get(rank).map(|(_, id)| *id).filter(|_| may_replicate)
}

/// Failed; or without an address, which a node is when another one answers where it was: nobody looks for it any more, and so
/// nobody will find that it has failed.
fn is_lost(node: &KnownNode) -> bool {
    node.has_failed || node.has_no_address
}

/// The nodes that nobody will see again by this node's view: lost, and not at any of the addresses.
pub fn departed(me: &View, ids_there: &BTreeSet<HexId>) -> Vec<HexId> {
    let gone = |node: &&KnownNode| is_lost(node) && !node.is_myself && !ids_there.contains(&node.id);
    me.settled().filter(gone).map(|node| node.id).collect()
}

/// Whether others can forget this node: it serves nothing.
pub fn serves_nothing(me: &View, id: HexId) -> bool {
    me.get(id).is_some_and(|node| node.slots.is_empty())
}

/// The primary of this replica, if it is one that has lost its address with its slots: it will not fail, and so nobody takes over by
/// himself.
pub fn stranded_primary(me: &View) -> Option<HexId> {
    let primary = me.get(me.myself().primary?)?;
    (primary.has_no_address && !primary.has_failed && !primary.slots.is_empty()).then_some(primary.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWEST: &str = "127.0.0.1:7001";

    /// An id that begins with the number.
    fn id(number: usize) -> String {
        format!("{number:02x}{}", "0".repeat(38))
    }

    fn hex(number: usize) -> HexId {
        HexId::parse(id(number).as_bytes()).unwrap()
    }

    /// A line of CLUSTER NODES: `flags` and the words behind the link.
    fn line(number: usize, flags: &str, primary: Option<usize>, slots: &str) -> String {
        let primary = primary.map_or("-".to_owned(), id);
        format!("{} 127.0.0.1:{}@1 {flags} {primary} 0 0 1 connected {slots}", id(number), 7000 + number)
    }

    fn address(number: usize) -> SocketAddr {
        format!("127.0.0.1:{}", 7000 + number).parse().unwrap()
    }

    fn view(lines: &[String]) -> View {
        View::parse(lines.join("\n").as_bytes()).unwrap()
    }

    fn alone(number: usize) -> Told {
        told(number, &[line(number, "myself,master", None, "")])
    }

    fn told(number: usize, lines: &[String]) -> Told {
        Told { address: address(number), view: view(lines), has_keys: false, epoch: 0 }
    }

    /// Three primaries with all slots, of which `me` is one or not, and these lines more.
    fn cluster(me: usize, more: &[String]) -> Vec<String> {
        let ranges = ["0-5460", "5461-10922", "10923-16383"];
        let primaries = (1..=3)
            .zip(ranges)
            .map(|(number, slots)| line(number, if number == me { "myself,master" } else { "master" }, None, slots));
        primaries.chain(more.iter().cloned()).collect()
    }

    fn steps(told: &[Told], me: usize, change: impl FnOnce(&mut Situation<'_>)) -> Vec<Step> {
        steps_at(&told.iter().map(|told| told.address).collect(), told, me, change)
    }

    fn steps_at(
        resolved: &BTreeSet<SocketAddr>,
        told: &[Told],
        me: usize,
        change: impl FnOnce(&mut Situation<'_>),
    ) -> Vec<Step> {
        let me = &told.iter().find(|told| told.address == address(me)).unwrap().view;
        let mut situation =
            Situation { me, has_keys: false, resolved, same_looks: LOOKS_TO_FORM, told, all_known: true, replicas: 1 };
        change(&mut situation);
        decide(&situation)
    }

    fn waits(steps: &[Step], why: &str) {
        assert!(matches!(steps, [Step::Wait(said)] if said.contains(why)), "{why}: {steps:?}");
    }

    #[test]
    fn the_lowest_address_forms_when_all_are_there_and_empty() {
        let six: Vec<Told> = (1..=6).map(alone).collect();
        let [Step::Form(claims)] = &steps(&six, 1, |_| ())[..] else { panic!() };
        assert_eq!(claims.iter().map(|claim| claim.epoch).collect::<Vec<_>>(), (1..=6).map(Some).collect::<Vec<_>>());
        let slots: usize =
            claims.iter().filter_map(|claim| claim.slots).map(|(first, last)| last.index() - first.index() + 1).sum();
        assert_eq!((slots, claims.iter().filter(|claim| claim.slots.is_some()).count()), (SLOTS_COUNT, 3));
        waits(&steps(&six, 2, |_| ()), &format!("{LOWEST} forms"));
        waits(&steps(&six, 1, |situation| situation.same_looks = LOOKS_TO_FORM - 1), "changed just now");
        waits(&steps(&six, 1, |situation| situation.replicas = 2), "6 of at least 9");
        let more: BTreeSet<SocketAddr> = (1..=7).map(address).collect();
        waits(&steps_at(&more, &six, 1, |_| ()), "127.0.0.1:7007 does not answer");
    }

    #[test]
    fn what_is_not_empty_is_left_alone() {
        let six = || (1..=6).map(alone).collect::<Vec<Told>>();
        let mut keys = six();
        keys[3].has_keys = true;
        waits(&steps(&keys, 1, |_| ()), "127.0.0.1:7004 has keys");
        let mut foreign = six();
        foreign[2].view = view(&[line(3, "myself,master", None, ""), line(9, "master", None, "")]);
        waits(&steps(&foreign, 1, |_| ()), "127.0.0.1:7003 knows 09");
        let mut twice = six();
        twice[5].view = twice[4].view.clone();
        waits(&steps(&twice, 1, |_| ()), "same node");
        let mut other_slots = six();
        other_slots[1].view = view(&[line(2, "myself,master", None, "7")]);
        waits(&steps(&other_slots, 1, |_| ()), "the plan does not give it");
    }

    #[test]
    fn who_dies_while_forming_goes_on() {
        let mut six: Vec<Told> = (1..=6).map(alone).collect();
        six[0] = told(1, &[line(1, "myself,master", None, "0-5460")]);
        (six[0].epoch, six[1].epoch) = (1, 2);
        let [Step::Form(claims)] = &steps(&six, 1, |_| ())[..] else { panic!() };
        assert_eq!((claims[0].epoch, claims[0].slots, claims[1].epoch), (None, None, None));
        assert_eq!(claims[2].epoch, Some(3));
        assert!(claims[1].slots.is_some() && claims[2].slots.is_some());
    }

    #[test]
    fn a_newcomer_meets_a_member_and_one_with_keys_does_not() {
        let there = [told(1, &cluster(1, &[])), told(2, &cluster(2, &[])), told(3, &cluster(3, &[])), alone(4)];
        assert_eq!(steps(&there, 4, |_| ()), [Step::Meet(address(1))]);
        waits(&steps(&there, 4, |situation| situation.has_keys = true), "has keys");
        // The members leave that to it.
        assert_eq!(steps(&there, 1, |_| ()), []);
    }

    #[test]
    fn who_was_forgotten_or_has_moved_is_met_and_strangers_are_not() {
        let back = told(4, &[line(4, "myself,slave", Some(1), ""), line(1, "master", None, "0-5460")]);
        let stranger = told(5, &[line(5, "myself,master", None, ""), line(9, "master", None, "")]);
        let there = [
            told(1, &cluster(1, &[line(6, "slave,fail", Some(2), "")])),
            back,
            stranger,
            told(
                6,
                &cluster(2, &[line(6, "myself,slave", Some(2), "")])
                    .into_iter()
                    .map(|line| if line.contains("myself,master") { line.replace("myself,", "") } else { line })
                    .collect::<Vec<_>>(),
            ),
        ];
        assert_eq!(steps(&there, 1, |_| ()), [Step::Meet(address(4)), Step::Meet(address(6))]);
    }

    #[test]
    fn free_nodes_take_the_primaries_that_lack_a_replica_in_turn() {
        let line_of = |number: usize, me: usize, primary: Option<usize>| {
            let role = if primary.is_some() { "slave" } else { "master" };
            let flags = if number == me { format!("myself,{role}") } else { role.to_owned() };
            line(number, &flags, primary, "")
        };
        let role_of = |me: usize, more: &[(usize, Option<usize>)]| {
            let more: Vec<String> = more.iter().map(|(number, primary)| line_of(*number, me, *primary)).collect();
            let [step] = &steps(&[told(me, &cluster(me, &more))], me, |_| ())[..] else { return None };
            match step {
                Step::Replicate(id) => Some(*id),
                other => panic!("{other:?}"),
            }
        };
        let none = [(4, None), (5, None), (6, None), (7, None)];
        assert_eq!(
            (4..=7).map(|me| role_of(me, &none)).collect::<Vec<_>>(),
            [Some(hex(1)), Some(hex(2)), Some(hex(3)), None]
        );
        // One has come twice to the same primary.
        let crowded = [(4, Some(1)), (5, Some(1)), (6, Some(2))];
        assert_eq!((4..=6).map(|me| role_of(me, &crowded)).collect::<Vec<_>>(), [None, Some(hex(3)), None]);
        let full = [(4, Some(1)), (5, Some(2)), (6, Some(3)), (7, None)];
        assert!((4..=7).all(|me| role_of(me, &full).is_none()));
        let there = [told(4, &cluster(4, &[line_of(4, 4, None)]))];
        assert_eq!(steps(&there, 4, |situation| situation.same_looks = 1), []);
        assert_eq!(steps(&there, 4, |situation| situation.all_known = false), []);
        assert_eq!(steps(&there, 4, |situation| situation.has_keys = true), []);
        let patient =
            steps(&there, 4, |situation| (situation.all_known, situation.same_looks) = (false, LOOKS_TO_GIVE_UP));
        assert_eq!(patient, [Step::Replicate(hex(1))]);
    }

    #[test]
    fn a_replica_whose_primary_lost_its_address_is_stranded() {
        let stranded = |flags: &str| {
            let mut lines = cluster(4, &[line(4, "myself,slave", Some(1), "")]);
            lines[0] = line(1, flags, None, "0-5460");
            stranded_primary(&view(&lines))
        };
        assert_eq!(stranded("master,noaddr"), Some(hex(1)));
        assert!(["master", "master,fail", "master,fail,noaddr"].iter().all(|flags| stranded(flags).is_none()));
        assert_eq!(stranded_primary(&view(&cluster(1, &[]))), None);
    }

    #[test]
    fn only_lost_nodes_that_are_nowhere_have_departed() {
        let lines = cluster(
            1,
            &[
                line(4, "slave,fail", Some(1), ""),
                line(5, "slave,fail", Some(1), ""),
                line(6, "slave,fail?", Some(1), ""),
                line(7, "master,fail", None, ""),
                line(8, "slave,noaddr", Some(1), ""),
            ],
        );
        let mut lines = lines;
        lines[2] = line(3, "master,fail", None, "10923-16383");
        let view = view(&lines);
        let departed = departed(&view, &BTreeSet::from([hex(5)]));
        assert_eq!(departed, [hex(3), hex(4), hex(7), hex(8)]);
        assert_eq!(departed.iter().map(|id| serves_nothing(&view, *id)).collect::<Vec<_>>(), [false, true, true, true]);
    }
}
