//! CLUSTER's descriptions of the topology: NODES, SLOTS, SHARDS, LINKS, INFO.
//!
//! This node's own address is empty until it is announced or learned from a peer; clients then keep the one they came by.

use hashbrown::HashMap;

use super::super::context::Context;
use super::super::error::CommandError;
use super::super::node::LinkBuffers;
use super::super::spec::CommandResult;
use super::membership;
use crate::cluster::describe;
use crate::cluster::machine::{Link, LinkId};
use crate::cluster::replies::{Replies, Shown};
use crate::resp::{Args, Reply};

/// Has a reply written that describes the topology.
fn describe_topology<T>(
    cx: &mut Context<'_>,
    write: impl FnOnce(&mut Replies, &Shown<'_>, &mut Reply<'_>) -> T,
) -> Result<T, CommandError> {
    let node = cx.core.node();
    let own_offset = node.replication.log.end();
    let (replies, shown) = node.cluster()?.replies(own_offset);
    Ok(write(replies, &shown, &mut cx.reply))
}

/// CLUSTER NODES.
pub fn nodes(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    describe_topology(cx, |replies, shown, reply| reply.verbatim("txt", replies.nodes(shown).as_bytes()))
}

/// CLUSTER SLOTS.
pub fn slots(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    describe_topology(cx, Replies::slots)
}

/// CLUSTER SHARDS.
pub fn shards(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    describe_topology(cx, Replies::shards)
}

/// CLUSTER INFO.
pub fn info(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let membership = membership(cx)?;
    let text = describe::info_text(membership.state(), membership.machine().stats());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// CLUSTER LINKS: of each node, the connection to it and the one from it.
pub fn links(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let node = cx.core.node();
    let machine = node.cluster.as_deref().ok_or(CommandError::ClusterDisabled)?.machine();
    let known: HashMap<LinkId, &Link> = machine.links().collect();
    let nodes = machine.state().nodes().iter();
    let ids = nodes.flat_map(|node| [node.contact.link, node.contact.inbound].map(|id| id.map(|id| (node.id, id))));
    let shown: Vec<_> = ids.flatten().filter_map(|(node, id)| Some((node, id, *known.get(&id)?))).collect();
    cx.reply.array(shown.len());
    for (peer, id, link) in shown {
        let LinkBuffers { queued_bytes, allocated_bytes, .. } = node.links.get(&id).copied().unwrap_or_default();
        let reply = &mut cx.reply;
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(if link.is_inbound { b"from" } else { b"to" });
        reply.bulk(b"node");
        reply.bulk(peer.as_bytes());
        reply.bulk(b"create-time");
        reply.integer(link.created.get());
        reply.bulk(b"events");
        reply.bulk(match (link.is_up, queued_bytes > 0) {
            (false, _) => b"",
            (true, false) => b"r",
            (true, true) => b"rw",
        });
        for (name, bytes) in [("send-buffer-allocated", allocated_bytes), ("send-buffer-used", queued_bytes)] {
            reply.bulk(name.as_bytes());
            reply.integer(bytes as i64);
        }
    }
    Ok(())
}
