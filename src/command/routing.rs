//! Whether this node answers for the slot of a request, or who does: MOVED, ASK, TRYAGAIN, CLUSTERDOWN (Redis's getNodeByQuery).
//!
//! The gate asks `serve` on the connection's core: for a slot that is this node's and stays so, one look into the table of slots. A
//! slot that is on its way to another node, or from one, is served key by key, and only the core that owns it knows which keys are
//! here: the request goes there marked (`Caller::is_slot_open`), and `judge_keys` decides just before it runs, by that core's view.

use super::blocking;
use super::client::{Caller, Client};
use super::core::Core;
use super::error::CommandError;
use super::execute::Call;
use super::flush;
use super::gate;
use super::pubsub;
use super::spec::{CommandSpec, Flags, Group};
use super::transactions::{Exec, Queued};
use crate::base::slot::{Slot, SlotSet, key_slot};
use crate::cluster::view::{ClusterView, Open, Serving};
use crate::keyspace::Key;
use crate::resp::Args;

/// Cluster commands have one database.
const DB: usize = 0;

/// What decides, besides the slot, whether this node answers.
#[derive(Clone, Copy)]
pub struct Standing<'s> {
    asking: bool,
    readonly: bool,
    what: What<'s>,
}

#[derive(Clone, Copy)]
enum What<'s> {
    Request(&'s CommandSpec),
    /// All that EXEC is about to run.
    Transaction {
        writes: bool,
        is_about_channels: bool,
    },
}

