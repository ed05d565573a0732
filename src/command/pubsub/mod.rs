//! Publish and subscribe: channels, patterns, shard channels.
//!
//! Subscribing runs on every core, because every core keeps the whole table (`subscriptions`); publishing runs wherever its
//! sender is. Messages leave as `Effect::Deliver`.

mod subscriptions;

pub use subscriptions::{Delivery, Kind, Subscriptions, encoded_invalidation};

use bytes::Bytes;

use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::routing;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::base::glob;
use crate::resp::{Args, Reply, ReplyBuffer, write_request};

/// Delivers a message to whoever has subscribed; how many receivers there are.
pub fn publish(core: &mut Core, channel: &[u8], payload: &[u8]) -> usize {
    if !core.subscriptions.is_anyone_listening() {
        return 0;
    }
    let deliveries = core.subscriptions.deliveries(channel, payload);
    let receivers = deliveries.iter().map(|(to, _)| to.len()).sum();
    core.effects.extend(deliveries.into_iter().map(|(to, delivery)| Effect::Deliver { to, delivery }));
    receivers
}

/// Delivers a message to whoever has subscribed to a shard channel; how many receivers there are.
pub fn publish_in_shard(core: &mut Core, channel: &[u8], payload: &[u8]) -> usize {
    let delivery = core.subscriptions.shard_delivery(channel, payload);
    let receivers = delivery.as_ref().map_or(0, |(to, _)| to.len());
    core.effects.extend(delivery.map(|(to, delivery)| Effect::Deliver { to, delivery }));
    receivers
}

/// Messages change no data and have no place in a file, but replicas are sent all of them. In a cluster they go over the bus, once:
/// what a primary's stream or a file has of them was told by whoever wrote it.
fn tell_others(cx: &mut Context<'_>, args: &Args<'_>, is_sharded: bool) {
    if cx.core.cluster.enabled {
        if !cx.core.obeys() {
            let (channel, message) = (Bytes::copy_from_slice(&args[1]), Bytes::copy_from_slice(&args[2]));
            cx.core.effects.push(Effect::Broadcast { channel, message, is_sharded });
        }
    } else if cx.core.replication.feeds {
        let mut bytes = Vec::new();
        write_request(&mut bytes, args.iter());
        cx.core.effects.push(Effect::ForReplicas(bytes));
    }
}

/// PUBLISH channel message: the number of receivers.
fn publish_command(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    tell_others(cx, args, false);
    let receivers = publish(cx.core, &args[1], &args[2]);
    cx.reply.integer(receivers as i64);
    Ok(())
}

/// SPUBLISH shardchannel message.
fn spublish(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    tell_others(cx, args, true);
    let receivers = publish_in_shard(cx.core, &args[1], &args[2]);
    cx.reply.integer(receivers as i64);
    Ok(())
}

/// One line of the answer to a (un)subscription: the name, if there was one, and how many are left.
type Confirmation = (Option<Vec<u8>>, usize);

