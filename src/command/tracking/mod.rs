//! Client-side caching: clients that keep copies of what they read are told when it changes.
//!
//! A read of a client in default mode is remembered on the core that owns the key (`remember`, called after the handler); a
//! change comes back from the keyspace through `attention::settle` ([`key_changed`]) and leaves as `Effect::Deliver` of a
//! [`Delivery::Invalidate`](super::pubsub::Delivery) to the core of the client, where [`receive`] decides by the client's options
//! whether and in which form it is told. Keys for clients in broadcasting mode are gathered until the end of the turn ([`broadcast`]).

mod table;

use bytes::Bytes;

pub use table::{MovedReaders, TrackingTable};

use super::arguments::{integer, is_word};
use super::client::{Client, ClientRef};
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::execute::Call;
use super::gate;
use super::pubsub::Delivery;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::keyspace::NotesWanted;
use crate::resp::{Args, RespVersion};

/// What CLIENT TRACKING ON has set.
#[derive(Clone, Debug, Default)]
pub struct Tracking {
    pub bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    /// Who is told in the client's place.
    pub redirect: Option<ClientRef>,
    pub broken_redirect: bool,
    /// CLIENT CACHING was given for the next command.
    pub caching: bool,
    prefixes: Vec<Vec<u8>>,
}

impl Tracking {
    /// Whether what the client reads now is to be remembered.
    pub fn remembers(&self) -> bool {
        let in_default_mode = !self.bcast;
        in_default_mode && if self.optin { self.caching } else { !(self.optout && self.caching) }
    }
}

/// Remembers who has read the keys of a command on this core.
#[cold]
pub fn remember(core: &mut Core, call: &Call<'_>) {
    let spec = call.command.spec();
    // What a script reads is what its commands read.
    if !spec.flags.has(Flags::READONLY) || spec.group == Group::PubSub || spec.runs_script() {
        return;
    }
    let (db, client) = (usize::from(call.caller.db), call.caller.client);
    let _ = gate::for_each_key(spec, &call.args, &mut |key| {
        core.tracking.remember(&mut core.keyspace, db, key, client);
        Ok(())
    });
    limit(core);
}

/// A marked key, or any key while somebody listens to prefixes, has changed.
pub fn key_changed(core: &mut Core, db: usize, key: &[u8]) {
    let by = core.running_client;
    let to = core.tracking.key_changed(&mut core.keyspace, db, key, by);
    invalidate(core, to, vec![(Bytes::copy_from_slice(key), by)]);
}

fn invalidate(core: &mut Core, to: Vec<ClientRef>, keys: Vec<(Bytes, u64)>) {
    if !to.is_empty() {
        core.effects.push(Effect::Deliver { to, delivery: Delivery::Invalidate { keys, bcast: false } });
    }
}

/// Tells those who listen to prefixes what has changed in this turn.
pub fn broadcast(core: &mut Core) {
    for changes in core.tracking.take_news() {
        let delivery = Delivery::Invalidate { keys: changes.keys, bcast: true };
        core.effects.push(Effect::Deliver { to: changes.to, delivery });
    }
}

/// Databases of this core are about to be flushed: its clients forget all they have.
pub fn flushed(core: &mut Core) {
    core.tracking.clear(&mut core.keyspace);
    let id = core.id;
    let tracking = core.clients.iter().filter(|(_, client)| client.tracking.is_some());
    let to: Vec<ClientRef> = tracking.map(|(_, client)| client.caller(id).client).collect();
    if !to.is_empty() {
        core.effects.push(Effect::Deliver { to, delivery: Delivery::InvalidateAll });
    }
}

/// Keeps the table within tracking-table-max-keys, of which each core has its share: clients forget what does not fit.
pub fn limit(core: &mut Core) {
    let keys_max = match core.config.tracking_table_max_keys {
        0 => return,
        keys_max => (keys_max / core.facts.cores_count as u64).max(1) as usize,
    };
    while let Some((key, to)) = core.tracking.forget_excess(&mut core.keyspace, keys_max) {
        invalidate(core, to, vec![(key, 0)]);
    }
}

/// What becomes of an invalidation on the core of its client.
pub enum Told {
    Nothing,
    /// These bytes for the client itself.
    Here(Bytes),
    /// For the client that is told in its place.
    Redirected(ClientRef, Delivery),
}