impl<'s> Standing<'s> {
    /// Of a request as it comes in.
    #[inline]
    pub fn of_request(client: &Client, spec: &'s CommandSpec) -> Standing<'s> {
        Standing { asking: client.asking, readonly: client.readonly, what: What::Request(spec) }
    }

    /// Of a request on the core that runs it.
    fn of_call(caller: &Caller, spec: &'s CommandSpec) -> Standing<'s> {
        Standing { asking: caller.asking, readonly: caller.readonly, what: What::Request(spec) }
    }

    /// Of all that EXEC is about to run.
    pub fn of_transaction(caller: &Caller, queue: &[Queued]) -> Standing<'static> {
        let specs = || queue.iter().map(|queued| queued.command.spec());
        let what = What::Transaction {
            writes: specs().any(|spec| spec.flags.has(Flags::WRITE)),
            is_about_channels: specs().all(|spec| spec.group == Group::PubSub),
        };
        Standing { asking: caller.asking, readonly: caller.readonly, what }
    }

    /// It was redirected here by ASK. What a queued command is by itself does not count for its transaction.
    fn asks(&self) -> bool {
        self.asking || matches!(self.what, What::Request(spec) if spec.flags.has(Flags::ASKING))
    }

    fn writes(&self) -> bool {
        match self.what {
            What::Request(spec) => spec.flags.has(Flags::WRITE),
            What::Transaction { writes, .. } => writes,
        }
    }

    /// About shard channels, not keys.
    fn is_about_channels(&self) -> bool {
        match self.what {
            What::Request(spec) => spec.group == Group::PubSub,
            What::Transaction { is_about_channels, .. } => is_about_channels,
        }
    }

    /// MIGRATE moves what is here, and says so itself if that is nothing.
    fn migrates(&self) -> bool {
        matches!(self.what, What::Request(spec) if spec.name == "migrate")
    }

    /// A replica may answer.
    fn reads_replica(&self) -> bool {
        (self.readonly || self.is_about_channels()) && !self.writes()
    }
}

/// Does this node answer for the slot? True when that depends on which keys are here.
///
/// # Errors
/// Where to go instead, or what is wrong with the cluster.
#[inline]
pub fn serve(core: &Core, slot: Slot, standing: Standing<'_>) -> Result<bool, CommandError> {
    if core.cluster.ok && core.cluster.is_settled_here(slot) {
        return Ok(false);
    }
    judge_slot(core, slot, standing)
}

/// What is wrong with the cluster comes before who serves the slot; before both, that nobody does.
#[cold]
fn judge_slot(core: &Core, slot: Slot, standing: Standing<'_>) -> Result<bool, CommandError> {
    if core.cluster.serving(slot) == Serving::Nobody {
        return Err(CommandError::ClusterDownUnbound);
    }
    judge_health(core, standing)?;
    match core.cluster.open(slot) {
        Some(_) if standing.migrates() => return Ok(false),
        Some(Open::MigratingTo(_)) if !standing.is_about_channels() => return Ok(true),
        Some(Open::Importing) if standing.asks() => return Ok(!standing.is_about_channels()),
        _ => {}
    }
    judge_owner(core, slot, standing)?;
    Ok(false)
}

fn judge_health(core: &Core, standing: Standing<'_>) -> Result<(), CommandError> {
    if core.cluster.ok {
        return Ok(());
    }
    match standing.is_about_channels() {
        true if core.config.cluster_allow_pubsubshard_when_down => Ok(()),
        true => Err(CommandError::ClusterDown),
        false if !core.config.cluster_allow_reads_when_down => Err(CommandError::ClusterDown),
        false if standing.writes() => {
            Err(CommandError::text_static("CLUSTERDOWN The cluster is down and only accepts read commands"))
        }
        false => Ok(()),
    }
}

/// The slot's owner answers, and for reads that agree to it, its replicas.
fn judge_owner(core: &Core, slot: Slot, standing: Standing<'_>) -> Result<(), CommandError> {
    match core.cluster.serving(slot) {
        Serving::Here => Ok(()),
        Serving::Elsewhere { is_primary: true, .. } if standing.reads_replica() => Ok(()),
        Serving::Elsewhere { address, .. } => {
            Err(CommandError::Moved { slot: slot.get(), address: address.to_owned() })
        }
        Serving::Nobody => Err(CommandError::ClusterDownUnbound),
    }
}

/// The keys of a request, or of all requests of a transaction, as far as they decide.
#[derive(Default)]
struct KeysSeen {
    first: Option<Vec<u8>>,
    has_several: bool,
    missing: usize,
    existing: usize,
}

impl KeysSeen {
    fn add(&mut self, core: &Core, spec: &CommandSpec, args: &Args<'_>) -> Result<(), CommandError> {
        gate::for_each_key(spec, args, &mut |bytes| {
            let first = self.first.get_or_insert_with(|| bytes.to_vec());
            self.has_several |= first != bytes;
            match core.keyspace.glance(DB, Key::new(bytes)) {
                Some(_) => self.existing += 1,
                None => self.missing += 1,
            }
            Ok(())
        })
    }
}

/// On the core that owns an open slot: may this request run, with the keys that are here?
///
/// # Errors
/// Where to go instead, or that it is to be tried again.
#[cold]
pub fn judge_call(
    core: &Core,
    caller: &Caller,
    slot: Option<Slot>,
    spec: &CommandSpec,
    args: &Args<'_>,
) -> Result<(), CommandError> {
    let Some(slot) = slot else { return Ok(()) };
    let mut seen = KeysSeen::default();
    seen.add(core, spec, args)?;
    judge_keys(core, slot, Standing::of_call(caller, spec), &seen)
}

/// As `judge_call`, for all that EXEC is about to run.
///
/// # Errors
/// Where to go instead, or that it is to be tried again.
#[cold]
pub fn judge_transaction(core: &Core, caller: &Caller, queue: &[Queued]) -> Result<(), CommandError> {
    let mut seen = KeysSeen::default();
    for queued in queue.iter().filter(|queued| queued.command.spec().group != Group::PubSub) {
        seen.add(core, queued.command.spec(), &queued.args.as_args())?;
    }
    let Some(first) = &seen.first else { return Ok(()) };
    judge_keys(core, key_slot(first), Standing::of_transaction(caller, queue), &seen)
}

/// The slot may have been settled since the gate looked.
fn judge_keys(core: &Core, slot: Slot, standing: Standing, seen: &KeysSeen) -> Result<(), CommandError> {
    const UNSTABLE: CommandError = CommandError::text_static("TRYAGAIN Multiple keys request during rehashing of slot");
    match core.cluster.open(slot) {
        Some(Open::MigratingTo(_)) if seen.missing > 0 && seen.existing > 0 => Err(UNSTABLE),
        Some(Open::MigratingTo(address)) if seen.missing > 0 => {
            Err(CommandError::Ask { slot: slot.get(), address: address.to_owned() })
        }
        Some(Open::Importing) if standing.asks() && seen.has_several && seen.missing > 0 => Err(UNSTABLE),
        Some(Open::Importing) if standing.asks() => Ok(()),
        _ => judge_owner(core, slot, standing),
    }
}

/// Of a request that has waited on the core that runs it, since the gate let it pass: may it still run here, and is its slot on its
/// way?
///
/// # Errors
/// What the gate would say now.
#[cold]
pub fn judge_late(core: &Core, call: &Call<'_>) -> Result<bool, CommandError> {
    let spec = call.command.spec();
    judge_anew(core, call.slot, Standing::of_call(&call.caller, spec), spec.flags.has(Flags::WRITE))
}

/// As `judge_late`, for a transaction.
///
/// # Errors
/// What the gate would say now.
#[cold]
pub fn judge_transaction_late(core: &Core, exec: &Exec) -> Result<bool, CommandError> {
    let standing = Standing::of_transaction(&exec.caller, &exec.queue);
    let slot = exec.queue.iter().find_map(|queued| queued.slot);
    judge_anew(core, slot, standing, standing.writes())
}

fn judge_anew(core: &Core, slot: Option<Slot>, standing: Standing<'_>, writes: bool) -> Result<bool, CommandError> {
    let is_slot_open = match slot.filter(|_| core.cluster.enabled) {
        Some(slot) => serve(core, slot, standing)?,
        None => false,
    };
    if writes && core.replication.role.is_replica() && core.config.replica_read_only {
        return Err(CommandError::ReadOnly);
    }
    if core.disk.loading {
        return Err(CommandError::Loading);
    }
    Ok(is_slot_open)
}

/// Takes over a new view. Clients that wait for keys, or listen to channels, of slots that this node does not answer for any more
/// are told so.
pub fn follow(core: &mut Core, view: ClusterView) {
    core.cluster = view;
    if core.slot_usage.is_measured() {
        core.slot_usage.retain(|slot| core.cluster.is_of_own_shard(slot));
    }
    end_dropping_of_returned(core);
    blocking::redirect(core);
    if core.cluster.enabled {
        pubsub::leave_slots(core);
    }
}

/// Slots may come back while keys that were here before are still being dropped.
fn end_dropping_of_returned(core: &mut Core) {
    let takes_keys =
        |slot: &Slot| core.cluster.is_of_own_shard(*slot) || core.cluster.open(*slot) == Some(Open::Importing);
    let returned: SlotSet = core.keyspace.leaving_slots().filter(takes_keys).collect();
    if !returned.is_empty() {
        flush::end_dropping(core, |slot| returned.contains(slot));
    }
}

/// Of a client that waits for a key: whether it waits at the right place. It is told so even where reads are allowed while the
/// cluster is down: what it waits for is a write.
///
/// # Errors
/// Where to wait instead, or what is wrong with the cluster.
pub fn judge_waiter(core: &Core, caller: &Caller, spec: &CommandSpec, key: &[u8]) -> Result<(), CommandError> {
    if !core.cluster.ok {
        return Err(CommandError::ClusterDown);
    }
    let slot = key_slot(key);
    if core.cluster.open(slot) == Some(Open::Importing) && core.cluster.serving(slot) != Serving::Nobody {
        return Ok(());
    }
    judge_owner(core, slot, Standing::of_call(caller, spec))
}

/// Whether a shard channel's messages come here: to the slot's owner, to its replicas, and to whom the slot is on its way.
pub fn hears_channel(core: &Core, channel: &[u8]) -> bool {
    let slot = key_slot(channel);
    match core.cluster.serving(slot) {
        Serving::Here | Serving::Elsewhere { is_primary: true, .. } => true,
        Serving::Elsewhere { .. } => core.cluster.open(slot) == Some(Open::Importing),
        Serving::Nobody => false,
    }
}
