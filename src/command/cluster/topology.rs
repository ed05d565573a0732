//! CLUSTER's descriptions of the topology: NODES, SLOTS, SHARDS, LINKS.
//!
//! This node's own address is empty until it is announced or learned from a peer; clients then keep the one they came by.

use std::collections::BTreeMap;

use super::super::context::Context;
use super::super::spec::CommandResult;
use super::membership;
use crate::base::hex::HexId;
use crate::base::slot::Slot;
use crate::cluster::describe::{self, Form};
use crate::cluster::node::{ClusterNode, NodeIndex};
use crate::cluster::state::ClusterState;
use crate::config::EndpointType;
use crate::resp::{Args, Reply};

/// CLUSTER NODES.
pub fn nodes(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let text = describe::nodes_text(membership(cx)?.state(), Form::Client);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// CLUSTER LINKS: none before there is a bus.
pub fn links(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    membership(cx)?;
    cx.reply.array(0);
    Ok(())
}

/// CLUSTER SLOTS: `[first, last, primary, replica ...]` for each run of slots with one owner.
pub fn slots(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let state = cx.core.node().cluster()?.state();
    let reply = &mut cx.reply;
    let ranges = state.owned_ranges();
    reply.array(ranges.len());
    for (owner, first, last) in ranges {
        let replicas: Vec<&ClusterNode> = replicas_of(state, owner).filter(|replica| is_readable(replica)).collect();
        reply.array(3 + replicas.len());
        reply.integer(i64::from(first.get()));
        reply.integer(i64::from(last.get()));
        address(reply, state, state.node(owner));
        replicas.into_iter().for_each(|replica| address(reply, state, replica));
    }
    Ok(())
}

fn replicas_of(state: &ClusterState, primary: NodeIndex) -> impl Iterator<Item = &ClusterNode> {
    state.nodes().iter().filter(move |node| node.is_replica() && node.primary == Some(primary))
}

/// A replica is shown once it has data: what offset it has reached comes over the bus.
fn is_readable(_replica: &ClusterNode) -> bool {
    false
}

/// `[endpoint, port, id, {what else is known of the address}]`.
fn address(reply: &mut Reply<'_>, state: &ClusterState, node: &ClusterNode) {
    let endpoint_type = state.endpoint_type();
    reply.array(4);
    match endpoint_type {
        EndpointType::UnknownEndpoint => reply.null(),
        _ => reply.bulk(state.preferred_endpoint(node).as_bytes()),
    }
    reply.integer(i64::from(node.address.port));
    reply.bulk(node.id.as_bytes());
    let ip = (endpoint_type != EndpointType::Ip).then_some(("ip", node.address.ip.as_str()));
    let host = endpoint_type != EndpointType::Hostname && !node.hostname.is_empty();
    let host = host.then_some(("hostname", node.hostname.as_str()));
    let more: Vec<(&str, &str)> = ip.into_iter().chain(host).collect();
    reply.map(more.len());
    for (name, value) in more {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// CLUSTER SHARDS: `{slots, nodes}` for each shard.
pub fn shards(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let state = cx.core.node().cluster()?.state();
    let reply = &mut cx.reply;
    let mut shards: BTreeMap<HexId, Vec<NodeIndex>> = BTreeMap::new();
    for (index, node) in (0..).map(NodeIndex).zip(state.nodes()) {
        shards.entry(node.shard).or_default().push(index);
    }
    let ranges = state.owned_ranges();
    reply.array(shards.len());
    for members in shards.values() {
        let primary = members.first().map(|first| state.node(*first).primary.unwrap_or(*first));
        let own = ranges.iter().filter(|(owner, ..)| Some(*owner) == primary);
        let ends: Vec<Slot> = own.flat_map(|(_, first, last)| [*first, *last]).collect();
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(ends.len());
        ends.iter().for_each(|slot| reply.integer(i64::from(slot.get())));
        reply.bulk(b"nodes");
        reply.array(members.len());
        members.iter().for_each(|index| details(reply, state, state.node(*index)));
    }
    Ok(())
}

/// One node of a shard, as a map.
fn details(reply: &mut Reply<'_>, state: &ClusterState, node: &ClusterNode) {
    // Nothing is replicated yet, so everybody's offset is where it began.
    let offset = 0;
    let health = match (node.has_failed(), node.is_replica()) {
        (true, _) => "fail",
        (false, true) => "loading",
        (false, false) => "online",
    };
    let map = reply.begin_map();
    let mut pairs = 0;
    let mut text = |reply: &mut Reply<'_>, name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
        pairs += 1;
    };
    text(reply, "id", node.id.as_str());
    let mut ports = 0;
    for (name, port) in [("port", node.address.port), ("tls-port", node.address.tls_port)] {
        if port != 0 {
            reply.bulk(name.as_bytes());
            reply.integer(i64::from(port));
            ports += 1;
        }
    }
    text(reply, "ip", &node.address.ip);
    text(reply, "endpoint", state.preferred_endpoint(node));
    if !node.hostname.is_empty() {
        text(reply, "hostname", &node.hostname);
    }
    text(reply, "role", if node.is_replica() { "replica" } else { "master" });
    reply.bulk(b"replication-offset");
    reply.integer(offset);
    text(reply, "health", health);
    reply.finish(map, pairs + ports + 1);
}
