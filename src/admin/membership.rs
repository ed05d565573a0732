//! `add-node` and `del-node`: a node joins a cluster that stands, or leaves it.

use super::Failure;
use super::agreement::{Expected, bring_together, expected_by};
use super::arguments::{NewRole, Settings};
use super::check::must_be_in_order;
use super::client::HostPort;
use super::members::{Cluster, Member};
use super::output::Output;
use super::reply::Reply;
use crate::base::hex::HexId;

/// Lets the empty node `new` join the cluster of `existing`, and waits until all know it.
///
/// # Errors
/// The cluster is not in order, the node is not empty, the primary is none, or nodes do not agree in time.
pub fn add(
    new: &HostPort,
    existing: &HostPort,
    role: &NewRole,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut cluster = Cluster::load(existing, settings, output)?;
    must_be_in_order(&cluster)?;
    let primary = match role {
        NewRole::Primary => None,
        NewRole::Replica(None) => Some(cluster.primary_with_fewest_replicas(None)?.id()),
        NewRole::Replica(Some(id)) => Some(primary_with_id(&cluster, id)?),
    };
    let mut member = Member::connect(new, &settings.credentials)?;
    if cluster.members.iter().any(|known| known.id() == member.id()) {
        return Err(Failure::line(format!(
            "{new} is a node of this cluster already; 'slotcore cluster info' shows it"
        )));
    }
    member.must_be_empty()?;
    if primary.is_none() {
        copy_functions(cluster.entry(), &mut member)?;
    }
    let mut expected = expected_by(&cluster.entry().view);
    // Whoever is missing cannot be expected to be reached.
    expected.retain(|node| cluster.members.iter().any(|member| member.id() == node.id));
    let id = member.id();
    expected.push(Expected { id, primary, slots: Vec::new() });
    member.meet(&cluster.entry().meeting())?;
    cluster.members.push(member);
    let name_of = |id: HexId| cluster.members.iter().find(|member| member.id() == id).map_or("", Member::name);
    let role = match primary {
        Some(primary) => format!("a replica of {}", name_of(primary)),
        None => "a primary without slots".to_owned(),
    };
    let replicas: Vec<(HexId, HexId)> = primary.into_iter().map(|primary| (id, primary)).collect();
    output.begin(&format!("Waiting until all nodes know {new} as {role}"));
    bring_together(&mut cluster.members, &expected, &replicas, false, settings.wait, output)?;
    output.line(&format!("[OK] {new} is part of the cluster: {role} ({id})."));
    Ok(())
}

fn primary_with_id(cluster: &Cluster, text: &str) -> Result<HexId, Failure> {
    let id = cluster.find_id(text)?;
    match cluster.members.iter().find(|member| member.id() == id) {
        Some(member) if member.is_primary() => Ok(id),
        Some(member) => Err(Failure::line(format!("{} is itself a replica; name its primary", member.name()))),
        None => Err(Failure::line(format!("the primary {id} does not answer; start it, or name another"))),
    }
}

/// A new primary gets the cluster's functions; a replica has them from its primary.
fn copy_functions(from: &mut Member, to: &mut Member) -> Result<(), Failure> {
    let Ok(Reply::Bulk(functions)) = from.client.raw(&[b"FUNCTION", b"DUMP"]) else {
        // A server without functions has none to give.
        return Ok(());
    };
    // Without libraries the dump is a version and a checksum; a node that knows no functions would refuse it.
    const EMPTY_DUMP_BYTES: usize = 10;
    if functions.len() <= EMPTY_DUMP_BYTES {
        return Ok(());
    }
    match to.client.raw(&[b"FUNCTION", b"RESTORE", &functions])? {
        Reply::Error(_) => Err(Failure::line(format!(
            "{} does not take the cluster's functions; send it FUNCTION FLUSH if it has others",
            to.name()
        ))),
        _ => Ok(()),
    }
}

/// Takes the node with this id out of the cluster: its replicas go to other primaries, all others forget it, and it is reset.
///
/// # Errors
/// No node has the id, it serves slots, or a node refuses.
pub fn delete(entry: &HostPort, id: &str, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    let id = cluster.find_id(id)?;
    let missing = cluster.missing.iter().find(|missing| missing.node.id == id);
    let name = match (missing, cluster.members.iter().find(|member| member.id() == id)) {
        (Some(missing), _) => missing.name(),
        (None, Some(member)) => member.name().to_owned(),
        (None, None) => id.to_string(),
    };
    let is_missing = missing.is_some();
    let views = cluster.members.iter().filter_map(|member| member.view.get(id));
    let slots = views.map(|node| node.slots_count()).max().unwrap_or(0);
    if slots > 0 {
        return Err(Failure::line(format!("{name} serves {slots} slots; move them to other nodes first")));
    }
    move_replicas(&mut cluster, id, output)?;
    for member in cluster.members.iter_mut().filter(|member| member.id() != id) {
        match member.client.ask(&["CLUSTER", "FORGET", id.as_str()]) {
            // A run of this that was interrupted has been here.
            Err(trouble) if trouble.reply().is_some_and(|reply| reply.starts_with("ERR Unknown node")) => {}
            other => drop(other?),
        }
    }
    match cluster.members.iter_mut().find(|member| member.id() == id) {
        Some(member) => drop(member.client.ask(&["CLUSTER", "RESET", "SOFT"])?),
        None => output.warning(&format!("{name} does not answer: before it starts again, remove its nodes.conf")),
    }
    let others_missing = cluster.missing.len() - usize::from(is_missing);
    if others_missing > 0 {
        output.warning("nodes that were left out still know it and will bring it back: repeat this when they answer");
    }
    output.line(&format!("[OK] {name} ({id}) is no longer part of the cluster."));
    Ok(())
}

/// Gives the replicas of `id` to the primaries that have the fewest.
fn move_replicas(cluster: &mut Cluster, id: HexId, output: &mut Output) -> Result<(), Failure> {
    while let Some(number) = cluster.members.iter().position(|member| member.myself().primary == Some(id)) {
        let (primary, name) = {
            let primary = cluster.primary_with_fewest_replicas(Some(id))?;
            (primary.id(), primary.name().to_owned())
        };
        let replica = &mut cluster.members[number];
        replica.client.ask(&["CLUSTER", "REPLICATE", primary.as_str()])?;
        replica.refresh()?;
        if replica.myself().primary == Some(id) {
            return Err(Failure::line(format!("{} stays with {id}; look at its log", replica.name())));
        }
        output.line(&format!("{} now replicates {name}.", replica.name()));
    }
    Ok(())
}
