//! FAILOVER: a primary hands over to one of its replicas.
//!
//! Writes wait. When a replica has everything, this node becomes a replica of it, and says in PSYNC that the other is to take
//! over; once that has answered, writes are refused as on any replica. With TIMEOUT the wait for a replica has an end: the node stays
//! what it is, or, with FORCE, hands over all the same. `runtime::requests::replication::hand_over` drives it.

use crate::base::number::parse_i64;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::Primary;
use crate::resp::Args;

/// A failover under way; core 0's.
#[derive(Clone, Debug)]
pub struct Failover {
    /// The replica that is to take over; none for the first that has everything.
    pub target: Option<Primary>,
    /// At the end of the time the target takes over whatever it has.
    pub force: bool,
    /// Monotonic milliseconds.
    pub deadline_ms: Option<u64>,
    pub stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Writes are about to stop on all cores.
    Stopping,
    /// A replica has still to catch up with all that there is up to this place of the log.
    Waiting { place: u64 },
    /// The replica is being told.
    HandingOver,
}

impl Stage {
    /// The word of INFO's `master_failover_state`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Stopping | Stage::Waiting { .. } => "waiting-for-sync",
            Stage::HandingOver => "failover-in-progress",
        }
    }
}

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "failover",
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE),
    keys: Keys::None,
    group: Group::Server,
    since: "6.2.0",
    summary: "Hands over to a replica.",
    complexity: "O(1)",
    syntax: "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
    run: Run::OnFirstCore(failover),
}];

/// What the arguments ask for.
#[derive(Default)]
struct Wanted {
    target: Option<(Vec<u8>, i64)>,
    force: bool,
    timeout_ms: Option<u64>,
}

fn wanted(args: &Args<'_>) -> Result<Wanted, CommandError> {
    let integer = |at: usize| args.get(at).and_then(parse_i64).ok_or(CommandError::NotAnInteger);
    let (mut wanted, mut at) = (Wanted::default(), 1);
    while let Some(word) = args.get(at) {
        if is_word(word, "TIMEOUT") && at + 1 < args.len() && wanted.timeout_ms.is_none() {
            let timeout = u64::try_from(integer(at + 1)?).ok().filter(|timeout| *timeout > 0);
            let refusal = CommandError::text_static("ERR FAILOVER timeout must be greater than 0");
            wanted.timeout_ms = Some(timeout.ok_or(refusal)?);
            at += 2;
        } else if is_word(word, "TO") && at + 2 < args.len() && wanted.target.is_none() {
            wanted.target = Some((args[at + 1].to_vec(), integer(at + 2)?));
            at += 3;
        } else if is_word(word, "FORCE") && !wanted.force {
            wanted.force = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(wanted)
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds].
fn failover(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if cx.core.config.cluster_enabled {
        return Err(CommandError::text_static(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let now_ms = cx.core.clock.monotonic_us() / 1000;
    let replication = &mut cx.core.node().replication;
    if args.len() == 2 && is_word(&args[1], "ABORT") {
        if replication.failover.is_none() {
            return Err(CommandError::text_static("ERR No failover in progress."));
        }
        cx.core.effects.push(Effect::CallFailoverOff);
        cx.reply.ok();
        return Ok(());
    }
    let Wanted { target, force, timeout_ms } = wanted(args)?;
    if replication.failover.is_some() {
        return Err(CommandError::text_static("ERR FAILOVER already in progress."));
    }
    if replication.upstream.is_some() {
        return Err(CommandError::text_static("ERR FAILOVER is not valid when server is a replica."));
    }
    if replication.replicas.list.is_empty() {
        return Err(CommandError::text_static("ERR FAILOVER requires connected replicas."));
    }
    if force && (timeout_ms.is_none() || target.is_none()) {
        return Err(CommandError::text_static(
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ));
    }
    let target = match target {
        None => None,
        Some((host, port)) => {
            let host = String::from_utf8_lossy(&host).into_owned();
            let replica = replication.replicas.list.iter().find(|r| r.host == host && i64::from(r.facts.port) == port);
            let not_one = CommandError::text_static("ERR FAILOVER target HOST and PORT is not a replica.");
            let replica = replica.ok_or(not_one)?;
            if !replica.state.is_online() {
                return Err(CommandError::text_static("ERR FAILOVER target replica is not online."));
            }
            Some(Primary { host, port: replica.facts.port })
        }
    };
    match &target {
        Some(Primary { host, port }) => tracing::info!("FAILOVER requested to {host}:{port}."),
        None => tracing::info!("FAILOVER requested to any replica."),
    }
    let deadline_ms = timeout_ms.map(|timeout_ms| now_ms.saturating_add(timeout_ms));
    replication.failover = Some(Failover { target, force, deadline_ms, stage: Stage::Stopping });
    cx.core.effects.push(Effect::HandOver);
    cx.reply.ok();
    Ok(())
}
