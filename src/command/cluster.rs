//! CLUSTER and the commands around it.
//!
//! What there is to know of the cluster is core 0's: most handlers run there, change the `Membership` and publish the
//! new view before their reply leaves. Keys of a slot are counted on the core that owns it.

pub mod clients;
pub mod members;
pub mod migration;
mod slot_stats;
mod slots;
mod topology;

pub use slots::{set_slot_of, set_slot_words};

use super::context::Context;
use super::core::Core;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::hex::HexId;
use crate::base::number::parse_i64;
use crate::base::slot::key_slot;
use crate::cluster::machine::{Machine, Now};
use crate::cluster::membership::Membership;
use crate::cluster::node::Epoch;
use crate::cluster::state::{EpochRefusal, Reset};
use crate::resp::Args;

/// What the rows of this family have in common.
const ROW: CommandSpec = CommandSpec {
    name: "",
    arity: Arity::Exactly(2),
    flags: Flags::STALE,
    keys: Keys::None,
    group: Group::Cluster,
    since: "3.0.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    run: Run::Container,
};
const ADMIN: Flags = Flags::NO_ASYNC_LOADING.and(Flags::ADMIN).and(Flags::STALE);
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cluster",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        summary: "Holds the commands about the cluster.",
        complexity: "Depends on subcommand.",
        ..ROW
    },
    CommandSpec {
        name: "cluster|addslots",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        summary: "Assigns hash slots to this node.",
        complexity: "O(N) where N is the number of slots",
        syntax: "slot [slot ...]",
        run: Run::OnFirstCore(slots::add_slots),
        ..ROW
    },
    CommandSpec {
        name: "cluster|addslotsrange",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        since: "7.0.0",
        summary: "Assigns ranges of hash slots to this node.",
        complexity: "O(N) where N is the number of slots in the ranges",
        syntax: "start-slot end-slot [start-slot end-slot ...]",
        run: Run::OnFirstCore(slots::add_slots_range),
        ..ROW
    },
    CommandSpec {
        name: "cluster|bumpepoch",
        flags: ADMIN,
        summary: "Gives this node a new configuration epoch unless it has the largest.",
        run: Run::OnFirstCore(bump_epoch),
        ..ROW
    },
    CommandSpec {
        name: "cluster|countkeysinslot",
        arity: Arity::Exactly(3),
        keys: Keys::SlotNumber(2),
        summary: "Counts the keys of a hash slot.",
        syntax: "slot",
        run: Run::OnOwner(slots::count_keys_in_slot),
        ..ROW
    },
    CommandSpec {
        name: "cluster|delslots",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        summary: "Makes hash slots nobody's, from this node's view.",
        complexity: "O(N) where N is the number of slots",
        syntax: "slot [slot ...]",
        run: Run::OnFirstCore(slots::del_slots),
        ..ROW
    },
    CommandSpec {
        name: "cluster|delslotsrange",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        since: "7.0.0",
        summary: "Makes ranges of hash slots nobody's, from this node's view.",
        complexity: "O(N) where N is the number of slots in the ranges",
        syntax: "start-slot end-slot [start-slot end-slot ...]",
        run: Run::OnFirstCore(slots::del_slots_range),
        ..ROW
    },
    CommandSpec {
        name: "cluster|flushslots",
        flags: ADMIN,
        summary: "Gives up all hash slots of this node, which must be empty.",
        run: Run::OnFirstCoreAfterAll { prepare: no_preparations, part: slots::count_keys, merge: slots::flush_slots },
        ..ROW
    },
    CommandSpec {
        name: "cluster|getkeysinslot",
        arity: Arity::Exactly(4),
        keys: Keys::SlotNumber(2),
        summary: "Lists keys of a hash slot.",
        complexity: "O(N) where N is the number of keys asked for",
        syntax: "slot count",
        run: Run::OnOwner(slots::get_keys_in_slot),
        ..ROW
    },
    CommandSpec {
        name: "cluster|help",
        flags: ANY_TIME,
        since: "5.0.0",
        summary: "Lists the sub-commands.",
        run: Run::OnConnection(help),
        ..ROW
    },
    CommandSpec {
        name: "cluster|info",
        summary: "Shows the state of the cluster as this node sees it.",
        run: Run::OnFirstCore(topology::info),
        ..ROW
    },
    CommandSpec {
        name: "cluster|keyslot",
        arity: Arity::Exactly(3),
        summary: "Computes the hash slot of a key.",
        complexity: "O(N) where N is the length of the key",
        syntax: "key",
        run: Run::OnConnection(key_slot_of),
        ..ROW
    },
    CommandSpec {
        name: "cluster|links",
        since: "7.0.0",
        summary: "Lists the connections to other nodes' buses.",
        complexity: "O(N) where N is the number of nodes",
        run: Run::OnFirstCore(topology::links),
        ..ROW
    },
    CommandSpec { name: "cluster|myid", summary: "Returns this node's id.", run: Run::OnFirstCore(my_id), ..ROW },
    CommandSpec {
        name: "cluster|myshardid",
        since: "7.2.0",
        summary: "Returns the id of this node's shard.",
        run: Run::OnFirstCore(my_shard_id),
        ..ROW
    },
    CommandSpec {
        name: "cluster|nodes",
        summary: "Describes all known nodes, a line each.",
        complexity: "O(N) where N is the number of nodes",
        run: Run::OnFirstCore(topology::nodes),
        ..ROW
    },
    CommandSpec {
        name: "cluster|reset",
        arity: Arity::AtLeast(2),
        flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NOSCRIPT),
        summary: "Makes this node forget the cluster.",
        complexity: "O(N) where N is the number of nodes",
        syntax: "[HARD | SOFT]",
        run: Run::OnFirstCoreAfterAll { prepare: no_preparations, part: slots::count_keys, merge: reset },
        ..ROW
    },
    CommandSpec {
        name: "cluster|saveconfig",
        flags: ADMIN,
        summary: "Writes nodes.conf.",
        run: Run::OnFirstCore(save_config),
        ..ROW
    },
    CommandSpec {
        name: "cluster|set-config-epoch",
        arity: Arity::Exactly(3),
        flags: ADMIN,
        summary: "Sets the configuration epoch of a new node.",
        syntax: "config-epoch",
        run: Run::OnFirstCore(set_config_epoch),
        ..ROW
    },
    CommandSpec {
        name: "cluster|setslot",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        summary: "Says whose a hash slot is, or that it is on its way to another node or from one.",
        syntax: "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
        run: Run::OnFirstCoreAfterAll {
            prepare: slots::close_slot,
            part: slots::count_keys_of_slot,
            merge: slots::set_slot,
        },
        ..ROW
    },
    CommandSpec {
        name: "cluster|shards",
        flags: ANY_TIME,
        since: "7.0.0",
        summary: "Describes the shards: their slots and their nodes.",
        complexity: "O(N) where N is the number of nodes",
        run: Run::OnFirstCore(topology::shards),
        ..ROW
    },
    CommandSpec {
        name: "cluster|slot-stats",
        arity: Arity::AtLeast(4),
        flags: ANY_TIME,
        since: "8.0.0",
        summary: "Tells what is in each slot of this shard and what requests to it have cost.",
        complexity: "O(N) where N is the number of slots in the range, O(N*log(N)) with ORDERBY",
        syntax: "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>",
        run: Run::OnEveryCore { part: slot_stats::slot_stats_part, merge: slot_stats::slot_stats },
        ..ROW
    },
    CommandSpec {
        name: "cluster|slots",
        flags: ANY_TIME,
        summary: "Lists ranges of slots and the nodes that serve them.",
        complexity: "O(N) where N is the number of nodes",
        run: Run::OnFirstCore(topology::slots),
        ..ROW
    },
];