fn subscribe(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<Part, CommandError> {
    let client = cx.caller.client;
    let confirmations = args.iter().skip(1).map(|name| {
        cx.core.subscriptions.add(kind, name, client);
        (Some(name.to_vec()), left(&cx.core.subscriptions, kind, client.id))
    });
    let confirmations: Vec<Confirmation> = confirmations.collect();
    note_subscriptions(cx);
    Ok(Part::new(confirmations))
}

/// Without names: from all of that kind.
fn unsubscribe(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<Part, CommandError> {
    let client = cx.caller.client;
    let mut names: Vec<Vec<u8>> = args.iter().skip(1).map(<[u8]>::to_vec).collect();
    if names.is_empty() {
        names = cx.core.subscriptions.names_of(kind, client.id).into_iter().map(Vec::from).collect();
    }
    let mut confirmations: Vec<Confirmation> = Vec::with_capacity(names.len());
    for name in names {
        cx.core.subscriptions.remove(kind, &name, client.id);
        confirmations.push((Some(name), left(&cx.core.subscriptions, kind, client.id)));
    }
    if confirmations.is_empty() {
        confirmations.push((None, left(&cx.core.subscriptions, kind, client.id)));
    }
    note_subscriptions(cx);
    Ok(Part::new(confirmations))
}

/// Ends subscriptions to shard channels of slots whose messages do not come here any more. Every core does so; each tells its own
/// clients.
pub fn leave_slots(core: &mut Core) {
    let names = core.subscriptions.names(Kind::Shard);
    let left: Vec<bytes::Bytes> = names.filter(|name| !routing::hears_channel(core, name)).cloned().collect();
    for name in left {
        for to in core.subscriptions.remove_name(Kind::Shard, &name) {
            let counts = core.subscriptions.counts_of(to.id);
            let Some(client) = core.own_client(to) else { continue };
            client.subscriptions = counts;
            let mut buffer = ReplyBuffer::new();
            let mut reply = Reply::new(&mut buffer, client.resp);
            write_confirmation(&mut reply, "sunsubscribe", Some(&name), counts[Kind::Shard as usize]);
            core.effects.push(Effect::Push { to, bytes: buffer.to_vec().into() });
        }
    }
}

/// Channels and patterns are counted together, shard channels by themselves.
fn left(subscriptions: &Subscriptions, kind: Kind, client_id: u64) -> usize {
    let [channels, patterns, shards] = subscriptions.counts_of(client_id);
    if kind == Kind::Shard { shards } else { channels + patterns }
}

/// The client's core remembers that it listens.
fn note_subscriptions(cx: &mut Context<'_>) {
    let client = cx.caller.client;
    let counts = cx.core.subscriptions.counts_of(client.id);
    if let Some(client) = cx.core.own_client(client) {
        client.subscriptions = counts;
        client.has_footprint = true;
    }
}

/// Every core has the same table: the client's own tells the answer.
fn confirm(cx: &mut Context<'_>, parts: Vec<Part>, word: &str) -> CommandResult {
    let own = cx.core.id.index();
    let confirmations: Vec<Confirmation> = parts.into_iter().nth(own).map(Part::take).unwrap_or_default();
    for (name, count) in confirmations {
        write_confirmation(&mut cx.reply, word, name.as_deref(), count);
    }
    Ok(())
}

/// `[subscribe, name, subscriptions]`, as a push in version 3.
pub fn write_confirmation(reply: &mut Reply<'_>, word: &str, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

/// PUBSUB CHANNELS [pattern] and SHARDCHANNELS.
fn channels(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> CommandResult {
    let fitting = |name: &&bytes::Bytes| args.get(2).is_none_or(|pattern| glob::matches(pattern, name, false));
    let array = cx.reply.begin_array();
    let mut count = 0;
    for name in cx.core.subscriptions.names(kind).filter(fitting) {
        cx.reply.bulk(name);
        count += 1;
    }
    cx.reply.finish(array, count);
    Ok(())
}

/// PUBSUB NUMSUB [channel ...] and SHARDNUMSUB.
fn subscribers(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> CommandResult {
    cx.reply.array(2 * (args.len() - 2));
    for name in args.iter().skip(2) {
        cx.reply.bulk(name);
        cx.reply.integer(cx.core.subscriptions.subscribers_count(kind, name) as i64);
    }
    Ok(())
}

/// PUBSUB NUMPAT: patterns that somebody has subscribed to.
fn patterns_count(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.integer(cx.core.subscriptions.names(Kind::Pattern).len() as i64);
    Ok(())
}

/// PUBSUB HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Channels with subscribers, of those that fit the pattern (default: all).",
            "NUMPAT",
            "    Number of patterns that are subscribed to.",
            "NUMSUB [<channel> ...]",
            "    Number of subscribers of each channel, without those of patterns.",
            "SHARDCHANNELS [<pattern>]",
            "    Shard channels with subscribers, of those that fit the pattern (default: all).",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Number of subscribers of each shard channel.",
        ],
    );
    Ok(())
}

const LISTENING: CommandSpec = CommandSpec {
    name: "",
    arity: Arity::AtLeast(2),
    flags: Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    keys: Keys::None,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "",
    complexity: "O(N) in the number of names",
    syntax: "channel [channel ...]",
    run: Run::Container,
};

const TELLING: CommandSpec = CommandSpec {
    arity: Arity::Exactly(3),
    flags: Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::MAY_REPLICATE),
    complexity: "O(N + M) in the number of subscribers and of patterns",
    syntax: "channel message",
    ..LISTENING
};

const ASKING: CommandSpec =
    CommandSpec { flags: Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE), since: "2.8.0", ..LISTENING };

