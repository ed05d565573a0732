//! `create`: empty nodes become a cluster. Run again for the same nodes it finds the cluster and changes nothing.
//!
//! What a node is told, in order: its slots, its config epoch (each another, so that none has to be settled between
//! them), where the first node is; whom it replicates, once it knows that node; and after a while where those are that it has
//! not heard of.

use std::net::IpAddr;
use std::time::Instant;

use super::Failure;
use super::agreement::{Expected, bring_together, expected_by, lack, lack_of_service, wait_for_all};
use super::arguments::Settings;
use super::client::{HostPort, Trouble};
use super::members::{Member, nodes_table};
use super::output::{Output, count, table};
use super::plan::{Affinity, Plan, plan};
use super::topology::{SlotRange, show_ranges};
use crate::base::hex::HexId;
use crate::base::slot::SLOTS_COUNT;

/// Forms a cluster with `replicas` replicas for each primary.
///
/// # Errors
/// A node that cannot be part of it, a plan that the user does not accept, nodes that do not agree in time.
pub fn create(nodes: &[HostPort], replicas: usize, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut members = connect_all(nodes, settings)?;
    must_be_distinct(&members)?;
    if already_stands(&members) {
        must_be_whole(&mut members, replicas, settings, output)?;
        output
            .line(&format!("The cluster of these {} already stands; nothing was changed.", count(nodes.len(), "node")));
        output.line(&nodes_table(&members));
        return Ok(());
    }
    collect(members.iter_mut().map(Member::must_be_empty))?;
    let hosts: Vec<IpAddr> = members.iter().map(|member| member.client.address().ip().to_canonical()).collect();
    let plan = plan(&hosts, replicas);
    show(&plan, &hosts, &members, output);
    if !settings.yes && !output.ask("Form this cluster?") {
        return Err(Failure::line("nothing was changed: the plan was not accepted; type 'yes', or give --cluster-yes"));
    }
    form(&mut members, &plan, settings, output)?;
    output.line(&nodes_table(&members));
    output.line(&format!("[OK] All {SLOTS_COUNT} slots covered."));
    output.line(&format!("The cluster stands after {:.1} s.", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs all, and fails with the lines of all that fail.
fn collect(results: impl Iterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for result in results {
        match result {
            Err(Failure::Failed(more)) => lines.extend(more),
            other => other?,
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(Failure::Failed(lines)) }
}

fn connect_all(nodes: &[HostPort], settings: &Settings) -> Result<Vec<Member>, Failure> {
    let mut members = Vec::with_capacity(nodes.len());
    collect(nodes.iter().map(|node| {
        members.push(Member::connect(node, &settings.credentials)?);
        Ok(())
    }))?;
    Ok(members)
}

fn must_be_distinct(members: &[Member]) -> Result<(), Failure> {
    collect(members.iter().enumerate().map(|(number, member)| {
        match members.iter().take(number).find(|earlier| earlier.id() == member.id()) {
            None => Ok(()),
            Some(earlier) => {
                let (one, other) = (earlier.name(), member.name());
                Err(Failure::line(format!(
                    "{one} and {other} are the same node, or one is a copy of the other's nodes.conf; name it once, or send one of them CLUSTER RESET HARD"
                )))
            }
        }
    }))
}

/// Whether every member knows the members and nobody else.
fn already_stands(members: &[Member]) -> bool {
    let sorted = |mut ids: Vec<HexId>| {
        ids.sort_unstable();
        ids
    };
    let wanted = sorted(members.iter().map(Member::id).collect());
    members.iter().all(|member| sorted(member.view.settled().map(|node| node.id).collect()) == wanted)
}

/// A cluster that is found must be in order, or come to be: after a restart of all nodes that takes a moment.
fn must_be_whole(
    members: &mut [Member],
    replicas: usize,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    output.begin("These nodes are a cluster; waiting until it is in order");
    let lack_of = |all: &[Member], member: &Member| {
        let first = all.first()?;
        lack(&member.view, &expected_by(&first.view)).or_else(|| lack_of_service(member))
    };
    wait_for_all(members, settings.wait, output, lack_of, |_| Ok(()))?;
    let served: usize = members.iter().map(|member| member.myself().slots_count()).sum();
    if served != SLOTS_COUNT {
        let line = format!(
            "these nodes are a cluster already, but serve {served} of {SLOTS_COUNT} slots; 'slotcore cluster check' names the others"
        );
        return Err(Failure::line(line));
    }
    let idle = members.iter().filter(|member| member.is_primary() && member.myself().slots.is_empty());
    let idle: Vec<&str> = idle.map(Member::name).collect();
    if replicas > 0 && !idle.is_empty() {
        let names = idle.join(", ");
        let line = format!(
            "these nodes are a cluster already, but without slots or a primary: {names}; send CLUSTER REPLICATE there, or reset all and create it again"
        );
        return Err(Failure::line(line));
    }
    Ok(())
}

/// The plan as a table, and what is to be said of it.
fn show(plan: &Plan, hosts: &[IpAddr], members: &[Member], output: &mut Output) {
    let name = |node: usize| members[node].name().to_owned();
    let primaries = plan.primaries.iter().map(|primary| {
        let slots = show_ranges([(primary.first, primary.last)]);
        let served = primary.last.index() - primary.first.index() + 1;
        vec![name(primary.node), "primary".to_owned(), format!("{slots} ({})", count(served, "slot"))]
    });
    let replicas = plan
        .replicas
        .iter()
        .map(|replica| vec![name(replica.node), "replica".to_owned(), format!("of {}", name(replica.primary))]);
    let rows: Vec<Vec<String>> = primaries.chain(replicas).collect();
    output.line(&table(&["Node", "Role", "Task"], &rows));
    match plan.affinity(hosts) {
        Affinity::Perfect => {}
        _ if hosts.iter().all(|host| Some(host) == hosts.first()) => {
            output.line("All nodes are on one host: when it fails, so does the cluster.");
        }
        Affinity::ReplicasTogether => {
            output.warning("replicas of the same primary share a host; more hosts would mend that")
        }
        Affinity::WithPrimary => output.warning("a replica is on the host of its primary; more hosts would mend that"),
    }
    if hosts.iter().any(IpAddr::is_loopback) && !hosts.iter().all(IpAddr::is_loopback) {
        output.warning("some nodes are at a loopback address, where nodes on other machines do not reach them");
    }
}

/// Slots, config epochs and MEET, then the rest until all know all and serve.
fn form(members: &mut [Member], plan: &Plan, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    for primary in &plan.primaries {
        add_slots(&mut members[primary.node], (primary.first, primary.last))?;
    }
    give_epochs(members)?;
    let meeting = members[0].meeting();
    for member in &mut members[1..] {
        member.meet(&meeting)?;
    }
    let ids: Vec<HexId> = members.iter().map(Member::id).collect();
    let mut expected: Vec<Expected> =
        ids.iter().map(|id| Expected { id: *id, primary: None, slots: Vec::new() }).collect();
    for primary in &plan.primaries {
        expected[primary.node].slots = vec![(primary.first, primary.last)];
    }
    for replica in &plan.replicas {
        expected[replica.node].primary = Some(ids[replica.primary]);
    }
    let replicas: Vec<(HexId, HexId)> =
        plan.replicas.iter().map(|replica| (ids[replica.node], ids[replica.primary])).collect();
    output.begin(&format!("Waiting until all {} agree and serve", count(members.len(), "node")));
    bring_together(members, &expected, &replicas, true, settings.wait, output)
}

/// Gives a node slots that nobody has.
///
/// # Errors
/// It is gone, or knows that somebody has them.
pub fn add_slots(member: &mut Member, (first, last): SlotRange) -> Result<(), Trouble> {
    let range = member.client.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
    match range {
        // Before 7.0 the command is not known.
        Err(trouble) if trouble.reply().is_some_and(is_unknown_command) => {
            let slots: Vec<String> = (first.get()..=last.get()).map(|slot| slot.to_string()).collect();
            let words: Vec<&str> =
                ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)).collect();
            member.client.ask(&words).map(drop)
        }
        other => other.map(drop),
    }
}

/// Versions spell it differently.
fn is_unknown_command(reply: &str) -> bool {
    reply.to_ascii_lowercase().starts_with("err unknown subcommand")
}

/// Each node gets an epoch of its own. One that was reset softly has one already, which cannot be changed from outside.
fn give_epochs(members: &mut [Member]) -> Result<(), Failure> {
    let taken: Vec<u64> = members.iter().map(|member| member.info.my_epoch).collect();
    let mut free = (1..).filter(|epoch| !taken.contains(epoch));
    for member in members.iter_mut().filter(|member| member.info.my_epoch == 0) {
        let epoch: u64 = free.next().expect("a number that no node has");
        member.client.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()])?;
    }
    Ok(())
}
