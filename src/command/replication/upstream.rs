//! The primary that this node copies: REPLICAOF, ROLE, and the state of the link.
//!
//! The books are core 0's. REPLICAOF changes them and leaves `Effect::Follow` behind; `runtime::requests::replication` makes the link
//! and reports here how far it is.

use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::core::{Core, Effect, Publication};
use crate::command::error::CommandError;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::Primary;
use crate::resp::Args;

/// The primary, and how far the link to it is.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub link: Link,
    /// The history that this node has is worth going on with: the primary is asked for what follows it.
    pub resumes: bool,
    /// It is to take over from this node (FAILOVER).
    pub takes_over: bool,
    /// Since when there is no link, once there was one.
    pub down_since: Option<UnixMillis>,
    /// When something came over the link.
    pub last_io: UnixMillis,
    /// The full synchronisation under way.
    pub transfer: Transfer,
    /// The place up to which all cores have applied what came.
    pub applied: u64,
}

/// How far the link to the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// To be made.
    Down,
    /// Being made, up to the answer to PSYNC.
    Connecting,
    /// The primary's data are coming, or being loaded.
    Syncing,
    /// The primary's stream is being applied.
    Up,
}

/// How far the data of a full synchronisation have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// 0 while that is not known: the primary sends without saying how much it will be.
    pub total_bytes: u64,
    pub read_bytes: u64,
    /// All has come and is being loaded.
    pub is_loading: bool,
}

/// What the runtime is to do about the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowOrder {
    /// There is another one: make a link to it.
    Begin,
    /// There is none any more.
    End,
}

/// What INFO and ROLE tell of the primary.
#[derive(Clone, Debug)]
pub struct UpstreamFigures {
    pub host: String,
    pub port: u16,
    pub link: Link,
    pub down_since: Option<UnixMillis>,
    pub last_io: UnixMillis,
    pub transfer: Transfer,
    /// Up to where the stream was received and applied; nothing is known while all data are to come.
    pub received: u64,
    pub applied: u64,
    /// The moment that all this is of.
    pub now: UnixMillis,
}

impl UpstreamFigures {
    /// `master_link_status`.
    pub fn link_status(&self) -> &'static str {
        if self.link == Link::Up { "up" } else { "down" }
    }

    /// Whether data are coming, or being loaded.
    pub fn is_syncing(&self) -> bool {
        self.link == Link::Syncing
    }

    /// Seconds since something came over the link that stands; -1 without one.
    pub fn silence_s(&self) -> i64 {
        if self.link == Link::Up { self.transfer_silence_s() } else { -1 }
    }

    /// Seconds since something came, over whatever link there is.
    pub fn transfer_silence_s(&self) -> i64 {
        (self.now.seconds() - self.last_io.seconds()).max(0)
    }

    /// Seconds without a link; -1 when there never was one.
    pub fn down_s(&self) -> i64 {
        self.down_since.map_or(-1, |since| (self.now.seconds() - since.seconds()).max(0))
    }
}

impl Transfer {
    /// Bytes to come; 0 when that is not known.
    pub fn left_bytes(&self) -> i64 {
        self.total_bytes.cast_signed() - self.read_bytes.cast_signed()
    }

    /// What has come, in percent.
    pub fn percent(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.read_bytes as f64 * 100.0 / self.total_bytes as f64 }
    }
}

impl Upstream {
    pub fn new(primary: &Primary, now: UnixMillis) -> Upstream {
        Upstream {
            host: primary.host.clone(),
            port: primary.port,
            link: Link::Down,
            resumes: true,
            takes_over: false,
            down_since: None,
            last_io: now,
            transfer: Transfer::default(),
            applied: 0,
        }
    }

    /// Whether the primary's stream is being applied.
    pub fn is_linked(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether it is this one.
    pub fn is(&self, host: &str, port: u16) -> bool {
        self.host.eq_ignore_ascii_case(host) && self.port == port
    }

    pub fn figures(&self, place: u64, now: UnixMillis) -> UpstreamFigures {
        let known = |place: u64| if self.resumes { place } else { 1 };
        UpstreamFigures {
            host: self.host.clone(),
            port: self.port,
            link: self.link,
            down_since: self.down_since,
            last_io: self.last_io,
            transfer: self.transfer,
            received: known(place),
            applied: known(self.applied),
            now,
        }
    }
}

impl Link {
    /// The word of ROLE.
    pub fn word(self) -> &'static str {
        match self {
            Link::Down => "connect",
            Link::Connecting => "connecting",
            Link::Syncing => "sync",
            Link::Up => "connected",
        }
    }
}