/// A shard channel has a slot, as a key has.
const SHARD_CHANNELS: Keys = Keys::Range { first: 1, last: -1, step: 1, access: Access::NOT_KEY };

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "subscribe",
        summary: "Listens to channels.",
        run: Run::OnEveryCore {
            part: |cx, args| subscribe(cx, args, Kind::Channel),
            merge: |cx, _, parts| confirm(cx, parts, "subscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "unsubscribe",
        arity: Arity::AtLeast(1),
        summary: "Stops listening to channels.",
        syntax: "[channel [channel ...]]",
        run: Run::OnEveryCore {
            part: |cx, args| unsubscribe(cx, args, Kind::Channel),
            merge: |cx, _, parts| confirm(cx, parts, "unsubscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "psubscribe",
        summary: "Listens to all channels that fit a pattern.",
        syntax: "pattern [pattern ...]",
        run: Run::OnEveryCore {
            part: |cx, args| subscribe(cx, args, Kind::Pattern),
            merge: |cx, _, parts| confirm(cx, parts, "psubscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "punsubscribe",
        arity: Arity::AtLeast(1),
        summary: "Stops listening to patterns.",
        syntax: "[pattern [pattern ...]]",
        run: Run::OnEveryCore {
            part: |cx, args| unsubscribe(cx, args, Kind::Pattern),
            merge: |cx, _, parts| confirm(cx, parts, "punsubscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "ssubscribe",
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        summary: "Listens to shard channels.",
        syntax: "shardchannel [shardchannel ...]",
        run: Run::OnEveryCore {
            part: |cx, args| subscribe(cx, args, Kind::Shard),
            merge: |cx, _, parts| confirm(cx, parts, "ssubscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "sunsubscribe",
        arity: Arity::AtLeast(1),
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        summary: "Stops listening to shard channels.",
        syntax: "[shardchannel [shardchannel ...]]",
        run: Run::OnEveryCore {
            part: |cx, args| unsubscribe(cx, args, Kind::Shard),
            merge: |cx, _, parts| confirm(cx, parts, "sunsubscribe"),
        },
        ..LISTENING
    },
    CommandSpec {
        name: "publish",
        summary: "Sends a message to the listeners of a channel.",
        run: Run::OnConnection(publish_command),
        ..TELLING
    },
    CommandSpec {
        name: "spublish",
        keys: Keys::At(1, Access::NOT_KEY),
        since: "7.0.0",
        summary: "Sends a message to the listeners of a shard channel.",
        complexity: "O(N) in the number of subscribers",
        syntax: "shardchannel message",
        run: Run::OnConnection(spublish),
        ..TELLING
    },
    CommandSpec {
        name: "pubsub",
        flags: Flags::NONE,
        since: "2.8.0",
        summary: "Tells who listens.",
        complexity: "Depends on the sub-command.",
        syntax: "",
        ..LISTENING
    },
    CommandSpec {
        name: "pubsub|channels",
        summary: "Lists the channels with subscribers.",
        complexity: "O(N) in the number of channels",
        syntax: "[pattern]",
        run: Run::OnConnection(|cx, args| channels(cx, args, Kind::Channel)),
        ..ASKING
    },
    CommandSpec {
        name: "pubsub|help",
        flags: Flags::LOADING.and(Flags::STALE),
        arity: Arity::Exactly(2),
        since: "6.2.0",
        summary: "Lists the sub-commands.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(help),
        ..ASKING
    },
    CommandSpec {
        name: "pubsub|numpat",
        arity: Arity::Exactly(2),
        summary: "Counts the patterns with subscribers.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(patterns_count),
        ..ASKING
    },
    CommandSpec {
        name: "pubsub|numsub",
        summary: "Counts the subscribers of channels.",
        complexity: "O(N) in the number of channels",
        syntax: "[channel [channel ...]]",
        run: Run::OnConnection(|cx, args| subscribers(cx, args, Kind::Channel)),
        ..ASKING
    },
    CommandSpec {
        name: "pubsub|shardchannels",
        since: "7.0.0",
        summary: "Lists the shard channels with subscribers.",
        complexity: "O(N) in the number of shard channels",
        syntax: "[pattern]",
        run: Run::OnConnection(|cx, args| channels(cx, args, Kind::Shard)),
        ..ASKING
    },
    CommandSpec {
        name: "pubsub|shardnumsub",
        since: "7.0.0",
        summary: "Counts the subscribers of shard channels.",
        complexity: "O(N) in the number of shard channels",
        syntax: "[shardchannel [shardchannel ...]]",
        run: Run::OnConnection(|cx, args| subscribers(cx, args, Kind::Shard)),
        ..ASKING
    },
];