/// The cluster as this node knows it. Only on core 0.
fn membership<'c>(cx: &'c mut Context<'_>) -> Result<&'c mut Membership, CommandError> {
    cx.core.node().cluster()
}

/// The cores do their shares at once.
fn no_preparations(_: &mut Core, _: &Args<'_>) {}

/// Refuses in standalone mode; on any core.
fn needs_cluster(cx: &Context<'_>) -> CommandResult {
    if cx.core.cluster.enabled { Ok(()) } else { Err(CommandError::ClusterDisabled) }
}

/// Has an order carried out and saved; what follows from it is done, and the new view published, before the reply leaves.
fn order<T>(cx: &mut Context<'_>, order: impl FnOnce(&mut Machine, Now) -> T) -> Result<T, CommandError> {
    let clock = cx.core.clock;
    let (outcome, step) = membership(cx)?.order(&clock, order).map_err(|error| not_saved(&error))?;
    cx.core.take_step(step);
    Ok(outcome)
}

/// As `order`, for what there are thousands of in a row: it is on the disk soon after.
fn order_soon<T>(cx: &mut Context<'_>, order: impl FnOnce(&mut Machine, Now) -> T) -> Result<T, CommandError> {
    let clock = cx.core.clock;
    let (outcome, step) = membership(cx)?.order_soon(&clock, order).map_err(|error| not_saved(&error))?;
    cx.core.take_step(step);
    Ok(outcome)
}

fn not_saved(error: &std::io::Error) -> CommandError {
    // The system's own words, as everywhere in Redis.
    let reason = error.raw_os_error().map(|number| nix::errno::Errno::from_raw(number).desc().to_owned());
    CommandError::formatted(format!(
        "ERR error saving the cluster node config: {}",
        reason.unwrap_or_else(|| error.to_string())
    ))
}

/// CLUSTER MYID.
fn my_id(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let id = membership(cx)?.state().myself().id;
    cx.reply.bulk(id.as_bytes());
    Ok(())
}

/// CLUSTER MYSHARDID.
fn my_shard_id(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let shard = membership(cx)?.state().myself().shard;
    cx.reply.bulk(shard.as_bytes());
    Ok(())
}

/// CLUSTER KEYSLOT key.
fn key_slot_of(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    cx.reply.integer(i64::from(key_slot(&args[2]).get()));
    Ok(())
}

/// CLUSTER BUMPEPOCH: `BUMPED epoch`, or `STILL epoch` when this node's is the largest already.
fn bump_epoch(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let bumped = order(cx, |machine, _| machine.bump_epoch())?;
    let epoch = membership(cx)?.state().myself().config_epoch;
    cx.reply.simple(&format!("{} {epoch}", if bumped { "BUMPED" } else { "STILL" }));
    Ok(())
}

/// CLUSTER SET-CONFIG-EPOCH config-epoch.
fn set_config_epoch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    membership(cx)?;
    let epoch = parse_i64(&args[2]).ok_or(CommandError::NotAnInteger)?;
    let Ok(epoch) = u64::try_from(epoch) else {
        return Err(CommandError::formatted(format!("ERR Invalid config epoch specified: {epoch}")));
    };
    order(cx, |machine, _| machine.set_config_epoch(Epoch(epoch)))?.map_err(|refusal| match refusal {
        EpochRefusal::NodesKnown => CommandError::text_static(
            "ERR The user can assign a config epoch only when the node does not know any other node.",
        ),
        EpochRefusal::AlreadySet => CommandError::text_static("ERR Node config epoch is already non-zero"),
    })?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER SAVECONFIG.
fn save_config(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    membership(cx)?.save().map_err(|error| not_saved(&error))?;
    cx.reply.ok();
    Ok(())
}

/// CLUSTER RESET [HARD | SOFT]: forgets slots and nodes; HARD takes a new identity.
fn reset(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<super::spec::Part>) -> CommandResult {
    let is_primary = membership(cx)?.state().myself().is_primary();
    let hard = match args.get(2) {
        None => false,
        Some(kind) if args.len() == 3 && kind.eq_ignore_ascii_case(b"hard") => true,
        Some(kind) if args.len() == 3 && kind.eq_ignore_ascii_case(b"soft") => false,
        Some(_) if args.len() == 3 => return Err(CommandError::Syntax),
        Some(_) => return Err(unknown_or_wrong(args)),
    };
    if is_primary && slots::total(parts) != 0 {
        return Err(CommandError::text_static("ERR CLUSTER RESET can't be called with master nodes containing keys"));
    }
    let random = &mut cx.core.random;
    let kind = match hard {
        true => Reset::Hard { id: HexId::random(random), shard: HexId::random(random) },
        false => Reset::Soft,
    };
    order(cx, |machine, now| machine.reset(now, kind))?;
    cx.reply.ok();
    Ok(())
}

/// More arguments than any form of the sub-command has.
fn unknown_or_wrong(args: &Args<'_>) -> CommandError {
    let given = &args[1][..args[1].len().min(128)];
    CommandError::quoting("ERR unknown subcommand or wrong number of arguments for '", given, "'. Try CLUSTER HELP.")
}

/// CLUSTER HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    cx.reply.help(
        "CLUSTER",
        &[
            "ADDSLOTS <slot> [<slot> ...]",
            "    Take slots that no node has.",
            "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
            "    Take all slots of the ranges.",
            "CANCELSLOTMIGRATIONS",
            "    Give up all moves of slots that were begun with MIGRATESLOTS here.",
            "BUMPEPOCH",
            "    Raise this node's config epoch above all others.",
            "COUNT-FAILURE-REPORTS <node-id>",
            "    Count who has lately said that a node does not answer.",
            "COUNTKEYSINSLOT <slot>",
            "    Count the keys in a slot.",
            "DELSLOTS <slot> [<slot> ...]",
            "    Forget who has the slots.",
            "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
            "    Forget who has the slots of the ranges.",
            "FAILOVER [FORCE|TAKEOVER]",
            "    Take over from this node's primary: with its help, without (force), or without anybody's (takeover).",
            "FORGET <node-id>",
            "    Remove a node from the known ones.",
            "GETKEYSINSLOT <slot> <count>",
            "    List up to <count> keys in a slot.",
            "GETSLOTMIGRATIONS",
            "    Describe moves of slots, under way or lately over.",
            "FLUSHSLOTS",
            "    Give up all slots of this node.",
            "INFO",
            "    Show the state of the cluster.",
            "KEYSLOT <key>",
            "    Compute the slot of a key.",
            "MEET <ip> <port> [<bus-port>]",
            "    Get to know another node, and all that it knows.",
            "MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [...] NODE <node-id> [SLOTSRANGE ... NODE <node-id> ...]",
            "    Move slots to other nodes, each with all its keys at one moment.",
            "MYID",
            "    Show the node id.",
            "MYSHARDID",
            "    Show the id of the node's shard.",
            "NODES",
            "    List the known nodes, one line each:",
            "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
            "REPLICATE <node-id>",
            "    Become the replica of a node.",
            "RESET [HARD|SOFT]",
            "    Forget the cluster (default: soft); hard takes a new id too.",
            "SET-CONFIG-EPOCH <epoch>",
            "    Set the config epoch of a new node.",
            "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
            "    Say whose a slot is, or where it is going.",
            "REPLICAS <node-id>",
            "    List the replicas of a node.",
            "SAVECONFIG",
            "    Write the cluster configuration to disk.",
            "SLOT-STATS SLOTSRANGE <start slot> <end slot> | ORDERBY <metric> [LIMIT <limit>] [ASC|DESC]",
            "    Show the keys of each slot and, where they are measured, time and traffic of its requests.",
            "SLOTS",
            "    List ranges of slots, each with the nodes that serve it.",
            "SHARDS",
            "    List shards, each with its slots and nodes.",
            "LINKS",
            "    List the network links to other nodes, each a map of its attributes.",
        ],
    );
    Ok(())
}