/// Makes this node a replica of another one: core 0. What every core must know is published before the reply leaves.
pub fn follow(core: &mut Core, primary: &Primary) {
    let now = core.clock.unix();
    let node = core.node();
    if node.replication.upstream.is_none() {
        tracing::info!(
            "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to \
             synchronize with the new master with just a partial transfer."
        );
    }
    let resumes = node.replication.upstream.as_ref().is_none_or(|old| old.resumes);
    let mut upstream = Upstream { resumes, ..Upstream::new(primary, now) };
    upstream.applied = node.replication.log.end();
    node.replication.upstream = Some(upstream);
    core.effects.push(Effect::Follow(FollowOrder::Begin));
    role_changed(core, Some(primary.clone()));
}

/// Makes this node a primary, with the data that it has. What follows is a history of its own, and the old one is remembered, so
/// that those who had the same primary can go on with this node.
pub fn lead(core: &mut Core) {
    let Core { node, random, .. } = core;
    let Some(node) = node.as_mut() else { return };
    node.replication.upstream = None;
    let place = node.replication.log.end();
    node.replication.history.shift(place, random);
    let (id, old) = (node.replication.history.id, node.replication.history.second());
    tracing::warn!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {id}",
        old.0,
        old.1
    );
    core.effects.push(Effect::Follow(FollowOrder::End));
    role_changed(core, None);
}

/// The settings and all cores follow what the books say now.
fn role_changed(core: &mut Core, primary: Option<Primary>) {
    let node = core.node();
    node.config.replicaof = primary;
    let config = Box::new(node.config.clone());
    let view = node.replication.view(0);
    core.effects.push(Effect::Publish(Publication::Config { config, changed: vec!["replicaof"] }));
    core.effects.push(Effect::Publish(Publication::Replication(view)));
}

/// REPLICAOF host port | NO ONE.
fn replicaof(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if cx.core.config.cluster_enabled {
        return Err(CommandError::text_static("ERR REPLICAOF not allowed in cluster mode."));
    }
    let asked_by = asked_by(cx);
    if is_word(&args[1], "NO") && is_word(&args[2], "ONE") {
        if cx.core.node().replication.upstream.is_some() {
            lead(cx.core);
            tracing::warn!("MASTER MODE enabled (user request from '{asked_by}')");
        }
        cx.reply.ok();
        return Ok(());
    }
    let invalid = CommandError::text_static("ERR Invalid master port");
    let port = parse_i64(&args[2]).and_then(|port| u16::try_from(port).ok()).ok_or(invalid)?;
    let host = String::from_utf8_lossy(&args[1]).into_owned();
    if cx.core.node().replication.upstream.as_ref().is_some_and(|upstream| upstream.is(&host, port)) {
        tracing::info!(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed."
        );
        cx.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    follow(cx.core, &Primary { host: host.clone(), port });
    tracing::warn!("REPLICAOF {host}:{port} enabled (user request from '{asked_by}')");
    cx.reply.ok();
    Ok(())
}

/// Who asks, as far as this core knows.
fn asked_by(cx: &mut Context<'_>) -> String {
    let client = cx.caller.client;
    match cx.core.own_client(client) {
        Some(found) => format!("id={} addr={} name={}", found.id, found.peer, String::from_utf8_lossy(&found.name)),
        None => format!("id={}", client.id),
    }
}

/// ROLE.
fn role(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let replication = &cx.core.node.as_ref().expect("the row says core 0").replication;
    match &replication.upstream {
        Some(upstream) => {
            let place = if upstream.is_linked() { upstream.applied.cast_signed() } else { -1 };
            cx.reply.array(5);
            cx.reply.bulk(b"slave");
            cx.reply.bulk(upstream.host.as_bytes());
            cx.reply.integer(i64::from(upstream.port));
            cx.reply.bulk(upstream.link.word().as_bytes());
            cx.reply.integer(place);
        }
        None => {
            cx.reply.array(3);
            cx.reply.bulk(b"master");
            cx.reply.integer(replication.log.end().cast_signed());
            replication.replicas.write_role(&mut cx.reply);
        }
    }
    Ok(())
}

const REPLICAOF: CommandSpec = CommandSpec {
    name: "replicaof",
    arity: Arity::Exactly(3),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
    keys: Keys::None,
    group: Group::Server,
    since: "5.0.0",
    summary: "Makes the node a replica of another one, or a primary.",
    complexity: "O(1)",
    syntax: "<host port | NO ONE>",
    run: Run::OnFirstCore(replicaof),
};

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    REPLICAOF,
    CommandSpec {
        name: "slaveof",
        since: "1.0.0",
        summary: "Makes the node a replica of another one, or a primary.",
        ..REPLICAOF
    },
    CommandSpec {
        name: "role",
        arity: Arity::Exactly(1),
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ADMIN_CATEGORY),
        keys: Keys::None,
        group: Group::Server,
        since: "2.8.12",
        summary: "Tells whether the node is a primary or a replica, and of whom.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnFirstCore(role),
    },
];
