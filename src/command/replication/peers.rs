//! What replicas say: REPLCONF, PSYNC and SYNC. And WAIT, which asks what they have.

use super::replicas::Having;
use crate::base::hex::HexId;
use crate::base::number::parse_i64;
use crate::command::arguments::{integer, is_word};
use crate::command::blocking::{self, Nothing, Timeout};
use crate::command::client::ClientRef;
use crate::command::context::Context;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::persistence::append_only::waits;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::resp::Args;

/// Longest address that REPLCONF ip-address takes (NI_MAXHOST).
const ADDRESS_BYTES_MAX: usize = 1025;

/// What a client asks for that wants to be a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncRequest {
    /// SYNC: a snapshot, without a word before it.
    Sync,
    /// PSYNC: go on behind `place` of the history `id`, or a snapshot.
    Psync {
        id: Option<HexId>,
        /// As it was written, for the log.
        id_text: Vec<u8>,
        place: Option<u64>,
        /// The replica is to take over: FAILOVER of its primary.
        takes_over: bool,
    },
}

/// Somebody asks (WAIT, WAITAOF) how many replicas have what its client has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaQuestion {
    pub client: ClientRef,
    pub having: Having,
    pub wanted: usize,
    /// The client has never written: whatever replicas have will do.
    pub of_nothing: bool,
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "psync",
        arity: Arity::AtLeast(3),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI),
        keys: Keys::None,
        group: Group::Server,
        since: "2.8.0",
        summary: "Makes the client a replica that goes on behind a place of a history.",
        complexity: "",
        syntax: "replicationid offset",
        run: Run::OnConnection(psync),
    },
    CommandSpec {
        name: "sync",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Makes the client a replica that begins with a snapshot.",
        complexity: "",
        syntax: "",
        run: Run::OnConnection(sync),
    },
    CommandSpec {
        name: "replconf",
        arity: Arity::AtLeast(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::ALLOW_BUSY),
        keys: Keys::None,
        group: Group::Server,
        since: "3.0.0",
        summary: "What a replica says of itself and of what it has.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(replconf),
    },
    CommandSpec {
        name: "wait",
        arity: Arity::Exactly(3),
        flags: Flags::BLOCKING.and(Flags::CONNECTION),
        keys: Keys::None,
        group: Group::Generic,
        since: "3.0.0",
        summary: "Waits until this many replicas have what the connection has written.",
        complexity: "O(1)",
        syntax: "numreplicas timeout",
        run: Run::OnConnection(wait),
    },
];

/// PSYNC replicationid offset [FAILOVER]. The runtime answers.
fn psync(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let offset = integer(&args[2])?;
    // The first byte that it misses, counted from 1.
    let place = offset.checked_sub(1).and_then(|place| u64::try_from(place).ok());
    let takes_over = args.get(3).is_some_and(|word| is_word(word, "FAILOVER"));
    let id_text = args[1].to_vec();
    let id = HexId::parse(&id_text.to_ascii_lowercase());
    ask(cx, SyncRequest::Psync { id, id_text, place, takes_over })
}

/// SYNC.
fn sync(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    ask(cx, SyncRequest::Sync)
}

fn ask(cx: &mut Context<'_>, request: SyncRequest) -> CommandResult {
    let client = cx.client();
    if !client.is_replica && !client.monitor {
        cx.core.effects.push(Effect::Sync { client: cx.caller.client, request });
    }
    Ok(())
}

/// REPLCONF option value [option value ...].
fn replconf(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let mut facts = cx.client().replica_facts.take().unwrap_or_default();
    let mut at = 1;
    let outcome = loop {
        let (Some(option), Some(value)) = (args.get(at), args.get(at + 1)) else { break Ok(true) };
        match option.to_ascii_lowercase().as_slice() {
            b"listening-port" => match parse_i64(value).map(u16::try_from) {
                Some(Ok(port)) => facts.port = port,
                _ => break Err(CommandError::NotAnInteger),
            },
            b"ip-address" if value.len() < ADDRESS_BYTES_MAX => facts.address = value.to_vec(),
            b"ip-address" => {
                let line =
                    format!("ERR REPLCONF ip-address provided by replica instance is too long: {} bytes", value.len());
                break Err(CommandError::formatted(line));
            }
            b"capa" if is_word(value, "EOF") => facts.eof = true,
            b"capa" if is_word(value, "PSYNC2") => facts.psync2 = true,
            b"capa" if is_word(value, "SLOT-STATES") => facts.slot_states = true,
            // Capabilities that we do not know are no concern of ours.
            b"capa" => {}
            b"rdb-only" => match parse_i64(value) {
                Some(number @ 0..=1) => facts.rdb_only = number == 1,
                None => break Err(CommandError::NotAnInteger),
                Some(_) => {
                    break Err(CommandError::text_static("ERR value is out of range, value must between 0 and 1"));
                }
            },
            // Neither has an answer: they are part of the stream.
            b"ack" => {
                acked(cx, args);
                break Ok(false);
            }
            b"getack" => break Ok(false),
            other => break Err(CommandError::quoting("ERR Unrecognized REPLCONF option: ", other, "")),
        }
        at += 2;
    };
    cx.client().replica_facts = Some(facts);
    if outcome? {
        cx.reply.ok();
    }
    Ok(())
}

/// REPLCONF ACK place [FACK place]: what a replica has applied, and what of it is on its disk.
fn acked(cx: &mut Context<'_>, args: &Args<'_>) {
    let place = |at: usize| args.get(at).and_then(parse_i64).and_then(|place| u64::try_from(place).ok());
    let has_durable = args.get(3).is_some_and(|word| is_word(word, "FACK"));
    let (Some(applied), durable) = (place(2), place(4).filter(|_| has_durable)) else { return };
    if !cx.client().is_replica {
        return;
    }
    let (id, now) = (cx.caller.client.id, cx.core.clock.unix());
    if let Some(node) = cx.core.node.as_mut() {
        let has_snapshot = node.replication.replicas.acked(id, applied, durable, now);
        cx.core.effects.push(Effect::ReplicaAcked { client: cx.caller.client, has_snapshot });
    }
}

/// WAIT numreplicas timeout.
fn wait(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if cx.core.replication.role.is_replica() {
        return Err(CommandError::text_static(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let wanted = integer(&args[1])?;
    let timeout = Timeout::milliseconds(&args[2])?;
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if cx.caller.must_not_wait {
        // What there is without waiting: replicas acknowledge between transactions.
        let now = cx.core.clock.unix();
        let node = cx.core.node.as_ref();
        let count = node.map_or(0, |node| node.replication.replicas.good_count(&node.config, now));
        cx.reply.integer(count as i64);
        return Ok(());
    }
    let of_nothing = !cx.client().has_written;
    let client = cx.caller.client;
    cx.core.effects.push(Effect::AskReplicas(ReplicaQuestion { client, having: Having::Applied, wanted, of_nothing }));
    blocking::wait(cx, waits(timeout, Nothing::Replicas { wanted, count: 0 }))
}