/// An invalidation has reached the core of the client that it is for.
pub fn receive(client: &Client, me: ClientRef, delivery: &Delivery) -> Told {
    let Some(tracking) = &client.tracking else { return Told::Nothing };
    let keys = match delivery {
        Delivery::Invalidate { keys, bcast } => {
            if *bcast != tracking.bcast {
                return Told::Nothing; // from before its mode changed
            }
            let own = |by: &u64| tracking.noloop && *by == client.id;
            let keys: Vec<Bytes> = keys.iter().filter(|(_, by)| !own(by)).map(|(key, _)| key.clone()).collect();
            if keys.is_empty() {
                return Told::Nothing;
            }
            Some(keys)
        }
        _ => None,
    };
    match tracking.redirect {
        Some(to) => Told::Redirected(to, Delivery::Redirected { keys, version: client.resp, from: me }),
        None if client.resp == RespVersion::V3 => {
            Told::Here(super::pubsub::encoded_invalidation(keys.as_deref(), client.resp))
        }
        None => Told::Nothing,
    }
}

/// What another client would have been told has reached the client to which it is redirected.
pub fn redirected(client: &Client, delivery: &Delivery) -> Told {
    // In version 2 only a client that listens can be told anything.
    if client.resp == RespVersion::V3 || client.is_listening() {
        Told::Here(delivery.encoded(client.resp))
    } else {
        Told::Nothing
    }
}

/// The client that was told in this one's place has gone.
pub fn redirect_broken(client: &mut Client, delivery: &Delivery) -> Told {
    let Some(tracking) = &mut client.tracking else { return Told::Nothing };
    tracking.broken_redirect = true;
    if client.resp == RespVersion::V3 { Told::Here(delivery.encoded(client.resp)) } else { Told::Nothing }
}

/// The options of CLIENT TRACKING.
#[derive(Default)]
struct Options {
    on: bool,
    redirect: Option<i64>,
    tracking: Tracking,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut at = 3;
    while let Some(word) = args.get(at) {
        let next = args.get(at + 1);
        at += 1;
        let tracking = &mut options.tracking;
        match next {
            Some(id) if is_word(word, "REDIRECT") => {
                if options.redirect.is_some_and(|id| id != 0) {
                    return Err(CommandError::text_static("ERR A client can only redirect to a single other client"));
                }
                options.redirect = Some(integer(id)?);
                at += 1;
            }
            Some(prefix) if is_word(word, "PREFIX") => {
                tracking.prefixes.push(prefix.to_vec());
                at += 1;
            }
            _ if is_word(word, "BCAST") => tracking.bcast = true,
            _ if is_word(word, "OPTIN") => tracking.optin = true,
            _ if is_word(word, "OPTOUT") => tracking.optout = true,
            _ if is_word(word, "NOLOOP") => tracking.noloop = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    options.on = match &args[2] {
        word if is_word(word, "ON") => true,
        word if is_word(word, "OFF") => false,
        _ => return Err(CommandError::Syntax),
    };
    if options.tracking.bcast && options.tracking.prefixes.is_empty() {
        options.tracking.prefixes.push(Vec::new());
    }
    Ok(options)
}

/// CLIENT TRACKING, on every core: finds the client to redirect to, and listens to the prefixes. Should the client's own core
/// refuse the options, it takes the prefixes back.
fn tracking_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let options = options(args)?;
    let client = cx.caller.client;
    let core = &mut *cx.core;
    if options.on && options.tracking.bcast {
        options.tracking.prefixes.iter().for_each(|prefix| core.tracking.add_prefix(prefix, client));
    } else if !options.on {
        core.tracking.remove_client(client.id);
    }
    prefixes_changed(core);
    let wanted = options.redirect.and_then(|id| u64::try_from(id).ok());
    let found = core.clients.iter().find(|(_, client)| Some(client.id) == wanted);
    Ok(Part::new(found.map(|(_, client)| client.caller(core.id).client)))
}

/// While somebody listens to prefixes every change is noted.
pub fn prefixes_changed(core: &mut Core) {
    let wanted = NotesWanted { changed: core.tracking.has_prefixes(), ..core.keyspace.notes_wanted() };
    core.keyspace.set_notes(wanted);
}

fn tracking_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let options = options(args)?;
    let redirect = parts.into_iter().find_map(Part::take::<Option<ClientRef>>);
    let own = cx.caller.client;
    if !options.on {
        cx.client().tracking = None;
        cx.reply.ok();
        return Ok(());
    }
    if let Err(error) = check(cx.client().tracking.as_deref(), &options, redirect) {
        let kept = cx.client().tracking.as_ref().map_or(Vec::new(), |tracking| tracking.prefixes.clone());
        let prefixes = options.tracking.prefixes.into_iter().filter(|prefix| !kept.contains(prefix)).collect();
        cx.core.effects.push(Effect::Untrack { client: own, prefixes });
        return Err(error);
    }
    let client = cx.client();
    let mut tracking = Tracking { redirect, ..options.tracking };
    if let Some(before) = client.tracking.take() {
        tracking.caching = before.caching;
        if before.bcast {
            tracking.prefixes.extend(before.prefixes);
        }
    }
    client.tracking = Some(Box::new(tracking));
    client.has_footprint = true;
    cx.reply.ok();
    Ok(())
}

