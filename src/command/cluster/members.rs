//! CLUSTER's commands about nodes: who is a member, who copies whom, who takes over.

use super::super::arguments::is_word;
use super::super::context::Context;
use super::super::error::CommandError;
use super::super::spec::{Arity, CommandResult, CommandSpec, Part, Run};
use super::{ADMIN, ROW, membership, order, slots, unknown_or_wrong};
use crate::base::hex::HexId;
use crate::base::number::parse_i64;
use crate::cluster::describe;
use crate::cluster::machine::{FailoverKind, FailoverRefusal, ForgetRefusal, MeetRefusal, ReplicateRefusal};
use crate::cluster::node::NodeIndex;
use crate::cluster::settings::BUS_PORT_OFFSET;
use crate::command::spec::Flags;
use crate::resp::Args;

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cluster|count-failure-reports",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.and(Flags::STALE),
        summary: "Counts the nodes that have lately said that a node does not answer.",
        complexity: "O(N) where N is the number of failure reports",
        syntax: "node-id",
        run: Run::OnFirstCore(count_failure_reports),
        ..ROW
    },
    CommandSpec {
        name: "cluster|failover",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        summary: "Lets this replica take over from its primary.",
        syntax: "[FORCE | TAKEOVER]",
        run: Run::OnFirstCore(fail_over),
        ..ROW
    },
    CommandSpec {
        name: "cluster|forget",
        arity: Arity::Exactly(3),
        flags: ADMIN,
        summary: "Removes a node from those that this one knows.",
        syntax: "node-id",
        run: Run::OnFirstCore(forget),
        ..ROW
    },
    CommandSpec {
        name: "cluster|meet",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        summary: "Makes this node and another know each other.",
        syntax: "ip port [cluster-bus-port]",
        run: Run::OnFirstCore(meet),
        ..ROW
    },
    CommandSpec {
        name: "cluster|replicas",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.and(Flags::STALE),
        since: "5.0.0",
        summary: "Describes the replicas of a primary, a line each.",
        complexity: "O(N) where N is the number of replicas.",
        syntax: "node-id",
        run: Run::OnFirstCore(replicas),
        ..ROW
    },
    CommandSpec {
        name: "cluster|replicate",
        arity: Arity::Exactly(3),
        flags: ADMIN,
        summary: "Makes this node the replica of a primary.",
        syntax: "node-id",
        run: Run::OnFirstCoreAfterAll { prepare: super::no_preparations, part: slots::count_keys, merge: replicate },
        ..ROW
    },
    CommandSpec {
        name: "cluster|slaves",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.and(Flags::STALE),
        summary: "Describes the replicas of a primary, a line each.",
        complexity: "O(N) where N is the number of replicas.",
        syntax: "node-id",
        run: Run::OnFirstCore(replicas),
        ..ROW
    },
];

fn refused(text: &'static str) -> CommandError {
    CommandError::text_static(text)
}

fn unknown_node(id: &[u8]) -> CommandError {
    CommandError::quoting("ERR Unknown node ", id, "")
}

/// The id that an argument is. What is none is nobody's, and refused in the same words and at the same place as an id that nobody has.
pub fn id_of(argument: &[u8]) -> HexId {
    HexId::parse(argument).unwrap_or(HexId::ZEROS)
}

fn find(cx: &mut Context<'_>, id: &[u8]) -> Result<NodeIndex, CommandError> {
    let state = membership(cx)?.state();
    HexId::parse(id).and_then(|id| state.find(&id)).ok_or_else(|| unknown_node(id))
}

/// CLUSTER MEET ip port [cluster-bus-port].
fn meet(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    membership(cx)?;
    if args.len() > 5 {
        return Err(unknown_or_wrong(args));
    }
    let (ip, port) = (&args[2], &args[3]);
    let base_port =
        parse_i64(port).ok_or_else(|| CommandError::quoting("ERR Invalid base port specified: ", port, ""))?;
    let bus_port = match args.get(4) {
        Some(port) => {
            parse_i64(port).ok_or_else(|| CommandError::quoting("ERR Invalid bus port specified: ", port, ""))?
        }
        None => base_port.saturating_add(i64::from(BUS_PORT_OFFSET)),
    };
    let text = String::from_utf8_lossy(ip);
    order(cx, |machine, now| machine.meet(now, &text, base_port, bus_port))?.map_err(|refusal| match refusal {
        MeetRefusal::Address => {
            let after = [b":".as_slice(), port].concat();
            CommandError::quoting("ERR Invalid node address specified: ", &[ip, after.as_slice()].concat(), "")
        }
        MeetRefusal::Full => refused("ERR This node knows as many nodes as it can"),
    })?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER FORGET node-id.
fn forget(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    membership(cx)?;
    let id = id_of(&args[2]);
    order(cx, |machine, now| machine.forget(now, &id))?.map_err(|refusal| match refusal {
        ForgetRefusal::Unknown => unknown_node(&args[2]),
        ForgetRefusal::Myself => refused("ERR I tried hard but I can't forget myself..."),
        ForgetRefusal::MyPrimary => refused("ERR Can't forget my master!"),
    })?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER REPLICATE node-id.
fn replicate(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    membership(cx)?;
    let (id, has_keys) = (id_of(&args[2]), slots::total(parts) != 0);
    order(cx, |machine, now| machine.replicate(now, &id, has_keys))?.map_err(|refusal| match refusal {
        ReplicateRefusal::Unknown => unknown_node(&args[2]),
        ReplicateRefusal::Myself => refused("ERR Can't replicate myself"),
        ReplicateRefusal::Replica => refused("ERR I can only replicate a master, not a replica."),
        ReplicateRefusal::NotEmpty => refused("ERR To set a master the node must be empty and without assigned slots."),
    })?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER REPLICAS node-id, and SLAVES: the lines that CLUSTER NODES has of them.
fn replicas(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let index = find(cx, &args[2])?;
    let state = cx.core.node().cluster()?.state();
    if state.node(index).is_replica() {
        return Err(refused("ERR The specified node is not a master"));
    }
    let lines: Vec<String> =
        state.replicas_of(index).map(|replica| describe::node_line(state, state.node(replica))).collect();
    cx.reply.array(lines.len());
    lines.iter().for_each(|line| cx.reply.bulk(line.as_bytes()));
    Ok(())
}

/// CLUSTER FAILOVER [FORCE | TAKEOVER].
fn fail_over(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    membership(cx)?;
    let kind = match args.get(2) {
        Some(_) if args.len() > 3 => return Err(unknown_or_wrong(args)),
        None => FailoverKind::Ordered,
        Some(word) if is_word(word, "FORCE") => FailoverKind::Force,
        Some(word) if is_word(word, "TAKEOVER") => FailoverKind::Takeover,
        Some(_) => return Err(CommandError::Syntax),
    };
    order(cx, |machine, now| machine.fail_over(now, kind))?.map_err(|refusal| {
        refused(match refusal {
            FailoverRefusal::Primary => "ERR You should send CLUSTER FAILOVER to a replica",
            FailoverRefusal::PrimaryUnknown => "ERR I'm a replica but my master is unknown to me",
            FailoverRefusal::PrimaryDown => "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE",
        })
    })?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER COUNT-FAILURE-REPORTS node-id.
fn count_failure_reports(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let index = find(cx, &args[2])?;
    let clock = cx.core.clock;
    let (count, step) = membership(cx)?.step(&clock, |machine, now| machine.reports_count(now, index));
    cx.core.take_step(step);
    cx.reply.integer(count as i64);
    Ok(())
}