/// Whether the options fit together, and what the client has set before.
fn check(before: Option<&Tracking>, options: &Options, redirect: Option<ClientRef>) -> Result<(), CommandError> {
    let error = |text| Err(CommandError::text_static(text));
    let new = &options.tracking;
    if options.redirect.is_some_and(|id| id != 0) && redirect.is_none() {
        return error("ERR The client ID you want redirect to does not exist");
    }
    if !new.bcast && !new.prefixes.is_empty() {
        return error("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if before.is_some_and(|before| before.bcast != new.bcast) {
        return error(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    if new.bcast && (new.optin || new.optout) {
        return error("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if new.optin && new.optout {
        return error("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if before.is_some_and(|before| new.optin && before.optout || new.optout && before.optin) {
        return error(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    if new.bcast { check_prefixes(before.map_or(&[][..], |before| &before.prefixes), &new.prefixes) } else { Ok(()) }
}

/// No two prefixes of a client may fit the same key.
fn check_prefixes(before: &[Vec<u8>], new: &[Vec<u8>]) -> Result<(), CommandError> {
    let collide = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let error = |one: &[u8], which: &str, other: &[u8]| {
        let text = [
            b"ERR Prefix '",
            one,
            b"' overlaps with ",
            which.as_bytes(),
            b" prefix '",
            other,
            b"'. Prefixes for a single client must not overlap.",
        ];
        Err(CommandError::Text(text.concat().into()))
    };
    for (index, prefix) in new.iter().enumerate() {
        if let Some(other) = before.iter().find(|other| collide(prefix, other)) {
            return error(prefix, "an existing", other);
        }
        if let Some(other) = new[index + 1..].iter().find(|other| collide(prefix, other)) {
            return error(prefix, "another provided", other);
        }
    }
    Ok(())
}

/// CLIENT CACHING YES | NO.
fn caching(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let Some(tracking) = &mut cx.client().tracking else {
        return Err(CommandError::text_static(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let (allowed, refusal) = match &args[2] {
        word if is_word(word, "YES") => {
            (tracking.optin, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
        word if is_word(word, "NO") => {
            (tracking.optout, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
        _ => return Err(CommandError::Syntax),
    };
    if !allowed {
        return Err(CommandError::text_static(refusal));
    }
    tracking.caching = true;
    cx.reply.ok();
    Ok(())
}

/// The client that is told in this one's place: 0 for none, -1 without tracking.
pub fn redirection(client: &Client) -> i64 {
    match &client.tracking {
        None => -1,
        Some(tracking) => tracking.redirect.map_or(0, |to| to.id as i64),
    }
}

/// CLIENT GETREDIR.
fn getredir(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let redirection = redirection(cx.client());
    cx.reply.integer(redirection);
    Ok(())
}

/// CLIENT TRACKINGINFO.
fn trackinginfo(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let redirection = redirection(cx.client());
    let tracking = cx.client().tracking.clone();
    let on = tracking.is_some();
    let tracking = tracking.unwrap_or_default();
    let flags = [
        (on, "on"),
        (!on, "off"),
        (tracking.bcast, "bcast"),
        (tracking.optin, "optin"),
        (tracking.optin && tracking.caching, "caching-yes"),
        (tracking.optout, "optout"),
        (tracking.optout && tracking.caching, "caching-no"),
        (tracking.noloop, "noloop"),
        (tracking.broken_redirect, "broken_redirect"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let reply = &mut cx.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection);
    reply.bulk(b"prefixes");
    let mut prefixes = tracking.prefixes;
    prefixes.sort_unstable();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

const SUB: CommandSpec = CommandSpec {
    name: "",
    arity: Arity::Exactly(2),
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE),
    keys: Keys::None,
    group: Group::Connection,
    since: "6.0.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "client|caching",
        arity: Arity::Exactly(3),
        summary: "Says whether what the next command reads is kept by the client.",
        syntax: "<YES | NO>",
        run: Run::OnConnection(caching),
        ..SUB
    },
    CommandSpec {
        name: "client|getredir",
        summary: "Answers which client is told of changes in this one's place.",
        run: Run::OnConnection(getredir),
        ..SUB
    },
    CommandSpec {
        name: "client|tracking",
        arity: Arity::AtLeast(3),
        summary: "Tells the client when keys that it has read change.",
        complexity: "O(1). Some options may introduce additional complexity.",
        syntax: "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        run: Run::OnEveryCore { part: tracking_part, merge: tracking_merge },
        ..SUB
    },
    CommandSpec {
        name: "client|trackinginfo",
        since: "6.2.0",
        summary: "Answers what CLIENT TRACKING has set.",
        run: Run::OnConnection(trackinginfo),
        ..SUB
    },
];
